package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"testing"
)

type vector struct {
	Name   string
	Hex    string
	Frames []struct {
		Type       string
		Channel    uint32
		PayloadHex *string `json:"payload_hex"`
		JSON       map[string]any
	}
	Error string
}

func vectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// parseAll reads a whole stream; bytes left over are a frame cut by its end.
func parseAll(data []byte) ([]frame, error) {
	var frames []frame
	for {
		f, n, err := parseFrame(data)
		if err != nil {
			return frames, err
		}
		if n == 0 {
			if len(data) > 0 {
				return frames, broken("truncated", "the stream ended within a frame")
			}
			return frames, nil
		}
		frames, data = append(frames, f), data[n:]
	}
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			data, err := hex.DecodeString(v.Hex)
			if err != nil {
				t.Fatal(err)
			}
			frames, err := parseAll(data)
			if v.Error != "" {
				var bad *protocolError
				if !errors.As(err, &bad) || bad.kind != v.Error {
					t.Fatalf("got %v, want an error of kind %s", err, v.Error)
				}
				return
			}
			if err != nil || len(frames) != len(v.Frames) {
				t.Fatalf("got %d frames and %v, want %d", len(frames), err, len(v.Frames))
			}
			var again []byte
			for i, want := range v.Frames {
				got := frames[i]
				again = appendFrame(again, got.kind, got.channel, got.payload)
				if got.kind.String() != want.Type || got.channel != want.Channel {
					t.Errorf("frame %d is %s on %d, want %s on %d", i, got.kind, got.channel, want.Type, want.Channel)
				}
				if want.PayloadHex != nil {
					if hex.EncodeToString(got.payload) != *want.PayloadHex {
						t.Errorf("frame %d has another payload", i)
					}
					continue
				}
				var object map[string]any
				if err := json.Unmarshal(got.payload, &object); err != nil || !reflect.DeepEqual(object, want.JSON) {
					t.Errorf("frame %d is %v (%v), want %v", i, object, err, want.JSON)
				}
			}
			if !bytes.Equal(again, data) {
				t.Error("writing the frames gives other bytes")
			}
		})
	}
}

func TestHeaderIsJudgedBeforeThePayload(t *testing.T) {
	if _, _, err := parseFrame([]byte{byte(typeData), 0, 0, 0, 1, 0, 4, 0, 1}); err == nil {
		t.Error("a length of 262145 was taken")
	}
	if _, _, err := parseFrame([]byte{'b'}); err == nil {
		t.Error("an unknown type was taken")
	}
	if _, n, err := parseFrame([]byte{byte(typeData), 0, 0, 0, 1, 0, 4, 0, 0}); n != 0 || err != nil {
		t.Errorf("a length of 262144 gave %d, %v", n, err)
	}
}

func TestEveryVectorTypeOccurs(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range vectors(t) {
		for _, f := range v.Frames {
			seen[f.Type] = true
		}
	}
	for _, kind := range frameKinds {
		if !seen[kind.name] {
			t.Errorf("no vector has a %s frame", kind.name)
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	for _, v := range vectors(f) {
		if data, err := hex.DecodeString(v.Hex); err == nil && len(data) < 4096 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, n, err := parseFrame(data)
		if n > len(data) || n > headerSize+maxPayload || (err != nil && n != 0) {
			t.Fatalf("%d of %d bytes, %v", n, len(data), err)
		}
		if n > 0 && !bytes.Equal(appendFrame(nil, got.kind, got.channel, got.payload), data[:n]) {
			t.Fatal("a frame does not come out as it went in")
		}
	})
}
