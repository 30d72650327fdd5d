package generate_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/generate"
	"github.com/hashpkg/hashpkg/layout/record"
)

const lib = "usr/lib/x86_64-linux-gnu/"

// file returns a file whose bytes are text; a program has "x " before its path.
func file(p, text string) record.File {
	f := record.File{Path: p, Type: record.TypeFile, Mode: 0o644, Object: digest.Of([]byte(text))}
	if rest, ok := strings.CutPrefix(p, "x "); ok {
		f.Path, f.Mode = rest, 0o755
	}
	return f
}

func tree(files ...record.File) *record.Manifest {
	m := &record.Manifest{Files: files}
	m.Index()
	return m
}

// host has files, by path, with their text.
type host map[string]string

func (h host) Files(dir string) (found []generate.Input, err error) {
	for p, text := range h {
		if rest, ok := strings.CutPrefix(p, dir+"/"); ok && !strings.Contains(rest, "/") {
			found = append(found, generate.Input{Path: p, Object: digest.Of([]byte(text)), OfHost: true})
		}
	}
	return found, nil
}

func tasks(t *testing.T, h host, trees ...*record.Manifest) []generate.Task {
	t.Helper()
	tasks, err := generate.Tasks(trees, h)
	if err != nil {
		t.Fatal(err)
	}
	return tasks
}

func TestTasks(t *testing.T) {
	compile := file("x "+lib+"glib-2.0/glib-compile-schemas", "compile")
	schema := file("usr/share/glib-2.0/schemas/a.gschema.xml", "a")
	loader := file(lib+"gdk-pixbuf-2.0/2.10.0/loaders/svg.so", "svg")
	for _, test := range []struct {
		name  string
		files []record.File
		host  host
		want  []string // "BY: COMMAND -> DIRECTORY/WHAT"
	}{
		{"nothing", []record.File{file("usr/bin/a", "a"), file("usr/share/mime/a", "")}, nil, nil},
		{"no program", []record.File{schema}, nil, nil},
		{"a program that is none", []record.File{schema, file(lib+"glib-2.0/glib-compile-schemas", "compile")}, nil, nil},
		{
			"schemas",
			[]record.File{compile, schema},
			nil,
			[]string{"GLib schemas: /" + lib + "glib-2.0/glib-compile-schemas --targetdir=/out /usr/share/glib-2.0/schemas -> usr/share/glib-2.0/schemas/gschemas.compiled"},
		},
		{"the host has them", []record.File{compile, schema}, host{"usr/share/glib-2.0/schemas/a.gschema.xml": "a", "usr/share/glib-2.0/schemas/gschemas.compiled": "x"}, nil},
		{
			"the host has others",
			[]record.File{compile, schema},
			host{"usr/share/glib-2.0/schemas/a.gschema.xml": "b", "usr/share/glib-2.0/schemas/gschemas.compiled": "x"},
			[]string{"GLib schemas: /" + lib + "glib-2.0/glib-compile-schemas --targetdir=/out /usr/share/glib-2.0/schemas -> usr/share/glib-2.0/schemas/gschemas.compiled"},
		},
		{
			"loaders, and the host's",
			[]record.File{loader, file("x "+lib+"gdk-pixbuf-2.0/gdk-pixbuf-query-loaders", "q")},
			host{lib + "gdk-pixbuf-2.0/2.10.0/loaders/a.so": "a", lib + "gdk-pixbuf-2.0/2.10.0/loaders/a.txt": "a", lib + "gdk-pixbuf-2.0/2.10.0/loaders.cache": "x"},
			[]string{"GdkPixbuf loaders: /" + lib + "gdk-pixbuf-2.0/gdk-pixbuf-query-loaders /" + lib + "gdk-pixbuf-2.0/2.10.0/loaders/a.so /" + lib +
				"gdk-pixbuf-2.0/2.10.0/loaders/svg.so -> " + lib + "gdk-pixbuf-2.0/2.10.0/loaders.cache"},
		},
		{
			"of rpm",
			[]record.File{file("usr/lib64/gdk-pixbuf-2.0/2.10.0/loaders/svg.so", "svg"), file("x usr/bin/gdk-pixbuf-query-loaders-64", "q")},
			nil,
			[]string{"GdkPixbuf loaders: /usr/bin/gdk-pixbuf-query-loaders-64 /usr/lib64/gdk-pixbuf-2.0/2.10.0/loaders/svg.so -> usr/lib64/gdk-pixbuf-2.0/2.10.0/loaders.cache"},
		},
		{
			"Graphviz",
			[]record.File{file(lib+"graphviz/libgvplugin_core.so.6", "c"), file("x usr/sbin/libgvc6-config-update", "u"), file("x usr/bin/dot", "d")},
			nil,
			[]string{"Graphviz plugins: /usr/sbin/libgvc6-config-update -c GVBINDIR=/out -> " + lib + "graphviz/config[0-9]* libgvplugin_core.so.6=/" + lib + "graphviz/libgvplugin_core.so.6"},
		},
		{"desktop files", []record.File{file("usr/share/applications/a.desktop", "a")}, nil, []string{"MIME types of desktop files:  -> usr/share/applications/mimeinfo.cache"}},
		{"icons", []record.File{file("usr/share/icons/hicolor/48x48/apps/a.png", "a"), file("usr/share/icons/a.png", "a")}, nil, []string{"icons:  -> usr/share/icons/hicolor/icon-theme.cache"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, task := range tasks(t, test.host, tree(test.files...)) {
				line := task.By + ": " + strings.Join(append(task.Args, task.Env...), " ") + " -> " + task.Into + "/" + task.Printed + strings.Join(task.Outputs, " ")
				for at, to := range task.OutLinks {
					line += " " + at + "=" + to
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}

// TestIdentity: what is made is known by all that it follows from, and by nothing else.
func TestIdentity(t *testing.T) {
	identity := func(h host, files ...record.File) digest.Digest {
		t.Helper()
		files = append(files, file("usr/share/a/other", "a"))
		all := tasks(t, h, tree(files...))
		if len(all) != 1 {
			t.Fatalf("there are %d tasks", len(all))
		}
		return all[0].Identity()
	}
	compile, schema := file("x "+lib+"glib-2.0/glib-compile-schemas", "compile"), file("usr/share/glib-2.0/schemas/a.xml", "a")
	first := identity(nil, compile, schema)
	if identity(host{"usr/share/a/b": "b"}, schema, compile) != first {
		t.Error("it is another one for the same input")
	}
	for name, other := range map[string]digest.Digest{
		"input":        identity(nil, compile, file("usr/share/glib-2.0/schemas/a.xml", "b")),
		"name":         identity(nil, compile, file("usr/share/glib-2.0/schemas/b.xml", "a")),
		"program":      identity(nil, file("x "+lib+"glib-2.0/glib-compile-schemas", "other"), schema),
		"one more":     identity(nil, compile, schema, file("usr/share/glib-2.0/schemas/b.xml", "a")),
		"of the host":  identity(host{"usr/share/glib-2.0/schemas/b.xml": "b"}, compile, schema),
		"another host": identity(host{"usr/share/glib-2.0/schemas/b.xml": "c"}, compile, schema),
	} {
		if other == first {
			t.Errorf("%s: it is the same", name)
		}
	}
}

func TestDesktopFiles(t *testing.T) {
	all := tasks(t, nil, tree(file("usr/share/applications/a.desktop", "a")))
	got := all[0].Index([]generate.Content{
		{"usr/share/applications/a.desktop", []byte("# x\n[Desktop Entry]\nMimeType = text/x;text/y;;text;a b/c;[x]/y\n[Desktop Action new]\nMimeType=text/z\n")},
		{"usr/share/applications/b.desktop", []byte("MimeType=text/a\n[Desktop Entry]\r\nMimeType=text/x;\r\nName=b")},
	})
	if want := "[MIME Cache]\ntext/x=a.desktop;b.desktop;\ntext/y=a.desktop;\n"; string(got) != want {
		t.Errorf("it is %q, want %q", got, want)
	}
}

func TestHostDirs(t *testing.T) {
	names := map[string][]string{"usr/lib": {"a*", "x86_64-linux-gnu"}, lib + "gdk-pixbuf-2.0": {"2.10.0"}}
	dirs := generate.HostDirs(func(dir string) []string { return names[dir] })
	for _, want := range []string{"usr/share/mime/packages", lib + "gdk-pixbuf-2.0/2.10.0/loaders", lib + "graphviz", "usr/share/applications"} {
		if !slices.Contains(dirs, want) {
			t.Errorf("%s is missing in %q", want, dirs)
		}
	}
	if slices.ContainsFunc(dirs, func(d string) bool { return strings.Contains(d, "*") || strings.Contains(d, "aspell") }) {
		t.Errorf("they are %q", dirs)
	}
}

func FuzzDesktopFile(f *testing.F) {
	f.Add([]byte("[Desktop Entry]\nMimeType=text/x;text/y\n"))
	f.Add([]byte("[Desktop Entry]\nMimeType=\x00/\xff;a/b=c;a/\r\n"))
	all, err := generate.Tasks([]*record.Manifest{tree(file("usr/share/applications/a.desktop", "a"))}, host{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		made := string(all[0].Index([]generate.Content{{"usr/share/applications/a.desktop", b}}))
		lines := strings.Split(strings.TrimSuffix(made, "\n"), "\n")
		if lines[0] != "[MIME Cache]" {
			t.Fatalf("it begins with %q", lines[0])
		}
		for _, line := range lines[1:] {
			if kind, ok := strings.CutSuffix(line, "=a.desktop;"); !ok || strings.Count(kind, "=") > 0 || !strings.Contains(kind, "/") {
				t.Errorf("a line is %q", line)
			}
		}
	})
}
