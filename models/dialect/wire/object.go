package wire

import (
	"sort"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Field is the path of a name of the object, for people: "tools[].function".
func (o Object) Field(name string) string { return join(o.path, name) }

// Doc is the text that the object is of.
func (o Object) Doc() *Doc { return o.doc }

// Fail says that a name of the object is wrong.
func (o Object) Fail(name, format string, args ...any) {
	o.doc.Fail(fault.InvalidField(o.Field(name), format, args...))
}

// Get takes the value of a name; false when it is absent or null. The name counts as read.
func (o Object) Get(name string) (Value, bool) {
	i := o.find(name)
	if i < 0 {
		return Value{doc: o.doc, path: o.Field(name)}, false
	}
	o.read[i] = true
	return Value{r: o.vals[i], path: o.Field(name), doc: o.doc}, o.vals[i].Type != gjson.Null
}

// Has says whether a name is there and not null, without reading it.
func (o Object) Has(name string) bool {
	i := o.find(name)
	return i >= 0 && o.vals[i].Type != gjson.Null
}

// Text is a string, empty when absent.
func (o Object) Text(name string) string {
	if v, ok := o.Get(name); ok {
		return v.Text()
	}
	return ""
}

// Need is a string that must be there and not be empty.
func (o Object) Need(name string) string {
	v, ok := o.Get(name)
	if !ok {
		o.doc.Fail(fault.New(fault.Invalid, v.path+" is missing.", fault.Field(v.path), fault.Code("missing_required_parameter")))
		return ""
	}
	s := v.Text()
	if s == "" {
		v.fail("is empty")
	}
	return s
}

// Int is a whole number between least and most, nil when absent.
func (o Object) Int(name string, least, most int64) *int64 {
	v, ok := o.Get(name)
	if !ok {
		return nil
	}
	n := v.Int()
	if n < least || n > most {
		o.Fail(name, "%s must be between %d and %d.", v.path, least, most)
		return nil
	}
	return &n
}

// Num is a number between least and most, nil when absent.
func (o Object) Num(name string, least, most float64) *float64 {
	v, ok := o.Get(name)
	if !ok {
		return nil
	}
	n := v.Num()
	if n < least || n > most {
		o.Fail(name, "%s must be between %g and %g.", v.path, least, most)
		return nil
	}
	return &n
}

// Bool is true or false, nil when absent.
func (o Object) Bool(name string) *bool {
	v, ok := o.Get(name)
	if !ok {
		return nil
	}
	b := v.Bool()
	return &b
}

// True says whether a name is there and true.
func (o Object) True(name string) bool {
	b := o.Bool(name)
	return b != nil && *b
}

// Raw is a value as compact JSON, nil when absent.
func (o Object) Raw(name string) []byte {
	if v, ok := o.Get(name); ok {
		return v.Raw()
	}
	return nil
}

// RawObject is an object as compact JSON, nil when absent.
func (o Object) RawObject(name string) []byte {
	v, ok := o.Get(name)
	if !ok {
		return nil
	}
	if !v.IsObject() {
		v.fail("must be an object")
	}
	return v.Raw()
}

// Obj is an object; false and an empty one when absent.
func (o Object) Obj(name string) (Object, bool) {
	v, ok := o.Get(name)
	if !ok {
		return Object{path: o.Field(name), doc: o.doc}, false
	}
	return v.Obj(), true
}

// List are the elements of an array, none when absent.
func (o Object) List(name string) []Value {
	if v, ok := o.Get(name); ok {
		return v.List()
	}
	return nil
}

// Texts are the strings of an array, or the one string where the dialect lets one stand for a list of one.
func (o Object) Texts(name string, one bool) []string {
	v, ok := o.Get(name)
	if !ok {
		return nil
	}
	if one && v.IsText() {
		return []string{v.Text()}
	}
	var out []string
	for _, e := range v.List() {
		out = append(out, e.Text())
	}
	return out
}

// Member is a name of an object with its value as compact JSON.
type Member struct {
	Name string
	Raw  []byte
}

// Rest are the names that nobody read, in their order; nulls are left out.
func (o Object) Rest() []Member {
	var out []Member
	for i, n := range o.names {
		if !o.read[i] && o.vals[i].Type != gjson.Null {
			out = append(out, Member{n, compact(o.vals[i].Raw)})
		}
	}
	return out
}

// Names are all names of the object, sorted.
func (o Object) Names() []string {
	out := append([]string(nil), o.names...)
	sort.Strings(out)
	return out
}

// InOrder are all names of the object as they stand.
func (o Object) InOrder() []string { return o.names }
