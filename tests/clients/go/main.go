// Do with golang.org/x/crypto/ssh what driving.py describes.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

func tell(name string, value any) {
	fmt.Printf("%s=%v\n", name, value)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func session(client *ssh.Client) *ssh.Session {
	s, err := client.NewSession()
	must(err)
	return s
}

func status(err error) int {
	if exit, ok := err.(*ssh.ExitError); ok {
		return exit.ExitStatus()
	}
	must(err)
	return 0
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "golang.org/x/crypto" {
			return strings.TrimPrefix(module.Version, "v")
		}
	}
	return ""
}

func main() {
	port, user, kind, secret, up, down := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6]
	method := ssh.Password(secret)
	if kind == "key" {
		text, err := os.ReadFile(secret)
		must(err)
		signer, err := ssh.ParsePrivateKey(text)
		must(err)
		method = ssh.PublicKeys(signer)
	}
	client, err := ssh.Dial("tcp", "127.0.0.1:"+port, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{method}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	must(err)
	defer client.Close()
	tell("version", version())

	var out, err2 bytes.Buffer
	s := session(client)
	s.Stdout, s.Stderr = &out, &err2
	code := status(s.Run("echo out; echo err >&2; exit 7"))
	tell("output", strings.TrimSpace(out.String()))
	tell("errors", strings.TrimSpace(err2.String()))
	tell("status", code)
	if kind != "key" {
		return
	}

	s = session(client)
	s.Stdin = strings.NewReader("12345")
	counted, err := s.Output("wc -c")
	must(err)
	tell("counted", strings.TrimSpace(string(counted)))

	var screen bytes.Buffer
	s = session(client)
	must(s.RequestPty("xterm", 31, 93, ssh.TerminalModes{}))
	s.Stdin, s.Stdout = strings.NewReader("stty size; exit 3\n"), &screen
	must(s.Shell())
	code = status(s.Wait())
	tell("terminal", fmt.Sprintf("%q", screen.String()))
	tell("left", code)

	source, err := os.Open(up)
	must(err)
	s = session(client)
	s.Stdin = source
	sent, err := s.Output("cat >sent && sha256sum <sent")
	must(err)
	tell("sent", strings.Fields(string(sent))[0])
	target, err := os.Create(down)
	must(err)
	s = session(client)
	s.Stdout = target
	must(s.Run("cat sent"))
	must(target.Close())

	files, err := sftp.NewClient(client)
	must(err)
	_, err = source.Seek(0, io.SeekStart)
	must(err)
	put, err := files.Create("put")
	must(err)
	_, err = put.ReadFrom(source)
	must(err)
	must(put.Close())
	must(files.Rename("put", "named"))
	got, err := files.Open("named")
	must(err)
	fetched, err := os.Create(down + ".sftp")
	must(err)
	_, err = got.WriteTo(fetched)
	must(err)
	must(fetched.Close())
	_, err = files.Stat("named")
	tell("listed", err == nil)
	must(files.Close())
}
