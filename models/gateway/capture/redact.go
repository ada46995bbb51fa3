package capture

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Class is one kind of what is taken out of texts before they are kept. A finding is replaced by the class's name in
// brackets, so that what is left still reads.
type Class string

// Classes, as consents name them.
const (
	Email  Class = "email"
	Phone  Class = "phone"  // international and grouped numbers of 7 to 15 digits
	Card   Class = "card"   // payment cards: 13 to 19 digits with a valid Luhn sum (ISO/IEC 7812-1)
	IBAN   Class = "iban"   // bank accounts whose check digits are right (ISO 13616, mod 97)
	Person Class = "person" // numbers of identity: US social security, China's GB 11643-1999 with its check digit
	IP     Class = "ip"     // addresses of version 4 and 6 that are not loopback or unspecified
	Secret Class = "secret" // keys and tokens by the forms their makers give them, PEM private keys, passwords in URLs
	Media  Class = "media"  // images, sound and files that are inlined as base64
)

// Classes are all of them, in the order they are looked for: what is longest and surest first.
var Classes = []Class{Media, Secret, Email, IBAN, Card, Person, IP, Phone}

// finder finds one class. Go's expressions run in time linear in the text, so no text makes them slow.
type finder struct {
	class Class
	find  *regexp.Regexp
	valid func(match string) bool // nil: each match counts
	plain bool                    // a match within a word or number does not count
}

var finders = []finder{
	{class: Media, find: regexp.MustCompile(`data:[\w.+-]{1,64}/[\w.+-]{1,64}(?:;[\w=.+-]{1,64}){0,4};base64,[A-Za-z0-9+/=_-]*`)},
	{class: Secret, find: regexp.MustCompile(`(?s)-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|$)`)},
	{class: Secret, plain: true, find: regexp.MustCompile(`(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}|tri_[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`)},
	{class: Secret, find: regexp.MustCompile(`(?i)\bbearer\s+[A-Za-z0-9._~+/=-]{16,}`)},
	{class: Secret, find: regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s/:@"']+:[^\s/@"']+@`)},
	{class: Email, find: regexp.MustCompile(`[\p{Latin}\p{Cyrillic}\p{Greek}\p{N}._%+'-]{1,64}@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?\.){1,8}\p{L}{2,24}`)},
	{class: IBAN, plain: true, find: regexp.MustCompile(`[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?`), valid: validIBAN},
	{class: Card, plain: true, find: regexp.MustCompile(`\d(?:[ -]?\d){12,18}`), valid: validCard},
	{class: Person, plain: true, find: regexp.MustCompile(`\d{17}[\dXx]`), valid: validResident},
	{class: Person, plain: true, find: regexp.MustCompile(`\d{3}-\d{2}-\d{4}`), valid: validSocial},
	{class: IP, plain: true, find: regexp.MustCompile(`\d{1,3}(?:\.\d{1,3}){3}`), valid: validIP},
	{class: IP, plain: true, find: regexp.MustCompile(`[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\.\d{1,3}){0,3}`), valid: validIP},
	{class: Phone, plain: true, find: regexp.MustCompile(`\+\d[\d ().-]{5,22}\d|\(?\d{2,5}\)?[ .-]\d{2,5}[ .-]\d{2,6}(?:[ .-]\d{1,6})?|1[3-9]\d{9}`), valid: validPhone},
}

// Text takes the classes out of a text, and says how many findings of each there were.
func Text(s string, classes []Class, found map[Class]int) string {
	for i := range finders {
		f := &finders[i]
		if slices.Contains(classes, f.class) {
			s = f.replace(s, found)
		}
	}
	return s
}

func (f *finder) replace(s string, found map[Class]int) string {
	spans := f.find.FindAllStringIndex(s, -1)
	if spans == nil {
		return s
	}
	var b strings.Builder
	last := 0
	for _, at := range spans {
		if f.plain && (wordBefore(s, at[0]) || wordAfter(s, at[1])) || f.valid != nil && !f.valid(s[at[0]:at[1]]) {
			continue
		}
		b.WriteString(s[last:at[0]])
		if f.class == Media {
			fmt.Fprintf(&b, "[media of %d characters]", at[1]-at[0])
		} else {
			b.WriteString("[" + string(f.class) + "]")
		}
		last = at[1]
		found[f.class]++
	}
	b.WriteString(s[last:])
	return b.String()
}

// wordBefore says whether the byte before i belongs to the same word or number.
func wordBefore(s string, i int) bool {
	r, _ := utf8.DecodeLastRuneInString(s[:i])
	return i > 0 && (r < 0x3000 && unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_')
}

// wordAfter says the same of what follows. Scripts that are written without spaces begin no word.
func wordAfter(s string, i int) bool {
	r, _ := utf8.DecodeRuneInString(s[i:])
	return i < len(s) && (r < 0x3000 && unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_')
}

func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, s)
}

func validCard(s string) bool {
	d := digits(s)
	sum := 0
	for i := range len(d) {
		n := int(d[len(d)-1-i] - '0')
		if i%2 == 1 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	return sum%10 == 0 && strings.Trim(d, d[:1]) != ""
}

func validIBAN(s string) bool {
	s = strings.ReplaceAll(s, " ", "")
	if len(s) < 15 || len(s) > 34 {
		return false
	}
	rest := 0
	for _, c := range []byte(s[4:] + s[:4]) {
		if c >= 'A' {
			rest = (rest*100 + int(c-'A') + 10) % 97
		} else {
			rest = (rest*10 + int(c-'0')) % 97
		}
	}
	return rest == 1
}

// validResident knows a resident's number by its birth date and its check digit.
func validResident(s string) bool {
	weights := [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}
	sum := 0
	for i, w := range weights {
		sum += w * int(s[i]-'0')
	}
	month, day := s[10:12], s[12:14]
	return (s[6:8] == "18" || s[6:8] == "19" || s[6:8] == "20") && month >= "01" && month <= "12" && day >= "01" && day <= "31" && "10X98765432"[sum%11] == strings.ToUpper(s[17:])[0]
}

func validSocial(s string) bool {
	return s[:3] != "000" && s[:3] != "666" && s[0] != '9' && s[4:6] != "00" && s[7:] != "0000"
}

func validIP(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && !a.IsLoopback() && !a.IsUnspecified()
}

func validPhone(s string) bool {
	n := len(digits(s))
	return n >= 7 && n <= 15 && !isDate.MatchString(s)
}

// isDate knows what looks like a grouped number and is a date.
var isDate = regexp.MustCompile(`^(?:(?:19|20)\d\d[ .-]\d{1,2}[ .-]\d{1,2}|\d{1,2}[ .-]\d{1,2}[ .-](?:19|20)\d\d)$`)

var errForm = errors.New("capture: the text is no JSON value")

// JSON takes the classes out of all strings of a JSON value, names of members too, and leaves every other byte alone.
func JSON(body []byte, classes []Class, found map[Class]int) ([]byte, error) {
	if !json.Valid(body) {
		return nil, errForm
	}
	out := make([]byte, 0, len(body))
	for i := 0; i < len(body); {
		q := bytes.IndexByte(body[i:], '"')
		if q < 0 {
			return append(out, body[i:]...), nil
		}
		out = append(out, body[i:i+q]...)
		end := i + q + 1
		for body[end] != '"' { // a valid value closes its strings
			if body[end] == '\\' {
				end++
			}
			end++
		}
		out = append(out, quoted(body[i+q:end+1], classes, found)...)
		i = end + 1
	}
	return out, nil
}

// minMedia is the shortest text that is taken for a file without a data URL around it.
const minMedia = 512

func quoted(q []byte, classes []Class, found map[Class]int) []byte {
	var s string
	if json.Unmarshal(q, &s) != nil {
		return q
	}
	var clean string
	if len(s) >= minMedia && slices.Contains(classes, Media) && isBase64(s) {
		found[Media]++
		clean = fmt.Sprintf("[media of %d characters]", len(s))
	} else if clean = Text(s, classes, found); clean == s {
		return q
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(clean) != nil {
		return []byte(`""`)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// isBase64 says whether a long text is nothing but base64, as files in requests are.
func isBase64(s string) bool {
	s = strings.TrimRight(s, "=")
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if _, err := e.DecodeString(s); err == nil {
			return true
		}
	}
	return false
}
