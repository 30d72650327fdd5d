package transaction

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/record"
)

// TestLinkagesAreKept writes the index of symbols, and has it damaged in every way that a disk, a person or a
// killed process may find: it is empty then, and written again.
func TestLinkagesAreKept(t *testing.T) {
	root, files := newRoot(t), packages(t)
	install(t, root, false, files...)
	s := root.Store()
	index := filepath.Join(s.Path("."), linkagesIndex)
	if err := os.Remove(index); err != nil { // of what was installed
		t.Fatal(err)
	}
	a, b := digest.Of([]byte("a")), digest.Of([]byte("b"))
	add := func(identities ...digest.Digest) {
		t.Helper()
		l := &linkages{store: s}
		for _, identity := range identities {
			if l.Find(identity) != nil {
				t.Error("it is there already")
			}
			l.Add(&record.Linkage{Identity: identity})
		}
		l.write()
	}
	has := func(want bool, identities ...digest.Digest) {
		t.Helper()
		l := &linkages{store: s}
		for _, identity := range identities {
			if have := l.Find(identity); (have != nil) != want {
				t.Errorf("found is %v", have)
			}
		}
		l.write() // nothing
	}
	has(false, a, b)
	if _, err := os.Lstat(index); err == nil {
		t.Error("a question has written an index")
	}
	add(a, b)
	has(true, a, b)

	whole, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() error{
		"cut short":      func() error { return os.Truncate(index, int64(len(whole)-1)) },
		"empty":          func() error { return os.Truncate(index, 0) },
		"missing":        func() error { return os.Remove(index) },
		"no directory":   func() error { return os.RemoveAll(filepath.Dir(index)) },
		"another's form": func() error { return os.WriteFile(index, append([]byte("hashpkg linkages 1\n"), whole[19:]...), 0o600) },
		"a directory":    func() error { _ = os.Remove(index); return os.MkdirAll(filepath.Join(index, "x"), 0o755) },
		"a link to outside": func() error {
			_ = os.RemoveAll(index)
			outside := filepath.Join(t.TempDir(), "outside")
			if err := os.WriteFile(outside, whole, 0o600); err != nil {
				return err
			}
			return os.Symlink(outside, index)
		},
		"a file for its directory": func() error {
			_ = os.RemoveAll(filepath.Dir(index))
			return os.WriteFile(filepath.Dir(index), whole, 0o600)
		},
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		has(false, a)
		add(a, b)
		has(true, a, b)
		if is, err := os.ReadFile(index); err != nil || string(is) != string(whole) {
			t.Errorf("%s: %v", name, err)
		}
	}

	DropLinkages(s, map[digest.Digest]bool{b: true})
	has(false, a)
	has(true, b)
}

// TestTwoWritersOfLinkages has two plans be made at once: what the last one has written is whole.
func TestTwoWritersOfLinkages(t *testing.T) {
	root, files := newRoot(t), packages(t)
	install(t, root, false, files...)
	one, two := &linkages{store: root.Store()}, &linkages{store: root.Store()}
	a, b := digest.Of([]byte("a")), digest.Of([]byte("b"))
	one.Add(&record.Linkage{Identity: a})
	two.Add(&record.Linkage{Identity: b})
	one.write()
	two.write()
	last := &linkages{store: root.Store()}
	if last.Find(a) != nil || last.Find(b) == nil {
		t.Error("it has not what was written last")
	}
}
