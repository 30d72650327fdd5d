package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// unverified says that a Release file has no good signature, and why.
type unverified struct {
	verdict pkginfo.Verdict
	reason  string
}

func (u *unverified) Error() string { return u.reason }

func unverifiedf(verdict pkginfo.Verdict, format string, args ...any) error {
	return &unverified{verdict, fmt.Sprintf(format, args...)}
}

var (
	errNoKeys    = unverifiedf(pkginfo.NoKey, "there is no key that may sign it; give one with --keyring")
	errNotSigned = unverifiedf(pkginfo.Unsigned, "it is not signed")
)

// signedText is a Release file and its signatures.
type signedText struct {
	text       []byte // what is to be read
	signed     []byte // what is signed: the same, but for the ends of lines
	signatures []byte // packets of OpenPGP
}

// splitClear takes an InRelease file apart. Nothing may be in it that is not signed
// (RFC 9580, 7).
func splitClear(b []byte) (*signedText, error) {
	block, rest := clearsign.Decode(b)
	if block == nil || !bytes.HasPrefix(b, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) || len(bytes.TrimSpace(rest)) > 0 {
		return nil, unverifiedf(pkginfo.Bad, "it is not clear-signed, or has more in it than what is")
	}
	signatures, err := backends.ReadAll(block.ArmoredSignature.Body, maxRelease)
	if err != nil {
		return nil, unverifiedf(pkginfo.Bad, "its signature is damaged: %v", err)
	}
	return &signedText{block.Plaintext, block.Bytes, signatures}, nil
}

// joinDetached takes a Release file and its Release.gpg, armored or not.
func joinDetached(text, signatures []byte) (*signedText, error) {
	if len(signatures) > 0 && signatures[0] < 0x80 {
		var err error
		if signatures, err = dearmor(signatures); err != nil {
			return nil, unverifiedf(pkginfo.Bad, "its signature is damaged: %v", err)
		}
	}
	return &signedText{text, text, signatures}, nil
}

// verify returns who made a signature. Of several, that of any key will do, as with
// apt: archives sign with the old and the new key for some time. With anyTime a key
// that has expired will do that had not when it signed. The error is an [unverified].
func (s *signedText) verify(k *trust.Keyring, anyTime bool) (signer string, err error) {
	if k.Len() == 0 {
		return "", errNoKeys
	}
	r := packet.NewReader(bytes.NewReader(s.signatures))
	unknown := ""
	for n := 0; ; n++ {
		p, rerr := r.Next()
		signature, ok := p.(*packet.Signature)
		switch {
		case rerr == io.EOF && n > 0 && err == nil:
			return "", unverifiedf(pkginfo.NoKey, "it is signed with a key that is not known:%s", unknown)
		case rerr == io.EOF && n > 0:
			return "", unverifiedf(pkginfo.Bad, "its signature is not good: %v", err)
		case rerr != nil || !ok || n == maxSignatures:
			return "", unverifiedf(pkginfo.Bad, "its signature is damaged")
		}
		if weak := (*packet.Config)(nil).RejectMessageHashAlgorithm(signature.Hash); weak { // as with apt
			err = fmt.Errorf("it is made with %v, which proves nothing any more", signature.Hash)
			continue
		}
		var one bytes.Buffer
		if err := signature.Serialize(&one); err != nil {
			return "", unverifiedf(pkginfo.Bad, "its signature is damaged: %v", err)
		}
		var config *packet.Config
		if anyTime {
			config = &packet.Config{Time: func() time.Time { return signature.CreationTime }}
		}
		_, entity, verr := openpgp.VerifyDetachedSignature(k.Entities(), bytes.NewReader(s.signed), &one, config)
		switch {
		case verr == nil:
			return signerName(entity, signature), nil
		case !errors.Is(verr, pgperrors.ErrUnknownIssuer):
			err = verr
		case signature.IssuerKeyId != nil:
			unknown += fmt.Sprintf(" %016x", *signature.IssuerKeyId)
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
