package testrepo

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // of old signatures
	"io"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// KeyTime is when the keys of [NewKey] were made.
var KeyTime = time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)

// NewKey makes a key of this name. life is for how long it may sign; 0 for ever.
func NewKey(tb testing.TB, name string, life time.Duration) *openpgp.Entity {
	tb.Helper()
	key, err := openpgp.NewEntity(name, "", name+"@example.org", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return KeyTime }, KeyLifetimeSecs: uint32(life / time.Second),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// PublicKeys returns what a file of keys has of some keys.
func PublicKeys(tb testing.TB, keys ...*openpgp.Entity) string {
	tb.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for _, k := range keys {
		if err := k.Serialize(w); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.String() + "\n"
}

// signing returns how to sign at a time, with a hash.
func signing(hash crypto.Hash, at time.Time) *packet.Config {
	salted := false // which SHA-1 could not be
	return &packet.Config{DefaultHash: hash, Time: func() time.Time { return at }, NonDeterministicSignaturesViaNotation: &salted}
}

func clearSign(tb testing.TB, text string, key *openpgp.Entity, config *packet.Config) string {
	tb.Helper()
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, key.PrivateKey, config)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.String() + "\n"
}

// Detached signs a text, as it is in a file of its own. Unlike the functions of openpgp
// it signs with SHA-1 as well.
func Detached(tb testing.TB, text string, key *openpgp.Entity, hash crypto.Hash, at time.Time) string {
	tb.Helper()
	config := signing(hash, at)
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.SignatureType, nil)
	if err != nil {
		tb.Fatal(err)
	}
	signature := &packet.Signature{
		SigType: packet.SigTypeBinary, PubKeyAlgo: key.PrivateKey.PubKeyAlgo, Hash: config.DefaultHash,
		CreationTime: config.Now(), IssuerKeyId: &key.PrivateKey.KeyId,
	}
	h := config.DefaultHash.New()
	h.Write([]byte(text))
	if err := signature.Sign(h, key.PrivateKey, config); err != nil {
		tb.Fatal(err)
	}
	if err := signature.Serialize(w); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.String() + "\n"
}
