package front

import (
	"bytes"
	"net/http"
	"net/textproto"
	"strings"
)

// verdict is what is to be done with what was read.
type verdict uint8

const (
	incomplete verdict = iota // so far a request of the hot path; more is needed to know
	ours                      // a whole head of the hot path
	theirs                    // net/http's
)

// head is what a request says before its body. Its header's memory is used again for the next one.
type head struct {
	path   string
	host   string
	length int64 // of the body
	close  bool  // the client wants the connection closed
	size   int   // bytes of the head
	header http.Header
	text   string   // that the header was read from, without the request line; empty: none, or the text is at fault
	values []string // behind the lists of the header, one each
}

const (
	maxHead   = 16 << 10 // larger ones are net/http's to read or refuse
	maxFields = 100
	maxDigits = 15 // of a length
)

// scan looks for the end of a head that begins b, from where the last call stopped looking.
func (h *head) scan(b []byte, lines [][]byte, paths []string) verdict {
	if h.size == 0 {
		v, i := requestLine(b, lines)
		if v != ours {
			return v
		}
		h.path, h.size = paths[i], len(lines[i])
	}
	for {
		i := bytes.IndexByte(b[h.size:], '\n')
		switch {
		case i < 0 && len(b) >= maxHead:
			return theirs
		case i < 0:
			return incomplete
		case i == 0 || b[h.size+i-1] != '\r':
			return theirs
		}
		if h.size += i + 1; i == 1 {
			return ours
		}
	}
}

// requestLine says which of the lines b begins with.
func requestLine(b []byte, lines [][]byte) (verdict, int) {
	v := theirs
	for i, l := range lines {
		if bytes.HasPrefix(b, l) {
			return ours, i
		}
		if bytes.HasPrefix(l, b) {
			v = incomplete
		}
	}
	return v, 0
}

// parse reads the fields of a whole head without its request line; false if net/http must judge it.
func (h *head) parse(text string) bool {
	if h.header == nil {
		h.header = make(http.Header, 16)
	}
	clear(h.header)
	whole := text
	h.text, h.host, h.length, h.close, h.values = "", "", -1, false, h.values[:0]
	for fields := 0; len(text) > 2; fields++ {
		end := strings.IndexByte(text, '\r')
		colon := strings.IndexByte(text[:end], ':')
		if colon <= 0 || text[end+1] != '\n' || fields == maxFields {
			return false
		}
		name, ok := canonical(text[:colon])
		value := text[colon+1 : end]
		for value != "" && (value[0] == ' ' || value[0] == '\t') {
			value = value[1:]
		}
		for value != "" && (value[len(value)-1] == ' ' || value[len(value)-1] == '\t') {
			value = value[:len(value)-1]
		}
		if !ok || !plain(value) || !h.take(name, value) {
			return false
		}
		text = text[end+2:]
	}
	if h.host == "" || h.length < 0 {
		return false
	}
	h.text = whole
	return true
}

// take keeps a field; false for one that changes how the request is to be read.
func (h *head) take(name, value string) bool {
	switch name {
	case "Host": // net/http keeps it out of the header too
		ok := h.host == "" && value != "" && hostBytes(value)
		h.host = value
		return ok
	case "Content-Length":
		n, ok := number(value)
		if !ok || h.length >= 0 {
			return false
		}
		h.length = n
	case "Connection":
		switch {
		case strings.EqualFold(value, "close"):
			h.close = true
		case !strings.EqualFold(value, "keep-alive"):
			return false
		}
	case "Transfer-Encoding", "Expect", "Upgrade", "Trailer", "Te", "Http2-Settings", "Pragma":
		return false
	}
	if before, again := h.header[name]; again {
		h.header[name] = append(before, value)
		return true
	}
	h.values = append(h.values, value)
	n := len(h.values)
	h.header[name] = h.values[n-1 : n : n]
	return true
}

// hostBytes says whether a Host holds nothing that net/http refuses or that could be read as more than host and port.
func hostBytes(s string) bool {
	for i := range len(s) {
		if !hostByte[s[i]] {
			return false
		}
	}
	return true
}

// hostByte are the bytes of host and port (RFC 3986, section 3.2.2), but no % and no user's @.
var hostByte = func() (t [256]bool) {
	for _, c := range []byte("!$&'()*+,-.:;=[]_~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()

// number reads digits and nothing else.
func number(s string) (int64, bool) {
	if s == "" || len(s) > maxDigits {
		return 0, false
	}
	n := int64(0)
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// canonical is the form that names have in an http.Header; false for what is no name. It allocates only for names in
// another form that the standard library has no constant for.
func canonical(name string) (string, bool) {
	upper, same := true, true
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z':
			same = same && !upper
		case 'A' <= c && c <= 'Z':
			same = same && upper
		case !nameByte[c]:
			return "", false
		}
		upper = c == '-'
	}
	if same {
		return name, true
	}
	return textproto.CanonicalMIMEHeaderKey(name), true
}

// nameByte are the bytes of names besides letters (RFC 9110, section 5.6.2).
var nameByte = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789") {
		t[c] = true
	}
	return t
}()

// plain says whether a value holds no control character but tabs.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
