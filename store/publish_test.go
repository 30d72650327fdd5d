package store_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
)

func TestPublish(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077)) // which must not show
	s, m := installed(t)
	have := listing(t, s.Path("tool"))
	for _, want := range []string{
		"/default Lrwxrwxrwx ../current-system/default/tool",
		"/1.0 drwxr-xr-x", "/1.0/usr/share dr-xr-xr-x", "/1.0/usr/share/doc drwxr-xr-x",
		"/1.0/bin/tool Lrwxrwxrwx ../usr/bin/tool", "/1.0/usr/bin/link Lrwxrwxrwx tool",
		"/1.0/usr/bin/pipe prw-------", "/1.0/usr/bin/tool -r-xr-xr-x", "/1.0/usr/lib/own -rw-r-----", "/1.0/usr/share/doc/tool -r--r--r--",
	} {
		if os.Geteuid() != 0 { // whose own directories stay writable
			want = strings.Replace(want, "dr-xr-xr-x", "drwxr-xr-x", 1)
		}
		if !strings.Contains(have, want) {
			t.Errorf("there is no %q in\n%s", want, have)
		}
	}
	for i := range m.Files {
		f := &m.Files[i]
		if f.Type != record.TypeFile {
			continue
		}
		a, err := os.Stat(s.Path("tool/1.0/" + f.Path))
		must(t, err)
		b, err := os.Stat(s.Path(layout.ObjectPath(f.Object)))
		must(t, err)
		own := f.Path == "usr/lib/own" || os.Geteuid() == 0 && f.UID != 0
		if os.SameFile(a, b) == own || f.Own != own {
			t.Errorf("%s: that it has an inode of its own is recorded as %v", f.Path, f.Own)
		}
		if a.ModTime().Unix() != store.ObjectTime || b.Mode()&^0o555 != 0 {
			t.Errorf("%s has the time %v, its object the mode %v", f.Path, a.ModTime(), b.Mode())
		}
	}
	again, err := s.Manifest("tool", "1.0")
	if err != nil || len(again.Files) != len(m.Files) {
		t.Errorf("Manifest gives %v", err)
	}
	if p, err := s.PackageFile("tool", "1.0"); err != nil || p != m.Package {
		t.Errorf("PackageFile gives %v, %v", p, err)
	}
	if n, damaged, err := s.Verify(t.Context(), []*record.Manifest{again}, nil); err != nil || len(damaged) > 0 || n != len(m.Files)+1 {
		t.Errorf("Verify gives %d, %v, %v", n, damaged, err)
	}
}

// TestUndo takes back a publication after each of its steps, by the writer itself,
// by Discard, and by the one who comes after it was killed.
func TestUndo(t *testing.T) {
	undo := map[string]func(*store.Store, *store.Staging) error{
		"Undo":    func(_ *store.Store, staging *store.Staging) error { return staging.Undo() },
		"Discard": func(_ *store.Store, staging *store.Staging) error { return staging.Discard() },
		"Recover": func(s *store.Store, _ *store.Staging) error { return s.Recover(nil) },
	}
	for who, f := range undo {
		for _, placed := range []bool{false, true} {
			s, _ := installed(t)
			before := listing(t, s.Path("."))
			staging, err := s.Begin(nil)
			must(t, err)
			must(t, staging.AddTrees([]*record.Manifest{manifest("other", add(t, staging, "file", "other", 0o644))}))
			must(t, staging.WriteJournal(2))
			if placed {
				must(t, staging.Place())
				if _, err := s.Manifest("other", "1.0"); err != nil {
					t.Fatal(err)
				}
			}
			must(t, f(s, staging))
			if who != "Recover" {
				must(t, staging.Discard())
			}
			if after := listing(t, s.Path(".")); after != before {
				t.Errorf("%s, with Place %v, makes\n%sof\n%s", who, placed, after, before)
			}
		}
	}
}

// TestNoUndo leaves a generation alone that has become active, or was forgotten.
func TestNoUndo(t *testing.T) {
	for _, forget := range []bool{false, true} {
		s, _ := installed(t)
		staging, err := s.Begin(nil)
		must(t, err)
		must(t, staging.AddTrees([]*record.Manifest{manifest("other", add(t, staging, "file", "other", 0o644))}))
		must(t, staging.WriteJournal(2))
		must(t, staging.Place())
		if forget {
			must(t, staging.Forget())
		} else {
			activate(t, s, 2)
		}
		must(t, s.Recover(nil))
		if _, err := s.Manifest("other", "1.0"); err != nil {
			t.Errorf("with Forget %v: %v", forget, err)
		}
	}
}

// TestPlaceFails has a file in the place of another one, which stays.
func TestPlaceFails(t *testing.T) {
	s, staging := begin(t, nil)
	must(t, staging.AddTrees([]*record.Manifest{tool(t, staging)}))
	write(t, s.Path("other/1.0"), "x")
	write(t, staging.Dir().Path("more"), "y")
	staging.Move("more", "other/1.0", store.PhaseData)
	must(t, staging.WriteJournal(1))
	if err := staging.Place(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Place gives %v", err)
	}
	must(t, staging.Undo())
	if b, err := s.Dir().ReadFile("other/1.0", 10); err != nil || string(b) != "x" || s.Dir().Exists("tool") {
		t.Errorf("Undo leaves\n%s", listing(t, s.Path(".")))
	}
	staging.Move("nothing", "other/2.0", store.PhaseData)
	if err := staging.WriteJournal(1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a move of nothing gives %v", err)
	}
}

// TestPlantedJournal has journals that lead out of the prefix, or to what hashpkg
// does not publish. Each is refused by its name, and nothing is touched.
func TestPlantedJournal(t *testing.T) {
	type moves = []map[string]string
	one := func(from, to string) moves { return moves{{"from": from, "to": to}} }
	for name, journal := range map[string]map[string]any{
		"a link on the way":      {"moves": one("a", "evil/dir")},
		"a directory there":      {"dirs": []string{"evil/empty"}},
		"what goes back":         {"gone": one("here", "evil/dir")},
		"a link in the staging":  {"gone": one("out/file", "tool/2.0")},
		"a link in it for moves": {"moves": one("out/nothing", "tool/1.0")},
		"the private directory":  {"moves": one("a", layout.Private)},
		"the objects":            {"moves": one("a", layout.ObjectsDir)},
		"another staging":        {"moves": one("a", layout.StagingDir+"/t2")},
		"the active generation":  {"moves": one("a", layout.CurrentSystem)},
		"below that":             {"moves": one("a", layout.CurrentSystem+"/x")},
		"the parent":             {"moves": one("a", "../x")},
		"the prefix":             {"moves": one("a", ".")},
		"an absolute name":       {"moves": one("a", "/etc")},
		"from elsewhere":         {"gone": one("../../x", "tool/2.0")},
		"from the journal":       {"gone": one("journal", "tool/2.0")},
	} {
		t.Run(name, func(t *testing.T) {
			out := outside(t)
			must(t, os.Mkdir(filepath.Join(out, "empty"), 0o755))
			t.Cleanup(func() {
				if err := os.Remove(filepath.Join(out, "empty")); err != nil {
					t.Error(err)
				}
			})
			s, _ := installed(t)
			b, err := json.Marshal(journal)
			must(t, err)
			write(t, s.Path(layout.StagingDir+"/tX/journal"), string(b))
			write(t, s.Path(layout.StagingDir+"/tX/here"), "x")
			link(t, out, s.Path(layout.StagingDir+"/tX/out"))
			link(t, out, s.Path("evil"))
			before := listing(t, s.Path("."))
			err = s.Recover(nil)
			if err == nil || !strings.Contains(err.Error(), s.Path(layout.StagingDir+"/tX/journal")) {
				t.Errorf("Recover gives %v", err)
			} else if strings.Contains(err.Error(), "\n") {
				t.Errorf("Recover says two things at once: %v", err)
			}
			if after := listing(t, s.Path(".")); after != before {
				t.Errorf("Recover makes\n%sof\n%s", after, before)
			}
		})
	}
}

// TestPlantedStaging has links and pipes in the staging directory.
func TestPlantedStaging(t *testing.T) {
	out := outside(t)
	s, _ := installed(t)
	before := listing(t, s.Path("."))
	link(t, out, s.Path(layout.StagingDir+"/t"))
	link(t, out, s.Path(layout.StagingDir+"/t2/dir"))
	must(t, unix.Mkfifo(s.Path(layout.StagingDir+"/pipe"), 0o600))
	must(t, s.Recover(nil))
	if after := listing(t, s.Path(".")); after != before {
		t.Errorf("Recover makes\n%sof\n%s", after, before)
	}
	must(t, unix.Mkfifo(s.Path(layout.StagingDir+"/t3"), 0o600))
	must(t, os.Remove(s.Path(layout.StagingDir+"/t3")))
	must(t, os.Mkdir(s.Path(layout.StagingDir+"/t3"), 0o755))
	must(t, unix.Mkfifo(s.Path(layout.StagingDir+"/t3/journal"), 0o600))
	if err := s.Recover(nil); !errors.Is(err, beneath.ErrNotRegular) {
		t.Errorf("a pipe in the place of a journal gives %v", err)
	}
	must(t, os.RemoveAll(s.Path(layout.StagingDir)))
	link(t, out, s.Path(layout.StagingDir))
	if err := s.Recover(nil); !errors.Is(err, beneath.ErrLink) {
		t.Errorf("a link in the place of the staging directory gives %v", err)
	}
	if _, err := s.Begin(nil); !errors.Is(err, beneath.ErrLink) {
		t.Errorf("and Begin gives %v", err)
	}
}

// TestPlantedDirectories has links in the place of the directories that a
// publication writes to.
func TestPlantedDirectories(t *testing.T) {
	for _, planted := range []string{"tool", layout.ManifestsDir + "/tool", layout.ManifestsDir, layout.GenerationsDir, layout.ObjectsDir} {
		out := outside(t)
		s, staging := begin(t, nil)
		link(t, out, s.Path(planted))
		err := staging.AddTrees([]*record.Manifest{tool(t, staging)})
		if err == nil {
			must(t, staging.Dir().Mkdir("generation", 0o755))
			staging.Move("generation", layout.GenerationPath(1), store.PhaseRecords)
			err = staging.WriteJournal(1)
		}
		if err == nil || !strings.Contains(err.Error(), s.Path(planted)) {
			t.Errorf("with a link at %s: %v", planted, err)
		}
	}
}

// TestReplace takes away what a generation replaces once it is active, by the writer
// itself or by the one who comes after it was killed, and not before.
func TestReplace(t *testing.T) {
	for _, c := range []struct {
		active, forget, gone bool
	}{{false, false, false}, {true, false, true}, {true, true, true}} {
		s, _ := installed(t)
		old := s.Path(layout.GenerationPath(7))
		must(t, os.MkdirAll(old+"/bin", 0o755))
		staging, err := s.Begin(nil)
		must(t, err)
		must(t, staging.AddTrees([]*record.Manifest{manifest("other", add(t, staging, "file", "other", 0o644))}))
		staging.Replace(layout.GenerationPath(7))
		must(t, staging.WriteJournal(2))
		must(t, staging.Place())
		if _, err := os.Stat(old); err != nil {
			t.Fatal(err)
		}
		if c.active {
			activate(t, s, 2)
		}
		if c.forget {
			must(t, staging.Forget())
		}
		must(t, s.Recover(nil))
		if _, err := os.Stat(old); errors.Is(err, fs.ErrNotExist) != c.gone {
			t.Errorf("%+v: %v", c, err)
		}
		if entries, err := os.ReadDir(s.Path(layout.StagingDir)); err != nil || len(entries) > 0 {
			t.Errorf("%+v: staging has %v, %v", c, entries, err)
		}
		if _, err := s.Manifest("other", "1.0"); (err == nil) != c.active {
			t.Errorf("%+v: the other tree: %v", c, err)
		}
	}
}

// TestRecoverWithoutLink has a writer killed after each step of a publication, and current-system
// lost or replaced since: what was not placed as a whole is undone, and a whole generation stays.
func TestRecoverWithoutLink(t *testing.T) {
	garbage := map[string]func(t *testing.T, name string){
		"lost":           func(*testing.T, string) {},
		"a file":         func(t *testing.T, name string) { write(t, name, "x") },
		"a directory":    func(t *testing.T, name string) { write(t, name+"/x", "x") },
		"a link":         func(t *testing.T, name string) { link(t, "elsewhere", name) },
		"a similar link": func(t *testing.T, name string) { link(t, layout.GenerationPath(2)+"/", name) },
	}
	for what, put := range garbage {
		for _, killed := range []string{"before", "half", "placed", "switched", "undoing"} {
			t.Run(what+", "+killed, func(t *testing.T) {
				s, _ := installed(t)
				before := listing(t, s.Path("."))
				staging, err := s.Begin(nil)
				must(t, err)
				must(t, staging.AddTrees([]*record.Manifest{manifest("other", add(t, staging, "file", "other", 0o644))}))
				must(t, staging.Dir().Mkdir("generation", 0o755))
				staging.Move("generation", layout.GenerationPath(2), store.PhaseRecords)
				must(t, staging.WriteJournal(2))
				if killed != "before" {
					must(t, staging.Place())
				}
				switch killed {
				case "half":
					must(t, os.Rename(s.Path(layout.GenerationPath(2)), staging.Dir().Path("generation")))
				case "undoing": // its last move was taken back first
					must(t, os.Remove(s.Path(layout.GenerationPath(2))))
				case "switched":
					activate(t, s, 2)
				}
				after := listing(t, s.Path("."))
				current := s.Path(layout.CurrentSystem)
				must(t, os.Remove(current))
				put(t, current)
				must(t, s.Recover(nil))
				must(t, os.RemoveAll(current))
				activate(t, s, 1)
				have := listing(t, s.Path("."))
				if killed == "placed" || killed == "switched" {
					if _, err := s.Manifest("other", "1.0"); err != nil || !s.Dir().Exists(layout.GenerationPath(2)) {
						t.Errorf("the generation that was placed is gone (%v):\n%s\nthere was\n%s", err, have, after)
					}
				} else if have != before {
					t.Errorf("there is\n%sand was\n%s", have, before)
				}
				if entries, err := os.ReadDir(s.Path(layout.StagingDir)); err != nil || len(entries) > 0 {
					t.Errorf("in staging there is %v (%v)", entries, err)
				}
			})
		}
	}
}

// TestRecoverFirst has the first writer of a store killed: without another generation no link
// was lost.
func TestRecoverFirst(t *testing.T) {
	s := prefix(t)
	before := listing(t, s.Path("."))
	staging, err := s.Begin(nil)
	must(t, err)
	must(t, staging.AddTrees([]*record.Manifest{manifest("other", add(t, staging, "file", "other", 0o644))}))
	must(t, staging.Dir().Mkdir("generation", 0o755))
	staging.Move("generation", layout.GenerationPath(1), store.PhaseRecords)
	must(t, staging.WriteJournal(1))
	must(t, staging.Place())
	must(t, s.Recover(nil))
	if have := listing(t, s.Path(".")); have != before {
		t.Errorf("there is\n%sand was\n%s", have, before)
	}
}
