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
// own writes are known. Several sessions at once can so exceed it by what they write within a count's age. One write
// is made at a time: what is counted, what a file's size is and what is reserved are then the same bytes.
type quota struct {
	root  *os.Root
	limit int64

	mu      sync.Mutex
	used    int64
	counted time.Time
}

// bound makes a change to file after which it is as long as after says, given its size now. A nil quota lets all pass.
func (q *quota) bound(file *os.File, after func(now int64) int64, change func() error) error {
	if q == nil {
		return change()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	info, err := file.Stat()
	if err == nil {
		err = q.take(after(info.Size()) - info.Size())
	}
	if err != nil {
		return err
	}
	return change()
}

// take reserves growth bytes, or gives them back if growth is negative.
func (q *quota) take(growth int64) error {
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

// written is a file open for writing whose growth a quota, if there is one, is asked about.
type written struct {
	*os.File
	quota *quota
}

// WriteAt asks before it grows the file.
func (w *written) WriteAt(data []byte, offset int64) (n int, err error) {
	after := func(now int64) int64 { return max(now, offset+int64(len(data))) }
	err = w.quota.bound(w.File, after, func() error {
		n, err = w.File.WriteAt(data, offset)
		return err
	})
	return n, err
}

// resize cuts the file, or lets it grow.
func (w *written) resize(size int64) error {
	return w.quota.bound(w.File, func(int64) int64 { return size }, func() error { return w.Truncate(size) })
}
