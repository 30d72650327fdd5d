package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/closure"
	"github.com/hashpkg/hashpkg/closure/notes"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/visible"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo"
)

// rules returns what the settings say of manifests.
func (c *manifestsConfig) rules() (notes.Rules, error) {
	policy, err := trust.ParsePolicy(string(c.Signature))
	if err != nil {
		return notes.Rules{}, err
	}
	trusted, err := notes.NewTrust(c.Keys, c.Threshold)
	return notes.Rules{Policy: policy, Trust: trusted}, err
}

// manifestRules returns what flags and settings say of manifests, the flags first.
func (a *app) manifestRules(o fetchOptions) (notes.Rules, error) {
	c, err := a.readConfig()
	if err != nil {
		return notes.Rules{}, err
	}
	rules, err := c.Manifests.rules()
	if err != nil {
		return notes.Rules{}, err
	}
	if len(o.keys) > 0 {
		if rules.Trust, err = notes.NewTrust(o.keys, 1); err != nil {
			return notes.Rules{}, usageError{fmt.Errorf("--key: %w", err)}
		}
	}
	policy, err := trust.ParsePolicy(o.signature)
	if err != nil {
		return notes.Rules{}, usageError{fmt.Errorf("--signature: %w", err)}
	}
	rules.Policy = cmp.Or(policy, rules.Policy)
	return rules, nil
}

// takeManifest reads a closure manifest, from a file or an address, whose signatures the rules allow; nothing
// of it is looked at before.
func (a *app) takeManifest(ctx context.Context, r *repo.Repo, rules notes.Rules, name string, allowOlder bool) (*closure.Manifest, pkginfo.Signature, error) {
	fail := func(err error) (*closure.Manifest, pkginfo.Signature, error) {
		return nil, pkginfo.Signature{}, err
	}
	text, err := readSmall(ctx, r, name, closure.MaxSize)
	if err != nil {
		return fail(fmt.Errorf("read closure manifest: %w", err))
	}
	note, err := readSmall(ctx, r, name+notes.Suffix, notes.MaxSize)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && rules.Policy != trust.Off {
		return fail(fmt.Errorf("read the note of the closure manifest: %w", err))
	}
	from := name
	if !isAddress(name) {
		if from, err = filepath.Abs(name); err != nil {
			return fail(err)
		}
	}
	return a.judgeManifest(ctx, r, rules, manifestAt{name, from, allowOlder}, text, [][]byte{note})
}

// manifestAt is where a closure manifest was read.
type manifestAt struct {
	name       string // for people
	from       string // by which what was taken there before is known
	allowOlder bool   // than that
}

// judgeManifest reads a closure manifest of which one of some notes, nil for none, is such that the rules allow it.
func (a *app) judgeManifest(ctx context.Context, r *repo.Repo, rules notes.Rules, at manifestAt, text []byte, signatures [][]byte) (*closure.Manifest, pkginfo.Signature, error) {
	fail := func(err error) (*closure.Manifest, pkginfo.Signature, error) {
		return nil, pkginfo.Signature{}, err
	}
	var taken *notes.Statement
	var err error
	if !at.allowOlder {
		if taken, err = takenBefore(r, at.from); err != nil {
			return fail(err)
		}
	}
	var v notes.Verdict
	if len(signatures) == 0 {
		signatures = [][]byte{nil}
	}
	for _, note := range signatures {
		if v, err = rules.Check(at.name, text, note, taken); err == nil && v.Warning == "" {
			break
		}
	}
	if err != nil {
		return fail(hintOfNote(err, at.name, rules))
	}
	if v.Warning != "" {
		a.notice("warning: %s\n", visible.Line(v.Warning))
	}
	m, err := closure.Decode(text)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", at.name, err))
	}
	if len(v.Signers) == 0 || v.Warning != "" {
		return m, pkginfo.Signature{Verdict: pkginfo.Unsigned, Reason: "of a closure manifest that nobody has signed who is trusted"}, nil
	}
	b, err := json.Marshal(v.Statement)
	if err == nil {
		err = r.SetTaken(ctx, at.from, b)
	}
	if err != nil {
		return fail(err)
	}
	return m, pkginfo.Signature{Verdict: pkginfo.Good, Signer: strings.Join(v.Signers, ", "), Reason: "by its digest in a closure manifest"}, nil
}

// takenBefore returns what was said of the manifest that was taken last from an address or an absolute
// path; nil for none.
func takenBefore(r *repo.Repo, from string) (*notes.Statement, error) {
	b, err := r.Taken(from)
	if b == nil || err != nil {
		return nil, err
	}
	var s notes.Statement
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read what was taken from %s before: %w", from, err)
	}
	return &s, nil
}

// readSmall reads a file, or fetches what an address has. The error wraps fs.ErrNotExist for what is not there.
func readSmall(ctx context.Context, r *repo.Repo, name string, limit int64) ([]byte, error) {
	if isAddress(name) {
		return r.Get(ctx, name, limit)
	}
	return readUpTo(name, limit)
}

// readUpTo reads a file that has no more bytes than limit.
func readUpTo(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, and may have %d", name, info.Size(), limit)
	}
	return os.ReadFile(name)
}

// hintOfNote says to an error of a manifest's signatures what to do.
func hintOfNote(err error, name string, rules notes.Rules) error {
	switch {
	case errors.Is(err, notes.ErrReplayed):
		return advice.Errorf("%w; if it is wanted all the same, add --allow-older", err)
	case errors.Is(err, notes.ErrOther), errors.Is(err, notes.ErrBad):
		return advice.Errorf("%w; fetch %s and %s%s again from where they are made", err, name, name, notes.Suffix)
	case rules.Fixed: // by another manifest
	case errors.Is(err, notes.ErrNone), errors.Is(err, notes.ErrUnknown):
		return advice.Errorf("%w; give the public key of who made it with --key, or [manifests] keys in %s", err, configFile)
	}
	return err
}
