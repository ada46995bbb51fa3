package trainer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
)

// A checkpoint is a folder checkpoint-<step> with two files. tensors.bin holds weights, first and second moments,
// each all tensors in the order of Weights.Tensors, float32 little-endian. checkpoint.json holds the rest and the
// checksums of all: {"body": {...}, "crc32c": "<of body>"}. It is written under another name, synced and renamed,
// so a folder of that name is whole unless the disk lies; the checksums find out if it does.
const (
	checkpointPrefix = "checkpoint-"
	tempPrefix       = ".writing-"
	manifestName     = "checkpoint.json"
	tensorsName      = "tensors.bin"
	manifestLimit    = 1 << 20
	format           = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapshot is what a run needs to go on, apart from the tensors.
type snapshot struct {
	Format  int     `json:"format"`
	Digest  string  `json:"digest"` // Options.digest
	Step    int     `json:"step"`   // steps done
	Tokens  int64   `json:"tokens"` // tokens seen
	Loss    float64 `json:"loss"`   // of the last step done
	Norm    float64 `json:"norm"`   // its gradient's length before clipping
	Source  []byte  `json:"source"` // Source.State, random state included
	Tensors string  `json:"tensors_crc32c"`
}

type manifest struct {
	Body json.RawMessage `json:"body"`
	CRC  string          `json:"crc32c"`
}

func crcText(c uint32) string { return fmt.Sprintf("%08x", c) }

// save writes one checkpoint and returns its folder. fence is asked before writing and again before the folder gets
// its name; its error stops the checkpoint.
func save(dir string, s snapshot, sets []*native.Weights, fence func() error) (string, error) {
	if err := fence(); err != nil {
		return "", err
	}
	name := checkpointPrefix + strconv.Itoa(s.Step)
	temp, final := filepath.Join(dir, tempPrefix+name), filepath.Join(dir, name)
	if err := os.RemoveAll(temp); err != nil {
		return "", fault.Wrap(err, "clearing "+temp)
	}
	if err := os.Mkdir(temp, 0o755); err != nil {
		return "", fault.Wrap(err, "making "+temp)
	}
	defer os.RemoveAll(temp) // nothing is left of it after the rename
	if err := s.write(temp, sets); err != nil {
		return "", fault.Wrap(err, "writing "+name)
	}
	if err := fence(); err != nil {
		return "", err
	}
	if err := os.RemoveAll(final); err != nil { // a torn one of an earlier attempt
		return "", fault.Wrap(err, "replacing "+name)
	}
	if err := os.Rename(temp, final); err != nil {
		return "", fault.Wrap(err, "naming "+name)
	}
	if err := durable.SyncDir(dir); err != nil {
		return "", fault.Wrap(err, "syncing "+dir)
	}
	return final, nil
}

func (s snapshot) write(dir string, sets []*native.Weights) error {
	crc := crc32.New(castagnoli)
	err := writeSynced(filepath.Join(dir, tensorsName), func(w io.Writer) error {
		return writeTensors(io.MultiWriter(w, crc), sets)
	})
	if err != nil {
		return err
	}
	s.Format, s.Tensors = format, crcText(crc.Sum32())
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	text, err := json.Marshal(manifest{Body: body, CRC: crcText(crc32.Checksum(body, castagnoli))})
	if err != nil {
		return err
	}
	err = writeSynced(filepath.Join(dir, manifestName), func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
	if err != nil {
		return err
	}
	return durable.SyncDir(dir)
}

func writeSynced(path string, fill func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<20)
	err = errors.Join(fill(b), b.Flush(), f.Sync())
	return errors.Join(err, f.Close())
}

// inspect reads the manifest of a checkpoint and checks all checksums, without touching any weights.
func inspect(path string, tensorBytes int64) (snapshot, error) {
	var s snapshot
	f, err := os.Open(filepath.Join(path, manifestName))
	if err != nil {
		return s, err
	}
	text, err := io.ReadAll(io.LimitReader(f, manifestLimit))
	f.Close()
	if err != nil {
		return s, err
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return s, fmt.Errorf("%s is not whole: %w", manifestName, err)
	}
	if crcText(crc32.Checksum(m.Body, castagnoli)) != m.CRC {
		return s, fmt.Errorf("the checksum of %s is wrong", manifestName)
	}
	if err := json.Unmarshal(m.Body, &s); err != nil {
		return s, fmt.Errorf("%s is not readable: %w", manifestName, err)
	}
	if s.Format != format {
		return s, fmt.Errorf("its format is %d, this program reads %d", s.Format, format)
	}
	return s, checkTensors(filepath.Join(path, tensorsName), s.Tensors, tensorBytes)
}

func checkTensors(path, want string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != size {
		return fmt.Errorf("%s has %d bytes, %d are expected", tensorsName, info.Size(), size)
	}
	crc := crc32.New(castagnoli)
	if _, err := io.Copy(crc, f); err != nil {
		return err
	}
	if crcText(crc.Sum32()) != want {
		return fmt.Errorf("the checksum of %s is wrong", tensorsName)
	}
	return nil
}

// skipped is a checkpoint that was passed over, with the reason.
type skipped struct{ name, reason string }

// newest finds the newest whole checkpoint in dir; its path is empty when there is none. It lists what it passed
// over. A whole checkpoint of another run (digest) is an error: going on from it, or over it, would mix two runs.
func newest(dir, digest string, tensorBytes int64) (snapshot, string, []skipped, error) {
	steps, err := list(dir)
	if err != nil {
		return snapshot{}, "", nil, fault.Wrap(err, "looking for checkpoints")
	}
	var passed []skipped
	for _, step := range slices.Backward(steps) {
		name := checkpointPrefix + strconv.Itoa(step)
		path := filepath.Join(dir, name)
		s, err := inspect(path, tensorBytes)
		switch {
		case s.Digest != "" && s.Digest != digest:
			return s, "", passed, fault.New(fault.Conflict, "The folder holds "+name+" of a run with other options or another model.",
				fault.Field("options"), fault.Fix("Use the options it was started with, or start in an empty folder."))
		case err != nil:
			passed = append(passed, skipped{name, err.Error()})
		case s.Step != step:
			passed = append(passed, skipped{name, fmt.Sprintf("it says it is of step %d", s.Step)})
		default:
			return s, path, passed, nil
		}
	}
	return snapshot{}, "", passed, nil
}

// list gives the steps of all checkpoints in dir, whole or not, in rising order.
func list(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var steps []int
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), checkpointPrefix)
		if n, err := strconv.Atoi(text); ok && err == nil && n >= 0 && strconv.Itoa(n) == text && e.IsDir() {
			steps = append(steps, n)
		}
	}
	slices.Sort(steps)
	return steps, err
}

// prune removes torn checkpoints (but not a name written anew since), all but the newest keep of the rest, and what was
// left of a write that never ended.
func prune(dir string, keep int, torn []skipped, written string) error {
	for _, t := range torn {
		if t.name == written {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, t.name)); err != nil {
			return fault.Wrap(err, "removing a torn checkpoint")
		}
	}
	steps, err := list(dir)
	if err != nil {
		return fault.Wrap(err, "looking for checkpoints")
	}
	for _, step := range steps[:max(len(steps)-keep, 0)] {
		if err := os.RemoveAll(filepath.Join(dir, checkpointPrefix+strconv.Itoa(step))); err != nil {
			return fault.Wrap(err, "removing an old checkpoint")
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fault.Wrap(err, "looking for checkpoints")
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix+checkpointPrefix) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fault.Wrap(err, "removing an unfinished checkpoint")
			}
		}
	}
	return nil
}

// load fills the sets of tensors from a checkpoint that inspect has accepted.
func load(path string, sets []*native.Weights) error {
	text, err := os.Open(filepath.Join(path, tensorsName))
	if err != nil {
		return err
	}
	defer text.Close()
	return readTensors(bufio.NewReaderSize(text, 1<<20), sets)
}

const blockFloats = 1 << 14

func writeTensors(w io.Writer, sets []*native.Weights) error {
	buf := make([]byte, 4*blockFloats)
	return eachBlock(sets, func(x []float32) error {
		putFloats(buf, x)
		_, err := w.Write(buf[:4*len(x)])
		return err
	})
}

func readTensors(r io.Reader, sets []*native.Weights) error {
	buf := make([]byte, 4*blockFloats)
	err := eachBlock(sets, func(x []float32) error {
		if _, err := io.ReadFull(r, buf[:4*len(x)]); err != nil {
			return err
		}
		getFloats(x, buf)
		return nil
	})
	if err != nil {
		return err
	}
	if n, _ := r.Read(buf[:1]); n != 0 {
		return bytes.ErrTooLarge
	}
	return nil
}

// eachBlock calls f for all tensors of all sets in order, in pieces of at most blockFloats.
func eachBlock(sets []*native.Weights, f func([]float32) error) error {
	for _, w := range sets {
		for _, t := range w.Tensors() {
			for block := range slices.Chunk(t.Data, blockFloats) {
				if err := f(block); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
