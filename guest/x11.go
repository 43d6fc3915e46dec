package main

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	firstDisplay = 10 // below it are the displays that a guest may have itself
	lastDisplay  = 999
	firstX11Port = 6000
	x11Sockets   = "/tmp/.X11-unix"

	maxProtocol = 256
	maxCookie   = 1024 // hexadecimal digits
)

// startX11 answers OPEN of kind x11: a display of the guest's own that leads to the gateway.
func (a *agent) startX11(c *channel, request *openRequest) {
	if n := len(request.Protocol); n == 0 || n > maxProtocol || len(request.Cookie) > maxCookie {
		c.refuse(&problem{"invalid", "The protocol or the cookie of X11 cannot be used."})
		return
	}
	if _, err := hex.DecodeString(request.Cookie); err != nil || request.Cookie == "" {
		c.refuse(&problem{"invalid", "The cookie of X11 is not hexadecimal."})
		return
	}
	plan, refused := a.planFor(request)
	if refused != nil {
		c.refuse(refused)
		return
	}
	l := &listener{c: c, single: request.Single}
	number, err := l.listenX11(plan)
	if err != nil {
		c.refuse(whyNotBound(err))
		return
	}
	display := strconv.Itoa(number)
	environment := map[string][]byte{
		"DISPLAY": []byte("localhost:" + display + "." + strconv.FormatUint(uint64(request.Screen), 10)),
	}
	entries, _ := secretEntries(display, request.Protocol, request.Cookie)
	path, err := a.authorize(l, plan, entries)
	if err != nil {
		l.close()
		c.refuse(&problem{"xauthority", "The display's secret cannot be kept here: no directory can be written to."})
		return
	}
	if path != "" {
		environment["XAUTHORITY"] = []byte(path)
	}
	a.listenOn(l, openedAnswer{Environment: environment})
}

// listenX11 takes the first display that nobody has, and says its number.
func (l *listener) listenX11(plan *plan) (number int, err error) {
	for number = firstDisplay; number <= lastDisplay; number++ {
		l.sockets, err = bindLoopback(firstX11Port + number)
		if err == nil {
			err = l.listenX11Unix(plan, number)
			if err == nil {
				return number, nil
			}
			l.closeSockets()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return 0, err
		}
	}
	return 0, err
}

// listenX11Unix is for programs that take the display without a host. Only another server there is an error.
func (l *listener) listenX11Unix(plan *plan, number int) error {
	_ = plan.asUser(func() error {
		if os.Mkdir(x11Sockets, 0o700) != nil {
			return nil
		}
		return unix.Chmod(x11Sockets, 0o1777)
	})
	err := l.listenUnix(plan, filepath.Join(x11Sockets, "X"+strconv.Itoa(number)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	return nil
}

// authorize writes the display's secret to where programs look for it. Where that cannot be written, it makes a
// file of its own and says its path.
func (a *agent) authorize(l *listener, plan *plan, entries []authEntry) (path string, err error) {
	usual, _ := lookup(plan.env, "XAUTHORITY")
	if usual == "" {
		if home, _ := lookup(plan.env, "HOME"); home != "" {
			usual = filepath.Join(home, ".Xauthority")
		}
	}
	if filepath.IsAbs(usual) {
		file := &authority{path: usual, entries: entries}
		if err = plan.asUser(file.add); err == nil {
			l.undo = append(l.undo, func() {
				a.listeners.tidy.Add(1)
				go func() {
					defer a.listeners.tidy.Done()
					_ = plan.asUser(file.remove) // it may wait for a lock
				}()
			})
			return "", nil
		}
	}
	err = l.ownDirectory(plan, "x11-", func(directory string) error {
		path = filepath.Join(directory, "Xauthority")
		return writeAuthority(path, entries)
	})
	return path, err
}
