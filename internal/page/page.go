// Package page cuts long lists into pages: a caller names how many items it wants and after which one.
//
// Rules for callers: a list that is paged has an order in which no two items are equal, and its key is the values of
// that order. A store given a Page returns the items after the key, in that order, at most Limit of them; the zero Page
// is the whole list. What is added or removed meanwhile may or may not be seen; what stays is seen exactly once.
package page

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Sizes of a page that a caller from outside gets when it names none, and at most.
const (
	Usual = 100
	Most  = 1000
)

// Key is an item's place in a list: the values by which the list is ordered. Numbers are written as decimals.
type Key []string

// Page is the part of a list that a caller wants.
type Page struct {
	After Key // begin after the item of this key; empty: at the beginning
	Limit int // at most so many; 0: all
}

// All is the whole list.
var All Page

// Number reads a part of the key as a number; fault.Invalid when it is none.
func (p Page) Number(part int) (int64, error) {
	n, err := strconv.ParseInt(p.After[part], 10, 64)
	if err != nil {
		return 0, badCursor()
	}
	return n, nil
}

// maxCursor bounds a cursor from outside.
const maxCursor = 2048

// Parse makes a Page of what a caller from outside sends: a limit (0: Usual) and the cursor of the page before (empty:
// none). list and parts are the list's name and the length of its keys: a cursor of another list is fault.Invalid.
func Parse(list string, parts, limit int, cursor string) (Page, error) {
	p := Page{Limit: limit}
	switch {
	case limit < 0 || limit > Most:
		return p, fault.InvalidField("limit", "limit is %d; it must be 1 to %d.", limit, Most)
	case limit == 0:
		p.Limit = Usual
	}
	if cursor == "" {
		return p, nil
	}
	if len(cursor) > maxCursor {
		return p, badCursor()
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	var k Key
	if err != nil || json.Unmarshal(text, &k) != nil || len(k) != parts+1 || k[0] != list {
		return p, badCursor()
	}
	if !utf8.Valid(text) || slices.ContainsFunc(k, func(part string) bool { return strings.IndexByte(part, 0) >= 0 }) {
		return p, badCursor() // not every database takes such a text
	}
	p.After = k[1:]
	return p, nil
}

func badCursor() error {
	return fault.New(fault.Invalid, "The cursor in after is none of this list.", fault.Field("after"),
		fault.Fix("Send what the page before named as next, or nothing for the first page."))
}

// Cursor is the opaque form of a key, which Parse reads.
func Cursor(list string, k Key) string {
	text, err := json.Marshal(append(Key{list}, k...))
	if err != nil { // strings can always be written
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// Cut is a page of a list that is in memory anyway. It sorts the list by key.
func Cut[T any](items []T, p Page, key func(T) Key) []T {
	slices.SortStableFunc(items, func(a, b T) int { return slices.Compare(key(a), key(b)) })
	if len(p.After) > 0 {
		from, found := slices.BinarySearchFunc(items, p.After, func(x T, k Key) int { return slices.Compare(key(x), k) })
		if found {
			from++
		}
		items = items[from:]
	}
	if p.Limit > 0 && len(items) > p.Limit {
		items = items[:p.Limit]
	}
	return items
}
