package hub

import (
	"encoding/json"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/ref"
)

// Bounds of a list.
const (
	maxList  = 32 << 20
	maxFiles = 20000
	maxPath  = 512
	maxSize  = 1 << 46 // bytes of one file; 64 TiB
)

// listURL is where a mirror lists a revision with sizes and checksums.
func (s Spec) listURL(base *url.URL) *url.URL {
	if s.Source == ModelScope {
		u := base.JoinPath("api/v1/models", s.Repo, "repo/files")
		u.RawQuery = url.Values{"Revision": {s.Revision}, "Recursive": {"True"}}.Encode()
		return u
	}
	u := base.JoinPath("api/models", s.Repo, "revision")
	u.RawPath = u.EscapedPath() + "/" + url.PathEscape(s.Revision) // a branch with a slash is one segment
	u.Path += "/" + s.Revision
	u.RawQuery = "blobs=true"
	return u
}

// fileURL is where a mirror gives a file of a revision.
func (s Spec) fileURL(base *url.URL, rev, file string) *url.URL {
	if s.Source == ModelScope {
		u := base.JoinPath("api/v1/models", s.Repo, "repo")
		u.RawQuery = url.Values{"Revision": {rev}, "FilePath": {file}}.Encode()
		return u
	}
	u := base.JoinPath(s.Repo, "resolve")
	u.RawPath = u.EscapedPath() + "/" + url.PathEscape(rev)
	for part := range strings.SplitSeq(file, "/") {
		u.RawPath += "/" + url.PathEscape(part)
	}
	u.Path += "/" + rev + "/" + file
	return u
}

// ParseList reads a list as the source sends it. Entries without a name that can be a file's are left out, except those that
// would leave the folder: they make the whole list worthless.
func (s Source) ParseList(b []byte) (Listing, error) {
	if len(b) > maxList {
		return Listing{}, fault.New(fault.TooLarge, "The hub's list of files is too large.")
	}
	if s == ModelScope {
		return parseModelScope(b)
	}
	return parseHuggingFace(b)
}

// parseHuggingFace reads the answer of GET /api/models/{repo}/revision/{revision}?blobs=true: sha, and siblings with
// rfilename, size, blobId (git's) and for large files lfs.sha256 and lfs.size.
func parseHuggingFace(b []byte) (Listing, error) {
	var in struct {
		SHA      string `json:"sha"`
		Disabled bool   `json:"disabled"`
		Siblings []struct {
			Name string `json:"rfilename"`
			Size *int64 `json:"size"`
			Blob string `json:"blobId"`
			LFS  *struct {
				SHA256 string `json:"sha256"`
				Size   *int64 `json:"size"`
			} `json:"lfs"`
		} `json:"siblings"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return Listing{}, badList(err)
	}
	if in.Disabled {
		return Listing{}, fault.New(fault.Forbidden, "The hub has disabled this model.", fault.Code("disabled"))
	}
	if in.SHA != "" && !hexDigits(in.SHA, 40) {
		return Listing{}, badList(nil)
	}
	out := Listing{Revision: in.SHA}
	for _, f := range in.Siblings {
		e := Entry{Path: f.Name, Size: -1, GitOID: f.Blob}
		if f.Size != nil {
			e.Size = *f.Size
		}
		if f.LFS != nil { // the blob is then the pointer's, not the content's
			e.GitOID, e.SHA256 = "", f.LFS.SHA256
			if f.LFS.Size != nil {
				if f.Size != nil && *f.LFS.Size != *f.Size {
					return Listing{}, fault.New(fault.Unavailable, "The hub's list gives "+ref.Quote(f.Name)+" two sizes.", fault.Code("bad_list"))
				}
				e.Size = *f.LFS.Size
			}
		}
		if err := out.add(e); err != nil {
			return Listing{}, err
		}
	}
	return out, nil
}

// parseModelScope reads the answer of GET /api/v1/models/{repo}/repo/files: Code, Success, Message and Data.Files with Path,
// Type (blob or tree), Size and Sha256.
func parseModelScope(b []byte) (Listing, error) {
	var in struct {
		Code    int
		Success *bool
		Message string
		Data    struct {
			Files []struct {
				Name, Path, Type, Sha256 string
				Size                     *int64
			}
		}
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return Listing{}, badList(err)
	}
	if in.Code != 200 && in.Code != 0 || in.Success != nil && !*in.Success {
		return Listing{}, fault.New(fault.NotFound, "ModelScope refuses the list: "+clip(in.Message)+".", fault.Code("hub_refused"))
	}
	var out Listing
	for _, f := range in.Data.Files {
		if f.Type == "tree" {
			continue
		}
		e := Entry{Path: f.Path, Size: -1, SHA256: strings.ToLower(f.Sha256)}
		if e.Path == "" {
			e.Path = f.Name
		}
		if f.Size != nil {
			e.Size = *f.Size
		}
		if err := out.add(e); err != nil {
			return Listing{}, err
		}
	}
	return out, nil
}

// add takes an entry whose figures can be and whose name stays in the folder.
func (l *Listing) add(e Entry) error {
	switch {
	case len(l.Files) == maxFiles:
		return fault.Newf(fault.TooLarge, "The hub lists more than %d files.", maxFiles)
	case leaves(e.Path):
		return fault.New(fault.Forbidden, "The hub's list names "+ref.Quote(clip(e.Path))+", which leads out of the model's folder.", fault.Code("hostile_list"))
	case e.Size < -1 || e.Size > maxSize:
		return fault.New(fault.Unavailable, "The hub's list gives "+ref.Quote(clip(e.Path))+" a size that cannot be.", fault.Code("bad_list"))
	case e.SHA256 != "" && !hexDigits(e.SHA256, 64), e.GitOID != "" && !hexDigits(e.GitOID, 40):
		return fault.New(fault.Unavailable, "The hub's list gives "+ref.Quote(clip(e.Path))+" a checksum that cannot be read.", fault.Code("bad_list"))
	}
	l.Files = append(l.Files, e)
	return nil
}

func badList(err error) error {
	return fault.New(fault.Unavailable, "The hub's list of files cannot be read.", fault.Code("bad_list"), fault.Cause(err))
}

func hexDigits(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// leaves says whether a name leads, on any system, somewhere else than below the folder it is meant for.
func leaves(p string) bool {
	if path.IsAbs(p) || strings.ContainsAny(p, "\\\x00") || len(p) >= 2 && p[1] == ':' {
		return true
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// reserved are names that stand for devices on Windows, with any ending.
var reserved = func() map[string]bool {
	out := map[string]bool{"con": true, "prn": true, "aux": true, "nul": true}
	for _, d := range "123456789" {
		out["com"+string(d)], out["lpt"+string(d)] = true, true
	}
	return out
}()

// checkPath refuses a name that could not be a file's on every system that a model may be copied to.
func checkPath(p string) error {
	bad := func(why string) error {
		return fault.New(fault.Forbidden, "The hub's list names "+ref.Quote(clip(p))+", "+why+".", fault.Code("hostile_list"),
			fault.Fix("Leave it out with --exclude"))
	}
	switch {
	case p == "" || len(p) > maxPath || !utf8.ValidString(p):
		return bad("which is no name for a file")
	case leaves(p):
		return bad("which leads out of the model's folder")
	case strings.ContainsAny(p, `:*?"<>|`) || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }):
		return bad("which has characters that names of files cannot have everywhere")
	}
	for part := range strings.SplitSeq(p, "/") {
		stem, _, _ := strings.Cut(strings.ToLower(part), ".")
		switch {
		case part == "" || part == "." || len(part) > 200:
			return bad("which is no name for a file")
		case strings.HasSuffix(part, ".") || strings.HasSuffix(part, " ") || strings.HasPrefix(part, " "):
			return bad("which some systems would write under another name")
		case reserved[strings.TrimSpace(stem)]:
			return bad("which is the name of a device on some systems")
		}
	}
	return nil
}

// checkPaths refuses names that cannot be, or that some file systems take for the same, or for a file and a folder.
func checkPaths(files []Entry) error {
	fold := cases.Fold()
	same := func(s string) string { return fold.String(norm.NFC.String(s)) }
	seen, folders := map[string]string{}, map[string]string{}
	for _, f := range files {
		if err := checkPath(f.Path); err != nil {
			return err
		}
		k := same(f.Path)
		if other, ok := seen[k]; ok {
			return fault.New(fault.Forbidden, "The hub's list names "+ref.Quote(clip(f.Path))+" and "+ref.Quote(clip(other))+", which some systems take for one file.",
				fault.Code("hostile_list"), fault.Fix("Leave one out with --exclude"))
		}
		seen[k] = f.Path
		for d := path.Dir(k); d != "."; d = path.Dir(d) {
			folders[d] = f.Path
		}
	}
	for k, p := range seen {
		if in, ok := folders[k]; ok {
			return fault.New(fault.Forbidden, "The hub's list has "+ref.Quote(clip(p))+" as a file and as a folder, for "+ref.Quote(clip(in))+".", fault.Code("hostile_list"))
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 120 {
		s = strings.ToValidUTF8(s[:120], "") + "..."
	}
	return s
}
