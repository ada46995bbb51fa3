// Package durable holds the last step of every durable write: after files of a folder were made, renamed or removed,
// the folder itself must reach the disk, or a power loss takes the names away again.
package durable

import (
	"errors"
	"os"
)

// SyncDir has the entries of a folder reach the disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
