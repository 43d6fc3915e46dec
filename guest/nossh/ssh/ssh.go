// Package ssh stands in for golang.org/x/crypto/ssh, so that the agent does not carry an SSH client.
//
// The SFTP package's client can be joined to one, which the agent, being a server, never does; linking it would make
// the agent a third larger and its start slower. go.mod puts this package in the place of the real one.
package ssh

import (
	"errors"
	"io"
)

var errAbsent = errors.New("the agent has no SSH client")

// Client opens nothing.
type Client struct{}

// NewSession always fails.
func (*Client) NewSession() (*Session, error) { return nil, errAbsent }

// Session is never made.
type Session struct{}

// RequestSubsystem always fails.
func (*Session) RequestSubsystem(string) error { return errAbsent }

// StdinPipe always fails.
func (*Session) StdinPipe() (io.WriteCloser, error) { return nil, errAbsent }

// StdoutPipe always fails.
func (*Session) StdoutPipe() (io.Reader, error) { return nil, errAbsent }

// StderrPipe always fails.
func (*Session) StderrPipe() (io.Reader, error) { return nil, errAbsent }

// Wait always fails.
func (*Session) Wait() error { return errAbsent }

// Close has nothing to do.
func (*Session) Close() error { return nil }
