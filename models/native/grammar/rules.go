package grammar

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxNesting bounds the brackets within a rule.
const maxNesting = 100

// Parse reads a grammar of rules in the notation of llama.cpp (GBNF):
//
//	root   ::= "yes" | "no " reason   # a comment
//	reason ::= [a-z A-Z]{3,20} ("." | "!")?
//
// A rule is a name of letters, digits, - and _, then ::= and alternatives parted by |. An alternative is a sequence of
// texts in double quotes (escapes \" \\ \n \r \t \xHH \uHHHH \UHHHHHHHH), classes of characters in square brackets (ranges with -, ^ for all
// others, \] and \- for these characters), a dot for any character, names of rules, and groups in round brackets; each may be
// followed by ?, *, +, {n}, {n,} or {n,m}. A rule ends with its line unless a bracket is open or the next line begins with |.
// The document is what the rule root gives. Rules may call each other and themselves, but not as their own beginning.
func Parse(src string) (*Grammar, error) {
	if len(src) > MaxSource {
		return nil, refuse("The grammar has %d bytes, at most %d are allowed.", len(src), MaxSource)
	}
	if !utf8.ValidString(src) {
		return nil, refuse("The grammar is no valid UTF-8.")
	}
	p := &rulesParser{src: src, b: newBuilder(), rules: map[string]int32{}, defined: map[string]bool{}}
	if err := p.parse(); err != nil {
		return nil, refuse("The grammar cannot be read: line %d: %v.", 1+strings.Count(src[:min(p.at, len(src))], "\n"), err)
	}
	root, ok := p.rules["root"]
	if !ok {
		return nil, refuse("The grammar has no rule named root.")
	}
	for name := range p.rules {
		if !p.defined[name] {
			return nil, refuse("The grammar uses the rule %.60q and does not define it.", name)
		}
	}
	return p.b.finish(root)
}

// rulesParser reads a grammar by recursive descent.
type rulesParser struct {
	src     string
	at      int
	depth   int
	b       *builder
	rules   map[string]int32
	defined map[string]bool
}

// term is something that can be followed by a state: it is built once for each place it stands in.
type term func(next int32) int32

func (p *rulesParser) parse() error {
	for p.space(true); p.at < len(p.src); p.space(true) {
		name := p.name()
		if name == "" {
			return errors.New("a rule begins with its name")
		}
		p.space(false)
		if !p.take("::=") {
			return fmt.Errorf("::= must follow the name %.40q", name)
		}
		if p.defined[name] {
			return fmt.Errorf("the rule %.40q is defined twice", name)
		}
		r := p.rule(name)
		p.defined[name] = true
		p.space(true)
		body, err := p.alternatives(false)
		if err != nil {
			return err
		}
		start := body(end)
		if p.b.err != nil {
			return p.b.err
		}
		p.b.g.rules[r].start = start
		if p.at < len(p.src) && p.src[p.at] != '\n' && p.src[p.at] != '\r' {
			return fmt.Errorf("%q is not expected here", p.src[p.at])
		}
	}
	return nil
}

func (p *rulesParser) rule(name string) int32 {
	r, ok := p.rules[name]
	if !ok {
		r = p.b.newRule(name)
		p.rules[name] = r
	}
	return r
}

// space skips blanks and comments, and line breaks if lines.
func (p *rulesParser) space(lines bool) {
	for p.at < len(p.src) {
		switch c := p.src[p.at]; {
		case c == ' ' || c == '\t' || lines && (c == '\n' || c == '\r'):
			p.at++
		case c == '#':
			for p.at < len(p.src) && p.src[p.at] != '\n' {
				p.at++
			}
		default:
			return
		}
	}
}

func (p *rulesParser) take(s string) bool {
	if strings.HasPrefix(p.src[p.at:], s) {
		p.at += len(s)
		return true
	}
	return false
}

func (p *rulesParser) name() string {
	from := p.at
	for p.at < len(p.src) {
		c := p.src[p.at]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			break
		}
		p.at++
	}
	return p.src[from:p.at]
}

// alternatives reads sequences parted by |; within brackets line breaks are blanks.
func (p *rulesParser) alternatives(nested bool) (term, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, fmt.Errorf("brackets are nested more than %d deep", maxNesting)
	}
	defer func() { p.depth-- }()
	var all []term
	for {
		s, err := p.sequence(nested)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
		back := p.at
		p.space(true) // the next line may go on with |
		if !p.take("|") {
			if !nested {
				p.at = back
			}
			break
		}
		p.space(true)
	}
	return func(next int32) int32 {
		outs := make([]int32, 0, len(all))
		for _, t := range all {
			outs = append(outs, t(next))
		}
		return p.b.split(outs...)
	}, nil
}

func (p *rulesParser) sequence(nested bool) (term, error) {
	var list []term
	for p.space(nested); p.at < len(p.src); p.space(nested) {
		if strings.IndexByte("|)\n\r", p.src[p.at]) >= 0 {
			break
		}
		t, err := p.item()
		if err != nil {
			return nil, err
		}
		if t, err = p.repeated(t); err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return func(next int32) int32 {
		for _, t := range slices.Backward(list) {
			next = t(next)
		}
		return next
	}, nil
}

func (p *rulesParser) item() (term, error) {
	switch c := p.src[p.at]; {
	case c == '"':
		p.at++
		text, err := p.quoted()
		return func(next int32) int32 { return p.b.text(text, next) }, err
	case c == '[':
		p.at++
		return p.class()
	case c == '.':
		p.at++
		return p.oneOf([]redge{{lo: 0, hi: lastRune}}), nil
	case c == '(':
		p.at++
		t, err := p.alternatives(true)
		if err == nil && !p.take(")") {
			err = errors.New("a bracket is not closed")
		}
		return t, err
	default:
		name := p.name()
		if name == "" {
			return nil, fmt.Errorf("%q is not expected here", c)
		}
		r := p.rule(name)
		return func(next int32) int32 { return p.b.call(r, next) }, nil
	}
}

// oneOf is one character of ranges.
func (p *rulesParser) oneOf(ranges []redge) term {
	return func(next int32) int32 {
		s := speller{b: p.b, memo: map[suffix]int32{}}
		var edges []edge
		for _, r := range ranges {
			edges = s.plain(edges, r.lo, r.hi, next)
		}
		return p.b.add(state{kind: kindBytes, edges: edges})
	}
}

func (p *rulesParser) quoted() (string, error) {
	var b strings.Builder
	for p.at < len(p.src) {
		switch c := p.src[p.at]; c {
		case '"':
			p.at++
			return b.String(), nil
		case '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
		case '\n':
			return "", errors.New("a text is not closed in its line")
		default:
			b.WriteByte(c)
			p.at++
		}
	}
	return "", errors.New("a text is not closed")
}

func (p *rulesParser) escape() (rune, error) {
	p.at++
	if p.at == len(p.src) {
		return 0, errors.New("nothing follows a backslash")
	}
	c := p.src[p.at]
	p.at++
	switch c {
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'x', 'u', 'U':
		n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
		if p.at+n > len(p.src) {
			return 0, errors.New("an escape is too short")
		}
		v, err := strconv.ParseUint(p.src[p.at:p.at+n], 16, 32)
		if err != nil || !utf8.ValidRune(rune(v)) {
			return 0, errors.New("an escape is no character")
		}
		p.at += n
		return rune(v), nil
	case '"', '\\', '[', ']', '-', '^', '/':
		return rune(c), nil
	}
	return 0, fmt.Errorf("\\%c is no escape", c)
}

// class reads characters in square brackets.
func (p *rulesParser) class() (term, error) {
	not := p.take("^")
	var list []redge
	for {
		if p.take("]") {
			break
		}
		lo, err := p.classRune()
		if err != nil {
			return nil, err
		}
		hi := lo
		if p.at+1 < len(p.src) && p.src[p.at] == '-' && p.src[p.at+1] != ']' {
			p.at++
			if hi, err = p.classRune(); err != nil {
				return nil, err
			}
		}
		if lo > hi {
			return nil, errors.New("a range of characters ends before it begins")
		}
		list = append(list, redge{lo: lo, hi: hi})
	}
	slices.SortFunc(list, func(x, y redge) int { return int(x.lo) - int(y.lo) })
	var merged []redge
	for _, e := range list {
		if n := len(merged) - 1; n >= 0 && e.lo <= merged[n].hi+1 {
			merged[n].hi = max(merged[n].hi, e.hi)
			continue
		}
		merged = append(merged, e)
	}
	if not {
		merged = complement(merged)
	}
	return p.oneOf(merged), nil
}

func (p *rulesParser) classRune() (rune, error) {
	if p.at >= len(p.src) {
		return 0, errors.New("a class of characters is not closed")
	}
	if p.src[p.at] == '\\' {
		return p.escape()
	}
	r, n := utf8.DecodeRuneInString(p.src[p.at:])
	p.at += n
	return r, nil
}

// complement is the characters between ranges.
func complement(ranges []redge) []redge {
	var out []redge
	from := rune(0)
	for _, e := range ranges {
		if from < e.lo {
			out = append(out, redge{lo: from, hi: e.lo - 1})
		}
		from = e.hi + 1
	}
	if from <= lastRune {
		out = append(out, redge{lo: from, hi: lastRune})
	}
	return out
}

// repeated reads what says how often a term comes.
func (p *rulesParser) repeated(t term) (term, error) {
	least, most := 1, 1
	switch {
	case p.take("?"):
		least, most = 0, 1
	case p.take("*"):
		least, most = 0, -1
	case p.take("+"):
		least, most = 1, -1
	case p.take("{"):
		text, _, ok := strings.Cut(p.src[p.at:], "}")
		if !ok {
			return nil, errors.New("a repetition is not closed")
		}
		p.at += len(text) + 1
		lo, hi, ranged := strings.Cut(text, ",")
		var err1, err2 error
		least, err1 = strconv.Atoi(strings.TrimSpace(lo))
		most = least
		if hi = strings.TrimSpace(hi); ranged && hi == "" {
			most = -1
		} else if ranged {
			most, err2 = strconv.Atoi(hi)
		}
		if errors.Join(err1, err2) != nil || least < 0 || most >= 0 && least > most || max(least, most) > 1<<20 {
			return nil, fmt.Errorf("{%.20s} is no repetition", text)
		}
	default:
		return t, nil
	}
	return func(next int32) int32 { return p.b.loop(least, most, t, next) }, nil
}
