package grammar

import (
	"math/big"
	"strings"
)

// Numbers without bounds have at most so many digits, so that every reader keeps them apart as float64 and a model
// that writes digit after digit comes to an end.
const (
	freeDigits   = 15
	freeDecimals = 6 // more than the bounds have
)

const (
	freeInteger = `(?:0|-?[1-9][0-9]{0,14})`
	freeNumber  = `-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?(?:[eE][+-]?[0-9]{1,2})?`
)

// limits are bounds of a number; nil is none.
type limits struct {
	low, high                 *big.Rat
	lowExcluded, highExcluded bool
}

func (l *limits) raise(r *big.Rat, excluded bool) {
	if l.low == nil || r.Cmp(l.low) > 0 || r.Cmp(l.low) == 0 && excluded {
		l.low, l.lowExcluded = r, excluded
	}
}

func (l *limits) lower(r *big.Rat, excluded bool) {
	if l.high == nil || r.Cmp(l.high) < 0 || r.Cmp(l.high) == 0 && excluded {
		l.high, l.highExcluded = r, excluded
	}
}

func (l *limits) free() bool { return l.low == nil && l.high == nil }

func (l *limits) holds(r *big.Rat) bool {
	if l.low != nil && (r.Cmp(l.low) < 0 || l.lowExcluded && r.Cmp(l.low) == 0) {
		return false
	}
	return l.high == nil || r.Cmp(l.high) < 0 || !l.highExcluded && r.Cmp(l.high) == 0
}

func power(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// floor is the greatest integer not above r.
func floor(r *big.Rat) *big.Int {
	return new(big.Int).Div(r.Num(), r.Denom()) // Euclidean; denominators are positive
}

// integers is an expression for the integers within the bounds, or "" if there are none.
func (l *limits) integers() string {
	if l.free() {
		return freeInteger
	}
	one, span := big.NewInt(1), power(freeDigits)
	var low, high *big.Int
	if l.low != nil {
		low = floor(l.low)
		if !l.low.IsInt() || l.lowExcluded {
			low.Add(low, one)
		}
	}
	if l.high != nil {
		high = floor(l.high)
		if l.high.IsInt() && l.highExcluded {
			high.Sub(high, one)
		}
	}
	most := new(big.Int).Sub(span, one)
	if low == nil {
		low = new(big.Int).Neg(most)
		if high.Cmp(low) < 0 {
			low = new(big.Int).Sub(high, span)
		}
	}
	if high == nil {
		high = most
		if low.Cmp(high) > 0 {
			high = new(big.Int).Add(low, span)
		}
	}
	return between(low, high)
}

// between is an expression for the integers from low to high, or "" if there are none.
func between(low, high *big.Int) string {
	if low.Cmp(high) > 0 {
		return ""
	}
	var parts []string
	if low.Sign() < 0 {
		top := new(big.Int).Neg(high)
		if top.Sign() <= 0 {
			top = big.NewInt(1)
		}
		parts = append(parts, "-"+naturals(top, new(big.Int).Neg(low)))
	}
	if high.Sign() >= 0 {
		bottom := low
		if low.Sign() < 0 {
			bottom = new(big.Int)
		}
		parts = append(parts, naturals(bottom, high))
	}
	return "(?:" + strings.Join(parts, "|") + ")"
}

// naturals is an expression for the integers from low to high, neither negative, low not above high.
func naturals(low, high *big.Int) string {
	var parts []string
	x, y := low.String(), high.String()
	for n := len(x); n <= len(y); n++ {
		from, to := x, y
		if n > len(x) {
			from = "1" + strings.Repeat("0", n-1)
		}
		if n < len(y) {
			to = strings.Repeat("9", n)
		}
		parts = append(parts, digits(from, to))
	}
	return "(?:" + strings.Join(parts, "|") + ")"
}

// digits is an expression for the texts of digits from x to y, which are as long as each other.
func digits(x, y string) string {
	if x == "" {
		return ""
	}
	same := 0
	for same < len(x) && x[same] == y[same] {
		same++
	}
	if same > 0 {
		return x[:same] + digits(x[same:], y[same:])
	}
	n := len(x) - 1
	low, high := strings.Repeat("0", n), strings.Repeat("9", n)
	var parts []string
	a, b := x[0], y[0]
	if x[1:] != low {
		parts = append(parts, string(x[0])+digits(x[1:], high))
		a++
	}
	if y[1:] != high {
		parts = append(parts, string(y[0])+digits(low, y[1:]))
		b--
	}
	if a <= b {
		parts = append(parts, "["+string(a)+"-"+string(b)+"]"+strings.Repeat("[0-9]", n))
	}
	return "(?:" + strings.Join(parts, "|") + ")"
}

// decimals is an expression for the numbers within the bounds, or "" if there are none or they are too long.
func (l *limits) decimals() string {
	if l.free() {
		return freeNumber
	}
	low, high := l.low, l.high
	span := new(big.Rat).SetInt(power(freeDigits))
	if low == nil {
		low = new(big.Rat).Neg(span)
		if high.Cmp(low) <= 0 {
			low = new(big.Rat).Sub(high, span)
		}
	}
	if high == nil {
		high = new(big.Rat).Set(span)
		if low.Cmp(high) >= 0 {
			high = new(big.Rat).Add(low, span)
		}
	}
	var parts []string
	if low.Sign() < 0 {
		from, excluded := new(big.Rat).Neg(high), l.highExcluded
		if from.Sign() < 0 {
			from, excluded = new(big.Rat), false
		}
		if from.Sign() == 0 { // -0 is left out: it may be excluded
			excluded = true
		}
		if p := positives(from, new(big.Rat).Neg(low), excluded, l.lowExcluded); p != "" {
			parts = append(parts, "-"+p)
		}
	}
	if high.Sign() >= 0 {
		from, excluded := low, l.lowExcluded
		if low.Sign() < 0 {
			from, excluded = new(big.Rat), false
		}
		if p := positives(from, high, excluded, l.highExcluded); p != "" {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "(?:" + strings.Join(parts, "|") + ")"
}

// positives is an expression for the numbers from low to high, neither negative.
func positives(low, high *big.Rat, lowExcluded, highExcluded bool) string {
	c := low.Cmp(high)
	if c > 0 || c == 0 && (lowExcluded || highExcluded) {
		return ""
	}
	lowInt, lowFrac, ok1 := decimal(low)
	highInt, highFrac, ok2 := decimal(high)
	if !ok1 || !ok2 {
		return ""
	}
	n := max(len(lowFrac), len(highFrac)) + freeDecimals
	var parts []string
	add := func(whole string, fraction []string) {
		for _, f := range fraction {
			parts = append(parts, whole+f)
		}
	}
	if lowInt.Cmp(highInt) == 0 {
		add(lowInt.String(), fractions(lowFrac, highFrac, lowExcluded, highExcluded, true, n))
	} else {
		add(lowInt.String(), fractions(lowFrac, "", lowExcluded, false, false, n))
		one := big.NewInt(1)
		from, to := new(big.Int).Add(lowInt, one), new(big.Int).Sub(highInt, one)
		if from.Cmp(to) <= 0 {
			add(naturals(from, to), fractions("", "", false, false, false, n))
		}
		add(highInt.String(), fractions("", highFrac, false, highExcluded, true, n))
	}
	if len(parts) == 0 {
		return ""
	}
	return "(?:" + strings.Join(parts, "|") + ")"
}

// decimal cuts a number that is not negative into its integer and the digits of its fraction.
func decimal(r *big.Rat) (*big.Int, string, bool) {
	n, exact := r.FloatPrec()
	if !exact || n > 20 {
		return nil, "", false
	}
	whole, fraction, _ := strings.Cut(r.FloatString(n), ".")
	i, ok := new(big.Int).SetString(whole, 10)
	return i, fraction, ok
}

// fractions are expressions for the fractions, with their point, of at most n digits from low to high; bounded says that
// high counts. The absent fraction, as "", is 0.
func fractions(low, high string, lowExcluded, highExcluded, bounded bool, n int) []string {
	x := low + strings.Repeat("0", n-len(low))
	y := strings.Repeat("9", n)
	if bounded {
		y = high + strings.Repeat("0", n-len(high))
	}
	a, _ := new(big.Int).SetString(x, 10)
	b, _ := new(big.Int).SetString(y, 10)
	if lowExcluded {
		a.Add(a, big.NewInt(1))
	}
	if bounded && highExcluded {
		b.Sub(b, big.NewInt(1))
	}
	if a.Cmp(b) > 0 {
		return nil
	}
	pad := func(i *big.Int) string { s := i.String(); return strings.Repeat("0", n-len(s)) + s }
	var out []string
	if a.Sign() == 0 {
		out = append(out, "")
	}
	// Shorter fractions are those that zeros make as long.
	for k := n; k >= 1; k-- {
		unit := power(n - k)
		lo, rest := new(big.Int).DivMod(a, unit, new(big.Int))
		if rest.Sign() > 0 {
			lo.Add(lo, big.NewInt(1))
		}
		hi := new(big.Int).Div(b, unit)
		if lo.Cmp(hi) <= 0 {
			out = append(out, `\.`+digits(pad(lo)[n-k:], pad(hi)[n-k:]))
		}
	}
	return out
}
