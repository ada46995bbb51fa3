package shape

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// fields are a configuration's fields by name, each under the names that families give it. The first thing that is wrong
// is kept, so that a family reads as a list of its fields.
type fields struct {
	m   map[string]json.RawMessage
	err error
}

// parseFields reads a configuration's object.
func parseFields(raw []byte) (*fields, error) {
	f := &fields{}
	if err := json.Unmarshal(raw, &f.m); err != nil {
		return nil, err
	}
	if f.m == nil {
		return nil, errors.New("not an object")
	}
	return f, nil
}

// sub is an object within; nil where there is none.
func (f *fields) sub(names ...string) *fields {
	for _, name := range names {
		if raw, ok := f.get(name); ok && bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
			if s, err := parseFields(raw); err == nil {
				return s
			}
		}
	}
	return nil
}

// get is a field that is there and not null.
func (f *fields) get(name string) (json.RawMessage, bool) {
	raw, ok := f.m[name]
	return raw, ok && len(raw) > 0 && string(raw) != "null"
}

func (f *fields) has(name string) bool { _, ok := f.get(name); return ok }

func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
}

// most bounds every size: no field of a model of today comes near it.
const most = 1 << 24

// number is the field of the first of the names that is there.
func (f *fields) number(names ...string) (int, bool) {
	for _, name := range names {
		raw, ok := f.get(name)
		if !ok {
			continue
		}
		var n int
		if err := json.Unmarshal(raw, &n); err != nil {
			f.fail("%s is no whole number", name)
		} else if n < 0 || n > most {
			f.fail("%s is %d", name, n)
			n = 0
		}
		return n, true
	}
	return 0, false
}

// need is a number that must be there and not be zero.
func (f *fields) need(names ...string) int {
	n, ok := f.number(names...)
	if !ok {
		f.fail("%s is missing", names[0])
	} else if n == 0 {
		f.fail("%s is 0", names[0])
	}
	return max(n, 1)
}

// or is a number, or what stands for one that is not there.
func (f *fields) or(otherwise int, names ...string) int {
	if n, ok := f.number(names...); ok {
		return n
	}
	return otherwise
}

func (f *fields) flag(otherwise bool, names ...string) bool {
	for _, name := range names {
		if raw, ok := f.get(name); ok {
			var v bool
			if err := json.Unmarshal(raw, &v); err != nil {
				f.fail("%s is neither true nor false", name)
			}
			return v
		}
	}
	return otherwise
}

func (f *fields) text(name string) string {
	raw, ok := f.get(name)
	var s string
	if ok && json.Unmarshal(raw, &s) != nil {
		f.fail("%s is no text", name)
	}
	return s
}

// texts is a list of texts; nil where it is something else.
func (f *fields) texts(name string) []string {
	raw, ok := f.get(name)
	var list []string
	if ok && json.Unmarshal(raw, &list) != nil {
		return nil
	}
	return list
}

// count is how many entries a list has; 0 where it is none.
func (f *fields) count(name string) int {
	raw, ok := f.get(name)
	var list []json.RawMessage
	if !ok || json.Unmarshal(raw, &list) != nil {
		return 0
	}
	return len(list)
}

// sliding is how many of the layers have attention of a window by the list that newer configurations have; false where
// there is none.
func (f *fields) sliding() (int, bool) {
	list := f.texts("layer_types")
	n := 0
	for _, kind := range list {
		switch {
		case kind == "sliding_attention" || kind == "chunked_attention":
			n++
		case kind != "full_attention":
			f.fail("layers of the kind %.40q are not known here", strings.TrimSpace(kind))
		}
	}
	return n, len(list) > 0
}
