package hub

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/triarch-ai/triarch/internal/fault"
)

// sum is what a block's bytes are remembered by: the first half of their SHA-256.
type sum [16]byte

func sumOf(b []byte) sum {
	h := sha256.Sum256(b)
	return sum(h[:16])
}

// short is a few digits that stand for a text.
func short(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:4])
}

// blocks is a file that grows in pieces, and the journal of those that are there. A line of the journal is appended after its
// block was written, so a killed process loses at most what was on its way. Neither is forced to the disk: after a power loss
// a block may be missing that the journal has, and then it is found by its sum (damaged), not trusted.
type blocks struct {
	size, block int64
	data, log   *os.File

	mu   sync.Mutex
	have []bool
	sums []sum
	tags []string // of the mirror and of the state of its file that a block came from
}

// openBlocks opens or makes the two files beside each other. A journal of another size, or one that cannot be read, begins anew.
func openBlocks(root *os.Root, name string, size, block int64) (*blocks, error) {
	n := int((size + block - 1) / block)
	b := &blocks{size: size, block: block, have: make([]bool, n), sums: make([]sum, n), tags: make([]string, n)}
	var err error
	if b.data, err = root.OpenFile(name+".data", os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, diskFault(err, "opening a file to write to")
	}
	if b.log, err = root.OpenFile(name+".journal", os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		b.data.Close()
		return nil, diskFault(err, "opening a journal")
	}
	head := fmt.Sprintf("triarch blocks 1 %d %d\n", size, block)
	good := b.replay(head)
	if err = b.log.Truncate(good); err == nil && good == 0 {
		_, err = b.log.WriteString(head)
	}
	if err == nil {
		err = b.data.Truncate(size)
	}
	if err != nil {
		b.close()
		return nil, diskFault(err, "preparing a file")
	}
	return b, nil
}

// replay reads the journal and returns how many bytes of it are whole lines that make sense.
func (b *blocks) replay(head string) (good int64) {
	r := bufio.NewReaderSize(b.log, 64<<10)
	line, err := r.ReadSlice('\n')
	if err != nil || string(line) != head {
		return 0
	}
	good = int64(len(line))
	for {
		line, err := r.ReadSlice('\n')
		if err != nil || !b.apply(line) {
			return good
		}
		good += int64(len(line))
	}
}

// apply takes one line: "+ index sum tag" for a block that is there, "- index" for one that is not any more.
func (b *blocks) apply(line []byte) bool {
	f := strings.Fields(string(bytes.TrimSuffix(line, []byte("\n"))))
	if len(f) < 2 {
		return false
	}
	i, err := strconv.Atoi(f[1])
	if err != nil || i < 0 || i >= len(b.have) {
		return false
	}
	switch {
	case f[0] == "-" && len(f) == 2:
		b.have[i] = false
		return true
	case f[0] != "+" || len(f) != 4 || len(f[3]) != 16:
		return false
	}
	h, err := hex.DecodeString(f[2])
	if err != nil || len(h) != len(b.sums[i]) {
		return false
	}
	b.have[i], b.sums[i], b.tags[i] = true, sum(h), f[3]
	return true
}

func (b *blocks) close() { b.data.Close(); b.log.Close() }

// span is where a block begins and how long it is.
func (b *blocks) span(i int) (at, n int64) {
	at = int64(i) * b.block
	return at, min(b.block, b.size-at)
}

// put writes a block and notes it.
func (b *blocks) put(i int, content []byte, tag string) (sum, error) {
	s := sumOf(content)
	at, _ := b.span(i)
	if _, err := b.data.WriteAt(content, at); err != nil {
		return s, diskFault(err, "writing a block")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := fmt.Fprintf(b.log, "+ %d %x %s\n", i, s[:], tag); err != nil {
		return s, diskFault(err, "writing the journal")
	}
	b.have[i], b.sums[i], b.tags[i] = true, s, tag
	return s, nil
}

// drop forgets blocks.
func (b *blocks) drop(list []int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var w bytes.Buffer
	for _, i := range list {
		b.have[i] = false
		fmt.Fprintf(&w, "- %d\n", i)
	}
	_, err := b.log.Write(w.Bytes())
	return diskFault(err, "writing the journal")
}

// missing lists the blocks that are not there.
func (b *blocks) missing() (out []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, ok := range b.have {
		if !ok {
			out = append(out, i)
		}
	}
	return out
}

// older lists the blocks of a mirror whose file was in another state when they came.
func (b *blocks) older(tag string) (out []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, ok := range b.have {
		if ok && b.tags[i] != tag && b.tags[i][:8] == tag[:8] && b.tags[i][8:] != noTag {
			out = append(out, i)
		}
	}
	return out
}

// bytes is how many bytes are there.
func (b *blocks) bytes() (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, ok := range b.have {
		if ok {
			_, m := b.span(i)
			n += m
		}
	}
	return n
}

// noTag stands for a state that the mirror does not tell.
const noTag = "00000000"

// tagOf is a mirror and the state of its file.
func tagOf(m *source, etag string) string {
	if etag == "" {
		return m.mark + noTag
	}
	return m.mark + short(etag)
}

// check reads the whole file and compares it with what the list says: by SHA-256, else by git's name for it, which is the
// SHA-1 of "blob", the size and the content. It returns the SHA-256, and whether the file is what it should be.
func (b *blocks) check(want Entry, stop func() error) (got string, ok bool, err error) {
	h, git := sha256.New(), sha1.New()
	fmt.Fprintf(git, "blob %d\x00", b.size)
	var w io.Writer = h
	if want.SHA256 == "" && want.GitOID != "" {
		w = io.MultiWriter(h, git)
	}
	if _, err := io.Copy(w, &stopping{io.NewSectionReader(b.data, 0, b.size), stop}); err != nil {
		return "", false, diskFault(err, "reading a file back")
	}
	got = hex.EncodeToString(h.Sum(nil))
	switch {
	case want.SHA256 != "":
		return got, got == want.SHA256, nil
	case want.GitOID != "":
		return got, hex.EncodeToString(git.Sum(nil)) == want.GitOID, nil
	}
	return got, true, nil
}

// Is says whether a content is the entry's: by its size and the checksum that the list tells, false where it tells none.
func (e Entry) Is(r io.Reader) (bool, error) {
	h, git := sha256.New(), sha1.New()
	fmt.Fprintf(git, "blob %d\x00", e.Size)
	n, err := io.Copy(io.MultiWriter(h, git), io.LimitReader(r, e.Size+1))
	if err != nil || n != e.Size {
		return false, err
	}
	if e.SHA256 != "" {
		return hex.EncodeToString(h.Sum(nil)) == e.SHA256, nil
	}
	return e.GitOID != "" && hex.EncodeToString(git.Sum(nil)) == e.GitOID, nil
}

// damaged lists blocks that are not on the disk as they were when they came.
func (b *blocks) damaged(stop func() error) (out []int, err error) {
	buf := make([]byte, b.block)
	for i := range b.have {
		if err := stop(); err != nil {
			return nil, err
		}
		at, n := b.span(i)
		if _, err := b.data.ReadAt(buf[:n], at); err != nil {
			return nil, diskFault(err, "reading a file back")
		}
		if sumOf(buf[:n]) != b.sums[i] {
			out = append(out, i)
		}
	}
	return out, nil
}

type stopping struct {
	io.Reader
	stop func() error
}

func (s *stopping) Read(p []byte) (int, error) {
	if err := s.stop(); err != nil {
		return 0, err
	}
	return s.Reader.Read(p)
}

// diskFault names a failure of this machine's disk.
func diskFault(err error, doing string) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, errFull) {
		return fault.New(fault.Unavailable, "The disk is full.", fault.Code("disk_full"), fault.Fix("Make room and give the same command again."), fault.Cause(err))
	}
	return fault.Wrap(err, doing)
}
