package system

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/storage/sql"
)

// bind ties data directory and database to each other on the first start and refuses any other pair after it:
// with a strange database all blobs would look unnamed and be collected, and with a strange directory all running
// work would look dead and be started twice.
func (s *System) bind(ctx context.Context) error {
	node, err := s.nodeName()
	if err != nil {
		return err
	}
	file := s.dir.File("installation")
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap(err, "reading which database the data directory belongs to")
	}
	var bound sql.Installation
	if mine := strings.TrimSpace(string(text)); mine != "" {
		bound, err = s.db.Bound(ctx)
		if fault.Is(err, fault.NotFound) || err == nil && bound.ID != mine {
			return fault.New(fault.Conflict, "The data directory "+s.dir.Path+" belongs to another database.", fault.Field("database"),
				fault.Fix("Give the database it was made with, or choose an empty folder with --data"))
		}
		return err
	}
	if bound, err = s.db.Bind(ctx, sql.Installation{ID: s.ids.New("inst"), Node: node}); err != nil {
		return err
	}
	if bound.Node != node {
		return fault.New(fault.Conflict, "The database belongs to another data directory.", fault.Field("data"),
			fault.Fix("Give the data directory it was made with, or use an empty database"))
	}
	return diskFault(durable.WriteFile(file, []byte(bound.ID+"\n"), 0o600), "writing which database the data directory belongs to")
}

// claimRoles keeps a second control plane or gateway off this database: work has one keeper, and spent money is
// counted in one gateway's memory.
func (s *System) claimRoles(ctx context.Context) error {
	for _, role := range s.Config.Roles {
		c, err := s.db.Claim(ctx, role)
		if err != nil {
			return err
		}
		s.claims = append(s.claims, c)
		s.onStop("the role "+role, func(context.Context) error { return c.Release() })
	}
	return nil
}

// nodeName is this data directory's name in the keys of shipped records: made once, never changed.
func (s *System) nodeName() (string, error) {
	file := s.dir.File("node")
	text, err := os.ReadFile(file)
	if name := strings.TrimSpace(string(text)); err == nil && id.Valid("node", name) {
		return name, nil
	}
	name := s.ids.New("node")
	return name, diskFault(durable.WriteFile(file, []byte(name+"\n"), 0o600), "writing the node's name")
}
