package transaction

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// listed is what an index says of a package of [packages].
func listed(name, version string) *pkginfo.Listed {
	return &pkginfo.Listed{Package: pkginfo.Package{Format: "deb", Name: name, Version: version, Architecture: "amd64"}}
}

// TestPackagesThatCome are read as they come, in the order in which they do, and the
// generation says where they are from.
func TestPackagesThatCome(t *testing.T) {
	root, files := newRoot(t), packages(t)
	first := make(chan struct{})
	come := []Package{
		{Expected: listed("libc6", "2.36"), Named: record.Named{Release: "trixie"}, Get: func(ctx context.Context) (Arrived, error) {
			select { // the last of the command comes first
			case <-first:
				return Arrived{Path: files[0]}, nil
			case <-ctx.Done():
				return Arrived{}, ctx.Err()
			}
		}},
		{Path: files[1]},
		{Expected: listed("prog", "1"), Named: record.Named{Release: "trixie", Asked: true}, Get: func(context.Context) (Arrived, error) {
			close(first)
			return Arrived{Path: files[2]}, nil
		}, Proof: pkginfo.Signature{Verdict: pkginfo.Good, Signer: "Archive"}},
	}
	o := InstallOptions{Root: root, Packages: come, Signature: trust.Warn, Now: time.Unix(1700000000, 0)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result, err := Install(ctx, o)
	if err != nil || !result.Changed {
		t.Fatal(err)
	}
	g, err := root.Active()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]record.Named{"libc6": {Release: "trixie"}, "liba1": {}, "prog": {Release: "trixie", Asked: true}} {
		if tree := g.DefaultOf(name); tree == nil || tree.Named != want {
			t.Errorf("%s is %+v", name, tree)
		}
	}
	m, err := root.Store().Manifest("prog", g.DefaultOf("prog").Dir)
	if err != nil || m.Package.Signer != "Archive" || m.Package.Verdict != pkginfo.Good {
		t.Errorf("%+v, %v", m.Package, err)
	}

	// What is there already is another generation only when more is known of it.
	o.Packages = []Package{{Path: files[1], Named: record.Named{Asked: true}}}
	if result, err := Install(t.Context(), o); err != nil || !result.Changed {
		t.Errorf("%+v, %v", result, err)
	}
	if result, err := Install(t.Context(), o); err != nil || result.Changed {
		t.Errorf("%+v, %v", result, err)
	}

	// Gone goes in the same generation.
	o.Gone = func(tree *record.Tree) bool { return tree.Name == "prog" }
	if result, err = Install(t.Context(), o); err != nil || !result.Changed {
		t.Fatalf("%+v, %v", result, err)
	}
	if g, err = root.Active(); err != nil || g.DefaultOf("prog") != nil || g.DefaultOf("liba1") == nil || g.ID != result.Generation {
		t.Errorf("%v, %v", g.Trees, err)
	}
}

// TestPackagesThatDoNotCome leave everything as it was, and so do those that are other
// packages than their index says.
func TestPackagesThatDoNotCome(t *testing.T) {
	root, files := newRoot(t), packages(t)
	errLost := errors.New("the network is gone")
	changed, md5 := listed("prog", "1"), listed("prog", "1")
	changed.Digest = "sha256:" + strings.Repeat("00", 32)
	md5.Digest = "md5:" + strings.Repeat("00", 16)
	for _, tc := range []struct {
		expected *pkginfo.Listed
		err      error
		want     string
	}{
		{listed("prog", "1"), errLost, errLost.Error()},
		{listed("prog", "2"), nil, "it is prog=1 for amd64, and its index lists prog=2 for amd64"},
		{changed, nil, "its digest is not that which the index lists for prog=1"},
		{md5, nil, `a digest "md5" cannot be verified`},
		{listed("other", "1"), nil, "it is prog=1 for amd64, and its index lists other=1 for amd64"},
	} {
		never := func(ctx context.Context) (Arrived, error) {
			<-ctx.Done()
			return Arrived{}, ctx.Err()
		}
		_, err := Install(t.Context(), InstallOptions{Root: root, Signature: trust.Off, Packages: []Package{
			{Expected: listed("libc6", "2.36"), Get: never},
			{Expected: tc.expected, Get: func(context.Context) (Arrived, error) { return Arrived{Path: files[2]}, tc.err }},
		}})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.want, err)
		}
		if g, err := root.Active(); err != nil || g.ID != 0 {
			t.Errorf("%+v, %v", g, err)
		}
	}
}
