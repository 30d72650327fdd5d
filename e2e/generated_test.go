package e2e

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestGeneratedAsUser installs as somebody without privileges: indexes of views are made by
// the closure's programs all the same, which do what they can to do harm.
func TestGeneratedAsUser(t *testing.T) {
	testneed.Root(t)
	testneed.Programs(t, "sh")
	if runtime.GOARCH != "amd64" {
		t.Skip("its root has files of an amd64 machine")
	}
	const uid = 1000
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(dir, "home/secret")
	write(secret, "secret\n")
	const compile = `#!/bin/sh
out=${1#--targetdir=}
{
	cat "$2"/*.xml
	id -u
	cat SECRET || echo "no secret"
	echo x >>SECRET || echo "not changed"
	echo x >/usr/share/app/data || echo "not changed"
	echo x >/var/sys/app/1/usr/share/app/data || echo "not changed"
	ln -s /etc/shadow "$out/shadow"
} >"$out/gschemas.compiled" 2>/dev/null
`
	const lib = "/usr/lib/x86_64-linux-gnu/"
	const schemas = "usr/share/glib-2.0/schemas/"
	glib := testdeb.Package{Name: "glib", Version: "1", Arch: "all", Files: []testdeb.File{
		{Path: "usr/lib/x86_64-linux-gnu/glib-2.0/glib-compile-schemas", Mode: 0o755, Content: strings.ReplaceAll(compile, "SECRET", secret)},
	}}
	app := testdeb.Package{Name: "app", Version: "1", Arch: "all", Depends: "glib", Files: []testdeb.File{
		{Path: "usr/bin/app", Mode: 0o755, Content: "#!/bin/sh\n"},
		{Path: "usr/share/app/data", Content: "data\n"},
		{Path: schemas + "app.xml", Content: "schema\n"},
	}}
	files := []string{writeDeb(t, dir, glib), writeDeb(t, dir, app)}

	root := filepath.Join(dir, "home/root")
	for _, file := range []string{"/bin/sh", "/bin/cat", "/usr/bin/id", "/bin/ln", "/lib64/ld-linux-x86-64.so.2", lib + "libc.so.6", lib + "libselinux.so.1", lib + "libpcre2-8.so.0"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(root, file)
		if !strings.HasPrefix(file, "/usr/") {
			to = filepath.Join(root, "usr", file)
		}
		write(to, string(b))
		if err := os.Chmod(to, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+name, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(filepath.Join(dir, "home"), func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, uid, uid))
	})
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(hashpkg(t), append([]string{"--root", root}, args...)...)
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("hashpkg %q: %v: %s", args, err, out)
		}
	}
	run(append([]string{"install"}, files...)...)
	made, err := os.ReadFile(filepath.Join(root, "var/sys/current-system/view/app/1", schemas, "gschemas.compiled"))
	if want := "schema\n1000\nno secret\nnot changed\nnot changed\nnot changed\n"; err != nil || string(made) != want {
		t.Errorf("the index is %q, want %q; %v", made, want, err)
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "secret\n" {
		t.Errorf("the secret is %q, %v", b, err)
	}
	if _, err := os.Lstat(filepath.Join(root, "var/sys/current-system/view/app/1", schemas, "shadow")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link has got into the view: %v", err)
	}
	run("verify")
}
