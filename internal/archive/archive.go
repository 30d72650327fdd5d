// Package archive fetches packages of a release of Debian or Ubuntu for the tests, the
// benchmarks and the demonstration, and keeps them in a cache.
//
// [Fetch] is all that callers need. The work on the network is apt's, with a
// configuration of its own in the cache: apt checks the signature of the
// release's index against its distribution's keys and every digest below it, and
// honors the proxy that the machine is set up for. The machine's own package
// lists and its dpkg database are neither read nor changed, and no privileges
// are needed.
//
// # The cache
//
//	SUITE/ARCH/NAME_VERSION_ARCH.deb   complete and verified; an epoch's colon is %3a
//	SUITE/ARCH/.lock                   held while Fetch works on this directory
//	SUITE/ARCH/.apt/                   apt's configuration and the index
//	ubuntu.gpg                         the key of Ubuntu's archive
//
// Several processes may use one cache at once. It may be deleted at any time
// when none does.
package archive

import (
	"bytes"
	"cmp"
	"context"
	_ "embed" // ubuntu.gpg
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
)

const (
	// DefaultMirror is where packages come from when neither Options.Mirror nor
	// HASHPKG_MIRROR says otherwise.
	DefaultMirror = "http://deb.debian.org/debian"

	// DefaultKeyring holds the keys that sign Debian's releases; the package
	// debian-archive-keyring brings it.
	DefaultKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

	// UbuntuMirror is where packages of Ubuntu come from when neither
	// Options.Mirror nor HASHPKG_UBUNTU_MIRROR says otherwise.
	UbuntuMirror = "http://archive.ubuntu.com/ubuntu"

	defaultMaxAge = 24 * time.Hour
)

// ubuntuKey is the "Ubuntu Archive Automatic Signing Key (2018)", whose fingerprint is
// F6ECB3762474EDA9D21B7022871920D1991BC93C. Debian 12 has no package that brings it.
//
//go:embed ubuntu.gpg
var ubuntuKey []byte

// isUbuntu reports whether a suite is one of the releases of Ubuntu that tests use.
func isUbuntu(suite string) bool { return suite == "bionic" || suite == "jammy" || suite == "noble" }

// Options says what [Fetch] fetches, and from where.
type Options struct {
	Suite    string   // the release's name: "bookworm", "trixie", "sid"; "bionic", "jammy", "noble"
	Arch     string   // Debian's name of the architecture; the running program's when empty
	Packages []string // each NAME, which means the highest version, or NAME=VERSION

	CacheDir string        // when empty: $HASHPKG_TEST_CACHE, else hashpkg-test in the user's cache
	Mirror   string        // when empty: $HASHPKG_MIRROR, else DefaultMirror; for Ubuntu $HASHPKG_UBUNTU_MIRROR, else UbuntuMirror
	Keyring  string        // when empty: DefaultKeyring, or Ubuntu's key
	MaxAge   time.Duration // an index older than this is fetched anew; 0 means one day

	Log io.Writer // progress on a terminal, and warnings; nil discards them
}

// ErrNoTool is returned (wrapped) when the machine lacks apt or the keyring.
var ErrNoTool = errors.New("a tool is missing")

// ErrNotFound is returned (wrapped) when the release has no such package or version.
var ErrNotFound = errors.New("no such package")

// Fetch returns the paths of the packages' files in the cache, in the order of
// o.Packages, after downloading those that are not there. Each file has the
// size and the SHA-256 that the release's signed index gives.
//
// An index that is too old is fetched anew; when that fails, because the
// machine is offline for instance, the old one is used and a warning is
// written to o.Log. Nothing is fetched for packages that are in the cache
// while the index is recent.
func Fetch(ctx context.Context, o Options) ([]string, error) {
	paths, err := fetch(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("fetch packages of %s: %w", o.Suite, err)
	}
	return paths, nil
}

func fetch(ctx context.Context, o Options) ([]string, error) {
	r, err := newRelease(o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(r.dir, ".lock")).Lock()
	if err != nil {
		return nil, fmt.Errorf("lock the cache: %v", err)
	}
	defer unlock()

	fresh, err := r.ensureIndex(ctx, false)
	if err != nil {
		return nil, err
	}
	paths, err := r.packages(ctx, o.Packages)
	if err == nil || fresh || ctx.Err() != nil {
		return paths, err
	}
	// A release that still changes removes a package's file when a newer one
	// has come: an index of this morning may name what is gone.
	if _, updateErr := r.ensureIndex(ctx, true); updateErr != nil {
		return nil, err
	}
	return r.packages(ctx, o.Packages)
}

// release is one suite for one architecture in the cache.
type release struct {
	suite, arch, mirror, keyring string
	components                   string // of the release, with spaces between them

	dir    string // the packages' directory
	apt    string // dir/.apt
	maxAge time.Duration
	log    io.Writer
}

var (
	plainWord   = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*$`)
	packageSpec = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9][A-Za-z0-9.+:~-]*)?$`)
)

func newRelease(o Options) (*release, error) {
	cache, err := cacheDir(o.CacheDir)
	if err != nil {
		return nil, err
	}
	r := &release{
		suite:      o.Suite,
		arch:       cmp.Or(o.Arch, hostArch()),
		mirror:     cmp.Or(o.Mirror, os.Getenv("HASHPKG_MIRROR"), DefaultMirror),
		keyring:    cmp.Or(o.Keyring, DefaultKeyring),
		components: "main",
		maxAge:     cmp.Or(o.MaxAge, defaultMaxAge),
		log:        o.Log,
	}
	if isUbuntu(o.Suite) {
		r.mirror = cmp.Or(o.Mirror, os.Getenv("HASHPKG_UBUNTU_MIRROR"), UbuntuMirror)
		r.keyring = cmp.Or(o.Keyring, filepath.Join(cache, "ubuntu.gpg"))
		r.components = "main universe"
	}
	r.mirror = strings.TrimSuffix(r.mirror, "/")
	if r.log == nil {
		r.log = io.Discard
	}
	for _, word := range []string{r.suite, r.arch} {
		if !plainWord.MatchString(word) {
			return nil, fmt.Errorf("%q is not a name of a release or an architecture", word)
		}
	}
	for _, spec := range o.Packages {
		if !packageSpec.MatchString(spec) {
			return nil, fmt.Errorf("%q is neither NAME nor NAME=VERSION", spec)
		}
	}
	r.dir = filepath.Join(cache, r.suite, r.arch)
	r.apt = filepath.Join(r.dir, ".apt")
	// These stand in apt's configuration, where neither can be quoted.
	for _, s := range []string{r.mirror, r.keyring, r.dir} {
		if strings.ContainsAny(s, "\"\n") || s != r.dir && strings.ContainsAny(s, " \t[]") {
			return nil, fmt.Errorf("%q holds a character that cannot stand in apt's configuration", s)
		}
	}
	for _, tool := range []string{"apt-get", "apt-cache"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%w: %s is not in PATH; it comes with Debian's package apt", ErrNoTool, tool)
		}
	}
	if isUbuntu(o.Suite) && o.Keyring == "" {
		if err := writeUbuntuKey(cache); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(r.keyring); err != nil {
		return nil, fmt.Errorf("%w: %v; install it: apt-get install debian-archive-keyring", ErrNoTool, err)
	}
	return r, nil
}

// writeUbuntuKey writes the key of Ubuntu's archive into the cache, whole or not at all.
func writeUbuntuKey(cache string) error {
	name := filepath.Join(cache, "ubuntu.gpg")
	if b, err := os.ReadFile(name); err == nil && bytes.Equal(b, ubuntuKey) {
		return nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(cache, ".ubuntu-")
	if err != nil {
		return err
	}
	_, err = f.Write(ubuntuKey)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), name)
}

func cacheDir(dir string) (string, error) {
	if dir = cmp.Or(dir, os.Getenv("HASHPKG_TEST_CACHE")); dir != "" {
		return filepath.Abs(dir)
	}
	user, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache: %v; set HASHPKG_TEST_CACHE to a directory", err)
	}
	return filepath.Join(user, "hashpkg-test"), nil
}

// hostArch returns Debian's name of the architecture that this program runs on.
func hostArch() string {
	switch runtime.GOARCH {
	case "386":
		return "i386"
	case "arm":
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	}
	return runtime.GOARCH
}

// ensureIndex makes an index present that is recent, or that is the newest to
// be had. It reports whether the index was fetched now.
func (r *release) ensureIndex(ctx context.Context, force bool) (fresh bool, err error) {
	source := fmt.Sprintf("deb [arch=%s signed-by=%s target=Packages] %s %s %s\n", r.arch, r.keyring, r.mirror, r.suite, r.components)
	// The stamp's contents are the source that the index came from, its time is
	// the index's age.
	stamp := filepath.Join(r.apt, "stamp")
	old, err := os.ReadFile(stamp)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	haveIndex := string(old) == source
	if haveIndex && !force {
		info, err := os.Stat(stamp)
		if err != nil {
			return false, err
		}
		if time.Since(info.ModTime()) < r.maxAge {
			return false, nil
		}
	}
	if !haveIndex {
		if err := r.configure(source); err != nil {
			return false, err
		}
	}
	r.progress("index of %s for %s", r.suite, r.arch)
	_, err = r.run(ctx, "", "apt-get", "update")
	r.progress("")
	if err != nil {
		if haveIndex && ctx.Err() == nil {
			fmt.Fprintf(r.log, "warning: using the older index of %s: %v\n", r.suite, err)
			return false, nil
		}
		return false, fmt.Errorf("get the index from %s: %w\n"+
			"HASHPKG_MIRROR can name another mirror; releases that the mirrors have dropped are on http://archive.debian.org/debian", r.mirror, err)
	}
	return true, os.WriteFile(stamp, []byte(source), 0o644)
}

// configure writes apt's configuration into an empty directory.
func (r *release) configure(source string) error {
	if err := os.RemoveAll(r.apt); err != nil {
		return err
	}
	for _, dir := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(r.apt, dir), 0o755); err != nil {
			return err
		}
	}
	// It is read after the machine's own settings, of which the proxy is
	// wanted, and hooks, pins and weakened checks are not. An expired index is
	// still a signed one, and good enough for a test.
	config := fmt.Sprintf(`#clear APT::Architectures;
#clear APT::Default-Release;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::Languages;
APT::Architecture "%[2]s";
APT::Architectures { "%[2]s"; };
APT::Get::AllowUnauthenticated "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Check-Valid-Until "false";
Acquire::Languages { "none"; };
Acquire::Retries "2";
Dir::Cache "%[1]s/cache/";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::State "%[1]s/state/";
Dir::State::status "%[1]s/status";
Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
`, r.apt, r.arch)
	for name, text := range map[string]string{"apt.conf": config, "sources.list": source, "status": ""} {
		if err := os.WriteFile(filepath.Join(r.apt, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// packages returns the paths of specs' files, of which it downloads the
// missing ones.
func (r *release) packages(ctx context.Context, specs []string) ([]string, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	found, err := r.lookUp(ctx, specs)
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(found))
	var missing []indexEntry
	wanted := make(map[string]bool)
	for i, e := range found {
		paths[i] = filepath.Join(r.dir, e.fileName())
		if wanted[paths[i]] || e.check(paths[i]) == nil {
			continue
		}
		wanted[paths[i]] = true
		missing = append(missing, e)
	}
	if len(missing) > 0 {
		if err := r.download(ctx, missing); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// lookUp finds each of specs in the index.
func (r *release) lookUp(ctx context.Context, specs []string) ([]indexEntry, error) {
	// A name and one of its versions are two questions: the answers to both
	// together would not tell which version the name means.
	var names, versions []string
	for _, spec := range specs {
		if strings.Contains(spec, "=") {
			versions = append(versions, spec)
		} else {
			names = append(names, spec)
		}
	}
	named, nameErr := r.show(ctx, names)
	exact, versionErr := r.show(ctx, versions)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	bySpec := make(map[string]indexEntry)
	for _, e := range named {
		bySpec[e.name] = e
	}
	for _, e := range exact {
		bySpec[e.name+"="+e.version] = e
	}
	found := make([]indexEntry, len(specs))
	for i, spec := range specs {
		e, ok := bySpec[spec]
		if !ok {
			return nil, errors.Join(fmt.Errorf("%w: %s (%s, %s)", ErrNotFound, spec, r.suite, r.arch), nameErr, versionErr)
		}
		found[i] = e
	}
	return found, nil
}

// show returns what the index says of those of specs that it has.
func (r *release) show(ctx context.Context, specs []string) ([]indexEntry, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	out, runErr := r.run(ctx, "", "apt-cache", append([]string{"show", "--no-all-versions"}, specs...)...)
	entries, err := parseIndex(bytes.NewReader(out))
	return entries, errors.Join(runErr, err)
}

// download fetches entries into a directory of its own, checks them, and
// renames them to where they belong.
func (r *release) download(ctx context.Context, entries []indexEntry) (err error) {
	tmp, err := os.MkdirTemp(r.dir, ".download-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()

	args := []string{"download"}
	var size int64
	for _, e := range entries {
		args = append(args, e.name+"="+e.version)
		size += e.size
	}
	stop := r.watch(tmp, len(entries), size)
	_, err = r.run(ctx, tmp, "apt-get", args...)
	stop()
	if err != nil {
		return err
	}
	for _, e := range entries {
		from := filepath.Join(tmp, e.fileName())
		if err := e.check(from); err != nil {
			return fmt.Errorf("check what apt-get downloaded: %v", err)
		}
		if err := os.Rename(from, filepath.Join(r.dir, e.fileName())); err != nil {
			return err
		}
	}
	return nil
}

// run runs a command of apt in dir with the release's configuration, and
// returns its standard output. What it says on standard error is in the error.
func (r *release) run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, append([]string{"-c", filepath.Join(r.apt, "apt.conf"), "-q", "-q"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		said := strings.TrimSpace(stderr.String())
		return stdout.Bytes(), fmt.Errorf("%s %s: %v: %s", name, args[0], err, strings.ReplaceAll(said, "\n", "; "))
	}
	return stdout.Bytes(), nil
}

// watch shows how much of size bytes has come to dir, until it is stopped.
func (r *release) watch(dir string, count int, size int64) (stop func()) {
	done, finished := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(finished)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			r.progress("%d packages of %s: %.1f of %.1f MB", count, r.suite, float64(bytesIn(dir))/1e6, float64(size)/1e6)
			select {
			case <-done:
				r.progress("")
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(done); <-finished }
}

// bytesIn returns the sizes of the files in dir together, as far as they can be read.
func bytesIn(dir string) int64 {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	var n int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
	}
	return n
}

// progress replaces the terminal's line; an empty format clears it. It does
// nothing when the log is no terminal.
func (r *release) progress(format string, args ...any) {
	f, ok := r.log.(*os.File)
	if !ok {
		return
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return
	}
	fmt.Fprintf(f, "\r\x1b[K"+format, args...)
}
