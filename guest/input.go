package main

import (
	"io"
	"sync"
	"syscall"
)

// A queue keeps what has arrived and is not used yet. The window that we grant bounds it.
type queue struct {
	chunks [][]byte
}

const chunkSize = 64 << 10

// chunks of full size are used again.
var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// push copies data, filling up the last chunk first.
func (q *queue) push(data []byte) {
	if last := len(q.chunks) - 1; last >= 0 {
		tail := q.chunks[last]
		n := min(cap(tail)-len(tail), len(data))
		q.chunks[last] = append(tail, data[:n]...)
		data = data[n:]
	}
	for len(data) > 0 {
		n := min(chunkSize, len(data))
		var chunk []byte
		if n < chunkSize/16 && len(q.chunks) == 0 {
			chunk = make([]byte, 0, chunkSize/16) // somebody types
		} else {
			chunk = chunks.Get().(*[chunkSize]byte)[:0]
		}
		q.chunks = append(q.chunks, append(chunk, data[:n]...))
		data = data[n:]
	}
}

// pop takes the first chunk, nil if there is none. Whoever is done with it may recycle it.
func (q *queue) pop() []byte {
	if len(q.chunks) == 0 {
		return nil
	}
	chunk := q.chunks[0]
	q.chunks[0] = nil
	q.chunks = q.chunks[1:]
	return chunk
}

func recycle(chunk []byte) {
	if cap(chunk) == chunkSize {
		chunks.Put((*[chunkSize]byte)(chunk[:chunkSize]))
	}
}

// A sink writes to a process's standard input or a socket without ever making the reading goroutine wait: what does not
// go through at once is queued, and a goroutine that lives as long as the queue writes it.
type sink struct {
	c      *channel
	file   io.Writer
	raw    syscall.RawConn
	finish func(last byte) // after the last byte; once for each close
	broke  chan struct{}   // closed when useless, if somebody wants to know

	mu      sync.Mutex
	queue   queue
	busy    bool // a goroutine is writing
	eof     bool
	useless bool // nobody reads any more: all is discarded, the window still given back
	last    byte // the last byte written
	total   int  // bytes taken
}

// A target is what a sink writes to.
type target interface {
	io.Writer
	syscall.Conn
}

func newSink(c *channel, file target, finish func(last byte)) (*sink, error) {
	raw, err := file.SyscallConn()
	return &sink{c: c, file: file, raw: raw, finish: finish}, err
}

func (s *sink) data(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.busy && !s.useless {
		n := s.attempt(data)
		s.c.consumed(n)
		data = data[n:]
	}
	switch {
	case len(data) == 0:
	case s.useless:
		s.c.consumed(len(data))
	default:
		if s.total < bulk {
			if s.total += len(data); s.total >= bulk {
				_ = s.raw.Control(enlargePipe)
			}
		}
		s.queue.push(data)
		if !s.busy {
			s.busy = true
			go s.drain()
		}
	}
}

// attempt writes what goes through at once.
func (s *sink) attempt(data []byte) (written int) {
	err := s.raw.Write(func(fd uintptr) bool {
		for written < len(data) {
			n, err := syscall.Write(int(fd), data[written:])
			if err == syscall.EINTR {
				continue
			}
			if n <= 0 || err != nil {
				if err != nil && err != syscall.EAGAIN {
					s.giveUp()
				}
				break
			}
			written += n
		}
		return true
	})
	if err != nil {
		s.giveUp()
	}
	if written > 0 {
		s.last = data[written-1]
	}
	return written
}

// giveUp is called with s.mu held.
func (s *sink) giveUp() {
	if !s.useless && s.broke != nil {
		close(s.broke)
	}
	s.useless = true
}

func (s *sink) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eof = true
	if !s.busy {
		s.busy = true
		go s.drain()
	}
}

func (s *sink) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		chunk := s.queue.pop()
		if chunk == nil {
			break
		}
		if !s.useless {
			s.mu.Unlock()
			_, err := s.file.Write(chunk)
			s.mu.Lock()
			if err != nil {
				s.giveUp()
			}
			s.last = chunk[len(chunk)-1]
		}
		s.c.consumed(len(chunk))
		recycle(chunk)
	}
	s.busy = false
	if s.eof {
		last := s.last
		s.mu.Unlock()
		s.finish(last)
		s.mu.Lock()
	}
}
