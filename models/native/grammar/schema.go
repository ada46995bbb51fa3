package grammar

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxBranches bounds the alternatives of one union.
const maxBranches = 256

// JSONSchema is the documents that satisfy a schema (2020-12, with the spellings of older drafts and of OpenAPI that are
// common). It may be a part of them: members stand in the order of the schema, and members that a schema neither names nor
// speaks of are not written. White space is at most a blank, or a line break and blanks after it.
//
// Errors are fault.Invalid with the code CodeGrammar, naming the keyword and the place.
func JSONSchema(src []byte) (*Grammar, error) {
	b := newBuilder()
	r, err := b.schema(src)
	if err != nil {
		return nil, err
	}
	return b.finish(r)
}

// schema makes the rule of a schema, and of others besides.
func (b *builder) schema(src []byte, others ...part) (int32, error) {
	if len(src) > MaxSource {
		return 0, refuse("The schema has %d bytes, at most %d are allowed.", len(src), MaxSource)
	}
	if !utf8.Valid(src) {
		return 0, refuse("The schema is no valid UTF-8.")
	}
	root, err := parse(src)
	if err != nil {
		return 0, refuse("The schema cannot be read: %v.", err)
	}
	c := &compiler{b: b, root: root, rules: map[string]int32{}, ids: map[*value]int{}}
	return c.ruleOf(append([]part{{v: root}}, others...))
}

// JSONObject is all JSON objects.
func JSONObject() (*Grammar, error) {
	return JSONSchema([]byte(`{"type":"object"}`))
}

// compiler turns a schema into rules.
type compiler struct {
	b     *builder
	root  *value
	rules map[string]int32 // by the parts that a value must satisfy
	ids   map[*value]int
	any   int32 // rules used everywhere; 0 while not made
	str   int32
	char  int32
	work  int
}

// maxWork bounds what compiling looks at.
const maxWork = 1 << 20

// flatten resolves references and allOf; never says that nothing satisfies the parts.
func (c *compiler) flatten(parts []part) (out []part, never bool, err error) {
	todo := slices.Clone(parts)
	for len(todo) > 0 {
		p := todo[0]
		todo = todo[1:]
		if c.work++; c.work > maxWork {
			return nil, false, refuse("The schema is too large once its references are followed.")
		}
		switch {
		case p.v.kind == 'b' && !p.v.flag:
			return nil, true, nil
		case p.v.kind == 'b':
			continue
		case p.v.kind != 'o':
			return nil, false, refuse("A schema must be an object, true or false; the one at %s is not.", place(p.v.path))
		}
		if i := slices.IndexFunc(out, func(o part) bool { return o.v == p.v }); i >= 0 {
			if out[i].spent != p.spent|spentRef {
				return nil, false, refuse("The schema at %s refers to itself without anything in between.", place(p.v.path))
			}
			continue
		}
		fresh := p.spent&spentRef == 0
		p.spent |= spentRef
		out = append(out, p)
		if !fresh {
			continue
		}
		if p.v.fields["$ref"] != nil {
			target, err := c.resolve(p.v)
			if err != nil {
				return nil, false, err
			}
			todo = append(todo, part{v: target})
		}
		if all := p.v.fields["allOf"]; all != nil {
			if all.kind != 'a' {
				return nil, false, refuseKeyword(p.v, "allOf", "it must be an array of schemas")
			}
			for _, s := range all.items {
				todo = append(todo, part{v: s})
			}
		}
	}
	return out, false, nil
}

// resolve follows a $ref within the schema.
func (c *compiler) resolve(v *value) (*value, error) {
	ref := v.fields["$ref"]
	pointer, ok := strings.CutPrefix(ref.text, "#")
	if ref.kind != 's' || !ok {
		return nil, refuseKeyword(v, "$ref", "only references within the schema, such as #/$defs/name, are supported")
	}
	text, err := url.PathUnescape(pointer)
	if err != nil {
		text = pointer
	}
	target := c.root.find(text)
	if target == nil {
		return nil, refuseKeyword(v, "$ref", "%.80q is not there", ref.text)
	}
	return target, nil
}

// ruleOf gives the rule for values that satisfy all parts.
func (c *compiler) ruleOf(parts []part) (int32, error) {
	flat, never, err := c.flatten(parts)
	if err != nil {
		return 0, err
	}
	key := "never"
	if !never {
		key = c.key(flat)
	}
	if r, ok := c.rules[key]; ok {
		return r, nil
	}
	name := "value"
	if len(flat) > 0 {
		name = place(flat[len(flat)-1].v.path)
	}
	r := c.b.newRule(name)
	if c.b.err != nil {
		return 0, c.b.err
	}
	c.rules[key] = r
	start := c.never()
	if !never {
		if start, err = c.union(flat); err != nil {
			return 0, err
		}
	}
	c.b.g.rules[r].start = start
	return r, c.b.err
}

// never is a state that nothing leads out of.
func (c *compiler) never() int32 { return c.b.add(state{kind: kindBytes}) }

func (c *compiler) key(parts []part) string {
	var b strings.Builder
	list := make([][2]int, 0, len(parts))
	for _, p := range parts {
		id, ok := c.ids[p.v]
		if !ok {
			id = len(c.ids)
			c.ids[p.v] = id
		}
		list = append(list, [2]int{id, p.spent})
	}
	slices.SortFunc(list, func(x, y [2]int) int { return x[0] - y[0] })
	for _, x := range list {
		fmt.Fprintf(&b, "%d.%d,", x[0], x[1])
	}
	return b.String()
}

// union resolves the first anyOf or oneOf that is left; without any it goes on with plain keywords.
func (c *compiler) union(parts []part) (int32, error) {
	for i, p := range parts {
		for _, u := range []struct {
			keyword string
			bit     int
		}{{"anyOf", spentAny}, {"oneOf", spentOne}} {
			list := p.field(u.keyword)
			if list == nil || p.spent&u.bit != 0 {
				continue
			}
			if list.kind != 'a' || len(list.items) == 0 || len(list.items) > maxBranches {
				return 0, refuseKeyword(p.v, u.keyword, "it must be an array of 1 to %d schemas", maxBranches)
			}
			base := slices.Clone(parts)
			base[i].spent |= u.bit
			var branches [][]part
			for _, s := range list.items {
				flat, never, err := c.flatten(append(slices.Clone(base), part{v: s}))
				if err != nil {
					return 0, err
				}
				if !never {
					branches = append(branches, flat)
				}
			}
			if u.keyword == "oneOf" {
				if err := c.exclusive(p.v, branches); err != nil {
					return 0, err
				}
			}
			return c.branches(branches)
		}
	}
	return c.plain(parts)
}

func (c *compiler) branches(all [][]part) (int32, error) {
	outs := []int32{}
	for _, parts := range all {
		r, err := c.ruleOf(parts)
		if err != nil {
			return 0, err
		}
		outs = append(outs, c.b.call(r, end))
	}
	if len(outs) == 0 {
		return c.never(), nil
	}
	return c.b.split(outs...), nil
}

// exclusive refuses branches of a oneOf that a value might satisfy together.
func (c *compiler) exclusive(v *value, branches [][]part) error {
	for i := range branches {
		for j := range i {
			if !c.disjoint(branches[i], branches[j], 3) {
				return refuseKeyword(v, "oneOf", "it cannot be told that its schemas number %d and %d exclude each other; use anyOf, or a required property with a const of its own in each", j+1, i+1)
			}
		}
	}
	return nil
}

// disjoint says that surely no value satisfies both; it looks at most depth properties deep.
func (c *compiler) disjoint(a, b []part, depth int) bool {
	c.work += len(a) + len(b)
	x, err1 := gather(a)
	y, err2 := gather(b)
	if err1 != nil || err2 != nil || c.work > maxWork {
		return false
	}
	if x.kinds()&y.kinds() == 0 {
		return true
	}
	if x.hasEnum && y.hasEnum && !slices.ContainsFunc(x.enum, func(v *value) bool { return slices.ContainsFunc(y.enum, v.equal) }) {
		return true
	}
	if x.kinds()&y.kinds() != tObject || depth == 0 {
		return false
	}
	for _, f := range [][2]*facts{{x, y}, {y, x}} {
		for _, name := range f[0].required {
			sub, never, err := c.property(f[1].parts, name)
			if err != nil {
				return false
			}
			if never { // one demands what the other forbids
				return true
			}
			own, _, err := c.property(f[0].parts, name)
			if err == nil && slices.Contains(f[1].required, name) && c.disjoint(own, sub, depth-1) {
				return true
			}
		}
	}
	return false
}

// kinds is the types of the values that fit, by types and enumeration.
func (f *facts) kinds() int {
	if !f.hasEnum {
		return f.types
	}
	bits := 0
	for _, v := range f.enum {
		bits |= typeOf(v)
	}
	return bits & f.types
}

// property is what the parts say of a property; never that none may have it.
func (c *compiler) property(parts []part, name string) (out []part, never bool, err error) {
	for _, p := range parts {
		if props := p.field("properties"); props != nil && props.kind == 'o' && props.fields[name] != nil {
			out = append(out, part{v: props.fields[name]})
			continue
		}
		if patterns := p.field("patternProperties"); patterns != nil && len(patterns.names) > 0 {
			d, err := compileRegex(patterns.names[0], false)
			if err != nil {
				return nil, false, refuseKeyword(p.v, "patternProperties", "the expression is not supported: %v", err)
			}
			if len(patterns.names) > 1 {
				return nil, false, refuseKeyword(p.v, "patternProperties", "more than one pattern is not supported")
			}
			if d.matches(name) {
				out = append(out, part{v: patterns.fields[patterns.names[0]]})
				continue
			}
		}
		if more := p.field("additionalProperties"); more != nil {
			out = append(out, part{v: more})
		}
	}
	return c.flatten(out)
}

// plain is values by keywords other than unions: one branch for each type.
func (c *compiler) plain(parts []part) (int32, error) {
	f, err := gather(parts)
	if err != nil {
		return 0, err
	}
	if f.hasEnum {
		return c.enum(f)
	}
	if f.types == tAll && f.used != 0 {
		f.types = f.used // values of other types would fit as well; nobody means them
	}
	var outs []int32
	add := func(s int32, err2 error) {
		outs, err = append(outs, s), cmpErr(err, err2)
	}
	b := c.b
	if f.types == tAll && f.used == 0 {
		return b.call(c.anything(), end), b.err
	}
	if f.types&tObject != 0 {
		add(c.object(f))
	}
	if f.types&tArray != 0 {
		add(c.array(f))
	}
	if f.types&tString != 0 {
		add(c.text(f))
	}
	if f.types&(tInteger|tFraction) != 0 {
		add(c.number(f))
	}
	if f.types&tBoolean != 0 {
		add(b.split(b.text("true", end), b.text("false", end)), nil)
	}
	if f.types&tNull != 0 {
		add(b.text("null", end), nil)
	}
	if err != nil {
		return 0, err
	}
	if len(outs) == 0 {
		return c.never(), nil
	}
	return b.split(outs...), b.err
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (c *compiler) enum(f *facts) (int32, error) {
	var outs []int32
	for _, v := range f.enum {
		ok, err := f.allows(v)
		if err != nil {
			return 0, err
		}
		if ok {
			outs = append(outs, c.b.text(v.json(), end))
		}
	}
	if len(outs) == 0 {
		return c.never(), nil
	}
	return c.b.split(outs...), c.b.err
}

func (c *compiler) number(f *facts) (int32, error) {
	expr := f.num.decimals()
	whole := f.types&tFraction == 0
	if len(f.multiple) > 0 { // multiples of whole numbers are whole
		whole = true
	}
	if whole {
		expr = f.num.integers()
	}
	if expr == "" {
		if !whole && (f.num.low == nil || f.num.high == nil || f.num.low.Cmp(f.num.high) <= 0) {
			return 0, refuse("minimum and maximum at %s: these bounds are not supported.", place(f.path))
		}
		return c.never(), nil
	}
	d, err := compileRegex(expr, true)
	for _, m := range f.multiple {
		if err == nil {
			d, err = both(d, multiples(m))
		}
	}
	if err != nil {
		return 0, refuse("The number at %s: %v.", place(f.path), err)
	}
	return c.b.put(d, false, end), c.b.err
}

// text is strings.
func (c *compiler) text(f *facts) (int32, error) {
	b := c.b
	if len(f.texts) == 0 {
		if f.minLen == 0 && f.maxLen < 0 {
			return b.call(c.anyString(), end), b.err
		}
		if f.maxLen >= 0 && f.minLen > f.maxLen {
			return c.never(), nil
		}
		char := c.anyChar()
		body := func(next int32) int32 { return b.call(char, next) }
		return b.text(`"`, b.loop(f.minLen, f.maxLen, body, b.text(`"`, end))), b.err
	}
	d, err := f.texts[0], error(nil)
	for _, o := range f.texts[1:] {
		if err == nil {
			d, err = both(d, o)
		}
	}
	if err == nil && (f.minLen > 0 || f.maxLen >= 0) {
		var l *dfa
		if l, err = lengths(f.minLen, f.maxLen); err == nil {
			d, err = both(d, l)
		}
	}
	if err != nil {
		return 0, refuse("The string at %s cannot be kept to all its keywords: %v.", place(f.path), err)
	}
	return b.text(`"`, b.put(d, true, b.text(`"`, end))), b.err
}
