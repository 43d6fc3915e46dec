package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	helloDeadline = 60 * time.Second
	// readSize holds the longest frame and then some; untouched pages cost nothing.
	readSize = 2 * (headerSize + maxPayload)
	// maxPending bounds the answers that a gateway may leave unread while it goes on asking.
	maxPending = 1 << 20
)

// A link is one stream and its channels.
//
// One goroutine reads (run) and never waits for the stream to take a frame: it posts its answers, and the
// answering goroutine or whoever writes next sends them first. All others write through send, which waits.
type link struct {
	in  io.Reader
	out io.Writer

	// outIsSocket: the content of pipes can be moved to out without being copied.
	outIsSocket bool

	writing sync.Mutex // held by the one that writes to out

	posting sync.Mutex
	pending []byte        // frames posted and not yet written
	posted  chan struct{} // there may be pending frames
	failed  error         // why out is of no use any more

	table    sync.Mutex
	channels map[uint32]*channel
	highest  uint32 // the last number that the gateway has used
	proposed uint32 // the last number that we have used
	lingers  int    // tunnels without a channel that still write

	// open starts what an OPEN asks for, on a goroutine of its own.
	open func(*channel, *openRequest)
}

func newLink(in io.Reader, out io.Writer, open func(*channel, *openRequest)) *link {
	l := &link{
		in: in, out: out, open: open,
		posted:   make(chan struct{}, 1),
		channels: make(map[uint32]*channel),
	}
	if file, ok := out.(*os.File); ok {
		info, err := file.Stat()
		l.outIsSocket = err == nil && info.Mode()&os.ModeSocket != 0
	}
	return l
}

// post queues a frame behind all that was posted before; it never waits.
func (l *link) post(kind frameType, channel uint32, payload []byte) {
	l.posting.Lock()
	if l.failed == nil {
		if len(l.pending) > maxPending {
			l.failed = errors.New("the gateway asks and does not read")
			l.closeIn()
		} else {
			l.pending = appendFrame(l.pending, kind, channel, payload)
		}
	}
	l.posting.Unlock()
	select {
	case l.posted <- struct{}{}:
	default:
	}
}

func (l *link) postJSON(kind frameType, channel uint32, payload any) {
	text, err := json.Marshal(payload)
	if err != nil {
		panic(err) // our own plain structs
	}
	l.post(kind, channel, text)
}

// answer writes posted frames that no sender takes along.
func (l *link) answer() {
	for range l.posted {
		l.writing.Lock()
		l.flush()
		l.writing.Unlock()
	}
}

// flush is called with l.writing held.
func (l *link) flush() error {
	l.posting.Lock()
	batch, err := l.pending, l.failed
	l.pending = nil
	l.posting.Unlock()
	if err != nil || len(batch) == 0 {
		return err
	}
	return l.write(batch)
}

func (l *link) write(data []byte) error {
	_, err := l.out.Write(data)
	if err != nil {
		l.broke(err)
	}
	return err
}

// broke ends the stream, which is of no use any more.
func (l *link) broke(err error) {
	l.posting.Lock()
	l.failed = err
	l.posting.Unlock()
	l.closeIn()
}

// send writes a whole frame (header included) for a channel, after everything that was posted.
// It waits until the stream takes it, and drops it if the channel was closed meanwhile.
func (l *link) send(c *channel, whole []byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.flush(); err != nil {
		return err
	}
	if c.closed.Load() {
		return errClosed
	}
	return l.write(whole)
}

// sendFromPipe is send for a frame of which only the header is at hand; the payload's n bytes wait in a pipe.
func (l *link) sendFromPipe(c *channel, header []byte, pipe, n int) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.flush(); err != nil {
		return err
	}
	if c.closed.Load() {
		return errClosed
	}
	if err := l.write(header); err != nil {
		return err
	}
	moved, err := move(l.out.(*os.File), pipe, n)
	if err == nil && moved < n {
		// This kernel does not move: copy.
		rest := make([]byte, n-moved)
		if _, err = io.ReadFull(pipeReader(pipe), rest); err == nil {
			return l.write(rest)
		}
	}
	if err != nil {
		l.broke(err)
	}
	return err
}

// closeIn makes run return.
func (l *link) closeIn() {
	if file, ok := l.in.(*os.File); ok {
		_ = file.Close()
	}
}

// run speaks the protocol until the stream ends: nil for its end, a *protocolError if the gateway broke it.
func (l *link) run() error {
	go l.answer()
	err := l.read()
	var bad *protocolError
	if errors.As(err, &bad) {
		code := "protocol"
		if bad.kind == "version" {
			code = "version"
		}
		l.fail(code, bad.message)
		return bad
	}
	return nil
}

// fail sends ERROR if the stream takes it within a second.
func (l *link) fail(code, message string) {
	if file, ok := l.out.(*os.File); ok {
		_ = file.SetWriteDeadline(time.Now().Add(time.Second))
	}
	l.postJSON(typeError, 0, problem{code, message})
	done := make(chan struct{})
	go func() {
		l.writing.Lock()
		_ = l.flush()
		l.writing.Unlock()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}

func (l *link) read() error {
	buffer := make([]byte, readSize)
	start, end := 0, 0
	greeted := false
	if file, ok := l.in.(*os.File); ok {
		_ = file.SetReadDeadline(time.Now().Add(helloDeadline))
	}
	for {
		f, n, err := parseFrame(buffer[start:end])
		if err != nil {
			return err
		}
		if n == 0 {
			if start > 0 {
				end = copy(buffer, buffer[start:end])
				start = 0
			}
			n, err := l.in.Read(buffer[end:])
			if n <= 0 || err != nil {
				return err
			}
			end += n
			continue
		}
		start += n
		if start == end {
			start, end = 0, 0 // the payload stays valid until the next read
		}
		if !greeted {
			if err := l.greet(f); err != nil {
				return err
			}
			greeted = true
			if file, ok := l.in.(*os.File); ok {
				_ = file.SetReadDeadline(time.Time{})
			}
			continue
		}
		if err := l.dispatch(f); err != nil {
			return err
		}
	}
}

// features are the kinds of OPEN that we accept.
var features = []string{"process", "sftp", "file", "dial", "listen", "x11", "ssh-agent", "sftp-jail"}

func (l *link) greet(f frame) error {
	if f.kind != typeHello {
		return broken("state", "%s frame before HELLO", f.kind)
	}
	var hello gatewayHello
	if err := json.Unmarshal(f.payload, &hello); err != nil {
		return broken("payload", "HELLO: %v", err)
	}
	for _, offered := range hello.Versions {
		if offered == 1 {
			l.postJSON(typeHello, 0, agentHello{
				Version: 1, Agent: version, OS: runtime.GOOS, Arch: runtime.GOARCH,
				PID: os.Getpid(), UID: os.Getuid(), Features: features,
			})
			return nil
		}
	}
	return &protocolError{"version", "this agent speaks version 1 only"}
}

// dispatch acts on one frame; f.payload is valid only until it returns.
func (l *link) dispatch(f frame) error {
	switch f.kind {
	case typePing:
		l.post(typePong, 0, f.payload)
		return nil
	case typePong:
		return nil
	case typeError:
		return io.EOF
	case typeHello, typeStderr, typeExit:
		return broken("state", "%s frame from the gateway", f.kind)
	case typeOpen:
		return l.opening(f)
	case typeOpened, typeRefused:
		return l.answered(f)
	}
	l.table.Lock()
	c := l.channels[f.channel]
	l.table.Unlock()
	if c == nil || !c.isOpen() {
		return broken("state", "%s frame on channel %d, which is not open", f.kind, f.channel)
	}
	if f.kind == typeClose {
		c.close()
		l.forget(c)
		return nil
	}
	if c.closed.Load() {
		return nil // under way while we closed
	}
	switch f.kind {
	case typeData:
		return c.received(f.payload)
	case typeEOF:
		return c.receivedEOF()
	case typeWindow:
		return c.granted(int(binary.BigEndian.Uint32(f.payload)))
	case typeResize:
		var wanted size
		if json.Unmarshal(f.payload, &wanted) != nil {
			return broken("payload", "RESIZE frame with an unusable payload")
		}
		c.end.resize(wanted)
	case typeSignal:
		var wanted signalRequest
		if json.Unmarshal(f.payload, &wanted) != nil {
			return broken("payload", "SIGNAL frame with an unusable payload")
		}
		c.end.signal(wanted.Name)
	}
	return nil
}

func (l *link) opening(f frame) error {
	if f.channel%2 == 0 || f.channel <= l.highest {
		return broken("state", "OPEN of channel %d after %d", f.channel, l.highest)
	}
	l.highest = f.channel
	c := newChannel(l, f.channel)
	l.table.Lock()
	full := l.isFull()
	if !full {
		l.channels[f.channel] = c
	}
	l.table.Unlock()
	if full {
		l.postJSON(typeRefused, f.channel, problem{"limit", "too many channels are open"})
		return nil
	}
	request := new(openRequest)
	if err := json.Unmarshal(f.payload, request); err != nil || request.Window < 0 || request.Window > maxWindow {
		c.refuse(&problem{"invalid", "a member of the request is unusable"})
		return nil
	}
	c.credit = request.Window
	go l.open(c, request)
	return nil
}

// isFull is called with l.table held.
func (l *link) isFull() bool { return len(l.channels)+l.lingers >= maxChannels }

// linger counts tunnels that live on without their channel: they hold as much as those that have one.
func (l *link) linger(change int) {
	l.table.Lock()
	l.lingers += change
	l.table.Unlock()
}

// errFull: there is no channel left.
var errFull = errors.New("too many channels are open")

// propose opens a channel for a connection that the channel listener has accepted; the gateway decides.
func (l *link) propose(listener uint32, conn duplex) error {
	l.table.Lock()
	defer l.table.Unlock()
	if l.isFull() {
		return errFull
	}
	c := newChannel(l, l.proposed+2)
	t, err := newTunnel(c, conn)
	if err != nil {
		return err
	}
	c.end, c.waiting = t, t
	l.proposed = c.id
	l.channels[c.id] = c
	l.postJSON(typeOpen, c.id, acceptedRequest{"accepted", listener, defaultWindow, hostPort(conn.RemoteAddr())})
	return nil
}

// answered: the gateway has decided on a channel that we have opened.
func (l *link) answered(f frame) error {
	l.table.Lock()
	c := l.channels[f.channel]
	l.table.Unlock()
	if c == nil || c.waiting == nil {
		return broken("state", "%s frame on channel %d, which we do not open", f.kind, f.channel)
	}
	if f.kind == typeRefused {
		l.forget(c)
		c.waiting.conn.Close()
		return nil
	}
	var answer acceptedAnswer
	if json.Unmarshal(f.payload, &answer) != nil || answer.Window < 0 || answer.Window > maxWindow {
		return broken("payload", "OPENED frame with an unusable payload")
	}
	c.accepted(answer.Window)
	return nil
}

func (l *link) forget(c *channel) {
	l.table.Lock()
	delete(l.channels, c.id)
	l.table.Unlock()
}
