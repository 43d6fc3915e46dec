package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A child is a process that we started and wait for.
type child struct {
	pid    int
	ended  chan struct{} // closed once status is known
	status syscall.WaitStatus
}

// A nursery starts processes and reaps: its own children, and every orphan that falls to it as PID 1 or subreaper.
type nursery struct {
	mu       sync.Mutex // never held while anything waits
	children map[int]*child
	starting int                        // starts under way
	early    map[int]syscall.WaitStatus // who was reaped meanwhile, and may be one of those
	closed   bool
}

func newNursery() *nursery {
	return &nursery{children: make(map[int]*child), early: make(map[int]syscall.WaitStatus)}
}

// start runs a program as syscall.ForkExec does. It may wait for the program's file.
func (n *nursery) start(path string, argv []string, attr *syscall.ProcAttr) (*child, error) {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil, syscall.ESHUTDOWN
	}
	n.starting++
	n.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, attr)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.starting--
	c := &child{pid: pid, ended: make(chan struct{})}
	if err == nil {
		n.children[pid] = c
		if status, ended := n.early[pid]; ended {
			n.ended(pid, status)
		} else if n.closed {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
	}
	if n.starting == 0 {
		clear(n.early)
	}
	return c, err
}

// reap takes every status that is there; it is called at each SIGCHLD. It reports whether children are left.
func (n *nursery) reap() (left bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return err == nil
		}
		n.ended(pid, status)
	}
}

// ended is called with n.mu held.
func (n *nursery) ended(pid int, status syscall.WaitStatus) {
	if c := n.children[pid]; c != nil {
		delete(n.children, pid)
		c.status = status
		close(c.ended)
	} else if n.starting > 0 {
		n.early[pid] = status
	}
}

// kill sends a signal to the child's process group unless the child has ended: its number may be another's by then.
func (n *nursery) kill(c *child, number syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.children[c.pid] == c {
		_ = syscall.Kill(-c.pid, number)
	}
}

// end hangs up and kills all that we started and all that came of it. Nothing can be started afterwards.
func (n *nursery) end() {
	n.mu.Lock()
	n.closed = true
	for pid := range n.children {
		_ = syscall.Kill(-pid, syscall.SIGHUP)
		_ = syscall.Kill(-pid, syscall.SIGCONT)
	}
	n.mu.Unlock()
	// A tenth of a second to write a history file; a shell needs less.
	for deadline := time.Now().Add(100 * time.Millisecond); n.reap() && time.Now().Before(deadline); {
		time.Sleep(2 * time.Millisecond)
	}
	for deadline := time.Now().Add(time.Second); n.reap() && time.Now().Before(deadline); {
		n.killAll()
		time.Sleep(2 * time.Millisecond)
	}
}

func (n *nursery) killAll() {
	if os.Getpid() == 1 {
		_ = syscall.Kill(-1, syscall.SIGKILL)
		return
	}
	n.mu.Lock()
	for pid := range n.children {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
	n.mu.Unlock()
	for _, pid := range descendants(os.Getpid()) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// descendants are the processes below root, as far as /proc shows them.
func descendants(root int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	below := make(map[int][]int)
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// pid (name) state ppid …; the name may hold anything, the last parenthesis ends it
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			below[parent] = append(below[parent], pid)
		}
	}
	var found []int
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		found = append(found, below[queue[0]]...)
		queue = append(queue, below[queue[0]]...)
	}
	return found
}

// adoptOrphans makes the descendants of our processes fall to us, so that none escapes the end.
func adoptOrphans() {
	if os.Getpid() != 1 {
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
}
