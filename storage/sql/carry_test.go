package sql

import (
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	"github.com/triarch-ai/triarch/models/serve"
)

// Routes made when each led to one deployment lead there still, and go back.
func TestRoutesAreCarriedOver(t *testing.T) {
	ctx := t.Context()
	db, err := Open(ctx, "sqlite:"+filepath.Join(t.TempDir(), "state.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p, err := db.provider()
	if err != nil {
		t.Fatal(err)
	}
	const before = 13
	if _, err := p.DownTo(ctx, before); err != nil {
		t.Fatal(err)
	}
	err = db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO routes (id, org, project, name, shared_name, deployment_id, price_in, price_out, created_at) VALUES (?, ?, ?, ?, NULL, ?, ?, ?, ?)",
			"rte_1", "org_1", "prj_1", "r", "dep_1", 3, 4, 5)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Up(ctx); err != nil {
		t.Fatal(err)
	}
	r, err := db.Serve().RouteByName(ctx, "prj_1", "r")
	if err != nil || !slices.Equal(r.Backends, []serve.Backend{{Weight: 1, Deployment: "dep_1"}}) || r.Prices.Output != 4 || len(r.Aliases) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := p.DownTo(ctx, before); err != nil {
		t.Fatal(err)
	}
	var dep string
	if err := db.Read(ctx, func(tx *Tx) error {
		return tx.QueryRow(ctx, "SELECT deployment_id FROM routes WHERE id = 'rte_1'").Scan(&dep)
	}); err != nil || dep != "dep_1" {
		t.Errorf("went back to %q, %v", dep, err)
	}
}
