package data_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"sync"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/storage/blob"
)

// memory is a data.Store for tests that are not about the database.
type memory struct {
	data.Store
	mu  sync.Mutex
	all []data.Version
}

func newMemory() *memory { return &memory{} }

func (m *memory) Add(_ context.Context, v data.Version) (data.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range m.all {
		if x.Ref == v.Ref && x.Format == v.Format {
			return x, nil
		}
	}
	v.Number = len(m.all) + 1
	m.all = append(m.all, v)
	return v, nil
}

func (m *memory) Get(_ context.Context, _, id string) (data.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range m.all {
		if x.ID == id {
			return x, nil
		}
	}
	return data.Version{}, fault.New(fault.NotFound, "no")
}

// memoryBlobs is a blob.Store without a disk's pace; last is the blob put last.
type memoryBlobs struct {
	blob.Store
	last []byte
	all  map[blob.Ref][]byte
}

func (m *memoryBlobs) Put(_ context.Context, r io.Reader) (blob.Ref, int64, error) {
	var b bytes.Buffer
	if _, err := io.Copy(&b, r); err != nil {
		return "", 0, err
	}
	if m.all == nil {
		m.all = map[blob.Ref][]byte{}
	}
	m.last = b.Bytes()
	ref := blob.RefOf(sha256.Sum256(m.last))
	m.all[ref] = m.last
	return ref, int64(len(m.last)), nil
}

func (m *memoryBlobs) Open(_ context.Context, ref blob.Ref) (io.ReadCloser, int64, error) {
	return io.NopCloser(bytes.NewReader(m.all[ref])), int64(len(m.all[ref])), nil
}
