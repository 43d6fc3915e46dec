package main

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// rfcSignals are the names of RFC 4254 §6.10.
var rfcSignals = map[string]syscall.Signal{
	"ABRT": unix.SIGABRT, "ALRM": unix.SIGALRM, "FPE": unix.SIGFPE, "HUP": unix.SIGHUP, "ILL": unix.SIGILL,
	"INT": unix.SIGINT, "KILL": unix.SIGKILL, "PIPE": unix.SIGPIPE, "QUIT": unix.SIGQUIT, "SEGV": unix.SIGSEGV,
	"TERM": unix.SIGTERM, "USR1": unix.SIGUSR1, "USR2": unix.SIGUSR2,
}

// signalNamed knows the RFC's names and Linux's own, with or without "@linux".
func signalNamed(name string) (syscall.Signal, bool) {
	name = strings.TrimSuffix(name, "@linux")
	if number, ok := rfcSignals[name]; ok {
		return number, true
	}
	number := unix.SignalNum("SIG" + name)
	return number, number != 0
}

// exitPayload says how a process ended, §5.
func exitPayload(status syscall.WaitStatus) any {
	if !status.Signaled() {
		return exitCode{Code: status.ExitStatus()}
	}
	number := status.Signal()
	name := strings.TrimPrefix(unix.SignalName(number), "SIG")
	if name == "" {
		name = fmt.Sprintf("RT%d", int(number))
	}
	if _, standard := rfcSignals[name]; !standard {
		name += "@linux"
	}
	return exitSignal{Signal: name, Core: status.CoreDump()}
}
