package main

import (
	"bufio"
	"encoding/binary"
)

// The extension limits@openssh.com tells clients how large requests may be: without it OpenSSH's ask for 32 KiB at a
// time. Our SFTP library does not know it, so that it is answered here, between the stream and the library.
const (
	limitsName = "limits@openssh.com"

	fxpVersion       = 2
	fxpExtended      = 200
	fxpExtendedReply = 201

	sftpPacket = 256 << 10         // the library's limit
	sftpData   = sftpPacket - 1024 // with room for the rest of a packet
)

// takeLimits answers a request for the limits that is next on the stream, if it is one.
func takeLimits(in *bufio.Reader) (answer []byte) {
	const whole = 4 + 1 + 4 + 4 + len(limitsName)
	head, err := in.Peek(4 + 1) // no more: a client may wait for an answer before it sends another byte
	if err != nil || head[4] != fxpExtended || int(binary.BigEndian.Uint32(head)) != whole-4 {
		return nil
	}
	if head, err = in.Peek(whole); err != nil || string(head[13:]) != limitsName {
		return nil
	}
	answer = binary.BigEndian.AppendUint32(answer, 1+4+4*8)
	answer = append(append(answer, fxpExtendedReply), head[5:9]...)
	for _, limit := range [...]uint64{sftpPacket, sftpData, sftpData, 0} {
		answer = binary.BigEndian.AppendUint64(answer, limit)
	}
	_, _ = in.Discard(len(head))
	return answer
}

// withLimits adds the extension to a whole VERSION packet.
func withLimits(version []byte) []byte {
	if len(version) < 5 || version[4] != fxpVersion || int(binary.BigEndian.Uint32(version)) != len(version)-4 {
		return version
	}
	for _, text := range [...]string{limitsName, "1"} {
		version = binary.BigEndian.AppendUint32(version, uint32(len(text)))
		version = append(version, text...)
	}
	binary.BigEndian.PutUint32(version, uint32(len(version)-4))
	return version
}
