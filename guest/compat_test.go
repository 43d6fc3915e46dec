package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// invoke runs the agent in one of its other modes.
func invoke(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	command := exec.Command(agentPath, args...)
	var out, complaints bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &out, &complaints
	err := command.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), out.String(), complaints.String()
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{}, {"nonsense"}, {"console"}, {"console", "--"}, {"console", "--pid", "/bin/true"}, {"console", "--odd", "--", "/bin/true"},
		{"console", "--env", "--", "/bin/true"}, {"console", "--env", "NAME", "--", "/bin/true"}, {"console", "--env"},
		{"signal"}, {"signal", "--pid", "1"}, {"signal", "--signal", "TERM"}, {"signal", "--pid", "0", "--signal", "TERM"},
		{"signal", "--pid", "1", "--pid", "2", "--signal", "TERM"}, {"signal", "--pid", "x", "--signal", "TERM"},
		{"signal", "--pid", "1", "--signal", "WINCH"}, {"signal", "--pid"}, {"wait-signal"}, {"wait-signal", "--signal"},
		{"wait-signal", "--signal", "STOP"}, {"wait-signal", "--signal", "INT", "--message"}, {"license", "x"},
		{"wait-signal", "--signal", "INT", "--message", "a", "--message", "b"},
		{"serve", "--odd"}, {"serve", "--fd"}, {"serve", "--fd", "x"}, {"serve", "--idle"}, {"serve", "--", "x"},
		{"serve", "--fd", "3", "--dial", "x"}, {"sftp", "x"},
	} {
		code, stdout, stderr := invoke(t, "", args...)
		if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "Error: ") {
			t.Errorf("%q: %d, %q, %q", args, code, stdout, stderr)
		}
	}
	for _, arg := range []string{"-h", "--help", "help"} {
		if code, stdout, _ := invoke(t, "", arg); code != 0 || stdout != usage {
			t.Errorf("%s: %d, %q", arg, code, stdout)
		}
	}
	if code, stdout, _ := invoke(t, "", "version"); code != 0 || stdout != version+"\n" {
		t.Errorf("%d, %q", code, stdout)
	}
	if code, stdout, _ := invoke(t, "", "license"); code != 0 || !strings.Contains(stdout, "pkg/sftp") {
		t.Errorf("%d, %q", code, stdout)
	}
}

func TestConsole(t *testing.T) {
	code, stdout, _ := invoke(t, "", "console", "--pid", "--", "/bin/sh", "-c", "echo $$; exit 7")
	if len(stdout) < 4 || code != 7 || strconv.Itoa(int(binary.LittleEndian.Uint32([]byte(stdout)))) != strings.TrimSpace(stdout[4:]) {
		t.Errorf("%d, %q", code, stdout)
	}
	t.Setenv("AGENT_TEST", "old")
	code, stdout, _ = invoke(t, "", "console", "--env", "AGENT_TEST=new=er", "--env", "B=", "--", "/usr/bin/env")
	if code != 0 || strings.Contains(stdout, "AGENT_TEST=old") || !strings.Contains(stdout, "\nAGENT_TEST=new=er\n") || !strings.Contains(stdout, "\nB=\n") {
		t.Errorf("%d, %q", code, stdout)
	}
	for _, start := range []string{"\n", "\x00"} {
		if code, stdout, _ = invoke(t, start+"rest", "console", "--wait", "--", "/bin/cat"); code != 0 || stdout != "rest" {
			t.Errorf("%q: %d, %q", start, code, stdout)
		}
	}
	for _, start := range []string{"", "x", "\r"} {
		if code, stdout, _ = invoke(t, start, "console", "--wait", "--pid", "--", "/bin/cat"); code != 2 || stdout != "" {
			t.Errorf("%q: %d, %q", start, code, stdout)
		}
	}
	for _, program := range []string{"/nowhere/program", "true", "/etc/passwd"} {
		if code, _, stderr := invoke(t, "", "console", "--", program); code != 127 || stderr == "" || strings.HasSuffix(stderr, "\n") {
			t.Errorf("%s: %d, %q", program, code, stderr)
		}
	}
	reader, writer, _ := os.Pipe()
	reader.Close()
	command := exec.Command(agentPath, "console", "--pid", "--", "/bin/true")
	command.Stdout = writer
	if _ = command.Run(); command.ProcessState.ExitCode() != 3 {
		t.Errorf("without a reader: %v", command.ProcessState)
	}
	if _, stdout, _ = invoke(t, "", "console", "--", "/bin/grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"); inheritedSignals(stdout) {
		t.Errorf("signals are inherited: %s", stdout)
	}
}

func TestSignalAndWaitSignal(t *testing.T) {
	for _, name := range []string{"INT", "HUP"} {
		// Go leaves these two ignored until it is asked for them, so that one can see when it is.
		command := exec.Command("/bin/sh", "-c", `trap "" INT HUP; exec "$@"`, "sh",
			agentPath, "wait-signal", "--signal", "KILL", "--signal", name, "--message", "bye")
		out, _ := command.StdoutPipe()
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		number := rfcSignals[name]
		waitUntil(t, "the signal is caught", func() bool {
			text, _ := os.ReadFile("/proc/" + strconv.Itoa(command.Process.Pid) + "/status")
			_, after, found := strings.Cut(string(text), "SigCgt:\t")
			caught, err := strconv.ParseUint(strings.TrimSpace(after[:min(16, len(after))]), 16, 64)
			return found && err == nil && caught&(1<<(number-1)) != 0
		})
		if code, stdout, stderr := invoke(t, "", "signal", "--pid", strconv.Itoa(command.Process.Pid), "--signal", name); code != 0 {
			t.Errorf("%d, %q, %q", code, stdout, stderr)
		}
		text, _ := io.ReadAll(out)
		if err := command.Wait(); err != nil || string(text) != "bye" {
			t.Errorf("%s: %v, %q", name, err, text)
		}
	}
	if code, stdout, stderr := invoke(t, "", "signal", "--pid", "4194305", "--signal", "TERM"); code != 3 || stdout != "" || stderr == "" {
		t.Errorf("%d, %q, %q", code, stdout, stderr)
	}
}

func TestWriteFile(t *testing.T) {
	directory := t.TempDir()
	path := directory + "/file"
	for _, content := range []string{"first, and longer", "second", ""} {
		if code, _, stderr := invoke(t, content, "write-file", path, "ignored"); code != 0 {
			t.Errorf("%d, %q", code, stderr)
		}
		text, _ := os.ReadFile(path)
		info, err := os.Stat(path)
		if string(text) != content || err != nil || info.Mode() != 0o600 {
			t.Errorf("%q, %v", text, info)
		}
		_ = os.Chmod(path, 0o644)
	}
	_ = os.Symlink("file", directory+"/link")
	if code, _, _ := invoke(t, "through", "write-file", directory+"/link"); code != 0 {
		t.Error(code)
	}
	if text, _ := os.ReadFile(path); string(text) != "through" {
		t.Errorf("%q", text)
	}
	for _, bad := range []string{directory, directory + "/none/file"} {
		if code, _, stderr := invoke(t, "x", "write-file", bad); code != 1 || stderr == "" {
			t.Errorf("%s: %d, %q", bad, code, stderr)
		}
	}
	if code, stdout, stderr := invoke(t, "x", "write-file"); code != 1 || stdout+stderr != "" {
		t.Errorf("%d, %q, %q", code, stdout, stderr)
	}
	if left, _ := os.ReadDir(directory); len(left) != 2 {
		t.Errorf("%v", left)
	}
	// Where the directory takes no new file, the old one is written in place.
	if os.Getuid() == 0 {
		locked := directory + "/locked"
		_ = os.Mkdir(locked, 0o755)
		_ = os.WriteFile(locked+"/file", []byte("old"), 0o600)
		_ = os.Chown(locked+"/file", 4321, 4321)
		for _, above := range []string{directory, directory + "/.."} {
			_ = os.Chmod(above, 0o755)
		}
		command := exec.Command(agentPath, "write-file", locked+"/file")
		command.Stdin = strings.NewReader("new")
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4321, Gid: 4321}}
		if text, err := command.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, text)
		}
		if text, _ := os.ReadFile(locked + "/file"); string(text) != "new" {
			t.Errorf("%q", text)
		}
	}
}
