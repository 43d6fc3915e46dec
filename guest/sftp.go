package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"
	"sync"

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

// packets is the server's stream. It writes each packet at once, although it comes in two parts, and lets the end
// of the input through only when every request has been answered: the server would leave with answers still queued.
type packets struct {
	in       *bufio.Reader
	out      *os.File
	incoming framing

	mu       sync.Mutex
	answered sync.Cond
	open     int // requests without an answer
	outgoing framing
	buffer   []byte
	broken   error
}

// framing counts a stream's packets: four bytes of length and as many more.
type framing struct {
	length  [4]byte
	have    int // bytes of the length
	missing uint32
}

// pass says how many packets end within data.
func (f *framing) pass(data []byte) (whole int) {
	for len(data) > 0 {
		if f.have < len(f.length) {
			n := copy(f.length[f.have:], data)
			f.have, data = f.have+n, data[n:]
			if f.have < len(f.length) {
				break
			}
			f.missing = binary.BigEndian.Uint32(f.length[:])
		}
		n := min(uint64(f.missing), uint64(len(data)))
		f.missing, data = f.missing-uint32(n), data[n:]
		if f.missing == 0 {
			f.have = 0
			whole++
		}
	}
	return whole
}

func newPackets(in, out *os.File) *packets {
	p := &packets{in: bufio.NewReaderSize(in, 64<<10), out: out}
	p.answered.L = &p.mu
	return p
}

func (p *packets) Read(buffer []byte) (int, error) {
	n, err := p.in.Read(buffer)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open += p.incoming.pass(buffer[:n])
	for err != nil && p.open > 0 && p.broken == nil {
		p.answered.Wait()
	}
	return n, err
}

func (p *packets) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return 0, p.broken
	}
	whole := p.outgoing.pass(data)
	p.buffer = append(p.buffer, data...)
	if whole > 0 {
		_, p.broken = p.out.Write(p.buffer)
		p.buffer = p.buffer[:0]
		p.open -= whole
		p.answered.Signal()
	}
	return len(data), p.broken
}

func (p *packets) Close() error {
	p.mu.Lock()
	p.broken = os.ErrClosed
	p.answered.Signal()
	p.mu.Unlock()
	_ = os.Stdin.Close()
	return p.out.Close()
}
