package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo-terminal with the modes and size asked for. Both ends are ours and not inherited;
// the slave stays open so that the terminal has no end before its process has.
func openTerminal(spec *ptySpec) (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == unix.ENOENT {
		fd, err = unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("no terminal to be had: /dev/ptmx: %w", err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	slaveFD, err := openSlave(fd)
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("no terminal to be had: %w", err)
	}
	slave = os.NewFile(uintptr(slaveFD), "/dev/pts")
	if err = applyModes(slaveFD, spec.Modes); err == nil {
		err = resizeTerminal(slaveFD, spec.size)
	}
	if err != nil {
		master.Close()
		slave.Close()
		return nil, nil, fmt.Errorf("the terminal cannot be set up: %w", err)
	}
	return master, slave, nil
}

func openSlave(master int) (int, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, err
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER,
		unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno == 0 {
		return int(fd), nil
	}
	index, err := unix.IoctlGetInt(master, unix.TIOCGPTN) // Linux before 4.13
	if err != nil {
		return -1, err
	}
	return unix.Open("/dev/pts/"+strconv.Itoa(index), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
}

func resizeTerminal(fd int, s size) error {
	clip := func(n uint32) uint16 { return uint16(min(n, 1<<16-1)) }
	return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{
		Row: clip(s.Rows), Col: clip(s.Columns), Xpixel: clip(s.Width), Ypixel: clip(s.Height),
	})
}

func applyModes(fd int, modes map[string]uint32) error {
	if len(modes) == 0 {
		return nil
	}
	termios, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return err
	}
	setModes(termios, modes)
	return unix.IoctlSetTermios(fd, unix.TCSETS2, termios)
}

// endOfFile writes the end-of-file character if the terminal is read line by line: twice after an unfinished
// line, because the first one only hands that line over.
func endOfFile(master *os.File, last byte) {
	raw, err := master.SyscallConn()
	if err != nil {
		return
	}
	var termios *unix.Termios
	_ = raw.Control(func(fd uintptr) { termios, err = unix.IoctlGetTermios(int(fd), unix.TCGETS2) })
	if err != nil || termios == nil || termios.Lflag&unix.ICANON == 0 || termios.Cc[unix.VEOF] == 0 {
		return
	}
	character := []byte{termios.Cc[unix.VEOF]}
	if last != 0 && last != '\n' && last != '\r' && last != character[0] {
		character = append(character, character[0])
	}
	_, _ = master.Write(character)
}

// foreground is the terminal's foreground process group, 0 if there is none.
func foreground(master *os.File) (group int) {
	raw, err := master.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if found, err := unix.IoctlGetInt(int(fd), unix.TIOCGPGRP); err == nil {
			group = found
		}
	})
	return group
}

// own gives a process's pipe or terminal to its user, so that it can open /dev/stdout and its like.
func own(file *os.File, credential *syscall.Credential) {
	if credential != nil {
		_ = file.Chown(int(credential.Uid), -1)
	}
}
