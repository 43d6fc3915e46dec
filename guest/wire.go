package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// The limits of the protocol, docs/agent-protocol.md §1 and §3.
const (
	headerSize    = 9
	maxPayload    = 256 << 10
	maxData       = 64 << 10
	maxPing       = 64
	maxWindow     = 16 << 20
	defaultWindow = 1 << 20
	maxChannels   = 1024
	maxMessage    = 500 // bytes of a refusal's text
)

type frameType byte

const (
	typeHello   frameType = 0x01
	typePing    frameType = 0x02
	typePong    frameType = 0x03
	typeError   frameType = 0x04
	typeOpen    frameType = 0x10
	typeOpened  frameType = 0x11
	typeRefused frameType = 0x12
	typeData    frameType = 0x20
	typeStderr  frameType = 0x21
	typeEOF     frameType = 0x22
	typeWindow  frameType = 0x23
	typeResize  frameType = 0x30
	typeSignal  frameType = 0x31
	typeExit    frameType = 0x32
	typeClose   frameType = 0x3f
)

// shape is what a type's payload may look like.
type shape byte

const (
	shapeObject shape = iota + 1 // one JSON object
	shapeBytes                   // at least one byte
	shapePing                    // up to 64 bytes
	shapeEmpty
	shapeCount // a u32 of at most 16 MiB
)

type frameKind struct {
	name     string
	shape    shape
	onStream bool // belongs to channel 0
}

var frameKinds = map[frameType]frameKind{
	typeHello:   {"HELLO", shapeObject, true},
	typePing:    {"PING", shapePing, true},
	typePong:    {"PONG", shapePing, true},
	typeError:   {"ERROR", shapeObject, true},
	typeOpen:    {"OPEN", shapeObject, false},
	typeOpened:  {"OPENED", shapeObject, false},
	typeRefused: {"REFUSED", shapeObject, false},
	typeData:    {"DATA", shapeBytes, false},
	typeStderr:  {"STDERR", shapeBytes, false},
	typeEOF:     {"EOF", shapeEmpty, false},
	typeWindow:  {"WINDOW", shapeCount, false},
	typeResize:  {"RESIZE", shapeObject, false},
	typeSignal:  {"SIGNAL", shapeObject, false},
	typeExit:    {"EXIT", shapeObject, false},
	typeClose:   {"CLOSE", shapeEmpty, false},
}

func (t frameType) String() string {
	if kind, known := frameKinds[t]; known {
		return kind.name
	}
	return fmt.Sprintf("0x%02x", byte(t))
}

type frame struct {
	kind    frameType
	channel uint32
	payload []byte // a part of the buffer that was parsed
}

// A protocolError ends the stream. Its kind is one of those in testdata/vectors.json, or "state".
type protocolError struct {
	kind    string
	message string
}

func (e *protocolError) Error() string { return e.message }

func broken(kind, format string, args ...any) *protocolError {
	return &protocolError{kind, fmt.Sprintf(format, args...)}
}

// parseFrame takes the first frame off buffer and says how long it was: 0 while bytes are missing.
// A bad header is found before its payload has arrived.
func parseFrame(buffer []byte) (frame, int, error) {
	if len(buffer) == 0 {
		return frame{}, 0, nil
	}
	kind, known := frameKinds[frameType(buffer[0])]
	if !known {
		return frame{}, 0, broken("type", "frame of unknown type 0x%02x", buffer[0])
	}
	if len(buffer) < headerSize {
		return frame{}, 0, nil
	}
	f := frame{kind: frameType(buffer[0]), channel: binary.BigEndian.Uint32(buffer[1:])}
	length := binary.BigEndian.Uint32(buffer[5:])
	if length > maxPayload {
		return frame{}, 0, broken("length", "%s frame of %d bytes", kind.name, length)
	}
	if kind.onStream != (f.channel == 0) {
		return frame{}, 0, broken("channel", "%s frame on channel %d", kind.name, f.channel)
	}
	end := headerSize + int(length)
	if len(buffer) < end {
		return frame{}, 0, nil
	}
	f.payload = buffer[headerSize:end:end]
	if !fits(kind.shape, f.payload) {
		return frame{}, 0, broken("payload", "%s frame with an unusable payload", kind.name)
	}
	return f, end, nil
}

func fits(want shape, payload []byte) bool {
	switch want {
	case shapeObject:
		return isObject(payload)
	case shapeBytes:
		return len(payload) > 0
	case shapePing:
		return len(payload) <= maxPing
	case shapeEmpty:
		return len(payload) == 0
	default:
		return len(payload) == 4 && binary.BigEndian.Uint32(payload) <= maxWindow
	}
}

// isObject: the decoder alone would take invalid UTF-8 and null.
func isObject(payload []byte) bool {
	for _, b := range payload {
		switch b {
		case ' ', '\t', '\r', '\n':
			continue
		case '{':
			return utf8.Valid(payload) && json.Valid(payload)
		}
		return false
	}
	return false
}

// putHeader writes a header into the first nine bytes of buffer.
func putHeader(buffer []byte, kind frameType, channel uint32, length int) {
	buffer[0] = byte(kind)
	binary.BigEndian.PutUint32(buffer[1:], channel)
	binary.BigEndian.PutUint32(buffer[5:], uint32(length))
}

func appendFrame(buffer []byte, kind frameType, channel uint32, payload []byte) []byte {
	var header [headerSize]byte
	putHeader(header[:], kind, channel, len(payload))
	return append(append(buffer, header[:]...), payload...)
}

// The control frames' payloads. []byte members are base64 in JSON.

type gatewayHello struct {
	Versions []int  `json:"versions"`
	Gateway  string `json:"gateway"`
}

type agentHello struct {
	Version  int      `json:"version"`
	Agent    string   `json:"agent"`
	OS       string   `json:"os"`
	Arch     string   `json:"arch"`
	PID      int      `json:"pid"`
	UID      int      `json:"uid"`
	Features []string `json:"features"`
}

type problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type openRequest struct {
	Kind    string          `json:"kind"`
	Window  int             `json:"window"`
	Mode    json.RawMessage `json:"mode"` // process: a word; file: permission bits
	Command []byte          `json:"command"`
	Argv    [][]byte        `json:"argv"`
	Shell   [][]byte        `json:"shell"`
	Env     [][]byte        `json:"env"`
	Cwd     []byte          `json:"cwd"`
	User    string          `json:"user"`
	Groups  []string        `json:"groups"`
	Pty     *ptySpec        `json:"pty"`
	Path    []byte          `json:"path"`
	Jail    *jailSpec       `json:"jail"` // sftp

	Network string `json:"network"` // dial, listen
	Address string `json:"address"`

	Protocol []byte `json:"protocol"` // x11
	Cookie   string `json:"cookie"`
	Screen   uint32 `json:"screen"`
	Single   bool   `json:"single"`
}

type ptySpec struct {
	Term []byte `json:"term"`
	size
	Modes map[string]uint32 `json:"modes"`
}

type size struct {
	Columns uint32 `json:"columns"`
	Rows    uint32 `json:"rows"`
	Width   uint32 `json:"width"`
	Height  uint32 `json:"height"`
}

type openedAnswer struct {
	Window      int               `json:"window"`
	PID         int               `json:"pid,omitempty"`
	Local       string            `json:"local,omitempty"`
	Peer        string            `json:"peer,omitempty"`
	Port        int               `json:"port,omitempty"`
	Environment map[string][]byte `json:"environment,omitempty"`
}

// acceptedRequest is the OPEN that the agent sends.
type acceptedRequest struct {
	Kind     string `json:"kind"`
	Listener uint32 `json:"listener"`
	Window   int    `json:"window"`
	Peer     string `json:"peer,omitempty"`
}

type acceptedAnswer struct {
	Window int `json:"window"`
}

type signalRequest struct {
	Name string `json:"name"`
}

type exitCode struct {
	Code    int    `json:"code"`
	Message string `json:"message,omitempty"`
}

type exitSignal struct {
	Signal  string `json:"signal"`
	Core    bool   `json:"core"`
	Message string `json:"message"`
}
