package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// acceptPause is how long a listener waits when the guest has no descriptor left.
	acceptPause = 50 * time.Millisecond
	// pairTries is how often a port is chosen that must be free for both families.
	pairTries = 20
)

// A listener is what a channel of kind listen, x11 or ssh-agent leads to: sockets, and what was made for them.
type listener struct {
	c       *channel
	sockets []net.Listener
	single  bool
	undo    []func() // called in turn once the sockets are closed; quick

	mu     sync.Mutex
	closed bool
	spent  bool // single, and it has had its one connection
}

// listeners are all of an agent, so that nothing stays behind when it ends.
type listeners struct {
	mu    sync.Mutex
	all   map[*listener]struct{}
	ended bool
	tidy  sync.WaitGroup // what is removed in the background
}

func (s *listeners) add(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[*listener]struct{})
	}
	if s.ended {
		l.close()
		return
	}
	s.all[l] = struct{}{}
}

func (s *listeners) remove(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, l)
}

// end closes all listeners, and waits a moment until nothing is left of them.
func (s *listeners) end() {
	s.mu.Lock()
	s.ended = true
	for l := range s.all {
		l.close()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.tidy.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}

// A listenEnd is a listener as its channel sees it.
type listenEnd struct {
	*listener
	home *listeners
}

func (e listenEnd) data(data []byte) { e.c.consumed(len(data)) }
func (e listenEnd) eof()             {}
func (e listenEnd) resize(size)      {}
func (e listenEnd) signal(string)    {}

func (e listenEnd) hangup() {
	e.home.remove(e.listener)
	e.close()
}

// close accepts no more and removes what was made; idempotent. Connections go on.
func (l *listener) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	l.closeSockets()
	for _, undo := range l.undo {
		undo()
	}
}

func (l *listener) closeSockets() {
	for _, socket := range l.sockets {
		socket.Close()
	}
}

// listenOn opens the channel and accepts.
func (a *agent) listenOn(l *listener, answer openedAnswer) {
	a.listeners.add(l)
	l.c.opened(listenEnd{l, &a.listeners}, answer)
	for _, socket := range l.sockets {
		go l.accept(socket)
	}
}

func (l *listener) accept(socket net.Listener) {
	for {
		conn, err := socket.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(acceptPause)
		default:
			l.offer(conn.(duplex))
		}
	}
}

// offer proposes a connection to the gateway, never after our CLOSE.
func (l *listener) offer(conn duplex) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.spent || l.c.link.propose(l.c.id, conn) != nil {
		conn.Close()
		return
	}
	if l.single {
		l.spent = true
		l.closeSockets()
	}
}

// startListen answers OPEN of kind listen.
func (a *agent) startListen(c *channel, request *openRequest) {
	l := &listener{c: c}
	plan, refused := a.planFor(request)
	if refused != nil {
		c.refuse(refused)
		return
	}
	var err error
	port := 0
	switch request.Network {
	case "tcp":
		var host string
		if host, port, refused = splitAddress(request.Address); refused == nil {
			err = plan.asUser(func() (err error) {
				l.sockets, err = listenTCP(host, port)
				return err
			})
			if err == nil {
				port = l.sockets[0].Addr().(*net.TCPAddr).Port
			}
		}
	case "unix":
		var path string
		if path, refused = socketPath(request.Address); refused == nil {
			err = l.listenUnix(plan, path)
		}
	default:
		refused = &problem{"invalid", "The network is none of tcp and unix."}
	}
	if err != nil {
		refused = whyNotBound(err)
	}
	if refused != nil {
		c.refuse(refused)
		return
	}
	a.listenOn(l, openedAnswer{Port: port})
}

// listenTCP knows the addresses of RFC 4254 §7.1: empty (or, as others have it, "*") for all of both families,
// "localhost" for the loopback of both; one that names no family's loopback is what the guest takes it for.
func listenTCP(host string, port int) ([]net.Listener, error) {
	if host == "*" {
		host = ""
	}
	if !isLocalhost(host) {
		network := "tcp"
		if host == "0.0.0.0" {
			network = "tcp4"
		} else if host == "::" {
			network = "tcp6"
		}
		socket, err := bindTCP(network, host, port)
		return []net.Listener{socket}, err
	}
	for tries := 1; ; tries++ {
		sockets, err := bindLoopback(port)
		if err == nil || port != 0 || tries == pairTries || !errors.Is(err, syscall.EADDRINUSE) {
			return sockets, err
		}
	}
}

// bindLoopback binds one port of both loopback addresses, as far as the guest has them.
func bindLoopback(port int) (sockets []net.Listener, err error) {
	var missing error
	for _, family := range [][2]string{{"tcp4", "127.0.0.1"}, {"tcp6", "::1"}} {
		socket, err := bindTCP(family[0], family[1], port)
		switch {
		case err == nil:
			sockets = append(sockets, socket)
			port = socket.Addr().(*net.TCPAddr).Port
		case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
			missing = err
		default:
			for _, socket := range sockets {
				socket.Close()
			}
			return nil, err
		}
	}
	if len(sockets) == 0 {
		return nil, missing
	}
	return sockets, nil
}

func bindTCP(network, host string, port int) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), connectDeadline)
	defer cancel()
	config := net.ListenConfig{}
	config.SetMultipathTCP(false)
	return config.Listen(ctx, network, net.JoinHostPort(host, strconv.Itoa(port)))
}

// listenUnix adds a socket that only the plan's user can connect to, and that is removed with the listener.
func (l *listener) listenUnix(plan *plan, path string) error {
	return plan.asUser(func() error {
		socket, err := bindUnix(path)
		if errors.Is(err, syscall.EADDRINUSE) && isDead(path) {
			if err = os.Remove(path); err == nil {
				socket, err = bindUnix(path)
			}
		}
		if err != nil {
			return err
		}
		made, err := os.Lstat(path)
		if err != nil {
			socket.Close()
			return err
		}
		l.sockets = append(l.sockets, socket)
		l.undo = append(l.undo, func() {
			_ = plan.asUser(func() error {
				if there, err := os.Lstat(path); err != nil || !os.SameFile(made, there) {
					return err // somebody else's by now
				}
				return os.Remove(path)
			})
		})
		return nil
	})
}

func bindUnix(path string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, socket syscall.RawConn) error {
		// Before it is bound: its file then never has another mode.
		return socket.Control(func(fd uintptr) { _ = unix.Fchmod(int(fd), 0o600) })
	}}
	socket, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	socket.(*net.UnixListener).SetUnlinkOnClose(false)
	return socket, nil
}

// isDead says whether path is a socket that nobody listens on any more.
func isDead(path string) bool {
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// whyNotBound words a failure for the user, who knows the address.
func whyNotBound(err error) *problem {
	var unknown *net.DNSError
	var other *userError
	switch {
	case errors.As(err, &other):
		return whyNotConnected(err)
	case errors.Is(err, syscall.EADDRINUSE):
		return &problem{"in-use", "That address is in use."}
	case errors.As(err, &unknown), errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return &problem{"address", "There is no such address here."}
	case errors.Is(err, fs.ErrPermission):
		return &problem{"denied", "Permission denied."}
	case errors.Is(err, syscall.EROFS):
		return &problem{"denied", "The file system is read-only."}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return &problem{"no-directory", "There is no such directory."}
	}
	return &problem{"listen", "Listening failed: " + reason(err) + "."}
}
