package main

import (
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dialDeadline = 2 * time.Second
	endDeadline  = 3 * time.Second
)

// An agent is what serves one stream.
type agent struct {
	accounts accounts
	nursery  *nursery
	link     *link

	listeners listeners
}

// The main thread stays the agent's own: threads that became another user end with what they did, this one cannot.
func init() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		runtime.LockOSThread()
	}
}

// serve runs the agent until its stream ends: 0 in good order, 1 if the gateway broke the protocol or there is no stream.
func serve(options serveOptions) int {
	keepDescriptors()
	in, out, err := openStream(options)
	if err != nil {
		complain("%v", err)
		return 1
	}
	for _, wanted := range options.limits {
		if err := wanted.apply(); err != nil {
			complain("%v", err)
			return 1
		}
	}
	adoptOrphans()
	a := &agent{nursery: newNursery()}
	a.link = newLink(in, out, a.open)
	stop := a.watchSignals()
	if len(options.idle) > 0 {
		a.accompany(options.idle)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.link.run() }()
	select {
	case err = <-ended:
	case <-stop:
	}
	time.AfterFunc(endDeadline, func() { os.Exit(1) }) // whatever keeps us
	a.listeners.end()
	a.nursery.end()
	if err != nil {
		complain("%v", err)
		return 1
	}
	return 0
}

func (a *agent) open(c *channel, request *openRequest) {
	switch request.Kind {
	case "process":
		a.startProcess(c, request)
	case "sftp":
		a.startSFTP(c, request)
	case "file":
		a.startFile(c, request)
	case "dial":
		a.startDial(c, request)
	case "listen":
		a.startListen(c, request)
	case "x11":
		a.startX11(c, request)
	case "ssh-agent":
		a.startSSHAgent(c, request)
	default:
		c.refuse(&problem{"unsupported", "this agent does not know the kind " + request.Kind})
	}
}

// watchSignals reaps at SIGCHLD, and tells when the agent is asked to end. All other signals are caught and dropped:
// a PID 1 must not die of them, and what is caught, unlike what is ignored, is not inherited.
func (a *agent) watchSignals() <-chan struct{} {
	caught := make(chan os.Signal, 64)
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	signal.Notify(caught,
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE,
		syscall.SIGALRM, syscall.SIGTERM, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGXCPU,
		syscall.SIGXFSZ, syscall.SIGVTALRM, syscall.SIGIO, syscall.SIGPWR, syscall.SIGWINCH, syscall.SIGCONT)
	stop := make(chan struct{})
	go func() {
		for range died {
			a.nursery.reap()
		}
	}()
	go func() {
		for s := range caught {
			if s == syscall.SIGTERM || s == syscall.SIGINT {
				close(stop)
				return
			}
		}
	}()
	return stop
}

// accompany runs an image's own start-up command in the background. Its end ends nothing else.
func (a *agent) accompany(argv []string) {
	p := &plan{env: os.Environ(), cwd: ""}
	path, refused := p.search(argv[0])
	if refused != nil {
		complain("%s", refused.Message)
		return
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		complain("%v", err)
		return
	}
	defer null.Close()
	child, err := a.nursery.start(path, argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		complain("%s: %v", argv[0], err)
		return
	}
	go func() {
		<-child.ended
		complain("%s has ended (status %#x)", argv[0], int(child.status))
	}()
}

func openStream(options serveOptions) (in, out *os.File, err error) {
	if options.dial != "" {
		file, err := dial(options.dial)
		if err == nil {
			return file, file, nil
		}
		if !options.orStdio {
			return nil, nil, err
		}
		complain("%v; using standard input and output", err)
	}
	if options.fd >= 0 {
		stderrIsFree = options.fd != 2 && !sameFile(options.fd, 2)
		file, err := streamFile(options.fd)
		return file, file, err
	}
	stderrIsFree = !sameFile(1, 2) && !sameFile(0, 2)
	if in, err = streamFile(0); err != nil {
		return nil, nil, err
	}
	out, err = streamFile(1)
	return in, out, err
}

// streamFile takes over a descriptor. Sockets and pipes are waited for without a thread.
func streamFile(fd int) (*os.File, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, &os.PathError{Op: "stream", Path: "descriptor", Err: err}
	}
	if kind := stat.Mode & unix.S_IFMT; kind == unix.S_IFSOCK || kind == unix.S_IFIFO {
		_ = unix.SetNonblock(fd, true)
	}
	return os.NewFile(uintptr(fd), "stream"), nil
}

// keepDescriptors lets no process inherit what we were started with.
func keepDescriptors() {
	if unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	for fd := 3; fd < 1024; fd++ { // Linux before 5.11
		unix.CloseOnExec(fd)
	}
}

func sameFile(a, b int) bool {
	var first, second unix.Stat_t
	return unix.Fstat(a, &first) == nil && unix.Fstat(b, &second) == nil &&
		first.Dev == second.Dev && first.Ino == second.Ino && first.Mode&unix.S_IFMT != unix.S_IFCHR
}

// dial connects to the gateway's socket. Only a full backlog is worth a second try: what is not there now will not come.
func dial(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	for deadline := time.Now().Add(dialDeadline); ; time.Sleep(10 * time.Millisecond) {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if err == nil {
			return os.NewFile(uintptr(fd), path), nil
		}
		if (err != unix.EAGAIN && err != unix.EINTR) || time.Now().After(deadline) {
			_ = unix.Close(fd)
			return nil, &os.PathError{Op: "dial", Path: path, Err: err}
		}
	}
}
