package sysroot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
)

// openRoot opens the root at dir until the test ends.
func openRoot(t *testing.T, dir string) *Root {
	t.Helper()
	r, err := Open(dir, layout.DefaultPrefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// put makes a file, a link (for "-> TARGET") or a directory (for "/") on the host.
func put(t *testing.T, path, what string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if target, ok := strings.CutPrefix(what, "-> "); ok {
		err = os.Symlink(target, path)
	} else if what == "/" {
		err = os.MkdirAll(path, 0o755)
	} else {
		err = os.WriteFile(path, []byte(what), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// linked is a root with links of each kind, beside a directory that it must not
// reach: every file holds the way to it.
func linked(t *testing.T) (r *Root, dir string) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "root")
	for name, what := range map[string]string{
		"outside/file":          "outside",
		"etc/file":              "outside, too",
		"root/usr/lib/file":     "usr/lib",
		"root/etc/file":         "etc",
		"root/file":             "top",
		"root/lib":              "-> usr/lib",
		"root/absolute":         "-> /usr/lib",
		"root/usr/up":           "-> ../etc",
		"root/usr/chain":        "-> ../absolute",
		"root/tofile":           "-> /lib/file",
		"root/escaping":         "-> ../../../../outside",
		"root/outoftop":         "-> " + filepath.Join(top, "outside"),
		"root/toofar":           "-> ../../../etc/file",
		"root/loop":             "-> loop",
		"root/ping":             "-> pong",
		"root/pong":             "-> ping",
		"root/dangling":         "-> /usr/nothing",
		"root/usr/nolib":        "-> file",
		"root/usr/lib/file.new": "-> file",
	} {
		put(t, filepath.Join(top, name), what)
	}
	return openRoot(t, dir), dir
}

func TestFind(t *testing.T) {
	r, _ := linked(t)
	for _, tt := range []struct {
		path, want string
		err        error
	}{
		{"/usr/lib/file", "/usr/lib/file", nil},
		{"usr/lib/file", "/usr/lib/file", nil},
		{"/usr//lib/./file/", "/usr/lib/file", nil},
		{"/lib/file", "/usr/lib/file", nil},
		{"/absolute/file", "/usr/lib/file", nil},
		{"/usr/up/file", "/etc/file", nil},
		{"/usr/chain/file", "/usr/lib/file", nil},
		{"/lib", "/lib", nil}, // the last element is not followed
		{"/loop", "/loop", nil},
		{"/usr/lib/nothing", "/usr/lib/nothing", nil},
		{"/", "/", nil},
		{"", "/", nil},
		{"/..", "/", nil},
		{"/../../etc/file", "/etc/file", nil},
		{"/escaping/file", "", fs.ErrNotExist},
		{"/outoftop/file", "", fs.ErrNotExist},
		{"/dangling/file", "", fs.ErrNotExist},
		{"/nothing/file", "", fs.ErrNotExist},
		{"/loop/file", "", unix.ELOOP},
		{"/ping/file", "", unix.ELOOP},
		{"/file/file", "", unix.ENOTDIR},
	} {
		p, err := r.Find(tt.path)
		if !errors.Is(err, tt.err) {
			t.Errorf("%q: the error is %v, want %v", tt.path, err, tt.err)
		}
		if err != nil {
			if strings.Contains(err.Error(), "SecureJoin") { // which is nothing for people
				t.Errorf("%q: the error is %v", tt.path, err)
			}
			continue
		}
		if p.Path != tt.want || filepath.Base(tt.want) != p.Base && tt.want != "/" {
			t.Errorf("%q is at %s, %q there; want %s", tt.path, p.Path, p.Base, tt.want)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestFindAgain has a directory that comes, goes and becomes a link after it was
// found once.
func TestFindAgain(t *testing.T) {
	r, dir := linked(t)
	at := func() string {
		p, err := r.Find("/place/file")
		if err != nil {
			return "none"
		}
		defer p.Close()
		return p.Path
	}
	place := filepath.Join(dir, "place")
	for _, step := range []struct{ what, want string }{
		{"", "none"}, {"/", "/place/file"}, {"-> ../../../outside", "none"}, {"/", "/place/file"}, {"-> usr/lib", "/usr/lib/file"},
	} {
		if err := os.RemoveAll(place); err != nil {
			t.Fatal(err)
		}
		if step.what != "" {
			put(t, place, step.what)
		}
		if got := at(); got != step.want {
			t.Errorf("with %q it is found at %s, want %s", step.what, got, step.want)
		}
	}
}

func TestReadFiles(t *testing.T) {
	r, dir := linked(t)
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path, want string
		err        error
		has        bool
	}{
		{"/usr/lib/file", "usr/lib", nil, true},
		{"/absolute/file", "usr/lib", nil, true},
		{"/usr/chain/file.new", "usr/lib", nil, true},
		{"/tofile", "usr/lib", nil, true},
		{"/toofar", "etc", nil, true}, // that of the root
		{"/outoftop/file", "", fs.ErrNotExist, false},
		{"/escaping/file", "", fs.ErrNotExist, false},
		{"/dangling", "", fs.ErrNotExist, true},
		{"/usr/nolib", "", fs.ErrNotExist, true},
		{"/loop", "", unix.ELOOP, true},
		{"/ping", "", unix.ELOOP, true},
		{"/usr", "", beneath.ErrNotRegular, true},
		{"/pipe", "", beneath.ErrNotRegular, true},
	} {
		b, err := r.ReadFile(tt.path, 100)
		if string(b) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s holds %q, error %v; want %q, %v", tt.path, b, err, tt.want, tt.err)
		}
		if r.HasFile(tt.path) != tt.has {
			t.Errorf("HasFile(%s) is %v", tt.path, !tt.has)
		}
		info, err := r.Stat(tt.path)
		if missing := errors.Is(tt.err, fs.ErrNotExist) || errors.Is(tt.err, unix.ELOOP); missing != (err != nil) || missing && !errors.Is(err, tt.err) {
			t.Errorf("Stat(%s): %v", tt.path, err)
		} else if err == nil && tt.err == nil && (!info.Mode().IsRegular() || info.Size() != int64(len(tt.want))) {
			t.Errorf("Stat(%s): %v, %d bytes", tt.path, info.Mode(), info.Size())
		}
	}
	if _, err := r.ReadFile("/usr/lib/file", 6); err == nil {
		t.Error("seven bytes were read though six were allowed")
	}
	entries, err := r.ReadDir("/absolute")
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"file", "file.new"}, names); diff != "" || err != nil {
		t.Errorf("/absolute has %s (%v)", diff, err)
	}
	for path, want := range map[string]string{"/lib/x": "/usr/lib/x", "/usr/up": "/usr/up", "/dangling/x": "/usr/nothing/x"} {
		if real, err := r.Real(path); real != want || err != nil {
			t.Errorf("%s is really %s (%v), want %s", path, real, err, want)
		}
	}
}

func TestWriteAndRemoveFiles(t *testing.T) {
	r, dir := linked(t)
	outside := filepath.Join(filepath.Dir(dir), "outside")
	for _, tt := range []struct{ path, at string }{
		{"/etc/new", "etc/new"},
		{"/absolute/new", "usr/lib/new"},
		{"/usr/up/deep/er/new", "etc/deep/er/new"},
		{"/escaping/new", "outside/new"}, // in the root
		{"/outoftop/new", strings.TrimPrefix(outside, "/") + "/new"},
		{"/dangling/new", "usr/nothing/new"},
		{"/tofile", "tofile"}, // in the link's own place
		{"/loop", "loop"},
		{"/etc/file", "etc/file"},
	} {
		if err := r.WriteFile(tt.path, []byte("new"), 0o640); err != nil {
			t.Errorf("write %s: %v", tt.path, err)
			continue
		}
		host := filepath.Join(dir, tt.at)
		info, err := os.Lstat(host)
		if err != nil || info.Mode() != 0o640 {
			t.Errorf("%s is not at %s: %v", tt.path, tt.at, err)
		}
		for range 2 { // one that is not there is no error
			if err := r.Remove(tt.path); err != nil {
				t.Errorf("remove %s: %v", tt.path, err)
			}
		}
		if _, err := os.Lstat(host); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", tt.at, err)
		}
	}
	if err := r.Remove("/lib"); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "usr/lib/file")); string(b) != "usr/lib" {
		t.Errorf("the link's target is %q (%v)", b, err)
	}
	for path, want := range map[string]error{"/ping/new": unix.ELOOP, "/file/new": unix.ENOTDIR} {
		if err := r.WriteFile(path, nil, 0o644); !errors.Is(err, want) {
			t.Errorf("write %s: %v", path, err)
		}
		if err := r.Remove(path); !errors.Is(err, want) {
			t.Errorf("remove %s: %v", path, err)
		}
	}
	if err := r.Remove("/nothing/file"); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 {
		t.Errorf("outside there are %v (%v)", entries, err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), "x")
	put(t, filepath.Join(dir, "root/var"), "-> /data")
	put(t, filepath.Join(dir, "root/data/sys"), "/")
	put(t, filepath.Join(dir, "top/var/sys"), "-> /")
	put(t, filepath.Join(dir, "lost/var/sys"), "x")
	for _, tt := range []struct{ name, prefix, real, toRoot, err string }{
		{"root", "/var/sys", "/data/sys", "../..", ""},
		{"root", "/var/lib/a/sys", "/data/lib/a/sys", "../../../..", ""},
		{"root", "/opt", "/opt", "..", ""},
		{"missing", "/var/sys", "/var/sys", "../..", ""},
		{"file", "/var/sys", "", "", "not a directory"},
		{"top", "/var/sys", "", "", "/var/sys leads to the root itself"},
		{"lost", "/var/sys", "", "", "not a directory"},
		{"root", "var/sys", "", "", "var/sys"},
		{"root", "/", "", "", "/"},
	} {
		r, err := Open(filepath.Join(dir, tt.name), tt.prefix, nil)
		if err != nil || tt.err != "" {
			if err == nil || tt.err == "" || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s with %s: the error is %v, want %q", tt.name, tt.prefix, err, tt.err)
			}
			continue
		}
		real, err := r.RealPrefix()
		toRoot, terr := r.ToRoot()
		if err := errors.Join(err, terr); err != nil || real != tt.real || toRoot != tt.toRoot {
			t.Errorf("%s with %s: the prefix is %s, and %s leads to the root (%v); want %s and %s", tt.name, tt.prefix, real, toRoot, err, tt.real, tt.toRoot)
		}
		if ok, err := r.Exists(); ok || err != nil {
			t.Errorf("%s: there is a store: %v, %v", tt.name, ok, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "missing")); err == nil {
		t.Error("a root was made by opening it")
	}
}
