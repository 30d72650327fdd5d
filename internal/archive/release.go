package archive

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// Release is what a release's index in the cache says of itself.
type Release struct {
	Source  string // the line of apt's sources.list that the index comes from
	Keyring string // the file with the keys that sign it
	Digest  string // SHA-256 of the signed index, in hex: it changes whenever a package does
	Dir     string // the release's directory in the cache
}

// Describe returns what the newest index to be had says of the release; see
// [Fetch] for when it is fetched. o.Packages does not matter.
func Describe(ctx context.Context, o Options) (Release, error) {
	var d Release
	err := withIndex(ctx, o, func(r *release) error {
		indexes, err := filepath.Glob(filepath.Join(r.apt, "state/lists/*_InRelease"))
		if err != nil {
			return err
		}
		if len(indexes) != 1 {
			return fmt.Errorf("%d signed indexes in %s, where one is expected; remove that directory", len(indexes), r.apt)
		}
		b, err := os.ReadFile(indexes[0])
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		d = Release{
			Source:  fmt.Sprintf("deb [arch=%s signed-by=%s] %s %s %s", r.arch, r.keyring, r.mirror, r.suite, r.components),
			Keyring: r.keyring,
			Digest:  hex.EncodeToString(sum[:]),
			Dir:     r.dir,
		}
		return nil
	})
	return d, err
}

var installLine = regexp.MustCompile(`^Inst (\S+) (?:\[\S+\] )?\((\S+) `)

// Missing returns what apt would install, as NAME=VERSION, for o.Packages to
// be installed where dpkg's status file is as given: those packages and what
// they depend on, without what they merely recommend. An empty status is that
// of an empty root; then all essential packages are among them.
func Missing(ctx context.Context, o Options, status string) (specs []string, err error) {
	err = withIndex(ctx, o, func(r *release) error {
		args := []string{"-s", "-o", "APT::Install-Recommends=false", "-o", "APT::Get::Show-User-Simulation-Note=false"}
		if status != "" {
			path, err := filepath.Abs(status)
			if err != nil {
				return err
			}
			// The cache of another status is of no use to it.
			args = append(args, "-o", "Dir::State::status="+path, "-o", "Dir::Cache::pkgcache=")
		}
		args = append(append(args, "install"), o.Packages...)
		if status == "" {
			args = append(args, "?essential")
		}
		out, err := r.run(ctx, "", "apt-get", args...)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(bytes.NewReader(out))
		for lines.Scan() {
			if m := installLine.FindStringSubmatch(lines.Text()); m != nil {
				specs = append(specs, m[1]+"="+m[2])
			}
		}
		return lines.Err()
	})
	return specs, err
}

// withIndex calls do while it holds the lock of a release that has an index.
func withIndex(ctx context.Context, o Options, do func(*release) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read the index of %s: %w", o.Suite, err)
		}
	}()
	r, err := newRelease(o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(r.dir, ".lock")).Lock()
	if err != nil {
		return fmt.Errorf("lock the cache: %v", err)
	}
	defer unlock()
	if _, err := r.ensureIndex(ctx, false); err != nil {
		return err
	}
	return errors.Join(do(r), ctx.Err())
}
