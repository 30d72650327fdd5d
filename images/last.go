package images

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/alternatives"
	"github.com/hashpkg/hashpkg/layout/farm"
	"github.com/hashpkg/hashpkg/layout/record"
)

// SBOMFile is where an image has its bill of materials, SPDX 2.3 in JSON.
const SBOMFile = "/var/lib/db/sbom/image.spdx.json"

// bundle is where programs of Debian look for the certificates of authorities (ca-certificates(8)).
const bundle = "etc/ssl/certs/ca-certificates.crt"

// last returns the entries of the last layer, complete: what follows from all trees.
func (p *placed) last(in *Input, generated map[string][]byte) ([]entry, error) {
	accounts, err := accountsOf(p.trees)
	if err != nil {
		return nil, err
	}
	b := &lastLayer{p: p, accounts: accounts}
	// Where runtimes mount what every program may expect.
	for _, d := range []string{"dev", "etc", "proc", "run", "sys", "usr/bin", "usr/lib", "usr/sbin", "var/lib", "var/log", "var/cache"} {
		b.dir(d, 0o755, 0, 0)
	}
	b.dir("tmp", 0o1777, 0, 0)
	b.dir("var/tmp", 0o1777, 0, 0)
	b.dir("root", 0o700, 0, 0)
	for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		if in := "usr/" + name; p.dirs[in] || p.files[in] != nil || b.has[in] {
			b.add(link(name, in))
		}
	}
	b.add(link("var/run", "../run"))
	b.addAlone()
	b.addAlternatives(in.Generation.Alternatives)
	b.addFarm(in.Generation)
	b.addMade()
	if err := b.addPHP(in.Objects); err != nil {
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(generated)) {
		b.replace(text(path, generated[path]))
	}
	b.addPolicy()
	if in.Certificates {
		if err := b.addCertificates(in.Objects); err != nil {
			return nil, err
		}
	}
	if len(in.SBOM) > 0 {
		b.add(text(strings.TrimPrefix(SBOMFile, "/"), in.SBOM))
	}
	return complete(b.entries, p.dirOf), nil
}

type lastLayer struct {
	p        *placed
	accounts *accounts
	entries  []entry
	has      map[string]bool
}

// add adds what no package has the place of.
func (b *lastLayer) add(e entry) {
	if b.has[e.path] || b.p.isTaken(&e) || b.p.files[e.path] != nil {
		return
	}
	b.put(e)
}

// replace adds a file, also where a package has one or a link: a later layer is over an earlier one.
func (b *lastLayer) replace(e entry) {
	if !b.has[e.path] && !b.p.dirs[e.path] && !b.p.isInside(e.path) {
		b.put(e)
	}
}

func (b *lastLayer) put(e entry) {
	if b.has == nil {
		b.has = map[string]bool{}
	}
	b.has[e.path] = true
	b.entries = append(b.entries, e)
}

// dir adds a directory, unless a package has it.
func (b *lastLayer) dir(p string, mode record.Mode, uid, gid int) {
	if !b.p.dirs[p] {
		b.add(entry{path: p, kind: record.TypeDirectory, mode: mode, uid: uid, gid: gid})
	}
}

// addAlone adds links to the files of defaults that stand alone because others have places of theirs.
func (b *lastLayer) addAlone() {
	for _, t := range b.p.trees {
		if !t.alone || !t.isDefault {
			continue
		}
		for _, e := range b.p.payload(t, "") {
			if e.kind == record.TypeFile {
				b.add(link(e.path, "/"+path.Join(b.p.prefix, layout.TreePath(t.Name, t.Tree), e.path)))
			}
		}
	}
}

// addAlternatives adds the names that several packages offer files for.
func (b *lastLayer) addAlternatives(chosen map[string]string) {
	for _, l := range alternatives.Links(b.p.standing(), chosen) {
		if b.p.keep.keeps(l.Path) {
			b.add(link(l.Path, l.Target))
		}
	}
}

// addFarm adds the links of the generation, which is the first and only one of an image, and of its defaults.
func (b *lastLayer) addFarm(g *record.Generation) {
	in := func(name string) string { return path.Join(b.p.prefix, name) }
	b.add(link(in(layout.CurrentSystem), layout.GenerationPath(g.ID)))
	for _, l := range farm.Links(g) {
		if top, _, _ := strings.Cut(l.Path, "/"); top != layout.ViewLinks && b.p.keep.keeps("usr/"+l.Path) {
			b.add(link(in(layout.GenerationPath(g.ID)+"/"+l.Path), l.Target))
		}
	}
	for i := range g.Trees {
		b.add(link(in(g.Trees[i].Name+"/"+layout.DefaultLink), layout.DefaultLinkTarget(g.Trees[i].Name)))
	}
}

// addMade adds what the scripts of packages would make: directories, and copies of files for /etc.
func (b *lastLayer) addMade() {
	for _, t := range b.p.trees {
		if t.alone {
			continue
		}
		for _, d := range t.WouldMake.Directories {
			p := layout.MergeUsr(strings.TrimPrefix(path.Clean(d.Path), "/"))
			if below(p, "var/run") { // a link to it
				p = strings.TrimPrefix(p, "var/")
			}
			if layout.CheckPayloadPath(p) != nil {
				continue
			}
			have := b.dirOf(p)
			if d.Mode != "" {
				have.mode = modeOf(d.Mode)
			}
			if d.Owner != "" {
				have.uid, have.gid = b.accounts.owner(d.Owner)
			}
			b.replaceDir(have)
		}
		for _, c := range t.WouldMake.Copies {
			f := t.Lookup(layout.MergeUsr(strings.TrimPrefix(path.Clean(c.From), "/")))
			to := layout.MergeUsr(strings.TrimPrefix(path.Clean(c.To), "/"))
			if f != nil && f.Type == record.TypeFile && layout.CheckPayloadPath(to) == nil {
				e := entryOf(f)
				b.addCopy(&e, to)
			}
		}
	}
	b.add(text("etc/passwd", b.accounts.passwd()))
	b.add(text("etc/group", b.accounts.group()))
}

// dirOf returns a directory as it would be without this script.
func (b *lastLayer) dirOf(p string) entry {
	for _, e := range b.entries {
		if e.path == p && e.kind == record.TypeDirectory {
			return e
		}
	}
	return b.p.dirOf(p)
}

// replaceDir adds a directory, also one that a package has with another owner or mode.
func (b *lastLayer) replaceDir(e entry) {
	if i := slices.IndexFunc(b.entries, func(o entry) bool { return o.path == e.path }); i >= 0 {
		if b.entries[i].kind == record.TypeDirectory {
			b.entries[i] = e
		}
		return
	}
	b.add(e)
}

// modeOf reads the mode that a script gives a directory: octal digits, else what mkdir gives.
func modeOf(text string) record.Mode {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o7777 {
		return 0o755
	}
	return record.Mode(n)
}

// addPolicy adds what the C library asks for names of users and hosts (nsswitch.conf(5), hosts(5)).
func (b *lastLayer) addPolicy() {
	b.add(text("etc/nsswitch.conf", []byte("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n")))
	// Engines show one of their own in its place; not all runtimes do.
	b.add(text("etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")))
}

// addCertificates adds what ca-certificates' script computes: one file with all certificates, and a link
// where OpenSSL looks for one.
func (b *lastLayer) addCertificates(objects Objects) error {
	const dir = "usr/share/ca-certificates/"
	var names []string
	for p, e := range b.p.files {
		if strings.HasPrefix(p, dir) && path.Ext(p) == ".crt" && e.kind == record.TypeFile {
			names = append(names, p)
		}
	}
	if len(names) == 0 {
		return advice.Errorf("--with ca-certificates: no package of the image has certificates below /%s; name a package of Debian's or Ubuntu's with --from, or mount a bundle in the container", dir)
	}
	slices.Sort(names)
	var all bytes.Buffer
	for _, name := range names {
		if err := b.p.files[name].writeTo(&all, objects); err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
		if !bytes.HasSuffix(all.Bytes(), []byte("\n")) {
			all.WriteByte('\n')
		}
	}
	b.add(text(bundle, all.Bytes()))
	b.add(link("usr/lib/ssl/cert.pem", "/"+bundle))
	return nil
}

// accounts are the users and groups of an image.
type accounts struct {
	users  []user
	groups []group
}

type user struct {
	name, home, shell string
	uid, gid          int
}

type group struct {
	name string
	gid  int
}

// base are the users and groups that packages of Debian take for granted, with the numbers that
// these have everywhere (base-passwd: passwd.master, group.master). The shell of root is sh, which images are
// likelier to have.
func base() *accounts {
	const nologin = "/usr/sbin/nologin"
	return &accounts{
		users: []user{
			{"root", "/root", "/bin/sh", 0, 0},
			{"daemon", "/usr/sbin", nologin, 1, 1},
			{"bin", "/bin", nologin, 2, 2},
			{"sys", "/dev", nologin, 3, 3},
			{"sync", "/bin", "/bin/sync", 4, 65534},
			{"games", "/usr/games", nologin, 5, 60},
			{"man", "/var/cache/man", nologin, 6, 12},
			{"lp", "/var/spool/lpd", nologin, 7, 7},
			{"mail", "/var/mail", nologin, 8, 8},
			{"news", "/var/spool/news", nologin, 9, 9},
			{"uucp", "/var/spool/uucp", nologin, 10, 10},
			{"proxy", "/bin", nologin, 13, 13},
			{"www-data", "/var/www", nologin, 33, 33},
			{"backup", "/var/backups", nologin, 34, 34},
			{"list", "/var/list", nologin, 38, 38},
			{"irc", "/run/ircd", nologin, 39, 39},
			{"_apt", "/nonexistent", nologin, 42, 65534},
			{"nobody", "/nonexistent", nologin, 65534, 65534},
		},
		groups: []group{
			{"root", 0},
			{"daemon", 1},
			{"bin", 2},
			{"sys", 3},
			{"adm", 4},
			{"tty", 5},
			{"disk", 6},
			{"lp", 7},
			{"mail", 8},
			{"news", 9},
			{"uucp", 10},
			{"man", 12},
			{"proxy", 13},
			{"kmem", 15},
			{"dialout", 20},
			{"fax", 21},
			{"voice", 22},
			{"cdrom", 24},
			{"floppy", 25},
			{"tape", 26},
			{"sudo", 27},
			{"audio", 29},
			{"dip", 30},
			{"www-data", 33},
			{"backup", 34},
			{"operator", 37},
			{"list", 38},
			{"irc", 39},
			{"src", 40},
			{"shadow", 42},
			{"utmp", 43},
			{"video", 44},
			{"sasl", 45},
			{"plugdev", 46},
			{"staff", 50},
			{"games", 60},
			{"users", 100},
			{"nogroup", 65534},
		},
	}
}

// accountsOf returns the accounts that packages take for granted, and those that their scripts would make. Each of
// these has a number that follows from its name, from 101 to 999, so that files on a volume keep their
// owner in the next image.
func accountsOf(trees []*tree) (*accounts, error) {
	a := base()
	var names []string
	made := map[string]user{}
	groupsOnly := map[string]bool{}
	for _, t := range trees {
		for _, name := range t.WouldMake.Users {
			if _, has := made[name]; !has {
				made[name] = user{name: name, home: "/nonexistent", shell: "/usr/sbin/nologin"}
			}
		}
		for _, m := range t.WouldMake.Accounts {
			u := made[m.Name]
			u.name, u.home, u.shell = m.Name, cmp.Or(m.Home, "/nonexistent"), cmp.Or(m.Shell, "/usr/sbin/nologin")
			made[m.Name] = u
			if m.Group != "" {
				groupsOnly[m.Group] = true
			}
		}
		for _, name := range t.WouldMake.Groups {
			groupsOnly[name] = true
		}
	}
	taken := map[int]bool{}
	for name := range made {
		names = append(names, name)
	}
	for name := range groupsOnly {
		if _, has := made[name]; !has {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if !isAccount(name) || a.gid(name) >= 0 {
			continue
		}
		n, err := numberOf(name, taken)
		if err != nil {
			return nil, err
		}
		a.groups = append(a.groups, group{name, n})
		if u, has := made[name]; has {
			u.uid, u.gid = n, n
			a.users = append(a.users, u)
		}
	}
	for _, t := range trees {
		for _, m := range t.WouldMake.Accounts {
			if i := slices.IndexFunc(a.users, func(u user) bool { return u.name == m.Name }); i >= 0 && a.gid(m.Group) >= 0 {
				a.users[i].gid = a.gid(m.Group)
			}
		}
	}
	return a, nil
}

// isAccount reports whether a name can stand in passwd(5).
func isAccount(name string) bool {
	for i, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && (i == 0 || (c < '0' || c > '9') && c != '-' && c != '.') {
			return false
		}
	}
	return name != "" && len(name) <= 32
}

// numberOf returns the number of an account, which is not taken.
func numberOf(name string, taken map[int]bool) (int, error) {
	d := digest.Of([]byte(name))
	const first, last = 101, 999
	if len(taken) > last-first {
		return 0, advice.Errorf("the scripts of packages would make more than %d accounts, and there are no more numbers for them; make several images", len(taken))
	}
	n := first + (int(d[0])<<8|int(d[1]))%(last-first+1)
	for taken[n] {
		if n++; n > last {
			n = first
		}
	}
	taken[n] = true
	return n, nil
}

// gid returns the number of a group, -1 of one that is not there.
func (a *accounts) gid(name string) int {
	for _, g := range a.groups {
		if g.name == name {
			return g.gid
		}
	}
	return -1
}

// owner returns the numbers of an owner as scripts have it, "mysql" or "mysql:adm"; root's for who is not there.
func (a *accounts) owner(text string) (uid, gid int) {
	text = strings.ReplaceAll(text, ".", ":")
	name, of, hasGroup := strings.Cut(text, ":")
	for _, u := range a.users {
		if u.name == name {
			uid = u.uid
			if hasGroup && of == "" {
				gid = u.gid
			}
		}
	}
	return uid, max(gid, a.gid(of), 0)
}

// passwd returns passwd(5).
func (a *accounts) passwd() []byte {
	var b bytes.Buffer
	for _, u := range a.users {
		fmt.Fprintf(&b, "%s:x:%d:%d::%s:%s\n", u.name, u.uid, u.gid, clean(u.home), clean(u.shell))
	}
	return b.Bytes()
}

// group returns group(5).
func (a *accounts) group() []byte {
	var b bytes.Buffer
	for _, g := range a.groups {
		fmt.Fprintf(&b, "%s:x:%d:\n", g.name, g.gid)
	}
	return b.Bytes()
}

// clean returns a field of passwd(5) without what would end it.
func clean(field string) string { return strings.NewReplacer(":", "", "\n", "").Replace(field) }
