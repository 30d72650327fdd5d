package deb

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/pkginfo"
)

const (
	maxMirrorList = 1 << 20
	maxMirrors    = 100
	maxUnlisted   = 64 << 20 // of an index that no Release file lists, packed
)

// SourcesExtension implements [backends.Repositories].
func (Format) SourcesExtension() string { return ".sources" }

// ParseSources reads a file of paragraphs as in sources.list(5). Each address with each
// suite is a source. Those that are switched off are left out.
func (Format) ParseSources(name string, text []byte) ([]backends.Source, error) {
	f := &sourcesFile{name: name}
	f.readParagraphs(string(text))
	problems := f.problems
	var usable []aptSource
	for _, s := range f.sources {
		switch {
		case s.disabled:
		case s.unusable != "":
			problems = append(problems, fmt.Errorf("%s: %s %s: %s", name, backends.PlainURL(s.uri), s.Suite, s.unusable))
		default:
			usable = append(usable, s)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("read sources: %w", err)
	}
	return nameSources(usable), nil
}

// RootSources implements [backends.Repositories] for the files of apt.
func (f Format) RootSources(_ context.Context, root backends.Root) (sources []backends.Source, warnings []string, err error) {
	names, err := sourceFiles(root)
	if err != nil {
		return nil, nil, err
	}
	architectures, err := f.Architectures(root)
	if err != nil {
		return nil, nil, err
	}
	var usable []aptSource
	for _, name := range names {
		text, err := root.ReadFile(name, maxAptFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("sources of apt are left out: %v", err))
			continue
		}
		file := readSources(name, string(text), architectures)
		for _, p := range file.problems {
			warnings = append(warnings, fmt.Sprintf("a source of apt is left out: %v", p))
		}
		for _, s := range file.sources {
			switch {
			case s.disabled:
			case s.unusable != "":
				warnings = append(warnings, fmt.Sprintf("a source of apt is left out: %s: %s %s: %s", name, backends.PlainURL(s.uri), s.Suite, s.unusable))
			default:
				usable = append(usable, s)
			}
		}
	}
	return nameSources(usable), warnings, nil
}

// sourceFiles returns the files that apt reads, in its order.
func sourceFiles(root backends.Root) ([]string, error) {
	const dir = "/etc/apt/sources.list.d"
	names := []string{"/etc/apt/sources.list"}
	entries, err := root.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the sources of apt: %w", err)
	}
	for _, e := range entries {
		if isSourcesFile(e.Name()) {
			names = append(names, dir+"/"+e.Name())
		}
	}
	return names, nil
}

// isSourcesFile reports whether apt reads a file of that name (sources.list(5)).
func isSourcesFile(name string) bool {
	for _, c := range []byte(name) {
		isAlnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !isAlnum && !strings.ContainsRune("-_.", rune(c)) {
			return false
		}
	}
	return !strings.HasPrefix(name, ".") && (strings.HasSuffix(name, ".list") || strings.HasSuffix(name, ".sources"))
}

// AllArchitectures implements [backends.Repositories].
func (Format) AllArchitectures() (word string, same bool) { return "all", true }

// Obsoletes implements [backends.Repositories]. Replaces is about files (deb-policy 7.6).
func (Format) Obsoletes() bool { return false }

// SourceKeys implements [backends.Repositories].
func (Format) SourceKeys(_ context.Context, root backends.Root, request backends.ListRequest) (*trust.Keyring, error) {
	l := &lister{root: root, source: request.Source}
	keys, err := l.keys()
	if err != nil {
		return nil, fmt.Errorf("read the keys of %s: %w", request.Source.Name, err)
	}
	return keys, nil
}

// List implements [backends.Repositories].
func (Format) List(ctx context.Context, root backends.Root, request backends.ListRequest) (*backends.Listing, error) {
	l := &lister{ctx: ctx, root: root, request: request, source: request.Source}
	return l.list()
}

// lister is one call of List.
type lister struct {
	ctx     context.Context
	root    backends.Root
	request backends.ListRequest
	source  *backends.Source
	mirrors []string // of the source's list; nil if it has addresses
	notes   []string // what is to be known of the listing
}

func (l *lister) list() (*backends.Listing, error) {
	if err := l.readMirrors(); err != nil {
		return nil, err
	}
	keys, err := l.keys()
	if err != nil && !l.source.Unsigned {
		return nil, err
	}
	signed, name, err := l.release()
	if errors.Is(err, fs.ErrNotExist) && l.source.Unsigned && l.isFlat() {
		return l.listUnlisted()
	}
	var why *unverified
	signature := pkginfo.Signature{Verdict: pkginfo.Good}
	if err == nil {
		signature.Signer, err = signed.verify(keys, l.source.IgnoreExpiry)
	}
	switch {
	case errors.As(err, &why) && (!l.source.Unsigned || signed == nil):
		return nil, fmt.Errorf("%w: %s: %v", trust.ErrSignature, name, err)
	case errors.As(err, &why):
		signature = pkginfo.Signature{Verdict: pkginfo.Unsigned, Reason: fmt.Sprintf("%s: %v", name, why)}
	case err != nil:
		return nil, err
	}
	r, err := parseRelease(signed.text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := l.checkSuite(r); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	parts, err := l.parts(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(l.notes) > 0 {
		signature.Reason = strings.Join(append(slices.DeleteFunc([]string{signature.Reason}, func(s string) bool { return s == "" }), l.notes...), "; ")
	}
	return &backends.Listing{
		Signature: signature, URLs: l.mirrors, Date: r.date, ValidUntil: r.validUntil,
		Origin: r.origin, Suite: r.suite, Codename: r.codename, Version: r.version, Parts: parts,
	}, nil
}

func (l *lister) isFlat() bool { return strings.HasSuffix(l.source.Suite, "/") }

// dir returns where the Release file is, relative to the source's address: with a
// slash at the end, or "".
func (l *lister) dir() string {
	if !l.isFlat() {
		return "dists/" + l.source.Suite + "/"
	}
	if dir := path.Clean("/" + l.source.Suite)[1:]; dir != "" {
		return dir + "/"
	}
	return ""
}

// get fetches a file of the source.
func (l *lister) get(name string, limit int64) ([]byte, error) {
	if l.mirrors == nil {
		return l.request.Get(l.ctx, name, limit)
	}
	var all error
	for _, mirror := range l.mirrors {
		b, err := l.request.Get(l.ctx, mirror+"/"+name, limit)
		if err == nil || l.ctx.Err() != nil {
			return b, err
		}
		all = errors.Join(all, err)
	}
	return nil, all
}

// readMirrors fetches the list of mirrors, where the source has one instead of
// addresses (apt-transport-mirror(1)).
func (l *lister) readMirrors() error {
	if len(l.source.URLs) > 0 {
		return nil
	}
	var all error
	for _, list := range l.source.Lists {
		text, err := l.request.Get(l.ctx, list.URL, maxMirrorList)
		if err == nil {
			l.mirrors, err = parseMirrors(string(text), strings.HasPrefix(list.URL, "file:"))
		}
		if err == nil {
			return nil
		}
		all = errors.Join(all, fmt.Errorf("%s: %w", backends.PlainURL(list.URL), err))
	}
	return cmp.Or(all, errors.New("it has no address"))
}

// parseMirrors reads a list of mirrors: an address a line and, behind a tab, what is
// to be known of it. Those with the lower numbers are to be tried first. Only a list that
// is a file itself may name files of this machine.
func parseMirrors(text string, isFile bool) ([]string, error) {
	type mirror struct {
		url      string
		priority int
	}
	var mirrors []mirror
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		urls, _, why := addresses(words[0])
		if why != "" || len(urls) == 0 || strings.HasPrefix(urls[0], "file:") && !isFile {
			continue // another kind of mirror, that apt may have
		}
		m := mirror{urls[0], math.MaxInt}
		for _, w := range words[1:] {
			if s, ok := strings.CutPrefix(w, "priority:"); ok {
				n, err := strconv.Atoi(s)
				if err != nil {
					return nil, fmt.Errorf("the list of mirrors has the priority %.40q", s)
				}
				m.priority = n
			}
		}
		if mirrors = append(mirrors, m); len(mirrors) > maxMirrors {
			break
		}
	}
	if len(mirrors) == 0 {
		return nil, errors.New("the list of mirrors has no address")
	}
	slices.SortStableFunc(mirrors, func(a, b mirror) int { return cmp.Compare(a.priority, b.priority) })
	urls := make([]string, len(mirrors))
	for i, m := range mirrors {
		urls[i] = m.url
	}
	return urls, nil
}

// keys returns the keys that may sign for the source.
func (l *lister) keys() (*trust.Keyring, error) {
	apt, err := readTrusted(l.root)
	if err != nil {
		return nil, err
	}
	k := l.source.Keys
	if !hasKeys(k) {
		if apt.trusted.Len() == 0 {
			return nil, l.noKeys("apt trusts no key", apt.warnings)
		}
		return apt.trusted, nil
	}
	keys := apt.keysOf(cmp.Or(l.source.File, l.source.Name), k)
	if keys.Len() > 0 {
		return keys, nil
	}
	what := "there is none of its keys"
	if len(k.Files) > 0 {
		what = fmt.Sprintf("there is no key in %s", backends.HostName(l.root, k.Files[0]))
	}
	if k.Package != "" {
		what += "; install the package " + k.Package + ", which brings it"
	}
	return nil, l.noKeys(what, apt.warnings)
}

func (l *lister) noKeys(what string, warnings []string) error {
	return fmt.Errorf("%w: %s", trust.ErrSignature, strings.Join(append([]string{what}, warnings...), "; "))
}

// release fetches the Release file, with its signature in it or beside it. With an error
// of type [unverified] there is a text only if it can be read nevertheless.
func (l *lister) release() (signed *signedText, name string, err error) {
	name = l.dir() + "InRelease"
	text, err := l.get(name, maxRelease)
	if err == nil {
		signed, err = splitClear(text)
		return signed, name, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, name, err
	}
	name = l.dir() + "Release"
	if text, err = l.get(name, maxRelease); err != nil {
		return nil, name, err
	}
	signatures, err := l.get(name+".gpg", maxRelease)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &signedText{text: text, signed: text}, name, errNotSigned
	case err != nil:
		return nil, name, err
	}
	signed, err = joinDetached(text, signatures)
	return signed, name, err
}

// checkSuite sees to it that the Release file is the one that was asked for: that of
// another release may have as good a signature.
func (l *lister) checkSuite(r *release) error {
	if l.isFlat() {
		return nil
	}
	want := strings.TrimSuffix(l.source.Suite, "/updates")
	if slices.Contains([]string{r.suite, r.codename}, want) || slices.Contains([]string{r.suite, r.codename}, l.source.Suite) {
		return nil
	}
	what := fmt.Sprintf("it is that of %q (%q), and not of %q", r.codename, r.suite, l.source.Suite)
	callsItself := slices.Contains([]string{"Debian", "Ubuntu"}, r.origin) && isReleaseName(releaseOf(suiteName(l.source.Suite)))
	if callsItself || l.source.File == "" { // it is known what this one calls itself
		return errors.New(what)
	}
	l.notes = append(l.notes, what)
	return nil
}

// packedEnds are the ends of the names of indexes, the better packed first.
var packedEnds = []string{".xz", ".zst", ".bz2", ".gz", ".lz4", ""}

// parts returns the indexes of the source's components for the architectures.
func (l *lister) parts(r *release) ([]backends.Part, error) {
	if l.isFlat() {
		part, ok := l.part(r, "", "packages")
		if !ok {
			return nil, errors.New("it lists no index of packages")
		}
		return []backends.Part{part}, checkPart(&part)
	}
	architectures := l.architectures()
	if r.allIsElsewhere {
		architectures = append(architectures, "all")
	}
	var parts []backends.Part
	for _, component := range l.source.Components {
		found := false
		for _, a := range architectures {
			part, ok := l.part(r, component+"/binary-"+a+"/", component+" "+a)
			if !ok {
				continue
			}
			if err := checkPart(&part); err != nil {
				return nil, err
			}
			found = true
			parts = append(parts, part)
		}
		if !found {
			l.notes = append(l.notes, fmt.Sprintf("it has no component %q for %s", component, strings.Join(l.architectures(), ", ")))
		}
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("it lists no index of %s for %s", strings.Join(l.source.Components, ", "), strings.Join(l.architectures(), ", "))
	}
	return parts, nil
}

// architectures returns those of the request that the source is for.
func (l *lister) architectures() []string {
	return slices.DeleteFunc(slices.Clone(l.request.Architectures), func(a string) bool {
		return l.source.Architectures != nil && !slices.Contains(l.source.Architectures, a)
	})
}

// part returns the index in a directory beside the Release file.
func (l *lister) part(r *release, dir, name string) (backends.Part, bool) {
	unpacked := int64(-1)
	if f, ok := r.files[dir+"Packages"]; ok {
		unpacked = f.size
	}
	for _, end := range packedEnds {
		f, ok := r.files[dir+"Packages"+end]
		if !ok {
			continue
		}
		part := backends.Part{Name: name, Size: f.size, Digest: f.digest(), Unpacked: unpacked}
		if r.byHash {
			part.Paths = append(part.Paths, l.dir()+dir+"by-hash/"+strings.ToUpper(f.kind)+"/"+f.sum)
		}
		part.Paths = append(part.Paths, l.dir()+dir+"Packages"+end)
		return part, true
	}
	return backends.Part{}, false
}

func checkPart(p *backends.Part) error {
	if n := max(p.Size, p.Unpacked); n > maxListed {
		return fmt.Errorf("its index of %s has %d bytes, and %d is a fixed limit of hashpkg (docs/limits.md)", p.Name, n, int64(maxListed))
	}
	return nil
}

// listUnlisted makes a listing of a directory of debs that has an index and no Release
// file, which somebody wants nevertheless.
func (l *lister) listUnlisted() (*backends.Listing, error) {
	for _, end := range packedEnds {
		name := l.dir() + "Packages" + end
		b, err := l.get(name, maxUnlisted)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		return &backends.Listing{
			Signature: pkginfo.Signature{Verdict: pkginfo.Unsigned, Reason: "it has no Release file"},
			URLs:      l.mirrors,
			Parts: []backends.Part{{
				Name: "packages", Paths: []string{name}, Size: int64(len(b)), Digest: "sha256:" + hex.EncodeToString(sum[:]), Unpacked: -1,
			}},
		}, nil
	}
	return nil, fmt.Errorf("it has neither a Release file nor an index: %w", fs.ErrNotExist)
}
