package main

import (
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// connectDeadline is how long a connection may take, with the look-up of its host.
	connectDeadline = 10 * time.Second
	// lingerDeadline is how long a peer may take to read what was written before the gateway closed the channel.
	lingerDeadline = 30 * time.Second
	// maxSocketPath is the kernel's limit on a unix socket's path.
	maxSocketPath = 107
)

// A duplex is a connection of which each direction can be ended alone.
type duplex interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// A tunnel joins a connection in the guest to a channel.
type tunnel struct {
	c    *channel
	conn duplex
	in   *pump
	out  *sink

	written chan struct{} // closed when all is written and the end is told
	telling sync.Once

	mu        sync.Mutex
	over      bool
	lingering bool // the gateway has closed the channel before that; counted by the link
}

func newTunnel(c *channel, conn duplex) (*tunnel, error) {
	t := &tunnel{c: c, conn: conn, in: newPump(c, typeData, conn), written: make(chan struct{})}
	out, err := newSink(c, conn, func(byte) { t.telling.Do(t.tellEnd) })
	t.out = out
	t.out.broke = make(chan struct{})
	return t, err
}

func (t *tunnel) tellEnd() {
	_ = t.conn.CloseWrite()
	close(t.written)
}

// run carries bytes until both directions have ended: EOF after the last byte from the connection, CLOSE when the
// last one for it is written too. CLOSE without EOF says that the connection broke.
func (t *tunnel) run() {
	t.in.run()
	if t.in.failed == nil {
		_ = t.c.sendEOF()
		select {
		case <-t.written:
		case <-t.out.broke: // nobody reads there, and nobody writes
		}
	}
	t.c.finish()
	t.conn.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	if t.lingering {
		t.c.link.linger(-1)
	}
}

func (t *tunnel) data(data []byte) { t.out.data(data) }
func (t *tunnel) eof()             { t.out.close() }
func (t *tunnel) resize(size)      {}
func (t *tunnel) signal(string)    {}

// hangup: what was written before is still written, if the peer takes it in time.
func (t *tunnel) hangup() {
	t.mu.Lock()
	if !t.over {
		t.lingering = true
		t.c.link.linger(1)
	}
	t.mu.Unlock()
	_ = t.conn.SetReadDeadline(time.Unix(1, 0))
	_ = t.conn.SetWriteDeadline(time.Now().Add(lingerDeadline))
	t.out.close()
}

// startDial answers OPEN of kind dial.
func (a *agent) startDial(c *channel, request *openRequest) {
	conn, refused := a.connect(request)
	if refused != nil {
		c.refuse(refused)
		return
	}
	t, err := newTunnel(c, conn)
	if err != nil {
		conn.Close()
		c.refuse(whyNotConnected(err))
		return
	}
	c.opened(t, openedAnswer{Local: hostPort(conn.LocalAddr()), Peer: hostPort(conn.RemoteAddr())})
	t.run()
}

func (a *agent) connect(request *openRequest) (conn duplex, refused *problem) {
	var err error
	switch request.Network {
	case "tcp":
		host, port, refused := splitAddress(request.Address)
		if refused != nil {
			return nil, refused
		}
		if host == "" || port == 0 {
			return nil, &problem{"invalid", "A host and a port from 1 to 65535 are needed."}
		}
		conn, err = dialTCP(host, port)
	case "unix":
		path, refused := socketPath(request.Address)
		if refused != nil {
			return nil, refused
		}
		plan, refused := a.planFor(request)
		if refused != nil {
			return nil, refused
		}
		err = plan.asUser(func() (err error) {
			conn, err = dialUnix(path)
			return err
		})
	default:
		return nil, &problem{"invalid", "The network is none of tcp and unix."}
	}
	if err != nil {
		return nil, whyNotConnected(err)
	}
	return conn, nil
}

// planFor says whose rights and environment count for what a request wants.
func (a *agent) planFor(request *openRequest) (*plan, *problem) {
	return makePlan(&openRequest{
		User: request.User, Groups: request.Groups, Env: request.Env, Cwd: []byte("/"),
	}, a.accounts)
}

// dialTCP looks the host up as the guest does, and tries all its addresses, both families side by side.
func dialTCP(host string, port int) (conn duplex, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), connectDeadline)
	defer cancel()
	hosts := []string{host}
	if isLocalhost(host) {
		hosts = []string{"127.0.0.1", "::1"} // never a question to a name server, RFC 6761 §6.3
	}
	dialer := net.Dialer{}
	dialer.SetMultipathTCP(false)
	for _, host := range hosts {
		made, failed := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if failed == nil {
			return made.(duplex), nil
		}
		if err == nil {
			err = failed
		}
	}
	return nil, err
}

func isLocalhost(host string) bool {
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

// dialUnix waits for room only: a full backlog is worth another try.
func dialUnix(path string) (duplex, error) {
	for deadline := time.Now().Add(dialDeadline); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, syscall.EAGAIN) || time.Now().After(deadline) {
			return nil, err
		}
	}
}

// splitAddress takes host:port apart; a host of IPv6 stands in brackets.
func splitAddress(address string) (host string, port int, refused *problem) {
	host, text, err := net.SplitHostPort(address)
	number, bad := strconv.ParseUint(text, 10, 16)
	if err != nil || bad != nil || strings.ContainsAny(host, "\x00/") {
		return "", 0, &problem{"invalid", "That is not a host and a port."}
	}
	return host, int(number), nil
}

// socketPath reads a path: absolute, so that no abstract name is one.
func socketPath(address string) (string, *problem) {
	path, err := base64.StdEncoding.DecodeString(address)
	switch {
	case err != nil, !usable(path), len(path) == 0 || path[0] != '/':
		return "", &problem{"invalid", "The path of a socket must be absolute."}
	case len(path) > maxSocketPath:
		return "", &problem{"invalid", "The path is too long for a socket."}
	}
	return string(path), nil
}

// hostPort is a TCP address in the protocol's form, without a zone; empty for a unix socket's.
func hostPort(address net.Addr) string {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return ""
	}
	return net.JoinHostPort(tcp.IP.String(), strconv.Itoa(tcp.Port))
}

// whyNotConnected words a failure for the user, who knows the address.
func whyNotConnected(err error) *problem {
	var unknown *net.DNSError
	var other *userError
	var timeout net.Error
	switch {
	case errors.As(err, &other):
		return &problem{"user", "The agent may not act as another user."}
	case errors.As(err, &unknown) && unknown.IsNotFound:
		return &problem{"host", "There is no such host."}
	case errors.As(err, &unknown):
		return &problem{"host", "The host's name could not be resolved."}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &problem{"refused", "Connection refused."}
	case errors.As(err, &timeout) && timeout.Timeout():
		return &problem{"timeout", "The connection timed out."}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTDOWN),
		errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return &problem{"unreachable", "The host cannot be reached."}
	case errors.Is(err, fs.ErrPermission):
		return &problem{"denied", "Permission denied."}
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		return &problem{"no-socket", "There is no such socket."}
	}
	return &problem{"connect", "The connection failed: " + reason(err) + "."}
}

// reason is the kernel's word for a failure, without what package net says around it.
func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return "unknown error"
}
