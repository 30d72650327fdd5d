package alternatives

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// pkg returns a manifest with files, of which those with an arrow are links, and with
// alternatives.
func pkg(name string, files []string, offers ...pkginfo.Alternative) *record.Manifest {
	m := &record.Manifest{Name: name, Version: "1", Alternatives: offers}
	for _, f := range files {
		p, target, isLink := strings.Cut(f, " -> ")
		file := record.File{Path: p, Type: record.TypeFile}
		if isLink {
			file.Type, file.Target = record.TypeSymlink, target
		}
		m.Files = append(m.Files, file)
	}
	m.Index()
	return m
}

func offer(name, path string, priority int, slaves ...pkginfo.Slave) pkginfo.Alternative {
	return pkginfo.Alternative{Name: name, Link: "/usr/bin/" + name, Path: path, Priority: priority, Slaves: slaves}
}

func page(of string) pkginfo.Slave {
	return pkginfo.Slave{Name: "editor.1.gz", Link: "/usr/share/man/man1/editor.1.gz", Path: "/usr/share/man/man1/" + of + ".1.gz"}
}

func TestLinks(t *testing.T) {
	nano := pkg("nano", []string{"usr/bin/nano", "usr/share/man/man1/nano.1.gz"}, offer("editor", "/bin/nano", 40, page("nano")))
	vim := pkg("vim", []string{"usr/bin/vim.basic", "usr/share/man/man1/vim.1.gz"}, offer("editor", "/usr/bin/vim.basic", 30, page("vim")), offer("vi", "/usr/bin/vim.basic", 30))
	ed := pkg("ed", []string{"usr/bin/ed"}, offer("editor", "/bin/ed", 40, page("ed")))
	for name, test := range map[string]struct {
		closure []*record.Manifest
		chosen  map[string]string
		want    string
	}{
		"none":             {[]*record.Manifest{pkg("a", []string{"usr/bin/a"})}, nil, ""},
		"highest priority": {[]*record.Manifest{vim, nano}, nil, "usr/bin/editor -> nano, usr/bin/vi -> vim.basic, usr/share/man/man1/editor.1.gz -> nano.1.gz"},
		"tie":              {[]*record.Manifest{vim, nano, ed}, nil, "usr/bin/editor -> ed, usr/bin/vi -> vim.basic"},
		"chosen package":   {[]*record.Manifest{vim, nano}, map[string]string{"editor": "vim"}, "usr/bin/editor -> vim.basic, usr/bin/vi -> vim.basic, usr/share/man/man1/editor.1.gz -> vim.1.gz"},
		"chosen path":      {[]*record.Manifest{vim, nano, ed}, map[string]string{"editor": "/usr/bin/nano"}, "usr/bin/editor -> nano, usr/bin/vi -> vim.basic, usr/share/man/man1/editor.1.gz -> nano.1.gz"},
		"chosen one that is not there": {
			[]*record.Manifest{vim},
			map[string]string{"editor": "nano", "other": "x"},
			"usr/bin/editor -> vim.basic, usr/bin/vi -> vim.basic, usr/share/man/man1/editor.1.gz -> vim.1.gz",
		},
		"path that nobody has": {[]*record.Manifest{pkg("a", nil, offer("editor", "/usr/bin/a", 90)), ed}, nil, "usr/bin/editor -> ed"},
		"file of that name":    {[]*record.Manifest{ed, pkg("b", []string{"usr/bin/editor"})}, nil, ""},
		"elsewhere": {
			[]*record.Manifest{pkg("jre", []string{"usr/lib/jvm/17/bin/java"}, offer("java", "/usr/lib/jvm/17/bin/java", 1711))},
			nil,
			"usr/bin/java -> ../lib/jvm/17/bin/java",
		},
		"link to another package": {[]*record.Manifest{
			pkg("gcc", []string{"usr/bin/gcc -> gcc-14"}, offer("cc", "/usr/bin/gcc", 20)), pkg("gcc-14", []string{"usr/bin/gcc-14 -> x86_64-gcc-14", "usr/bin/x86_64-gcc-14"}),
		}, nil, "usr/bin/cc -> gcc"},
		"link to nowhere": {[]*record.Manifest{pkg("gcc", []string{"usr/bin/gcc -> gcc-14"}, offer("cc", "/usr/bin/gcc", 20))}, nil, ""},
		"loop":            {[]*record.Manifest{pkg("a", []string{"usr/bin/a -> b"}, offer("x", "/usr/bin/a", 20)), pkg("b", []string{"usr/bin/b -> a"})}, nil, ""},
		"two names want one link": {[]*record.Manifest{pkg("a", []string{"usr/bin/a", "usr/bin/b"},
			pkginfo.Alternative{Name: "second", Link: "/usr/bin/x", Path: "/usr/bin/b", Priority: 90}, pkginfo.Alternative{Name: "first", Link: "/usr/bin/x", Path: "/usr/bin/a", Priority: 1})}, nil, "usr/bin/x -> a"},
		"leads out": {[]*record.Manifest{pkg("a", []string{"usr/bin/a"},
			pkginfo.Alternative{Name: "x", Link: "/../../etc/x", Path: "/usr/bin/a"}, pkginfo.Alternative{Name: "y", Link: "/", Path: "/usr/bin/a"})}, nil, "etc/x -> ../usr/bin/a"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, l := range Links(test.closure, test.chosen) {
				got = append(got, l.Path+" -> "+l.Target)
			}
			if diff := cmp.Diff(test.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
