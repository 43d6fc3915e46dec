// Moorage-agent runs inside a guest and starts processes there for a gateway at the other end of one stream.
//
// The stream's protocol is docs/agent-protocol.md.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// version follows src/moorage/__init__.py; the build sets it.
var version = "0.0.0"

const usage = `moorage-agent serves a gateway from inside a guest.

  moorage-agent serve [--fd N | --dial PATH [--or-stdio]] [--rlimit NAME=N]… [--idle -- PROGRAM ARGUMENT…]
      Speak the agent protocol on standard input and output.
      --fd N         use the duplex descriptor N instead
      --dial PATH    connect to the unix socket PATH instead
      --or-stdio     if that fails, use standard input and output after all
      --rlimit …     limit the agent and all that it starts: nproc, nofile, data (bytes), core (bytes)
      --idle -- …    also run PROGRAM in the background, its output discarded
  moorage-agent sftp [--cwd DIRECTORY] [--root DIRECTORY] [--read-only] [--hide PATTERN]… [--quota BYTES]
      Serve SFTP on standard input and output.
      --root …       the directory that is / for the client; nothing leads out of it
      --hide …       what does not exist for the client: a name, or a path from the root that begins with /
  moorage-agent install PATH
      Copy this program to PATH, for a container of another image.
  moorage-agent version

Modes of the ContainerSSH agent, for images that are to work with either server:

  moorage-agent console [--env NAME=VALUE]… [--wait] [--pid] -- PROGRAM ARGUMENT…
  moorage-agent signal --pid N --signal NAME
  moorage-agent wait-signal --signal NAME… [--message TEXT]
  moorage-agent write-file PATH
  moorage-agent license
`

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) == 0 {
		return misused("no mode given")
	}
	switch mode, rest := args[0], args[1:]; mode {
	case "serve":
		options, err := parseServe(rest)
		if err != nil {
			return misused(err.Error())
		}
		return serve(options)
	case "install":
		return installMode(rest)
	case "sftp":
		return sftpMode(rest)
	case "file":
		return fileMode(rest)
	case "version", "--version":
		fmt.Println(version)
		return 0
	case "help", "-h", "--help":
		fmt.Print(usage)
		return 0
	case "console":
		return consoleMode(rest)
	case "signal":
		return signalMode(rest)
	case "wait-signal":
		return waitSignalMode(rest)
	case "write-file":
		return writeFileMode(rest)
	case "license":
		return licenseMode(rest)
	default:
		return misused("unknown mode " + strconv.Quote(mode))
	}
}

// misused writes to standard error only: a server may take the first bytes of standard output for a PID.
func misused(message string) int {
	fmt.Fprintf(os.Stderr, "Error: %s\n\n%s", message, usage)
	return 1
}

type serveOptions struct {
	fd      int // -1 for standard input and output
	dial    string
	orStdio bool
	limits  []limit
	idle    []string
}

func parseServe(args []string) (serveOptions, error) {
	options := serveOptions{fd: -1}
	wantsIdle := false
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name, value, joined := strings.Cut(arg, "=")
		takeValue := func() error {
			if !joined {
				if len(args) == 0 {
					return fmt.Errorf("%s needs a value", name)
				}
				value, args = args[0], args[1:]
			}
			return nil
		}
		switch {
		case name == "--fd":
			if err := takeValue(); err != nil {
				return options, err
			}
			fd, err := strconv.Atoi(value)
			if err != nil || fd < 0 {
				return options, fmt.Errorf("%q is no descriptor", value)
			}
			options.fd = fd
		case name == "--dial":
			if err := takeValue(); err != nil {
				return options, err
			}
			options.dial = value
		case name == "--rlimit":
			if err := takeValue(); err != nil {
				return options, err
			}
			wanted, err := parseLimit(value)
			if err != nil {
				return options, err
			}
			options.limits = append(options.limits, wanted)
		case arg == "--or-stdio":
			options.orStdio = true
		case arg == "--idle":
			wantsIdle = true
		case arg == "--":
			options.idle, args = args, nil
		default:
			return options, fmt.Errorf("unknown argument %q", arg)
		}
	}
	if wantsIdle != (len(options.idle) > 0) {
		return options, errors.New("--idle and a program after -- belong together")
	}
	if options.fd >= 0 && options.dial != "" {
		return options, errors.New("--fd and --dial exclude each other")
	}
	return options, nil
}

// complain tells whoever runs the agent; never part of the stream.
func complain(format string, args ...any) {
	if stderrIsFree {
		fmt.Fprintf(os.Stderr, "moorage-agent: "+format+"\n", args...)
	}
}

// stderrIsFree is false when standard error is the stream itself.
var stderrIsFree = true
