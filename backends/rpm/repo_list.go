package rpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/pkginfo"
)

const (
	description = "repodata/repomd.xml"

	maxSignatureFile = 1 << 20
	maxSignatures    = 16
	maxKeyFile       = 4 << 20
	maxTries         = 8 // mirrors of a list
)

var _ backends.Repositories = Format{}

// List fetches repomd.xml and its signature, from the source's address or from the
// mirrors of its list, whose digests must fit then. Of a source whose description
// need not be signed the signature tells when there is one.
func (Format) List(ctx context.Context, root backends.Root, request backends.ListRequest) (*backends.Listing, error) {
	l, err := newLister(ctx, root, request)
	if err != nil {
		return nil, err
	}
	return l.list()
}

// SourceKeys returns the keys that may sign for a source, its description and its
// packages: those that it names or else those that the root's rpm trusts. Where files
// of keys are named, one of them must be there. Get is used for those at an address.
func (Format) SourceKeys(ctx context.Context, root backends.Root, request backends.ListRequest) (*trust.Keyring, error) {
	l, err := newLister(ctx, root, request)
	if err != nil {
		return nil, err
	}
	keys, err := l.keys()
	if err != nil {
		return nil, fmt.Errorf("find the keys of %s: %w", l.source.Name, err)
	}
	return keys, nil
}

// lister lists one source.
type lister struct {
	ctx    context.Context
	root   backends.Root
	source backends.Source // with its variables replaced
	get    func(ctx context.Context, path string, limit int64) ([]byte, error)
	// isRelative says that paths are relative to the source's only address. Of several
	// a description and its signature are to be of one.
	isRelative bool

	keyring *trust.Keyring
	keysErr error
	hasKeys bool // they were looked for
}

func newLister(ctx context.Context, root backends.Root, request backends.ListRequest) (*lister, error) {
	l := &lister{ctx: ctx, root: root, source: *request.Source, get: request.Get}
	v := &variables{ctx: ctx, root: root}
	if len(request.Architectures) > 0 {
		v.architecture = request.Architectures[0]
	}
	s := &l.source
	hadVariables := false
	expand := func(all []string) ([]string, error) {
		all = slices.Clone(all)
		for i, text := range all {
			if !strings.Contains(text, "$") {
				continue
			}
			hadVariables = true
			var err error
			if all[i], err = v.expand(text); err != nil {
				return nil, err
			}
		}
		return all, nil
	}
	var err error
	if s.Keys.Files, err = expand(s.Keys.Files); err != nil {
		return nil, err
	}
	hadVariables = false
	if s.URLs, err = expand(s.URLs); err != nil {
		return nil, err
	}
	for i, address := range s.URLs {
		if s.URLs[i], err = sourceAddress(address); err != nil {
			return nil, err
		}
	}
	l.isRelative = len(s.URLs) == 1 && !hadVariables
	s.Lists = slices.Clone(s.Lists)
	for i := range s.Lists {
		one, err := expand([]string{s.Lists[i].URL})
		if err != nil {
			return nil, err
		}
		if _, err := sourceAddress(one[0]); err != nil {
			return nil, err
		}
		s.Lists[i].URL = one[0]
	}
	return l, nil
}

// list tries one mirror after another, if there are some.
func (l *lister) list() (*backends.Listing, error) {
	if l.isRelative {
		only, err := l.listAt("", nil)
		if err != nil {
			return nil, err
		}
		return only.Listing, nil
	}
	m := &mirrors{urls: l.source.URLs}
	voucher := ""
	if len(m.urls) == 0 {
		var err error
		if m, voucher, err = l.mirrors(); err != nil {
			return nil, err
		}
	}
	var first error
	var stale *backends.Listing
	for i, address := range m.urls[:min(len(m.urls), maxTries)] {
		listing, err := l.listAt(address, m)
		if l.ctx.Err() != nil {
			return nil, l.ctx.Err()
		}
		if err != nil {
			if first == nil {
				first = fmt.Errorf("%s: %w", backends.PlainURL(address), err)
			}
			continue
		}
		listing.URLs = append([]string{address}, slices.Delete(slices.Clone(m.urls), i, i+1)...)
		if voucher != "" && listing.Verdict != pkginfo.Good {
			listing.Reason += "; its digest is in " + voucher
		}
		if listing.isStale {
			if stale == nil {
				stale = listing.Listing
			}
			continue
		}
		return listing.Listing, nil
	}
	switch {
	case stale != nil:
		return stale, nil
	case first == nil:
		return nil, errors.New("it has no address")
	}
	return nil, first
}

// mirrors fetches the first list of mirrors that can be had. voucher is its address,
// if that cannot be changed on the way and has digests.
func (l *lister) mirrors() (m *mirrors, voucher string, err error) {
	var errs []error
	for _, of := range l.source.Lists {
		b, err := l.get(l.ctx, of.URL, maxDescription)
		if err == nil && of.Metalink {
			m, err = parseMetalink(b)
		} else if err == nil {
			m, err = parseMirrorList(b)
		}
		if err == nil {
			if of.Metalink && strings.HasPrefix(of.URL, "https://") {
				voucher = backends.PlainURL(of.URL)
			}
			return m, voucher, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", backends.PlainURL(of.URL), err))
	}
	if len(errs) == 0 {
		return nil, "", errors.New("it has no address")
	}
	return nil, "", errors.Join(errs...)
}

// listingAt is a listing that may be an older one than the list of mirrors says.
type listingAt struct {
	*backends.Listing
	isStale bool
}

// listAt lists the source at one address; "" is the source's own.
func (l *lister) listAt(address string, m *mirrors) (*listingAt, error) {
	text, err := l.fetch(address, description, maxDescription)
	if err != nil {
		return nil, err
	}
	isStale := false
	if m != nil && len(m.current) > 0 {
		has := func(digests []string) bool {
			return slices.ContainsFunc(digests, func(d string) bool { return hasDigest(text, d) })
		}
		if isStale = !has(m.current); isStale && !has(m.older) {
			return nil, fmt.Errorf("%s is not the one that the list of mirrors has the digest of", description)
		}
	}
	signature, err := l.signature(address, text)
	if err != nil {
		return nil, err
	}
	r, err := parseRepomd(text)
	if err != nil {
		return nil, err
	}
	listing := &backends.Listing{
		Signature: signature, Date: r.date, Origin: r.distro, Version: r.version,
		Parts: []backends.Part{*r.primary}, Files: r.files,
	}
	if r.lifetime != nil {
		b, err := l.lifetime(address, r.lifetime)
		if err != nil {
			return nil, err
		}
		lifetime, err := parseLifetime(b)
		if err != nil {
			return nil, err
		}
		if lifetime > 0 {
			listing.ValidUntil = r.date.Add(lifetime)
		}
	}
	return &listingAt{listing, isStale}, nil
}

// fetch fetches a file of the repository at an address. Its path may be an address
// itself.
func (l *lister) fetch(address, name string, limit int64) ([]byte, error) {
	if address != "" && !strings.Contains(name, "://") {
		name = address + "/" + name
	}
	return l.get(l.ctx, name, limit)
}

// lifetime fetches suseinfo.xml, which the description has the digest of.
func (l *lister) lifetime(address string, p *backends.Part) ([]byte, error) {
	b, err := l.fetch(address, p.Paths[0], maxDescription)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != p.Size || !hasDigest(b, p.Digest) {
		return nil, fmt.Errorf("%s is not the file that the description has the digest of", p.Paths[0])
	}
	if !bytes.HasPrefix(b, []byte("\x1f\x8b")) {
		return b, nil
	}
	s, err := unpack.NewStream(bytes.NewReader(b), unpack.Gzip, p.Size)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return backends.ReadAll(s, maxDescription)
}

// hasDigest reports whether b has a digest, "sha256:HEX" or "sha512:HEX".
func hasDigest(b []byte, digest string) bool {
	return digest == fmt.Sprintf("sha256:%x", sha256.Sum256(b)) || digest == fmt.Sprintf("sha512:%x", sha512.Sum512(b))
}

// signature returns what the signature of a description came to. It is an error, if
// the source is to be signed, unless it is good.
func (l *lister) signature(address string, text []byte) (pkginfo.Signature, error) {
	signature, err := l.readSignature(address, text)
	switch {
	case err != nil && l.source.Unsigned && l.ctx.Err() == nil:
		// Whoever is on the way could as well say that there is none.
		return pkginfo.Signature{Verdict: pkginfo.Unsigned, Reason: fmt.Sprintf("the signature of the repository cannot be read: %v", err)}, nil
	case err != nil:
		return signature, err
	case signature.Verdict == pkginfo.Good:
		return signature, nil
	case signature.Verdict == pkginfo.Bad || !l.source.Unsigned:
		return signature, fmt.Errorf("%w: %s", trust.ErrSignature, signature.Reason)
	}
	return signature, nil
}

func (l *lister) readSignature(address string, text []byte) (pkginfo.Signature, error) {
	b, err := l.fetch(address, description+".asc", maxSignatureFile)
	if errors.Is(err, fs.ErrNotExist) {
		return pkginfo.Signature{Verdict: pkginfo.Unsigned, Reason: "the repository is not signed"}, nil
	}
	if err != nil {
		return pkginfo.Signature{}, err
	}
	keys, err := l.keys()
	if errors.Is(err, errNoKeys) {
		return pkginfo.Signature{Verdict: pkginfo.NoKey, Reason: err.Error()}, nil
	}
	if err != nil {
		return pkginfo.Signature{}, err
	}
	return verifyDetached(keys, text, b), nil
}

// verifyDetached verifies the signatures of a text, armored or not. Of several that of
// any key will do.
func verifyDetached(keys *trust.Keyring, text, signatures []byte) pkginfo.Signature {
	damaged := pkginfo.Signature{Verdict: pkginfo.Bad, Reason: "the signature of the repository is damaged"}
	if len(signatures) > 0 && signatures[0] < 0x80 {
		block, err := armor.Decode(bytes.NewReader(signatures))
		if err != nil {
			return damaged
		}
		if signatures, err = backends.ReadAll(block.Body, maxSignatureFile); err != nil {
			return damaged
		}
	}
	r := packet.NewOpaqueReader(bytes.NewReader(signatures))
	out := pkginfo.Signature{}
	for n := 0; ; n++ {
		p, err := r.Next()
		if err != nil && n > 0 && len(signatures) > 0 && err == io.EOF {
			return out
		}
		if err != nil || n == maxSignatures {
			return damaged
		}
		var one bytes.Buffer
		if err := p.Serialize(&one); err != nil {
			return damaged
		}
		s := newSignature("repository", one.Bytes(), keys)
		if s.isSHA1() && s.State == "" { // with which old packages are signed, but no repository
			s.State, s.Err = pkginfo.Unsupported, errors.New("it is made with SHA-1, which proves nothing any more")
		}
		s.cover(text)
		s.verify()
		if s.State == pkginfo.Good {
			return pkginfo.Signature{Verdict: pkginfo.Good, Signer: trust.SignerName(s.Signer, s.KeyID)}
		}
		if !s.State.Stronger(out.Verdict) {
			continue
		}
		out = pkginfo.Signature{Verdict: s.State}
		switch s.State {
		case pkginfo.NoKey:
			out.Reason = "the repository is signed with a key that is not known, " + s.KeyID
		case pkginfo.Bad:
			out.Reason = fmt.Sprintf("the repository was altered after it was signed (%v)", s.Err)
		default:
			out.Reason = fmt.Sprintf("the signature of the repository cannot be verified: %v", s.Err)
		}
	}
}

// errNoKeys is wrapped by errors of [lister.keys] for keys that are not there.
var errNoKeys = errors.New("there is no key that may sign for it")

// keys returns the keys that may sign for the source.
func (l *lister) keys() (*trust.Keyring, error) {
	if !l.hasKeys {
		l.keyring, l.keysErr = l.findKeys()
		l.hasKeys = true
	}
	return l.keyring, l.keysErr
}

func (l *lister) findKeys() (*trust.Keyring, error) {
	k := l.source.Keys
	var keys *trust.Keyring
	if len(k.Fingerprints) > 0 || len(k.Files)+len(k.Text) == 0 {
		trusted, _, err := Format{}.RootKeys(l.ctx, l.root)
		if err != nil {
			return nil, err
		}
		if len(k.Fingerprints) == 0 {
			keys = trusted
		}
		for _, f := range k.Fingerprints {
			keys = keys.With(trusted.WithFingerprint(f))
		}
	}
	texts := [][]byte{}
	if k.Text != "" {
		texts = append(texts, []byte(k.Text))
	}
	for _, file := range k.Files {
		b, err := l.keyFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the key %s: %w", file, err)
		}
		texts = append(texts, b)
	}
	for _, b := range texts {
		more, err := trust.ParseKeyring(b)
		if err != nil {
			return nil, err
		}
		keys = keys.With(more)
	}
	if keys.Len() == 0 {
		why := ""
		if len(k.Files) > 0 {
			why = ": none of " + strings.Join(k.Files, ", ") + " is there"
		}
		if k.Package != "" {
			why += "; the package " + k.Package + " has them"
		}
		return nil, fmt.Errorf("%w%s", errNoKeys, why)
	}
	return keys, nil
}

// keyFile reads a file of keys: of the root, or from an address that nobody on the way
// can answer for.
func (l *lister) keyFile(name string) ([]byte, error) {
	if strings.HasPrefix(name, "https://") {
		return l.get(l.ctx, name, maxKeyFile)
	}
	name = strings.TrimPrefix(name, "file://")
	if !path.IsAbs(name) {
		return nil, errors.New("it is neither a file nor at an https address")
	}
	return l.root.ReadFile(path.Clean(name), maxKeyFile)
}
