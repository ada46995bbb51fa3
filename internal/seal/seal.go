// Package seal keeps secrets unreadable at rest: AES-256-GCM under the installation's key, which lies beside the data
// and not in the database.
//
// Rules for callers: Open and Seal take a purpose, such as the id of what the secret belongs to; a text sealed for one
// purpose does not open for another, so that rows of a database cannot be swapped. Never log what Open returns. Whoever
// has the key file and the database has the secrets; a lost key file makes sealed texts worthless for ever.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
)

// KeySize is the size of the key in bytes.
const KeySize = 32

// prefix tells the form of a sealed text; another form gets another one.
const prefix = "s1:"

// Box seals and opens with one key. It is safe for concurrent use.
type Box struct {
	aead cipher.AEAD
	rand io.Reader
}

// New makes a Box of a key of KeySize bytes; nonces, 96 bits each, are drawn from rand.
func New(key []byte, rand io.Reader) (*Box, error) {
	if len(key) != KeySize {
		return nil, fault.Newf(fault.Internal, "The installation's key has %d bytes and must have %d.", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fault.Wrap(err, "reading the installation's key")
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fault.Wrap(err, "reading the installation's key")
	}
	return &Box{aead, rand}, nil
}

// OpenFile makes a Box of the key in a file, 64 hexadecimal digits. With make set, a file that is not there is made,
// readable by its owner alone, and on disk before OpenFile returns.
func OpenFile(path string, make bool, rand io.Reader) (*Box, error) {
	text, err := durable.ReadSmall(path, 4096)
	if errors.Is(err, fs.ErrNotExist) && make {
		return makeFile(path, rand)
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "The file of the installation's key cannot be read.", fault.Field("secret-key"),
			fault.Fix("Restore %s, or name another one", path), fault.Cause(err))
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, fault.New(fault.Invalid, "The file of the installation's key can be read by others.", fault.Field("secret-key"),
			fault.Fix("Run chmod 600 %s", path))
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != KeySize {
		return nil, fault.New(fault.Invalid, "The file of the installation's key does not hold 64 hexadecimal digits.", fault.Field("secret-key"),
			fault.Fix("Restore %s from a backup", path))
	}
	return New(key, rand)
}

func makeFile(path string, rand io.Reader) (*Box, error) {
	key := make([]byte, KeySize)
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, fault.Wrap(err, "drawing the installation's key")
	}
	if err := durable.WriteFile(path, []byte(hex.EncodeToString(key)+"\n"), 0o600); err != nil {
		return nil, fault.Wrap(err, "writing the installation's key")
	}
	return New(key, rand)
}

// Seal returns the sealed form of a secret, which is text and about a third longer than it.
func (b *Box) Seal(purpose string, secret []byte) (string, error) {
	nonce := make([]byte, b.aead.NonceSize(), b.aead.NonceSize()+len(secret)+b.aead.Overhead())
	if _, err := io.ReadFull(b.rand, nonce); err != nil {
		return "", fault.Wrap(err, "drawing a nonce")
	}
	return prefix + base64.RawStdEncoding.EncodeToString(b.aead.Seal(nonce, nonce, secret, []byte(purpose))), nil
}

// Open returns the secret. A text that was changed, or sealed with another key or for another purpose, is a fault.
func (b *Box) Open(purpose, sealed string) ([]byte, error) {
	text, ok := strings.CutPrefix(sealed, prefix)
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if n := b.aead.NonceSize(); ok && err == nil && len(raw) >= n {
		var secret []byte
		if secret, err = b.aead.Open(nil, raw[:n], raw[n:], []byte(purpose)); err == nil {
			return secret, nil
		}
	}
	return nil, fault.New(fault.Unavailable, "A sealed secret cannot be opened with this installation's key.",
		fault.Code("sealed_elsewhere"), fault.Fix("Restore the key file it was sealed with, or set the secret anew."))
}
