package main

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errStolen: somebody else has read from a process's pipe, which only its own user can do, through /proc.
var errStolen = errors.New("the bytes that waited in a pipe are gone")

// move brings n bytes that wait in a pipe to a socket without copying them: three times less work than a read and a
// write. It says how many it moved: fewer, and no error, if the kernel does not know how.
func move(socket *os.File, pipe, n int) (moved int, err error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Write(func(fd uintptr) (done bool) {
		for moved < n {
			k, trouble := unix.Splice(pipe, nil, int(fd), nil, n-moved, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
			moved += int(max(k, 0))
			switch {
			case trouble == unix.EINTR:
			case trouble == unix.EAGAIN:
				if waiting, _ := unix.IoctlGetInt(pipe, unix.TIOCINQ); waiting > 0 {
					return false // the socket is full
				}
				err = errStolen
				return true
			case trouble == unix.EINVAL, trouble == unix.ENOSYS, trouble == unix.EPERM:
				return true
			case trouble != nil:
				err = trouble
				return true
			case k == 0:
				err = errStolen
				return true
			}
		}
		return true
	})
	return moved, errors.Join(err, failed)
}

// A pipeReader reads what is known to wait in a pipe.
type pipeReader int

func (p pipeReader) Read(buffer []byte) (int, error) {
	n, err := syscall.Read(int(p), buffer)
	switch {
	case err == syscall.EINTR:
		return 0, nil
	case err != nil:
		return 0, errStolen
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
