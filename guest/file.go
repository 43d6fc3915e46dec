package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxComplaint bounds what is kept of a file writer's standard error.
const maxComplaint = 4096

// errNoTemporary: nothing was read of the content yet.
var errNoTemporary = errors.New("no file can be made in the directory")

// A fileEnd receives a file's content.
type fileEnd struct{ *inbox }

func (e fileEnd) eof()          { e.finish() }
func (e fileEnd) hangup()       { e.abort() }
func (e fileEnd) resize(size)   {}
func (e fileEnd) signal(string) {}

// startFile answers OPEN of kind file: written here if it is our own user's, by a process of that user otherwise.
func (a *agent) startFile(c *channel, request *openRequest) {
	mode := uint32(0o600)
	if (request.Mode != nil && json.Unmarshal(request.Mode, &mode) != nil) || mode > 0o7777 {
		c.refuse(&problem{"invalid", "the mode is none"})
		return
	}
	path := string(request.Path)
	if !usable(request.Path) || !filepath.IsAbs(path) || strings.HasSuffix(path, "/") {
		c.refuse(&problem{"invalid", "the path of a file must be absolute"})
		return
	}
	plan, refused := makePlan(&openRequest{User: request.User, Groups: request.Groups, Cwd: []byte("/")}, a.accounts)
	if refused != nil {
		c.refuse(refused)
		return
	}
	end := fileEnd{newInbox(c)}
	c.opened(end, openedAnswer{})
	var err error
	if plan.credential == nil {
		err = placeFile(end.inbox, path, os.FileMode(mode), nil)
	} else {
		err = a.placeFileAs(plan, end.inbox, path, mode)
	}
	end.abort() // what still comes is discarded
	if err != nil {
		c.exit(exitCode{1, err.Error()})
	} else {
		c.exit(exitCode{})
	}
}

// placeFile writes content beside path and renames it into place, when content has ended and settled (if any)
// agrees. Any failure leaves things as they were, but for directories made.
func placeFile(content io.Reader, path string, mode os.FileMode, settled func() error) (err error) {
	directory, name := filepath.Dir(path), filepath.Base(path)
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	var random [8]byte
	if _, err := unix.Getrandom(random[:], 0); err != nil { // crypto/rand would make the agent much larger
		return err
	}
	if len(name) > 200 {
		name = name[:200] // room for the rest within NAME_MAX
	}
	temporary := filepath.Join(directory, "."+name+"."+hex.EncodeToString(random[:]))
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoTemporary, err)
	}
	defer func() {
		if closed := file.Close(); err == nil {
			err = closed
		}
		if err == nil {
			err = os.Rename(temporary, path)
		}
		if errors.Is(err, syscall.EBUSY) {
			err = copyOver(temporary, path) // a file mounted by the engine, such as /etc/hosts
			_ = os.Remove(temporary)
		}
		if err != nil {
			_ = os.Remove(temporary)
		}
	}()
	if _, err = io.CopyBuffer(struct{ io.Writer }{file}, content, make([]byte, chunkSize)); err != nil {
		return err
	}
	if settled != nil {
		if err = settled(); err != nil {
			return err
		}
	}
	// By number: os.Chmod has its own idea of the setuid bits.
	return syscall.Fchmod(int(file.Fd()), uint32(mode))
}

func copyOver(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	if closed := target.Close(); err == nil {
		err = closed
	}
	return err
}

// placeFileAs has a process of another user write the file. The end of its input alone does not tell it that the
// content is whole: that is a byte on descriptor 3.
func (a *agent) placeFileAs(plan *plan, content io.Reader, path string, mode uint32) error {
	var mine, theirs [3]*os.File
	for i := range 3 {
		reader, writer, err := os.Pipe()
		if err != nil {
			return err
		}
		defer reader.Close()
		defer writer.Close()
		mine[i], theirs[i] = writer, reader
		if i == 2 {
			mine[i], theirs[i] = reader, writer
		}
	}
	input, verdict, complaints := mine[0], mine[1], mine[2]
	argv := []string{"moorage-agent", "file", strconv.FormatUint(uint64(mode), 8), path}
	child, err := a.nursery.start(ownPath(), argv, &syscall.ProcAttr{
		Dir: "/", Env: plan.env,
		Files: []uintptr{theirs[0].Fd(), theirs[2].Fd(), theirs[2].Fd(), theirs[1].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Credential: plan.credential},
	})
	for _, file := range theirs {
		file.Close()
	}
	if err != nil {
		return errors.New(whyNotStarted(plan, err).Message)
	}
	if _, err = io.CopyBuffer(struct{ io.Writer }{input}, content, make([]byte, chunkSize)); err == nil {
		_, err = verdict.Write([]byte{1})
	}
	input.Close()
	verdict.Close()
	text, _ := io.ReadAll(io.LimitReader(complaints, maxComplaint))
	<-child.ended
	if child.status.Exited() && child.status.ExitStatus() == 0 {
		return err
	}
	if len(text) > 0 {
		return errors.New(strings.ToValidUTF8(string(text), "?"))
	}
	return fmt.Errorf("%s could not be written", path)
}

// fileMode is the process that placeFileAs starts: file MODE PATH.
func fileMode(args []string) int {
	if len(args) != 2 {
		return misused("file: for the agent's own use")
	}
	mode, err := strconv.ParseUint(args[0], 8, 12)
	if err == nil {
		err = placeFile(os.Stdin, args[1], os.FileMode(mode), func() error {
			if n, _ := os.NewFile(3, "verdict").Read(make([]byte, 1)); n != 1 {
				return errors.New("the content was cut short")
			}
			return nil
		})
	}
	if err != nil {
		fmt.Fprint(os.Stderr, err)
		return 1
	}
	return 0
}

// ownPath is this program, also where its file has no name that others can reach.
func ownPath() string {
	const self = "/proc/self/exe"
	if _, err := os.Lstat(self); err == nil {
		return self
	}
	return os.Args[0]
}
