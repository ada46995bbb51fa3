package wire

import (
	"math"
	"strconv"
	"unicode/utf8"
)

// Writer appends JSON; commas come by themselves. The caller opens and closes in order.
type Writer struct{ B []byte }

// sep puts a comma where one belongs: after a value, which ends in neither an opening bracket nor a colon.
func (w *Writer) sep() {
	if n := len(w.B); n > 0 {
		switch w.B[n-1] {
		case '{', '[', ':', '\n', ' ':
		default:
			w.B = append(w.B, ',')
		}
	}
}

// Open begins an object.
func (w *Writer) Open() { w.sep(); w.B = append(w.B, '{') }

// Close ends an object.
func (w *Writer) Close() { w.B = append(w.B, '}') }

// List begins an array.
func (w *Writer) List() { w.sep(); w.B = append(w.B, '[') }

// EndList ends an array.
func (w *Writer) EndList() { w.B = append(w.B, ']') }

// Key begins a member; a value follows.
func (w *Writer) Key(name string) {
	w.sep()
	w.B = append(AppendText(w.B, name), ':')
}

// Text is a string as a value.
func (w *Writer) Text(s string) { w.sep(); w.B = AppendText(w.B, s) }

// Int is a whole number as a value.
func (w *Writer) Int(n int64) { w.sep(); w.B = strconv.AppendInt(w.B, n, 10) }

// Raw is JSON made elsewhere as a value; nothing means null.
func (w *Writer) Raw(b []byte) {
	w.sep()
	if len(b) == 0 {
		b = null
	}
	w.B = append(w.B, b...)
}

var null = []byte("null")

// Num is a number as a value, the shortest that reads as the same; what no JSON number can say is null.
func (w *Writer) Num(f float64) {
	w.sep()
	if math.IsNaN(f) || math.IsInf(f, 0) {
		w.B = append(w.B, null...)
		return
	}
	w.B = strconv.AppendFloat(w.B, f, 'g', -1, 64)
}

// Bool is true or false as a value.
func (w *Writer) Bool(b bool) { w.sep(); w.B = strconv.AppendBool(w.B, b) }

// FText is a member with a string.
func (w *Writer) FText(name, s string) { w.Key(name); w.Text(s) }

// FSome is a member with a string unless it is empty.
func (w *Writer) FSome(name, s string) {
	if s != "" {
		w.FText(name, s)
	}
}

// FOrNull is a member with a string, null for an empty one.
func (w *Writer) FOrNull(name, s string) {
	w.Key(name)
	if s == "" {
		w.Raw(nil)
	} else {
		w.Text(s)
	}
}

// FInt is a member with a whole number.
func (w *Writer) FInt(name string, n int64) { w.Key(name); w.Int(n) }

// FBool is a member with true or false.
func (w *Writer) FBool(name string, b bool) { w.Key(name); w.Bool(b) }

// FRaw is a member with JSON made elsewhere; nothing means null.
func (w *Writer) FRaw(name string, b []byte) { w.Key(name); w.Raw(b) }

// OptInt is a member unless nil.
func (w *Writer) OptInt(name string, n *int64) {
	if n != nil {
		w.FInt(name, *n)
	}
}

// OptNum is a member unless nil.
func (w *Writer) OptNum(name string, n *float64) {
	if n != nil {
		w.Key(name)
		w.Num(*n)
	}
}

// OptBool is a member unless nil.
func (w *Writer) OptBool(name string, b *bool) {
	if b != nil {
		w.FBool(name, *b)
	}
}

// OptRaw is a member unless empty.
func (w *Writer) OptRaw(name string, b []byte) {
	if len(b) > 0 {
		w.FRaw(name, b)
	}
}

// OptTexts is a member with a list of strings unless there is none.
func (w *Writer) OptTexts(name string, list []string) {
	if len(list) == 0 {
		return
	}
	w.Key(name)
	w.List()
	for _, s := range list {
		w.Text(s)
	}
	w.EndList()
}

const hex = "0123456789abcdef"

// AppendText appends s as a JSON string. Bytes that are no UTF-8 become U+FFFD.
func AppendText(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(append(b, s[from:i]...), "\uFFFD"...)
				from = i + 1
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\t':
			b = append(b, '\\', 't')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	return append(append(b, s[from:]...), '"')
}
