package rpm

import (
	"regexp"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
)

// distribution is one whose releases hashpkg knows by name. In its texts "$version"
// stands for the release's.
type distribution struct {
	name      string   // before the version: "fedora-"
	versions  []string // that are shown
	isVersion string   // a regular expression of those that are taken
	mirror    string   // where it is; of one with metalinks, where its mirrors copy it from
	repos     []distributionRepo
	// isSigned says that descriptions are signed, and not the packages only.
	isSigned   bool
	keys       []string
	keyPackage string
	// base is the distribution that its packages are for, of the same version.
	base string
}

// distributionRepo is a repository of a distribution.
type distributionRepo struct {
	name     string // behind the release's: "updates"; "" for the release itself
	path     string // on a mirror
	metalink string // a list of mirrors, or ""
}

const keysDir = "/usr/share/distribution-gpg-keys/"

const keysPackage = "distribution-gpg-keys"

// distributions returns them in the order in which to show them.
func distributions() []distribution {
	fedora := func(repo string) string {
		return "https://mirrors.fedoraproject.org/metalink?repo=" + repo + "&arch=$basearch"
	}
	centos := func(repo string) string {
		return "https://mirrors.centos.org/metalink?repo=centos-" + repo + "-$version-stream&arch=$basearch&protocol=https,http"
	}
	return []distribution{
		{
			name: "fedora-", versions: []string{"44", "43", "42", "41"}, isVersion: `[1-9][0-9]`,
			mirror: "https://dl.fedoraproject.org/pub/fedora/linux",
			repos: []distributionRepo{
				{"", "releases/$version/Everything/$basearch/os", fedora("fedora-$version")},
				{"updates", "updates/$version/Everything/$basearch", fedora("updates-released-f$version")},
			},
			keys:       []string{"/etc/pki/rpm-gpg/RPM-GPG-KEY-fedora-$version-primary", keysDir + "fedora/RPM-GPG-KEY-fedora-$version-primary"},
			keyPackage: keysPackage,
		},
		{
			name: "fedora-", versions: []string{"rawhide"}, isVersion: `rawhide`,
			mirror:     "https://dl.fedoraproject.org/pub/fedora/linux",
			repos:      []distributionRepo{{"", "development/rawhide/Everything/$basearch/os", fedora("rawhide")}},
			keys:       []string{"/etc/pki/rpm-gpg/RPM-GPG-KEY-fedora-rawhide-primary", keysDir + "fedora/RPM-GPG-KEY-fedora-rawhide-primary"},
			keyPackage: keysPackage,
		},
		{
			name: "centos-stream-", versions: []string{"10", "9"}, isVersion: `9|[1-9][0-9]`,
			mirror: "https://mirror.stream.centos.org",
			repos: []distributionRepo{
				{"baseos", "$version-stream/BaseOS/$basearch/os", centos("baseos")},
				{"appstream", "$version-stream/AppStream/$basearch/os", centos("appstream")},
				{"crb", "$version-stream/CRB/$basearch/os", centos("crb")},
			},
			keys: []string{
				"/etc/pki/rpm-gpg/RPM-GPG-KEY-centosofficial", "/etc/pki/rpm-gpg/RPM-GPG-KEY-centosofficial-SHA256",
				keysDir + "centos/RPM-GPG-KEY-CentOS-Official", keysDir + "centos/RPM-GPG-KEY-CentOS-Official-SHA256",
			},
			keyPackage: keysPackage,
		},
		{
			name: "epel-", versions: []string{"10", "9"}, isVersion: `9|[1-9][0-9]`,
			mirror:     "https://dl.fedoraproject.org/pub/epel",
			repos:      []distributionRepo{{"", "$version/Everything/$basearch", fedora("epel-$version")}},
			keys:       []string{"/etc/pki/rpm-gpg/RPM-GPG-KEY-EPEL-$version", keysDir + "epel/RPM-GPG-KEY-EPEL-$version"},
			keyPackage: keysPackage,
			base:       "centos-stream-",
		},
		{
			name: "opensuse-leap-", versions: []string{"15.6"}, isVersion: `15\.[3-9]`,
			mirror: "https://download.opensuse.org",
			repos: []distributionRepo{
				{"", "distribution/leap/$version/repo/oss", ""},
				{"updates", "update/leap/$version/oss", ""},
				{"sle-updates", "update/leap/$version/sle", ""},
				{"backports-updates", "update/leap/$version/backports", ""},
			},
			isSigned: true, keys: opensuseKeys(), keyPackage: keysPackage,
		},
		{
			name: "opensuse-", versions: []string{"tumbleweed"}, isVersion: `tumbleweed`,
			mirror: "https://download.opensuse.org",
			repos: []distributionRepo{
				{"", "tumbleweed/repo/oss", ""},
				{"updates", "update/tumbleweed", ""},
			},
			isSigned: true, keys: opensuseKeys(), keyPackage: keysPackage,
		},
	}
}

// opensuseKeys are those of openSUSE, of its community's backports and of SUSE, whose
// packages are a part of Leap; by the names that openSUSE has for them itself, too.
func opensuseKeys() []string {
	const own = "/usr/lib/rpm/gnupg/keys/gpg-pubkey-"
	return []string{
		own + "29b700a4-62b07e22.asc", own + "25db7ae0-645bae34.asc", own + "3fa1d6ce-63c9481c.asc",
		keysDir + "opensuse/RPM-GPG-KEY-openSUSE", keysDir + "opensuse/RPM-GPG-KEY-openSUSE-2022",
		keysDir + "opensuse/RPM-GPG-KEY-openSUSE-Backports", keysDir + "opensuse/RPM-GPG-KEY-openSUSE-Backports-2023",
		keysDir + "suse/RPM-GPG-KEY-SuSE-SLE-12", keysDir + "suse/RPM-GPG-KEY-SuSE-SLE-Main-2023",
	}
}

// Releases returns the names of releases. Other versions of the same distributions are
// taken, too.
func (Format) Releases() []string {
	var names []string
	for _, d := range distributions() {
		for _, v := range d.versions {
			names = append(names, d.name+v)
		}
	}
	return names
}

// Offered returns them all: those are shown that mirrors have.
func (f Format) Offered() []string { return f.Releases() }

// Vendor implements [backends.Repositories]. Fedora and Red Hat mark the release in the
// version.
func (Format) Vendor(release, version string) string {
	for _, d := range distributions() {
		if vendor, _, _ := strings.Cut(d.name, "-"); strings.HasPrefix(release, d.name) {
			if d.base != "" {
				return "fedora" // EPEL is Fedora's
			}
			return vendor
		}
	}
	switch {
	case strings.Contains(version, ".fc"):
		return "fedora"
	case strings.Contains(version, ".el"):
		return "redhat"
	}
	return ""
}

// Release returns the sources of a release. Those of Fedora, CentOS and EPEL come from
// lists of mirrors, over https and with digests, unless a mirror is named or known.
func (Format) Release(name string, known []backends.Source, mirror string) []backends.Source {
	for _, d := range distributions() {
		version, ok := strings.CutPrefix(name, d.name)
		if !ok || !regexp.MustCompile(`^(`+d.isVersion+`)$`).MatchString(version) {
			continue
		}
		sources := d.sources(version, d.mirrorOf(known, mirror))
		for _, base := range distributions() {
			if d.base != "" && base.name == d.base {
				for _, s := range base.sources(version, base.mirrorOf(known, "")) {
					s.Name = name + strings.TrimPrefix(s.Name, base.name+version) // those of that release itself may be there, too
					sources = append(sources, s)
				}
			}
		}
		for i := range sources {
			sources[i].Release = name
		}
		return sources
	}
	return nil
}

// sources returns those of one release.
func (d *distribution) sources(version, mirror string) []backends.Source {
	var all []backends.Source
	fill := func(text string) string { return strings.ReplaceAll(text, "$version", version) }
	for _, r := range d.repos {
		s := backends.Source{Format: Name, Name: d.name + version, Unsigned: !d.isSigned, PackagesSigned: !d.isSigned}
		if r.name != "" {
			s.Name += "-" + r.name
		}
		switch {
		case mirror != "":
			s.URLs = []string{mirror + "/" + fill(r.path)}
		case r.metalink != "":
			s.Lists = []backends.MirrorList{{URL: fill(r.metalink), Metalink: true}}
		default:
			s.URLs = []string{d.mirror + "/" + fill(r.path)}
		}
		for _, key := range d.keys {
			s.Keys.Files = append(s.Keys.Files, fill(key))
		}
		s.Keys.Package = d.keyPackage
		all = append(all, s)
	}
	return all
}

// mirrorOf returns the mirror to use: the one that is named, or else the one that a
// known source of the distribution is on, or "".
func (d *distribution) mirrorOf(known []backends.Source, mirror string) string {
	if mirror != "" {
		return strings.TrimRight(mirror, "/")
	}
	for i := range known {
		if of, mirror := d.find(&known[i]); of != "" && mirror != "" {
			return mirror
		}
	}
	return ""
}

// find returns which release of the distribution a source is of, and on which mirror
// it is. It goes by the address. Both are "" for a source of another one, and the
// mirror is for one with a list of them.
func (d *distribution) find(s *backends.Source) (version, mirror string) {
	if s.Format != Name {
		return "", ""
	}
	match := func(template, text, before string) []string {
		pattern := regexp.QuoteMeta(template)
		for variable, value := range map[string]string{`\$version`: `(?P<version>` + d.isVersion + `)`, `\$basearch`: `(?:[a-z0-9_]+|\$basearch)`} {
			pattern = strings.Replace(pattern, variable, value, 1)
		}
		e := regexp.MustCompile(`^` + before + pattern + `$`)
		found := e.FindStringSubmatch(text)
		if found == nil {
			return nil
		}
		version := strings.Trim(d.isVersion, `^$`) // of a distribution with one release, whose paths do not have it
		if i := e.SubexpIndex("version"); i >= 0 {
			version = found[i]
		}
		return append(found, version)
	}
	for _, r := range d.repos {
		for _, address := range s.URLs {
			if found := match(r.path, address, `(https?://.+)/`); found != nil {
				return found[len(found)-1], found[1]
			}
		}
		for _, l := range s.Lists {
			template, _, _ := strings.Cut(r.metalink, "&arch=")
			address, _, _ := strings.Cut(l.URL, "&arch=")
			if r.metalink == "" || len(s.URLs) > 0 {
				continue
			}
			if found := match(template, address, ""); found != nil {
				return found[len(found)-1], ""
			}
		}
	}
	return "", ""
}

// knownRelease returns the name of the release that a source is a part of, or "".
func knownRelease(s *backends.Source) (name, mirror string) {
	for _, d := range distributions() {
		if version, mirror := d.find(s); version != "" {
			return d.name + version, mirror
		}
	}
	return "", ""
}
