package main

import (
	"io"
	"os"
	"path/filepath"
)

// installMode copies this program to a path: how an init container puts it where another image will find it.
func installMode(args []string) int {
	if len(args) != 1 || !filepath.IsAbs(args[0]) {
		return misused("install needs one absolute path")
	}
	if err := install(args[0]); err != nil {
		complain("%v", err)
		return 1
	}
	return 0
}

// install leaves a whole program at the path, or none: a reader never sees a part of it.
func install(path string) error {
	source, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.CreateTemp(filepath.Dir(path), ".install-")
	if err != nil {
		return err
	}
	defer os.Remove(target.Name())
	_, err = io.Copy(target, source)
	if err == nil {
		err = target.Chmod(0o555)
	}
	if closed := target.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(target.Name(), path)
}
