package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStreamsEndKillsAll(t *testing.T) {
	g := startAgent(t, nil)
	s := g.open(shell("setsid sh -c 'trap \"\" HUP TERM INT; echo $$; while :; do sleep 1; done' & "+
		"(trap '' HUP; sleep 1000) & echo $!; sleep 1000 & echo $!; echo $$ ready; wait"),
		func(s *session) { s.output = notice(s, "ready") })
	await(t, ready(s), "the processes")
	waitUntil(t, "all have told their number", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(strings.Fields(s.stdout.String())) == 5
	})
	begun := time.Now()
	g.stream.Close()
	err := <-g.exited
	g.exited <- nil
	if err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, word := range strings.Fields(s.stdout.String()) {
		if pid, err := strconv.Atoi(word); err == nil && alive(pid) {
			t.Errorf("process %d lives on", pid)
		}
	}
}

func TestSignalsToTheAgent(t *testing.T) {
	for _, number := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		g := startAgent(t, nil)
		s := g.open(shell("echo $$ up; exec sleep 1000"), func(s *session) { s.output = notice(s, "up") })
		await(t, ready(s), "the process")
		for _, harmless := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGPIPE, syscall.SIGQUIT, syscall.SIGALRM} {
			_ = g.agent.Process.Signal(harmless)
		}
		if got := g.open(shell("exit 3")).wait(); got != "code 3" {
			t.Error(got)
		}
		_ = g.agent.Process.Signal(number)
		err := <-g.exited
		g.exited <- nil
		if err != nil || alive(opened(s)) {
			t.Errorf("%v: %v", number, err)
		}
	}
}

// inNamespace runs the agent as PID 1.
func inNamespace(t *testing.T) *gateway {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	return startAgent(t, func(c *exec.Cmd) {
		c.Args = append([]string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child", agentPath}, c.Args[1:]...)
		c.Path, _ = exec.LookPath("unshare")
	})
}

func TestPIDOneReapsOrphans(t *testing.T) {
	g := inNamespace(t)
	if got := g.open(shell("for i in 1 2 3 4 5; do (sh -c 'exit 0' & sh -c 'sleep 0.01' &) ; done; exit 0")).wait(); got != "code 0" {
		t.Fatal(got)
	}
	waitUntil(t, "no zombies are left", func() bool {
		s := g.open(shell("grep -l '^State:.Z' /proc/[0-9]*/status; ls -d /proc/[0-9]*; :"))
		s.wait()
		return !strings.Contains(s.stdout.String(), "status") && strings.Contains(s.stdout.String(), "/proc/1\n")
	})
}

func TestPIDOneEndsWithItsStream(t *testing.T) {
	g := inNamespace(t)
	s := g.open(shell("setsid sh -c 'trap \"\" HUP TERM; while :; do sleep 1; done' & echo up; wait"),
		func(s *session) { s.output = notice(s, "up") })
	await(t, ready(s), "the process")
	begun := time.Now()
	g.stream.Close()
	err := <-g.exited
	g.exited <- nil
	if took := time.Since(begun); err != nil || took > 3*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

func TestImageFromScratch(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	root := t.TempDir()
	program, _ := os.ReadFile(agentPath)
	if err := os.WriteFile(root+"/program", program, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, user := range []uint32{0, 4321} {
		g := startAgent(t, func(c *exec.Cmd) {
			c.Path, c.Args, c.Dir, c.Env = "/program", []string{"/program", "serve", "--fd", "3"}, "/", []string{"A=1"}
			c.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: user, Gid: user}}
		})
		bare := func(mode, command string) object {
			return object{"kind": "process", "mode": mode, "command": []byte(command)}
		}
		if got := g.open(bare("shell", "")).refusal(); got != "no-shell" {
			t.Error(got)
		}
		for _, command := range []string{"program version", "/program version | cat", "/program $HOME", "", "/program 'version"} {
			if got := g.open(bare("exec", command)).refusal(); got != "no-shell" {
				t.Errorf("%q: %s", command, got)
			}
		}
		for _, command := range []string{"/program version", " /program  'ver'\"sion\" "} {
			if s := g.open(bare("exec", command)); s.wait() != "code 0" || s.stdout.String() != version+"\n" {
				t.Errorf("%q: %q %s", command, s.stdout.String(), s.answer.payload)
			}
		}
		if got := g.open(bare("exec", "/nothing here")).refusal(); got != "not-found" {
			t.Error(got)
		}
		s := g.open(object{"kind": "sftp"})
		s.send([]byte{0, 0, 0, 5, 1, 0, 0, 0, 3})
		s.sendEOF()
		if got := s.wait(); got != "code 0" || s.stdout.Len() < 9 {
			t.Errorf("sftp: %s, %q", got, s.stderr.String())
		}
		s = g.open(object{"kind": "file", "path": []byte(fmt.Sprintf("/made/%d", user))})
		s.sendEOF()
		if got := s.wait(); got != map[uint32]string{0: "code 0", 4321: "code 1"}[user] {
			t.Error(got)
		}
		if s := g.open(with(bare("exec", "/program version"), object{"pty": terminal})); s.refusal() != "start" {
			t.Error("a terminal without /dev")
		}
	}
}

func TestProtocolErrors(t *testing.T) {
	open := func(id uint32, window int) []byte {
		text := fmt.Sprintf(`{"kind":"process","mode":"exec","shell":["L2Jpbi9zaA=="],"command":"c2xlZXAgOQ==","window":%d}`, window)
		return appendFrame(nil, typeOpen, id, []byte(text))
	}
	for name, data := range map[string][]byte{
		"unknown type":            []byte("bash: hello\n"),
		"too long":                {byte(typeData), 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff},
		"even number":             open(2, 0),
		"descending":              append(open(3, 0), open(1, 0)...),
		"twice":                   append(open(1, 0), open(1, 0)...),
		"data on nothing":         appendFrame(nil, typeData, 5, []byte("x")),
		"close on nothing":        appendFrame(nil, typeClose, 5, nil),
		"a frame of the agent":    appendFrame(nil, typeExit, 1, []byte("{}")),
		"a second hello":          appendFrame(nil, typeHello, 0, []byte(`{"versions":[1]}`)),
		"an object of odd things": appendFrame(nil, typeOpened, 1, []byte(`{"window":1}`)),
	} {
		g := startAgent(t, nil)
		_, _ = g.stream.Write(data)
		await(t, g.ended, "the end")
		if g.trouble == nil || g.trouble.Code != "protocol" {
			t.Errorf("%s: %v", name, g.trouble)
		}
	}
	for name, misbehave := range map[string]func(*gateway, *session){
		"window overrun": func(g *gateway, s *session) {
			for range defaultWindow/maxData + 1 {
				g.write(typeData, s.id, make([]byte, maxData))
			}
		},
		"window overflow": func(g *gateway, s *session) {
			g.write(typeWindow, s.id, binary.BigEndian.AppendUint32(nil, maxWindow))
		},
		"data after eof": func(g *gateway, s *session) { s.sendEOF(); g.write(typeData, s.id, []byte("x")) },
		"eof after eof":  func(g *gateway, s *session) { s.sendEOF(); s.sendEOF() },
		"after close":    func(g *gateway, s *session) { g.write(typeClose, s.id, nil); s.wait(); s.sendEOF() },
	} {
		g := startAgent(t, nil)
		s := g.open(shell("exec sleep 1000"))
		misbehave(g, s)
		await(t, g.ended, "the end")
		if g.trouble == nil || g.trouble.Code != "protocol" {
			t.Errorf("%s: %v", name, g.trouble)
		}
	}
}

// rawAgent is an agent that nobody has greeted.
func rawAgent(t *testing.T) (*os.File, <-chan error) {
	ours, theirs := socketpair(t)
	command := exec.Command(agentPath, "serve", "--fd", "3")
	command.ExtraFiles = []*os.File{theirs}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()
	t.Cleanup(func() { ours.Close() })
	return ours, exited
}

func TestHello(t *testing.T) {
	for hello, code := range map[string]string{
		`{"versions":[2,3],"gateway":"x"}`: "version",
		`{"gateway":"x"}`:                  "version",
		`{"versions":1}`:                   "protocol",
	} {
		stream, exited := rawAgent(t)
		_, _ = stream.Write(appendFrame(nil, typeHello, 0, []byte(hello)))
		answer, _ := io.ReadAll(stream)
		f, _, err := parseFrame(answer)
		if err != nil || f.kind != typeError || !bytes.Contains(f.payload, []byte(`"code":"`+code+`"`)) {
			t.Errorf("%s: %s %s", hello, f.kind, f.payload)
		}
		<-exited
	}
	stream, _ := rawAgent(t)
	request := appendFrame(nil, typeHello, 0, []byte(`{"versions":[9,1],"later":true}`))
	request = appendFrame(request, typePing, 0, []byte("now"))
	_, _ = stream.Write(request)
	whole := make([]byte, 0, 4096)
	for len(whole) == 0 || !bytes.HasSuffix(whole, []byte("now")) {
		n, err := stream.Read(whole[len(whole):cap(whole)])
		if err != nil {
			t.Fatal(err)
		}
		whole = whole[:len(whole)+n]
	}
	frames, err := parseAll(whole)
	if err != nil || len(frames) != 2 || frames[0].kind != typeHello || frames[1].kind != typePong {
		t.Errorf("%q", whole)
	}
}

func TestFiles(t *testing.T) {
	g := startAgent(t, nil)
	users := []object{{}}
	if os.Getuid() == 0 {
		users = append(users, object{"user": "nobody"})
	}
	for i, user := range users {
		directory := filepath.Join(filepath.Dir(agentPath), fmt.Sprintf("files-%d", i))
		_ = os.Mkdir(directory, 0o777)
		_ = os.Chmod(directory, 0o777)
		path := directory + "/new/deep/file"
		content := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // four windows
		file := func(path string) object {
			return with(object{"kind": "file", "path": []byte(path), "mode": 0o4751}, user)
		}
		s := g.open(file(path))
		s.send(content)
		if _, err := os.Stat(path); err == nil {
			t.Error("the file is there before it is whole")
		}
		s.sendEOF()
		if got := s.wait(); got != "code 0" {
			t.Error(got, s.exit)
		}
		info, err := os.Stat(path)
		if got, _ := os.ReadFile(path); err != nil || !bytes.Equal(got, content) || info.Mode() != 0o751|os.ModeSetuid {
			t.Errorf("%d bytes, %v, %v", len(got), info, err)
		}
		if i == 1 && info.Sys().(*syscall.Stat_t).Uid != 65534 {
			t.Error("the file is not its user's")
		}
		s = g.open(file(path))
		s.send([]byte("cut short"))
		g.write(typeClose, s.id, nil)
		await(t, s.closed, "CLOSE")
		waitUntil(t, "only the file is left", func() bool {
			left, _ := os.ReadDir(directory + "/new/deep")
			return len(left) == 1
		})
		if got, _ := os.ReadFile(path); !bytes.Equal(got, content) {
			t.Error("a file cut short was put in place")
		}
		s = g.open(file(path + "/below"))
		s.sendEOF()
		if got := s.wait(); got != "code 1" || !strings.Contains(fmt.Sprint(s.exit["message"]), "not a directory") {
			t.Error(got, s.exit)
		}
		s = g.open(file(directory + "/new/deep"))
		s.sendEOF()
		if got := s.wait(); got != "code 1" {
			t.Error(got, s.exit)
		}
	}
}

func TestSFTP(t *testing.T) {
	directory := t.TempDir()
	client, s := startSFTP(t, object{"cwd": []byte(directory)})
	content := bytes.Repeat([]byte("moorage "), 1<<18)
	file, err := client.Create("relative")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = file.ReadFrom(bytes.NewReader(content)); err != nil {
		t.Error(err)
	}
	file.Close()
	if got, _ := os.ReadFile(directory + "/relative"); !bytes.Equal(got, content) {
		t.Errorf("%d bytes were written", len(got))
	}
	if err := client.Symlink("relative", "link"); err != nil {
		t.Error(err)
	}
	if target, _ := os.Readlink(directory + "/link"); target != "relative" {
		t.Errorf("the link leads to %q", target)
	}
	file, err = client.Open("link")
	if err != nil {
		t.Fatal(err)
	}
	var back bytes.Buffer
	if _, err = file.WriteTo(&back); err != nil || !bytes.Equal(back.Bytes(), content) {
		t.Errorf("%d bytes were read, %v", back.Len(), err)
	}
	if here, err := client.Getwd(); err != nil || here != directory {
		t.Errorf("%s, %v", here, err)
	}
	s.sendEOF()
	if got := s.wait(); got != "code 0" {
		t.Error(got, s.stderr.String())
	}
}

func TestDial(t *testing.T) {
	path := t.TempDir() + "/socket"
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(agentPath, "serve", "--dial", path, "--or-stdio")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	connection, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	file, err := connection.(*net.UnixConn).File()
	connection.Close()
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if got := joinAgent(t, file, command).open(shell("exit 3")).wait(); got != "code 3" {
		t.Error(got)
	}
	err = exec.Command(agentPath, "serve", "--dial", path).Run()
	var failed *exec.ExitError
	if !errors.As(err, &failed) || failed.ExitCode() != 1 {
		t.Errorf("nobody listens: %v", err)
	}
	ours, theirs := socketpair(t)
	command = exec.Command(agentPath, "serve", "--dial="+path, "--or-stdio")
	command.Stdin, command.Stdout = theirs, theirs
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if got := joinAgent(t, ours, command).open(shell("exit 4")).wait(); got != "code 4" {
		t.Error(got)
	}
}

func TestStandardInputAndOutputAsPipes(t *testing.T) {
	command := exec.Command(agentPath, "serve")
	in, _ := command.StdinPipe()
	out, _ := command.StdoutPipe()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	const amount = 8 << 20
	request := appendFrame(nil, typeHello, 0, []byte(`{"versions":[1]}`))
	open, _ := json.Marshal(with(shell(fmt.Sprintf("head -c %d /dev/zero", amount)), object{"window": maxWindow}))
	_, _ = in.Write(appendFrame(request, typeOpen, 1, open))
	var whole []byte
	var frames []frame
	for buffer := make([]byte, 1<<16); len(frames) == 0 || frames[len(frames)-1].kind != typeClose; {
		n, err := out.Read(buffer)
		if err != nil {
			t.Fatalf("%v after %d bytes", err, len(whole))
		}
		whole = append(whole, buffer[:n]...)
		if n < len(buffer) {
			frames, _ = parseAll(whole)
		}
	}
	arrived := 0
	for _, f := range frames {
		if f.kind == typeData {
			arrived += len(f.payload)
		}
	}
	if arrived != amount {
		t.Errorf("%d bytes", arrived)
	}
	in.Close()
	if rest, err := io.ReadAll(out); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
}

func TestCompanion(t *testing.T) {
	path := t.TempDir() + "/pid"
	g := startAgent(t, func(c *exec.Cmd) {
		c.Args = append(c.Args, "--idle", "--", "sh", "-c", "echo noise; echo noise >&2; echo $$ >"+path+".new; mv "+path+".new "+path+"; sleep 1000")
	})
	waitUntil(t, "the companion runs", func() bool { _, err := os.Stat(path); return err == nil })
	text, _ := os.ReadFile(path)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	if got := g.open(shell("exit 2")).wait(); got != "code 2" || !alive(pid) {
		t.Error(got)
	}
	g.stream.Close()
	<-g.exited
	g.exited <- nil
	if alive(pid) {
		t.Error("the companion lives on")
	}
}
