package registry

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
)

func FuzzUnpack(f *testing.F) {
	for _, names := range [][]string{{"config.json", "m/model.safetensors"}, {"../config.json"}, {"a/../config.json"}, {"./config.json", "./README.md"}, {}} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, n := range names {
			if err := w.WriteHeader(&tar.Header{Name: n, Typeflag: tar.TypeReg, Size: 3, Mode: 0o600}); err != nil {
				f.Fatal(err)
			}
			if _, err := w.Write([]byte("abc")); err != nil {
				f.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, in []byte) {
		dir, err := os.MkdirTemp("", "unpack")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		into := filepath.Join(dir, "into")
		if err := os.Mkdir(into, 0o700); err != nil {
			t.Fatal(err)
		}
		const most = 4096
		err = unpack(bytes.NewReader(in), into, most)
		if k := fault.KindOf(err); err != nil && k != fault.Invalid && k != fault.TooLarge {
			t.Fatalf("%s: %v", k, err)
		}
		size := int64(0)
		if err := filepath.Walk(dir, func(path string, st os.FileInfo, err error) error {
			if err == nil && st.Mode().IsRegular() {
				size += st.Size()
				if filepath.Dir(path) != into || !known(st.Name()) {
					t.Errorf("it made %s", path)
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if size > most {
			t.Errorf("it made %d bytes", size)
		}
	})
}
