package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
)

// errClosed: the channel is closed, and whoever still works for it should stop.
var errClosed = errors.New("the channel is closed")

// An endpoint is what a channel leads to. Its methods are called by the reading goroutine and never wait.
type endpoint interface {
	// data takes some bytes for standard input; they are valid only until it returns.
	// It calls consumed once they are used up.
	data([]byte)
	eof()
	resize(size)
	signal(name string)
	// hangup ends everything; called once, when the gateway has closed the channel.
	hangup()
}

// A channel counts both windows and keeps the order of frames.
type channel struct {
	id     uint32
	link   *link
	end    endpoint // set by opened
	closed atomic.Bool

	// waiting is for a channel that we open: the tunnel that runs once the gateway has accepted. Nil afterwards.
	// Only the reading goroutine uses it.
	waiting *tunnel

	mu       sync.Mutex
	open     bool
	credit   int       // how many bytes we may send
	enough   sync.Cond // credit grew, or closed
	window   int       // how many bytes the gateway may send
	used     int       // consumed and not yet given back
	gotEOF   bool
	sentLast bool // CLOSE
}

func newChannel(l *link, id uint32) *channel {
	c := &channel{id: id, link: l, window: defaultWindow}
	c.enough.L = &c.mu
	return c
}

func (c *channel) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// opened accepts the channel; frames for it may follow at once.
func (c *channel) opened(end endpoint, answer openedAnswer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end, c.open = end, true
	answer.Window = defaultWindow
	c.link.postJSON(typeOpened, c.id, answer)
}

// accepted: the gateway takes the channel that we have opened, and lets us send that much.
func (c *channel) accepted(credit int) {
	t := c.waiting
	c.waiting = nil
	c.mu.Lock()
	c.open, c.credit = true, credit
	c.mu.Unlock()
	go t.run()
}

func (c *channel) refuse(why *problem) {
	c.link.forget(c)
	c.link.postJSON(typeRefused, c.id, problem{why.Code, cut(why.Message)})
}

// cut keeps what a user may want to read of a message.
func cut(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage-len("…")], "") + "…"
}

// received passes DATA on.
func (c *channel) received(payload []byte) error {
	c.mu.Lock()
	if c.gotEOF {
		c.mu.Unlock()
		return broken("state", "DATA after EOF on channel %d", c.id)
	}
	if len(payload) > c.window {
		c.mu.Unlock()
		return broken("state", "DATA beyond the window on channel %d", c.id)
	}
	c.window -= len(payload)
	c.mu.Unlock()
	c.end.data(payload)
	return nil
}

func (c *channel) receivedEOF() error {
	c.mu.Lock()
	again := c.gotEOF
	c.gotEOF = true
	c.mu.Unlock()
	if again {
		return broken("state", "EOF after EOF on channel %d", c.id)
	}
	c.end.eof()
	return nil
}

func (c *channel) granted(more int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.credit += more
	if c.credit > maxWindow {
		return broken("state", "the window of channel %d is beyond 16 MiB", c.id)
	}
	c.enough.Broadcast()
	return nil
}

// consumed gives the gateway its window back, a good part at a time.
func (c *channel) consumed(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used += n
	if c.used < defaultWindow/4 || c.gotEOF || c.closed.Load() {
		return
	}
	var payload [4]byte
	binary.BigEndian.PutUint32(payload[:], uint32(c.used))
	c.window += c.used
	c.used = 0
	c.link.post(typeWindow, c.id, payload[:])
}

// reserve takes up to most bytes of credit: 0 if there is none.
func (c *channel) reserve(most int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(most, c.credit)
	c.credit -= n
	return n
}

// release gives back credit that was reserved and not used.
func (c *channel) release(n int) {
	if n > 0 {
		c.mu.Lock()
		c.credit += n
		c.mu.Unlock()
	}
}

// awaitCredit waits until there is some; false when the channel is closed.
func (c *channel) awaitCredit() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.credit == 0 && !c.closed.Load() {
		c.enough.Wait()
	}
	return !c.closed.Load()
}

// frames holds buffers with room for a header and the longest DATA payload.
var frames = sync.Pool{New: func() any { return new([headerSize + maxData]byte) }}

// sendData sends the n bytes that stand behind the header's place in buffer. The credit was reserved.
func (c *channel) sendData(kind frameType, buffer *[headerSize + maxData]byte, n int) error {
	putHeader(buffer[:], kind, c.id, n)
	return c.link.send(c, buffer[:headerSize+n])
}

// sendFromPipe sends n bytes that wait in a pipe. The credit was reserved.
func (c *channel) sendFromPipe(kind frameType, pipe, n int) error {
	var header [headerSize]byte
	putHeader(header[:], kind, c.id, n)
	return c.link.sendFromPipe(c, header[:], pipe, n)
}

func (c *channel) sendEOF() error {
	return c.link.send(c, appendFrame(nil, typeEOF, c.id, nil))
}

// exit reports the end with EXIT and CLOSE. Its payload is an exitCode or an exitSignal.
func (c *channel) exit(payload any) {
	text, err := json.Marshal(payload)
	if err != nil {
		panic(err) // our own plain structs
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sentLast {
		return
	}
	c.sentLast = true
	c.closed.Store(true)
	c.link.post(typeExit, c.id, text)
	c.link.post(typeClose, c.id, nil)
	c.enough.Broadcast()
}

// finish ends a channel that reports no exit, with CLOSE.
func (c *channel) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sentLast {
		return
	}
	c.sentLast = true
	c.closed.Store(true)
	c.link.post(typeClose, c.id, nil)
	c.enough.Broadcast()
}

// close answers the gateway's CLOSE; the endpoint may report its exit before, if that is known.
func (c *channel) close() {
	if c.closed.Load() {
		return
	}
	c.end.hangup()
	c.finish()
}
