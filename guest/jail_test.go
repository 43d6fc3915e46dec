package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/sftp"
)

// sftpWire is a session as a stream.
type sftpWire struct {
	*io.PipeReader
	s *session
}

func (w sftpWire) Write(data []byte) (int, error) { w.s.send(data); return len(data), nil }
func (w sftpWire) Close() error                   { w.s.sendEOF(); return nil }

// startSFTP opens an SFTP session of an agent of its own.
func startSFTP(t *testing.T, request object) (*sftp.Client, *session) {
	t.Helper()
	request["kind"] = "sftp"
	reader, writer := io.Pipe()
	t.Cleanup(func() { writer.Close() })
	s := startAgent(t, nil).open(request, func(s *session) { s.output = writer })
	client, err := sftp.NewClientPipe(reader, sftpWire{reader, s})
	if err != nil {
		t.Fatal(err, s.stderr.String())
	}
	return client, s
}

// jailed is a client in a jail: its root holds sites/, a file there, and a secret; outside stands another file.
func jailed(t *testing.T, jail object) (client *sftp.Client, root, outside string) {
	t.Helper()
	base := t.TempDir()
	root, outside = base+"/root", base+"/outside"
	for path, content := range map[string]string{
		root + "/sites/index": "hello", root + "/.secret": "s", root + "/sites/.secret/key": "k", outside + "/file": "out",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	jail["root"] = []byte(root)
	client, _ = startSFTP(t, object{"jail": jail, "cwd": []byte(base)})
	return client, root, outside
}

func read(client *sftp.Client, path string) (string, error) {
	file, err := client.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	content, err := io.ReadAll(file)
	return string(content), err
}

func write(client *sftp.Client, path, content string) error {
	file, err := client.Create(path)
	if err != nil {
		return err
	}
	_, err = file.Write([]byte(content))
	return errors.Join(err, file.Close())
}

func TestNothingLeadsOutOfAJail(t *testing.T) {
	client, root, outside := jailed(t, object{})
	for name, target := range map[string]string{
		"absolute": outside + "/file", "relative": "../outside/file", "directory": outside, "up": "..", "proc": "/proc/self/root/etc/passwd",
	} {
		if err := os.Symlink(target, root+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{
		"../outside/file", "/../outside/file", "sites/../../outside/file", outside + "/file", "absolute", "relative",
		"directory/file", "up/outside/file", "proc", "/etc/passwd", "//../..//etc/passwd",
	} {
		if content, err := read(client, path); err == nil {
			t.Errorf("%s can be read: %q", path, content)
		}
		if _, err := client.Stat(path); err == nil {
			t.Errorf("%s can be looked at", path)
		}
		if err := write(client, path, "changed"); err == nil && !strings.HasPrefix(path, "/etc") {
			t.Errorf("%s can be written", path)
		}
		_ = client.Chmod(path, 0o777)
		_ = client.Truncate(path, 0)
		_ = client.Remove(path)
	}
	for _, path := range []string{"directory", "up"} {
		if entries, err := client.ReadDir(path); err == nil {
			t.Errorf("%s can be listed: %v", path, entries)
		}
		_ = client.Mkdir(path + "/made")
		_ = client.Rename("sites/index", path+"/moved")
		_ = client.PosixRename("sites/index", path+"/moved")
		_ = client.Link("sites/index", path+"/linked")
		_ = client.Symlink("x", path+"/link")
	}
	if content, _ := os.ReadFile(outside + "/file"); string(content) != "out" {
		t.Errorf("what is outside was changed: %q", content)
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 1 {
		t.Errorf("something was put outside: %v", entries)
	}
	if info, _ := os.Stat(outside + "/file"); info.Mode().Perm() != 0o644 {
		t.Errorf("the mode of what is outside was changed: %v", info.Mode())
	}
}

func TestAJailIsAFileSystemOfItsOwn(t *testing.T) {
	client, root, _ := jailed(t, object{})
	if here, err := client.Getwd(); err != nil || here != "/" {
		t.Errorf("%s, %v", here, err)
	}
	content := strings.Repeat("moorage ", 1<<17)
	for _, step := range []error{
		client.Mkdir("/new"), write(client, "/new/file", content), client.Rename("/new/file", "/new/moved"),
		client.Link("/new/moved", "/new/twin"), client.Symlink("/new/moved", "/sites/link"), client.Symlink("moved", "/new/near"),
		client.PosixRename("/new/moved", "/new/twin"), client.Chmod("/new/twin", 0o4755), client.Truncate("/new/twin", 7),
	} {
		if step != nil {
			t.Error(step)
		}
	}
	if got, err := read(client, "/new/twin"); got != "moorage" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if info, _ := os.Stat(root + "/new/twin"); info.Mode() != 0o755 {
		t.Errorf("a client can set %v", info.Mode())
	}
	if to, _ := os.Readlink(root + "/sites/link"); to != "../new/moved" {
		t.Errorf("an absolute link leads to %q", to)
	}
	if err := client.Symlink("../../outside", "/new/out"); err == nil {
		t.Error("a link may lead out")
	}
	if err := client.Rename("/sites/index", "/new/twin"); err == nil {
		t.Error("a plain rename replaces")
	}
	if err := client.RemoveDirectory("/sites/index"); err == nil {
		t.Error("a file can be removed as a directory")
	}
	if err := client.Remove("/new"); err == nil {
		t.Error("a directory can be removed as a file")
	}
	file, err := client.OpenFile("/sites/index", os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt([]byte("J"), 0)
	back := make([]byte, 5)
	_, failed := file.ReadAt(back, 0)
	if err != nil || failed != nil && failed != io.EOF || string(back) != "Jello" {
		t.Errorf("%q, %v, %v", back, err, failed)
	}
	file.Close()
	if vfs, err := client.StatVFS("/"); err != nil || vfs.Blocks == 0 {
		t.Errorf("%+v, %v", vfs, err)
	}
}

func TestAJailTakesNoPipesAndDevices(t *testing.T) {
	client, root, _ := jailed(t, object{})
	if err := syscall.Mkfifo(root+"/pipe", 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := read(client, "/pipe"); err == nil {
		t.Error("a pipe can be read")
	}
	if err := write(client, "/pipe", "x"); err == nil {
		t.Error("a pipe can be written")
	}
}

func TestAReadOnlyJailIsNotChanged(t *testing.T) {
	client, root, _ := jailed(t, object{"readOnly": true})
	if got, err := read(client, "/sites/index"); got != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for name, done := range map[string]error{
		"write": write(client, "/sites/index", "x"), "create": write(client, "/new", "x"), "mkdir": client.Mkdir("/d"),
		"remove": client.Remove("/sites/index"), "rename": client.Rename("/sites/index", "/i"), "chmod": client.Chmod("/sites", 0o700),
		"posix rename": client.PosixRename("/sites/index", "/i"), "truncate": client.Truncate("/sites/index", 0),
		"link": client.Link("/sites/index", "/i"), "symlink": client.Symlink("index", "/sites/i"), "rmdir": client.RemoveDirectory("/sites"),
	} {
		if done == nil {
			t.Errorf("%s is possible", name)
		}
	}
	if content, _ := os.ReadFile(root + "/sites/index"); string(content) != "hello" {
		t.Errorf("%q", content)
	}
}

func TestWhatIsHiddenDoesNotExist(t *testing.T) {
	client, root, _ := jailed(t, object{"hidden": []string{".secret", "/sites/*.bak"}})
	if err := errors.Join(os.WriteFile(root+"/sites/old.bak", nil, 0o644), os.Symlink(".secret", root+"/way")); err != nil {
		t.Fatal(err)
	}
	entries, err := client.ReadDir("/sites")
	if err != nil || len(entries) != 1 || entries[0].Name() != "index" {
		t.Errorf("%v, %v", entries, err)
	}
	for _, path := range []string{"/.secret", "/sites/.secret/key", "/sites/.secret", "/sites/old.bak"} {
		if _, err := client.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
		if err := write(client, path, "x"); err == nil {
			t.Errorf("%s can be written", path)
		}
	}
	for name, done := range map[string]error{
		"a link that leads there": func() error { _, err := read(client, "/way"); return err }(),
		"a new link":              client.Symlink(".secret", "/mine"),
		"a hard link":             client.Link("/.secret", "/mine"),
		"a rename of it":          client.Rename("/.secret", "/mine"),
		"a rename above it":       client.Rename("/sites", "/mine"),
	} {
		if done == nil {
			t.Errorf("%s shows it", name)
		}
	}
}

func bytesBelow(root string) (used int64) {
	_ = filepath.Walk(root, func(_ string, info fs.FileInfo, _ error) error {
		if info.Mode().IsRegular() {
			used += info.Size()
		}
		return nil
	})
	return used
}

func TestAQuotaBoundsWhatIsWritten(t *testing.T) {
	const limit = 1 << 20
	client, root, _ := jailed(t, object{"quota": limit})
	if err := write(client, "/half", strings.Repeat("x", limit/2)); err != nil {
		t.Fatal(err)
	}
	if err := write(client, "/rest", strings.Repeat("x", limit)); err == nil {
		t.Error("more than the quota can be written")
	}
	if err := client.Truncate("/half", 4*limit); err == nil {
		t.Error("a file can grow beyond the quota by its size alone")
	}
	if used := bytesBelow(root); used > limit {
		t.Errorf("%d bytes are there", used)
	}
	vfs, err := client.StatVFS("/")
	if err != nil || vfs.TotalSpace() > limit || vfs.FreeSpace() > limit/2 {
		t.Errorf("%+v, %v", vfs, err)
	}
	if err := errors.Join(client.Remove("/rest"), client.Truncate("/half", 0), write(client, "/half", strings.Repeat("x", limit/2))); err != nil {
		t.Errorf("room that was freed cannot be used: %v", err)
	}
}

func TestAQuotaHoldsWhileManyWriteAndTheCountIsOld(t *testing.T) {
	const block, limit = 1 << 12, 100 << 12
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file, err := root.Create("big")
	if err != nil {
		t.Fatal(err)
	}
	q := &quota{root: root, limit: limit}
	w := &written{File: file, quota: q}
	var group sync.WaitGroup
	for part := range 8 {
		group.Go(func() {
			for i := range 50 {
				q.mu.Lock()
				q.counted = time.Time{} // a count is due at any moment, also while others write
				q.mu.Unlock()
				_, _ = w.WriteAt(make([]byte, block), int64(i*8+part)*block)
			}
		})
	}
	group.Wait()
	if info, err := file.Stat(); err != nil || info.Size() != limit {
		t.Errorf("%d bytes where %d fit, %v", info.Size(), limit, err)
	}
}

func TestAFileThatIsCutBehindAnOpenOneCountsWhenItGrowsAgain(t *testing.T) {
	const limit = 1 << 20
	client, root, _ := jailed(t, object{"quota": limit})
	for _, name := range []string{"/a", "/b", "/c", "/d"} {
		file, err := client.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, limit/2)
		_, _ = file.WriteAt(data, 0)
		_ = client.Truncate(name, 0)
		_, _ = file.WriteAt(data, 0)
	}
	if used := bytesBelow(root); used > limit {
		t.Errorf("%d bytes are there", used)
	}
}

func TestAJailThatIsNotThereIsSaid(t *testing.T) {
	g := startAgent(t, nil)
	for _, jail := range []object{{"root": []byte("/no/such/place")}, {"root": []byte("/"), "hidden": []string{"["}}} {
		s := g.open(object{"kind": "sftp", "jail": jail})
		s.sendEOF()
		if got := s.wait(); got != "code 1" || s.stderr.Len() == 0 {
			t.Errorf("%s, %q", got, s.stderr.String())
		}
	}
}

func TestLimitsAreTold(t *testing.T) {
	for _, request := range []object{{}, {"jail": object{"root": []byte("/"), "readOnly": true}}} {
		request["kind"] = "sftp"
		s := startAgent(t, nil).open(request)
		s.send([]byte("\x00\x00\x00\x05\x01\x00\x00\x00\x03"))
		ask := "\x00\x00\x00\x1b\xc8\x00\x00\x00\x2a\x00\x00\x00\x12limits@openssh.com"
		other := "\x00\x00\x00\x1b\xc8\x00\x00\x00\x2b\x00\x00\x00\x12limitz@openssh.com"
		for _, part := range []string{ask[:3], ask[3:20], ask[20:] + other} {
			s.send([]byte(part))
		}
		s.sendEOF()
		if got := s.wait(); got != "code 0" {
			t.Fatal(got, s.stderr.String())
		}
		said := s.stdout.Bytes()
		if !bytes.Contains(said, []byte("\x00\x00\x00\x12limits@openssh.com\x00\x00\x00\x011")) {
			t.Errorf("VERSION does not name it: %q", said)
		}
		answer := []byte("\x00\x00\x00\x25\xc9\x00\x00\x00\x2a\x00\x00\x00\x00\x00\x04\x00\x00")
		if !bytes.Contains(said, answer) {
			t.Errorf("it is not answered: %q", said)
		}
		if !slices.Contains(said, 0x2b) {
			t.Errorf("another extension is not answered: %q", said)
		}
	}
}
