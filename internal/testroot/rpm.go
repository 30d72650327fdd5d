package testroot

import (
	"context"
	"crypto/sha256"
	_ "embed" // rpmroot.sh
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

//go:embed rpmroot.sh
var rpmScript []byte

// RPMRoot is a root whose packages rpm has installed. Its database is in
// /var/lib/rpm; the rpm program is this machine's, see [RPMRoot.RPM].
type RPMRoot struct {
	*Root

	// New are the rpms that are installed. Old are earlier versions of some of
	// them: one or more each, to go back to and to upgrade from.
	New, Old []string
}

// RPM returns a root of some 80 rpms, which are real packages of Debian that
// were packed again, with scriptlets, capabilities, configuration files and
// one of each compression. It has jq, curl, perl and what they load, and the further
// packages of Debian that are named. Their own scripts do not run, so nothing is
// there that these make.
//
// The script rpmroot.sh makes it. The first call for a set of packages takes a minute
// or some; what the script makes is in the cache until the script or this
// machine's package lists change.
func RPM(tb testing.TB, packages ...string) *RPMRoot {
	tb.Helper()
	testneed.Root(tb)
	testneed.Network(tb)
	base := newRoot(tb)
	base.Arch = hostArch(tb)
	made := filepath.Join(base.scratch, "rpm")
	if err := unpackRPM(context.Background(), made, base.Arch, packages); err != nil {
		testneed.Unmet(tb, fmt.Errorf("unpack a root of rpm: %w", err))
	}
	r := &RPMRoot{Root: base}
	// All of it is in one file system: this moves no bytes.
	if err := errors.Join(os.Remove(r.Dir), os.Rename(filepath.Join(made, "root"), r.Dir)); err != nil {
		tb.Fatal(err)
	}
	var errNew, errOld error
	r.New, errNew = filepath.Glob(filepath.Join(made, "rpms", "*.rpm"))
	r.Old, errOld = filepath.Glob(filepath.Join(made, "rpms-old", "*.rpm"))
	if err := errors.Join(errNew, errOld); err != nil {
		tb.Fatal(err)
	}
	return r
}

// RPM runs this machine's rpm on the root, in namespaces as Run does, and
// returns what it said. Scriptlets and triggers run in the root. The test
// fails if rpm does; that a trigger failed is a mere warning of rpm's.
func (r *RPMRoot) RPM(args ...string) string {
	r.tb.Helper()
	out, err := r.RPMErr(context.Background(), args...)
	if err != nil {
		r.tb.Fatal(err)
	}
	return out
}

// RPMErr is RPM for a command that may fail, as RunErr is.
func (r *RPMRoot) RPMErr(ctx context.Context, args ...string) (string, error) {
	return r.runScript(ctx, `rpm --root "$root" --dbpath /var/lib/rpm --nosignature --force-debian "$@"
exit $?`, args)
}

// DNF runs this machine's dnf on the root as RPM runs rpm. Its sources are in the root, in
// /etc/yum.repos.d. It takes the answer yes, and no signatures.
func (r *RPMRoot) DNF(args ...string) string {
	r.tb.Helper()
	out, err := r.runScript(context.Background(), `mkdir -p "$root/tmp/home"
echo "%_dbpath /var/lib/rpm" >"$root/tmp/home/.rpmmacros" # for which it asks rpm, and not its options
HOME="$root/tmp/home" dnf -y --installroot "$root" --releasever 1 --noplugins --setopt gpgcheck=0 --refresh "$@"
exit $?`, args)
	if err != nil {
		r.tb.Fatal(err)
	}
	return out
}

func unpackRPM(ctx context.Context, dir, arch string, packages []string) error {
	for tool, debianPackage := range map[string]string{"rpm": "rpm", "rpmbuild": "rpm", "apt-get": "apt"} {
		if err := needTool(tool, debianPackage); err != nil {
			return err
		}
	}
	release, err := archive.Describe(ctx, archive.Options{Suite: "bookworm", Arch: arch}) // for where the cache is
	if err != nil {
		return err
	}
	version, err := digestOf(rpmScript, "/var/lib/apt/lists/*InRelease")
	if err != nil {
		return err
	}
	cache := filepath.Join(filepath.Dir(filepath.Dir(release.Dir)), "rpm")
	name := arch
	if len(packages) > 0 {
		name = fmt.Sprintf("%.16x-%s", sha256.Sum256([]byte(strings.Join(packages, " "))), arch)
	}
	return unpackCached(ctx, dir, cache, name, version, func(work, tarball string) error {
		out := filepath.Join(work, "out")
		script := filepath.Join(work, "rpmroot.sh")
		if err := os.WriteFile(script, rpmScript, 0o644); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "/bin/bash", slices.Concat([]string{script, out}, packages)...)
		cmd.Env = append(os.Environ(), "HOME="+work, "TMPDIR="+work)
		inNamespaces(cmd)
		cmd.WaitDelay = 10 * time.Second
		if err := run(cmd); err != nil {
			return errors.Join(ctx.Err(), err)
		}
		return tarUp(ctx, out, tarball)
	})
}

// digestOf returns a short digest of b and of the files that match a pattern.
func digestOf(b []byte, pattern string) (string, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	hash.Write(b)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		hash.Write(b)
	}
	return fmt.Sprintf("%.8x", hash.Sum(nil)), nil
}
