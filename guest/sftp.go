package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"

	"github.com/pkg/sftp"
)

// startSFTP answers OPEN of kind sftp: this program again, in mode sftp, as a process like any other. A process of
// its own has the right user, directory and umask, and its end is nobody else's.
func (a *agent) startSFTP(c *channel, request *openRequest) {
	request.Pty = nil
	plan, refused := makePlan(request, a.accounts)
	if refused == nil {
		plan.path, plan.argv = ownPath(), []string{"moorage-agent", "sftp"}
		refused = a.launch(c, plan, nil)
	}
	if refused != nil {
		c.refuse(refused)
	}
}

// sftpMode serves SFTP on standard input and output: 0 at a clean end of input.
func sftpMode(args []string) int {
	if len(args) == 2 && args[0] == "--cwd" {
		if err := os.Chdir(args[1]); err != nil {
			complain("%v", err)
			return 1
		}
	} else if len(args) != 0 {
		return misused("sftp takes nothing but --cwd DIRECTORY")
	}
	// Room for the largest packet that the protocol's clients ask for.
	server, err := sftp.NewServer(newPackets(os.Stdin, os.Stdout), sftp.WithAllocator(), sftp.WithMaxTxPacket(255<<10))
	if err == nil {
		err = server.Serve()
	}
	if err != nil && err != io.EOF {
		complain("%v", err)
		return 1
	}
	return 0
}

// packets writes each SFTP packet at once, although it comes in two parts.
type packets struct {
	io.Reader
	out     *os.File
	buffer  []byte
	missing int // bytes until the packet is whole
}

func newPackets(in, out *os.File) *packets {
	return &packets{Reader: bufio.NewReaderSize(in, 64<<10), out: out}
}

func (p *packets) Write(data []byte) (int, error) {
	if p.missing == 0 {
		if len(data) < 4 { // never: a packet's first part has its length
			return p.out.Write(data)
		}
		p.missing = 4 + int(binary.BigEndian.Uint32(data))
	}
	p.buffer = append(p.buffer, data...)
	if p.missing -= len(data); p.missing > 0 {
		return len(data), nil
	}
	_, err := p.out.Write(p.buffer)
	p.buffer, p.missing = p.buffer[:0], 0
	return len(data), err
}

func (p *packets) Close() error {
	_ = os.Stdin.Close()
	return p.out.Close()
}
