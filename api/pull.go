package api

import (
	"context"
	"net/http"
	"time"
)

// NewPull asks for a model of a hub.
type NewPull struct {
	Source       string   `json:"source,omitempty" enum:"huggingface,modelscope" doc:"whose protocol; default huggingface"`
	Repo         string   `json:"repo" maxLength:"220" doc:"organisation and name there, such as Qwen/Qwen3-0.6B"`
	Revision     string   `json:"revision,omitempty" maxLength:"200" doc:"branch, tag or commit; default the main one"`
	Model        string   `json:"model,omitempty" maxLength:"200" doc:"name in the registry; default the repository's"`
	Include      []string `json:"include,omitempty" maxItems:"64" doc:"only files that match one of these patterns"`
	Exclude      []string `json:"exclude,omitempty" maxItems:"64" doc:"no file that matches one of these patterns"`
	File         string   `json:"file,omitempty" maxLength:"200" doc:"which of several GGUF files: its name or a word of it, such as Q4_K_M"`
	Mirrors      []string `json:"mirrors,omitempty" maxItems:"7" doc:"addresses that speak the same protocol, asked in this order and before the hub itself"`
	Endpoint     string   `json:"endpoint,omitempty" maxLength:"2048" doc:"in the place of the hub's own address; it gets the token"`
	AllowPrivate bool     `json:"allow_private,omitempty" doc:"mirrors and endpoint may have an address inside the network, and plain http"`
	Token        string   `json:"token,omitempty" maxLength:"4096" doc:"for models that are not open; goes to the hub's own address or the endpoint alone, and is forgotten when the pull has ended"`
}

// Pull is a model on its way from a hub.
type Pull struct {
	ID        string     `json:"id"`
	Model     string     `json:"model" doc:"name in the registry"`
	Source    string     `json:"source"`
	Repo      string     `json:"repo"`
	Revision  string     `json:"revision"`
	State     string     `json:"state" enum:"running,done,failed" doc:"a failed one keeps what came: the same request continues it"`
	Reason    string     `json:"reason,omitempty" doc:"why it failed"`
	Kind      string     `json:"kind,omitempty" doc:"kind of that failure"`
	Code      string     `json:"code,omitempty"`
	Fix       string     `json:"fix,omitempty"`
	Commit    string     `json:"commit,omitempty" doc:"the revision that was found"`
	Listed    string     `json:"listed,omitempty" doc:"host that told the checksums"`
	Hash      string     `json:"hash,omitempty" doc:"of the files: SHA-256 over their checksums, sizes and names"`
	Version   string     `json:"version,omitempty" doc:"the model version it became"`
	Phase     string     `json:"phase,omitempty" doc:"list, fetch or register"`
	File      string     `json:"file,omitempty"`
	Files     int        `json:"files"`
	FilesDone int        `json:"files_done" doc:"here and checked"`
	Bytes     int64      `json:"bytes"`
	BytesDone int64      `json:"bytes_done" doc:"here"`
	Rate      float64    `json:"rate,omitempty" doc:"bytes a second lately"`
	Left      float64    `json:"left,omitempty" doc:"seconds, at that rate"`
	Note      string     `json:"note,omitempty" doc:"what it waits for, or what went wrong lately"`
	Mirrors   []string   `json:"mirrors" nullable:"false" doc:"addresses in the order they are asked"`
	CreatedBy string     `json:"created_by,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
}

// Pulls lists pulls, newest first.
func (c *Client) Pulls(ctx context.Context) ([]Pull, error) {
	return items[Pull](ctx, c, path("pulls"))
}

// BeginPull pulls a model, or continues a pull that was asked for before.
func (c *Client) BeginPull(ctx context.Context, n NewPull) (Pull, error) {
	return call[Pull](ctx, c, http.MethodPost, path("pulls"), n)
}

// Pull shows how far a pull is.
func (c *Client) Pull(ctx context.Context, id string) (Pull, error) {
	return call[Pull](ctx, c, http.MethodGet, path("pulls", id), nil)
}

// RemovePull ends a pull and throws away what came of it.
func (c *Client) RemovePull(ctx context.Context, id string) error {
	return none(ctx, c, http.MethodDelete, path("pulls", id))
}
