package main

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ownDirectory makes a directory that only the plan's user can enter and nobody can guess, in the first of the usual
// places that takes it and what fill puts there. It goes with the listener.
func (l *listener) ownDirectory(plan *plan, prefix string, fill func(directory string) error) error {
	var random [16]byte
	if _, err := unix.Getrandom(random[:], 0); err != nil {
		return err
	}
	places := []string{"/tmp", "/run", "/var/tmp", "/dev/shm"}
	if home, _ := lookup(plan.env, "HOME"); filepath.IsAbs(home) {
		places = append(places, home)
	}
	var failures []error
	for _, place := range places {
		directory := filepath.Join(place, prefix+hex.EncodeToString(random[:]))
		err := plan.asUser(func() error {
			if err := os.Mkdir(directory, 0o700); err != nil {
				return err
			}
			err := fill(directory)
			if err != nil {
				_ = os.RemoveAll(directory)
			}
			return err
		})
		if err == nil {
			l.undo = append(l.undo, func() {
				_ = plan.asUser(func() error { return os.RemoveAll(directory) })
			})
			return nil
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// startSSHAgent answers OPEN of kind ssh-agent: a socket of the user's own that leads to the gateway.
func (a *agent) startSSHAgent(c *channel, request *openRequest) {
	plan, refused := a.planFor(request)
	if refused != nil {
		c.refuse(refused)
		return
	}
	l := &listener{c: c}
	var path string
	err := l.ownDirectory(plan, "ssh-", func(directory string) error {
		path = filepath.Join(directory, "agent")
		if len(path) > maxSocketPath {
			return errors.New("the path is too long for a socket")
		}
		socket, err := bindUnix(path)
		if err == nil {
			l.sockets = append(l.sockets, socket)
		}
		return err
	})
	if err != nil {
		c.refuse(&problem{"no-directory", "There is no place for the agent's socket here: no directory can be written to."})
		return
	}
	a.listenOn(l, openedAnswer{Environment: map[string][]byte{"SSH_AUTH_SOCK": []byte(path)}})
}
