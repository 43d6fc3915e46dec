package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func tcpTo(address string) object {
	return object{"kind": "dial", "network": "tcp", "address": address}
}

func unixTo(path string) object {
	return object{"kind": "dial", "network": "unix", "address": []byte(path)}
}

func listenAt(network string, address any) object {
	return object{"kind": "listen", "network": network, "address": address}
}

// serveTCP accepts on the loopback and hands each connection to serve.
func serveTCP(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		for {
			conn, err := socket.Accept()
			if err != nil {
				return
			}
			go serve(conn.(*net.TCPConn))
		}
	}()
	return socket.Addr().String()
}

func (s *session) answered() openedAnswer {
	s.g.t.Helper()
	var answer openedAnswer
	if s.answer.kind != typeOpened || json.Unmarshal(s.answer.payload, &answer) != nil {
		s.g.t.Fatalf("got %s %s instead of OPENED", s.answer.kind, s.answer.payload)
	}
	return answer
}

func TestDialEchoes(t *testing.T) {
	g := startAgent(t, nil)
	address := serveTCP(t, func(conn *net.TCPConn) {
		_, _ = io.Copy(conn, conn)
		_ = conn.CloseWrite()
	})
	var all sync.WaitGroup
	for i := range 50 {
		s := g.open(tcpTo(address))
		if answer := s.answered(); answer.Peer != address || !strings.HasPrefix(answer.Local, "127.0.0.1:") {
			t.Errorf("OPENED: %+v", answer)
		}
		all.Add(1)
		go func() {
			defer all.Done()
			s.send(bytes.Repeat([]byte{byte(i)}, 300_000))
			s.sendEOF()
			await(t, s.closed, "the end")
			g.mu.Lock()
			defer g.mu.Unlock()
			if !bytes.Equal(s.stdout.Bytes(), bytes.Repeat([]byte{byte(i)}, 300_000)) {
				t.Errorf("tunnel %d: %d bytes", i, s.stdout.Len())
			}
			if got := fmt.Sprint(s.order); got != "[OPENED DATA EOF CLOSE]" {
				t.Error(got)
			}
		}()
	}
	all.Wait()
}

func TestDialGoesOnAfterThePeersEnd(t *testing.T) {
	g := startAgent(t, nil)
	sum := make(chan [32]byte, 1)
	address := serveTCP(t, func(conn *net.TCPConn) {
		_ = conn.CloseWrite()
		all, _ := io.ReadAll(conn)
		sum <- sha256.Sum256(all)
	})
	s := g.open(tcpTo(address), func(s *session) { s.stingy = true })
	await(t, s.eof, "the peer's EOF")
	content := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	s.send(content)
	s.sendEOF()
	await(t, s.closed, "CLOSE")
	if <-sum != sha256.Sum256(content) {
		t.Error("the peer got something else")
	}
}

// A peer that breaks the connection is told by CLOSE without EOF, also while the gateway gives no window.
func TestDialTellsOfABreak(t *testing.T) {
	for _, window := range []int{defaultWindow, 0} {
		g := startAgent(t, nil)
		address := serveTCP(t, func(conn *net.TCPConn) {
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.SetLinger(0)
			conn.Close()
		})
		s := g.open(with(tcpTo(address), object{"window": window}))
		s.send([]byte("x"))
		await(t, s.closed, "CLOSE")
		if got := fmt.Sprint(s.order); got != "[OPENED CLOSE]" {
			t.Error(got)
		}
	}
}

func TestDialNeedsNoWindowForTheEnd(t *testing.T) {
	g := startAgent(t, nil)
	s := g.open(with(tcpTo(serveTCP(t, func(conn *net.TCPConn) { _ = conn.CloseWrite() })), object{"window": 0}))
	await(t, s.eof, "EOF")
}

// What was written before CLOSE arrives, although CLOSE is answered at once.
func TestClosedTunnelsStillWrite(t *testing.T) {
	g := startAgent(t, nil)
	read, count := make(chan struct{}), make(chan int, 1)
	address := serveTCP(t, func(conn *net.TCPConn) {
		<-read
		all, _ := io.ReadAll(conn)
		count <- len(all)
	})
	s := g.open(tcpTo(address))
	for range defaultWindow / maxData {
		g.write(typeData, s.id, make([]byte, maxData))
	}
	g.write(typeClose, s.id, nil)
	await(t, s.closed, "the answer to CLOSE")
	close(read)
	if n := <-count; n != defaultWindow {
		t.Errorf("the peer got %d bytes", n)
	}
}

func TestDialRefusals(t *testing.T) {
	g := startAgent(t, nil)
	socket, _ := net.Listen("tcp", "127.0.0.1:0")
	socket.Close()
	directory := t.TempDir()
	file := directory + "/file"
	_ = os.WriteFile(file, nil, 0o600)
	for _, test := range []struct {
		request object
		code    string
	}{
		{tcpTo(socket.Addr().String()), "refused"},
		{tcpTo("localhost:1"), "refused"},
		{tcpTo("127.0.0.1"), "invalid"},
		{tcpTo("127.0.0.1:http"), "invalid"},
		{tcpTo("127.0.0.1:0"), "invalid"},
		{tcpTo("127.0.0.1:65536"), "invalid"},
		{tcpTo(":80"), "invalid"},
		{tcpTo("::1:80"), "invalid"},
		{tcpTo("/tmp/x:80"), "invalid"},
		{tcpTo("two words:80"), "host"},
		{tcpTo(strings.Repeat("x", 10_000) + ":80"), "host"},
		{unixTo(directory + "/none"), "no-socket"},
		{unixTo(file), "refused"},
		{unixTo("relative"), "invalid"},
		{unixTo("@abstract"), "invalid"},
		{unixTo(""), "invalid"},
		{unixTo("/a\x00b"), "invalid"},
		{unixTo("/" + strings.Repeat("x", maxSocketPath)), "invalid"},
		{object{"kind": "dial", "network": "unix", "address": "*"}, "invalid"},
		{object{"kind": "dial", "network": "udp", "address": "127.0.0.1:1"}, "invalid"},
		{with(unixTo("/x"), object{"user": "nobody-of-that-name"}), "user"},
	} {
		if got := g.open(test.request).refusal(); got != test.code {
			t.Errorf("%v: %s", test.request, got)
		}
	}
}

func TestLongRefusalsAreCut(t *testing.T) {
	g := startAgent(t, nil)
	s := g.open(object{"kind": strings.Repeat("ä", 5000)})
	var why problem
	_ = json.Unmarshal(s.answer.payload, &why)
	if s.answer.kind != typeRefused || len(why.Message) > maxMessage || !strings.HasSuffix(why.Message, "ä…") {
		t.Errorf("%d bytes: %q", len(why.Message), why.Message)
	}
}

// incoming is a gateway that accepts what its agent proposes, with the given window.
func incoming(t *testing.T, window int) (*gateway, chan *session) {
	g := startAgent(t, nil)
	came := make(chan *session, maxChannels)
	g.mu.Lock()
	g.proposed = func(f frame) {
		s := g.join(f.channel)
		var request acceptedRequest
		_ = json.Unmarshal(f.payload, &request)
		s.request, s.window = request, request.Window
		g.write(typeOpened, f.channel, object{"window": window})
		came <- s
	}
	g.mu.Unlock()
	return g, came
}

func TestListenBringsConnections(t *testing.T) {
	g, came := incoming(t, defaultWindow)
	path := t.TempDir() + "/socket"
	for _, request := range []object{
		listenAt("tcp", "127.0.0.1:0"), listenAt("tcp", ":0"), listenAt("tcp", "localhost:0"), listenAt("unix", []byte(path)),
	} {
		l := g.open(request)
		network, address := "unix", path
		if port := l.answered().Port; port != 0 {
			network, address = "tcp", "127.0.0.1:"+strconv.Itoa(port)
		}
		conn, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		s := <-came
		if s.id%2 != 0 || s.request.Listener != l.id || s.request.Kind != "accepted" {
			t.Errorf("%d: %+v", s.id, s.request)
		}
		if network == "tcp" && s.request.Peer != conn.LocalAddr().String() {
			t.Errorf("the peer is %s", s.request.Peer)
		}
		s.send([]byte("hello"))
		g.write(typeClose, l.id, nil)
		await(t, l.closed, "the listener's end")
		if _, err := net.Dial(network, address); err == nil {
			t.Error("a closed listener accepts")
		}
		if _, err := conn.Write([]byte("goes on")); err != nil {
			t.Error(err)
		}
		_ = conn.(duplex).CloseWrite()
		await(t, s.eof, "EOF")
		s.sendEOF()
		await(t, s.closed, "CLOSE")
		if all, _ := io.ReadAll(conn); string(all) != "hello" || s.stdout.String() != "goes on" {
			t.Errorf("%q and %q", all, s.stdout.String())
		}
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket's file is still there")
	}
}

func TestRefusedConnectionsAreClosed(t *testing.T) {
	g := startAgent(t, nil)
	g.mu.Lock()
	g.proposed = func(f frame) { g.write(typeRefused, f.channel, object{"code": "no"}) }
	g.mu.Unlock()
	port := g.open(listenAt("tcp", "127.0.0.1:0")).answered().Port
	for range 2 * maxChannels { // numbers and channels are not used up
		conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(conn)
		conn.Close()
	}
}

func TestAnswersThatNobodyWaitsForEndTheStream(t *testing.T) {
	for name, data := range map[string][]byte{
		"accepted twice": append(
			appendFrame(nil, typeOpened, 2, []byte(`{"window":1}`)), appendFrame(nil, typeOpened, 2, []byte(`{"window":1}`))...),
		"another number": appendFrame(nil, typeOpened, 4, []byte(`{"window":1}`)),
		"no window":      appendFrame(nil, typeOpened, 2, []byte(`{"window":-1}`)),
		"a listener":     appendFrame(nil, typeRefused, 1, []byte(`{}`)),
		"too early":      appendFrame(nil, typeData, 2, []byte("x")),
	} {
		g := startAgent(t, nil)
		proposed := make(chan struct{})
		g.mu.Lock()
		g.proposed = func(frame) { close(proposed) }
		g.mu.Unlock()
		port := g.open(listenAt("tcp", "127.0.0.1:0")).answered().Port
		conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		await(t, proposed, "the proposal")
		g.writing.Lock()
		_, _ = g.stream.Write(data)
		g.writing.Unlock()
		await(t, g.ended, "the end")
		if g.trouble == nil || g.trouble.Code != "protocol" {
			t.Errorf("%s: %v", name, g.trouble)
		}
	}
}

func TestListenRefusals(t *testing.T) {
	g, _ := incoming(t, defaultWindow) // whether somebody listens is tried out
	directory := t.TempDir()
	file, live, dead := directory+"/file", directory+"/live", directory+"/dead"
	_ = os.WriteFile(file, []byte("kept"), 0o600)
	port := g.open(listenAt("tcp", "127.0.0.1:0")).answered().Port
	g.open(listenAt("unix", []byte(live))).answered()
	for _, test := range []struct {
		request object
		code    string
	}{
		{listenAt("tcp", fmt.Sprintf("127.0.0.1:%d", port)), "in-use"},
		{listenAt("tcp", fmt.Sprintf("localhost:%d", port)), "in-use"},
		{listenAt("tcp", "192.0.2.1:0"), "address"},
		{listenAt("tcp", "two words:0"), "address"},
		{listenAt("tcp", "nothing"), "invalid"},
		{listenAt("unix", []byte(live)), "in-use"},
		{listenAt("unix", []byte(file)), "in-use"},
		{listenAt("unix", []byte(directory)), "in-use"},
		{listenAt("unix", []byte(directory+"/no/socket")), "no-directory"},
		{listenAt("unix", []byte("@abstract")), "invalid"},
		{listenAt("raw", "1"), "invalid"},
	} {
		if got := g.open(test.request).refusal(); got != test.code {
			t.Errorf("%v: %s", test.request, got)
		}
	}
	if text, _ := os.ReadFile(file); string(text) != "kept" {
		t.Error("a file is gone")
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	socket.SetUnlinkOnClose(false)
	socket.Close()
	g.open(listenAt("unix", []byte(dead))).answered()
	if info, err := os.Lstat(dead); err != nil || info.Mode().Perm() != 0o600 {
		t.Error("a dead listener's socket is not replaced")
	}
}

// The rights that count are those of the request's user.
func TestSocketsAreTheUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	g, _ := incoming(t, defaultWindow)
	shared, private := filepath.Join(filepath.Dir(agentPath), "shared"), filepath.Join(filepath.Dir(agentPath), "private")
	for path, mode := range map[string]os.FileMode{shared: 0o777, private: 0o700} {
		_ = os.Mkdir(path, 0o700)
		_ = os.Chmod(path, mode)
	}
	user := object{"user": "12345:12346"}
	g.open(listenAt("unix", []byte(private+"/ours"))).answered()
	for _, request := range []object{listenAt("unix", []byte(private+"/theirs")), unixTo(private + "/ours")} {
		if got := g.open(with(request, user)).refusal(); got != "denied" {
			t.Error(got)
		}
	}
	path := shared + "/theirs"
	l := g.open(with(listenAt("unix", []byte(path)), user))
	l.answered()
	info, err := os.Lstat(path)
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != 12345 || info.Sys().(*syscall.Stat_t).Gid != 12346 {
		t.Errorf("%v %v", info, err)
	}
	g.open(with(unixTo(path), user)).answered()
	g.write(typeClose, l.id, nil)
	await(t, l.closed, "the end")
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket's file is still there")
	}
	// Nothing of the agent itself has become that user.
	status, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", g.agent.Process.Pid))
	waitUntil(t, "all threads are the agent's own", func() bool {
		for _, path := range status {
			if text, _ := os.ReadFile(path); strings.Contains(string(text), "12345") {
				return false
			}
		}
		return true
	})
}
