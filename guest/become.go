package main

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A userError: the agent may not act as another user.
type userError struct{ error }

// asUser does something with the rights of a request's user, on a thread of its own that ends with it: what a
// client has the agent make or reach is made and reached as if one of its programs did it. It returns what do
// returns, or a *userError.
func (p *plan) asUser(do func() error) error {
	if p.credential == nil {
		return do()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked, so that the thread ends with this goroutine
		if err := p.become(); err != nil {
			done <- &userError{err}
			return
		}
		done <- do()
	}()
	return <-done
}

// become changes this thread only; the functions of package syscall change them all.
func (p *plan) become() error {
	groups := p.credential.Groups
	first := unsafe.Pointer(unsafe.SliceData(groups))
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); errno != 0 {
		return errno
	}
	for _, call := range [][2]uint32{
		{unix.SYS_SETRESGID, p.credential.Gid},
		{unix.SYS_SETRESUID, p.credential.Uid},
	} {
		id := uintptr(call[1])
		if _, _, errno := unix.RawSyscall(uintptr(call[0]), id, id, id); errno != 0 {
			return errno
		}
	}
	return nil
}
