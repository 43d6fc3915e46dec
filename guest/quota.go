package main

import (
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
)

// recount is how old a count of what is used may be when a write would be refused by it.
const recount = 2 * time.Second

// A quota bounds the bytes of the files below a root.
//
// What is used is counted at the first write and again when room seems to run out; between counts only this process's
// own writes are known. Several sessions at once can so exceed it by what they write within a count's age.
type quota struct {
	root  *os.Root
	limit int64

	mu      sync.Mutex
	used    int64
	counted time.Time
}

// take reserves growth bytes, or gives them back if growth is negative.
func (q *quota) take(growth int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if growth > 0 {
		if q.counted.IsZero() {
			q.count()
		}
		if q.used+growth > q.limit && time.Since(q.counted) > recount {
			q.count()
		}
		if q.used+growth > q.limit {
			return syscall.EDQUOT
		}
	}
	q.used = max(0, q.used+growth)
	return nil
}

// room says how much there may be and how much is left of it.
func (q *quota) room() (limit, free int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if time.Since(q.counted) > recount {
		q.count()
	}
	return q.limit, max(0, q.limit-q.used)
}

func (q *quota) count() {
	var used int64
	_ = fs.WalkDir(q.root.FS(), ".", func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if info, gone := entry.Info(); gone == nil {
				used += info.Size()
			}
		}
		return nil // what cannot be looked at does not count
	})
	q.used, q.counted = used, time.Now()
}

// written is a file open for writing whose growth a quota is asked about.
type written struct {
	*os.File
	quota *quota

	mu   sync.Mutex
	size int64
}

// WriteAt asks before it grows the file.
func (w *written) WriteAt(data []byte, offset int64) (int, error) {
	if w.quota != nil {
		if err := w.grow(offset + int64(len(data))); err != nil {
			return 0, err
		}
	}
	return w.File.WriteAt(data, offset)
}

func (w *written) grow(end int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if end <= w.size {
		return nil
	}
	if err := w.quota.take(end - w.size); err != nil {
		return err
	}
	w.size = end
	return nil
}

// measure takes the file's size as it is.
func (w *written) measure() error {
	info, err := w.Stat()
	if err == nil {
		w.size = info.Size()
	}
	return err
}

// resize cuts the file, or lets it grow.
func (w *written) resize(size int64) error {
	if err := w.measure(); err != nil {
		return err
	}
	if w.quota != nil {
		if err := w.quota.take(size - w.size); err != nil {
			return err
		}
	}
	w.size = size
	return w.Truncate(size)
}
