// Package wire reads and writes the JSON and the event streams of the model API, with bounds: it is what the codecs of
// models/dialect stand on.
//
// Rules for callers: text from outside goes through Parse, which refuses what is not one JSON object of valid UTF-8,
// nested no deeper than MaxDepth; the first wrong field is kept in the Doc, reading goes on with empty values, and
// Doc.Err says it at the end. An object that has a name twice is refused, because two readers could take different
// ones. null means the same as absent. What is passed on unread (Raw) is compact, so that it never breaks a line of
// an event stream.
package wire

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Bounds of what is read.
const (
	MaxDepth   = 256     // brackets inside brackets
	MaxMembers = 4096    // names of one object that is looked into
	MaxItems   = 1 << 16 // elements of one list that is looked into
)

// Doc is one text being read: the first thing found wrong, and how names are spelled.
type Doc struct {
	err  error
	fold bool // snake_case names mean camelCase ones
}

// Err is the first thing found wrong, a fault of kind Invalid naming the field, or nil.
func (d *Doc) Err() error { return d.err }

// Fail keeps err unless something was wrong before.
func (d *Doc) Fail(err error) {
	if d.err == nil && err != nil {
		d.err = err
	}
}

// Check refuses a text that is not one JSON value in UTF-8 within MaxDepth.
func Check(b []byte) error {
	if !shallow(b) || !utf8.Valid(b) || !json.Valid(b) {
		return fault.New(fault.Invalid, "The body is not one JSON object.", fault.Code("invalid_json"),
			fault.Fix("Send a JSON object, encoded as UTF-8, nested at most %d deep.", MaxDepth))
	}
	return nil
}

// shallow says whether brackets stay within MaxDepth; it looks at strings only to pass them.
func shallow(b []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}

// Parse reads a text that must be a JSON object. On an error the Object is empty and the Doc has the error.
func Parse(b []byte) (*Doc, Object) { return parse(b, false) }

// ParseFolded is Parse for a dialect in which max_tokens and maxTokens are one name, as in the JSON form of protocol
// buffers; names are asked for in camelCase.
func ParseFolded(b []byte) (*Doc, Object) { return parse(b, true) }

func parse(b []byte, fold bool) (*Doc, Object) {
	d := &Doc{fold: fold}
	if err := Check(b); err != nil {
		d.Fail(err)
		return d, Object{doc: d}
	}
	return d, Value{r: gjson.ParseBytes(b), doc: d}.Obj()
}

// Value is one value of a text, with the path that names it to people.
type Value struct {
	r    gjson.Result
	path string
	doc  *Doc
}

// Object is an object of a text whose names have been looked through.
type Object struct {
	path  string
	names []string
	vals  []gjson.Result
	index map[string]int // for large objects
	read  []bool
	doc   *Doc
}

// Path names the value: "messages[].content".
func (v Value) Path() string { return v.path }

// Doc is the text that the value is of.
func (v Value) Doc() *Doc { return v.doc }

// IsText says whether the value is a string.
func (v Value) IsText() bool { return v.r.Type == gjson.String }

// IsList says whether the value is an array.
func (v Value) IsList() bool { return v.r.IsArray() }

// IsObject says whether the value is an object.
func (v Value) IsObject() bool { return v.r.IsObject() }

// IsNull says whether the value is null.
func (v Value) IsNull() bool { return v.r.Type == gjson.Null }

// IsNumber says whether the value is a number.
func (v Value) IsNumber() bool { return v.r.Type == gjson.Number }

// Text is the string; anything else fails.
func (v Value) Text() string {
	if v.r.Type != gjson.String {
		v.fail("must be a string")
		return ""
	}
	return strings.ToValidUTF8(v.r.Str, "\uFFFD")
}

// Raw is the value as compact JSON.
func (v Value) Raw() []byte { return compact(v.r.Raw) }

func compact(s string) []byte {
	var b bytes.Buffer
	if json.Compact(&b, []byte(s)) != nil {
		return []byte("null") // checked before; never
	}
	return b.Bytes()
}

// Int is a whole number of 64 bits; anything else fails. 1.0 and 1e3 are whole.
func (v Value) Int() int64 {
	if v.r.Type != gjson.Number {
		v.fail("must be a whole number")
		return 0
	}
	n, err := strconv.ParseInt(v.r.Raw, 10, 64)
	if err == nil {
		return n
	}
	f, err := strconv.ParseFloat(v.r.Raw, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		v.fail("must be a whole number in range")
		return 0
	}
	return int64(f)
}

// Num is a finite number; anything else fails.
func (v Value) Num() float64 {
	f, err := strconv.ParseFloat(v.r.Raw, 64)
	if v.r.Type != gjson.Number || err != nil {
		v.fail("must be a number in range")
		return 0
	}
	return f
}

// Bool is true or false; anything else fails.
func (v Value) Bool() bool {
	if v.r.Type != gjson.True && v.r.Type != gjson.False {
		v.fail("must be true or false")
	}
	return v.r.Type == gjson.True
}

// List are the elements of an array; anything else fails.
func (v Value) List() []Value {
	if !v.r.IsArray() {
		v.fail("must be a list")
		return nil
	}
	var out []Value
	v.r.ForEach(func(_, e gjson.Result) bool {
		out = append(out, Value{r: e, path: v.path + "[]", doc: v.doc})
		if len(out) > MaxItems {
			v.fail("has more than " + strconv.Itoa(MaxItems) + " elements")
			out = nil
		}
		return out != nil
	})
	return out
}

// Obj looks through an object; anything else fails and gives an empty one.
func (v Value) Obj() Object {
	o := Object{path: v.path, doc: v.doc}
	if !v.r.IsObject() {
		if v.path == "" {
			v.doc.Fail(fault.New(fault.Invalid, "The body is not one JSON object.", fault.Code("invalid_json"),
				fault.Fix("Send a JSON object, encoded as UTF-8.")))
		} else {
			v.fail("must be an object")
		}
		return o
	}
	v.r.ForEach(func(k, e gjson.Result) bool {
		if len(o.names) >= MaxMembers {
			v.fail("has more than " + strconv.Itoa(MaxMembers) + " names")
			return false
		}
		return o.add(k.Str, e)
	})
	o.read = make([]bool, len(o.names))
	return o
}

func (o *Object) add(name string, e gjson.Result) bool {
	name = strings.ToValidUTF8(name, "\uFFFD")
	if o.doc.fold {
		name = Camel(name)
	}
	if o.find(name) >= 0 {
		o.doc.Fail(fault.InvalidField(join(o.path, name), "%s is there twice.", join(o.path, name)))
		return false
	}
	if len(o.names) == 16 {
		o.index = map[string]int{}
		for i, n := range o.names {
			o.index[n] = i
		}
	}
	if o.index != nil {
		o.index[name] = len(o.names)
	}
	o.names, o.vals = append(o.names, name), append(o.vals, e)
	return true
}

// Camel turns snake_case into camelCase.
func Camel(s string) string {
	if strings.IndexByte(s, '_') <= 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '_' && i > 0 && i+1 < len(s) && s[i+1] >= 'a' && s[i+1] <= 'z' {
			i++
			b = append(b, s[i]-'a'+'A')
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

func (o *Object) find(name string) int {
	if o.index != nil {
		if i, ok := o.index[name]; ok {
			return i
		}
		return -1
	}
	for i, n := range o.names {
		if n == name {
			return i
		}
	}
	return -1
}

func join(path, name string) string {
	if len(name) > 64 {
		name = strings.ToValidUTF8(name[:64], "") + "..."
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

func (v Value) fail(what string) {
	v.doc.Fail(fault.InvalidField(v.path, "%s %s.", v.path, what))
}
