package engine

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/triarch-ai/triarch/internal/fault"
)

// EndpointFile is what a replica writes into its attempt's folder once it answers.
const EndpointFile = "endpoint.json"

// Protocol is the number of the worker protocol this program speaks: the OpenAI dialect on a loopback socket with a
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

// Announced reads the address from the announcement in an attempt's folder. It is fault.NotFound until the replica
// has written it, and fault.Conflict when the replica speaks another protocol.
func Announced(dir string) (addr string, err error) {
	f, err := os.Open(filepath.Join(dir, EndpointFile))
	if os.IsNotExist(err) {
		return "", fault.New(fault.NotFound, "The replica does not answer yet.", fault.Cause(err))
	}
	if err != nil {
		return "", fault.Wrap(err, "reading a replica's announcement")
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	var a Announcement
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err == nil {
		_, _, err = net.SplitHostPort(a.Addr)
	}
	if err != nil {
		return "", fault.Wrap(err, "reading a replica's announcement")
	}
	if a.Protocol != Protocol {
		return "", fault.New(fault.Conflict, "The replica speaks another worker protocol than this program.",
			fault.Fix("Remove the deployment and deploy again."))
	}
	return a.Addr, nil
}
