package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
)

var errNoKeys = errors.New("there is no key that may sign it; give one with --keyring")

// verifyClear returns what is signed of an InRelease file, and by whom. Nothing may
// be in the file that is not signed (RFC 9580, 7).
func verifyClear(k *trust.Keyring, b []byte) (text []byte, signer string, err error) {
	if k.Len() == 0 {
		return nil, "", errNoKeys
	}
	block, rest := clearsign.Decode(b)
	if block == nil || !bytes.HasPrefix(b, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) || len(bytes.TrimSpace(rest)) > 0 {
		return nil, "", errors.New("it is not clear-signed, or has more in it than what is")
	}
	signature, err := backends.ReadAll(block.ArmoredSignature.Body, maxRelease)
	if err != nil {
		return nil, "", fmt.Errorf("its signature is damaged: %v", err)
	}
	signer, err = verify(k, block.Bytes, signature)
	return block.Plaintext, signer, err
}

// verifyDetached verifies a Release file by its Release.gpg, armored or not, and
// returns who signed it.
func verifyDetached(k *trust.Keyring, text, signature []byte) (signer string, err error) {
	if k.Len() == 0 {
		return "", errNoKeys
	}
	if len(signature) > 0 && signature[0] < 0x80 {
		if signature, err = dearmor(signature); err != nil {
			return "", fmt.Errorf("its signature is damaged: %v", err)
		}
	}
	return verify(k, text, signature)
}

// verify returns who made a signature. Of several, that of any key will do, as with
// apt: archives sign with the old and the new key for some time.
func verify(k *trust.Keyring, text, signatures []byte) (signer string, err error) {
	r := packet.NewReader(bytes.NewReader(signatures))
	unknown := ""
	for n := 0; ; n++ {
		p, rerr := r.Next()
		s, ok := p.(*packet.Signature)
		switch {
		case rerr == io.EOF && n > 0 && err == nil:
			return "", fmt.Errorf("it is signed with a key that is not known:%s", unknown)
		case rerr == io.EOF && n > 0:
			return "", fmt.Errorf("its signature is not good: %v", err)
		case rerr != nil || !ok || n == maxSignatures:
			return "", errors.New("its signature is damaged")
		}
		var one bytes.Buffer
		if err := s.Serialize(&one); err != nil {
			return "", fmt.Errorf("its signature is damaged: %v", err)
		}
		_, entity, verr := openpgp.VerifyDetachedSignature(k.Entities(), bytes.NewReader(text), &one, nil)
		switch {
		case verr == nil:
			return signerName(entity, s), nil
		case !errors.Is(verr, pgperrors.ErrUnknownIssuer):
			err = verr
		case s.IssuerKeyId != nil:
			unknown += fmt.Sprintf(" %016x", *s.IssuerKeyId)
		}
	}
}

// maxSignatures is how many signatures a file may have; Debian's have three.
const maxSignatures = 16

// signerName names the user and the key that has signed.
func signerName(entity *openpgp.Entity, s *packet.Signature) string {
	id, user := entity.PrimaryKey.KeyId, ""
	if s.IssuerKeyId != nil {
		id = *s.IssuerKeyId
	}
	if u := entity.PrimaryIdentity(); u != nil {
		user = u.Name
	}
	return trust.SignerName(user, fmt.Sprintf("%016x", id))
}

func dearmor(b []byte) ([]byte, error) {
	block, err := armor.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return backends.ReadAll(block.Body, maxRelease)
}
