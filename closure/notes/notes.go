// Package notes has the signatures of closure manifests: a short text that names a manifest by its
// digests, as a note of golang.org/x/mod/sumdb/note, which any number of keys of ed25519 may sign. [Sign]
// adds a signature, [Trust.Verify] says who has signed what, and [Rules] what follows from that.
//
// A note stands beside its manifest, under the same name with [Suffix].
//
// # What a note says
//
//	hashpkg closure manifest
//	blake3 HEX
//	sha256 HEX
//	size BYTES
//	date 2026-11-30T21:00:00Z
//	name NAME
//
// with a line "name" for each name that the manifest has. The date orders the notes that one signer
// makes for one address: see [Newer].
package notes

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/digest"
)

// Suffix is what the name or address of a note has behind that of its manifest.
const Suffix = ".note"

// MaxSize is how many bytes a note may have; those of the library may have no more.
const MaxSize = 1 << 20

// MediaType is that of a note.
const MediaType = "application/vnd.hashpkg.closure.note.v1+text"

const title = "hashpkg closure manifest"

// Statement is what a note says of a manifest.
type Statement struct {
	BLAKE3 digest.Digest  `json:"blake3"`
	SHA256 closure.SHA256 `json:"sha256"`
	Size   int64          `json:"size"` // bytes
	Date   time.Time      `json:"date"` // in seconds, UTC
	Names  []string       `json:"names"`
}

// NewStatement returns what is to be said of an encoded manifest.
func NewStatement(manifest []byte, now time.Time) (*Statement, error) {
	m, err := closure.Decode(manifest)
	if err != nil {
		return nil, err
	}
	return &Statement{
		BLAKE3: digest.Of(manifest), SHA256: sha256.Sum256(manifest), Size: int64(len(manifest)),
		Date: now.UTC().Truncate(time.Second), Names: m.Names,
	}, nil
}

func (s *Statement) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nblake3 %s\nsha256 %s\nsize %d\ndate %s\n", title, s.BLAKE3, s.SHA256, s.Size, s.Date.Format(time.RFC3339))
	for _, n := range s.Names {
		fmt.Fprintf(&b, "name %s\n", n)
	}
	return b.String()
}

// errNoNote says that bytes are no note of a closure manifest.
var errNoNote = errors.New("it is no note of a closure manifest")

// parse reads what text wrote; anything else is an error, so that a text means one thing only.
func parse(text string) (*Statement, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 5 || lines[0] != title {
		return nil, errNoNote
	}
	var s Statement
	for i, read := range []struct {
		word string
		to   func(string) error
	}{
		{"blake3 ", func(v string) error { return s.BLAKE3.UnmarshalText([]byte(v)) }},
		{"sha256 ", func(v string) error { return s.SHA256.UnmarshalText([]byte(v)) }},
		{"size ", func(v string) (err error) { s.Size, err = strconv.ParseInt(v, 10, 64); return err }},
		{"date ", func(v string) (err error) { s.Date, err = time.Parse(time.RFC3339, v); return err }},
	} {
		value, ok := strings.CutPrefix(lines[i+1], read.word)
		if !ok {
			return nil, fmt.Errorf("%w: line %d has no %s", errNoNote, i+2, strings.TrimSpace(read.word))
		}
		if err := read.to(value); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", errNoNote, i+2, err)
		}
	}
	for i, l := range lines[5:] {
		name, ok := strings.CutPrefix(l, "name ")
		if !ok {
			return nil, fmt.Errorf("%w: line %d has no name", errNoNote, i+6)
		}
		s.Names = append(s.Names, name)
	}
	if s.text() != text {
		return nil, fmt.Errorf("%w: it is not in its canonical form", errNoNote)
	}
	return &s, nil
}

// open reads a note. Whoever is in verified has truly signed it.
func (t *Trust) open(b []byte) (s *Statement, verified, others []note.Signature, err error) {
	if len(b) > MaxSize {
		return nil, nil, nil, fmt.Errorf("read note: it has %d bytes, and may have %d", len(b), MaxSize)
	}
	n, err := note.Open(b, note.VerifierList(t.verifiers...))
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		n = unverified.Note
	case errors.As(err, &invalid):
		return nil, nil, nil, fmt.Errorf("%w: the signature of %s is not good", ErrBad, invalid.Name)
	case err != nil:
		return nil, nil, nil, fmt.Errorf("read note: %w", errNoNote)
	}
	if s, err = parse(n.Text); err != nil {
		return nil, nil, nil, fmt.Errorf("read note: %w", err)
	}
	return s, n.Sigs, n.UnverifiedSigs, nil
}

// Read returns what a note says, and who claims to have signed it, which nobody has verified.
func Read(b []byte) (*Statement, []string, error) {
	s, _, others, err := (&Trust{}).open(b)
	if err != nil {
		return nil, nil, err
	}
	return s, namesOf(others), nil
}

func namesOf(signatures []note.Signature) []string {
	names := make([]string, len(signatures))
	for i, s := range signatures {
		names[i] = s.Name
	}
	return names
}

// ErrOlder is returned by Sign where the note that is there is of a later date than now.
var ErrOlder = errors.New("the note that is there has a later date")

// Sign returns a note of an encoded manifest that keys have signed. old is the note that there is, or
// nil: of one for the same manifest the date and the signatures stay; one for another manifest, which
// this one takes the place of, is left, and the date is later than its.
func Sign(manifest, old []byte, now time.Time, keys ...*Key) ([]byte, error) {
	s, err := NewStatement(manifest, now)
	if err != nil {
		return nil, err
	}
	n := &note.Note{Text: s.text()}
	if old != nil {
		was, _, signatures, err := (&Trust{}).open(old)
		switch {
		case err != nil:
			return nil, err
		case was.BLAKE3 == s.BLAKE3 && was.SHA256 == s.SHA256:
			n.Text, n.UnverifiedSigs = was.text(), signatures
		case !was.Date.Before(s.Date):
			return nil, fmt.Errorf("sign manifest: %w, %s: who has taken it would refuse this one", ErrOlder, was.Date.Format(time.RFC3339))
		}
	}
	signers := make([]note.Signer, len(keys))
	for i, k := range keys {
		signers[i] = k.signer
	}
	b, err := note.Sign(n, signers...)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("sign manifest: the note would have %d bytes, and may have %d: the manifest has too many names", len(b), MaxSize)
	}
	if _, _, _, err := (&Trust{}).open(b); err != nil { // as with a control character in a name
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	return b, nil
}

// The errors of signatures, which are wrapped.
var (
	ErrOther     = errors.New("the note is of another manifest")
	ErrBad       = errors.New("a signature was altered, or is of something else")
	ErrUnknown   = errors.New("nobody who is trusted has signed it")
	ErrThreshold = errors.New("too few who are trusted have signed it")
	ErrReplayed  = errors.New("it is older than what was taken from there before")
	ErrNone      = errors.New("it has no note, so nobody has signed it")
)

// Verify returns what a note says of an encoded manifest and whose signatures count, sorted. The error
// wraps one of those above. Where it is [ErrThreshold] or [ErrUnknown] the note is of this manifest, and
// the statement is returned.
func (t *Trust) Verify(manifest, b []byte) (s *Statement, signers []string, err error) {
	s, verified, others, err := t.open(b)
	if err != nil {
		return nil, nil, err
	}
	if s.BLAKE3 != digest.Of(manifest) || s.SHA256 != sha256.Sum256(manifest) || s.Size != int64(len(manifest)) {
		return nil, nil, fmt.Errorf("%w: it names the one with the BLAKE3 %s", ErrOther, s.BLAKE3)
	}
	signers = namesOf(verified)
	slices.Sort(signers)
	switch {
	case len(signers) == 0 && len(others) == 0:
		return s, nil, ErrNone
	case len(signers) == 0:
		return s, nil, fmt.Errorf("%w: it is signed by %s", ErrUnknown, strings.Join(claims(others), ", "))
	case len(signers) < t.threshold:
		return s, signers, fmt.Errorf("%w: %d, %s, of %d", ErrThreshold, len(signers), strings.Join(signers, ", "), t.threshold)
	}
	return s, signers, nil
}

// claims names keys that are not known, with their numbers.
func claims(signatures []note.Signature) []string {
	out := make([]string, len(signatures))
	for i, s := range signatures {
		out[i] = fmt.Sprintf("%s+%08x, which is not known", s.Name, s.Hash)
	}
	return out
}

// Newer returns an error that wraps [ErrReplayed] for a statement that may not take the place of one
// that was taken from the same address before, which is nil for none: another manifest has to have a
// later date.
func Newer(taken, offered *Statement) error {
	if taken == nil || bytes.Equal(taken.BLAKE3[:], offered.BLAKE3[:]) || offered.Date.After(taken.Date) {
		return nil
	}
	return fmt.Errorf("%w: it is of %s, and that was of %s", ErrReplayed, offered.Date.Format(time.RFC3339), taken.Date.Format(time.RFC3339))
}
