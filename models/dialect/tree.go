package dialect

import (
	"bytes"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// tree is a JSON value that grows. What need not grow stays the bytes that came: an object or array is taken apart when
// something is put into it.
type tree struct {
	raw     []byte // of anything that is not taken apart; of a text, what stands between its quotes
	text    bool
	object  bool
	array   bool
	members []member
	list    []*tree
	number  int64          // of an element of a list with numbers
	at      map[string]int // where members are, of an object with many
	nodes   *nodes         // of the whole value; nil: nobody counts
}

// nodes counts what a value is made of. An upstream can send many in few bytes.
type nodes struct{ made, most int }

// nodeBytes is what one takes beside its own bytes, about.
const nodeBytes = 160

// add counts one more; false where that is too many. What is beyond that is left out, and whoever feeds the value looks.
func (n *nodes) add() bool {
	if n == nil {
		return true
	}
	if n.made > n.most {
		return false
	}
	n.made++
	return n.made <= n.most
}

func (n *nodes) full() bool { return n.made > n.most }

// fewMembers are looked through; beyond, they are looked up.
const fewMembers = 16

type member struct {
	name string
	*tree
}

// deepest is how far below what a dialect joins members are joined; further down the last one counts.
const deepest = 16

func raw(json string) *tree     { return &tree{raw: []byte(json)} }
func quoted(plain string) *tree { return &tree{text: true, raw: []byte(plain)} }

// from copies a value.
func from(v gjson.Result) *tree {
	if v.Type == gjson.String {
		return &tree{text: true, raw: inner(v)}
	}
	return &tree{raw: []byte(v.Raw)}
}

// inner is a text as it stands between its quotes: pieces of a text joined so are the text, even where a character was cut
// into two escapes.
func inner(v gjson.Result) []byte { return []byte(v.Raw[1 : len(v.Raw)-1]) }

// open takes an object apart.
func (t *tree) open() {
	if t.object || t.array || t.text {
		return
	}
	v := gjson.ParseBytes(t.raw)
	if !v.IsObject() {
		return
	}
	t.object, t.raw = true, nil
	v.ForEach(func(k, v gjson.Result) bool { t.set(k.Str, from(v)); return true })
}

// openList takes an array apart; anything else becomes an empty one.
func (t *tree) openList() {
	if t.array {
		return
	}
	v := gjson.ParseBytes(t.raw)
	text := t.text
	*t = tree{array: true, number: t.number, nodes: t.nodes}
	if !text && v.IsArray() {
		v.ForEach(func(_, e gjson.Result) bool { return t.push(from(e)) })
	}
}

// push adds an element, if there may be one more.
func (t *tree) push(e *tree) bool {
	if !t.nodes.add() {
		return false
	}
	e.nodes = t.nodes
	t.list = append(t.list, e)
	return true
}

// get is a member, nil where there is none.
func (t *tree) get(name string) *tree {
	if t == nil {
		return nil
	}
	t.open()
	if t.at != nil {
		if i, ok := t.at[name]; ok {
			return t.members[i].tree
		}
		return nil
	}
	for _, m := range t.members {
		if m.name == name {
			return m.tree
		}
	}
	return nil
}

// items are the elements of an array, taken apart.
func (t *tree) items() []*tree {
	if t == nil || t.text {
		return nil
	}
	if !t.array && bytes.HasPrefix(t.raw, []byte("[")) {
		t.openList()
	}
	for _, e := range t.list {
		e.open()
	}
	return t.list
}

// said says whether there is a value other than null.
func (t *tree) said() bool {
	return t != nil && (t.text || t.object || t.array || string(t.raw) != "null")
}

// String is a value as JSON; empty of none.
func (t *tree) String() string {
	if t == nil {
		return ""
	}
	return string(t.append(nil))
}

// child is a member, made where there is none.
func (t *tree) child(name string) *tree {
	if c := t.get(name); c != nil {
		return c
	}
	c := raw("null")
	if c.nodes = t.nodes; !t.nodes.add() {
		return c
	}
	t.object = true
	t.members = append(t.members, member{strings.Clone(name), c}) // which does not keep the event that it came in
	switch n := len(t.members); {
	case t.at != nil:
		t.at[t.members[n-1].name] = n - 1
	case n > fewMembers:
		t.locate()
	}
	return c
}

// locate notes where the members are.
func (t *tree) locate() {
	t.at = make(map[string]int, 2*len(t.members))
	for i, m := range t.members {
		t.at[m.name] = i
	}
}

// set puts a member in the place of the one of that name, or at the end.
func (t *tree) set(name string, v *tree) {
	c := t.child(name)
	counts := c.nodes
	*c = *v
	c.nodes = counts
}

// last is set, at the end in any case.
func (t *tree) last(name string, v *tree) {
	t.drop(name)
	t.set(name, v)
}

func (t *tree) drop(name string) {
	before := len(t.members)
	t.members = slices.DeleteFunc(t.members, func(m member) bool { return m.name == name })
	if len(t.members) == before {
		return
	}
	if t.nodes != nil {
		t.nodes.made--
	}
	if t.at != nil {
		t.locate()
	}
}

// replace takes a newer value, unless it is null and something is known.
func (t *tree) replace(name string, v gjson.Result) {
	if old := t.get(name); v.Type == gjson.Null && old.said() {
		return
	}
	t.set(name, from(v))
}

// kept are members of pieces that name something and are not parts of a text, however often they come.
var kept = map[string]bool{"id": true, "type": true, "index": true, "role": true, "name": true, "object": true, "model": true, "format": true, "call_id": true}

// join takes the next piece of a member: texts go on, lists go on, by their elements' numbers where they have such, objects
// are joined member by member; of anything else the newer one counts.
func (t *tree) join(name string, v gjson.Result, depth int) {
	old := t.get(name)
	switch {
	case !old.said():
		if v.IsArray() { // its elements may be pieces
			t.set(name, &tree{array: true})
			t.child(name).extend(v, depth)
			return
		}
		t.set(name, from(v))
	case v.Type == gjson.Null:
	case v.Type == gjson.String && old.text && !kept[name]:
		old.raw = append(old.raw, v.Raw[1:len(v.Raw)-1]...)
	case v.Type == gjson.String && v.Str == "":
	case v.IsObject() && !old.text && depth < deepest:
		if old.open(); !old.object {
			t.set(name, from(v))
			return
		}
		v.ForEach(func(k, e gjson.Result) bool { old.join(k.Str, e, depth+1); return true })
	case v.IsArray() && !old.text && depth < deepest:
		old.extend(v, depth)
	default:
		t.set(name, from(v))
	}
}

// extend adds the elements of an array.
func (t *tree) extend(v gjson.Result, depth int) {
	t.openList()
	v.ForEach(func(_, e gjson.Result) bool {
		index := e.Get("index")
		if !e.IsObject() || index.Type != gjson.Number || len(t.list) > maxCalls {
			return t.push(from(e))
		}
		at := slices.IndexFunc(t.list, func(x *tree) bool { return x.object && x.number == index.Int() && x.get("index") != nil })
		if at < 0 {
			if at = len(t.list); !t.push(&tree{object: true, number: index.Int()}) {
				return false
			}
		}
		e.ForEach(func(k, m gjson.Result) bool { t.list[at].join(k.Str, m, depth+1); return true })
		return true
	})
}

// append writes the value.
func (t *tree) append(b []byte) []byte {
	switch {
	case t.text:
		b = append(append(append(b, '"'), t.raw...), '"')
	case t.array:
		b = append(b, '[')
		for i, e := range t.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.append(b)
		}
		b = append(b, ']')
	case t.object:
		b = append(b, '{')
		for i, m := range t.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(wire.AppendText(b, m.name), ':')
			b = m.append(b)
		}
		b = append(b, '}')
	default:
		b = append(b, t.raw...)
	}
	return b
}
