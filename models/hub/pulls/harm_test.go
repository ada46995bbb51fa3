package pulls_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/models/hub"
	"github.com/triarch-ai/triarch/models/hub/pulls"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// TestSlowPullsHoldNoPlaceOfOthers has a project's pulls hang at their hub: another project's is fetched beside them.
func TestSlowPullsHoldNoPlaceOfOthers(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	ctx := t.Context()
	held := make(chan struct{}, 16)
	w.act = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/slow") {
			held <- struct{}{}
			<-r.Context().Done()
			return true
		}
		return false
	}
	var list []pulls.Pull
	for i := range 5 {
		r := w.request()
		r.Spec.Repo = fmt.Sprintf("org/slow%d", i)
		p, err := w.Begin(ctx, w.other, r)
		must(t, err)
		list = append(list, p)
	}
	must(t, w.Pass(ctx))
	<-held
	<-held
	p, err := w.Begin(ctx, w.who, w.request())
	must(t, err)
	must(t, w.Pass(ctx))
	for w.get(t, p.ID).State == pulls.Running {
		select {
		case <-held:
			t.Fatal("a third one of the slow project began")
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		default:
			must(t, w.Pass(ctx))
		}
	}
	if p = w.get(t, p.ID); p.State != pulls.Done {
		t.Errorf("%+v", p)
	}
	for _, p := range list {
		must(t, w.Remove(ctx, w.other.Project, p.ID))
	}
	must(t, w.Pass(ctx))
	w.Wait()
}

// TestAVersionThatOnlySaysWhereItIsFrom has the model's newest version tell of the hub's commit with another file of the same size.
func TestAVersionThatOnlySaysWhereItIsFrom(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte("[]"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "model.safetensors"), []byte(weights), 0o600))
	told, err := w.Registry.AddDir(t.Context(), w.who.Project, dir, registry.NewVersion{Model: "tiny",
		Lineage: registry.Lineage{Source: "bundle", Origin: "huggingface:org/tiny", Revision: commit}})
	must(t, err)
	p, err := w.Begin(t.Context(), w.who, w.request())
	must(t, err)
	w.pass(t)
	if p = w.get(t, p.ID); p.State != pulls.Done || p.Version == told.ID {
		t.Errorf("it was taken for the hub's: %+v", p)
	}
}

// TestWeightsOfOneNameAreRefused has two folders hold weights of one name, of which a model could keep only one.
func TestWeightsOfOneNameAreRefused(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	w.act = func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/api/") {
			return false
		}
		fmt.Fprintf(rw, `{"sha":%q,"siblings":[{"rfilename":"unet/model.safetensors","size":1},{"rfilename":"vae/model.safetensors","size":1}]}`, commit)
		return true
	}
	r := w.request()
	r.Spec.Include = []string{"*.safetensors"}
	p, err := w.Begin(t.Context(), w.who, r)
	must(t, err)
	w.pass(t)
	if p = w.get(t, p.ID); p.State != pulls.Failed || p.Code != "same_name" {
		t.Errorf("%+v", p)
	}
	r.Spec = hub.Spec{Repo: "org/tiny", Include: []string{"vae/*"}}
	files, err := hub.Choose([]hub.Entry{{Path: "unet/model.safetensors"}, {Path: "vae/model.safetensors"}, {Path: "config.json"}, {Path: "vae/config.json"}},
		hub.Spec{Include: []string{"vae/*", "config.json"}})
	if err != nil || len(files) != 3 {
		t.Errorf("%v %v", files, err)
	}
}

// TestRepeatedRequestWithAnotherMirror asks again, with a mirror, for a pull that hangs: the mirror is used, and the same request again
// disturbs nothing.
func TestRepeatedRequestWithAnotherMirror(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	ctx := t.Context()
	held := make(chan struct{}, 16)
	w.act = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "model.safetensors") {
			held <- struct{}{}
			<-r.Context().Done()
			return true
		}
		return false
	}
	p, err := w.Begin(ctx, w.who, w.request())
	must(t, err)
	must(t, w.Pass(ctx))
	<-held
	_, err = w.Begin(ctx, w.who, w.request())
	must(t, err)
	must(t, w.Pass(ctx))
	select {
	case <-held:
		t.Error("the same request began it anew")
	default:
	}
	good := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "model.safetensors") {
			http.ServeContent(rw, r, "", time.Time{}, strings.NewReader(weights))
			return
		}
		w.serve(rw, r)
	}))
	defer good.Close()
	r := w.request()
	r.Spec.Mirrors = []hub.Mirror{{URL: good.URL}}
	again, err := w.Begin(ctx, w.who, r)
	must(t, err)
	must(t, w.Pass(ctx)) // ends what hangs
	w.Wait()
	w.pass(t)
	if q := w.get(t, p.ID); again.ID != p.ID || q.State != pulls.Done {
		t.Errorf("%+v", q)
	}
}

// TestFailureOfAnOlderRequestIsNotTheNewOnes asks again with a mirror after the last look and before the failure is stored.
func TestFailureOfAnOlderRequestIsNotTheNewOnes(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		w := newWorld(t, db)
		old, err := w.Begin(t.Context(), w.who, w.request())
		must(t, err)
		r := w.request()
		r.Spec.Mirrors = []hub.Mirror{{URL: w.hub.URL + "/other"}}
		_, err = w.Begin(t.Context(), w.who, r)
		must(t, err)
		old.State, old.Reason = pulls.Failed, "It failed."
		must(t, w.Store.End(t.Context(), old))
		if p := w.get(t, old.ID); p.State != pulls.Running {
			t.Errorf("%+v", p)
		}
		now := w.get(t, old.ID)
		now.State = pulls.Failed
		must(t, w.Store.End(t.Context(), now))
		if p := w.get(t, old.ID); p.State != pulls.Failed || p.Sealed != "" {
			t.Errorf("%+v", p)
		}
	})
}
