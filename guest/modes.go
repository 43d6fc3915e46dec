package main

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// The terminal modes of RFC 4254 §8 and RFC 8160, by opcode.

var controlCharacters = map[int]int{
	1: unix.VINTR, 2: unix.VQUIT, 3: unix.VERASE, 4: unix.VKILL, 5: unix.VEOF, 6: unix.VEOL, 7: unix.VEOL2,
	8: unix.VSTART, 9: unix.VSTOP, 10: unix.VSUSP, 12: unix.VREPRINT, 13: unix.VWERASE, 14: unix.VLNEXT,
	16: unix.VSWTC, 18: unix.VDISCARD,
	// 11 VDSUSP, 15 VFLUSH and 17 VSTATUS do not exist on Linux
}

var inputFlags = map[int]uint32{
	30: unix.IGNPAR, 31: unix.PARMRK, 32: unix.INPCK, 33: unix.ISTRIP, 34: unix.INLCR, 35: unix.IGNCR,
	36: unix.ICRNL, 37: unix.IUCLC, 38: unix.IXON, 39: unix.IXANY, 40: unix.IXOFF, 41: unix.IMAXBEL, 42: unix.IUTF8,
}

var localFlags = map[int]uint32{
	50: unix.ISIG, 51: unix.ICANON, 52: unix.XCASE, 53: unix.ECHO, 54: unix.ECHOE, 55: unix.ECHOK, 56: unix.ECHONL,
	57: unix.NOFLSH, 58: unix.TOSTOP, 59: unix.IEXTEN, 60: unix.ECHOCTL, 61: unix.ECHOKE, 62: unix.PENDIN,
}

var outputFlags = map[int]uint32{
	70: unix.OPOST, 71: unix.OLCUC, 72: unix.ONLCR, 73: unix.OCRNL, 74: unix.ONOCR, 75: unix.ONLRET,
}

const (
	modeCS7    = 90
	modeCS8    = 91
	modePARENB = 92
	modePARODD = 93
	modeISPEED = 128
	modeOSPEED = 129
	// characterOff says in SSH that a control character is disabled; Linux writes 0.
	characterOff = 255
)

var speeds = map[uint32]uint32{
	0: unix.B0, 50: unix.B50, 75: unix.B75, 110: unix.B110, 134: unix.B134, 150: unix.B150, 200: unix.B200,
	300: unix.B300, 600: unix.B600, 1200: unix.B1200, 1800: unix.B1800, 2400: unix.B2400, 4800: unix.B4800,
	9600: unix.B9600, 19200: unix.B19200, 38400: unix.B38400, 57600: unix.B57600, 115200: unix.B115200,
	230400: unix.B230400, 460800: unix.B460800, 500000: unix.B500000, 576000: unix.B576000, 921600: unix.B921600,
	1000000: unix.B1000000, 1152000: unix.B1152000, 1500000: unix.B1500000, 2000000: unix.B2000000,
	2500000: unix.B2500000, 3000000: unix.B3000000, 3500000: unix.B3500000, 4000000: unix.B4000000,
}

// setModes changes what is named and leaves the rest; opcodes that Linux does not have are ignored.
func setModes(t *unix.Termios, modes map[string]uint32) {
	for name, argument := range modes {
		opcode, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if index, ok := controlCharacters[opcode]; ok {
			if argument == characterOff {
				argument = 0
			}
			t.Cc[index] = byte(argument)
			continue
		}
		setFlag(&t.Iflag, inputFlags[opcode], argument)
		setFlag(&t.Lflag, localFlags[opcode], argument)
		setFlag(&t.Oflag, outputFlags[opcode], argument)
		switch opcode {
		case modePARENB:
			setFlag(&t.Cflag, unix.PARENB, argument)
		case modePARODD:
			setFlag(&t.Cflag, unix.PARODD, argument)
		}
	}
	// In this order whatever order they came in: eight bits win over seven.
	if modes[strconv.Itoa(modeCS7)] != 0 {
		t.Cflag = t.Cflag&^unix.CSIZE | unix.CS7
	}
	if modes[strconv.Itoa(modeCS8)] != 0 {
		t.Cflag = t.Cflag&^unix.CSIZE | unix.CS8
	}
	setSpeeds(t, modes)
}

func setFlag(flags *uint32, bit, argument uint32) {
	*flags &^= bit
	if argument != 0 {
		*flags |= bit
	}
}

func setSpeeds(t *unix.Termios, modes map[string]uint32) {
	if speed, ok := modes[strconv.Itoa(modeOSPEED)]; ok {
		t.Cflag = t.Cflag&^unix.CBAUD | speedCode(speed)
		t.Ospeed = speed
	}
	if speed, ok := modes[strconv.Itoa(modeISPEED)]; ok {
		// Linux takes "no input speed" for "the same as the output's".
		const inputShift = 16
		t.Cflag &^= unix.CBAUD << inputShift
		t.Ispeed = speed
		if speed != t.Ospeed {
			t.Cflag |= speedCode(speed) << inputShift
		}
	}
}

func speedCode(speed uint32) uint32 {
	if code, ok := speeds[speed]; ok {
		return code
	}
	return unix.BOTHER
}
