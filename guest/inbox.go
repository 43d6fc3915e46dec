package main

import (
	"io"
	"sync"
)

// An inbox is a channel's input as a reader, for endpoints that are no processes. The window that we grant bounds it.
type inbox struct {
	c *channel

	mu      sync.Mutex
	more    sync.Cond
	queue   queue
	current []byte
	eof     bool
	aborted bool
}

func newInbox(c *channel) *inbox {
	b := &inbox{c: c}
	b.more.L = &b.mu
	return b
}

func (b *inbox) data(data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.aborted {
		b.c.consumed(len(data))
		return
	}
	b.queue.push(data)
	b.more.Signal()
}

func (b *inbox) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.eof = true
	b.more.Signal()
}

// abort discards what is left: readers get errClosed.
func (b *inbox) abort() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.aborted = true
	b.queue, b.current = queue{}, nil
	b.more.Signal()
}

// Read waits for data, the end (io.EOF) or abort (errClosed).
func (b *inbox) Read(buffer []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.current) == 0 {
		if b.aborted {
			return 0, errClosed
		}
		if b.current = b.queue.pop(); b.current != nil {
			break
		}
		if b.eof {
			return 0, io.EOF
		}
		b.more.Wait()
	}
	n := copy(buffer, b.current)
	b.current = b.current[n:]
	b.c.consumed(n)
	return n, nil
}
