package grammar

import (
	"math/big"
	"slices"
	"strings"
)

// Types of values as bits: integers are numbers too.
const (
	tNull = 1 << iota
	tBoolean
	tInteger
	tFraction // numbers that are no integers
	tString
	tArray
	tObject
	tAll = 1<<iota - 1
)

var typeBits = map[string]int{"null": tNull, "boolean": tBoolean, "integer": tInteger, "number": tInteger | tFraction,
	"string": tString, "array": tArray, "object": tObject}

// part is a schema that a value must satisfy together with others. spent says what of it has been resolved.
type part struct {
	v     *value
	spent int
}

const (
	spentAny = 1 << iota
	spentOne
	spentRef // its $ref and allOf
)

// facts is what the keywords of several schemas say together.
type facts struct {
	path     string
	types    int
	used     int // types that keywords speak of
	enum     []*value
	hasEnum  bool
	num      limits
	multiple []int
	minLen   int
	maxLen   int // -1 for no limit, as all maxima
	texts    []*dfa
	minItems int
	maxItems int
	minProps int
	maxProps int
	required []string
	parts    []part // those that are objects
}

// ignored are keywords that say nothing about which values fit.
var ignored = map[string]bool{"title": true, "description": true, "default": true, "examples": true, "example": true, "$schema": true,
	"$comment": true, "deprecated": true, "readOnly": true, "writeOnly": true, "$defs": true, "definitions": true, "strict": true, "discriminator": true,
	"$id": true, "id": true, "$ref": true, "allOf": true, "anyOf": true, "oneOf": true, "contentEncoding": true, "contentMediaType": true,
	"properties": true, "additionalProperties": true, "patternProperties": true, "items": true, "prefixItems": true, "additionalItems": true, "nullable": true,
	"$anchor": true, "$vocabulary": true}

// refused are keywords that do say something and are not followed.
var refused = map[string]bool{"not": true, "if": true, "then": true, "else": true, "contains": true, "minContains": true, "maxContains": true,
	"propertyNames": true, "dependentRequired": true, "dependentSchemas": true, "dependencies": true, "unevaluatedProperties": true,
	"unevaluatedItems": true, "$dynamicRef": true, "$recursiveRef": true}

func refuseKeyword(v *value, keyword, format string, args ...any) error {
	return refuse("%s at %s: %s", keyword, place(v.path), sprintf(format, args...))
}

func place(path string) string {
	if path == "" {
		return "the root of the schema"
	}
	if len(path) > 200 {
		path = path[:200] + "..."
	}
	return "#" + path
}

// gather reads the keywords of parts.
func gather(parts []part) (*facts, error) {
	f := &facts{types: tAll, maxLen: -1, maxItems: -1, maxProps: -1, parts: parts}
	if len(parts) > 0 {
		f.path = parts[len(parts)-1].v.path
	}
	for _, p := range parts {
		for _, name := range p.v.names {
			x := p.v.fields[name]
			if ignored[name] {
				f.mention(name)
				continue
			}
			if refused[name] {
				return nil, refuseKeyword(p.v, name, "this keyword is not supported")
			}
			if err := f.read(p.v, name, x); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

func (f *facts) mention(name string) {
	switch name {
	case "properties", "additionalProperties", "patternProperties":
		f.used |= tObject
	case "items", "prefixItems", "additionalItems":
		f.used |= tArray
	}
}

// read takes one keyword in.
func (f *facts) read(v *value, name string, x *value) error {
	switch name {
	case "type":
		return f.readType(v, x)
	case "enum", "const":
		return f.readEnum(v, name, x)
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf":
		f.used |= tInteger | tFraction
		return f.readNumber(v, name, x)
	case "pattern", "format":
		return f.readText(v, name, x)
	case "required":
		f.used |= tObject
		if x.kind != 'a' {
			return refuseKeyword(v, name, "it must be an array of strings")
		}
		for _, item := range x.items {
			if item.kind != 's' {
				return refuseKeyword(v, name, "it must be an array of strings")
			}
			if !slices.Contains(f.required, item.text) {
				f.required = append(f.required, item.text)
			}
		}
	case "uniqueItems":
		f.used |= tArray
		if most := v.fields["maxItems"]; x.flag {
			if n, ok := 0, false; most != nil {
				if n, ok = most.count(); ok && n <= 1 {
					return nil
				}
			}
			return refuseKeyword(v, name, "this keyword is not supported for arrays of more than one item")
		}
	case "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties":
		n, ok := x.count()
		if !ok {
			return refuseKeyword(v, name, "it must be a whole number that is not negative")
		}
		f.readCount(name, n)
	}
	return nil
}

func (f *facts) readCount(name string, n int) {
	least := func(v *int) { *v = max(*v, n) }
	most := func(v *int) {
		if *v < 0 || n < *v {
			*v = n
		}
	}
	switch name {
	case "minLength":
		f.used |= tString
		least(&f.minLen)
	case "maxLength":
		f.used |= tString
		most(&f.maxLen)
	case "minItems":
		f.used |= tArray
		least(&f.minItems)
	case "maxItems":
		f.used |= tArray
		most(&f.maxItems)
	case "minProperties":
		f.used |= tObject
		least(&f.minProps)
	case "maxProperties":
		f.used |= tObject
		most(&f.maxProps)
	}
}

func (f *facts) readType(v, x *value) error {
	list := x.items
	if x.kind == 's' {
		list = []*value{x}
	}
	bits := 0
	for _, t := range list {
		b, ok := typeBits[t.text]
		if t.kind != 's' || !ok {
			return refuseKeyword(v, "type", "%.60s is not a type", t.json())
		}
		bits |= b
	}
	if n := v.fields["nullable"]; n != nil && n.kind == 'b' && n.flag {
		bits |= tNull
	}
	if bits == 0 {
		return refuseKeyword(v, "type", "it must be a type or an array of types")
	}
	f.types &= bits
	return nil
}

func (f *facts) readEnum(v *value, name string, x *value) error {
	list := x.items
	if name == "const" {
		list = []*value{x}
	} else if x.kind != 'a' {
		return refuseKeyword(v, name, "it must be an array")
	}
	if f.hasEnum {
		list = slices.DeleteFunc(slices.Clone(f.enum), func(o *value) bool {
			return !slices.ContainsFunc(list, o.equal)
		})
	}
	f.enum, f.hasEnum = list, true
	return nil
}

func (f *facts) readNumber(v *value, name string, x *value) error {
	other := map[string]string{"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}[name]
	if x.kind == 'b' && other != "" { // draft 4
		if b := v.fields[other]; b != nil && x.flag {
			return f.bound(v, name, b)
		}
		return nil
	}
	return f.bound(v, name, x)
}

func (f *facts) bound(v *value, name string, x *value) error {
	r := x.number()
	if x.kind != '0' || r == nil {
		return refuseKeyword(v, name, "it must be a number of moderate size")
	}
	switch name {
	case "minimum", "exclusiveMinimum":
		f.num.raise(r, name != "minimum")
	case "maximum", "exclusiveMaximum":
		f.num.lower(r, name != "maximum")
	case "multipleOf":
		if !r.IsInt() || r.Sign() <= 0 || r.Cmp(big.NewRat(1000, 1)) > 0 {
			return refuseKeyword(v, name, "only whole numbers from 1 to 1000 are supported")
		}
		f.multiple = append(f.multiple, int(r.Num().Int64()))
	}
	return nil
}

func (f *facts) readText(v *value, name string, x *value) error {
	if x.kind != 's' {
		return refuseKeyword(v, name, "it must be a string")
	}
	if name == "pattern" {
		f.used |= tString
		d, err := compileRegex(x.text, false)
		if err != nil {
			return refuseKeyword(v, name, "the expression is not supported: %v", err)
		}
		f.texts = append(f.texts, d)
		return nil
	}
	switch x.text {
	case "int32", "int64", "float", "double", "": // of numbers, which say the type themselves
		return nil
	}
	expr, ok := formats[x.text]
	if !ok {
		return refuseKeyword(v, name, "the format %.60q is not supported", x.text)
	}
	f.used |= tString
	d, err := compileRegex(expr, true)
	if err != nil {
		return refuseKeyword(v, name, "%v", err)
	}
	f.texts = append(f.texts, d)
	return nil
}

// typeOf is the type of a value.
func typeOf(v *value) int {
	switch v.kind {
	case 'n':
		return tNull
	case 'b':
		return tBoolean
	case 's':
		return tString
	case 'a':
		return tArray
	case 'o':
		return tObject
	}
	if r := v.number(); r != nil && r.IsInt() {
		return tInteger
	}
	return tFraction
}

// allows says whether a value of an enumeration fits the other keywords.
func (f *facts) allows(v *value) (bool, error) {
	if f.types&typeOf(v) == 0 {
		return false, nil
	}
	switch v.kind {
	case '0':
		r := v.number()
		if f.num.free() && len(f.multiple) == 0 {
			return true, nil
		}
		for _, m := range f.multiple {
			if r != nil && !new(big.Rat).Quo(r, big.NewRat(int64(m), 1)).IsInt() {
				return false, nil
			}
		}
		return r != nil && f.num.holds(r), nil
	case 's':
		n := len([]rune(v.text))
		ok := n >= f.minLen && (f.maxLen < 0 || n <= f.maxLen)
		for _, d := range f.texts {
			ok = ok && d.matches(v.text)
		}
		return ok, nil
	case 'a', 'o':
		if f.used&typeOf(v) != 0 {
			return false, refuse("enum at %s: arrays and objects in an enumeration beside other keywords for them are not supported.", place(f.path))
		}
	}
	return true, nil
}

// field is what a part says of a keyword, or nil.
func (p part) field(name string) *value { return p.v.fields[name] }

func sprintf(format string, args ...any) string {
	return strings.TrimSuffix(refuse(format, args...).Message, ".") + "."
}
