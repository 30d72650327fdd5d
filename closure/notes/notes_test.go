package notes_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/notes"
	"github.com/hashpkg/hashpkg/digest"
)

var start = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func manifest(t *testing.T, names ...string) []byte {
	t.Helper()
	b, err := (&closure.Manifest{Format: closure.Format, Names: names, Prefix: "/var/sys", Architectures: map[string][]closure.Package{}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func key(t *testing.T, name string) *notes.Key {
	t.Helper()
	secret, err := notes.Generate(name)
	if err != nil {
		t.Fatal(err)
	}
	k, err := notes.ParseKey([]byte(secret + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func trusting(t *testing.T, threshold int, keys ...*notes.Key) *notes.Trust {
	t.Helper()
	var public []string
	for _, k := range keys {
		public = append(public, k.Public())
	}
	trusted, err := notes.NewTrust(public, threshold)
	if err != nil {
		t.Fatal(err)
	}
	return trusted
}

func sign(t *testing.T, m, old []byte, now time.Time, keys ...*notes.Key) []byte {
	t.Helper()
	b, err := notes.Sign(m, old, now, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestNote signs a manifest by two, one after the other, and says what the note has.
func TestNote(t *testing.T) {
	ann, bob := key(t, "ann"), key(t, "bob.example.org/releases")
	m := manifest(t, "curl", "jq")
	n := sign(t, m, nil, start, ann)
	n = sign(t, m, n, start.Add(time.Hour), bob)
	again := sign(t, m, n, start.Add(2*time.Hour), bob)
	if !bytes.Equal(n, again) {
		t.Errorf("a key that signs twice makes\n%s\nof\n%s", again, n)
	}
	s, signers, err := trusting(t, 2, ann, bob).Verify(m, n)
	if err != nil || strings.Join(signers, " ") != "ann bob.example.org/releases" {
		t.Fatalf("%v: signed by %q", err, signers)
	}
	if !s.Date.Equal(start) || s.BLAKE3 != digest.Of(m) || s.SHA256 != sha256.Sum256(m) || strings.Join(s.Names, " ") != "curl jq" {
		t.Errorf("it says %+v", s)
	}
	if !strings.HasPrefix(string(n), "hashpkg closure manifest\nblake3 "+digest.Of(m).String()+"\n") {
		t.Errorf("it reads\n%s", n)
	}
	if _, claimed, err := notes.Read(n); err != nil || strings.Join(claimed, " ") != "ann bob.example.org/releases" {
		t.Errorf("%v: %q claim to have signed it", err, claimed)
	}
}

// TestVerify has notes that are not believed.
func TestVerify(t *testing.T) {
	ann, bob, eve := key(t, "ann"), key(t, "bob"), key(t, "eve")
	impostor := key(t, "ann") // another key of the same name
	m, other := manifest(t, "jq"), manifest(t, "vi")
	signed := sign(t, m, nil, start, ann)
	edit := func(n []byte, old, new string) []byte {
		out := bytes.Replace(n, []byte(old), []byte(new), 1)
		if bytes.Equal(out, n) {
			t.Fatalf("there is no %q in the note", old)
		}
		return out
	}
	for name, c := range map[string]struct {
		note  []byte
		trust *notes.Trust
		want  error  // nil for one that is in no exported word
		says  string // part of the message
	}{
		"unknown":             {sign(t, m, nil, start, eve), trusting(t, 1, ann), notes.ErrUnknown, "signed by eve+"},
		"same name":           {sign(t, m, nil, start, impostor), trusting(t, 1, ann), notes.ErrUnknown, "signed by ann+"},
		"nobody is trusted":   {signed, &notes.Trust{}, notes.ErrUnknown, "ann"},
		"other manifest":      {sign(t, other, nil, start, ann), trusting(t, 1, ann), notes.ErrOther, "another manifest"},
		"threshold":           {signed, trusting(t, 2, ann, bob), notes.ErrThreshold, "1, ann, of 2"},
		"threshold, stranger": {sign(t, m, signed, start, eve), trusting(t, 2, ann, bob), notes.ErrThreshold, "1, ann, of 2"},
		"date altered":        {edit(signed, "date 2026", "date 2027"), trusting(t, 1, ann), notes.ErrBad, "ann"},
		"name added":          {edit(signed, "name jq\n", "name jq\nname vim\n"), trusting(t, 1, ann), notes.ErrBad, "ann"},
		"title":               {edit(signed, "hashpkg closure", "another closure"), trusting(t, 1, eve), nil, "no note of a closure manifest"},
		"line twice":          {edit(signed, "size ", "size 1\nsize "), trusting(t, 1, eve), nil, "no note of a closure manifest"},
		"another number":      {edit(signed, "size ", "size 0"), trusting(t, 1, eve), nil, "canonical form"},
		"no signature":        {signed[:bytes.Index(signed, []byte("\n\n"))+2], trusting(t, 1, ann), nil, "no note of a closure manifest"},
		"empty":               {[]byte{}, trusting(t, 1, ann), nil, "no note of a closure manifest"},
		"large":               {bytes.Repeat([]byte{'a'}, notes.MaxSize+1), trusting(t, 1, ann), nil, "may have"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := c.trust.Verify(m, c.note)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %v with %q", err, c.want, c.says)
			}
		})
	}
}

// TestRules says what becomes of manifests by policy.
func TestRules(t *testing.T) {
	ann, eve := key(t, "ann"), key(t, "eve")
	m := manifest(t, "jq")
	good, unknown, other := sign(t, m, nil, start, ann), sign(t, m, nil, start, eve), sign(t, manifest(t, "vim"), nil, start, ann)
	const fine, warned, refused = "fine", "warned", "refused"
	for name, c := range map[string]struct {
		policy trust.Policy
		keys   []*notes.Key
		note   []byte
		want   string
	}{
		"good":                    {trust.ByKeys, []*notes.Key{ann}, good, fine},
		"good, required":          {trust.Require, []*notes.Key{ann}, good, fine},
		"unsigned":                {trust.ByKeys, nil, nil, warned},
		"unsigned, keys":          {trust.ByKeys, []*notes.Key{ann}, nil, refused},
		"unsigned, keys, warn":    {trust.Warn, []*notes.Key{ann}, nil, warned},
		"unsigned, required":      {trust.Require, nil, nil, refused},
		"unsigned, off":           {trust.Off, []*notes.Key{ann}, nil, fine},
		"unknown":                 {trust.ByKeys, []*notes.Key{ann}, unknown, refused},
		"unknown, no keys":        {trust.ByKeys, nil, unknown, warned},
		"of another":              {trust.Warn, nil, other, refused},
		"of another, off":         {trust.Off, nil, other, fine},
		"garbage":                 {trust.Warn, nil, []byte("x"), refused},
		"good, nobody is trusted": {trust.Require, nil, good, refused},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := notes.Rules{Policy: c.policy, Trust: trusting(t, 1, c.keys...)}.Check("FILE", m, c.note, nil)
			got := fine
			switch {
			case err != nil:
				got = refused
				if !errors.Is(err, trust.ErrSignature) || !strings.Contains(err.Error(), "FILE: ") {
					t.Errorf("the error is %v", err)
				}
			case v.Warning != "":
				got = warned
			}
			if got != c.want {
				t.Errorf("it is %s (%v, %+v), want %s", got, err, v, c.want)
			}
		})
	}
}

// TestReplayed offers an older manifest, truly signed, in place of the one that was taken.
func TestReplayed(t *testing.T) {
	ann := key(t, "ann")
	older, newer := manifest(t, "jq"), manifest(t, "curl")
	n := sign(t, older, nil, start, ann)
	later := sign(t, newer, n, start.Add(time.Second), ann) // FILE.note is that of the older one still
	rules := notes.Rules{Trust: trusting(t, 1, ann)}
	v, err := rules.Check("FILE", newer, later, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rules.Check("FILE", older, n, v.Statement); !errors.Is(err, notes.ErrReplayed) {
		t.Errorf("the older one in place of the newer: %v", err)
	}
	if _, err := rules.Check("FILE", newer, later, v.Statement); err != nil {
		t.Errorf("the same again: %v", err)
	}
	same := sign(t, older, nil, start.Add(time.Second), ann)
	if _, err := rules.Check("FILE", older, same, v.Statement); !errors.Is(err, notes.ErrReplayed) {
		t.Errorf("another of the same date: %v", err)
	}
	if _, err := notes.Sign(older, later, start.Add(time.Second), ann); !errors.Is(err, notes.ErrOlder) {
		t.Errorf("signed for a date that is taken: %v", err)
	}
	if _, err := rules.Check("FILE", newer, later, &notes.Statement{Date: start.Add(time.Hour), BLAKE3: digest.Of(older)}); !errors.Is(err, notes.ErrReplayed) {
		t.Errorf("the newest in place of one that is newer still: %v", err)
	}
}

// TestKeys has keys that are none.
func TestKeys(t *testing.T) {
	ann, bob := key(t, "ann"), key(t, "bob")
	for _, name := range []string{"", "a b", "a+b", "a\nb", "a\u00a0b"} {
		if _, err := notes.Generate(name); err == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
	for _, secret := range []string{"", "x", ann.Public(), "PRIVATE+KEY+ann+00000000+AAAA"} {
		if _, err := notes.ParseKey([]byte(secret)); err == nil {
			t.Errorf("the key %q was taken", secret)
		}
	}
	renamed := strings.Replace(ann.Public(), "ann", "amy", 1)
	for name, c := range map[string]struct {
		keys      []string
		threshold int
	}{
		"no key":      {[]string{"x"}, 0},
		"other name":  {[]string{renamed}, 0}, // its number is of the name as well
		"twice":       {[]string{ann.Public(), ann.Public()}, 2},
		"unreachable": {[]string{ann.Public(), bob.Public()}, 3},
		"negative":    {[]string{ann.Public()}, -1},
	} {
		if _, err := notes.NewTrust(c.keys, c.threshold); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	// One key under two names would reach a threshold of two by itself.
	encoded := strings.SplitN(ann.Public(), "+", 3)[2]
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(append([]byte("amy\n"), raw...))
	if _, err := notes.NewTrust([]string{ann.Public(), fmt.Sprintf("amy+%x+%s", sum[:4], encoded)}, 2); err == nil || !strings.Contains(err.Error(), "counts once") {
		t.Errorf("one key under two names: %v", err)
	}
	if _, err := notes.NewTrust([]string{ann.Public(), bob.Public()}, 2); err != nil {
		t.Error(err)
	}
	if _, err := notes.Sign(manifest(t, "a\x01b"), nil, start, ann); err == nil {
		t.Error("a name with a control character was signed")
	}
}

// FuzzRead: no bytes make a reader of notes fail otherwise than by an error.
func FuzzRead(f *testing.F) {
	f.Add([]byte("hashpkg closure manifest\nblake3 x\n\n— a AAAA\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _, _ = notes.Read(b)
	})
}
