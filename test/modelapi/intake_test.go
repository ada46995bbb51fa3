package modelapi

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/kept"
	"github.com/triarch-ai/triarch/server"
	"github.com/triarch-ai/triarch/storage/blob"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/test/pacedengine"
)

// counted is a store that counts what is read of it.
type counted struct {
	blob.Store
	read atomic.Int64
}

func (c *counted) Open(ctx context.Context, ref blob.Ref) (io.ReadCloser, int64, error) {
	r, n, err := c.Store.Open(ctx, ref)
	return &countedReader{r, c}, n, err
}

type countedReader struct {
	io.ReadCloser
	of *counted
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.of.read.Add(int64(n))
	return n, err
}

// Files that a request names, and the conversation that it goes on from, take of the memory set aside for bodies before
// they are read.
func TestWhatRequestsNameTakesOfTheIntake(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 2})
	_, secret := r.key(tenancy.NewKey{Name: "k"})
	api := r.handler.(*server.OpenAI)
	blobs := &counted{Store: api.Kept.Blobs}
	api.Kept = &kept.Service{Store: r.db.Kept(), Blobs: blobs, IDs: id.Default(), Now: time.Now, FileBytes: 1 << 16}
	f, err := api.Kept.Put(t.Context(), kept.File{Project: r.by.ProjectID, CreatedBy: "key", Name: "long", Purpose: "batch"}, bytes.NewReader(make([]byte, 30<<10)))
	if err == nil {
		f, err = api.Kept.AddFile(t.Context(), f)
	}
	if err != nil {
		t.Fatal(err)
	}
	a := r.do("POST", "/v1/responses", secret, `{"model":"paced","input":"`+strings.Repeat("one ", 8<<10)+`"}`)
	first := gjson.Get(a.body, "id").String()
	for _, c := range []struct {
		room   int64
		status int
	}{{20 << 10, 503}, {1 << 20, 200}} {
		api.Intake = server.NewIntake(10, c.room)
		blobs.read.Store(0)
		a := r.chat(secret, `{"model":"paced","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"`+f.ID+`"}}]}]}`)
		if (a.status == 503) != (c.status == 503) || (blobs.read.Load() == 0) != (c.status == 503) {
			t.Errorf("with %d bytes of room: %d %s after %d bytes of the file", c.room, a.status, a.body, blobs.read.Load())
		}
		if a := r.do("POST", "/v1/responses", secret, `{"model":"paced","input":"two","previous_response_id":"`+first+`"}`); a.status != c.status {
			t.Errorf("a conversation with %d bytes of room: %d %s", c.room, a.status, a.body)
		}
	}
}
