# Reads `go test -v` over many packages and prints what `go test` prints without -v: one line a package, and all output
# of a package that failed. A skipped test is named and ends with status 1, unless TRIARCH_ALLOW_SKIP=1.
{ lines[n++] = $0 }
/^ *--- SKIP/ { skipped[skips++] = $0; here++ }
/^(ok|FAIL|\?) *\t/ {
	if ($1 == "FAIL") {
		for (i = 0; i < n; i++) print lines[i]
	} else {
		for (i = skips - here; i < skips; i++) print skipped[i]
		print
	}
	fflush()
	n = here = 0
}
END {
	for (i = 0; i < n; i++) print lines[i] # of no package: the last FAIL, complaints of go itself
	if (skips > 0 && ENVIRON["TRIARCH_ALLOW_SKIP"] != "1") {
		printf "FAIL\t%d tests were skipped; .ci/run installs what they need, TRIARCH_ALLOW_SKIP=1 leaves them out\n", skips
		exit 1
	}
}
