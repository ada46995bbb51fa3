package grammar

import "slices"

// space is optional white space: a blank, or a line break with up to 20 blanks after it.
func (b *builder) space(next int32) int32 {
	if b.ws < 0 {
		b.ws = b.newRule("space")
		indent := end
		for range 20 {
			indent = b.split(b.text(" ", indent), end)
		}
		b.g.rules[b.ws].start = b.split(end, b.text(" ", end), b.text("\n", indent))
	}
	return b.call(b.ws, next)
}

// blank is an optional blank.
func (b *builder) blank(next int32) int32 { return b.split(next, b.text(" ", next)) }

// shared makes a rule once.
func (c *compiler) shared(r *int32, name string, build func() int32) int32 {
	if *r == 0 {
		*r = c.b.newRule(name)
		start := build()
		c.b.g.rules[*r].start = start
	}
	return *r
}

// anything is any JSON value.
func (c *compiler) anything() int32 {
	return c.shared(&c.any, "any value", func() int32 {
		b := c.b
		value := func(next int32) int32 { return b.call(c.any, next) }
		member := func(next int32) int32 { return b.call(c.anyString(), b.text(":", b.blank(value(next)))) }
		free, err := compileRegex(freeNumber, true)
		if err != nil {
			b.fail(err)
			return end
		}
		return b.split(b.call(c.anyString(), end), b.put(free, false, end), b.text("true", end), b.text("false", end), b.text("null", end),
			b.listOf("[", value, "]", 0, -1), b.listOf("{", member, "}", 0, -1))
	})
}

// listOf is least to most items between brackets, with commas.
func (b *builder) listOf(open string, item func(next int32) int32, shut string, least, most int) int32 {
	closing := b.space(b.text(shut, end))
	var outs []int32
	if most != 0 {
		rest := most
		if most > 0 {
			rest = most - 1
		}
		more := b.loop(max(0, least-1), rest, func(next int32) int32 { return b.text(",", b.space(item(next))) }, closing)
		outs = append(outs, item(more))
	}
	if least == 0 {
		outs = append(outs, b.text(shut, end))
	}
	return b.text(open, b.space(b.split(outs...)))
}

// anyString is any string, escapes included but for those of half a character.
func (c *compiler) anyString() int32 {
	return c.shared(&c.str, "string", func() int32 {
		again := c.b.add(state{kind: kindBytes})
		edges := c.character(again)
		c.b.g.states[again].edges = append(edges, edge{'"', '"', end})
		return c.b.text(`"`, again)
	})
}

// anyChar is one character within a string.
func (c *compiler) anyChar() int32 {
	return c.shared(&c.char, "character", func() int32 {
		return c.b.add(state{kind: kindBytes, edges: c.character(end)})
	})
}

// character is the spellings of a character in a string.
func (c *compiler) character(to int32) []edge {
	b := c.b
	p := speller{b: b, memo: map[suffix]int32{}}
	edges := []edge{{' ', '!', to}, {'#', '[', to}, {']', 0x7f, to}}
	edges = p.plain(edges, 0x80, lastRune, to)
	hex := func(next int32, first ...edge) int32 {
		if first == nil {
			first = []edge{{'0', '9', next}, {'A', 'F', next}, {'a', 'f', next}}
		}
		return b.add(state{kind: kindBytes, edges: first})
	}
	two := hex(hex(to))
	three := hex(two)
	low := hex(0, edge{'C', 'F', two}, edge{'c', 'f', two})
	low = b.text(`\u`, hex(0, edge{'D', 'D', low}, edge{'d', 'd', low}))
	high := hex(hex(low))
	surrogate := hex(0, edge{'0', '7', two}, edge{'8', '9', high}, edge{'A', 'B', high}, edge{'a', 'b', high})
	code := hex(0, edge{'0', '9', three}, edge{'A', 'C', three}, edge{'E', 'F', three}, edge{'a', 'c', three}, edge{'e', 'f', three},
		edge{'D', 'D', surrogate}, edge{'d', 'd', surrogate})
	escape := []edge{{'u', 'u', code}}
	for _, e := range []byte(`"\/bfnrt`) {
		escape = append(escape, edge{e, e, to})
	}
	return append(edges, edge{'\\', '\\', b.add(state{kind: kindBytes, edges: escape})})
}

// array is arrays.
func (c *compiler) array(f *facts) (int32, error) {
	b, least, most := c.b, f.minItems, f.maxItems
	fixed := 0
	for _, p := range f.parts {
		if v := p.prefix(); v != nil {
			fixed = max(fixed, len(v.items))
		}
	}
	var rules []int32 // of the items by place, the last for all that follow
	for i := 0; i <= fixed; i++ {
		parts, never, err := c.flatten(itemAt(f.parts, i))
		if err != nil {
			return 0, err
		}
		if never || i == fixed && fixed > 0 && len(itemAt(f.parts, i)) == 0 && least <= fixed { // items nobody speaks of are not written
			if most < 0 || i < most {
				most = i
			}
			break
		}
		r, err := c.ruleOf(parts)
		if err != nil {
			return 0, err
		}
		rules = append(rules, r)
	}
	if most >= 0 && least > most {
		return c.never(), nil
	}
	if most >= 0 {
		fixed = min(fixed, most)
	}
	item := func(i int, next int32) int32 { return b.call(rules[min(i, len(rules)-1)], next) }
	if fixed == 0 {
		return b.listOf("[", func(next int32) int32 { return item(0, next) }, "]", least, most), b.err
	}
	closing := b.space(b.text("]", end))
	rest := -1
	if most >= 0 {
		rest = most - fixed
	}
	at := b.loop(max(0, least-fixed), rest, func(next int32) int32 { return b.text(",", b.space(item(fixed, next))) }, closing)
	for i := fixed - 1; i >= 0; i-- {
		at = item(i, at)
		if i > 0 {
			at = b.text(",", b.space(at))
		}
		if i >= least {
			shut := closing
			if i == 0 {
				shut = b.text("]", end)
			}
			at = b.split(at, shut)
		}
	}
	return b.text("[", b.space(at)), b.err
}

// prefix is the schemas by place of a part, in either spelling.
func (p part) prefix() *value {
	if v := p.field("prefixItems"); v != nil && v.kind == 'a' {
		return v
	}
	if v := p.field("items"); v != nil && v.kind == 'a' {
		return v
	}
	return nil
}

// itemAt is what the parts say of the item at a place.
func itemAt(parts []part, i int) []part {
	var out []part
	for _, p := range parts {
		prefix, rest := p.prefix(), p.field("items")
		if rest != nil && rest.kind == 'a' {
			rest = p.field("additionalItems")
		}
		switch {
		case prefix != nil && i < len(prefix.items):
			out = append(out, part{v: prefix.items[i]})
		case rest != nil:
			out = append(out, part{v: rest})
		}
	}
	return out
}

// member is a property that a schema names.
type member struct {
	name     string
	required bool
	rule     int32
}

// object is objects: the named properties in their order, then others.
func (c *compiler) object(f *facts) (int32, error) {
	names := c.names(f)
	var members []member
	for _, name := range names {
		parts, never, err := c.property(f.parts, name)
		if err != nil {
			return 0, err
		}
		required := slices.Contains(f.required, name)
		if never {
			if required {
				return c.never(), nil
			}
			continue
		}
		r, err := c.ruleOf(parts)
		if err != nil {
			return 0, err
		}
		members = append(members, member{name, required, r})
	}
	more, err := c.others(f, names)
	if err != nil {
		return 0, err
	}
	if err := checkSizes(f, members, more != nil); err != nil {
		return 0, err
	}
	if len(members) == 0 && more != nil {
		return c.b.listOf("{", more, "}", f.minProps, f.maxProps), c.b.err
	}
	return c.members(members, more), c.b.err
}

// names is the properties that the parts name, in the order in which they do.
func (c *compiler) names(f *facts) []string {
	var names []string
	seen := map[string]bool{}
	add := func(list []string) {
		for _, n := range list {
			if !seen[n] {
				seen[n] = true
				names = append(names, n)
			}
		}
	}
	for _, p := range f.parts {
		if props := p.field("properties"); props != nil && props.kind == 'o' {
			add(props.names)
		}
	}
	add(f.required)
	return names
}

// checkSizes refuses bounds on the number of properties that the order of writing cannot keep.
func checkSizes(f *facts, members []member, more bool) error {
	required := 0
	for _, m := range members {
		if m.required {
			required++
		}
	}
	switch {
	case len(members) == 0 && more:
		if f.minProps > 1 { // a name may come twice
			return refuse("minProperties at %s: more than 1 is not supported for properties that have no names in the schema.", place(f.path))
		}
	case f.minProps > required:
		return refuse("minProperties at %s: it is supported up to the number of required properties, %d.", place(f.path), required)
	case f.maxProps >= 0 && (f.maxProps < len(members) || more):
		return refuse("maxProperties at %s: it is not supported beside optional properties.", place(f.path))
	}
	return nil
}

// others is a member the schema does not name, or nil if there is none to be written.
func (c *compiler) others(f *facts, names []string) (func(next int32) int32, error) {
	var parts []part
	var pattern *dfa
	spoken := false
	for _, p := range f.parts {
		more, patterns := p.field("additionalProperties"), p.field("patternProperties")
		if patterns != nil && len(patterns.names) > 0 {
			d, err := compileRegex(patterns.names[0], false)
			if err != nil || len(patterns.names) > 1 || pattern != nil {
				return nil, refuseKeyword(p.v, "patternProperties", "one pattern of a supported expression is")
			}
			pattern, spoken = d, true
			parts = append(parts, part{v: patterns.fields[patterns.names[0]]})
			continue
		}
		if more != nil {
			spoken = true
			parts = append(parts, part{v: more})
		}
	}
	if !spoken && len(names) > 0 {
		return nil, nil
	}
	flat, never, err := c.flatten(parts)
	if never || err != nil {
		return nil, err
	}
	r, err := c.ruleOf(flat)
	if err != nil {
		return nil, err
	}
	key := func(next int32) int32 { return c.b.call(c.anyString(), next) }
	if len(names) > 0 || pattern != nil {
		d := except(names)
		if pattern != nil {
			if d, err = both(pattern, d); err != nil {
				return nil, refuse("patternProperties at %s: %v.", place(f.path), err)
			}
		}
		rule := c.b.newRule("names")
		start := c.b.text(`"`, c.b.put(d, true, c.b.text(`"`, end)))
		c.b.g.rules[rule].start = start
		key = func(next int32) int32 { return c.b.call(rule, next) }
	}
	return func(next int32) int32 { return key(c.b.text(":", c.b.blank(c.b.call(r, next)))) }, nil
}

// members writes objects of named members, and of others behind them if more is not nil.
func (c *compiler) members(all []member, more func(next int32) int32) int32 {
	b := c.b
	closing := b.space(b.text("}", end))
	// after is what may follow a member, begin what may follow a comma; -1 for nothing.
	after, begin := closing, int32(-1)
	mayEnd := true
	if more != nil {
		again := b.add(state{kind: kindSplit})
		begin = more(again)
		b.g.states[again].outs = []int32{closing, b.text(",", b.space(begin))}
		after = again
	}
	for _, m := range slices.Backward(all) {
		first := b.text(quote(m.name)+":", b.blank(b.call(m.rule, after)))
		if m.required || begin < 0 {
			begin = first
		} else {
			begin = b.split(first, begin)
		}
		mayEnd = mayEnd && !m.required
		after = b.text(",", b.space(begin))
		if mayEnd {
			after = b.split(closing, after)
		}
	}
	switch {
	case begin < 0:
		return b.text("{", b.space(b.text("}", end)))
	case mayEnd:
		begin = b.split(begin, b.text("}", end))
	}
	return b.text("{", b.space(begin))
}
