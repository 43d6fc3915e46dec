package main

import (
	"bufio"
	"encoding/binary"
	"flag"
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
		if request.Jail != nil {
			plan.argv = append(plan.argv, request.Jail.args()...)
		}
		refused = a.launch(c, plan, nil)
	}
	if refused != nil {
		c.refuse(refused)
	}
}

// sftpMode serves SFTP on standard input and output: 0 at a clean end of input.
func sftpMode(args []string) int {
	flags := flag.NewFlagSet("sftp", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	cwd := flags.String("cwd", "", "")
	spec := jailSpec{}
	flags.Func("root", "", func(text string) error { spec.Root = []byte(text); return nil })
	flags.BoolVar(&spec.ReadOnly, "read-only", false, "")
	flags.Func("hide", "", func(text string) error { spec.Hidden = append(spec.Hidden, text); return nil })
	flags.Int64Var(&spec.Quota, "quota", 0, "")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return misused("sftp takes --cwd DIRECTORY, --root DIRECTORY, --read-only, --hide PATTERN and --quota BYTES")
	}
	if *cwd != "" {
		if err := os.Chdir(*cwd); err != nil {
			complain("%v", err)
			return 1
		}
	}
	serve := serveAll
	if len(spec.Root) > 0 || spec.ReadOnly || len(spec.Hidden) > 0 || spec.Quota > 0 {
		serve = spec.serve
	}
	if err := serve(newPackets(os.Stdin, os.Stdout)); err != nil && err != io.EOF {
		complain("%v", err)
		return 1
	}
	return 0
}

func serveAll(stream *packets) error {
	stream.renames = true
	server, err := sftp.NewServer(stream, sftp.WithAllocator(), sftp.WithMaxTxPacket(sftpData))
	if err != nil {
		return err
	}
	return server.Serve()
}

func (s *jailSpec) serve(stream *packets) error {
	if len(s.Root) == 0 {
		s.Root = []byte("/")
	}
	jail, err := openJail(s)
	if err != nil {
		return err
	}
	return sftp.NewRequestServer(stream, jail.handlers(), sftp.WithRSAllocator(), sftp.WithRSMaxTxPacket(sftpData)).Serve()
}

// packets is the server's stream. It writes each packet at once, although it comes in two parts, and lets the end
// of the input through only when every request has been answered: the server would leave with answers still queued.
type packets struct {
	in       *bufio.Reader
	out      *os.File
	incoming framing
	renames  bool // requests to rename are answered here

	mu       sync.Mutex
	answered sync.Cond
	open     int // requests without an answer
	outgoing framing
	buffer   []byte
	greeted  bool // the VERSION packet is out
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

// between says whether the next byte begins a packet.
func (f *framing) between() bool { return f.have == 0 }

func newPackets(in, out *os.File) *packets {
	p := &packets{in: bufio.NewReaderSize(in, 64<<10), out: out}
	p.answered.L = &p.mu
	return p
}

func (p *packets) Read(buffer []byte) (int, error) {
	for p.incoming.between() {
		answer := takeLimits(p.in)
		if answer == nil && p.renames {
			answer = takeRename(p.in, p.settled)
		}
		if answer == nil {
			break
		}
		if err := p.say(answer); err != nil {
			return 0, err
		}
	}
	n, err := p.in.Read(buffer)
	p.mu.Lock()
	p.open += p.incoming.pass(buffer[:n])
	p.mu.Unlock()
	if err != nil {
		_ = p.settled()
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
		if !p.greeted {
			p.buffer, p.greeted = withLimits(p.buffer), true
		}
		_, p.broken = p.out.Write(p.buffer)
		p.buffer = p.buffer[:0]
		p.open -= whole
		p.answered.Signal()
	}
	return len(data), p.broken
}

// settled waits until every request has its answer; nil, or why the stream is broken.
func (p *packets) settled() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.open > 0 && p.broken == nil {
		p.answered.Wait()
	}
	return p.broken
}

// say sends a packet of our own.
func (p *packets) say(packet []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		_, p.broken = p.out.Write(packet)
	}
	return p.broken
}

func (p *packets) Close() error {
	p.mu.Lock()
	p.broken = os.ErrClosed
	p.answered.Signal()
	p.mu.Unlock()
	_ = os.Stdin.Close()
	return p.out.Close()
}
