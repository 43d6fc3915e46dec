package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	defaultPath  = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	defaultShell = "/bin/sh"
)

// A plan is all that the start of a process needs, worked out before anything is made.
type plan struct {
	path       string
	argv       []string
	env        []string
	cwd        string
	credential *syscall.Credential // nil: the agent's own
	as         identity
}

// makePlan turns a request into a plan. It looks at files and changes nothing.
func makePlan(request *openRequest, where accounts) (*plan, *problem) {
	p := &plan{}
	if refused := p.identify(request, where); refused != nil {
		return nil, refused
	}
	if refused := p.environ(request); refused != nil {
		return nil, refused
	}
	if refused := p.directory(request); refused != nil {
		return nil, refused
	}
	return p, nil
}

func (p *plan) identify(request *openRequest, where accounts) *problem {
	p.as = where.own()
	if request.User == "" && request.Groups == nil {
		return nil
	}
	spec := request.User
	own := p.as
	if spec == "" {
		spec = own.name
	}
	wanted, refused := where.find(spec, request.Groups)
	if refused != nil {
		return refused
	}
	p.as = wanted
	if wanted.uid == own.uid && wanted.gid == own.gid && (request.Groups == nil || own.uid != 0 && haveGroups(wanted.groups)) {
		return nil // ourselves, with the groups that we were given: not even root may always set them
	}
	p.credential = &syscall.Credential{Uid: wanted.uid, Gid: wanted.gid, Groups: wanted.groups}
	return nil
}

// haveGroups: only root may set groups.
func haveGroups(wanted []uint32) bool {
	have, err := os.Getgroups()
	if err != nil {
		return false
	}
	for _, gid := range wanted {
		if !slices.Contains(have, int(gid)) {
			return false
		}
	}
	return true
}

// environ is the agent's own environment, what a login has, and what was asked for, in this order.
func (p *plan) environ(request *openRequest) *problem {
	inherited := os.Environ()
	if p.credential != nil && p.credential.Uid != uint32(os.Getuid()) {
		// These speak of another user.
		inherited = slices.DeleteFunc(inherited, func(entry string) bool {
			name, _, _ := strings.Cut(entry, "=")
			return name == "HOME" || name == "USER" || name == "LOGNAME" || name == "SHELL"
		})
	}
	env := newEnvironment(inherited)
	home := p.as.home
	if home == "" {
		home = "/"
	}
	shell := p.as.shell
	if shell == "" {
		shell = defaultShell
	}
	for _, missing := range [][2]string{
		{"HOME", home}, {"USER", p.as.name}, {"LOGNAME", p.as.name}, {"SHELL", shell}, {"PATH", defaultPath},
	} {
		if _, ok := env.get(missing[0]); !ok {
			env.set(missing[0] + "=" + missing[1])
		}
	}
	if request.Pty != nil {
		if !usable(request.Pty.Term) {
			return &problem{"invalid", "the terminal's name has a zero byte"}
		}
		env.set("TERM=" + string(request.Pty.Term))
	}
	for _, entry := range request.Env {
		if !usable(entry) || bytes.IndexByte(entry, '=') < 1 {
			return &problem{"invalid", "a variable of the environment has no name or a zero byte"}
		}
		env.set(string(entry))
	}
	p.env = env.entries
	return nil
}

func (p *plan) directory(request *openRequest) *problem {
	here, _ := os.Getwd()
	if len(request.Cwd) > 0 {
		if !usable(request.Cwd) {
			return &problem{"invalid", "the directory's name has a zero byte"}
		}
		p.cwd = string(request.Cwd)
		if !filepath.IsAbs(p.cwd) {
			p.cwd = filepath.Join("/", here, p.cwd)
		}
		if info, err := os.Stat(p.cwd); err != nil || !info.IsDir() {
			return &problem{"cwd", p.cwd + ": no such directory"}
		}
		if !p.mayEnter(p.cwd) {
			return &problem{"cwd", p.cwd + ": permission denied"}
		}
		return nil
	}
	home, _ := lookup(p.env, "HOME")
	p.cwd = "/"
	for _, directory := range []string{here, home} {
		if strings.HasPrefix(directory, "/") && directory != "/" && p.mayEnter(directory) {
			p.cwd = directory
			return nil
		}
	}
	return nil
}

// mayEnter says whether the process will be able to change to directory, an absolute path: by asking the kernel for
// ourselves, by the permission bits of all directories on the way for another user (access lists are not seen).
func (p *plan) mayEnter(directory string) bool {
	info, err := os.Stat(directory)
	if err != nil || !info.IsDir() {
		return false
	}
	if p.credential == nil {
		return unix.Access(directory, unix.X_OK) == nil
	}
	for way := filepath.Clean(directory); p.credential.Uid != 0; way = filepath.Dir(way) {
		if info, err := os.Stat(way); err != nil || !mayExecute(info, p.credential) {
			return false
		}
		if way == "/" {
			break
		}
	}
	return true
}

func mayExecute(info os.FileInfo, who *syscall.Credential) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	switch {
	case stat.Uid == who.Uid:
		return stat.Mode&0o100 != 0
	case stat.Gid == who.Gid || slices.Contains(who.Groups, stat.Gid):
		return stat.Mode&0o010 != 0
	default:
		return stat.Mode&0o001 != 0
	}
}

// program fills in path and argv.
func (p *plan) program(request *openRequest) *problem {
	var mode string
	if json.Unmarshal(request.Mode, &mode) != nil {
		return &problem{"invalid", "the mode is missing"}
	}
	for _, list := range [][][]byte{request.Argv, request.Shell, {request.Command}} {
		if !allUsable(list) {
			return &problem{"invalid", "an argument has a zero byte"}
		}
	}
	switch mode {
	case "argv":
		if len(request.Argv) == 0 || len(request.Argv[0]) == 0 {
			return &problem{"invalid", "there is no program to start"}
		}
		return p.direct(texts(request.Argv))
	case "shell", "exec":
	default:
		return &problem{"invalid", "the mode is none of shell, exec and argv"}
	}
	command := string(request.Command)
	if len(request.Shell) > 0 && len(request.Shell[0]) > 0 {
		given := texts(request.Shell)
		path, refused := p.search(given[0])
		if refused != nil {
			return &problem{"no-shell", given[0] + ": there is no such shell here"}
		}
		p.path, p.argv = path, given
		if mode == "exec" {
			p.argv = []string{given[0], "-c", command}
		}
		return nil
	}
	shell := p.loginShell()
	switch {
	case shell == "" && mode == "exec":
		words, plain := plainWords(command)
		if !plain || len(words) == 0 || !strings.HasPrefix(words[0], "/") {
			return &problem{"no-shell", "there is no shell here; a command must be an absolute path and plain words"}
		}
		return p.direct(words)
	case shell == "":
		return &problem{"no-shell", "there is no shell here"}
	case mode == "exec":
		p.path, p.argv = shell, []string{filepath.Base(shell), "-c", command}
	default:
		p.path, p.argv = shell, []string{"-" + filepath.Base(shell)}
	}
	return nil
}

func (p *plan) loginShell() string {
	for _, shell := range []string{p.as.shell, defaultShell} {
		if info, err := os.Stat(shell); shell != "" && err == nil && !info.IsDir() {
			return shell
		}
	}
	return ""
}

func (p *plan) direct(argv []string) *problem {
	path, refused := p.search(argv[0])
	p.path, p.argv = path, argv
	return refused
}

// search finds a program as execvp does, with the process's own PATH and directory.
func (p *plan) search(name string) (string, *problem) {
	if strings.Contains(name, "/") {
		info, err := os.Stat(p.absolute(name))
		switch {
		case os.IsPermission(err):
			return "", &problem{"permission", name + ": permission denied"}
		case err != nil:
			return "", &problem{"not-found", name + ": no such file"}
		case info.IsDir():
			return "", &problem{"permission", name + ": is a directory"}
		}
		return name, nil
	}
	path, _ := lookup(p.env, "PATH")
	refused := &problem{"not-found", name + ": command not found"}
	for _, directory := range filepath.SplitList(path) {
		candidate := filepath.Join(p.absolute(directory), name)
		info, err := os.Stat(candidate)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if info.Mode()&0o111 != 0 {
			return candidate, nil
		}
		refused = &problem{"permission", candidate + ": permission denied"}
	}
	return "", refused
}

func (p *plan) absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(p.cwd, path)
}

// plainWords splits a command as a shell would if that takes no more than blanks and quotes.
func plainWords(command string) (words []string, plain bool) {
	var word strings.Builder
	started := false
	var quote byte
	for i := 0; i < len(command); i++ {
		b := command[i]
		switch {
		case quote == '\'' && b != '\'':
			word.WriteByte(b)
		case quote == '"' && b != '"':
			if strings.IndexByte("$`\\", b) >= 0 {
				return nil, false
			}
			word.WriteByte(b)
		case quote != 0:
			quote = 0
		case b == '\'' || b == '"':
			quote, started = b, true
		case b == ' ' || b == '\t':
			if started {
				words = append(words, word.String())
				word.Reset()
				started = false
			}
		case strings.IndexByte("|&;<>()$`\\*?[]{}\n", b) >= 0, !started && (b == '#' || b == '~'):
			return nil, false
		default:
			word.WriteByte(b)
			started = true
		}
	}
	if started {
		words = append(words, word.String())
	}
	return words, quote == 0
}

func usable(text []byte) bool { return bytes.IndexByte(text, 0) < 0 }

func allUsable(list [][]byte) bool {
	return !slices.ContainsFunc(list, func(text []byte) bool { return !usable(text) })
}

func texts(list [][]byte) []string {
	out := make([]string, len(list))
	for i, text := range list {
		out[i] = string(text)
	}
	return out
}

// An environment has each name once; what is set later wins and keeps the place of the first.
type environment struct {
	entries []string
	places  map[string]int
}

func newEnvironment(entries []string) *environment {
	e := &environment{places: make(map[string]int)}
	for _, entry := range entries {
		e.set(entry)
	}
	return e
}

func (e *environment) set(entry string) {
	name, _, _ := strings.Cut(entry, "=")
	if place, ok := e.places[name]; ok {
		e.entries[place] = entry
		return
	}
	e.places[name] = len(e.entries)
	e.entries = append(e.entries, entry)
}

func (e *environment) get(name string) (string, bool) {
	place, ok := e.places[name]
	if !ok {
		return "", false
	}
	_, value, _ := strings.Cut(e.entries[place], "=")
	return value, true
}

func lookup(env []string, name string) (string, bool) {
	for _, entry := range env {
		if key, value, _ := strings.Cut(entry, "="); key == name {
			return value, true
		}
	}
	return "", false
}
