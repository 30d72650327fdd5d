package deb

import (
	"net/url"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
)

// distribution is one whose releases are known by name.
type distribution struct {
	id         string // as in os-release(5)
	components []string
	mirror     string // of the release and its updates
	security   string
	old        string // where releases are that the mirrors have dropped
	oldSecured string // and their updates for security
	keys       backends.Keys
	removed    string   // the keys of releases that were dropped
	paths      []string // how addresses of its mirrors end, by which sources of it are told
	// securityPaths are those of mirrors for security; nil if each mirror has that, too.
	securityPaths []string
	releases      []namedRelease // oldest first
}

// namedRelease is one release of a distribution.
type namedRelease struct {
	name   string
	number string // "" for one that is never released
	state  releaseState
}

type releaseState uint8

const (
	current releaseState = iota
	leaving              // on the mirrors, from which it will be dropped without notice
	dropped              // from the mirrors
	rolling              // without updates and security of its own
)

const updates, security = "-updates", "-security"

func distributions() []distribution {
	ubuntu := "http://archive.ubuntu.com/ubuntu"
	ubuntuSecurity := "http://security.ubuntu.com/ubuntu"
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "386" {
		ubuntu, ubuntuSecurity = "http://ports.ubuntu.com/ubuntu-ports", "http://ports.ubuntu.com/ubuntu-ports"
	}
	const keyrings = "/usr/share/keyrings/"
	return []distribution{
		{
			id: "debian", components: []string{"main"},
			mirror: "http://deb.debian.org/debian", security: "http://deb.debian.org/debian-security",
			old: "http://archive.debian.org/debian", oldSecured: "http://archive.debian.org/debian-security",
			keys: backends.Keys{
				Files:   []string{keyrings + "debian-archive-keyring.gpg", keyrings + "debian-archive-keyring.pgp"},
				Package: "debian-archive-keyring",
			},
			removed: keyrings + "debian-archive-removed-keys.gpg",
			paths:   []string{"debian"}, securityPaths: []string{"debian-security"},
			releases: []namedRelease{
				{"stretch", "9", dropped},
				{"buster", "10", dropped},
				{"bullseye", "11", leaving},
				{"bookworm", "12", current},
				{"trixie", "13", current},
				{"forky", "14", current},
				{"sid", "", rolling},
			},
		},
		{
			id: "ubuntu", components: []string{"main", "restricted", "universe", "multiverse"},
			mirror: ubuntu, security: ubuntuSecurity,
			old: "http://old-releases.ubuntu.com/ubuntu", oldSecured: "http://old-releases.ubuntu.com/ubuntu",
			keys:    backends.Keys{Files: []string{keyrings + "ubuntu-archive-keyring.gpg"}, Package: "ubuntu-keyring"},
			removed: keyrings + "ubuntu-archive-removed-keys.gpg",
			paths:   []string{"ubuntu", "ubuntu-ports"},
			releases: []namedRelease{
				{"bionic", "18.04", current},
				{"cosmic", "18.10", dropped},
				{"disco", "19.04", dropped},
				{"eoan", "19.10", dropped},
				{"focal", "20.04", current},
				{"groovy", "20.10", dropped},
				{"hirsute", "21.04", dropped},
				{"impish", "21.10", dropped},
				{"jammy", "22.04", current},
				{"kinetic", "22.10", dropped},
				{"lunar", "23.04", dropped},
				{"mantic", "23.10", dropped},
				{"noble", "24.04", current},
				{"oracular", "24.10", dropped},
				{"plucky", "25.04", leaving},
				{"questing", "25.10", leaving},
				{"resolute", "26.04", current},
				{"stonking", "26.10", leaving},
			},
		},
	}
}

// Releases implements [backends.Repositories]: the codenames, the newest of each
// distribution first.
func (Format) Releases() []string {
	var names []string
	for _, d := range distributions() {
		for _, r := range slices.Backward(d.releases) {
			names = append(names, r.name)
		}
	}
	return names
}

// Offered implements [backends.Repositories].
func (Format) Offered() []string {
	var names []string
	for _, d := range distributions() {
		for _, r := range slices.Backward(d.releases) {
			if r.state != dropped {
				names = append(names, r.name)
			}
		}
	}
	return names
}

// Vendor implements [backends.Repositories]. Ubuntu marks the versions that it has changed;
// of others Debian's are by far the most.
func (Format) Vendor(release, version string) string {
	for _, d := range distributions() {
		for _, r := range d.releases {
			if release == r.name || r.number != "" && release == d.id+"-"+r.number {
				return d.id
			}
		}
	}
	if strings.Contains(version, "ubuntu") {
		return "ubuntu"
	}
	return "debian"
}

// isReleaseName reports whether a release of a known distribution is called so.
func isReleaseName(name string) bool { return slices.Contains(Format{}.Releases(), name) }

// Release implements [backends.Repositories]. It knows releases by their numbers, too,
// as "ubuntu-24.04". Of Debian it has the component main, of Ubuntu all four.
func (Format) Release(name string, known []backends.Source, mirror string) []backends.Source {
	for _, d := range distributions() {
		for _, r := range d.releases {
			if name == r.name || r.number != "" && name == d.id+"-"+r.number {
				return d.sources(r, known, strings.TrimRight(mirror, "/"))
			}
		}
	}
	return nil
}

// sources returns the sources of a release.
func (d *distribution) sources(r namedRelease, known []backends.Source, mirror string) []backends.Source {
	keys := d.keys
	if r.state == leaving || r.state == dropped {
		keys.Files = append(slices.Clone(keys.Files), d.removed)
	}
	base := backends.Source{Format: Name, Release: r.name, Components: d.components, Keys: keys, IgnoreExpiry: r.state == dropped}
	suites := []string{r.name}
	switch r.state {
	case current, leaving:
		suites = []string{r.name, r.name + updates, r.name + security}
	case dropped: // its last updates are in it, and those for security beside it
		suites = []string{r.name, r.name + security}
	}
	var sources []backends.Source
	for _, suite := range suites {
		s := base
		s.Name, s.Suite = suite, suite
		s.Components = slices.Clone(d.components)
		isSecurity := strings.HasSuffix(suite, security)
		if isSecurity && slices.Contains([]string{"stretch", "buster"}, r.name) {
			s.Suite = r.name + "/updates"
		}
		d.setAddress(&s, r, isSecurity, known, mirror)
		s.IgnoreExpiry = s.IgnoreExpiry || slices.ContainsFunc(s.URLs, isSnapshot)
		sources = append(sources, s)
	}
	return sources
}

// setAddress sets from where a source comes: from the mirror that was asked for, or the
// one from which the root has other releases, or where everybody has it from.
func (d *distribution) setAddress(s *backends.Source, r namedRelease, isSecurity bool, known []backends.Source, mirror string) {
	usual, old := d.mirror, d.old
	if isSecurity {
		usual, old = d.security, d.oldSecured
	}
	like := d.like(known, isSecurity)
	switch {
	case mirror != "" && (!isSecurity || d.securityPaths == nil):
		s.URLs = []string{mirror}
	case mirror != "" && isSnapshot(mirror):
		s.URLs = []string{strings.Replace(mirror, "/archive/"+d.id+"/", "/archive/"+d.id+"-security/", 1)}
	case r.state == dropped:
		s.URLs = []string{old}
	case like != nil:
		s.URLs, s.Lists = slices.Clone(like.URLs), slices.Clone(like.Lists)
	default:
		s.URLs = []string{usual}
	}
	if r.state == leaving && mirror == "" && len(s.Lists) == 0 {
		s.URLs = append(s.URLs, old)
	}
}

// like returns a source of the root that has another release of the distribution, or of
// its updates for security.
func (d *distribution) like(known []backends.Source, isSecurity bool) *backends.Source {
	paths := d.paths
	if isSecurity && d.securityPaths != nil {
		paths = d.securityPaths
	}
	for i := range known {
		k := &known[i]
		isNamed := slices.ContainsFunc(d.releases, func(r namedRelease) bool { return r.name == k.Release }) ||
			d.id == "debian" && slices.Contains([]string{"stable", "oldstable", "oldoldstable", "testing", "unstable"}, k.Release)
		isOfMain := slices.Contains(k.Components, "main")
		isSecure := strings.HasSuffix(suiteName(k.Suite), security)
		isThere := len(k.Lists) > 0 || slices.ContainsFunc(k.URLs, func(u string) bool {
			return slices.Contains(paths, path.Base(u)) || isSnapshot(u)
		})
		hasOwnKeys := k.Keys.Text != "" || len(k.Keys.Fingerprints) > 0 ||
			slices.ContainsFunc(k.Keys.Files, func(f string) bool { return !strings.HasPrefix(path.Base(f), d.id+"-") })
		if k.Format == Name && isNamed && isOfMain && isSecure == isSecurity && isThere && !hasOwnKeys && !k.Unsigned {
			return k
		}
	}
	return nil
}

// isSnapshot reports whether an address has an archive as it once was.
func isSnapshot(address string) bool {
	u, err := url.Parse(address)
	return err == nil && slices.Contains([]string{"snapshot.debian.org", "snapshot.ubuntu.com"}, u.Hostname())
}
