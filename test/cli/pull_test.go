package cli

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// weights is a safetensors file of one tensor of n numbers.
func weights(n int) []byte {
	head := fmt.Sprintf(`{"model.embed_tokens.weight":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}`, n, 4*n)
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(head)))
	b = append(b, head...)
	for i := range n {
		b = binary.LittleEndian.AppendUint32(b, uint32(i)*2654435761)
	}
	return b
}

// TestPullOutlivesTheServer has a hub hold the connection in the middle of a file, kills the server and starts it again: the same
// command continues with the block that was on its way, and the model has the hub's bytes.
func TestPullOutlivesTheServer(t *testing.T) {
	t.Parallel()
	const commit = "0123456789abcdef0123456789abcdef01234567"
	const block = 1 << 20
	file, config := weights(3*block/4), `{"model_type":"llama"}`
	sum := fmt.Sprintf("%x", sha256.Sum256(file))
	var mu sync.Mutex
	var ranges []string
	held := make(chan struct{})
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/models/org/tiny/revision/main":
			fmt.Fprintf(w, `{"sha":%q,"siblings":[{"rfilename":"config.json","size":%d,"blobId":"%x"},{"rfilename":"model.safetensors","size":%d,"lfs":{"sha256":%q,"size":%d}}]}`,
				commit, len(config), sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(config), config)), len(file), sum, len(file))
		case "/org/tiny/resolve/" + commit + "/config.json":
			fmt.Fprint(w, config)
		case "/org/tiny/resolve/" + commit + "/model.safetensors":
			mu.Lock()
			ranges = append(ranges, r.Header.Get("Range"))
			n := len(ranges)
			mu.Unlock()
			if n > 1 {
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file))
				return
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(file)-1, len(file)))
			w.Header().Set("Content-Length", fmt.Sprint(len(file)))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(file[:block+block/2])
			w.(http.Flusher).Flush()
			<-held
		default:
			http.NotFound(w, r)
		}
	}))
	defer hub.Close()
	defer sync.OnceFunc(func() { close(held) })()
	h := newHome(t)
	pull := "HF_ENDPOINT=" + hub.URL + " triarch model pull org/tiny --allow-private "
	h.sh(pull + "--detach")
	for deadline := time.Now().Add(time.Minute); gjson.Get(h.sh("sleep 0.2; triarch model pulls -o json"), "0.bytes_done").Int() < block; {
		if time.Now().After(deadline) {
			t.Fatal("nothing came")
		}
	}
	h.sh("kill -9 $(cat .triarch/lock); until triarch up --no-starter --listen 127.0.0.1:0 --detach </dev/null; do sleep 0.1; done")
	out := h.sh(pull + "-o json 2>&1")
	if got := gjson.Get(out, `files.#(name=="model.safetensors").sha256`).String(); got != sum || gjson.Get(out, "lineage.revision").String() != commit {
		t.Errorf("the model is another: %s", out)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(ranges) != 2 || !strings.HasPrefix(ranges[1], fmt.Sprintf("bytes=%d-", block)) {
		t.Errorf("it asked for %q", ranges)
	}
}
