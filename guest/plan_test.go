package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestPlainWords(t *testing.T) {
	for command, want := range map[string][]string{
		"/bin/id":                        {"/bin/id"},
		"  /bin/echo\ta  b ":             {"/bin/echo", "a", "b"},
		`/e 'a b' "c d" e'f'"g"`:         {"/e", "a b", "c d", "efg"},
		`/e '' "" '$x;|' "a'b" 'c"d'`:    {"/e", "", "", "$x;|", "a'b", `c"d`},
		"/e --a=b,c a#b a~b %@^+:. \xff": {"/e", "--a=b,c", "a#b", "a~b", "%@^+:.", "\xff"},
		"":                               nil,
	} {
		if got, plain := plainWords(command); !plain || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %q, %v", command, got, plain)
		}
	}
	for _, command := range []string{
		"/a|b", "/a;b", "/a&", "/a<b", "/a>b", "/a $b", "/a `b`", `/a \b`, "/a *", "/a ?", "/a [b]", "/a {b,c}",
		"/a (b)", "/a\nb", `/a "$b"`, "/a \"`b`\"", `/a "\b"`, "/a #b", "/a ~b", "/a 'b", `/a "b`,
	} {
		if got, plain := plainWords(command); plain {
			t.Errorf("%q is %q", command, got)
		}
	}
}

// image writes account files and returns their root.
func image(t *testing.T, passwd, group string) accounts {
	t.Helper()
	root := t.TempDir()
	_ = os.Mkdir(root+"/etc", 0o755)
	_ = os.WriteFile(root+"/etc/passwd", []byte(passwd), 0o644)
	_ = os.WriteFile(root+"/etc/group", []byte(group), 0o644)
	return accounts{root}
}

func TestAccounts(t *testing.T) {
	where := image(t, strings.Join([]string{
		"# a comment:x:1:1:::",
		"root:x:0:0:root:/root:/bin/bash",
		"short:x:7:8",
		"broken:x:seven:8:::",
		"huge:x:4294967295:1:::",
		"anna:x:1000:1001:Anna,,,:/home/anna:/bin/zsh\r",
		"7000:x:7:8:a number for a name::",
		"noeol:x:9:9::/n:/s",
	}, "\n"), "staff:x:50:anna,otto\nanna:x:1001:\nwheel:x:10:root,anna\nodd:x:x:anna\n")
	for spec, want := range map[string]identity{
		"anna":       {1000, 1001, []uint32{1001, 50, 10}, "anna", "/home/anna", "/bin/zsh"},
		"1000":       {1000, 1001, []uint32{1001, 50, 10}, "anna", "/home/anna", "/bin/zsh"},
		"anna:staff": {1000, 50, []uint32{50, 10}, "anna", "/home/anna", "/bin/zsh"},
		"anna:77":    {1000, 77, []uint32{77, 50, 10}, "anna", "/home/anna", "/bin/zsh"},
		"short":      {7, 8, []uint32{8}, "short", "", ""},
		"7000":       {7, 8, []uint32{8}, "7000", "", ""},
		"5000":       {5000, 0, []uint32{0}, "5000", "", ""},
		"5000:wheel": {5000, 10, []uint32{10}, "5000", "", ""},
		"noeol":      {9, 9, []uint32{9}, "noeol", "/n", "/s"},
	} {
		if got, refused := where.find(spec, nil); refused != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v, %v", spec, got, refused)
		}
	}
	if got, refused := where.find("anna", []string{"wheel", "4"}); refused != nil || !slices.Equal(got.groups, []uint32{10, 4}) {
		t.Errorf("%v, %v", got.groups, refused)
	}
	if got, refused := where.find("anna", []string{}); refused != nil || len(got.groups) != 0 {
		t.Errorf("%v, %v", got.groups, refused)
	}
	for _, spec := range []string{"nobody-here", "broken", "huge", "", ":", "-1", "4294967295", "anna:", "anna:none", "0x10"} {
		if got, refused := where.find(spec, nil); refused == nil || refused.Code != "user" {
			t.Errorf("%q is %+v", spec, got)
		}
	}
}

func TestAccountFilesAreBounded(t *testing.T) {
	long := strings.Repeat("x", maxAccountLine+1)
	if _, refused := image(t, long+":x:1:1:::\nanna:x:2:2:::\n", "").find("anna", nil); refused == nil {
		t.Error("what follows an endless line was read")
	}
	filler := strings.Repeat("filler:x:1:1:::\n", maxAccountFile/16+1)
	if _, refused := image(t, filler+"anna:x:2:2:::\n", "").find("anna", nil); refused == nil {
		t.Error("more than the bound was read")
	}
	if _, refused := (accounts{t.TempDir()}).find("0", nil); refused != nil {
		t.Errorf("without files: %v", refused)
	}
}

func TestEnvironmentHasEachNameOnce(t *testing.T) {
	env := newEnvironment([]string{"A=1", "B=2", "A=3"})
	env.set("C=")
	env.set("B=x=y")
	if want := []string{"A=3", "B=x=y", "C="}; !slices.Equal(env.entries, want) {
		t.Errorf("%v", env.entries)
	}
	if value, ok := env.get("B"); !ok || value != "x=y" {
		t.Errorf("%q", value)
	}
	if _, ok := env.get("D"); ok {
		t.Error("D is not there")
	}
}

func TestSearchFollowsThePathOfTheProcess(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"one/tool", "two/tool", "two/other"} {
		_ = os.MkdirAll(filepath.Dir(root+"/"+name), 0o755)
		_ = os.WriteFile(root+"/"+name, nil, 0o755)
	}
	_ = os.Chmod(root+"/one/tool", 0o644)
	_ = os.Mkdir(root+"/one/other", 0o755)
	p := &plan{cwd: root, env: []string{"PATH=/nowhere:" + root + "/one:two"}}
	for name, want := range map[string]string{"tool": root + "/two/tool", "other": root + "/two/other", "./two/tool": "./two/tool"} {
		if got, refused := p.search(name); refused != nil || got != want {
			t.Errorf("%s is %s, %v", name, got, refused)
		}
	}
	p.env = []string{"PATH=" + root + "/one"}
	if _, refused := p.search("tool"); refused == nil || refused.Code != "permission" {
		t.Errorf("%v", refused)
	}
}

func TestQueueKeepsOrderAndStaysSmall(t *testing.T) {
	var q queue
	var want, got []byte
	for i := range 3000 {
		piece := []byte(fmt.Sprintf("%d,", i))
		want = append(want, piece...)
		q.push(piece)
	}
	q.push(make([]byte, 3*chunkSize+1))
	want = append(want, make([]byte, 3*chunkSize+1)...)
	if len(q.chunks) > len(want)/chunkSize+2 {
		t.Errorf("%d chunks", len(q.chunks))
	}
	for chunk := q.pop(); chunk != nil; chunk = q.pop() {
		got = append(got, chunk...)
	}
	if string(got) != string(want) {
		t.Error("what comes out is not what went in")
	}
}

func TestFramingCountsPackets(t *testing.T) {
	stream := []byte("\x00\x00\x00\x03abc\x00\x00\x00\x01x\x00\x00\x00\x02yz\x00\x00\x00\x09cut")
	for step := 1; step <= len(stream); step++ {
		var f framing
		whole := 0
		for chunk := range slices.Chunk(stream, step) {
			whole += f.pass(chunk)
		}
		if whole != 3 {
			t.Errorf("%d bytes at a time: %d packets", step, whole)
		}
	}
}
