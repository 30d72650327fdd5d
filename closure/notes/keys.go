package notes

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Key is a key that signs.
type Key struct {
	signer note.Signer
	public string
}

// Generate makes a key and returns its secret form, one line without its end. The name is what people
// know the key by: it has no space and no plus sign.
func Generate(name string) (secret string, err error) {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '+' || r == 0x7f }) {
		return "", fmt.Errorf("%q is no name of a key: it may have no space and no plus sign", name)
	}
	secret, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return "", fmt.Errorf("generate key: %w", err)
	}
	if _, err := note.NewVerifier(public); err != nil { // other kinds of spaces
		return "", fmt.Errorf("%q is no name of a key: %v", name, err)
	}
	return secret, nil
}

// ParseKey reads what Generate returned, with or without a line feed.
func ParseKey(secret []byte) (*Key, error) {
	text := strings.TrimSuffix(string(secret), "\n")
	signer, err := note.NewSigner(text)
	if err != nil {
		return nil, errors.New("it is no key that signs closure manifests")
	}
	parts := strings.SplitN(text, "+", 5) // PRIVATE+KEY+NAME+HASH+SEED
	seed, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return nil, errors.New("it is no key that signs closure manifests")
	}
	public, ok := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("it is no key of ed25519")
	}
	encoded := base64.StdEncoding.EncodeToString(append([]byte{seed[0]}, public...))
	return &Key{signer, fmt.Sprintf("%s+%08x+%s", signer.Name(), signer.KeyHash(), encoded)}, nil
}

// Name returns what people know the key by.
func (k *Key) Name() string { return k.signer.Name() }

// Public returns the key that verifies what this one signs: "NAME+HASH+KEY", as others are given it.
func (k *Key) Public() string { return k.public }

// Trust says whose signatures count, and how many are needed. The zero value trusts nobody.
type Trust struct {
	verifiers []note.Verifier
	threshold int
}

// NewTrust returns trust in public keys, of which threshold have to sign; 0 for one. A key that is given
// twice, under whatever names, is an error, for it would count twice; so is a threshold that cannot be
// reached.
func NewTrust(keys []string, threshold int) (*Trust, error) {
	t := &Trust{threshold: max(threshold, 1)}
	var seen [][]byte
	for _, k := range keys {
		v, err := note.NewVerifier(k)
		if err != nil {
			return nil, fmt.Errorf("%q is no key that verifies closure manifests: expected NAME+HASH+KEY, as hashpkg key show prints it", k)
		}
		parts := strings.SplitN(k, "+", 3)
		b, err := base64.StdEncoding.DecodeString(parts[2])
		if err != nil {
			return nil, fmt.Errorf("%q is no key: %w", k, err)
		}
		for _, s := range seen {
			if bytes.Equal(s, b) {
				return nil, fmt.Errorf("the key of %s is there twice, and counts once", v.Name())
			}
		}
		seen, t.verifiers = append(seen, b), append(t.verifiers, v)
	}
	if threshold < 0 || len(keys) > 0 && t.threshold > len(keys) {
		return nil, fmt.Errorf("%d signatures are needed, and %d keys are trusted", threshold, len(keys))
	}
	return t, nil
}

// Any reports whether anybody is trusted.
func (t *Trust) Any() bool { return t != nil && len(t.verifiers) > 0 }
