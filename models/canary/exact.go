package canary

import "math"

// binomialAtLeast is P(X >= k) of a binomial X of n trials at p: the regularised incomplete beta function I_p(k, n-k+1)
// (NIST Digital Library of Mathematical Functions, 8.17.5).
func binomialAtLeast(k, n int64, p float64) float64 {
	switch {
	case k <= 0:
		return 1
	case k > n || p <= 0:
		return 0
	case p >= 1:
		return 1
	}
	return beta(p, float64(k), float64(n-k+1))
}

// beta is I_x(a, b) by its continued fraction (DLMF 8.17.22) on the side where it converges fast: in so many terms as the
// square root of the larger parameter (W. H. Press and others, Numerical Recipes, 2007, section 6.4). It is evaluated from its
// tail.
func beta(x, a, b float64) float64 {
	if x > (a+1)/(a+b+2) {
		return 1 - beta(1-x, b, a)
	}
	f := 1.0
	for m := 100 + int(10*math.Sqrt(max(a, b))); m >= 1; m-- {
		k := float64(m / 2)
		term := k * (b - k) * x / ((a + 2*k - 1) * (a + 2*k))
		if m%2 == 1 {
			term = -(a + k) * (a + b + k) * x / ((a + 2*k) * (a + 2*k + 1))
		}
		f = 1 + term/f
	}
	front := math.Exp(a*math.Log(x) + b*math.Log1p(-x) + lgamma(a+b) - lgamma(a) - lgamma(b))
	return min(max(front/(a*f), 0), 1)
}

func lgamma(x float64) float64 {
	v, _ := math.Lgamma(x)
	return v
}

// fisher is the probability that of a+b bad ones among m+n at least a are among the m, if which ones are bad has nothing to do
// with the side: the upper tail of the hypergeometric distribution.
func fisher(a, m, b, n int64) float64 {
	bad, all := a+b, m+n
	if a <= 0 || m <= 0 || n < 0 || b < 0 || a > m || b > n {
		return 1
	}
	term := math.Exp(choose(m, a) + choose(n, bad-a) - choose(all, bad))
	sum := term
	for k := a; k < min(m, bad) && term > 0; k++ {
		// the ratio of one term to the one before
		ratio := float64(m-k) * float64(bad-k) / (float64(k+1) * float64(n-bad+k+1))
		if term *= ratio; term < sum*1e-15 && ratio < 1 {
			break
		}
		sum += term
	}
	return min(sum, 1)
}

// choose is the logarithm of a binomial coefficient.
func choose(n, k int64) float64 {
	return lgamma(float64(n+1)) - lgamma(float64(k+1)) - lgamma(float64(n-k+1))
}
