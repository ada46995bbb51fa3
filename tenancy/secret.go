package tenancy

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
)

// SecretPrefix begins every API key's secret, so that scanners and people recognise one.
const SecretPrefix = "tri_"

// NewSecret draws 32 bytes from rand and returns the secret, "tri_" and their 43 characters of base64url, with its
// SHA-256. A secret of 256 random bits needs no slow hash.
func NewSecret(rand io.Reader) (secret string, hash [32]byte, err error) {
	var b [32]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", hash, fmt.Errorf("reading randomness for a key: %w", err)
	}
	secret = SecretPrefix + base64.RawURLEncoding.EncodeToString(b[:])
	return secret, sha256.Sum256([]byte(secret)), nil
}

// Hint is what may be shown of a secret: its last four characters.
func Hint(secret string) string { return "..." + secret[len(secret)-4:] }
