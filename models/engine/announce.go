package engine

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Names in a replica's attempt folder.
const (
	SecretFile   = "secret"        // the bearer secret the replica demands, written before the start, 0600
	EndpointFile = "endpoint.json" // the replica's Announcement, written by it, whole, once it answers
)

// Protocol is the number of the worker protocol this program speaks: the OpenAI dialect on a socket of Spec.Listen with a
// bearer secret, and running token counts in comments of event streams.
const Protocol = 1

// Announcement is the content of EndpointFile.
type Announcement struct {
	Addr     string `json:"addr"` // host:port
	Protocol int    `json:"protocol"`
}

// Announce writes the announcement of a replica that answers at addr, all at once.
func Announce(dir, addr string) error {
	b, err := json.Marshal(Announcement{Addr: addr, Protocol: Protocol})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, EndpointFile)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fault.Wrap(err, "announcing the replica")
	}
	return fault.Wrap(os.Rename(path+".new", path), "announcing the replica")
}
