package main

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxLeftover bounds what is read from a terminal after its process has ended: more than the kernel keeps of
// the process's own output, so that a background process that goes on writing cannot hold the session.
const maxLeftover = 256 << 10

const (
	// minSplice is how much must wait in a pipe for moving it to be cheaper than copying it.
	minSplice = 16 << 10
	// A process that writes many little pieces is let to gather some: after smallRun of them within smallTime.
	smallRun  = 16
	smallTime = 2 * time.Millisecond
	gather    = 50 * time.Microsecond
	// bulk is how much goes through a pipe before it is given bulkPipe, so that hundreds of quiet processes stay small.
	bulk     = 1 << 20
	bulkPipe = 256 << 10
)

// A pump carries what a process or a socket's peer writes to a channel, as far as the window goes.
//
// It holds no buffer and no credit while there is nothing to read.
type pump struct {
	c    *channel
	kind frameType
	file syscall.Conn

	total int // bytes carried
	small int // pieces below minSplice in a row
	since time.Time

	// what the last try found
	found  outcome
	failed error // what the end was, if not in order
	buffer *[headerSize + maxData]byte
	n      int

	isPipe   bool
	leftover int // how much may still be read once the process has ended; before: -1
}

type outcome byte

const (
	foundNothing outcome = iota // to be tried again when the file is ready
	foundData
	foundEnd
	foundMuch     // n bytes wait in the pipe; their credit is reserved
	foundNoCredit // there is something to read, but no window for it
)

func newPump(c *channel, kind frameType, file syscall.Conn) *pump {
	return &pump{c: c, kind: kind, file: file, leftover: -1}
}

// newPipePump is for a pipe that nobody else reads.
func newPipePump(c *channel, kind frameType, file *os.File) *pump {
	p := newPump(c, kind, file)
	p.isPipe = true
	return p
}

// run returns when the file has ended, when a terminal's process has ended and its output is read,
// or when the channel or the stream is closed. A terminal's end is told by a read deadline in the past.
func (p *pump) run() {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	try := func(fd uintptr) bool {
		p.found = p.try(int(fd))
		return p.found != foundNothing
	}
	tryOnce := func(fd uintptr) { p.found = p.try(int(fd)) }
	for {
		if p.leftover < 0 {
			err = raw.Read(try)
			if os.IsTimeout(err) {
				p.leftover = maxLeftover
				continue
			}
		} else {
			err = raw.Control(tryOnce)
		}
		if err != nil {
			return
		}
		switch p.found {
		case foundNothing, foundEnd:
			return
		case foundNoCredit:
			if !p.c.awaitCredit() {
				return
			}
		default:
			if err := p.send(raw); err != nil {
				return
			}
			p.unhurry()
			if p.leftover >= 0 {
				if p.leftover -= p.n; p.leftover <= 0 {
					return
				}
			}
		}
	}
}

// send sends what was found.
func (p *pump) send(raw syscall.RawConn) (err error) {
	if p.found == foundMuch {
		failed := raw.Control(func(fd uintptr) { err = p.c.sendFromPipe(p.kind, int(fd), p.n) })
		err = errors.Join(err, failed)
	} else {
		err = p.c.sendData(p.kind, p.buffer, p.n)
		frames.Put(p.buffer)
		p.buffer = nil
	}
	if p.total < bulk {
		if p.total += p.n; p.total >= bulk {
			_ = raw.Control(enlargePipe)
		}
	}
	return err
}

// unhurry waits a moment when each little piece would cost a turn of its own. Whoever writes less than eight
// thousand pieces a second never waits.
func (p *pump) unhurry() {
	if p.n >= minSplice || !p.isPipe {
		p.small = 0
		return
	}
	switch p.small++; p.small {
	case 1:
		p.since = time.Now()
	case smallRun:
		p.small = 0
		if time.Since(p.since) < smallTime {
			// Not time.Sleep, which may take a millisecond.
			_ = unix.Nanosleep(&unix.Timespec{Nsec: int64(gather)}, nil)
			p.small = smallRun - 1
			p.since = time.Now().Add(-smallTime / 2)
		}
	}
}

// enlargePipe may fail: its user may have too many large pipes already, and a terminal is no pipe.
func enlargePipe(fd uintptr) {
	_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, bulkPipe)
}

func (p *pump) try(fd int) outcome {
	credit := p.c.reserve(maxData)
	if credit == 0 {
		return p.lookAhead(fd)
	}
	if p.isPipe && p.c.link.outIsSocket && credit >= minSplice {
		if waiting, err := unix.IoctlGetInt(fd, unix.TIOCINQ); err == nil && waiting >= minSplice {
			p.n = min(waiting, credit)
			p.c.release(credit - p.n)
			return foundMuch
		}
	}
	p.buffer = frames.Get().(*[headerSize + maxData]byte)
	for {
		n, err := syscall.Read(fd, p.buffer[headerSize:headerSize+credit])
		if err == syscall.EINTR {
			continue
		}
		p.n = max(n, 0)
		p.c.release(credit - p.n)
		if n > 0 {
			return foundData
		}
		frames.Put(p.buffer)
		p.buffer = nil
		if err == syscall.EAGAIN {
			return foundNothing
		}
		p.failed = err // EIO is a terminal's end
		return foundEnd
	}
}

// lookAhead finds an end without reading, because no window is needed for that.
func (p *pump) lookAhead(fd int) outcome {
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(ready, 0); err != nil {
		return foundNoCredit
	}
	switch {
	case ready[0].Revents == 0:
		return foundNothing
	case ready[0].Revents&unix.POLLIN == 0:
		return foundEnd
	}
	// A socket's end looks like something to read.
	var first [1]byte
	switch n, _, err := unix.Recvfrom(fd, first[:], unix.MSG_PEEK|unix.MSG_DONTWAIT); {
	case n > 0, err == unix.ENOTSOCK:
		return foundNoCredit
	case err == unix.EAGAIN, err == unix.EINTR:
		return foundNothing
	default:
		p.failed = err
		return foundEnd
	}
}
