// Package generate says which files of a view follow from its other files: indexes that a
// distribution makes by triggers and scripts when a package is installed. [Tasks] returns
// what is to be made for a view. Everything in it is a pure function of what it is handed;
// who runs the programs is not its business.
//
// What is made has a place in /usr, and is the same for the same input. These are not made:
//
//   - the caches of gio's modules and of GTK 4's: GLib reads a module that such a cache does
//     not have, and none that is younger than the cache, which those of a tree always are;
//   - fontconfig's: it stands in /var/cache or in the user's own directory, and is made there;
//   - the bundle of certificates in /etc/ssl: whom a machine trusts is for its own to say;
//   - Python's bytecode: the interpreter does without;
//   - the catalogs of XML and SGML, which stand in /etc.
package generate

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/record"
)

// generator is one kind of index. In its strings, {dir} stands for the directory that it is
// made for, {out} for the one that its program may write to, and an argument {inputs} for
// the paths of all inputs.
type generator struct {
	name  string   // for people
	dirs  []string // of /usr, as patterns of [path.Match]: each that has an input has an index of its own
	files []string // the inputs, as patterns below such a directory
	alone bool     // the host's own files in these places are no inputs

	// programs are patterns of the program that makes it; the first that the view has is
	// run. Without any, index makes it of the inputs' contents.
	programs []string
	args     []string
	script   string // of a shell, which is run in place of the program, and runs that
	env      []string
	links    bool // {out} has links to the inputs, as they stand in their directory
	index    func(contents []Content) []byte
	constant bool // it returns the same for whatever there is

	// printed is the name of the file that has what the program prints, or index returns;
	// outputs are patterns of the files that it writes into {out}. Both are put into the
	// directory, or into another one.
	printed string
	outputs []string
	into    string

	// main is the output that the host has if it has made the index for its own; "" for what
	// the host's is no use for.
	main string

	beside bool // a library looks for it beside itself
}

var generators = []generator{
	{
		name: "GLib schemas", dirs: []string{"usr/share/glib-2.0/schemas"}, files: []string{"*.xml", "*.gschema.override"},
		programs: []string{"usr/lib/*/glib-2.0/glib-compile-schemas", "usr/bin/glib-compile-schemas"},
		args:     []string{"--targetdir={out}", "/{dir}"}, outputs: []string{"gschemas.compiled"}, main: "gschemas.compiled",
	},
	{
		name: "GdkPixbuf loaders", dirs: []string{"usr/lib/*/gdk-pixbuf-2.0/*", "usr/lib64/gdk-pixbuf-2.0/*"}, files: []string{"loaders/*.so"},
		programs: []string{"usr/lib/*/gdk-pixbuf-2.0/gdk-pixbuf-query-loaders", "usr/bin/gdk-pixbuf-query-loaders", "usr/bin/gdk-pixbuf-query-loaders-64"},
		args:     []string{"{inputs}"}, printed: "loaders.cache", main: "loaders.cache",
	},
	{
		name: "GTK 3 input methods", dirs: []string{"usr/lib/*/gtk-3.0/*", "usr/lib64/gtk-3.0/*"}, files: []string{"immodules/*.so"},
		programs: []string{"usr/lib/*/libgtk-3-0*/gtk-query-immodules-3.0", "usr/bin/gtk-query-immodules-3.0", "usr/bin/gtk-query-immodules-3.0-64"},
		args:     []string{"{inputs}"}, printed: "immodules.cache", main: "immodules.cache",
	},
	{
		name: "GTK 2 input methods", dirs: []string{"usr/lib/*/gtk-2.0/*", "usr/lib64/gtk-2.0/*"}, files: []string{"immodules/*.so"},
		programs: []string{"usr/lib/*/libgtk2.0-0*/gtk-query-immodules-2.0", "usr/bin/gtk-query-immodules-2.0", "usr/bin/gtk-query-immodules-2.0-64"},
		args:     []string{"{inputs}"}, printed: "immodules.cache", main: "immodules.cache",
	},
	{
		name: "MIME types", dirs: []string{"usr/share/mime"}, files: []string{"packages/*.xml"},
		programs: []string{"usr/bin/update-mime-database"}, args: []string{"{out}"}, env: []string{"PKGSYSTEM_ENABLE_FSYNC=0"}, links: true,
		outputs: []string{"*", "*/*"}, main: "mime.cache",
	},
	{
		name: "MIME types of desktop files", dirs: []string{"usr/share/applications"}, files: []string{"*.desktop"},
		index: desktopIndex, printed: "mimeinfo.cache", main: "mimeinfo.cache",
	},
	{
		// An index that the host makes later hides what it does not have, and an empty one is
		// none: the directories are read then.
		name: "icons", dirs: []string{"usr/share/icons/*"}, files: []string{"*/*/*"}, alone: true,
		index: func([]Content) []byte { return nil }, constant: true, printed: "icon-theme.cache",
	},
	{
		name: "Graphviz plugins", dirs: []string{"usr/lib/*/graphviz", "usr/lib64/graphviz"}, files: []string{"libgvplugin_*.so*"},
		programs: []string{"usr/sbin/libgvc*-config-update", "usr/bin/dot"}, args: []string{"-c"}, env: []string{"GVBINDIR={out}"}, links: true,
		outputs: []string{"config[0-9]*"}, beside: true,
	},
	{
		name: "Aspell dictionaries", dirs: []string{"usr/share/aspell"}, files: []string{"*.wl.gz", "*.mwl.gz", "*.cwl.gz", "*.contents"}, alone: true,
		programs: []string{"usr/bin/aspell"}, script: aspell, outputs: []string{"*.rws"}, into: "usr/lib/aspell",
	},
}

// aspell makes a dictionary of each word list. A list of a language has the language's name,
// or is named in a file that has it.
const aspell = `set -e; cd /usr/share/aspell
make() {
	for list in "$2.mwl.gz" "$2.wl.gz" "$2.cwl.gz"; do
		[ -e "$list" ] || continue
		case $list in *.cwl.gz) expand=precat;; *) expand=cat;; esac
		gzip -cd "$list" | $expand | aspell --per-conf=/dev/null --dont-validate-affixes --local-data-dir=/usr/lib/aspell --lang="$1" create master "{out}/$2.rws"
		return
	done
}
named=" "
for file in *.contents; do
	[ -e "$file" ] || continue
	while read -r list; do
		case $list in ''|'#'*) continue;; esac
		named="$named$list "
		make "${file%.contents}" "$list"
	done <"$file"
done
for file in *wl.gz; do
	list=${file%.gz}; list=${list%.*}
	case $named in *" $list "*) ;; *) make "$list" "$list";; esac
done`

// Out is what {out} is.
const Out = "/out"

// Input is a file that a generator looks at.
type Input struct {
	Path   string        // relative to the root
	Target string        // of a link
	Object digest.Digest // of a file: of its bytes
	OfHost bool          // it is the host's
}

// Content is an input with its bytes.
type Content struct {
	Path  string
	Bytes []byte
}

// Task is one index of a view that is to be made.
type Task struct {
	By     string  // the generator's name
	Inputs []Input // sorted by path

	// Program is the path of the program that is needed for it, "" when Index makes it.
	// Args is what is run, Env is added to its environment, and OutLinks are links that
	// [Out], to which it may write, has in the beginning.
	Program  string
	Args     []string
	Env      []string
	OutLinks map[string]string
	Index    func(contents []Content) []byte

	Into    string   // the directory of the view that what is made is put into
	Beside  bool     // a library looks for it beside itself
	Printed string   // the name there of what the program prints; "" when it writes files
	Outputs []string // patterns of the files that it writes, of which links are none

	program digest.Digest
}

// Host says what the host has.
type Host interface {
	// Files returns the files and links in a directory, or none.
	Files(dir string) ([]Input, error)
}

// HostDirs returns the directories of a host in which files may be inputs. list returns the
// names that a directory has.
func HostDirs(list func(dir string) []string) (dirs []string) {
	for _, g := range generators {
		if g.alone {
			continue
		}
		for _, d := range g.dirs {
			for _, f := range g.files {
				for _, dir := range expand(path.Dir(d+"/"+f), list) {
					if !slices.Contains(dirs, dir) {
						dirs = append(dirs, dir)
					}
				}
			}
		}
	}
	return dirs
}

// expand returns the directories that a pattern may stand for.
func expand(pattern string, list func(dir string) []string) []string {
	before, _, some := strings.Cut(pattern, "*")
	if !some {
		return []string{pattern}
	}
	parent := path.Dir(before + "x")
	first, rest, _ := strings.Cut(strings.TrimPrefix(pattern, parent+"/"), "/")
	var dirs []string
	for _, name := range list(parent) {
		if match(first, name) && !strings.Contains(name, "*") {
			dirs = append(dirs, expand(path.Join(parent, name, rest), list)...)
		}
	}
	return dirs
}

// Tasks returns what is to be made for a view that is merged from trees, where the first
// that has a path wins. Where the host has all that the trees have, its own index stands.
func Tasks(trees []*record.Manifest, host Host) (tasks []Task, err error) {
	files := viewFiles(trees)
	for _, g := range generators {
		for _, dir := range g.dirsIn(files) {
			t, err := g.task(dir, files, host)
			if err != nil {
				return nil, err
			}
			if t != nil {
				tasks = append(tasks, *t)
			}
		}
	}
	return tasks, nil
}

// viewFiles has the files of a view by their paths, of which somebody may want to know.
func viewFiles(trees []*record.Manifest) map[string]*record.File {
	files := map[string]*record.File{}
	wanted := map[string]bool{}
	for _, m := range trees {
		for i := range m.Files {
			f := &m.Files[i]
			if f.Type != record.TypeFile && f.Type != record.TypeSymlink || files[f.Path] != nil {
				continue
			}
			dir := path.Dir(f.Path)
			is, known := wanted[dir]
			if !known {
				is = slices.ContainsFunc(generators, func(g generator) bool { return g.wants(dir) })
				wanted[dir] = is
			}
			if is {
				files[f.Path] = f
			}
		}
	}
	return files
}

// wants reports whether files in a directory may be inputs or programs.
func (g *generator) wants(dir string) bool {
	for _, p := range g.programs {
		if match(path.Dir(p), dir) {
			return true
		}
	}
	for _, d := range g.dirs {
		for _, f := range g.files {
			if match(path.Dir(d+"/"+f), dir) {
				return true
			}
		}
	}
	return false
}

func match(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// dirsIn returns the directories of which files have inputs.
func (g *generator) dirsIn(files map[string]*record.File) (dirs []string) {
	for _, pattern := range g.dirs {
		first, _, _ := strings.Cut(pattern, "*")
		depth := strings.Count(pattern, "/") + 1
		for p := range files {
			if !strings.HasPrefix(p, first) {
				continue
			}
			parts := strings.Split(p, "/")
			if len(parts) <= depth {
				continue
			}
			dir := strings.Join(parts[:depth], "/")
			if match(pattern, dir) && !slices.Contains(dirs, dir) && g.isInput(dir, p) {
				dirs = append(dirs, dir)
			}
		}
	}
	slices.Sort(dirs)
	return dirs
}

func (g *generator) isInput(dir, p string) bool {
	rest, below := strings.CutPrefix(p, dir+"/")
	return below && slices.ContainsFunc(g.files, func(pattern string) bool { return match(pattern, rest) })
}

// task returns what is to be made for a directory; nil for nothing.
func (g *generator) task(dir string, files map[string]*record.File, host Host) (*Task, error) {
	t := &Task{By: g.name, Index: g.index, Printed: g.printed, Outputs: g.outputs, Into: cmp.Or(g.into, dir), Beside: g.beside}
	for p, f := range files {
		if g.isInput(dir, p) {
			t.Inputs = append(t.Inputs, Input{Path: p, Target: f.Target, Object: f.Object})
		}
	}
	if !g.alone {
		own, err := g.hostInputs(dir, host)
		if err != nil {
			return nil, err
		}
		if g.main != "" && own[path.Join(dir, g.main)].Path != "" && !slices.ContainsFunc(t.Inputs, func(i Input) bool {
			o := own[i.Path]
			return o.Target != i.Target || o.Object != i.Object
		}) {
			return nil, nil
		}
		for _, i := range own {
			if g.isInput(dir, i.Path) && files[i.Path] == nil {
				t.Inputs = append(t.Inputs, i)
			}
		}
	}
	slices.SortFunc(t.Inputs, func(a, b Input) int { return strings.Compare(a.Path, b.Path) })
	if g.constant {
		t.Inputs = nil
	}
	if g.index != nil {
		return t, nil
	}
	program := g.program(files)
	if program == nil {
		return nil, nil // its distribution does without, too
	}
	t.Program, t.program = program.Path, program.Object
	fill := strings.NewReplacer("{dir}", dir, "{out}", Out)
	if g.script != "" {
		t.Args = []string{"/bin/sh", "-c", fill.Replace(g.script)}
	} else {
		t.Args = []string{"/" + t.Program}
	}
	for _, a := range g.args {
		if a != "{inputs}" {
			t.Args = append(t.Args, fill.Replace(a))
			continue
		}
		for _, i := range t.Inputs {
			t.Args = append(t.Args, "/"+i.Path)
		}
	}
	for _, e := range g.env {
		t.Env = append(t.Env, fill.Replace(e))
	}
	if g.links {
		t.OutLinks = map[string]string{}
		for _, i := range t.Inputs {
			t.OutLinks[strings.TrimPrefix(i.Path, dir+"/")] = "/" + i.Path
		}
	}
	return t, nil
}

// hostInputs returns what the host has where the inputs of a directory are, by path, and
// where the main output is.
func (g *generator) hostInputs(dir string, host Host) (map[string]Input, error) {
	dirs := []string{dir}
	for _, f := range g.files {
		if d := path.Join(dir, path.Dir(f)); !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	own := map[string]Input{}
	for _, d := range dirs {
		found, err := host.Files(d)
		if err != nil {
			return nil, err
		}
		for _, i := range found {
			own[i.Path] = i
		}
	}
	return own, nil
}

// program returns the program that makes the index; nil when the view has none.
func (g *generator) program(files map[string]*record.File) *record.File {
	for _, pattern := range g.programs {
		var best *record.File
		for p, f := range files {
			if match(pattern, p) && f.Type == record.TypeFile && f.Mode&0o111 != 0 && (best == nil || p < best.Path) {
				best = f
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// IsOutput reports whether a file, by its path below Into, or below [Out] while the program
// runs, is one of what is made.
func (t *Task) IsOutput(p string) bool {
	return p == t.Printed || slices.ContainsFunc(t.Outputs, func(pattern string) bool { return match(pattern, p) })
}

// version is a part of what each result is known by. It is another one when the same task
// makes something else.
const version = "1"

// Identity is what a task's result is known by: all that it follows from.
func (t *Task) Identity() digest.Digest {
	h := digest.New()
	add := func(list ...string) {
		for _, s := range list {
			h.Write([]byte(s))
			h.Write([]byte{0})
		}
		h.Write([]byte{1})
	}
	add("hashpkg generated "+version, t.By, t.Into, t.Printed, t.Program, t.program.String())
	add(t.Args...)
	add(t.Env...)
	add(t.Outputs...)
	for _, i := range t.Inputs {
		add(i.Path, i.Target, i.Object.String())
	}
	return digest.Sum(h)
}
