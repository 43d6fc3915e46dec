package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests here speak the protocol to the built agent, as a gateway does.

const patience = 15 * time.Second

var agentPath string

func TestMain(m *testing.M) {
	if helper, ok := helpers[os.Getenv("AGENT_TEST_HELPER")]; ok {
		os.Exit(helper())
	}
	// What is caught is not inherited: the tests begin the same way under nohup.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	directory, err := os.MkdirTemp("", "agent-test-")
	if err != nil {
		panic(err)
	}
	_ = os.Chmod(directory, 0o755)
	agentPath = filepath.Join(directory, "moorage-agent")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", agentPath, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		panic(string(text))
	}
	code := m.Run()
	_ = os.RemoveAll(directory)
	os.Exit(code)
}

// object is a JSON object to be sent.
type object = map[string]any

// A gateway is the other end of an agent's stream.
type gateway struct {
	t      *testing.T
	stream *os.File
	agent  *exec.Cmd
	exited chan error

	writing sync.Mutex
	mu      sync.Mutex
	streams map[uint32]*session
	last    uint32
	trouble *problem // the agent's ERROR
	ended   chan struct{}

	proposed func(frame) // called with the agent's OPEN, by the reading goroutine
}

// A session collects all that a channel brings.
type session struct {
	g       *gateway
	id      uint32
	answer  frame
	opened  chan struct{} // OPENED or REFUSED has come
	closed  chan struct{} // CLOSE has come, or the stream has ended
	eof     chan struct{}
	order   []frameType // every frame but WINDOW, in order, repetitions left out
	window  int         // what we may send
	grown   sync.Cond
	output  io.Writer
	stdout  bytes.Buffer
	stderr  bytes.Buffer
	exit    object
	stingy  bool // gives no window back
	arrived int
	request acceptedRequest // of a channel that the agent has opened
}

func socketpair(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.SetNonblock(pair[0], true)
	return os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
}

// startAgent runs the agent with its stream on descriptor 3; prepare may change how.
func startAgent(t *testing.T, prepare func(*exec.Cmd)) *gateway {
	t.Helper()
	ours, theirs := socketpair(t)
	command := exec.Command(agentPath, "serve", "--fd", "3")
	said := new(bytes.Buffer)
	command.Stderr = said
	t.Cleanup(func() {
		if t.Failed() && said.Len() > 0 {
			t.Logf("the agent said: %s", said)
		}
	})
	command.ExtraFiles = []*os.File{theirs}
	if prepare != nil {
		prepare(command)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	return joinAgent(t, ours, command)
}

func joinAgent(t *testing.T, stream *os.File, command *exec.Cmd) *gateway {
	t.Helper()
	g := &gateway{
		t: t, stream: stream, agent: command, exited: make(chan error, 1),
		streams: make(map[uint32]*session), ended: make(chan struct{}),
	}
	go func() { g.exited <- command.Wait() }()
	t.Cleanup(func() {
		stream.Close()
		select {
		case <-g.exited:
		case <-time.After(patience):
			_ = command.Process.Kill()
			t.Error("the agent outlived its stream")
		}
	})
	g.write(typeHello, 0, object{"versions": []int{1}, "gateway": "test"})
	hello := g.readFrame()
	if hello.kind != typeHello {
		t.Fatalf("the agent greets with %s %s", hello.kind, hello.payload)
	}
	go g.read()
	return g
}

// write sends a frame; its payload is bytes, nil or an object.
func (g *gateway) write(kind frameType, channel uint32, payload any) {
	var data []byte
	switch payload := payload.(type) {
	case nil:
	case []byte:
		data = payload
	default:
		data, _ = json.Marshal(payload)
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	_, _ = g.stream.Write(appendFrame(nil, kind, channel, data))
}

func (g *gateway) readFrame() frame {
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(g.stream, header); err != nil {
		return frame{}
	}
	whole := append(header, make([]byte, binary.BigEndian.Uint32(header[5:]))...)
	if _, err := io.ReadFull(g.stream, whole[headerSize:]); err != nil {
		return frame{}
	}
	f, n, err := parseFrame(whole)
	if err != nil || n != len(whole) {
		g.t.Errorf("the agent sent a broken frame: %v", err)
		return frame{}
	}
	return f
}

func (g *gateway) read() {
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, s := range g.streams {
			s.finish()
		}
		close(g.ended)
	}()
	for {
		f := g.readFrame()
		switch f.kind {
		case 0:
			return
		case typeError:
			g.trouble = new(problem)
			_ = json.Unmarshal(f.payload, g.trouble)
			return
		case typePong:
			continue
		}
		g.mu.Lock()
		s, proposed := g.streams[f.channel], g.proposed
		g.mu.Unlock()
		if f.kind == typeOpen && proposed != nil {
			proposed(f)
			continue
		}
		if s == nil {
			g.t.Errorf("%s for channel %d, which is not there", f.kind, f.channel)
			return
		}
		s.take(f)
	}
}

func (s *session) finish() {
	for _, c := range []chan struct{}{s.opened, s.eof, s.closed} {
		select {
		case <-c:
		default:
			close(c)
		}
	}
	s.grown.Broadcast()
}

func (s *session) take(f frame) {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if f.kind != typeWindow && (len(s.order) == 0 || s.order[len(s.order)-1] != f.kind) {
		s.order = append(s.order, f.kind)
	}
	switch f.kind {
	case typeOpened:
		var opened openedAnswer
		_ = json.Unmarshal(f.payload, &opened)
		s.answer, s.window = f, opened.Window
		close(s.opened)
	case typeRefused:
		s.answer = f
		s.finish()
		delete(s.g.streams, s.id)
	case typeData, typeStderr:
		s.arrived += len(f.payload)
		if f.kind == typeData {
			_, _ = s.output.Write(f.payload)
		} else {
			_, _ = s.stderr.Write(f.payload)
		}
		if !s.stingy {
			go s.g.write(typeWindow, s.id, binary.BigEndian.AppendUint32(nil, uint32(len(f.payload))))
		}
	case typeEOF:
		close(s.eof)
	case typeWindow:
		s.window += int(binary.BigEndian.Uint32(f.payload))
		s.grown.Broadcast()
	case typeExit:
		s.exit = object{}
		_ = json.Unmarshal(f.payload, &s.exit)
	case typeClose:
		// A window that is still under way to the agent arrives before or is dropped: our CLOSE is the last.
		s.finish()
		delete(s.g.streams, s.id)
	default:
		s.g.t.Errorf("unexpected %s", f.kind)
	}
}

func (g *gateway) newSession(id uint32) *session {
	s := &session{
		g: g, id: id, opened: make(chan struct{}), closed: make(chan struct{}), eof: make(chan struct{}),
	}
	s.grown.L = &g.mu
	s.output = &s.stdout
	return s
}

// join takes a channel that the agent opens.
func (g *gateway) join(id uint32) *session {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.newSession(id)
	g.streams[id] = s
	return s
}

// open starts a channel and waits for the answer. Without a window it gets the default one.
func (g *gateway) open(request object, options ...func(*session)) *session {
	g.t.Helper()
	if request["window"] == nil {
		request["window"] = defaultWindow
	}
	g.mu.Lock()
	g.last = max(g.last+2, 1) | 1
	s := g.newSession(g.last)
	for _, option := range options {
		option(s)
	}
	g.streams[s.id] = s
	g.write(typeOpen, s.id, request)
	g.mu.Unlock()
	await(g.t, s.opened, "an answer to OPEN")
	return s
}

func await(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
	}
}

// send writes DATA as the window allows.
func (s *session) send(data []byte) {
	for len(data) > 0 {
		s.g.mu.Lock()
		for s.window == 0 {
			select {
			case <-s.closed:
				s.g.mu.Unlock()
				return
			default:
			}
			s.grown.Wait()
		}
		n := min(len(data), s.window, maxData)
		s.window -= n
		s.g.mu.Unlock()
		s.g.write(typeData, s.id, data[:n])
		data = data[n:]
	}
}

func (s *session) sendEOF() { s.g.write(typeEOF, s.id, nil) }

// wait waits for the channel's end and says how the process ended.
func (s *session) wait() string {
	s.g.t.Helper()
	await(s.g.t, s.closed, fmt.Sprintf("the end of channel %d", s.id))
	switch {
	case s.exit == nil:
		return fmt.Sprintf("no exit: %s", s.answer.payload)
	case s.exit["signal"] != nil:
		return "signal " + s.exit["signal"].(string)
	default:
		return fmt.Sprintf("code %v", s.exit["code"])
	}
}

func (s *session) refusal() string {
	s.g.t.Helper()
	var why problem
	if s.answer.kind != typeRefused || json.Unmarshal(s.answer.payload, &why) != nil {
		s.g.t.Fatalf("got %s %s instead of a refusal", s.answer.kind, s.answer.payload)
	}
	return why.Code
}

func shell(command string) object {
	return object{"kind": "process", "mode": "exec", "command": []byte(command), "shell": [][]byte{[]byte("/bin/sh")}}
}

func with(request object, more object) object {
	for name, value := range more {
		request[name] = value
	}
	return request
}

var terminal = object{"term": []byte("xterm"), "columns": 80, "rows": 24, "width": 0, "height": 0, "modes": object{}}

// helper is a request for one of the helpers, which are this test program itself.
func helper(name string) object {
	self, _ := os.Executable()
	return object{
		"kind": "process", "mode": "argv", "argv": [][]byte{[]byte(self)},
		"env": [][]byte{[]byte("AGENT_TEST_HELPER=" + name)},
	}
}

// waitUntil polls a fact that no event tells, such as another process's state.
func waitUntil(t *testing.T, what string, fact func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !fact(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil && !isZombie(pid) }

func isZombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(text), ") Z ")
}
