package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

type terminalState struct {
	Termios unix.Termios
	Size    unix.Winsize
}

func stateIn(t *testing.T, g *gateway, modes object) terminalState {
	t.Helper()
	s := g.open(with(helper("termios"), object{"pty": object{
		"term": []byte("vt220"), "columns": 132, "rows": 43, "width": 1056, "height": 688, "modes": modes,
	}}))
	if got := s.wait(); got != "code 0" {
		t.Fatal(got)
	}
	var state terminalState
	if err := json.Unmarshal(s.stdout.Bytes(), &state); err != nil {
		t.Fatalf("%v: %q", err, s.stdout.String())
	}
	return state
}

func TestTerminalModes(t *testing.T) {
	g := startAgent(t, nil)
	plain := stateIn(t, g, object{})
	if want := (unix.Winsize{Row: 43, Col: 132, Xpixel: 1056, Ypixel: 688}); plain.Size != want {
		t.Errorf("%+v", plain.Size)
	}
	off, on := object{}, object{}
	for _, table := range []map[int]uint32{inputFlags, localFlags, outputFlags, {modePARENB: 0, modePARODD: 0}} {
		for opcode := range table {
			off[strconv.Itoa(opcode)], on[strconv.Itoa(opcode)] = 0, 1
		}
	}
	// Without output processing, echo and PENDIN, which is no setting but an order, what the helper says arrives as it is.
	for _, opcode := range []string{"70", "62"} {
		off[opcode], on[opcode] = 0, 0
	}
	unset, set := stateIn(t, g, off).Termios, stateIn(t, g, on).Termios
	check := func(name string, table map[int]uint32, unset, set uint32) {
		for opcode, bit := range table {
			if on[strconv.Itoa(opcode)] == 1 && (unset&bit != 0 || set&bit != bit) {
				t.Errorf("%s opcode %d: %o and %o", name, opcode, unset&bit, set&bit)
			}
		}
	}
	check("input", inputFlags, unset.Iflag, set.Iflag)
	check("local", localFlags, unset.Lflag, set.Lflag)
	check("output", outputFlags, unset.Oflag, set.Oflag)
	// Linux has one character size on a pseudo-terminal, eight bits, and no parity.
	if set.Cflag&unix.CSIZE != unix.CS8 {
		t.Errorf("control flags %o", set.Cflag)
	}
	characters := object{}
	for opcode := range controlCharacters {
		characters[strconv.Itoa(opcode)] = opcode + 64
	}
	got := stateIn(t, g, characters).Termios
	for opcode, index := range controlCharacters {
		if got.Cc[index] != byte(opcode+64) {
			t.Errorf("character %d is %d", opcode, got.Cc[index])
		}
	}
	if got := stateIn(t, g, object{"1": 255, "5": 255, "11": 7, "200": 1, "junk": 1}).Termios; got.Cc[unix.VINTR] != 0 || got.Cc[unix.VEOF] != 0 {
		t.Errorf("disabled characters are %d and %d", got.Cc[unix.VINTR], got.Cc[unix.VEOF])
	}
}

func TestTerminalSpeeds(t *testing.T) {
	g := startAgent(t, nil)
	for _, speed := range []int{9600, 38400, 115200, 4000000, 12345} {
		got := stateIn(t, g, object{"128": speed, "129": speed}).Termios
		if got.Ispeed != uint32(speed) || got.Ospeed != uint32(speed) {
			t.Errorf("%d came as %d and %d", speed, got.Ispeed, got.Ospeed)
		}
	}
	if got := stateIn(t, g, object{"128": 300, "129": 19200}).Termios; got.Ispeed != 300 || got.Ospeed != 19200 {
		t.Errorf("300 and 19200 came as %d and %d", got.Ispeed, got.Ospeed)
	}
}

func TestCharacterSizes(t *testing.T) {
	for _, c := range []struct {
		modes map[string]uint32
		want  uint32
	}{
		{map[string]uint32{"90": 1}, unix.CS7},
		{map[string]uint32{"90": 1, "91": 1}, unix.CS8},
		{map[string]uint32{"90": 0, "91": 0}, unix.CS6},
		{map[string]uint32{"92": 1, "93": 1}, unix.CS6 | unix.PARENB | unix.PARODD},
	} {
		termios := unix.Termios{Cflag: unix.CS6}
		if setModes(&termios, c.modes); termios.Cflag != c.want {
			t.Errorf("%v gives %o", c.modes, termios.Cflag)
		}
	}
}

// withTerminal runs a command on a terminal without echo, and tells when text has appeared.
func withTerminal(g *gateway, command, text string) *session {
	quiet := with(object{"modes": object{"53": 0}}, object{"term": []byte("xterm"), "columns": 80, "rows": 24})
	return g.open(with(shell(command), object{"pty": quiet}), func(s *session) { s.output = notice(s, text) })
}

func TestTerminalIsControlling(t *testing.T) {
	s := startAgent(t, nil).open(with(shell("tty </dev/tty; echo $TERM; tty -s <&1 && tty -s <&2 && echo all"), object{"pty": terminal}))
	if s.wait() != "code 0" || !strings.HasPrefix(s.stdout.String(), "/dev/") || !strings.HasSuffix(s.stdout.String(), "\r\nxterm\r\nall\r\n") {
		t.Errorf("%q", s.stdout.String())
	}
	if s.stderr.Len() > 0 {
		t.Errorf("standard error: %q", s.stderr.String())
	}
}

func TestResizeTellsTheProcess(t *testing.T) {
	g := startAgent(t, nil)
	s := withTerminal(g, "trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.05; done", "up")
	await(t, ready(s), "the process")
	g.write(typeResize, s.id, object{"columns": 101, "rows": 33, "width": 700000, "height": 9})
	if s.wait(); !strings.Contains(s.stdout.String(), "33 101") {
		t.Errorf("%q", s.stdout.String())
	}
}

func TestSignalsReachTheForegroundGroup(t *testing.T) {
	g := startAgent(t, nil)
	// With job control the child has a group of its own, in the foreground.
	s := withTerminal(g, "set -m; sh -c 'trap \"echo inner; exit 3\" INT; echo up; while :; do sleep 0.05; done'; echo outer $?", "up")
	await(t, ready(s), "the process")
	g.write(typeSignal, s.id, object{"name": "INT"})
	if s.wait(); !strings.Contains(s.stdout.String(), "inner") {
		t.Errorf("%q", s.stdout.String())
	}
}

func TestKeysMakeSignals(t *testing.T) {
	g := startAgent(t, nil)
	s := withTerminal(g, "echo up; exec sleep 1000", "up")
	await(t, ready(s), "the process")
	s.send([]byte{3})
	if got := s.wait(); got != "signal INT" {
		t.Error(got)
	}
}

func TestEOFOnATerminal(t *testing.T) {
	g := startAgent(t, nil)
	for input, want := range map[string]string{"": "", "line\n": "line\r\n", "unfinished": "unfinished", "a\nb": "a\r\nb"} {
		s := withTerminal(g, "cat; echo .", "")
		s.send([]byte(input))
		s.sendEOF()
		if got := s.wait(); got != "code 0" || s.stdout.String() != want+".\r\n" {
			t.Errorf("%q gave %s, %q", input, got, s.stdout.String())
		}
	}
	// Read key by key there is no end-of-file character, and none is written.
	s := withTerminal(g, "stty raw; echo up; head -c 3 | od -An -tx1", "up")
	await(t, ready(s), "raw mode")
	s.send([]byte("ab"))
	s.sendEOF()
	g.write(typeSignal, s.id, object{"name": "TERM"})
	if got := s.wait(); got == "code 0" {
		t.Errorf("%q", s.stdout.String())
	}
}

func TestTerminalEndsWithItsProcess(t *testing.T) {
	g := startAgent(t, nil)
	for _, command := range []string{
		"sleep 1000 & exit 3",
		"(trap '' HUP; sleep 1000) & exit 3",
		"setsid sh -c 'trap \"\" HUP; while :; do echo noise; done' & exit 3",
		"exec </dev/null >/dev/null 2>&1; echo late >/dev/tty; exit 3",
	} {
		if got := g.open(with(shell(command), object{"pty": terminal})).wait(); got != "code 3" {
			t.Errorf("%q: %s", command, got)
		}
	}
}

func TestAllOfATerminalsOutputArrives(t *testing.T) {
	g := startAgent(t, nil)
	for range 30 {
		s := g.open(with(shell("seq 1 2000; printf END"), object{"pty": terminal}))
		if s.wait(); !strings.HasSuffix(s.stdout.String(), "\r\n1999\r\n2000\r\nEND") {
			t.Fatalf("ended with %q", s.stdout.String()[max(0, s.stdout.Len()-40):])
		}
	}
}

func TestMuchThroughATerminal(t *testing.T) {
	g := startAgent(t, nil)
	const amount = 8 << 20
	s := withTerminal(g, fmt.Sprintf("stty raw -echo; echo up; head -c %d | wc -c; head -c %d /dev/zero", amount, amount), "up")
	await(t, ready(s), "raw mode")
	s.send(make([]byte, amount))
	if got := s.wait(); got != "code 0" || !strings.Contains(s.stdout.String(), strconv.Itoa(amount)) || s.arrived < amount {
		t.Errorf("%s, %d bytes", got, s.arrived)
	}
}
