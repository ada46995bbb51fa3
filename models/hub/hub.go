// Package hub brings models in from the two hubs that the field uses, by their protocols: Hugging Face (its own site and the
// many mirrors that speak as it does) and ModelScope. It also writes and reads the bundles by which models travel without a
// network.
//
// A pull is a plan, the files that the hub listed for one revision with their sizes and checksums, and a folder in which they
// grow. The folder alone is enough to go on: whatever is killed at whatever point, the same Pull on the same folder continues.
//
// Rules for callers: one Pull at a time on a folder; the names of a plan were checked and lie in the folder, whatever the hub
// said; a file that appears under Files was checked against its checksum. Addresses come from users, so every connection goes
// through internal/outbound: https to public addresses, or whatever the mirror's own host is where Mirror.Private was allowed
// to somebody who may. A token goes to the host of its mirror and to no other.
//
// What the protocols are was read from huggingface.co/docs/hub/api, huggingface.co/docs/hub/rate-limits, the repositories
// github.com/huggingface/huggingface_hub (src/huggingface_hub/hf_api.py, file_download.py) and github.com/modelscope/modelscope
// (modelscope/hub/api.py, file_download.py).
package hub

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/ref"
)

// Source names a hub's protocol.
type Source string

// The protocols.
const (
	HuggingFace Source = "huggingface"
	ModelScope  Source = "modelscope"
)

// Home is where the source itself answers, and the only host but an explicit one that its tokens are meant for.
func (s Source) Home() string {
	if s == ModelScope {
		return "https://modelscope.cn"
	}
	return "https://huggingface.co"
}

// DefaultRevision is the branch that is meant where none is named.
func (s Source) DefaultRevision() string {
	if s == ModelScope {
		return "master"
	}
	return "main"
}

// Entry is one file as a hub lists it.
type Entry struct {
	Path   string `json:"path"`              // within the repository, with slashes
	Size   int64  `json:"size"`              // bytes; -1: the list does not say
	SHA256 string `json:"sha256,omitempty"`  // of the content, 64 hexadecimal digits; empty: not told
	GitOID string `json:"git_oid,omitempty"` // git's name of the content, 40 hexadecimal digits; empty: not told
}

// Checked says whether the list tells a checksum of the content.
func (e Entry) Checked() bool { return e.SHA256 != "" || e.GitOID != "" }

// Listing is what a hub has of one revision.
type Listing struct {
	Revision string // the commit; empty where the protocol does not tell it
	Files    []Entry
}

// Mirror is one address that speaks the source's protocol.
type Mirror struct {
	URL     string `json:"url"`
	Private bool   `json:"private,omitempty"` // it may be an inner address, with plain http
	Token   string `json:"-"`                 // sent to this host alone; empty: none
}

// Spec says what to pull.
type Spec struct {
	Source   Source   `json:"source"`
	Repo     string   `json:"repo"`     // org/name
	Revision string   `json:"revision"` // branch, tag or commit; empty: the source's default
	Include  []string `json:"include,omitempty"`
	Exclude  []string `json:"exclude,omitempty"`
	File     string   `json:"file,omitempty"` // which of several GGUF files: its name or a part of it, such as Q4_K_M
	Mirrors  []Mirror `json:"mirrors,omitempty"`
}

// Check completes a spec and refuses what cannot be one.
func (s *Spec) Check() error {
	switch s.Source {
	case "":
		s.Source = HuggingFace
	case HuggingFace, ModelScope:
	default:
		return fault.New(fault.Invalid, "There is no hub "+ref.Quote(string(s.Source))+".", fault.Field("source"), fault.Fix("Use huggingface or modelscope."))
	}
	org, name, ok := strings.Cut(s.Repo, "/")
	if !ok || !word(org) || !word(name) {
		return fault.New(fault.Invalid, "A model of a hub is named by its organisation and its name, and "+ref.Quote(s.Repo)+" is not.", fault.Field("repo"),
			fault.Fix("Write for example Qwen/Qwen3-0.6B"))
	}
	if s.Revision == "" {
		s.Revision = s.Source.DefaultRevision()
	}
	if !revision(s.Revision) {
		return fault.New(fault.Invalid, "The revision "+ref.Quote(s.Revision)+" cannot be one.", fault.Field("revision"), fault.Fix("Name a branch, a tag or a commit."))
	}
	if len(s.Include)+len(s.Exclude) > 64 || len(s.Mirrors) > 8 || len(s.File) > 200 {
		return fault.New(fault.Invalid, "A pull takes at most 64 patterns, 8 mirrors and a file name of 200 characters.", fault.Field("include"))
	}
	return patterns(slices.Concat(s.Include, s.Exclude))
}

// Key is the same for specs that ask for the same files, wherever they come from.
func (s Spec) Key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %q %q", s.Source, s.Repo, s.Revision, s.Include, s.Exclude, s.File)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// word is a name as hubs give them to organisations and repositories.
func word(s string) bool {
	if s == "" || len(s) > 100 || s[0] == '.' || s[0] == '-' || strings.Contains(s, "..") {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) })
}

func plain(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_'
}

// revision is a branch, tag or commit; git allows slashes in the first two.
func revision(s string) bool {
	if s == "" || len(s) > 200 || strings.Contains(s, "..") || strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/") {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) && r != '/' && r != '+' })
}

// Progress is how far a pull is.
type Progress struct {
	Phase     string        // "list", "fetch", "check"
	File      string        // the one that is worked on
	Files     int           // of the plan
	FilesDone int           // checked
	Bytes     int64         // of the plan
	BytesDone int64         // here, checked or not
	Rate      float64       // bytes a second lately; 0: not known
	Left      time.Duration // at that rate; 0: not known
	Note      string        // what it waits for or what went wrong lately, a sentence; may be empty
}

// Result is a pull that is done.
type Result struct {
	Revision  string  // the commit; where the protocol does not tell one, what was asked for
	Listed    string  // host that the list and with it the checksums came from
	Hash      string  // of the files: SHA-256 over their checksums, sizes and names, hexadecimal
	Files     []Entry // with the SHA-256 that each was found to have
	Unchecked []string
}

// hashOf names a set of files: a line of checksum, size and path for each, in the order of paths.
func hashOf(files []Entry) string {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%s %d %s\n", f.SHA256, f.Size, f.Path)
	}
	return hex.EncodeToString(h.Sum(nil))
}
