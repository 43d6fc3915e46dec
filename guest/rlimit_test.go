package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestLimitsHoldForWhatIsStarted(t *testing.T) {
	g := startAgent(t, func(c *exec.Cmd) {
		c.Args = append(c.Args, "--rlimit", "nofile=123", "--rlimit=data=1048576000", "--rlimit", "core=0")
	})
	s := g.open(shell("ulimit -n; ulimit -d; ulimit -c"))
	if end := s.wait(); end != "code 0" {
		t.Fatal(end)
	}
	if got := s.stdout.String(); got != "123\n1024000\n0\n" {
		t.Fatalf("limits in a process: %q", got)
	}
}

func TestLimitsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, text := range []string{"", "cpu=1", "nproc", "nproc=", "nproc=-1", "nproc=x", "nproc=99999999999999999999"} {
		if _, err := parseLimit(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if _, err := parseServe(strings.Fields("--fd 0 --rlimit nproc=5 --rlimit nofile=9")); err != nil {
		t.Error(err)
	}
}
