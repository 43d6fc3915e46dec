package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxLeftover bounds what is read from a terminal after its process has ended: more than the kernel keeps of
// the process's own output, so that a background process that goes on writing cannot hold the session.
const maxLeftover = 256 << 10

// A pump carries what a process writes to its channel, as far as the window goes.
//
// It holds no buffer and no credit while there is nothing to read.
type pump struct {
	c    *channel
	kind frameType
	file *os.File

	// what the last try found
	found  outcome
	buffer *[headerSize + maxData]byte
	n      int

	leftover int // how much may still be read once the process has ended; before: -1
}

type outcome byte

const (
	foundNothing outcome = iota // to be tried again when the file is ready
	foundData
	foundEnd
	foundNoCredit // there is something to read, but no window for it
)

func newPump(c *channel, kind frameType, file *os.File) *pump {
	return &pump{c: c, kind: kind, file: file, leftover: -1}
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
		case foundData:
			err := p.c.sendData(p.kind, p.buffer, p.n)
			frames.Put(p.buffer)
			p.buffer = nil
			if err != nil {
				return
			}
			if p.leftover >= 0 {
				if p.leftover -= p.n; p.leftover <= 0 {
					return
				}
			}
		}
	}
}

func (p *pump) try(fd int) outcome {
	credit := p.c.reserve(maxData)
	if credit == 0 {
		return lookAhead(fd)
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
		return foundEnd // EIO is a terminal's
	}
}

// lookAhead finds an end without reading, because no window is needed for that.
func lookAhead(fd int) outcome {
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(ready, 0); err != nil {
		return foundNoCredit
	}
	switch {
	case ready[0].Revents&unix.POLLIN != 0:
		return foundNoCredit
	case ready[0].Revents != 0:
		return foundEnd
	default:
		return foundNothing
	}
}
