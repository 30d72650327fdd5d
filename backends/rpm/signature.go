package rpm

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// SignatureKind is what a signature covers.
type SignatureKind string

// The kinds of signatures. A header has the digests of the files, and since rpm
// 4.14 of the payload, so that a signature of it is one of the package; the other
// kind is older.
const (
	Header           SignatureKind = "header"
	HeaderAndPayload SignatureKind = "header+payload"
)

// Signature is one OpenPGP signature of a package.
type Signature struct {
	Kind      SignatureKind
	KeyID     string // 16 hexadecimal digits, or "" if the signature does not say
	Algorithm string // "RSA", "DSA", "ECDSA", "EdDSA", "Ed25519", "Ed448"
	Hash      string // "SHA-256"
	Version   int    // of the signature's packet: 3, 4 or 6
	Created   time.Time
	Signer    string          // user ID of the key, if the state is Good
	State     pkginfo.Verdict // never Unsigned
	Err       error           // why the state is not Good
}

// String says it as a person would want to read it.
func (s *Signature) String() string {
	text := fmt.Sprintf("OpenPGP %s/%s signature of the %s, key %s: %s", s.Algorithm, s.Hash, s.Kind, s.KeyID, s.State)
	if s.Err != nil {
		text += " (" + s.Err.Error() + ")"
	}
	return text
}

// Signatures returns the signatures of the package. Until Next has returned io.EOF
// these are only those of the header.
func (d *Reader) Signatures() []Signature {
	var all []Signature
	for _, s := range d.signatures {
		if s.State != "" {
			all = append(all, s.Signature)
		}
	}
	return all
}

// Signature returns what the signatures of the package came to: good means that a
// key of the keyring has signed it and that no signature is bad. It is never good
// before Next has returned io.EOF, since a signature of the header says nothing of
// files that were not compared with it.
func (d *Reader) Signature() pkginfo.Signature {
	out := pkginfo.Signature{Verdict: pkginfo.Unsigned}
	for _, s := range d.signatures {
		state := s.State
		if state == "" || state == pkginfo.Good && !d.isComplete {
			state = pkginfo.Unsupported
		}
		if !state.Stronger(out.Verdict) && state != out.Verdict {
			continue
		}
		out = pkginfo.Signature{Verdict: state} // of several that are as strong, the last one tells
		switch {
		case state == pkginfo.Good:
			out.Signer = trust.SignerName(s.Signer, s.KeyID)
		case state == pkginfo.NoKey:
			out.Reason = "key " + s.KeyID
		case s.Err != nil:
			out.Reason = s.Err.Error()
		}
	}
	return out
}

// pendingSignature is a signature that is verified when all is hashed that it
// covers.
type pendingSignature struct {
	Signature
	keys   []openpgp.Key
	hashes []hash.Hash // one for each key, which adds to it
	packet *packet.Signature
	old    *oldSignature
}

// findSignatures returns the signatures that a signature header has. raw is the
// header, and those that are only of it are verified.
func findSignatures(sig *header, raw []byte, keyring *trust.Keyring) ([]*pendingSignature, error) {
	var all []*pendingSignature
	add := func(kind SignatureKind, b []byte) {
		s := newSignature(kind, b, keyring)
		s.cover(raw)
		if kind == Header {
			s.verify()
		}
		all = append(all, s)
	}
	for _, text := range sig.strings(sigOpenPGP, -1) {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			sig.fail(sigOpenPGP, "is not in base64")
			break
		}
		add(Header, b)
	}
	for _, t := range []struct {
		tag  tag
		kind SignatureKind
	}{
		{sigRSAHeader, Header},
		{sigDSAHeader, Header},
		{sigPGP, HeaderAndPayload},
		{sigPGP5, HeaderAndPayload},
		{sigGPG, HeaderAndPayload},
	} {
		if b := sig.bytes(t.tag); sig.has(t.tag) && sig.err == nil {
			add(t.kind, b)
		}
	}
	return all, sig.err
}

// newSignature parses a signature. What cannot be verified has its final state.
func newSignature(kind SignatureKind, b []byte, keyring *trust.Keyring) *pendingSignature {
	s := &pendingSignature{Signature: Signature{Kind: kind}}
	body, err := signaturePacket(b)
	if err != nil {
		s.State, s.Err = pkginfo.Bad, err
		return s
	}
	s.Version = int(body[0])
	id, algo, h, err := s.parse(b, body)
	s.Algorithm = algorithmName(algo)
	if h != 0 {
		s.Hash = h.String()
	}
	if id != 0 {
		s.KeyID = fmt.Sprintf("%016x", id)
	}
	switch {
	case err != nil:
		s.State, s.Err = pkginfo.Unsupported, err
		return s
	case h == crypto.MD5:
		s.State, s.Err = pkginfo.Unsupported, errors.New("it is made with MD5, which proves nothing any more")
		return s
	}
	if s.keys = keyring.ByID(id); len(s.keys) == 0 {
		s.State, s.Err = pkginfo.NoKey, errors.New("its key is not in the keyring")
		return s
	}
	for range s.keys {
		s.hashes = append(s.hashes, h.New())
	}
	if s.packet != nil {
		s.cover(s.packet.Salt()) // of version 6, and empty of version 4 (RFC 9580, 5.2.4)
	}
	return s
}

func (s *pendingSignature) isSHA1() bool {
	return s.packet != nil && s.packet.Hash == crypto.SHA1 || s.old != nil && s.old.hash == crypto.SHA1
}

// cover hashes what the signature is of.
func (s *pendingSignature) cover(b []byte) {
	for _, h := range s.hashes {
		h.Write(b)
	}
}

// parse reads the packet b, whose content is body, by its version.
func (s *pendingSignature) parse(b, body []byte) (id uint64, algo packet.PublicKeyAlgorithm, h crypto.Hash, err error) {
	switch s.Version {
	case 2, 3:
		old, err := parseOldSignature(body)
		if err != nil {
			return 0, 0, 0, err
		}
		s.old, s.Created = old, old.created
		return old.keyID, old.algorithm, old.hash, old.check()
	case 4, 6:
	default:
		return 0, 0, 0, fmt.Errorf("signatures of version %d are not verified", s.Version)
	}
	p, err := packet.Read(bytes.NewReader(b))
	if err != nil {
		return 0, 0, 0, err
	}
	sig, ok := p.(*packet.Signature)
	if !ok {
		return 0, 0, 0, errors.New("it is not a signature")
	}
	s.packet, s.Created = sig, sig.CreationTime
	if sig.IssuerKeyId != nil {
		id = *sig.IssuerKeyId
	}
	switch {
	case sig.SigType != packet.SigTypeBinary:
		err = fmt.Errorf("it is a signature of type %d, and not of a file", sig.SigType)
	case !sig.Hash.Available():
		err = errors.New("its hash is unknown")
	}
	return id, sig.PubKeyAlgo, sig.Hash, err
}

// verify sets the state, if it is not final. All that is covered must have been
// hashed.
func (s *pendingSignature) verify() {
	if s.State != "" {
		return
	}
	for i, key := range s.keys {
		err := s.verifyWith(key, s.hashes[i])
		if err == nil {
			s.State, s.Err, s.Signer = pkginfo.Good, nil, userID(key)
			return
		}
		s.State, s.Err = pkginfo.Bad, err
	}
}

func (s *pendingSignature) verifyWith(key openpgp.Key, h hash.Hash) error {
	switch self := key.SelfSignature; {
	case key.Revoked(time.Now()) || key.Entity.Revoked(time.Now()):
		return errors.New("its key is revoked")
	case self == nil:
		return errors.New("its key is not bound to a user")
	case key.PublicKey.KeyExpired(self, s.Created):
		return errors.New("its key had expired, or was not made yet, when it was made")
	case self.FlagsValid && !self.FlagSign:
		return errors.New("its key is not for signatures")
	}
	if s.old != nil {
		return s.old.verify(key.PublicKey, h)
	}
	if (s.Version == 6) != (key.PublicKey.Version == 6) { // RFC 9580, 5.2.3: neither may sign for the other
		return fmt.Errorf("it has version %d, and its key version %d", s.Version, key.PublicKey.Version)
	}
	return key.PublicKey.VerifySignature(h, s.packet)
}

func userID(key openpgp.Key) string {
	if id := key.Entity.PrimaryIdentity(); id != nil {
		return id.Name
	}
	return ""
}

func algorithmName(a packet.PublicKeyAlgorithm) string {
	switch a {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		return "RSA"
	case packet.PubKeyAlgoDSA:
		return "DSA"
	case packet.PubKeyAlgoECDSA:
		return "ECDSA"
	case packet.PubKeyAlgoEdDSA:
		return "EdDSA"
	case packet.PubKeyAlgoEd25519:
		return "Ed25519"
	case packet.PubKeyAlgoEd448:
		return "Ed448"
	case 0:
		return ""
	}
	return fmt.Sprintf("algorithm %d", a)
}

// signaturePacket returns the content of the only packet of b, which must be a
// signature (RFC 9580, 4.2).
func signaturePacket(b []byte) ([]byte, error) {
	const signature = 2
	errPacket := errors.New("it is not an OpenPGP signature")
	if len(b) < 2 || b[0]&0x80 == 0 {
		return nil, errPacket
	}
	var kind, header, length int
	if isNew := b[0]&0x40 != 0; isNew {
		kind = int(b[0] & 0x3f)
		switch {
		case b[1] < 192:
			header, length = 2, int(b[1])
		case b[1] < 224 && len(b) > 2:
			header, length = 3, (int(b[1])-192)<<8+int(b[2])+192
		case b[1] == 255 && len(b) > 5:
			header, length = 6, int(binary.BigEndian.Uint32(b[2:]))
		default:
			return nil, errPacket
		}
	} else {
		kind = int(b[0]>>2) & 15
		switch width := 1 << (b[0] & 3); {
		case width == 8 || len(b) < 1+width:
			return nil, errPacket
		case width == 1:
			header, length = 2, int(b[1])
		case width == 2:
			header, length = 3, int(binary.BigEndian.Uint16(b[1:]))
		default:
			header, length = 5, int(binary.BigEndian.Uint32(b[1:]))
		}
	}
	if kind != signature || length == 0 || header+length != len(b) {
		return nil, errPacket
	}
	return b[header:], nil
}
