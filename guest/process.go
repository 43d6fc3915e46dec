package main

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
)

// A process is a program with pipes or a terminal, on a channel.
type process struct {
	c     *channel
	home  *nursery
	child *child
	stdin *sink
	tty   *os.File   // the master; nil with pipes
	files []*os.File // our ends, all of them
	pumps sync.WaitGroup
}

// startProcess answers OPEN of kind process.
func (a *agent) startProcess(c *channel, request *openRequest) {
	plan, refused := makePlan(request, a.accounts)
	if refused == nil {
		refused = plan.program(request)
	}
	if refused == nil {
		refused = a.launch(c, plan, request.Pty)
	}
	if refused != nil {
		c.refuse(refused)
	}
}

// launch starts a plan and answers OPENED.
func (a *agent) launch(c *channel, plan *plan, terminal *ptySpec) *problem {
	p := &process{c: c, home: a.nursery}
	outputs, theirs, err := p.connect(plan, terminal)
	if err != nil {
		err = &connectError{err}
	} else {
		p.child, err = a.nursery.start(plan.path, plan.argv, &syscall.ProcAttr{
			Dir: plan.cwd, Env: plan.env,
			Files: []uintptr{theirs[0].Fd(), theirs[1].Fd(), theirs[2].Fd()},
			Sys: &syscall.SysProcAttr{
				Setsid: true, Setctty: terminal != nil, Ctty: 0, Credential: plan.credential,
			},
		})
	}
	if terminal == nil || err != nil {
		for _, file := range theirs {
			file.Close()
		}
	}
	if err != nil {
		p.disconnect()
		return whyNotStarted(plan, err)
	}
	c.opened(p, openedAnswer{PID: p.child.pid})
	for _, output := range outputs {
		p.pumps.Add(1)
		go func() {
			defer p.pumps.Done()
			output.run()
		}()
	}
	go p.see()
	return nil
}

// connect makes the terminal or the pipes. With a terminal, the process's end stays ours as well.
func (p *process) connect(plan *plan, terminal *ptySpec) (outputs []*pump, theirs []*os.File, err error) {
	if terminal != nil {
		master, slave, err := openTerminal(terminal)
		if err != nil {
			return nil, nil, err
		}
		own(slave, plan.credential)
		p.tty, p.files = master, []*os.File{master, slave}
		p.stdin, err = newSink(p.c, master, func(last byte) { endOfFile(master, last) })
		return []*pump{newPump(p.c, typeData, master)}, []*os.File{slave, slave, slave}, err
	}
	for i := range 3 {
		var ends [2]int
		if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
			return nil, theirs, err
		}
		mine, its := ends[0], ends[1]
		if i == 0 {
			mine, its = its, mine
		}
		_ = syscall.SetNonblock(mine, true)
		file := os.NewFile(uintptr(mine), "pipe")
		theirs = append(theirs, os.NewFile(uintptr(its), "pipe"))
		own(theirs[i], plan.credential)
		p.files = append(p.files, file)
	}
	outputs = []*pump{newPipePump(p.c, typeData, p.files[1]), newPipePump(p.c, typeStderr, p.files[2])}
	p.stdin, err = newSink(p.c, p.files[0], func(byte) { p.files[0].Close() })
	return outputs, theirs, err
}

func (p *process) disconnect() {
	for _, file := range p.files {
		file.Close()
	}
}

// see sees the process to its end: EOF after the last byte, EXIT after EOF.
func (p *process) see() {
	if p.tty != nil {
		<-p.child.ended
		_ = p.tty.SetReadDeadline(time.Unix(1, 0)) // the pump reads what is left
	}
	p.pumps.Wait()
	_ = p.c.sendEOF()
	<-p.child.ended
	p.c.exit(exitPayload(p.child.status))
	p.disconnect()
}

func (p *process) data(data []byte) { p.stdin.data(data) }
func (p *process) eof()             { p.stdin.close() }

func (p *process) resize(wanted size) {
	if p.tty == nil {
		return
	}
	if raw, err := p.tty.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = resizeTerminal(int(fd), wanted) })
	}
}

func (p *process) signal(name string) {
	number, known := signalNamed(name)
	if !known {
		return
	}
	if p.tty != nil && (number == syscall.SIGINT || number == syscall.SIGQUIT || number == syscall.SIGTSTP) {
		if group := foreground(p.tty); group > 1 && group != p.child.pid {
			_ = syscall.Kill(-group, number)
		}
	}
	p.home.kill(p.child, number)
}

// hangup: a process that has ended is reported, also while others hold its pipes; they are left alone.
func (p *process) hangup() {
	select {
	case <-p.child.ended:
		p.c.exit(exitPayload(p.child.status))
	default:
		p.home.kill(p.child, syscall.SIGHUP)
	}
	p.disconnect()
}

// A connectError: there are no pipes or there is no terminal to be had.
type connectError struct{ error }

func whyNotStarted(plan *plan, err error) *problem {
	name := plan.argv[0]
	var connecting *connectError
	switch {
	case errors.As(err, &connecting):
		return &problem{"start", err.Error()}
	case errors.Is(err, syscall.EPERM) && plan.credential != nil:
		return &problem{"user", "the agent may not start processes as another user"}
	case errors.Is(err, fs.ErrPermission):
		return &problem{"permission", name + ": permission denied"}
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		// also what a script's missing interpreter gives
		return &problem{"not-found", name + ": no such file, or its interpreter is missing"}
	default:
		return &problem{"start", name + ": " + err.Error()}
	}
}
