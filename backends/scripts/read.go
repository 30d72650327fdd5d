package scripts

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// Limits of what one call of Read takes. Real packages stay far below them.
const (
	maxScript  = 64 << 10 // bytes of a script
	maxSteps   = 200_000  // statements, words, and what takes as long
	maxBytes   = 8 << 20  // of all strings that are made
	maxDepth   = 200      // of what stands in each other: calls, lists, substitutions
	maxNesting = 500      // brackets in each other, before anything is parsed
	maxEffects = 2000     // of each kind
	maxUnread  = 20       // sentences
	maxText    = 64 << 10 // bytes of one value
	maxPattern = 1000     // bytes of one pattern
)

// Context is what scripts are read for.
type Context struct {
	Package *pkginfo.Package
	// Triplet is the multi-arch triplet of the machine that the package is for.
	Triplet string
	// Files has the package's files and directories by their absolute paths after the
	// merge of / and /usr, with the type and permission of what links lead to; a link
	// has fs.ModeSymlink as well, and one that leads nowhere nothing else.
	Files map[string]fs.FileMode
	// Sysusers has what the package's files in /usr/lib/sysusers.d hold, by their names.
	// Package managers make these users, whether a script says so or not.
	Sysusers map[string]string
	// Compare orders versions. Without it no two versions can be compared.
	Compare func(a, b string) int
}

// Read returns what the package's scripts would do, one after another, when it is
// installed where no version of it was. It returns the same for the same package, and
// no error: what cannot be read is in Unread.
func Read(c Context) pkginfo.Effects {
	r := &recorder{context: c, directories: map[string]*pkginfo.MadeDirectory{}, copies: map[string]string{}, users: map[string]pkginfo.MadeAccount{}, groups: map[string]bool{}}
	for i := range c.Package.Scripts {
		if s := &c.Package.Scripts[i]; s.Arguments != nil && strings.TrimSpace(s.Body) != "" {
			r.read(s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sysusers)) {
		r.script = "/usr/lib/sysusers.d/" + name
		s := newShell(r, &pkginfo.Script{})
		s.bounded(func() { s.sysusersLines(c.Sysusers[name]) })
	}
	return r.effects()
}

// recorder takes what the scripts of one package do.
type recorder struct {
	context      Context
	script       string // that is being read
	alternatives []pkginfo.Alternative
	directories  map[string]*pkginfo.MadeDirectory
	copies       map[string]string // from which file of the package, by the place in /etc
	users        map[string]pkginfo.MadeAccount
	groups       map[string]bool
	unread       []string

	steps, bytes int // that were taken, of all scripts
}

func (r *recorder) effects() pkginfo.Effects {
	made := pkginfo.Made{Users: slices.Sorted(maps.Keys(r.users)), Groups: slices.Sorted(maps.Keys(r.groups))}
	for _, p := range slices.Sorted(maps.Keys(r.directories)) {
		made.Directories = append(made.Directories, *r.directories[p])
	}
	for _, name := range made.Users {
		if a := r.users[name]; a != (pkginfo.MadeAccount{Name: name}) {
			made.Accounts = append(made.Accounts, a)
		}
	}
	for _, to := range slices.Sorted(maps.Keys(r.copies)) {
		made.Copies = append(made.Copies, pkginfo.MadeCopy{From: r.copies[to], To: to})
	}
	return pkginfo.Effects{Alternatives: r.alternatives, Made: made, Unread: r.unread}
}

// tooMuch is what a panic has when a script has taken all that it may.
type tooMuch struct{ what string }

func (r *recorder) read(script *pkginfo.Script) {
	r.script = script.Name
	language, ok := shellOf(script)
	if !ok {
		r.note(0, fmt.Sprintf("it is not a shell script but one for %s", language))
		return
	}
	if len(script.Body) > maxScript {
		r.note(0, fmt.Sprintf("it has %d bytes, and no more than %d are read", len(script.Body), maxScript))
		return
	}
	if strings.Contains(script.Body, unknown) {
		r.note(0, "it holds a NUL byte")
		return
	}
	s := newShell(r, script)
	s.bounded(func() { s.program(script.Body) })
}

// bounded calls f, which may end because it has taken too much.
func (s *shell) bounded(f func()) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case tooMuch:
			s.note(s.line, e.what+", and the rest is not read")
		default:
			panic(e)
		}
	}()
	f()
}

// shellOf returns what a script is written for, and whether that is a shell.
func shellOf(script *pkginfo.Script) (string, bool) {
	interpreter := script.Interpreter
	if interpreter == "" {
		line, _, _ := strings.Cut(script.Body, "\n")
		rest, ok := strings.CutPrefix(line, "#!")
		if !ok {
			return "", strings.TrimSpace(script.Body) == ""
		}
		interpreter = rest
	}
	words := strings.Fields(interpreter)
	if len(words) > 1 && path.Base(words[0]) == "env" {
		words = words[1:]
	}
	if len(words) == 0 {
		return "an unnamed program", false
	}
	switch path.Base(words[0]) {
	case "sh", "bash", "dash", "ash", "ksh":
		return words[0], true
	}
	return words[0], false
}

// note adds a sentence to what was not understood.
func (r *recorder) note(line uint, text string) {
	where := r.script
	if line > 0 {
		where += fmt.Sprintf(", line %d", line)
	}
	text = where + ": " + text
	if len(r.unread) < maxUnread && !slices.Contains(r.unread, text) {
		r.unread = append(r.unread, text)
	}
}

// parse returns the statements of a text, up to the first that cannot be read, and why it
// cannot.
func parse(text string) (stmts []*syntax.Stmt, err error) {
	if nesting(text) > maxNesting {
		return nil, errors.New("it is nested too deeply")
	}
	// The parser is not known to withstand every text.
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("the parser fails: %v", e)
		}
	}()
	p := syntax.NewParser(syntax.Variant(syntax.LangBash))
	for stmt, e := range p.StmtsSeq(strings.NewReader(text)) { // which wants to be read to its end
		if err == nil && e == nil {
			stmts = append(stmts, stmt)
		}
		err = cmp.Or(err, e)
	}
	return stmts, err
}

// nesting returns how many brackets at the most may stand in each other. The parser goes
// as deep before it says that they are too many, or do not match.
func nesting(text string) int {
	depth, deepest := 0, 0
	for _, c := range []byte(text) {
		switch c {
		case '(', '{', '[':
			depth++
			deepest = max(deepest, depth)
		case ')', '}', ']':
			depth = max(0, depth-1)
		}
	}
	return deepest
}

// standard are directories that every system has.
var standard = map[string]bool{
	"/": true, "/boot": true, "/dev": true, "/etc": true, "/etc/alternatives": true, "/home": true, "/media": true, "/mnt": true, "/opt": true,
	"/proc": true, "/root": true, "/run": true, "/srv": true, "/sys": true, "/tmp": true, "/usr": true, "/usr/bin": true, "/usr/games": true,
	"/usr/include": true, "/usr/lib": true, "/usr/local": true, "/usr/local/bin": true, "/usr/local/lib": true, "/usr/local/sbin": true,
	"/usr/local/share": true, "/usr/sbin": true, "/usr/share": true, "/usr/share/doc": true, "/usr/share/info": true, "/usr/share/man": true,
	"/usr/share/man/man1": true, "/usr/src": true, "/var": true, "/var/cache": true, "/var/lib": true, "/var/lib/dpkg": true, "/var/log": true,
	"/var/mail": true, "/var/spool": true, "/var/tmp": true,
}

// mode returns the mode of what stands at an absolute path; ok is false when nothing
// does that the package has or a script made, or that every system has.
func (r *recorder) mode(p string) (mode fs.FileMode, ok bool) {
	p = merged(p)
	for range 10 { // a link of an alternative may lead through another
		if mode, ok := r.context.Files[p]; ok {
			return mode, mode&^fs.ModeSymlink != 0
		}
		if standard[p] || r.directories[p] != nil {
			return fs.ModeDir | 0o755, true
		}
		to := r.throughAlternative(p)
		if to == p {
			break
		}
		p = to
	}
	if dir, base := path.Split(p); (dir == "/usr/bin/" || dir == "/usr/sbin/") && isProgram(base) {
		return 0o755, true
	}
	return 0, false
}

// throughAlternative returns where a path leads that begins with the link of an
// alternative which was registered; the path itself if none does.
func (r *recorder) throughAlternative(p string) string {
	for _, a := range r.alternatives {
		rest, ok := strings.CutPrefix(p, a.Link)
		if ok && (rest == "" || rest[0] == '/') && r.context.Files[a.Path] != 0 {
			return a.Path + rest
		}
	}
	return p
}

// merged returns a clean absolute path after the merge of / and /usr.
func merged(p string) string {
	p = path.Clean("/" + p)
	top, rest, below := strings.Cut(p[1:], "/")
	if !below {
		return p
	}
	switch top {
	case "bin", "sbin", "lib", "lib32", "lib64", "libx32":
		return "/usr/" + top + "/" + rest
	}
	return p
}
