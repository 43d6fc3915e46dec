package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// SSH_FXP_RENAME never replaces what has the new name already (draft-ietf-secsh-filexfer-02, 6.5); a client that
// wants that asks for posix-rename@openssh.com. The SFTP library replaces in both cases, so that the first is
// answered here, between the stream and the library.
const (
	fxpRename = 18
	fxpStatus = 101

	fxOK               = 0
	fxNoSuchFile       = 2
	fxPermissionDenied = 3
	fxFailure          = 4
)

// takeRename does the rename that is next on the stream, if it is one, and answers it. It is done in its turn: when
// settled says that all requests before it are answered.
func takeRename(in *bufio.Reader, settled func() error) (answer []byte) {
	head, err := in.Peek(4 + 1)
	if err != nil || head[4] != fxpRename {
		return nil
	}
	whole := 4 + int(binary.BigEndian.Uint32(head))
	if whole > in.Size() {
		return nil // no path is as long, so that the library's rename fails
	}
	packet, err := in.Peek(whole)
	if err != nil || whole < 4+1+4 {
		return nil
	}
	id := packet[5:9]
	from, rest, okFrom := takeString(packet[9:])
	to, rest, okTo := takeString(rest)
	if !okFrom || !okTo || len(rest) > 0 {
		return nil
	}
	if settled() != nil {
		return nil
	}
	answer = statusOf(id, renameNew(unix.AT_FDCWD, from, unix.AT_FDCWD, to))
	_, _ = in.Discard(whole)
	return answer
}

func takeString(data []byte) (text string, rest []byte, ok bool) {
	if len(data) < 4 {
		return "", data, false
	}
	length := binary.BigEndian.Uint32(data)
	if uint64(length) > uint64(len(data)-4) {
		return "", data, false
	}
	return string(data[4 : 4+length]), data[4+length:], true
}

// statusOf is a STATUS packet.
func statusOf(id []byte, err error) []byte {
	code, text := uint32(fxOK), "Success"
	if err != nil {
		code, text = fxFailure, err.Error()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			code = fxNoSuchFile
		case errors.Is(err, fs.ErrPermission):
			code = fxPermissionDenied
		}
	}
	packet := binary.BigEndian.AppendUint32(nil, uint32(1+4+4+4+len(text)+4))
	packet = append(append(packet, fxpStatus), id...)
	packet = binary.BigEndian.AppendUint32(packet, code)
	packet = binary.BigEndian.AppendUint32(packet, uint32(len(text)))
	packet = append(packet, text...)
	return binary.BigEndian.AppendUint32(packet, 0) // no language
}

// renameNew renames to a name that nothing has; fs.ErrExist if something does. Where the kernel or the file system
// cannot do both in one step, it looks first.
func renameNew(fromDir int, from string, toDir int, to string) error {
	err := unix.Renameat2(fromDir, from, toDir, to, unix.RENAME_NOREPLACE)
	if err != unix.EINVAL && err != unix.ENOSYS {
		return err
	}
	var there unix.Stat_t
	if unix.Fstatat(toDir, to, &there, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return unix.EEXIST
	}
	return unix.Renameat(fromDir, from, toDir, to)
}
