package meter

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestFlusher(t *testing.T) {
	f := newFlusher()
	if f == nil {
		t.Skip("this kernel has no asynchronous fdatasync")
	}
	defer f.close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := file.WriteString("x"); err != nil {
			t.Fatal(err)
		}
		if done, err := f.flush(file); !done || err != nil {
			t.Fatalf("flush: %t, %v", done, err)
		}
	}
	file.Close()
	if done, err := f.flush(file); done || err != nil {
		t.Errorf("a closed file: %t, %v; it should be left to msync", done, err)
	}
	var none *flusher
	if done, err := none.flush(file); done || err != nil {
		t.Errorf("no flusher: %t, %v", done, err)
	}
}

// A change is on its way to the disk one period later, and an idle ledger wakes nobody.
func TestAChangeBeginsAPeriod(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, err := Open(dir, "node", Options{Slots: 4})
		if err != nil {
			t.Fatal(err)
		}
		s := l.active.Load()
		for range 3 {
			time.Sleep(time.Minute)
			s.touch()
			s.touch()
			time.Sleep(l.opt.SyncEvery - 1)
			if !s.dirty.Load() {
				t.Fatal("synced before its time")
			}
			for range 2 { // the commit itself takes time of the world outside
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			if s.dirty.Load() {
				t.Fatal("not synced a period after the change")
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
