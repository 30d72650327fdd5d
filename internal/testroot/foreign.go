package testroot

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hashpkg/hashpkg/internal/archive"
)

// makeForeign makes a root of an architecture whose programs do not run here:
// it unpacks packages and writes dpkg's records itself.
func makeForeign(ctx context.Context, work, tarball, suite, arch string, packages []string) error {
	o := archive.Options{Suite: suite, Arch: arch, Packages: packages}
	specs, err := archive.Missing(ctx, o, "")
	if err != nil {
		return err
	}
	o.Packages = specs
	debs, err := archive.Fetch(ctx, o)
	if err != nil {
		return err
	}

	root := filepath.Join(work, "root")
	info := filepath.Join(root, "var/lib/dpkg/info")
	if err := os.MkdirAll(info, 0o755); err != nil {
		return err
	}
	for _, dir := range []string{"bin", "sbin", "lib"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", dir), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	var status strings.Builder
	for _, deb := range debs {
		if err := unpackForeign(ctx, root, deb, &status); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
		}
	}
	for name, text := range map[string]string{"arch": arch + "\n", "info/format": "1\n", "status": status.String(), "available": ""} {
		if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return tarUp(ctx, root, tarball)
}

func unpackForeign(ctx context.Context, root, deb string, status *strings.Builder) error {
	// tar, because dpkg-deb would put directories in place of /bin and its like.
	err := run(exec.CommandContext(ctx, "/bin/sh", "-ec",
		`dpkg-deb --fsys-tarfile "$1" | tar -C "$2" --keep-directory-symlink --numeric-owner -xpf -`, "sh", deb, root))
	if err != nil {
		return err
	}
	listing, err := exec.CommandContext(ctx, "/bin/sh", "-ec", `dpkg-deb --fsys-tarfile "$1" | tar -tf - --quoting-style=literal`, "sh", deb).Output()
	if err != nil {
		return err
	}
	control, err := os.MkdirTemp(filepath.Dir(root), "control-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(control) //nolint:errcheck // it is in the directory that is removed in the end
	if err := run(exec.CommandContext(ctx, "dpkg-deb", "-e", deb, control)); err != nil {
		return err
	}
	fields, err := os.ReadFile(filepath.Join(control, "control"))
	if err != nil {
		return err
	}
	name, text, _ := bytes.Cut(fields, []byte("\n"))
	var conffiles strings.Builder
	if list, err := os.ReadFile(filepath.Join(control, "conffiles")); err == nil {
		for _, path := range strings.Fields(string(list)) {
			b, err := os.ReadFile(filepath.Join(root, path))
			if err != nil {
				continue // "remove-on-upgrade", or one that is not shipped
			}
			fmt.Fprintf(&conffiles, "\n %s %x", path, md5.Sum(b))
		}
	}
	fmt.Fprintf(status, "%s\nStatus: install ok installed\n%s\n", name, bytes.TrimSpace(text))
	if conffiles.Len() > 0 {
		fmt.Fprintf(status, "Conffiles:%s\n", conffiles.String())
	}
	status.WriteString("\n")

	base := strings.TrimSpace(strings.TrimPrefix(string(name), "Package:"))
	if field(fields, "Multi-Arch") == "same" {
		base += ":" + field(fields, "Architecture")
	}
	base = filepath.Join(root, "var/lib/dpkg/info", base)
	var list strings.Builder
	for line := range strings.Lines(string(listing)) {
		path := strings.TrimPrefix(strings.TrimSuffix(line, "\n"), ".")
		if path != "/" {
			path = strings.TrimSuffix(path, "/")
		} else {
			path = "/."
		}
		list.WriteString(path + "\n")
	}
	if err := os.WriteFile(base+".list", []byte(list.String()), 0o644); err != nil {
		return err
	}
	members, err := os.ReadDir(control)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Name() == "control" {
			continue
		}
		if err := os.Rename(filepath.Join(control, m.Name()), base+"."+m.Name()); err != nil {
			return err
		}
	}
	return nil
}

// field returns the value of a field of one line in a control file.
func field(control []byte, name string) string {
	for line := range strings.Lines(string(control)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
