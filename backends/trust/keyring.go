package trust

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Keyring is public keys that may sign. A nil Keyring has none. It does not change
// once it is made, so that several goroutines may use it.
type Keyring struct{ entities openpgp.EntityList }

// ParseKeyring reads OpenPGP public keys, each of files being any number of keys,
// armored or not (RFC 9580, 10.1 and 6).
func ParseKeyring(files ...[]byte) (*Keyring, error) {
	k := &Keyring{}
	for _, b := range files {
		if err := k.add(b); err != nil {
			return nil, fmt.Errorf("read keyring: these are no keys of OpenPGP (%w)", err)
		}
	}
	return k, nil
}

// Len returns the number of keys, of which each may have subkeys.
func (k *Keyring) Len() int {
	if k == nil {
		return 0
	}
	return len(k.entities)
}

// Entities returns the keys, each with its users and subkeys.
func (k *Keyring) Entities() openpgp.EntityList {
	if k == nil {
		return nil
	}
	return k.entities
}

func (k *Keyring) add(b []byte) error {
	isArmored := len(b) > 0 && b[0] < 0x80 // a packet begins with the highest bit set (RFC 9580, 4.2)
	if !isArmored {
		return k.addPackets(bytes.NewReader(b))
	}
	text := bufio.NewReader(bytes.NewReader(b))
	for found := false; ; found = true {
		block, err := armor.Decode(text)
		if err == io.EOF && found {
			return nil
		}
		if err == io.EOF {
			return errors.New("there is no OpenPGP key in it")
		}
		if err != nil {
			return err
		}
		if block.Type != openpgp.PublicKeyType {
			return fmt.Errorf("it has a %q, and not a public key", block.Type)
		}
		if err := k.addPackets(block.Body); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, block.Body); err != nil {
			return err
		}
	}
}

func (k *Keyring) addPackets(r io.Reader) error {
	entities, err := openpgp.ReadKeyRing(r)
	if err != nil {
		return err
	}
	if len(entities) == 0 {
		return errors.New("there is no OpenPGP key in it")
	}
	k.entities = append(k.entities, entities...)
	return nil
}

// ByID returns the keys and subkeys with an ID, of which one may exist by accident
// or design more than once.
func (k *Keyring) ByID(id uint64) []openpgp.Key {
	if k == nil {
		return nil
	}
	return k.entities.KeysById(id)
}

// With returns a keyring with the keys of k and of others.
func (k *Keyring) With(others ...*Keyring) *Keyring {
	all := &Keyring{entities: slices.Clone(k.Entities())}
	for _, o := range others {
		all.entities = append(all.entities, o.Entities()...)
	}
	return all
}

// WithFingerprint returns the keys that have a fingerprint, or a subkey that has it,
// in hexadecimal digits. An exclamation mark after it, by which GnuPG means this key
// and no subkey, does not matter.
func (k *Keyring) WithFingerprint(fingerprint string) *Keyring {
	fingerprint = strings.ToLower(strings.TrimSuffix(fingerprint, "!"))
	found := &Keyring{}
	for _, e := range k.Entities() {
		is := func(key *packet.PublicKey) bool { return fmt.Sprintf("%x", key.Fingerprint) == fingerprint }
		if is(e.PrimaryKey) || slices.ContainsFunc(e.Subkeys, func(s openpgp.Subkey) bool { return is(s.PublicKey) }) {
			found.entities = append(found.entities, e)
		}
	}
	return found
}

// SignerName returns how a signature's maker is named to people and in records: the
// user, if the key has one, and the number of the key that made the signature.
func SignerName(user, keyID string) string {
	if user == "" {
		return "key " + keyID
	}
	return fmt.Sprintf("%s (key %s)", user, keyID)
}
