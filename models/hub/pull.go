package hub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/ref"
)

// Files is the folder, within that of a pull, in which checked files appear.
const Files = "files"

// Names within the folder of a pull.
const (
	planFile = "plan.json"
	parts    = "parts"
)

// plan is what a pull brings in: pinned when the hub was first asked, so that a branch that moves mixes no revisions.
type plan struct {
	Version  int     `json:"version"`
	Key      string  `json:"key"`
	Revision string  `json:"revision"` // what files are asked by: the commit, or what was asked for
	Listed   string  `json:"listed"`   // host that told the list
	Files    []Entry `json:"files"`
}

// Pull brings the files of a spec into dir/files, continuing what an earlier one began there. tell is called with each change,
// many times a second and never twice at once; it must be quick.
//
// Faults: those of the hub and of the spec, each with its fix; RateLimited with After when the hub wants to be left alone for
// long; Unavailable when it is worth to try again; Conflict for a folder of another pull.
func (c *Client) Pull(ctx context.Context, dir string, spec Spec, tell func(Progress)) (Result, error) {
	if err := spec.Check(); err != nil {
		return Result{}, err
	}
	sources, err := spec.sources()
	if err != nil {
		return Result{}, err
	}
	t := newTeller(c.Now, tell)
	p, err := c.plan(ctx, dir, spec, sources, t)
	if err != nil {
		return Result{}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Result{}, diskFault(err, "opening the folder of the pull")
	}
	defer root.Close()
	for _, d := range []string{Files, parts} {
		if err := root.Mkdir(d, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return Result{}, diskFault(err, "making the folder of the pull")
		}
	}
	asked := spec
	spec.Revision = p.Revision
	got, err := c.fetchAll(ctx, dir, root, spec, sources, p, t)
	for range maxMoves {
		if err == nil || ctx.Err() != nil || !p.moves() {
			break
		}
		moved, merr := c.moved(ctx, dir, root, asked, sources, &p, t)
		if merr != nil || !moved {
			break // the failure itself is the better reason
		}
		got, err = c.fetchAll(ctx, dir, root, spec, sources, p, t)
	}
	if err != nil {
		return Result{}, err
	}
	out := Result{Revision: p.Revision, Listed: p.Listed, Files: got, Hash: hashOf(got)}
	for _, f := range p.Files {
		if !f.Checked() {
			out.Unchecked = append(out.Unchecked, f.Path)
		}
	}
	return out, nil
}

// Plan asks the hub which files a spec means, without fetching any: the entries, the revision and the host that told them.
func (c *Client) Plan(ctx context.Context, spec Spec) (files []Entry, rev, listed string, err error) {
	if err := spec.Check(); err != nil {
		return nil, "", "", err
	}
	sources, err := spec.sources()
	if err != nil {
		return nil, "", "", err
	}
	p, err := c.list(ctx, spec, sources, newTeller(c.Now, nil))
	return p.Files, p.Revision, p.Listed, err
}

// plan reads the plan of the folder, or makes and keeps one.
func (c *Client) plan(ctx context.Context, dir string, spec Spec, sources []*source, t *teller) (plan, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return plan{}, diskFault(err, "making the folder of the pull")
	}
	at := filepath.Join(dir, planFile)
	b, err := durable.ReadSmall(at, maxList)
	if err == nil {
		var p plan
		if err := json.Unmarshal(b, &p); err != nil || p.Version != 1 || checkPaths(p.Files) != nil {
			return plan{}, fault.New(fault.Conflict, "The plan of this pull cannot be read.", fault.Fix("Remove the pull and begin anew."))
		}
		if p.Key != spec.Key() {
			return plan{}, fault.New(fault.Conflict, "The folder holds another pull.")
		}
		return p, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return plan{}, diskFault(err, "reading the plan of the pull")
	}
	p, err := c.list(ctx, spec, sources, t)
	if err != nil {
		return plan{}, err
	}
	return p, p.write(dir)
}

func (p plan) write(dir string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return diskFault(durable.WriteFile(filepath.Join(dir, planFile), b, 0o600), "writing the plan of the pull")
}

// maxMoves is how often a pull follows a branch that moves on while it runs.
const maxMoves = 3

// moves says whether what the plan's files are asked by may come to mean others: ModelScope tells no commit for a branch.
func (p plan) moves() bool { return !hexDigits(p.Revision, 40) }

// moved asks for the list again after a file did not come as listed, and, where the list is another one now, takes that for the
// plan. Files and parts that both lists have stay.
func (c *Client) moved(ctx context.Context, dir string, root *os.Root, spec Spec, sources []*source, p *plan, t *teller) (bool, error) {
	now, err := c.list(ctx, spec, sources, t)
	if err != nil || hashOf(now.Files) == hashOf(p.Files) {
		return false, err
	}
	same := map[Entry]bool{}
	for _, f := range now.Files {
		same[f] = true
	}
	for _, f := range p.Files {
		if same[f] {
			continue
		}
		for _, name := range []string{path.Join(Files, f.Path), partName(f) + ".data", partName(f) + ".journal"} {
			if err := root.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
				return false, diskFault(err, "removing what the hub has no more")
			}
		}
	}
	*p = now
	t.restart(fmt.Sprintf("%s has moved on to another state of %s since the pull began: what is the same is kept.", now.Listed, spec.Repo))
	return true, now.write(dir)
}

// list asks the mirrors in order for the list and chooses from it.
func (c *Client) list(ctx context.Context, spec Spec, sources []*source, t *teller) (plan, error) {
	t.set(func(p *Progress) { p.Phase = "list" })
	var first error
	for _, m := range sources {
		l, err := c.listFrom(ctx, spec, m, t)
		if err != nil {
			if ctx.Err() != nil {
				return plan{}, ctx.Err()
			}
			first = errors.Join(first, err) // the first in the chain is what people read
			t.set(func(p *Progress) { p.Note = fault.As(err).Message })
			continue
		}
		files, err := Choose(l.Files, spec)
		if err != nil {
			return plan{}, err
		}
		p := plan{Version: 1, Key: spec.Key(), Revision: spec.Revision, Listed: m.url.Host, Files: files}
		if l.Revision != "" {
			p.Revision = l.Revision
		}
		at := spec
		at.Revision = p.Revision
		if err := c.sizes(ctx, at, m, p.Files); err != nil {
			return plan{}, err
		}
		return p, nil
	}
	return plan{}, first
}

// listFrom asks one mirror, again after what passes.
func (c *Client) listFrom(ctx context.Context, spec Spec, m *source, t *teller) (Listing, error) {
	for try := 1; ; try++ {
		b, err := c.whole(ctx, spec, m, spec.listURL(m.url), maxList)
		if err == nil {
			return spec.Source.ParseList(b)
		}
		var tr *trouble
		if !errors.As(err, &tr) || ctx.Err() != nil {
			return Listing{}, err
		}
		rest := max(tr.after, backoff(try))
		if tr.reject || try >= 4 || rest > maxAfter {
			e := *tr.err
			e.After = tr.after
			return Listing{}, &e
		}
		t.set(func(p *Progress) { p.Note = tr.err.Message })
		if err := c.Sleep(ctx, rest); err != nil {
			return Listing{}, err
		}
	}
}

// sizes asks for the sizes that a list did not tell.
func (c *Client) sizes(ctx context.Context, spec Spec, m *source, files []Entry) error {
	for i := range files {
		if files[i].Size >= 0 {
			continue
		}
		a, err := c.get(ctx, spec.Source, m, spec.fileURL(m.url, spec.Revision, files[i].Path), "bytes=0-0")
		if err != nil {
			return plainFault(err)
		}
		if a.StatusCode != http.StatusOK && a.StatusCode != http.StatusPartialContent && a.StatusCode != http.StatusRequestedRangeNotSatisfiable {
			return c.refusal(spec, m, a).err
		}
		a.Body.Close()
		files[i].Size = a.size
		if _, _, total, ok := parseRange(a.Header.Get("Content-Range")); ok && a.size < 0 {
			files[i].Size = total
		} else if a.size < 0 && a.StatusCode == http.StatusOK {
			files[i].Size = a.ContentLength
		}
		if files[i].Size < 0 || files[i].Size > maxSize {
			return fault.New(fault.Unavailable, "The hub does not tell how large "+ref.Quote(clip(files[i].Path))+" is.", fault.Code("bad_list"))
		}
		if files[i].SHA256 == "" && a.sum != "" {
			files[i].SHA256, files[i].GitOID = a.sum, ""
		}
	}
	return nil
}

func plainFault(err error) error {
	if t, ok := errors.AsType[*trouble](err); ok {
		return t.err
	}
	return err
}

// fetchAll brings in the files one after the other, each by several connections.
func (c *Client) fetchAll(ctx context.Context, dir string, root *os.Root, spec Spec, sources []*source, p plan, t *teller) ([]Entry, error) {
	var total, here int64
	for _, f := range p.Files {
		if total += f.Size; total > or(c.Most, 4<<40) {
			return nil, fault.Newf(fault.TooLarge, "The model is larger than the %d GB that one may have here.", or(c.Most, 4<<40)/1e9)
		}
		if st, err := root.Stat(path.Join(Files, f.Path)); err == nil && st.Size() == f.Size {
			here += f.Size
		} else if n, err := onDisk(root, f, or(c.Block, 1<<20)); err == nil {
			here += n
		}
	}
	if err := c.room(dir, total-here); err != nil {
		return nil, err
	}
	t.begin(len(p.Files), total)
	out := slices.Clone(p.Files)
	for i, f := range p.Files {
		got, err := c.fetchOne(ctx, dir, root, p, f, spec, sources, t)
		if err != nil {
			return nil, err
		}
		out[i].SHA256, out[i].GitOID = got, ""
	}
	return out, nil
}

// spare is what a pull leaves free for whatever else writes there, such as the database.
const spare = 1 << 30

// room refuses a pull that the disk cannot hold.
func (c *Client) room(dir string, need int64) error {
	if c.Free == nil || need <= 0 {
		return nil
	}
	free, err := c.Free(dir)
	if err != nil {
		return err
	}
	if free-spare < need {
		return fault.New(fault.Unavailable, fmt.Sprintf("The pull needs %.1f GB more, and the disk has %.1f GB left.", float64(need)/1e9, float64(max(0, free))/1e9),
			fault.Code("disk_full"), fault.Fix("Make room, or choose fewer files with --file or --include, and give the same command again."))
	}
	return nil
}

// spared refuses to write on where others, such as pulls beside this one, took the room that was there when it began.
func (c *Client) spared(dir string) error {
	if c.Free == nil {
		return nil
	}
	free, err := c.Free(dir)
	if err != nil || free >= spare {
		return err
	}
	return fault.New(fault.Unavailable, fmt.Sprintf("The disk has %.1f GB left, which a pull leaves free.", float64(free)/1e9),
		fault.Code("disk_full"), fault.Fix("Make room and give the same command again: it continues where it was."))
}

// onDisk is how much of an unfinished file is there.
func onDisk(root *os.Root, f Entry, block int64) (int64, error) {
	if _, err := root.Stat(partName(f) + ".journal"); err != nil {
		return 0, err
	}
	b, err := openBlocks(root, partName(f), f.Size, block)
	if err != nil {
		return 0, err
	}
	defer b.close()
	return b.bytes(), nil
}

// partName is where a file grows: the same for the same content under the same name, whatever the plan.
func partName(f Entry) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%q %d %s %s", f.Path, f.Size, f.SHA256, f.GitOID))
	return parts + "/" + hex.EncodeToString(h[:12])
}

// fetchOne brings in one file and returns its SHA-256. A file under its name was checked, since it gets that name after it was.
func (c *Client) fetchOne(ctx context.Context, dir string, root *os.Root, p plan, f Entry, spec Spec, sources []*source, t *teller) (string, error) {
	name := path.Join(Files, f.Path)
	t.set(func(p *Progress) { p.Phase, p.File = "fetch", f.Path })
	if st, err := root.Lstat(name); err == nil && st.Mode().IsRegular() && st.Size() == f.Size {
		t.done(f.Size)
		if f.SHA256 != "" {
			return f.SHA256, nil
		}
		return sumFile(ctx, root, name)
	}
	b, err := openBlocks(root, partName(f), f.Size, or(c.Block, 1<<20))
	if err != nil {
		return "", err
	}
	defer b.close()
	t.set(func(p *Progress) { p.BytesDone += b.bytes() })
	if err := c.room(dir, f.Size-b.bytes()); err != nil { // others may have filled the disk since the pull began
		return "", err
	}
	w := &fetching{c: c, spec: spec, file: f, b: b, sources: sources, count: t.add, note: func(s string) { t.set(func(p *Progress) { p.Note = s }) }}
	w.room = func() error { return c.spared(dir) }
	if p.moves() {
		w.moved = func(ctx context.Context) bool {
			now, err := c.list(ctx, spec, sources, t)
			return err == nil && hashOf(now.Files) != hashOf(p.Files)
		}
	}
	got, err := w.run(ctx)
	if err != nil {
		return "", err
	}
	if err := b.data.Sync(); err != nil {
		return "", diskFault(err, "writing "+f.Path)
	}
	return got, settle(root, f, name, t)
}

// sumFile is the SHA-256 of a file whose list has none.
func sumFile(ctx context.Context, root *os.Root, name string) (string, error) {
	r, err := root.Open(name)
	if err != nil {
		return "", diskFault(err, "reading "+name)
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, &stopping{r, ctx.Err}); err != nil {
		return "", diskFault(err, "reading "+name)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// settle gives a checked file its name, durably, and then forgets its journal.
func settle(root *os.Root, f Entry, name string, t *teller) error {
	folder := path.Dir(name)
	if err := mkdirs(root, folder); err != nil {
		return err
	}
	if err := root.Rename(partName(f)+".data", name); err != nil {
		return diskFault(err, "naming "+name)
	}
	if err := syncDir(root, folder); err != nil {
		return err
	}
	t.done(0)
	return diskFault(root.Remove(partName(f)+".journal"), "removing a journal")
}

func mkdirs(root *os.Root, folder string) error {
	at := ""
	for part := range strings.SplitSeq(folder, "/") {
		at = path.Join(at, part)
		if err := root.Mkdir(at, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return diskFault(err, "making the folder "+at)
		}
	}
	return nil
}

func syncDir(root *os.Root, folder string) error {
	d, err := root.Open(folder)
	if err != nil {
		return diskFault(err, "opening "+folder)
	}
	defer d.Close()
	return diskFault(d.Sync(), "writing "+folder)
}

// teller keeps the progress and tells each change of it.
type teller struct {
	mu   sync.Mutex
	now  func() time.Time
	tell func(Progress)
	p    Progress

	since time.Time // of the window over which the rate is taken
	came  int64     // in that window
}

func newTeller(now func() time.Time, tell func(Progress)) *teller {
	if tell == nil {
		tell = func(Progress) {}
	}
	return &teller{now: now, tell: tell}
}

func (t *teller) begin(files int, bytes int64) {
	t.set(func(p *Progress) { p.Phase, p.Files, p.Bytes = "fetch", files, bytes })
	t.mu.Lock()
	t.since, t.came = t.now(), 0
	t.mu.Unlock()
}

// restart forgets what was counted: the plan is another.
func (t *teller) restart(note string) {
	t.set(func(p *Progress) { *p = Progress{Phase: "list", Note: note} })
}

func (t *teller) set(change func(*Progress)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.p)
	t.tell(t.p)
}

// done counts a file that is checked, and bytes of it that were not counted before.
func (t *teller) done(n int64) {
	t.set(func(p *Progress) { p.FilesDone++; p.BytesDone += n })
}

// add counts bytes that came, or went when a mirror's file became another. Each window of two seconds gives a rate, of which
// the last ones count most.
func (t *teller) add(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p.BytesDone += n
	t.came += max(0, n)
	now := t.now()
	if d := now.Sub(t.since); d >= 2*time.Second {
		rate := float64(t.came) / d.Seconds()
		if t.p.Rate > 0 {
			rate = 0.7*t.p.Rate + 0.3*rate
		}
		t.p.Rate, t.came, t.since = rate, 0, now
	}
	t.p.Left = 0
	if t.p.Rate > 0 {
		t.p.Left = time.Duration(float64(t.p.Bytes-t.p.BytesDone) / t.p.Rate * float64(time.Second))
	}
	t.tell(t.p)
}
