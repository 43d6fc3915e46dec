package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func display(more object) object {
	cookie := "00112233445566778899aabbccddeeff"
	return with(object{"kind": "x11", "protocol": []byte("MIT-MAGIC-COOKIE-1"), "cookie": cookie, "screen": 1}, more)
}

func secretsIn(t *testing.T, path string) []authEntry {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := parseAuthority(text)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestDisplays(t *testing.T) {
	g, came := incoming(t, defaultWindow)
	home := t.TempDir()
	file := home + "/.Xauthority"
	other := authEntry{256, []byte("elsewhere"), []byte("10"), []byte("MIT"), []byte("kept")}
	if err := os.WriteFile(file, other.append(nil), 0o644); err != nil {
		t.Fatal(err)
	}
	env := object{"env": [][]byte{[]byte("HOME=" + home)}}
	first, second := g.open(display(env)), g.open(display(with(object{"single": true}, env)))
	name := string(first.answered().Environment["DISPLAY"])
	number, isLocal := strings.CutPrefix(strings.TrimSuffix(name, ".1"), "localhost:")
	n, err := strconv.Atoi(number)
	if !isLocal || err != nil || n < firstDisplay || len(first.answered().Environment) != 1 {
		t.Fatalf("%q", name)
	}
	entries := secretsIn(t, file)
	if len(entries) != 5 || !bytes.Equal(entries[4].secret, []byte("kept")) {
		t.Errorf("%q", entries)
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	for _, address := range [][2]string{{"tcp", fmt.Sprintf("127.0.0.1:%d", firstX11Port+n)}, {"unix", fmt.Sprintf("%s/X%d", x11Sockets, n)}} {
		conn, err := net.Dial(address[0], address[1])
		if err != nil {
			t.Fatal(err)
		}
		if s := <-came; s.request.Listener != first.id {
			t.Errorf("%+v", s.request)
		}
		conn.Close()
	}
	number, _, _ = strings.Cut(strings.TrimPrefix(string(second.answered().Environment["DISPLAY"]), "localhost:"), ".")
	n, _ = strconv.Atoi(number)
	address := fmt.Sprintf("127.0.0.1:%d", firstX11Port+n)
	if conn, err := net.Dial("tcp", address); err != nil || (<-came).request.Listener != second.id {
		t.Error(err)
	} else {
		defer conn.Close()
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("a display for one connection takes two")
	}
	for _, l := range []*session{first, second} {
		g.write(typeClose, l.id, nil)
		await(t, l.closed, "the end")
	}
	waitUntil(t, "the secrets are gone", func() bool { return len(secretsIn(t, file)) == 1 })
	waitUntil(t, "the locks are gone too", func() bool {
		left, _ := filepath.Glob(home + "/.Xauth*-?")
		return len(left) == 0
	})
}

// A file that was not there goes with its last entry, in whatever order displays end.
func TestDisplaysLeaveNoFile(t *testing.T) {
	g := startAgent(t, nil)
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		home := t.TempDir()
		env := object{"env": [][]byte{[]byte("HOME=" + home)}}
		both := []*session{g.open(display(env)), g.open(display(env))}
		for _, i := range order {
			g.write(typeClose, both[i].id, nil)
			await(t, both[i].closed, "the end")
		}
		waitUntil(t, "nothing is left", func() bool {
			left, _ := os.ReadDir(home)
			return len(left) == 0
		})
	}
}

// Where the usual file cannot be changed the display has one of its own; the other one stays as it is.
func TestDisplaysWithAFileOfTheirOwn(t *testing.T) {
	home := t.TempDir()
	odd := home + "/odd"
	_ = os.WriteFile(odd, []byte("this is no such file"), 0o600)
	_ = syscall.Mkfifo(home+"/pipe", 0o600)
	for _, usual := range []string{odd, home + "/pipe", home + "/no/directory", home} {
		g := startAgent(t, nil)
		s := g.open(display(object{"env": [][]byte{[]byte("XAUTHORITY=" + usual)}}))
		path := string(s.answered().Environment["XAUTHORITY"])
		if entries := secretsIn(t, path); len(entries) != 2 {
			t.Errorf("%q", entries)
		}
		if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
			t.Error("its directory is open to others")
		}
		g.stream.Close()
		<-g.exited
		g.exited <- nil
		if _, err := os.Stat(filepath.Dir(path)); err == nil {
			t.Error("the agent has left its directory behind")
		}
	}
	if text, _ := os.ReadFile(odd); string(text) != "this is no such file" {
		t.Errorf("%q", text)
	}
}

func TestDisplayRefusals(t *testing.T) {
	g := startAgent(t, nil)
	for _, more := range []object{
		{"protocol": []byte{}}, {"protocol": bytes.Repeat([]byte("x"), 300)}, {"cookie": ""}, {"cookie": "0"},
		{"cookie": "xy"}, {"cookie": strings.Repeat("00", maxCookie)}, {"screen": -1},
	} {
		if got := g.open(display(more)).refusal(); got != "invalid" {
			t.Errorf("%v: %s", more, got)
		}
	}
}

func TestAgentSockets(t *testing.T) {
	g, came := incoming(t, defaultWindow)
	l := g.open(object{"kind": "ssh-agent"})
	path := string(l.answered().Environment["SSH_AUTH_SOCK"])
	for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if s := <-came; s.request.Listener != l.id || s.request.Peer != "" {
		t.Errorf("%+v", s.request)
	}
	g.stream.Close()
	<-g.exited
	g.exited <- nil
	if _, err := os.Stat(filepath.Dir(path)); err == nil {
		t.Error("the agent has left its directory behind")
	}
}

// An image that is read-only but for one place, and one that has no place at all.
func TestPlacesForSockets(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	root := t.TempDir()
	_ = os.Chmod(root, 0o755)
	program, _ := os.ReadFile(agentPath)
	if err := os.WriteFile(root+"/program", program, 0o755); err != nil {
		t.Fatal(err)
	}
	start := func() *gateway {
		return startAgent(t, func(c *exec.Cmd) {
			c.Path, c.Args, c.Dir, c.Env = "/program", []string{"/program", "serve", "--fd", "3"}, "/", []string{"HOME=/"}
			c.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 4321, Gid: 4321}}
		})
	}
	g := start()
	if got := g.open(object{"kind": "ssh-agent"}).refusal(); got != "no-directory" {
		t.Error(got)
	}
	if got := g.open(display(nil)).refusal(); got != "xauthority" {
		t.Error(got)
	}
	_ = os.Mkdir(root+"/run", 0o777)
	_ = os.Chmod(root+"/run", 0o777)
	if path := string(g.open(object{"kind": "ssh-agent"}).answered().Environment["SSH_AUTH_SOCK"]); !strings.HasPrefix(path, "/run/ssh-") {
		t.Error(path)
	}
	if path := string(g.open(display(nil)).answered().Environment["XAUTHORITY"]); !strings.HasPrefix(path, "/run/x11-") {
		t.Error(path)
	}
}

func TestAuthorityFiles(t *testing.T) {
	e := authEntry{familyWild, nil, []byte("10"), []byte("MIT-MAGIC-COOKIE-1"), []byte{1, 2}}
	text := e.append(nil)
	want := "ffff" + "0000" + "0002" + "3130" + "0012" + fmt.Sprintf("%x", "MIT-MAGIC-COOKIE-1") + "0002" + "0102"
	if got := fmt.Sprintf("%x", text); got != want {
		t.Error(got)
	}
	for n := 1; n < len(text); n++ {
		if _, err := parseAuthority(text[:n]); err == nil {
			t.Errorf("%d bytes are a whole file", n)
		}
	}
}

func FuzzAuthority(f *testing.F) {
	f.Add(authEntry{familyLocal, []byte("host"), []byte("0"), []byte("MIT"), []byte("secret")}.append(nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := parseAuthority(text)
		if err != nil {
			return
		}
		var again []byte
		for _, e := range entries {
			again = e.append(again)
		}
		if !bytes.Equal(again, text) {
			t.Errorf("%x became %x", text, again)
		}
	})
}
