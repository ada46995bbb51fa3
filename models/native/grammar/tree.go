package grammar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
)

const maxDepth = 128 // of a schema

// value is a JSON value with the order of its members.
type value struct {
	kind   byte // n, b, 0, s, a, o: null, boolean, number, string, array, object
	flag   bool
	text   string // of a string, or the spelling of a number
	items  []*value
	names  []string
	fields map[string]*value
	path   string // where it stands, as a JSON pointer
}

// parse reads one JSON value.
func parse(src []byte) (*value, error) {
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.UseNumber()
	v, err := parseValue(dec, "", 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the value")
	}
	return v, nil
}

func parseValue(dec *json.Decoder, path string, depth int) (*value, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	v := &value{path: path}
	switch t := t.(type) {
	case nil:
		v.kind = 'n'
	case bool:
		v.kind, v.flag = 'b', t
	case json.Number:
		v.kind, v.text = '0', string(t)
	case string:
		v.kind, v.text = 's', t
	case json.Delim:
		if t == '[' {
			return v, v.parseArray(dec, depth)
		}
		return v, v.parseObject(dec, depth)
	}
	return v, nil
}

func (v *value) parseArray(dec *json.Decoder, depth int) error {
	v.kind = 'a'
	for dec.More() {
		item, err := parseValue(dec, v.path+"/"+strconv.Itoa(len(v.items)), depth+1)
		if err != nil {
			return err
		}
		v.items = append(v.items, item)
	}
	_, err := dec.Token()
	return err
}

func (v *value) parseObject(dec *json.Decoder, depth int) error {
	v.kind, v.fields = 'o', map[string]*value{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		name := t.(string)
		field, err := parseValue(dec, v.path+"/"+pointerEscape.Replace(name), depth+1)
		if err != nil {
			return err
		}
		if v.fields[name] != nil {
			return fmt.Errorf("the name %.40q stands twice in one object", name)
		}
		v.names, v.fields[name] = append(v.names, name), field
	}
	_, err := dec.Token()
	return err
}

var (
	pointerEscape   = strings.NewReplacer("~", "~0", "/", "~1")
	pointerUnescape = strings.NewReplacer("~1", "/", "~0", "~")
)

// find follows a JSON pointer, unescaped of URI.
func (v *value) find(pointer string) *value {
	if pointer == "" {
		return v
	}
	if pointer[0] != '/' {
		return nil
	}
	for part := range strings.SplitSeq(pointer[1:], "/") {
		part = pointerUnescape.Replace(part)
		switch v.kind {
		case 'o':
			v = v.fields[part]
		case 'a':
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v.items) {
				return nil
			}
			v = v.items[i]
		default:
			return nil
		}
		if v == nil {
			return nil
		}
	}
	return v
}

// json spells the value without white space.
func (v *value) json() string {
	switch v.kind {
	case 'n':
		return "null"
	case 'b':
		return strconv.FormatBool(v.flag)
	case '0':
		return v.text
	case 's':
		return quote(v.text)
	}
	var b strings.Builder
	if v.kind == 'a' {
		b.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(item.json())
		}
		return b.String() + "]"
	}
	b.WriteByte('{')
	for i, name := range v.names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quote(name) + ":" + v.fields[name].json())
	}
	return b.String() + "}"
}

func quote(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // strings always can be
	return strings.TrimSuffix(b.String(), "\n")
}

// equal compares as JSON Schema does: numbers by value, objects without order.
func (v *value) equal(o *value) bool {
	if v.kind != o.kind {
		return false
	}
	switch v.kind {
	case 'b':
		return v.flag == o.flag
	case 's':
		return v.text == o.text
	case '0':
		x, y := v.number(), o.number()
		return x != nil && y != nil && x.Cmp(y) == 0
	case 'a':
		if len(v.items) != len(o.items) {
			return false
		}
		for i := range v.items {
			if !v.items[i].equal(o.items[i]) {
				return false
			}
		}
	case 'o':
		if len(v.names) != len(o.names) {
			return false
		}
		for _, name := range v.names {
			if o.fields[name] == nil || !v.fields[name].equal(o.fields[name]) {
				return false
			}
		}
	}
	return true
}

// number is the exact value of a number, or nil if it is too long to be worth that.
func (v *value) number() *big.Rat {
	if len(v.text) > 64 {
		return nil
	}
	if _, exp, ok := strings.Cut(strings.ToLower(v.text), "e"); ok {
		if n, err := strconv.Atoi(exp); err != nil || n > 40 || n < -40 {
			return nil
		}
	}
	r, ok := new(big.Rat).SetString(v.text)
	if !ok {
		return nil
	}
	return r
}

// count reads a whole number that is not negative.
func (v *value) count() (int, bool) {
	r := v.number()
	if v.kind != '0' || r == nil || !r.IsInt() || r.Sign() < 0 || !r.Num().IsInt64() || r.Num().Int64() > 1<<30 {
		return 0, false
	}
	return int(r.Num().Int64()), true
}
