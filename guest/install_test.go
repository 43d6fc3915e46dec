package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestInstallLeavesAWholeProgramAndNothingElse(t *testing.T) {
	directory := t.TempDir()
	path := filepath.Join(directory, "agent")
	for range 2 { // a second time replaces it
		if code := run([]string{"install", path}); code != 0 {
			t.Fatalf("status %d", code)
		}
	}
	want, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(want), err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o555 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(directory)
	if err != nil || len(entries) != 1 {
		t.Fatalf("left %v, %v", entries, err)
	}
}

func TestInstallRefusesWhatIsNoAbsolutePath(t *testing.T) {
	for _, args := range [][]string{{"install"}, {"install", "agent"}, {"install", "/a", "/b"}} {
		if code := run(args); code != 1 {
			t.Errorf("%q ended with %d", args, code)
		}
	}
}

func TestInstallSaysWhatItCannotWrite(t *testing.T) {
	if code := run([]string{"install", filepath.Join(t.TempDir(), "none", "agent")}); code != 1 {
		t.Fatalf("status %d", code)
	}
}
