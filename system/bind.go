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
// work would look dead and be started twice. The directory's name is in the keys of shipped records, so a lost one
// comes back from the database: under a new name every record that is still in the ledger would be booked again.
func (s *System) bind(ctx context.Context) error {
	file := s.dir.File("installation")
	mine, err := readLine(file)
	if err != nil {
		return fault.Wrap(err, "reading which database the data directory belongs to")
	}
	if s.node, err = readLine(s.dir.File("node")); err != nil {
		return fault.Wrap(err, "reading the data directory's name")
	}
	if !id.Valid("node", s.node) {
		s.node = ""
	}
	bound, err := s.db.Bound(ctx)
	switch none := fault.Is(err, fault.NotFound); {
	case err != nil && !none:
		return err
	case mine != "" && (none || bound.ID != mine):
		return fault.New(fault.Conflict, "The data directory "+s.dir.Path+" belongs to another database.", fault.Field("database"),
			fault.Fix("Give the database it was made with, or choose an empty folder with --data"))
	case s.node == "" && (mine != "" || s.Config.Database == "") && !none:
		s.Log.Warn("the data directory's name was missing; the database has it", "file", s.dir.File("node"), "name", bound.Node)
		err = s.writeNode(bound.Node)
	case s.node == "":
		err = s.writeNode(s.ids.New("node"))
	default:
		err = nil
	}
	if err != nil {
		return err
	}
	if mine == "" { // the node's name is on the disk before the database has it
		if bound, err = s.db.Bind(ctx, sql.Installation{ID: s.ids.New("inst"), Node: s.node}); err != nil {
			return err
		}
	}
	if bound.Node != s.node {
		return fault.New(fault.Conflict, "The database belongs to another data directory.", fault.Field("data"),
			fault.Fix("Give the data directory it was made with, or use an empty database; if this is that directory, write %s into %s", bound.Node, s.dir.File("node")))
	}
	if mine != "" {
		return nil
	}
	return diskFault(durable.WriteFile(file, []byte(bound.ID+"\n"), 0o600), "writing which database the data directory belongs to")
}

// readLine reads a file of one line; empty when it is not there.
func readLine(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}

// writeNode keeps the directory's name: made once, never changed.
func (s *System) writeNode(name string) error {
	s.node = name
	return diskFault(durable.WriteFile(s.dir.File("node"), []byte(name+"\n"), 0o600), "writing the data directory's name")
}

// join ties the data directory of a gateway alone to the database of a control plane: records of its ledger are of no
// other one, and its name is no other's.
func (s *System) join(ctx context.Context) error {
	bound, err := s.db.Bound(ctx)
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.NotFound, "No control plane has used this database yet.", fault.Field("database"),
			fault.Fix("Start one with `triarch up` first"))
	}
	if err != nil {
		return err
	}
	file := s.dir.File("installation")
	mine, err := readLine(file)
	if err == nil {
		s.node, err = readLine(s.dir.File("node"))
	}
	switch {
	case err != nil:
		return fault.Wrap(err, "reading which database the data directory belongs to")
	case mine != "" && mine != bound.ID:
		return fault.New(fault.Conflict, "The data directory "+s.dir.Path+" belongs to another database.", fault.Field("database"),
			fault.Fix("Give the database it was made with, or choose an empty folder with --data"))
	case s.node == bound.Node:
		return fault.New(fault.Conflict, "The data directory "+s.dir.Path+" is the control plane's.", fault.Field("data"),
			fault.Fix("Give each gateway a folder of its own with --data"))
	case mine != "" && !id.Valid("node", s.node):
		return fault.New(fault.Conflict, "The name of the data directory "+s.dir.Path+" is missing, and with it whose records are in its ledger.", fault.Field("data"),
			fault.Fix("Restore its file node from a backup"))
	case mine == "":
		if err := s.writeNode(s.ids.New("node")); err != nil {
			return err
		}
	default:
		return nil
	}
	return diskFault(durable.WriteFile(file, []byte(bound.ID+"\n"), 0o600), "writing which database the data directory belongs to")
}

// claimRoles keeps a second control plane off this database, since work has one keeper. Gateways share a PostgreSQL by
// leases, where a second process of the same name fences the first.
func (s *System) claimRoles(ctx context.Context) error {
	for _, role := range s.Config.Roles {
		if role != "control" {
			continue
		}
		c, err := s.db.Claim(ctx, role)
		if err != nil {
			return err
		}
		s.claims = append(s.claims, c)
		s.control = s.db.Under(c)
		s.onStop("the role "+role, func(context.Context) error { return c.Release() })
	}
	return nil
}
