package data

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/triarch-ai/triarch/internal/fault"
)

// maxStored bounds one stored record: an imported line of the largest default size whose every byte needed the
// longest JSON escape.
const maxStored = 64 << 20

// Open returns the stored form of a version, named as in Get: JSON lines, checked against the Ref while read.
func (s *Service) Open(ctx context.Context, project, ref string) (Version, io.ReadCloser, error) {
	v, err := s.Get(ctx, project, ref)
	if err == nil {
		err = v.Present()
	}
	if err != nil {
		return Version{}, nil, err
	}
	r, _, err := s.Blobs.Open(ctx, v.Ref)
	if err != nil {
		return Version{}, nil, fault.Wrap(err, "opening the records of "+v.ID)
	}
	return v, r, nil
}

// Records reads the stored form record by record. After an error, which is the last pair, it stops.
func Records(r io.Reader) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		br := bufio.NewReaderSize(r, 256<<10)
		var buf []byte
		for n := 1; ; n++ {
			line, err := readLine(br, buf[:0])
			buf = line
			if errors.Is(err, io.EOF) && len(line) == 0 {
				return
			}
			if err != nil && !errors.Is(err, io.EOF) {
				yield(Record{}, err)
				return
			}
			var rec Record
			if uerr := json.Unmarshal(line, &rec); uerr != nil {
				yield(Record{}, fmt.Errorf("record %d of the data version: %w", n, uerr))
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}

func readLine(br *bufio.Reader, buf []byte) ([]byte, error) {
	for {
		part, err := br.ReadSlice('\n')
		if len(buf)+len(part) > maxStored {
			return nil, fault.New(fault.TooLarge, "A stored record is larger than "+byteCount(maxStored)+".")
		}
		buf = append(buf, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return buf, err
		}
	}
}
