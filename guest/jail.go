package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/sys/unix"
)

// jailSpec is what an SFTP client may see and do.
type jailSpec struct {
	Root     []byte   `json:"root"`     // the directory that is / for the client; relative to the home directory
	ReadOnly bool     `json:"readOnly"` // nothing may be changed
	Hidden   []string `json:"hidden"`   // what does not exist for the client
	Quota    int64    `json:"quota"`    // bytes below the root; 0: no limit
}

// args are what sftpMode makes a jail of.
func (s *jailSpec) args() []string {
	args := []string{"--root", string(s.Root)}
	if s.ReadOnly {
		args = append(args, "--read-only")
	}
	for _, pattern := range s.Hidden {
		args = append(args, "--hide", pattern)
	}
	if s.Quota > 0 {
		args = append(args, "--quota", strconv.FormatInt(s.Quota, 10))
	}
	return args
}

// A jail answers SFTP requests below one directory. Nothing leads out of it: every path is resolved by os.Root,
// which follows links only as long as they stay inside.
type jail struct {
	root     *os.Root
	readOnly bool
	hidden   []string
	quota    *quota // nil: no limit
}

func openJail(spec *jailSpec) (*jail, error) {
	for _, pattern := range spec.Hidden {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(string(spec.Root))
	if err != nil {
		return nil, err
	}
	j := &jail{root: root, readOnly: spec.ReadOnly, hidden: spec.Hidden}
	if spec.Quota > 0 {
		j.quota = &quota{root: root, limit: spec.Quota}
	}
	return j, nil
}

func (j *jail) handlers() sftp.Handlers {
	return sftp.Handlers{FileGet: j, FilePut: j, FileCmd: j, FileList: j}
}

// inside is a client's path as the root knows it. What is hidden does not exist; where anything is hidden, links are
// not followed, because one might lead there.
func (j *jail) inside(clientPath string, followLast bool) (string, error) {
	clean := path.Clean("/" + clientPath)
	if j.hides(clean) {
		return "", fs.ErrNotExist
	}
	name := strings.TrimPrefix(clean, "/")
	if name == "" {
		return ".", nil
	}
	if len(j.hidden) > 0 {
		for i, c := range name + "/" {
			if c != '/' || i == len(name) && !followLast {
				continue
			}
			if info, err := j.root.Lstat(name[:i]); err == nil && info.Mode()&fs.ModeSymlink != 0 {
				return "", fs.ErrPermission
			}
		}
	}
	return name, nil
}

// hides says whether a clean absolute path, or a directory above it, is hidden: by its name, or by its whole path.
func (j *jail) hides(clean string) bool {
	for ; clean != "/"; clean = path.Dir(clean) {
		for _, pattern := range j.hidden {
			subject := path.Base(clean)
			if strings.HasPrefix(pattern, "/") {
				subject = clean
			}
			if matched, err := path.Match(pattern, subject); matched || err != nil {
				return true
			}
		}
	}
	return false
}

// changed is inside for what a request changes.
func (j *jail) changed(clientPath string) (string, error) {
	if j.readOnly {
		return "", syscall.EROFS
	}
	return j.inside(clientPath, false)
}

// open opens a regular file: what else there may be, such as a pipe or a device, can block or do more than store.
func (j *jail) open(clientPath string, flags int, mode fs.FileMode) (*os.File, error) {
	name, err := j.inside(clientPath, true)
	if err != nil {
		return nil, err
	}
	file, err := j.root.OpenFile(name, flags|syscall.O_NONBLOCK|syscall.O_NOCTTY, mode)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrPermission
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// Fileread opens a file for reading.
func (j *jail) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	return j.open(r.Filepath, os.O_RDONLY, 0)
}

// Filewrite opens a file for writing.
func (j *jail) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	return j.openForWriting(r, os.O_WRONLY)
}

// OpenFile opens a file for reading and writing.
func (j *jail) OpenFile(r *sftp.Request) (sftp.WriterAtReaderAt, error) {
	return j.openForWriting(r, os.O_RDWR)
}

// openForWriting takes no notice of an append flag: clients that set it send the right offsets as well.
func (j *jail) openForWriting(r *sftp.Request, flags int) (*written, error) {
	if j.readOnly {
		return nil, syscall.EROFS
	}
	wanted := r.Pflags()
	if wanted.Creat {
		flags |= os.O_CREATE
	}
	if wanted.Excl {
		flags |= os.O_EXCL
	}
	mode := fs.FileMode(0o666)
	if r.AttrFlags().Permissions {
		mode = r.Attributes().FileMode().Perm()
	}
	file, err := j.open(r.Filepath, flags, mode)
	if err != nil {
		return nil, err
	}
	w := &written{File: file, quota: j.quota}
	if wanted.Trunc {
		if err := w.resize(0); err != nil {
			_ = file.Close()
			return nil, err
		}
	}
	return w, nil
}

// Filecmd does what needs no open file.
func (j *jail) Filecmd(r *sftp.Request) error {
	if r.Method == "Symlink" {
		return j.symlink(r.Filepath, r.Target)
	}
	name, err := j.changed(r.Filepath)
	if err != nil {
		return err
	}
	switch r.Method {
	case "Setstat":
		return j.setstat(r, name)
	case "Mkdir":
		mode := fs.FileMode(0o777)
		if r.AttrFlags().Permissions {
			mode = r.Attributes().FileMode().Perm()
		}
		return j.root.Mkdir(name, mode)
	case "Rmdir", "Remove":
		info, err := j.root.Lstat(name)
		switch {
		case err != nil:
			return err
		case name == ".":
			return fs.ErrPermission
		case r.Method == "Rmdir" && !info.IsDir():
			return syscall.ENOTDIR
		case r.Method == "Remove" && info.IsDir():
			return syscall.EISDIR
		}
		return j.root.Remove(name)
	case "Rename":
		return j.rename(name, r, true)
	case "Link":
		target, err := j.changed(r.Target)
		if err != nil {
			return err
		}
		return j.root.Link(name, target)
	}
	return sftp.ErrSSHFxOpUnsupported
}

// PosixRename replaces what is there (posix-rename@openssh.com).
func (j *jail) PosixRename(r *sftp.Request) error {
	name, err := j.changed(r.Filepath)
	if err != nil {
		return err
	}
	return j.rename(name, r, false)
}

func (j *jail) rename(name string, r *sftp.Request, keep bool) error {
	target, err := j.changed(r.Target)
	if err != nil {
		return err
	}
	if name == "." || target == "." || j.moves(r.Filepath) {
		return fs.ErrPermission
	}
	if !keep {
		return j.root.Rename(name, target)
	}
	from, err := j.root.OpenFile(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := j.root.OpenFile(path.Dir(target), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer to.Close()
	return renameNew(int(from.Fd()), path.Base(name), int(to.Fd()), path.Base(target))
}

// moves says whether renaming a path would show what a pattern with a whole path hides below it.
func (j *jail) moves(clientPath string) bool {
	depth := strings.Count(path.Clean("/"+clientPath), "/")
	for _, pattern := range j.hidden {
		if strings.HasPrefix(pattern, "/") && strings.Count(path.Clean(pattern), "/") > depth {
			return true
		}
	}
	return false
}

// symlink makes links that stay inside also for programs that are in no jail: they are relative.
func (j *jail) symlink(to, at string) error {
	name, err := j.changed(at)
	if err != nil {
		return err
	}
	if len(j.hidden) > 0 {
		return fs.ErrPermission
	}
	directory := path.Dir("/" + name)
	if path.IsAbs(to) {
		to = strings.Repeat("../", strings.Count(strings.TrimSuffix(directory, "/"), "/")) + strings.TrimPrefix(path.Clean(to), "/")
		if to == "" {
			to = "."
		}
	} else if leaves(directory, to) {
		return fs.ErrPermission
	}
	return j.root.Symlink(to, name)
}

// leaves says whether a relative path leads above / from a directory.
func leaves(directory, to string) bool {
	depth := len(strings.FieldsFunc(directory, isSlash))
	for _, part := range strings.FieldsFunc(to, isSlash) {
		switch part {
		case ".":
		case "..":
			if depth--; depth < 0 {
				return true
			}
		default:
			depth++
		}
	}
	return false
}

func isSlash(c rune) bool { return c == '/' }

// setstat never sets the bits that make a program run as somebody else.
func (j *jail) setstat(r *sftp.Request, name string) error {
	flags, attributes := r.AttrFlags(), r.Attributes()
	if flags.Size {
		file, err := j.open(r.Filepath, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		w := &written{File: file, quota: j.quota}
		err = errors.Join(w.resize(int64(attributes.Size)), file.Close())
		if err != nil {
			return err
		}
	}
	if flags.Permissions {
		if err := j.root.Chmod(name, attributes.FileMode().Perm()); err != nil {
			return err
		}
	}
	if flags.UidGid {
		if err := j.root.Lchown(name, int(attributes.UID), int(attributes.GID)); err != nil {
			return err
		}
	}
	if flags.Acmodtime {
		at, mt := time.Unix(int64(attributes.Atime), 0), time.Unix(int64(attributes.Mtime), 0)
		return j.root.Chtimes(name, at, mt)
	}
	return nil
}

// StatVFS tells the file system's room, or what the quota leaves of it (statvfs@openssh.com).
func (j *jail) StatVFS(r *sftp.Request) (*sftp.StatVFS, error) {
	name, err := j.inside(r.Filepath, true)
	if err != nil {
		return nil, err
	}
	if _, err := j.root.Stat(name); err != nil {
		return nil, err
	}
	top, err := j.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer top.Close()
	var found unix.Statfs_t
	if err := unix.Fstatfs(int(top.Fd()), &found); err != nil {
		return nil, err
	}
	answer := &sftp.StatVFS{
		Bsize: uint64(found.Bsize), Frsize: uint64(found.Frsize),
		Blocks: found.Blocks, Bfree: found.Bfree, Bavail: found.Bavail,
		Files: found.Files, Ffree: found.Ffree, Favail: found.Ffree,
		Flag: uint64(found.Flags), Namemax: uint64(found.Namelen),
	}
	if j.quota != nil && answer.Frsize > 0 {
		limit, free := j.quota.room()
		answer.Blocks = min(answer.Blocks, uint64(limit)/answer.Frsize)
		answer.Bfree = min(answer.Bfree, uint64(free)/answer.Frsize)
		answer.Bavail = min(answer.Bavail, answer.Bfree)
	}
	return answer, nil
}

// Filelist lists a directory, or looks at one path and follows links.
func (j *jail) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	name, err := j.inside(r.Filepath, true)
	if err != nil {
		return nil, err
	}
	if r.Method == "Stat" {
		return single(j.root.Stat(name))
	}
	file, err := j.root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &listing{jail: j, file: file, name: name}, nil
}

// Lstat looks at one path without following a link at its end.
func (j *jail) Lstat(r *sftp.Request) (sftp.ListerAt, error) {
	name, err := j.inside(r.Filepath, false)
	if err != nil {
		return nil, err
	}
	return single(j.root.Lstat(name))
}

// Readlink says where a link leads, unless that is outside.
func (j *jail) Readlink(clientPath string) (string, error) {
	name, err := j.inside(clientPath, false)
	if err != nil {
		return "", err
	}
	to, err := j.root.Readlink(name)
	if err == nil && (path.IsAbs(to) || leaves(path.Dir("/"+name), to)) {
		return "", fs.ErrPermission
	}
	return to, err
}

type one []fs.FileInfo

func single(info fs.FileInfo, err error) (sftp.ListerAt, error) {
	if err != nil {
		return nil, err
	}
	return one{info}, nil
}

// ListAt implements sftp.ListerAt.
func (o one) ListAt(into []fs.FileInfo, offset int64) (int, error) {
	if offset >= int64(len(o)) {
		return 0, io.EOF
	}
	return copy(into, o[offset:]), nil
}

// A listing is an open directory, read as the client asks for more.
type listing struct {
	jail *jail
	file *os.File
	name string
}

// ListAt is called with ever higher offsets only.
func (l *listing) ListAt(into []fs.FileInfo, _ int64) (n int, err error) {
	for n < len(into) {
		var names []string
		names, err = l.file.Readdirnames(len(into) - n)
		for _, base := range names {
			if l.jail.hides(path.Join("/", l.name, base)) {
				continue
			}
			// By the root: the directory's own path may lead elsewhere by now.
			if info, gone := l.jail.root.Lstat(path.Join(l.name, base)); gone == nil {
				into[n] = info
				n++
			}
		}
		if err != nil {
			break
		}
	}
	return n, err
}

// Close implements io.Closer.
func (l *listing) Close() error { return l.file.Close() }
