package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The file of X11's secrets: entries of a family, an address, a display, a protocol and a secret, the first as a
// 16-bit number, the others as strings after their length in 16 bits, all big-endian.

const (
	familyLocal uint16 = 256   // the address is this host's name
	familyWild  uint16 = 65535 // any address
)

const (
	// maxAuthority bounds a file that is read; a larger one is left alone.
	maxAuthority = 1 << 20
	lockPause    = 20 * time.Millisecond
	lockDeadline = 2 * time.Second
	// deadLock is the age of a lock whose holder has gone away.
	deadLock = time.Minute
)

// errAuthority: the file is not what it should be, and so is not touched.
var errAuthority = errors.New("this is no file of X11's secrets that can be changed")

type authEntry struct {
	family                             uint16
	address, display, protocol, secret []byte
}

func (e authEntry) append(text []byte) []byte {
	text = binary.BigEndian.AppendUint16(text, e.family)
	for _, part := range [][]byte{e.address, e.display, e.protocol, e.secret} {
		text = binary.BigEndian.AppendUint16(text, uint16(len(part)))
		text = append(text, part...)
	}
	return text
}

// parseAuthority takes a whole file apart.
func parseAuthority(text []byte) (entries []authEntry, err error) {
	for len(text) > 0 {
		if len(text) < 2 {
			return nil, errAuthority
		}
		e := authEntry{family: binary.BigEndian.Uint16(text)}
		text = text[2:]
		for _, part := range []*[]byte{&e.address, &e.display, &e.protocol, &e.secret} {
			if len(text) < 2 {
				return nil, errAuthority
			}
			n := int(binary.BigEndian.Uint16(text))
			if text = text[2:]; len(text) < n {
				return nil, errAuthority
			}
			*part, text = text[:n:n], text[n:]
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// same says whether an entry is for the same display of the same host, whatever its protocol.
func (e authEntry) same(other authEntry) bool {
	return e.family == other.family && bytes.Equal(e.address, other.address) && bytes.Equal(e.display, other.display)
}

// An authority is a file of X11's secrets and the entries that we put into it.
type authority struct {
	path    string
	entries []authEntry
}

// authorities are changed one after the other. Those that were not there before us go with their last entry.
var (
	authorities     sync.Mutex
	madeAuthorities = make(map[string]bool)
)

// add puts the entries in, in the place of those for the same display; the file appears as a whole.
func (a *authority) add() error {
	if path, err := filepath.EvalSymlinks(a.path); err == nil {
		a.path = path
	}
	return a.rewrite(func(there []authEntry, exists bool) []authEntry {
		if !exists {
			madeAuthorities[a.path] = true
		}
		return append(append([]authEntry(nil), a.entries...), without(there, a.entries, authEntry.same)...)
	})
}

// remove takes the entries out again, unless they have become others.
func (a *authority) remove() error {
	return a.rewrite(func(there []authEntry, _ bool) []authEntry {
		return without(there, a.entries, func(e, ours authEntry) bool {
			return e.same(ours) && bytes.Equal(e.secret, ours.secret)
		})
	})
}

func without(entries, others []authEntry, match func(e, other authEntry) bool) (kept []authEntry) {
next:
	for _, e := range entries {
		for _, other := range others {
			if match(e, other) {
				continue next
			}
		}
		kept = append(kept, e)
	}
	return kept
}

// rewrite changes the file under the lock that other programs know.
func (a *authority) rewrite(change func(entries []authEntry, exists bool) []authEntry) error {
	authorities.Lock()
	defer authorities.Unlock()
	unlock, err := lockAuthority(a.path)
	if err != nil {
		return err
	}
	defer unlock()
	text, exists, err := readAuthority(a.path)
	if err != nil {
		return err
	}
	entries, err := parseAuthority(text)
	if err != nil {
		return err
	}
	entries = change(entries, exists)
	if len(entries) == 0 && madeAuthorities[a.path] {
		delete(madeAuthorities, a.path)
		return os.Remove(a.path)
	}
	return writeAuthority(a.path, entries)
}

func writeAuthority(path string, entries []authEntry) error {
	var whole []byte
	for _, e := range entries {
		whole = e.append(whole)
	}
	return placeFile(bytes.NewReader(whole), path, 0o600, nil)
}

func readAuthority(path string) (text []byte, exists bool, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, false, errAuthority
	}
	text, err = io.ReadAll(io.LimitReader(file, maxAuthority+1))
	if err == nil && len(text) > maxAuthority {
		err = errAuthority
	}
	return text, true, err
}

// lockAuthority takes the lock of libXau: a file path-c, linked to path-l.
func lockAuthority(path string) (unlock func(), err error) {
	made, lock := path+"-c", path+"-l"
	if info, err := os.Lstat(made); err == nil && time.Since(info.ModTime()) > deadLock {
		_ = os.Remove(made)
		_ = os.Remove(lock)
	}
	for deadline := time.Now().Add(lockDeadline); ; time.Sleep(lockPause) {
		file, err := os.OpenFile(made, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			file.Close()
		} else if !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		err = os.Link(made, lock)
		switch {
		case err == nil, errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTSUP): // some file systems have no links
			return func() {
				_ = os.Remove(made)
				_ = os.Remove(lock)
			}, nil
		case !errors.Is(err, os.ErrExist) && !errors.Is(err, os.ErrNotExist):
			return nil, err
		case time.Now().After(deadline):
			return nil, errors.New("another program keeps the file of X11's secrets locked")
		}
	}
}

// secretEntries are for programs that know the display by this host's name, and for all others.
func secretEntries(display string, protocol []byte, cookie string) ([]authEntry, error) {
	secret, err := hex.DecodeString(cookie)
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	entry := authEntry{familyLocal, []byte(host), []byte(display), protocol, secret}
	wild := entry
	wild.family, wild.address = familyWild, nil
	return []authEntry{entry, wild}, nil
}
