package main

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/pkg/sftp"
)

func TestARenameReplacesNothing(t *testing.T) {
	directory := t.TempDir()
	client, _ := startSFTP(t, object{})
	path := func(name string) string { return filepath.Join(directory, name) }
	for _, name := range []string{"old", "there"} {
		if err := write(client, path(name), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Symlink("nowhere", path("dangling")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"there", "dangling"} {
		err := client.Rename(path("old"), path(name))
		if status := (*sftp.StatusError)(nil); !errors.As(err, &status) || status.Code != fxFailure {
			t.Errorf("to %s: %v", name, err)
		}
	}
	if err := client.Rename(path("missing"), path("new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
	if content, err := read(client, path("there")); content != "there" {
		t.Errorf("%q, %v", content, err)
	}
	if err := client.Rename(path("old"), path("new")); err != nil {
		t.Errorf("to a new name: %v", err)
	}
	if err := client.PosixRename(path("new"), path("there")); err != nil {
		t.Errorf("posix-rename: %v", err)
	}
	if content, err := read(client, path("there")); content != "old" {
		t.Errorf("%q, %v", content, err)
	}
}

func TestARenameComesAfterWhatWasAskedBefore(t *testing.T) {
	directory := t.TempDir()
	client, _ := startSFTP(t, object{})
	file, err := client.Create(filepath.Join(directory, "old"))
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("x"), 4<<20)
	written := make(chan error)
	go func() { _, err := file.Write(content); written <- err }()
	if err := client.Rename(filepath.Join(directory, "old"), filepath.Join(directory, "new")); err != nil {
		t.Error(err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(filepath.Join(directory, "new")); !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func FuzzTakeRename(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x0f\x12\x00\x00\x00\x01\x00\x00\x00\x01a\x00\x00\x00\x01b"))
	f.Add([]byte("\x00\x00\x00\x05\x12\xff\xff\xff\xff"))
	f.Add([]byte("\x00\x00\x00\x0d\x12\x00\x00\x00\x01\xff\xff\xff\xff\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bufio.NewReaderSize(bytes.NewReader(data), 64<<10)
		asked := false
		answer := takeRename(in, func() error { asked = true; return os.ErrClosed })
		if answer != nil {
			t.Errorf("an answer on a broken stream: %q", answer)
		}
		if rest := in.Buffered(); asked && rest < 17 {
			t.Errorf("%d bytes are left of a request that was not answered", rest)
		}
	})
}
