package auth

import (
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/tenancy"
)

// A chain of makers ends at the organisation's border, and where it is a ring; a revoked maker bounds what may be
// spent and no longer what may be done.
func TestTheChainOfMakers(t *testing.T) {
	ids := id.Default()
	orgs := []string{ids.New("org"), ids.New("org")}
	prj := ids.New("prj")
	var snap tenancy.Snapshot
	add := func(org int, by string, role tenancy.Role, revoked bool) string {
		e := tenancy.Entry{Key: tenancy.Key{ID: ids.New("key"), OrgID: orgs[org], ProjectID: prj, Role: role, CreatedBy: by, Limits: tenancy.Limits{RPM: 7}}}
		e.Hash[0] = byte(len(snap.Keys))
		if revoked {
			e.RevokedAt = new(time.Unix(1, 0))
		}
		snap.Keys = append(snap.Keys, e)
		return e.ID
	}
	operator := add(0, "", tenancy.Owner, false)
	root := add(1, operator, tenancy.Owner, false)
	viewer := add(1, root, tenancy.Viewer, true)
	kept := add(1, viewer, tenancy.Owner, false)
	last := add(1, kept, tenancy.Owner, false)
	ring := add(0, "", tenancy.Owner, false)
	snap.Keys[5].CreatedBy = ring
	lost := add(0, "key_lost", tenancy.Owner, false)

	k := NewKeyring(&source{snap: snap}, time.Now)
	if err := k.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for of, want := range map[string][]string{operator: nil, root: nil, viewer: {root}, last: {kept, viewer, root}, lost: nil} {
		raw, err := id.ParseRaw(of)
		if err != nil {
			t.Fatal(err)
		}
		above := k.Charged(raw)
		if len(above) != len(want) {
			t.Errorf("above %s stand %+v, want %v", of, above, want)
			continue
		}
		for i := range want {
			if "key_"+above[i].String() != want[i] {
				t.Errorf("above %s stands %+v at %d, want %s", of, above[i], i, want[i])
			}
		}
	}
	for i := range snap.Keys {
		if want := map[bool]tenancy.Role{true: tenancy.Viewer, false: tenancy.Owner}[snap.Keys[i].ID == viewer]; newTree(snap.Keys).role(&snap.Keys[i]) != want {
			t.Errorf("%s is not %s", snap.Keys[i].ID, want)
		}
	}
}
