package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestSyncHostileRoot gives sync and its companions images in which links lead out
// of the root, and pipes stand where files are expected: nothing outside is
// changed, and nothing waits for ever.
func TestSyncHostileRoot(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	base := filepath.Join(dir, "base")
	smallSystem(t, base)
	synced := filepath.Join(dir, "synced")
	copyRoot(t, base, synced)
	mustRun(t, hashpkg(t), "--root", synced, "sync", "-q")
	root, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
	in := func(name string) string { return filepath.Join(root, name) }
	out := func(name string) string {
		moved := filepath.Join(outside, filepath.Base(name))
		mustRun(t, "mv", in(name), moved)
		if err := os.Symlink(moved, in(name)); err != nil {
			t.Fatal(err)
		}
		return moved
	}
	pipe := func(name string) {
		if err := os.RemoveAll(in(name)); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(in(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, from string
		change     func()
		says       string // by sync; "" when it succeeds
	}{
		{"program", base, func() { out("usr/bin/jq") }, ""},
		{"private directory", synced, func() { out("var/sys/.hashpkg") }, "a symbolic link is in the way"},
		{"records", synced, func() { out("var/sys/.hashpkg/system") }, "a symbolic link is in the way"},
		{"trees", synced, func() {
			out("var/sys/libonig5")
			mustRun(t, "sed", "-i", "s/^Version: 6/Version: 7/", in("var/lib/dpkg/status"))
		}, "a symbolic link is in the way"},
		{"pins", synced, func() { pipe("var/sys/.hashpkg/system/pins.json") }, ""},
		{"state", synced, func() { pipe("var/sys/.hashpkg/system/state.json") }, ""},
		{"circle", base, func() {
			mustRun(t, "sh", "-c", `ln -s circle "$1/usr/circle" && echo /usr/circle/libx.so >>"$1/var/lib/dpkg/info/jq.list"`, "sh", root)
		}, ""},
	} {
		if err := os.MkdirAll(outside, 0o755); err != nil {
			t.Fatal(err)
		}
		copyRoot(t, c.from, root)
		c.change()
		before := dump(t, outside)
		for _, command := range []string{"sync --again", "restore --all", "verify --system", "check"} {
			args := append([]string{"20", hashpkg(t), "--root", root, "-q"}, strings.Fields(command)...)
			status, stderr := run(t, exec.Command("timeout", args...))
			if status == 124 {
				t.Errorf("%s: %s waits for ever", c.name, command)
			}
			if strings.HasPrefix(command, "sync") && (status == 0) != (c.says == "") || c.says != "" && command == "sync --again" && !strings.Contains(stderr, c.says) {
				t.Errorf("%s: %s: status %d: %s", c.name, command, status, stderr)
			}
		}
		if after := dump(t, outside); after != before {
			t.Errorf("%s: what is outside was changed", c.name)
		}
		for _, d := range []string{root, outside} {
			if err := os.RemoveAll(d); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// hostile is a root that means harm, beside what it must not reach.
type hostile struct {
	*testing.T
	root, outside string
}

// newHostile returns a system that was built, and a directory outside it.
func newHostile(t *testing.T) *hostile {
	t.Helper()
	dir := t.TempDir()
	h := &hostile{t, filepath.Join(dir, "root"), filepath.Join(dir, "outside")}
	builtSystem(t, h.root)
	h.write(filepath.Join(h.outside, "file"), "not hashpkg's")
	h.write(filepath.Join(h.outside, "dir/below/file"), "not hashpkg's either")
	return h
}

// in returns the path of a name in the root.
func (h *hostile) in(name string) string { return filepath.Join(h.root, name) }

func (h *hostile) write(path, content string) {
	h.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		h.Fatal(err)
	}
}

// link puts a link that leads outside in the place of a name in the root.
func (h *hostile) link(target, name string) {
	h.Helper()
	if err := os.MkdirAll(filepath.Dir(h.in(name)), 0o755); err != nil {
		h.Fatal(err)
	}
	if err := os.RemoveAll(h.in(name)); err != nil {
		h.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(h.outside, target), h.in(name)); err != nil {
		h.Fatal(err)
	}
}

// holds runs commands, each a line of arguments, and fails the test when one of them
// changes something outside, or does not end. It returns what they said.
func (h *hostile) holds(what string, commands ...string) (said string) {
	h.Helper()
	before := snapshot(h.T, h.outside)
	for _, command := range commands {
		env, command, _ := strings.Cut(command, "hashpkg ")
		args := append([]string{"--signal=KILL", "60", "env"}, strings.Fields(env)...)
		args = append(args, hashpkg(h.T))
		status, stderr := run(h.T, exec.Command("timeout", append(args, strings.Fields(command)...)...))
		if status == -1 || status == 137 {
			h.Errorf("%s: %s waits for ever", what, command)
		}
		if status != 0 && status != 3 && !strings.Contains(stderr, "hashpkg: ") || strings.Contains(stderr, "panic") || strings.Contains(stderr, "internal error") {
			h.Errorf("%s: %s: status %d: %s", what, command, status, stderr)
		}
		said += fmt.Sprintf("%s: status %d: %s\n", command, status, stderr)
		if !compareSnapshots(h.T, what+": "+command, before, snapshot(h.T, h.outside)) {
			break
		}
	}
	return said
}

// TestHostileStaging has a link among the directories that killed writers leave,
// which the next writer sweeps.
func TestHostileStaging(t *testing.T) {
	h := newHostile(t)
	for _, command := range []string{
		"DPKG_ROOT=" + h.root + " hashpkg hook before",
		"DPKG_ROOT=" + h.root + " hashpkg hook after",
		"hashpkg --root " + h.root + " sync --again",
		"hashpkg --root " + h.root + " gc",
	} {
		h.link("dir", "var/sys/.hashpkg/staging/t")
		h.holds("a link in staging", command)
	}
	if _, err := os.Lstat(h.in("var/sys/.hashpkg/staging/t")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link is still there: %v", err)
	}
}

// TestHostileJournal has a journal that says that what a link leads to was moved,
// which the next writer is to undo.
func TestHostileJournal(t *testing.T) {
	h := newHostile(t)
	for _, journal := range []string{
		`{"generation":99,"moves":[{"from":"a","to":"evil/dir"}]}`,
		`{"generation":99,"moves":[{"from":"a","to":"evil/dir/below"},{"from":"b","to":"evil/file"}]}`,
		`{"generation":99,"dirs":["evil/empty"]}`,
		`{"generation":0,"gone":[{"from":"gone/0","to":"evil/file"}]}`,
		`{"generation":0,"gone":[{"from":"evil/file","to":"tool/9.0"}]}`,
		`{"generation":99,"moves":[{"from":"a","to":"../../../outside/dir"}]}`,
		`{"generation":99,"moves":[{"from":"a","to":"` + h.outside + `/dir"}]}`,
	} {
		for _, command := range []string{"sync --again", "gc", "rollback", "use --highest tool"} {
			if err := os.MkdirAll(filepath.Join(h.outside, "empty"), 0o755); err != nil {
				t.Fatal(err)
			}
			h.link("", "var/sys/evil")
			h.link("", "var/sys/.hashpkg/staging/tX/evil")
			h.write(h.in("var/sys/.hashpkg/staging/tX/gone/0"), "from the image")
			h.write(h.in("var/sys/.hashpkg/staging/tX/journal"), journal)
			said := h.holds("the journal "+journal, "hashpkg --root "+h.root+" "+command)
			if !strings.Contains(said, "read journal") {
				t.Errorf("of the journal %s it says %s", journal, said)
			}
		}
	}
}

// TestHostilePrefix has the same below a prefix of a user's, for which root runs
// hashpkg.
func TestHostilePrefix(t *testing.T) {
	testneed.Root(t)
	testneed.Programs(t, "setpriv")
	dir := t.TempDir()
	h := &hostile{t, filepath.Join(dir, "user"), filepath.Join(dir, "outside")}
	h.write(filepath.Join(h.outside, "dir/file"), "root's")
	deb := writeDeb(t, dir, testdeb.Package{Name: "tool", Version: "1.0", Files: []testdeb.File{testdeb.Exec("usr/bin/tool", "x")}})
	mustRun(t, hashpkg(t), "--prefix", h.in("sys"), "install", "-q", deb)
	h.link("", "sys/evil")
	h.link("dir", "sys/.hashpkg/staging/t")
	h.write(h.in("sys/.hashpkg/staging/tX/journal"), `{"generation":99,"moves":[{"from":"a","to":"evil/dir"}]}`)
	mustRun(t, "chown", "-Rh", "65534:65534", h.root)
	mustRun(t, "chmod", "755", dir)
	for _, command := range []string{"gc", "gc --keep 1", "use --highest tool", "remove tool", "install " + deb} {
		said := h.holds("a user's prefix", "hashpkg --prefix "+h.in("sys")+" "+command)
		if !strings.Contains(said, "belongs to user 65534") {
			t.Errorf("it says %s", said)
		}
	}
}

// TestHostileTree has a link in the place of a package's directory, of which a
// manifest says that there is a tree that nothing uses any more.
func TestHostileTree(t *testing.T) {
	h := newHostile(t)
	deb := writeDeb(t, t.TempDir(), testdeb.Package{Name: "evil", Version: "1.0", Files: []testdeb.File{testdeb.Exec("usr/bin/evil", "x")}})
	mustRun(t, hashpkg(t), "--root", h.root, "install", "-q", deb)
	mustRun(t, hashpkg(t), "--root", h.root, "remove", "-q", "evil")
	mustRun(t, hashpkg(t), "--root", h.root, "use", "-q", "tool=1.0") // neither the active generation nor the one before has it
	mustRun(t, "cp", "-a", h.in("var/sys/evil/1.0"), h.outside)
	h.link("", "var/sys/evil")
	said := h.holds("a link for a package", "hashpkg --root "+h.root+" gc --keep 1", "hashpkg --root "+h.root+" gc --keep 1 --keep-versions 0", "hashpkg --root "+h.root+" gc --keep 1 --keep-versions 0 --dry-run",
		"hashpkg --root "+h.root+" install "+deb, "hashpkg --root "+h.root+" verify")
	if strings.Count(said, "var/sys/evil: a symbolic link is in the way") != 2 {
		t.Errorf("it says %s", said)
	}
}

// TestHostileTemporaryNames has links in the place of temporary files that could be
// foreseen.
func TestHostileTemporaryNames(t *testing.T) {
	h := newHostile(t)
	for _, name := range []string{
		"var/sys/.hashpkg/system/state.json", "var/sys/.hashpkg/system/pins.json", "var/sys/.hashpkg/system/failure", "var/sys/.hashpkg/format",
		"etc/dpkg/dpkg.cfg.d/hashpkg", "etc/apparmor.d/abstractions/base.d/hashpkg", "usr/bin/svc", "var/sys/current-system",
	} {
		for _, suffix := range []string{".new", ".hashpkg-new", ".tmp", "~"} {
			h.link("file", name+suffix)
			h.link("new", filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+suffix))
		}
	}
	said := h.holds("links for temporary names", "hashpkg --root "+h.root+" sync --again", "hashpkg --root "+h.root+" hooks install dpkg",
		"hashpkg --root "+h.root+" pin svc libsvc1=1.0", "hashpkg --root "+h.root+" hooks remove", "hashpkg --root "+h.root+" restore --all")
	if strings.Count(said, "status 0:") != 5 {
		t.Errorf("it says %s", said)
	}
}

// TestHostileHardLinks has other names of files outside in the place of files of the
// root. A command may take such a name away, which the file outside counts, and change
// nothing else of it.
func TestHostileHardLinks(t *testing.T) {
	h := newHostile(t)
	objects, err := filepath.Glob(h.in("var/sys/.hashpkg/objects/*/*"))
	if err != nil || len(objects) == 0 {
		t.Fatalf("the store has no objects: %v", err)
	}
	programs := []string{"usr/bin/svc", "usr/lib/x86_64-linux-gnu/libsvc.so.1.2.0"}
	for _, name := range programs { // one that has the bytes of what it stands for
		mustRun(t, "cp", "-p", h.in(name), filepath.Join(h.outside, filepath.Base(name)))
	}
	mustRun(t, "cp", "-p", objects[0], filepath.Join(h.outside, "object"))
	before := withoutCounts(snapshot(t, h.outside))
	plant := func(file, name string) {
		t.Helper()
		if err := os.RemoveAll(h.in(name)); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(h.in(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(filepath.Join(h.outside, file), h.in(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, command := range []string{
		"sync --again", "pin svc libsvc1=1.0", "restore --all", "hooks install dpkg", "hooks remove", "gc --keep 1", "verify", "check",
	} {
		for _, name := range programs {
			plant(filepath.Base(name), name)
		}
		plant("object", strings.TrimPrefix(objects[0], h.root+"/"))
		for _, name := range []string{
			"lock", "system/state.json", "system/failure", "system/retired", "staging/file", "staging/t/journal", "staging/t/objects/1", "generations/1/extra",
		} {
			plant("file", "var/sys/.hashpkg/"+name)
		}
		plant("file", "usr/bin/.hashpkg-edit-0123456789abcdef")
		plant("file", "var/sys/tool/1.0/usr/share/tool/data")
		_, stderr := run(t, exec.Command(hashpkg(t), append([]string{"--root", h.root}, strings.Fields(command)...)...))
		if !compareSnapshots(t, command+" ("+stderr+")", before, withoutCounts(snapshot(t, h.outside))) {
			break
		}
	}
}

// withoutCounts leaves out of a snapshot what the kernel changes of a file when one of
// its names comes or goes.
func withoutCounts(lines []string) []string {
	counts := regexp.MustCompile(` links \d+ | ctime \{\d+ \d+\}`)
	for i := range lines {
		lines[i] = counts.ReplaceAllString(lines[i], " ")
	}
	return lines
}

// TestHostileRecords has records whose names lead out of the root.
func TestHostileRecords(t *testing.T) {
	h := newHostile(t)
	const up = "../../../../outside"
	for _, c := range []struct{ record, old, new, says string }{
		{"generations/4/generation.json", `"tool"`, `"` + up + `"`, "decode generation"},
		{"generations/4/generation.json", `"tree":"1.0"`, `"tree":"` + up + `/dir"`, "decode generation"},
		{"manifests/tool/1.0.json", `"usr/bin/tool"`, `"` + up + `/file"`, "does not stand below its tree"},
		{"manifests/tool/1.0.json", `"name":"tool"`, `"name":"` + up + `"`, "decode manifest"},
		{"system/edits/deb/svc:amd64.json", "/usr/bin/svc", "/usr/bin/../../../outside/file", "is not a path in a root"},
	} {
		path := h.in("var/sys/.hashpkg/" + c.record)
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.ReplaceAll(string(was), c.old, c.new)
		if changed == string(was) {
			t.Fatalf("%s has no %s: %s", c.record, c.old, was)
		}
		h.write(path, changed)
		said := h.holds(c.new+" in "+c.record, "hashpkg --root "+h.root+" verify", "hashpkg --root "+h.root+" gc --keep 1",
			"hashpkg --root "+h.root+" sync --again", "hashpkg --root "+h.root+" restore --all", "hashpkg --root "+h.root+" rollback 4")
		if !strings.Contains(said, c.says) {
			t.Errorf("of %s in %s it says %s", c.new, c.record, said)
		}
		h.write(path, string(was))
	}
}

// TestHostileFiles has pipes, devices and sockets in the place of files that hashpkg
// reads or writes, directories that nobody may look into, and files that are larger
// than the memory.
func TestHostileFiles(t *testing.T) {
	h := newHostile(t)
	kinds := map[string]func(path string) error{
		"pipe":      func(path string) error { return unix.Mkfifo(path, 0o644) },
		"device":    func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o644, 1<<8|5) }, // zero(4), which has no end
		"directory": func(path string) error { return os.Mkdir(path, 0) },
		"large": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, 1<<42))
		},
		"loop": func(path string) error { return os.Symlink(filepath.Base(path), path) },
	}
	for name, only := range map[string]string{ // "" for all
		"var/sys/.hashpkg/format": "", "var/sys/.hashpkg/lock": "", "var/sys/.hashpkg/system/state.json": "", "var/sys/.hashpkg/system/pins.json": "",
		"var/sys/.hashpkg/staging/t/journal": "", "var/sys/.hashpkg/generations/1/generation.json": "", "var/sys/.hashpkg/manifests/tool/1.0.json": "",
		"var/sys/current-system": "", "var/lib/dpkg/status": "", "var/lib/dpkg/info/svc.list": "", "var/lib/dpkg/lock": "", "etc/hashpkg.toml": "",
		"etc/ld.so.cache": "", "etc/dpkg/dpkg.cfg.d/hashpkg": "", "usr/bin/svc": "device", "usr/lib/x86_64-linux-gnu/libsvc.so.1.2.0": "device",
		"bin/sh": "device",
	} {
		for kind, create := range kinds {
			if only != "" && kind != only {
				continue
			}
			was := h.in(name) + ".was"
			err := os.MkdirAll(filepath.Dir(was), 0o755)
			if err == nil {
				err = os.Rename(h.in(name), was)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if err := create(h.in(name)); err != nil {
				t.Fatal(err)
			}
			said := h.holds("a "+kind+" for "+name, "hashpkg --root "+h.root+" sync --again", "hashpkg --root "+h.root+" gc")
			if only != "" && strings.Count(said, "status 0:") != 2 { // there are other programs
				t.Errorf("with a %s for %s it says %s", kind, name, said)
			}
			if err := os.RemoveAll(h.in(name)); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(was, h.in(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
}
