package main

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

var resources = map[string]int{
	"nproc":  unix.RLIMIT_NPROC,
	"nofile": unix.RLIMIT_NOFILE,
	"data":   unix.RLIMIT_DATA,
	"core":   unix.RLIMIT_CORE,
}

// A limit bounds a resource of the agent and of all that it starts (setrlimit(2)).
type limit struct {
	name  string
	value uint64
}

func parseLimit(text string) (limit, error) {
	name, number, _ := strings.Cut(text, "=")
	if _, known := resources[name]; !known {
		return limit{}, fmt.Errorf("%q is no limit; there are nproc, nofile, data and core", name)
	}
	value, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return limit{}, fmt.Errorf("%q is no number for the limit %s", number, name)
	}
	return limit{name, value}, nil
}

// apply lowers the limit, hard and soft; one that is lower already stays.
func (l limit) apply() error {
	resource := resources[l.name]
	var current syscall.Rlimit
	if err := syscall.Getrlimit(resource, &current); err != nil {
		return fmt.Errorf("limit %s: %w", l.name, err)
	}
	value := min(l.value, current.Max)
	// By package syscall, not unix: it also keeps the runtime from giving processes the old limit of files.
	if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: value, Max: value}); err != nil {
		return fmt.Errorf("limit %s: %w", l.name, err)
	}
	return nil
}
