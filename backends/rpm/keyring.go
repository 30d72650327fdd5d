package rpm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// Keyring is the public keys that signatures are verified with. A nil Keyring has
// none.
type Keyring struct{ entities openpgp.EntityList }

// ParseKeyring reads OpenPGP public keys, each of files being any number of keys,
// armored or not.
func ParseKeyring(files ...[]byte) (*Keyring, error) {
	k := &Keyring{}
	for _, b := range files {
		if err := k.add(b); err != nil {
			return nil, fmt.Errorf("read keyring: %w", err)
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

// find returns the keys and subkeys with an ID, of which one may exist by accident
// or design more than once.
func (k *Keyring) find(id uint64) []openpgp.Key {
	if k == nil {
		return nil
	}
	return k.entities.KeysById(id)
}
