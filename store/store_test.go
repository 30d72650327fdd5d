package store_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/store"
)

func TestMissing(t *testing.T) {
	s := store.New(beneath.Missing("/nowhere"))
	if err := s.CheckFormat(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("CheckFormat gives %v", err)
	}
	if err := s.CheckOwner(); err != nil {
		t.Errorf("CheckOwner gives %v", err)
	}
	if id, err := s.Active(); id != 0 || err != nil {
		t.Errorf("Active gives %d, %v", id, err)
	}
	if names, err := s.Names(); len(names) > 0 || err != nil {
		t.Errorf("Names gives %q, %v", names, err)
	}
	if _, err := s.Manifest("tool", "1.0"); !errors.Is(err, store.ErrNoManifest) {
		t.Errorf("Manifest gives %v", err)
	}
}

func TestCheckFormat(t *testing.T) {
	s := prefix(t)
	must(t, s.CheckFormat())
	write(t, s.Path(layout.FormatFile), "2\n")
	if err := s.CheckFormat(); err == nil || !strings.Contains(err.Error(), `layout "2"`) || errors.Is(err, store.ErrFormat) {
		t.Errorf("another layout gives %v", err)
	}
	for _, garbage := range []string{"", "x", "1 1", strings.Repeat("1", 100)} {
		write(t, s.Path(layout.FormatFile), garbage)
		if err := s.CheckFormat(); !errors.Is(err, store.ErrFormat) {
			t.Errorf("with %q, it gives %v", garbage, err)
		}
	}
	write(t, s.Path("one"), "1\n")
	link(t, "../one", s.Path(layout.FormatFile))
	if err := s.CheckFormat(); !errors.Is(err, beneath.ErrLink) || !errors.Is(err, store.ErrFormat) {
		t.Errorf("a link in its place gives %v", err)
	}
	must(t, os.Remove(s.Path(layout.FormatFile)))
	must(t, unix.Mkfifo(s.Path(layout.FormatFile), 0o644))
	if err := s.CheckFormat(); !errors.Is(err, beneath.ErrNotRegular) || !errors.Is(err, store.ErrFormat) {
		t.Errorf("a pipe in its place gives %v", err)
	}
}

// TestPlantedRecords has links and pipes in the place of records, and of what is on
// the way to them.
func TestPlantedRecords(t *testing.T) {
	record := layout.ManifestPath("tool", "1.0")
	for _, planted := range []string{record, layout.ManifestsDir + "/tool", layout.ManifestsDir, layout.Private} {
		s, _ := installed(t)
		aside := s.Path("aside")
		must(t, os.Rename(s.Path(planted), aside))
		link(t, aside, s.Path(planted))
		if _, err := s.Manifest("tool", "1.0"); !errors.Is(err, beneath.ErrLink) {
			t.Errorf("with a link at %s, Manifest gives %v", planted, err)
		}
		if _, err := s.PackageFile("tool", "1.0"); !errors.Is(err, beneath.ErrLink) {
			t.Errorf("with a link at %s, PackageFile gives %v", planted, err)
		}
	}
	s, _ := installed(t)
	must(t, os.Remove(s.Path(record)))
	must(t, unix.Mkfifo(s.Path(record), 0o644))
	writer, err := os.OpenFile(s.Path(record), os.O_RDWR, 0) // then reading would wait
	must(t, err)
	defer writer.Close()
	if _, err := s.Manifest("tool", "1.0"); !errors.Is(err, beneath.ErrNotRegular) {
		t.Errorf("of a pipe, Manifest gives %v", err)
	}
	if _, err := s.PackageFile("tool", "1.0"); !errors.Is(err, beneath.ErrNotRegular) {
		t.Errorf("of a pipe, PackageFile gives %v", err)
	}
}

func TestCheckOwner(t *testing.T) {
	s, _ := installed(t)
	must(t, s.CheckOwner())
	out := outside(t)
	for _, name := range []string{layout.SystemDir, layout.StagingDir, layout.ObjectsDir} {
		link(t, out, s.Path(name))
		if err := s.CheckOwner(); err == nil || !strings.Contains(err.Error(), s.Path(name)+" is not a directory of its own") {
			t.Errorf("with a link at %s: %v", name, err)
		}
		must(t, os.Remove(s.Path(name)))
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give directories away")
	}
	for _, name := range []string{".", layout.Private, layout.ObjectsDir, layout.ManifestsDir, layout.GenerationsDir, layout.StagingDir, layout.SystemDir} {
		s := prefix(t)
		must(t, os.MkdirAll(s.Path(layout.SystemDir), 0o755))
		must(t, os.Chown(s.Path(name), 5, 0))
		err := s.CheckOwner()
		if err == nil || !strings.Contains(err.Error(), "a store that belongs to somebody else is not written to") ||
			!strings.Contains(err.Error(), s.Path(name)+" belongs to user 5") {
			t.Errorf("%s belongs to user 5: %v", name, err)
		}
	}
}

// TestOthersMayWrite lets others than the owner of a store write to one of its
// directories.
func TestOthersMayWrite(t *testing.T) {
	for _, name := range []string{".", layout.Private, layout.ObjectsDir, layout.ManifestsDir, layout.GenerationsDir, layout.StagingDir, layout.SystemDir} {
		s := prefix(t)
		must(t, os.MkdirAll(s.Path(layout.SystemDir), 0o755))
		for mode, refused := range map[os.FileMode]bool{0o755: false, 0o700: false, 0o775: os.Geteuid() == 0, 0o757: true, 0o777 | os.ModeSticky: true} {
			must(t, os.Chmod(s.Path(name), mode))
			err := s.CheckOwner()
			if (err != nil) != refused || refused && !strings.Contains(err.Error(), "chmod go-w "+s.Path(name)) {
				t.Errorf("%s has mode %v: %v", name, mode, err)
			}
		}
	}
}

func TestActive(t *testing.T) {
	s := prefix(t)
	for target, want := range map[string]int{".hashpkg/generations/17": 17, "/etc": 0, "../x": 0} {
		link(t, target, s.Path(layout.CurrentSystem))
		id, err := s.Active()
		if id != want || (err == nil) != (want != 0) {
			t.Errorf("%s is generation %d, %v", target, id, err)
		}
	}
	must(t, os.Remove(s.Path(layout.CurrentSystem)))
	must(t, os.Mkdir(s.Path(layout.CurrentSystem), 0o755))
	if _, err := s.Active(); err == nil {
		t.Error("a directory in the place of the link is no error")
	}
}
