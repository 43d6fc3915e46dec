package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// helpers are programs that the tests start in the guest.
var helpers = map[string]func() int{
	"termios": func() int {
		termios, err := unix.IoctlGetTermios(0, unix.TCGETS2)
		if err != nil {
			return 1
		}
		size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		if err != nil {
			return 1
		}
		_ = json.NewEncoder(os.Stdout).Encode(object{"termios": termios, "size": size})
		return 0
	},
	"descriptors": func() int {
		for fd := 3; fd < 1024; fd++ {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
				link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
				if !strings.HasPrefix(link, "anon_inode:") && !strings.HasPrefix(link, "/proc/") && !strings.HasPrefix(link, "/sys/") {
					fmt.Println(fd, link)
				}
			}
		}
		return 0
	},
}

func TestExitCodes(t *testing.T) {
	g := startAgent(t, nil)
	for first := 0; first < 256; first += 32 {
		var running []*session
		for code := first; code < first+32; code++ {
			running = append(running, g.open(shell(fmt.Sprintf("exit %d", code))))
		}
		for i, s := range running {
			if got, want := s.wait(), fmt.Sprintf("code %d", first+i); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if want := []frameType{typeOpened, typeEOF, typeExit, typeClose}; !slices.Equal(s.order, want) {
				t.Errorf("frames came as %v", s.order)
			}
		}
	}
}

func TestExitSignals(t *testing.T) {
	g := startAgent(t, nil)
	for name := range rfcSignals {
		if got := g.open(shell("ulimit -c 0; kill -" + name + " $$; sleep 9")).wait(); got != "signal "+name {
			t.Errorf("%s came as %s", name, got)
		}
	}
	for number, name := range map[int]string{16: "STKFLT@linux", 24: "XCPU@linux", 40: "RT40@linux"} {
		if got := g.open(shell(fmt.Sprintf("ulimit -c 0; kill -%d $$; sleep 9", number))).wait(); got != "signal "+name {
			t.Errorf("%s came as %s", name, got)
		}
	}
}

func TestCoreFlagIsTheStatusOwn(t *testing.T) {
	for core, status := range map[bool]syscall.WaitStatus{true: 11 | 0x80, false: 11} {
		want := exitSignal{Signal: "SEGV", Core: core}
		if got := exitPayload(status); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestSignalsGoToTheGroup(t *testing.T) {
	g := startAgent(t, nil)
	for _, name := range []string{"TERM", "KILL", "USR1", "SYS@linux"} {
		s := g.open(shell("sleep 1000 & echo $! ready; wait"), func(s *session) { s.output = notice(s, "ready") })
		await(t, ready(s), "the process")
		g.write(typeSignal, s.id, object{"name": name})
		if got := s.wait(); got != "signal "+name {
			t.Errorf("%s gave %s", name, got)
		}
		// The session has ended, so nobody holds its pipes any more: the other process is gone as well.
		pid, _ := strconv.Atoi(strings.Fields(s.stdout.String())[0])
		waitUntil(t, name+" has reached the whole group", func() bool { return !alive(pid) })
	}
	s := g.open(shell("echo ready; read x; exit 5"), func(s *session) { s.output = notice(s, "ready") })
	await(t, ready(s), "the process")
	g.write(typeSignal, s.id, object{"name": "NONSENSE"})
	g.write(typeResize, s.id, object{"columns": 1, "rows": 1, "width": 0, "height": 0})
	s.sendEOF()
	if got := s.wait(); got != "code 5" {
		t.Errorf("a signal that does not exist gave %s", got)
	}
}

// noticing tells when a text has appeared in the output.
type noticing struct {
	s    *session
	text string
	seen chan struct{}
}

func notice(s *session, text string) io.Writer {
	return &noticing{s, text, make(chan struct{})}
}

func ready(s *session) <-chan struct{} { return s.output.(*noticing).seen }

func (n *noticing) Write(data []byte) (int, error) {
	before := strings.Contains(n.s.stdout.String(), n.text)
	n.s.stdout.Write(data)
	if !before && strings.Contains(n.s.stdout.String(), n.text) {
		close(n.seen)
	}
	return len(data), nil
}

func TestStandardErrorIsApart(t *testing.T) {
	s := startAgent(t, nil).open(shell("echo out; echo err >&2; exit 2"))
	if s.wait() != "code 2" || s.stdout.String() != "out\n" || s.stderr.String() != "err\n" {
		t.Errorf("%q, %q, %v", s.stdout.String(), s.stderr.String(), s.exit)
	}
}

func TestCommandsAreBytes(t *testing.T) {
	s := startAgent(t, nil).open(with(shell("printf '%s' '\xff\xfe' \"$ODD\""), object{"env": [][]byte{[]byte("ODD=\x80")}}))
	if s.wait() != "code 0" || s.stdout.String() != "\xff\xfe\x80" {
		t.Errorf("%q", s.stdout.String())
	}
}

func TestEnvironmentReplacesAndFillsUp(t *testing.T) {
	g := startAgent(t, func(c *exec.Cmd) { c.Env = []string{"A=1", "B=1", "PATH=/usr/bin:/bin"}; c.Dir = "/" })
	s := g.open(with(shell("env; pwd"), object{"env": [][]byte{[]byte("B=2"), []byte("B=3"), []byte("C=x=y")}}))
	s.wait()
	for _, want := range []string{"A=1", "B=3", "C=x=y", "PATH=/usr/bin:/bin", "HOME=" + s.g.home(), "USER=", "SHELL=/"} {
		if !strings.Contains("\n"+s.stdout.String(), "\n"+want) {
			t.Errorf("no %s in %q", want, s.stdout.String())
		}
	}
	if strings.Contains(s.stdout.String(), "B=1") || !strings.HasSuffix(s.stdout.String(), "\n"+g.home()+"\n") {
		t.Errorf("%q", s.stdout.String())
	}
}

func (g *gateway) home() string {
	if home := (accounts{}).own().home; home != "" {
		return home
	}
	return "/"
}

func TestHalfCloseOfInput(t *testing.T) {
	s := startAgent(t, nil).open(shell("wc -c; echo after"))
	s.send([]byte("12345"))
	s.sendEOF()
	if s.wait() != "code 0" || strings.Fields(s.stdout.String())[0] != "5" || !strings.HasSuffix(s.stdout.String(), "after\n") {
		t.Errorf("%q", s.stdout.String())
	}
}

func TestHalfCloseOfOutput(t *testing.T) {
	path := t.TempDir() + "/copy"
	s := startAgent(t, nil).open(shell("exec cat >" + path + " 2>&1"))
	await(t, s.eof, "EOF")
	s.send([]byte("still open"))
	s.sendEOF()
	if got := s.wait(); got != "code 0" {
		t.Error(got)
	}
	if text, _ := os.ReadFile(path); string(text) != "still open" {
		t.Errorf("%q", text)
	}
}

const large = 200 << 20

func TestLargeOutput(t *testing.T) {
	sum := sha256.New()
	s := startAgent(t, nil).open(shell(fmt.Sprintf("head -c %d /dev/urandom | tee /dev/fd/3 3>&1 >/dev/null | "+
		"{ tee /dev/fd/4 4>&3 | sha256sum >&2; } 3>&1", large)), func(s *session) { s.output = sum })
	if got := s.wait(); got != "code 0" || s.arrived < large {
		t.Fatalf("%s after %d bytes: %s", got, s.arrived, s.stderr.String())
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); !strings.HasPrefix(s.stderr.String(), got) {
		t.Errorf("sent %s, got %s", s.stderr.String(), got)
	}
}

func TestLargeInput(t *testing.T) {
	s := startAgent(t, nil).open(shell("sha256sum"))
	sum := sha256.New()
	random := rand.NewChaCha8([32]byte{1})
	block := make([]byte, 1<<20)
	for range large / len(block) {
		_, _ = random.Read(block)
		sum.Write(block)
		s.send(block)
	}
	s.sendEOF()
	if got := s.wait(); got != "code 0" || !strings.HasPrefix(s.stdout.String(), fmt.Sprintf("%x", sum.Sum(nil))) {
		t.Errorf("%s, %s", got, s.stdout.String())
	}
}

func TestBothWaysAtOnce(t *testing.T) {
	g := startAgent(t, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		sums := [2]hash.Hash{sha256.New(), sha256.New()}
		s := g.open(shell("cat"), func(s *session) { s.output = sums[1] })
		wg.Go(func() {
			random := rand.NewChaCha8([32]byte{byte(i)})
			block := make([]byte, 100_001)
			for range 40 {
				_, _ = random.Read(block)
				sums[0].Write(block)
				s.send(block)
			}
			s.sendEOF()
			if got := s.wait(); got != "code 0" || !bytes.Equal(sums[0].Sum(nil), sums[1].Sum(nil)) {
				t.Errorf("%s, or another echo", got)
			}
		})
	}
	wg.Wait()
}

func (g *gateway) resident() int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.agent.Process.Pid))
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); fields[0] == "VmRSS:" {
			n, _ := strconv.Atoi(fields[1])
			return n << 10
		}
	}
	return 0
}

func TestReaderThatStopsCostsTheWindowOnly(t *testing.T) {
	g := startAgent(t, nil)
	stingy := func(s *session) { s.stingy = true }
	endless := g.open(shell("cat /dev/zero"), stingy)
	split := g.open(shell("cat /dev/zero & cat /dev/zero >&2"), stingy)
	deaf := g.open(shell("echo up; exec sleep 1000"), func(s *session) { s.output = notice(s, "up") })
	await(t, ready(deaf), "the deaf process")
	for _, s := range []*session{endless, split} {
		waitUntil(t, "the window is used up", func() bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return s.arrived == defaultWindow
		})
	}
	g.mu.Lock()
	window := deaf.window
	g.mu.Unlock()
	deaf.send(make([]byte, window))
	// The agent has read it all once it answers what comes after; then its memory counts.
	if got := g.open(shell("exit 6")).wait(); got != "code 6" {
		t.Error(got)
	}
	if resident := g.resident(); resident > 24<<20 {
		t.Errorf("%d MiB resident", resident>>20)
	}
	g.mu.Lock()
	if endless.arrived != defaultWindow || split.arrived != defaultWindow {
		t.Errorf("%d and %d bytes in a window of %d", endless.arrived, split.arrived, defaultWindow)
	}
	g.mu.Unlock()
	for _, s := range []*session{endless, split, deaf} {
		g.write(typeClose, s.id, nil)
		s.wait()
	}
}

func TestNoWindowIsNeededForTheEnd(t *testing.T) {
	g := startAgent(t, nil)
	for _, extra := range []object{{}, {"pty": terminal}} {
		s := g.open(with(with(shell("exit 7"), object{"window": 0}), extra))
		if got := s.wait(); got != "code 7" {
			t.Error(got)
		}
	}
	s := g.open(with(shell("sleep 0.1; exit 8"), object{"window": 0}))
	if got := s.wait(); got != "code 8" {
		t.Error(got)
	}
	// With output it is the window that is missing, byte by byte.
	s = g.open(with(shell("printf abc; exit 9"), object{"window": 1}), func(s *session) { s.output = notice(s, "a") })
	await(t, ready(s), "the first byte")
	if got := s.wait(); got != "code 9" || s.stdout.String() != "abc" {
		t.Errorf("%s %q", got, s.stdout.String())
	}
}

func TestBackgroundProcessHoldsThePipes(t *testing.T) {
	g := startAgent(t, nil)
	s := g.open(shell("{ read line; echo \"$line\"; } <&0 & echo first; exit 3"), func(s *session) { s.output = notice(s, "first") })
	await(t, ready(s), "the first line")
	s = g.open(shell("exec 3<&0; { read line <&3; echo \"late $line\"; } & echo first; exit 3"),
		func(s *session) { s.output = notice(s, "first") })
	await(t, ready(s), "the first line")
	s.send([]byte("word\n"))
	if got := s.wait(); got != "code 3" || s.stdout.String() != "first\nlate word\n" {
		t.Errorf("%s %q", got, s.stdout.String())
	}
}

func TestClosingAfterTheEndReportsItAndSparesTheOthers(t *testing.T) {
	g := startAgent(t, nil)
	s := g.open(shell("sleep 1000 & echo $!; exit 4"), func(s *session) { s.output = notice(s, "\n") })
	await(t, ready(s), "the number")
	pid, _ := strconv.Atoi(strings.TrimSpace(s.stdout.String()))
	leader := opened(s)
	waitUntil(t, "the process is reaped", func() bool { return syscall.Kill(leader, 0) != nil })
	g.write(typeClose, s.id, nil)
	if got := s.wait(); got != "code 4" || !alive(pid) {
		t.Errorf("%s, other process alive: %v", got, alive(pid))
	}
}

func opened(s *session) int {
	var answer openedAnswer
	_ = json.Unmarshal(s.answer.payload, &answer)
	return answer.PID
}

func TestClosingHangsUp(t *testing.T) {
	g := startAgent(t, nil)
	for _, extra := range []object{{}, {"pty": terminal}} {
		path := t.TempDir() + "/hung-up"
		s := g.open(with(shell("exec 2>/dev/null; trap 'echo HUP >"+path+"; exit' HUP; echo up; while :; do sleep 0.05; done"), extra),
			func(s *session) { s.output = notice(s, "up") })
		await(t, ready(s), "the process")
		g.write(typeClose, s.id, nil)
		await(t, s.closed, "CLOSE")
		if s.exit != nil {
			t.Errorf("EXIT %v of a process that was running", s.exit)
		}
		waitUntil(t, "HUP has come", func() bool { text, _ := os.ReadFile(path); return string(text) == "HUP\n" })
	}
}

func TestStandardInputNobodyReads(t *testing.T) {
	g := startAgent(t, nil)
	s := g.open(shell("exec <&-; echo shut; read x </dev/fd/9; exit 2"), func(s *session) { s.output = notice(s, "shut") })
	await(t, ready(s), "the closed pipe")
	s.wait()
	s = g.open(shell("exec 0<&-; echo shut; while [ ! -e "+t.TempDir()+"/never ]; do sleep 0.02; done"),
		func(s *session) { s.output = notice(s, "shut") })
	await(t, ready(s), "the closed pipe")
	for range 5 {
		s.send(make([]byte, 1<<20)) // five times the window: it is given back
	}
	g.write(typeSignal, s.id, object{"name": "KILL"})
	if got := s.wait(); got != "signal KILL" {
		t.Error(got)
	}
}

func TestFiftyAtOnce(t *testing.T) {
	g := startAgent(t, nil)
	var running []*session
	for i := range 50 {
		running = append(running, g.open(shell(fmt.Sprintf("read x; echo %d $x; exit %d", i, i))))
	}
	for _, s := range slices.Backward(running) {
		s.send([]byte("go\n"))
	}
	for i, s := range running {
		if got := s.wait(); got != fmt.Sprintf("code %d", i) || s.stdout.String() != fmt.Sprintf("%d go\n", i) {
			t.Errorf("%s %q", got, s.stdout.String())
		}
	}
}

func TestChannelLimit(t *testing.T) {
	g := startAgent(t, nil)
	// Files cost the agent no process.
	for range maxChannels {
		if s := g.open(object{"kind": "file", "path": []byte(t.TempDir() + "/x")}); s.answer.kind != typeOpened {
			t.Fatalf("%s", s.answer.payload)
		}
	}
	if got := g.open(shell(":")).refusal(); got != "limit" {
		t.Error(got)
	}
}

func TestRefusals(t *testing.T) {
	g := startAgent(t, nil)
	directory := t.TempDir()
	_ = os.WriteFile(directory+"/plain", []byte("x"), 0o644)
	_ = os.WriteFile(directory+"/no-interpreter", []byte("#!/nowhere/sh\n"), 0o755)
	_ = os.WriteFile(directory+"/garbage", []byte("\x00\x01\x02"), 0o755)
	argv := func(words ...string) object {
		return object{"kind": "process", "mode": "argv", "argv": bytesOf(words...)}
	}
	for name, c := range map[string]struct {
		request object
		code    string
	}{
		"no such program":      {argv("/nowhere/program"), "not-found"},
		"no such name":         {argv("moorage-has-no-such-program"), "not-found"},
		"no execute bit":       {argv(directory + "/plain"), "permission"},
		"a directory":          {argv(directory), "permission"},
		"no interpreter":       {argv(directory + "/no-interpreter"), "not-found"},
		"no program at all":    {argv(directory + "/garbage"), "start"},
		"empty argv":           {argv(), "invalid"},
		"zero byte":            {argv("/bin/echo", "a\x00b"), "invalid"},
		"no such shell":        {with(shell(":"), object{"shell": bytesOf("/nowhere/sh")}), "no-shell"},
		"no such directory":    {with(shell(":"), object{"cwd": []byte("/nowhere")}), "cwd"},
		"a file for directory": {with(shell(":"), object{"cwd": []byte(directory + "/plain")}), "cwd"},
		"no such user":         {with(shell(":"), object{"user": "moorage-nobody"}), "user"},
		"no such group":        {with(shell(":"), object{"user": "root:moorage-nobody"}), "user"},
		"no such groups":       {with(shell(":"), object{"groups": []string{"moorage-nobody"}}), "user"},
		"no mode":              {object{"kind": "process"}, "invalid"},
		"unknown mode":         {object{"kind": "process", "mode": "later"}, "invalid"},
		"bad variable":         {with(shell(":"), object{"env": bytesOf("NOTHING")}), "invalid"},
		"bad base64":           {with(shell(":"), object{"env": []string{"%"}}), "invalid"},
		"window too large":     {with(shell(":"), object{"window": maxWindow + 1}), "invalid"},
		"window negative":      {with(shell(":"), object{"window": -1}), "invalid"},
		"unknown kind":         {object{"kind": "later"}, "unsupported"},
		"an agent's own kind":  {object{"kind": "accepted", "listener": 1}, "unsupported"},
		"relative file":        {object{"kind": "file", "path": []byte("x")}, "invalid"},
	} {
		if got := g.open(c.request).refusal(); got != c.code {
			t.Errorf("%s: %s, want %s", name, got, c.code)
		}
	}
	if got := g.open(shell("exit 1")).wait(); got != "code 1" {
		t.Error(got)
	}
}

func bytesOf(words ...string) [][]byte {
	list := [][]byte{}
	for _, word := range words {
		list = append(list, []byte(word))
	}
	return list
}

func TestOtherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	g := startAgent(t, nil)
	for user, want := range map[string]string{
		"nobody":       "65534:65534:65534",
		"12345:23456":  "12345:23456:23456",
		"12345:daemon": "12345:1:1",
	} {
		s := g.open(with(shell("echo $(id -u):$(id -g):$(id -G | tr ' ' ,); echo out >/dev/stdout; echo err >/dev/stderr"), object{"user": user}))
		if s.wait() != "code 0" || s.stdout.String() != want+"\nout\n" || s.stderr.String() != "err\n" {
			t.Errorf("%s is %q %q", user, s.stdout.String(), s.stderr.String())
		}
	}
	closed := t.TempDir()
	_ = os.Mkdir(closed+"/inside", 0o755)
	_ = os.Chmod(closed, 0o700)
	if got := g.open(with(shell(":"), object{"user": "nobody", "cwd": []byte(closed + "/inside")})).refusal(); got != "cwd" {
		t.Error(got)
	}
	if s := g.open(with(shell("pwd"), object{"user": "nobody", "cwd": []byte("testdata")})); s.answer.kind == typeOpened {
		if s.wait(); !strings.HasSuffix(s.stdout.String(), "/testdata\n") {
			t.Errorf("%q", s.stdout.String())
		}
	} else if s.refusal() != "cwd" { // this very directory may be closed to others
		t.Errorf("%s", s.answer.payload)
	}
	if s := g.open(with(shell("pwd"), object{"user": "4321"})); s.wait() != "code 0" {
		t.Errorf("a user without a home: %v", s.exit)
	}
	s := g.open(with(shell("id -G; tty >/dev/tty"), object{"user": "nobody", "groups": []string{"5", "daemon"}, "pty": terminal}))
	if s.wait() != "code 0" || !strings.HasPrefix(s.stdout.String(), "65534 1 5\r\n/dev/") {
		t.Errorf("%q", s.stdout.String())
	}
}

// inheritedSignals tells whether a process's status shows blocked or ignored signals, but for 32 and 33: they are the
// C library's own, its posix_spawn ignores them, and no process can be without what its parent's parent was given.
func inheritedSignals(status string) bool {
	lines := strings.Fields(status)
	if len(lines) != 4 {
		return true
	}
	for _, mask := range []string{lines[1], lines[3]} {
		if signals, err := strconv.ParseUint(mask, 16, 64); err != nil || signals&^(3<<31) != 0 {
			return true
		}
	}
	return false
}

func TestNothingIsInherited(t *testing.T) {
	g := startAgent(t, nil)
	for _, extra := range []object{{}, {"pty": terminal}} {
		s := g.open(with(helper("descriptors"), extra))
		if s.wait() != "code 0" || s.stdout.Len() > 0 {
			t.Errorf("%q", s.stdout.String())
		}
	}
	s := g.open(shell("grep -E 'Sig(Ign|Blk)' /proc/self/status"))
	if s.wait(); inheritedSignals(s.stdout.String()) {
		t.Errorf("signals are inherited: %s", s.stdout.String())
	}
}

func TestWindowOfU32(t *testing.T) {
	if !fits(shapeCount, binary.BigEndian.AppendUint32(nil, maxWindow)) {
		t.Error("16 MiB are too much")
	}
}
