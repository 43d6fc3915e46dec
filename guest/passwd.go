package main

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
)

// An image's account files are read with these bounds; what lies beyond them is not seen.
const (
	maxAccountFile = 8 << 20
	maxAccountLine = 64 << 10
	maxGroups      = 65536 // NGROUPS_MAX
)

// An identity is whom a process runs as.
type identity struct {
	uid, gid uint32
	groups   []uint32
	name     string // the number if the image has no name for it
	home     string
	shell    string // empty if the image names none
}

// accounts looks names up in the account files below root ("" in a guest).
type accounts struct{ root string }

type passwdEntry struct {
	name, home, shell string
	uid, gid          uint32
}

// lines calls each with every line's fields until it says stop; a missing file has no lines.
func lines(path string, fields int, each func([]string) (stop bool)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	scanner := bufio.NewScanner(io.LimitReader(file, maxAccountFile))
	scanner.Buffer(nil, maxAccountLine)
	for scanner.Scan() {
		parts := strings.Split(strings.TrimRight(scanner.Text(), "\r"), ":")
		if len(parts) >= fields && parts[0] != "" && !strings.HasPrefix(parts[0], "#") && each(parts) {
			return
		}
	}
}

func number(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil && n != 1<<32-1 // -1 means "leave as it is" to the kernel
}

func (a accounts) user(match func(passwdEntry) bool) (found passwdEntry, ok bool) {
	lines(a.root+"/etc/passwd", 4, func(parts []string) bool {
		uid, isUID := number(parts[2])
		gid, isGID := number(parts[3])
		if !isUID || !isGID {
			return false
		}
		entry := passwdEntry{name: parts[0], uid: uid, gid: gid}
		if len(parts) > 5 {
			entry.home = parts[5]
		}
		if len(parts) > 6 {
			entry.shell = parts[6]
		}
		if ok = match(entry); ok {
			found = entry
		}
		return ok
	})
	return found, ok
}

func (a accounts) byUID(uid uint32) (passwdEntry, bool) {
	return a.user(func(e passwdEntry) bool { return e.uid == uid })
}

func (a accounts) group(text string) (gid uint32, ok bool) {
	lines(a.root+"/etc/group", 3, func(parts []string) bool {
		if parts[0] == text {
			gid, ok = number(parts[2])
		}
		return ok
	})
	if !ok {
		gid, ok = number(text)
	}
	return gid, ok
}

// groupsOf are the groups that list a user, and its own.
func (a accounts) groupsOf(name string, gid uint32) []uint32 {
	groups := []uint32{gid}
	lines(a.root+"/etc/group", 4, func(parts []string) bool {
		for member := range strings.SplitSeq(parts[3], ",") {
			if id, isID := number(parts[2]); isID && member == name && id != gid {
				groups = append(groups, id)
				break
			}
		}
		return len(groups) >= maxGroups
	})
	return groups
}

func (e passwdEntry) identity() identity {
	return identity{uid: e.uid, gid: e.gid, name: e.name, home: e.home, shell: e.shell}
}

// own is the agent's own identity. Its groups stay as they are.
func (a accounts) own() identity {
	uid := uint32(os.Getuid())
	id := identity{uid: uid, name: strconv.Itoa(int(uid))}
	if entry, ok := a.byUID(uid); ok {
		id = entry.identity()
	}
	id.gid = uint32(os.Getgid())
	return id
}

// find resolves "user" or "user:group", each a name or a number; a number needs no entry.
func (a accounts) find(spec string, groups []string) (identity, *problem) {
	userText, groupText, hasGroup := strings.Cut(spec, ":")
	var id identity
	if entry, ok := a.user(func(e passwdEntry) bool { return e.name == userText }); ok {
		id = entry.identity()
	} else if uid, ok := number(userText); !ok {
		return id, &problem{"user", "there is no user " + strconv.Quote(userText) + " here"}
	} else if entry, ok := a.byUID(uid); ok {
		id = entry.identity()
	} else {
		id = identity{uid: uid, name: userText}
	}
	if hasGroup {
		gid, ok := a.group(groupText)
		if !ok {
			return id, &problem{"user", "there is no group " + strconv.Quote(groupText) + " here"}
		}
		id.gid = gid
	}
	if groups == nil {
		id.groups = a.groupsOf(id.name, id.gid)
		return id, nil
	}
	id.groups = []uint32{}
	for _, text := range groups {
		gid, ok := a.group(text)
		if !ok {
			return id, &problem{"user", "there is no group " + strconv.Quote(text) + " here"}
		}
		id.groups = append(id.groups, gid)
	}
	return id, nil
}
