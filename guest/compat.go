package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

// The modes of the ContainerSSH agent, with its flags, exit codes and bytes. Deliberate differences: usage goes to
// standard error, --env replaces, wait-signal reaps orphans as PID 1, and write-file reports every failure and
// leaves no part of a file behind.

//go:embed licenses.txt
var licenses string

// consoleMode becomes a program, after telling its PID.
func consoleMode(args []string) int {
	env := newEnvironment(os.Environ())
	wait, pid, started := false, false, false
	for len(args) > 0 && !started {
		arg := args[0]
		args = args[1:]
		switch arg {
		case "--wait":
			wait = true
		case "--pid":
			pid = true
		case "--env":
			if len(args) == 0 || strings.HasPrefix(args[0], "--") || strings.IndexByte(args[0], '=') < 0 {
				return misused("--env needs NAME=VALUE")
			}
			env.set(args[0])
			args = args[1:]
		case "--":
			started = true
		default:
			return misused("unknown argument " + strconv.Quote(arg))
		}
	}
	if len(args) == 0 {
		return misused("no program after --")
	}
	if wait {
		// Not a byte more than this one: what follows is the program's.
		var first [1]byte
		if n, err := os.Stdin.Read(first[:]); n != 1 || err != nil || (first[0] != 0 && first[0] != '\n') {
			fmt.Fprint(os.Stderr, "no start signal on standard input")
			return 2
		}
	}
	if pid {
		self := uint32(os.Getpid())
		// Past os.Stdout, which would die of a closed pipe.
		n, err := syscall.Write(1, []byte{byte(self), byte(self >> 8), byte(self >> 16), byte(self >> 24)})
		if n != 4 || err != nil {
			return 3
		}
	}
	err := syscall.Exec(args[0], args, env.entries)
	fmt.Fprint(os.Stderr, err)
	return 127
}

// compatSignal knows the names that the modes signal and wait-signal take.
func compatSignal(name string) (syscall.Signal, error) {
	if number, ok := rfcSignals[name]; ok {
		return number, nil
	}
	return 0, fmt.Errorf("unknown signal %q", name)
}

func signalMode(args []string) int {
	pid := 0
	var number syscall.Signal
	for ; len(args) > 0; args = args[2:] {
		if len(args) < 2 {
			return misused(args[0] + " needs a value")
		}
		var err error
		switch args[0] {
		case "--pid":
			if pid != 0 {
				return misused("--pid is given twice")
			}
			if pid, err = strconv.Atoi(args[1]); err != nil || pid < 1 {
				return misused("--pid needs a number from 1")
			}
		case "--signal":
			if number, err = compatSignal(args[1]); err != nil {
				return misused(err.Error())
			}
		default:
			return misused("unknown argument " + strconv.Quote(args[0]))
		}
	}
	if pid == 0 || number == 0 {
		return misused("--pid and --signal are needed")
	}
	if err := syscall.Kill(pid, number); err != nil {
		fmt.Fprint(os.Stderr, err)
		return 3
	}
	return 0
}

func waitSignalMode(args []string) int {
	message := ""
	var wanted []os.Signal
	for ; len(args) > 0; args = args[2:] {
		if len(args) < 2 {
			return misused(args[0] + " needs a value") // --message alone, too
		}
		switch args[0] {
		case "--signal":
			number, err := compatSignal(args[1])
			if err != nil {
				return misused(err.Error())
			}
			wanted = append(wanted, number)
		case "--message":
			if message != "" {
				return misused("--message is given twice")
			}
			message = args[1]
		default:
			return misused("unknown argument " + strconv.Quote(args[0]))
		}
	}
	if len(wanted) == 0 {
		return misused("at least one --signal is needed")
	}
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, wanted...)
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	orphans := newNursery()
	for {
		select {
		case <-caught:
			_, _ = io.WriteString(os.Stdout, message)
			return 0
		case <-died:
			orphans.reap()
		}
	}
}

// writeFileMode copies standard input to a file. Where the directory allows it the file is replaced as a whole;
// otherwise, and through a symlink, it is written in place.
func writeFileMode(args []string) int {
	if len(args) == 0 {
		return 1
	}
	path := args[0]
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) || (err == nil && info.Mode().IsRegular()) {
		if _, missing := os.Stat(parentOf(path)); missing == nil {
			err = placeFile(os.Stdin, path, 0o600, nil)
			if !errors.Is(err, errNoTemporary) {
				return told(err)
			}
		}
	}
	return told(writeInPlace(path))
}

func writeInPlace(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err = file.Chmod(0o600); err == nil {
		_, err = io.Copy(file, os.Stdin)
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

func parentOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i+1]
	}
	return "."
}

func told(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprint(os.Stderr, err)
	return 1
}

func licenseMode(args []string) int {
	if len(args) != 0 {
		return misused("license takes no arguments")
	}
	fmt.Print(licenses)
	return 0
}
