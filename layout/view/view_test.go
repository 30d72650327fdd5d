package view_test

import (
	"debug/elf"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/view"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// tree returns a manifest with files: "path", "path -> target", or "path so" for a shared
// library and "path so asks" for one that asks where it is.
func tree(name string, files ...string) *record.Manifest {
	m := &record.Manifest{Name: name, Version: "1", Tree: "1", Identity: digest.Of([]byte(name))}
	for _, text := range files {
		p, more, _ := strings.Cut(text, " ")
		d := digest.Of([]byte(name + p))
		f := record.File{Path: p, Type: record.TypeFile, Mode: 0o4755, Object: d, Source: digest.Of([]byte("packaged")), Xattrs: map[string][]byte{"security.capability": {1}}}
		if target, ok := strings.CutPrefix(more, "-> "); ok {
			f = record.File{Path: p, Type: record.TypeSymlink, Mode: 0o777, Target: "inside", PackageTarget: target}
		}
		if strings.HasPrefix(more, "so") {
			f.ELF = &elfedit.Info{Class: elf.ELFCLASS64, Machine: elf.EM_X86_64, Type: elf.ET_DYN, HasDynamic: true, Soname: p[strings.LastIndexByte(p, '/')+1:], AsksWhere: more == "so asks"}
		}
		m.Files = append(m.Files, f)
	}
	slices.SortFunc(m.Files, func(a, b record.File) int { return strings.Compare(a.Path, b.Path) })
	m.Index()
	return m
}

func paths(m *record.Manifest) (paths []string) {
	for _, f := range m.Files {
		paths = append(paths, f.Path)
	}
	return paths
}

// merge merges trees, and leaves out the file that each view has for systemd.
func merge(links []record.Link, trees ...*record.Manifest) *record.Manifest {
	return mergeParts(view.PartsOf("head/@stable", trees, links))
}

func mergeParts(p view.Parts) *record.Manifest {
	v := view.Merge(p)
	v.Files = slices.DeleteFunc(v.Files, func(f record.File) bool { return f.Path == releasePath(v) })
	v.Index()
	return v
}

func releasePath(v *record.Manifest) string {
	return "usr/lib/extension-release.d/extension-release." + v.Tree
}

// TestRelease: each view has a file that names its own directory.
func TestRelease(t *testing.T) {
	v := view.Merge(view.PartsOf("head/@stable", []*record.Manifest{tree("x", "usr/bin/x")}, nil))
	if f := v.Lookup(releasePath(v)); f == nil || f.Object != digest.Of([]byte("ID=_any\n")) || f.Size != 8 || f.Mode != 0o644 {
		t.Errorf("it is %+v, of %v", f, paths(v))
	}
}

// TestLibraryThatAProgramIsBoundTo: the loader is to find one file, by whichever path it is opened.
func TestLibraryThatAProgramIsBoundTo(t *testing.T) {
	app := tree("app", "usr/lib/office/app so", "usr/lib/office/libmerged.so so", "usr/lib/office/libplugin.so so")
	app.Lookup("usr/lib/office/app").ELF.PIE = true
	app.Lookup("usr/lib/office/app").Needs = []record.Need{
		{Soname: "libmerged.so", Path: "/var/sys/app/1/usr/lib/office/libmerged.so"},
		{Soname: "libuno.so", Path: "/var/sys/uno/1/usr/lib/office/libuno.so"},
		{Soname: "libplugin.so", Path: "/usr/lib/office/libplugin.so"}, // of the root
	}
	v := merge(nil, app, tree("uno", "usr/lib/office/libuno.so so", "usr/lib/office/more/libmerged.so so"))
	for p, target := range map[string]string{
		"usr/lib/office/app":               "",
		"usr/lib/office/libmerged.so":      "/var/sys/app/1/usr/lib/office/libmerged.so",
		"usr/lib/office/libuno.so":         "/var/sys/uno/1/usr/lib/office/libuno.so",
		"usr/lib/office/libplugin.so":      "",
		"usr/lib/office/more/libmerged.so": "",
	} {
		if f := v.Lookup(p); f == nil || f.Target != target || (target != "") != (f.Type == record.TypeSymlink) {
			t.Errorf("%s is %+v", p, f)
		}
	}
}

const lib = "usr/lib/x86_64-linux-gnu/"

func TestMerge(t *testing.T) {
	app := tree("app", "usr/bin/app", "usr/share/app/data", "usr/share/doc/app/README", "etc/app.conf", "usr/src/app.c", "usr/share/app/link -> /usr/share/app/data",
		lib+"libapp.so.1 so", lib+"libapp.so -> libapp.so.1", lib+"app/plugin.so so", lib+"glibc-hwcaps/x86-64-v3/libapp.so.1 so", "var/lib/app/x")
	v := merge(nil, app, tree("more", "usr/share/app/data", "usr/share/app/more"))
	want := []string{"usr/bin/app", lib + "app/plugin.so", "usr/share/app/data", "usr/share/app/link", "usr/share/app/more"}
	if diff := cmp.Diff(want, paths(v)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	if f := v.Lookup("usr/share/app/data"); f.Object != app.Lookup("usr/share/app/data").Object || f.Source != f.Object || f.Mode != 0o755 || f.Xattrs != nil {
		t.Errorf("it is %+v", f)
	}
	if f := v.Lookup("usr/share/app/link"); f.Target != "/usr/share/app/data" {
		t.Errorf("the link leads to %s", f.Target)
	}
	if diff := cmp.Diff([]string{"app/1", "more/1"}, v.Merged); diff != "" || v.Name != layout.ViewName || v.Tree != view.Dir(v.Identity) {
		t.Errorf("merged %v, name %s, tree %s", v.Merged, v.Name, v.Tree)
	}
}

// TestEmptyDirectories: a directory in which no package has a file is there all the same.
func TestEmptyDirectories(t *testing.T) {
	app, more := tree("app", "usr/bin/app", "usr/share/aclocal-1/x"), tree("more", "usr/share/full/file")
	for _, dir := range []string{"usr/share", "usr/share/aclocal", "usr/share/aclocal-1", "usr/share/full", "usr/share/doc/app", "usr/share/doc", "usr/src/app", "usr/lib/sudo", "usr/lib/x86_64-linux-gnu", "var/lib/app"} {
		app.Files = append(app.Files, record.File{Path: dir, Type: record.TypeDirectory, Mode: 0o2770, UID: 7})
	}
	more.Files = append(more.Files, record.File{Path: "usr/share/aclocal/within", Type: record.TypeDirectory, Mode: 0o755})
	v := merge(nil, app, more)
	if diff := cmp.Diff([]string{"usr/bin/app", "usr/share/aclocal-1/x", "usr/share/aclocal/within", "usr/share/full/file"}, paths(v)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	if f := v.Lookup("usr/share/aclocal/within"); f.Mode != 0o755 || f.UID != 0 {
		t.Errorf("it is %+v", f)
	}
}

// TestRights: what decides who may do what is the root's, whatever packages bring, and
// nothing else is left out for its name.
func TestRights(t *testing.T) {
	evil := []string{
		"usr/bin/sudo", "usr/bin/sudoedit", "usr/bin/su", "usr/bin/pkexec", "usr/sbin/visudo", "usr/lib/sudo/sudoers.so so", "usr/libexec/sudo/x",
		lib + "security/pam_unix.so so", "usr/lib64/security/pam_unix.so so", lib + "libnss_evil.so.2 so", lib + "libnss_evil.data",
		"usr/share/polkit-1/rules.d/x", "usr/share/dbus-1/system-services/x", "usr/lib/dbus-1.0/helper",
		"usr/lib/x86_64-linux-gnu -> /evil", "usr/lib64 -> /evil",
	}
	good := []string{
		"usr/lib/jvm/java/conf/security/java.security", "usr/lib/jvm/java/lib/security/cacerts", "usr/share/vim/vim91/syntax/sudoers.vim",
		"usr/share/dbus-1/services/org.x.service", "usr/bin/subst", "usr/share/app/pam_notes",
	}
	slices.Sort(good)
	v := merge(nil, tree("x", append(slices.Clone(evil), good...)...))
	if diff := cmp.Diff(good, paths(v)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	var links []record.Link
	for _, p := range append(evil, "over/libc6/1/lib/x.so", "etc/passwd", "usr/local/bin/x") {
		p, _, _ = strings.Cut(p, " ")
		links = append(links, record.Link{Path: p, Target: "evil"})
	}
	links = append(links, record.Link{Path: "usr/bin/editor", Target: "subst"})
	v = merge(links, tree("x", "usr/bin/subst"))
	if diff := cmp.Diff([]string{"usr/bin/editor", "usr/bin/subst"}, paths(v)); diff != "" {
		t.Errorf("of links (-want +have)\n%s", diff)
	}
}

// TestLoaderFamily: nothing of the C library's package is in a view.
func TestLoaderFamily(t *testing.T) {
	if v := merge(nil, tree("libc6", lib+"libc.so.6 so asks", lib+"gconv/EUC-JP.so so", "usr/share/x"), tree("app", "usr/bin/app")); len(v.Files) != 1 {
		t.Errorf("it has %v", paths(v))
	}
}

// withLinker has a tree replace a linker of its own.
func withLinker(m *record.Manifest, file string) *record.Manifest {
	d := digest.Of([]byte("runs " + file))
	m.Files = append(m.Files, record.File{Path: "link/" + file, Type: record.TypeFile, Mode: 0o755, Object: d, Source: d, Linker: file})
	m.Index()
	return m
}

// TestLibraries: where the closure has a linker, its libraries stand beside the view, and the
// linker with them; in its place there is what runs it.
func TestLibraries(t *testing.T) {
	libc := tree("libc6", lib+"libc.so.6 so", lib+"ld-linux-x86-64.so.2 so", lib+"gconv/EUC-JP.so so", lib+"libnss_compat.so.2 so", "usr/bin/ldd", "usr/share/x",
		"usr/lib64/ld-linux-x86-64.so.2 -> /lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
	cxx := tree("libstdc++6", lib+"libstdc++.so.6 so", lib+"libstdc++.so -> libstdc++.so.6", "usr/share/gdb/x")
	evil := tree("evil", lib+"libnss_evil.so.2 so", lib+"security/pam_evil.so so", "usr/lib/x86_64-linux-gnu -> /evil")
	binutils := withLinker(tree("binutils", "usr/bin/ld -> ld.bfd", "usr/bin/ld.bfd", lib+"bfd-plugins/x"), "usr/bin/ld.bfd")
	v := merge(nil, tree("gcc", "usr/bin/gcc"), binutils, cxx, libc, evil)
	want := []string{
		"libs/loader", "libs/usr/bin/ld.bfd", "libs/usr/lib/.hashpkg-libs",
		"libs/" + lib + "gconv/EUC-JP.so", "libs/" + lib + "ld-linux-x86-64.so.2", "libs/" + lib + "libc.so.6", "libs/" + lib + "libnss_compat.so.2",
		"libs/" + lib + "libstdc++.so", "libs/" + lib + "libstdc++.so.6", "libs/usr/lib64/ld-linux-x86-64.so.2",
		"usr/bin/gcc", "usr/bin/ld", "usr/bin/ld.bfd", lib + "bfd-plugins/x", "usr/share/gdb/x",
	}
	if diff := cmp.Diff(want, paths(v)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	if f := v.Lookup("libs/loader"); f.Target != "head/@stable/libs/"+lib+"ld-linux-x86-64.so.2" {
		t.Errorf("the loader is %s", f.Target)
	}
	if f := v.Lookup("usr/bin/ld.bfd"); f.Object != binutils.Lookup("link/usr/bin/ld.bfd").Object || f.Linker != "" {
		t.Errorf("in place of the linker there is %+v", f)
	}
	if f := v.Lookup("libs/usr/bin/ld.bfd"); f.Object != binutils.Lookup("usr/bin/ld.bfd").Object || f.Xattrs != nil || f.Mode != 0o755 {
		t.Errorf("the linker is %+v", f)
	}
	// A linker of that name of another package, which comes first, is not replaced.
	first := tree("first", "usr/bin/ld.bfd")
	v = merge(nil, first, binutils, libc)
	if f := v.Lookup("usr/bin/ld.bfd"); f.Object != first.Lookup("usr/bin/ld.bfd").Object || v.Lookup("libs/usr/bin/ld.bfd") != nil {
		t.Errorf("another package's linker is %+v", f)
	}
	if !view.HasLibraries(v) || view.HasLibraries(merge(nil, first, libc)) {
		t.Error("a view has libraries where it has a linker, and only there")
	}
}

// TestUnfit: libraries that lack a version of a symbol that the root's has.
func TestUnfit(t *testing.T) {
	versions := func(names ...string) (defs []elfedit.VersionDef) {
		for _, n := range names {
			defs = append(defs, elfedit.VersionDef{Name: n})
		}
		return defs
	}
	libc := tree("libc6", lib+"libc.so.6 so", lib+"libother.so.1 so")
	libc.Lookup(lib + "libc.so.6").ELF.VersionDefs = versions("GLIBC_2.35", "GLIBC_2.36")
	for want, root := range map[string][]elfedit.VersionDef{
		"": versions("GLIBC_2.35", "GLIBC_PRIVATE"), "/" + lib + "libc.so.6": versions("GLIBC_2.35", "GLIBC_2.37"),
	} {
		got := view.Unfit([]*record.Manifest{libc}, func(p string) []elfedit.VersionDef {
			if p == "/"+lib+"libc.so.6" {
				return root
			}
			return nil
		})
		if got != want {
			t.Errorf("%v: unfit is %q, want %q", root, got, want)
		}
	}
	// A root that has its C library elsewhere.
	libc = tree("libc6", lib+"libc.so.6 so", lib+"ld-linux-x86-64.so.2 so", "usr/lib64/ld-linux-x86-64.so.2 -> ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
	if got := view.Unfit([]*record.Manifest{libc}, func(string) []elfedit.VersionDef { return nil }); got != "/usr/lib64/ld-linux-x86-64.so.2" {
		t.Errorf("the loader of another C library fits (%q)", got)
	}
}

// TestBeside: where a library looks for files beside itself, its tree shows those of the
// view, too; and all that the tree has.
func TestBeside(t *testing.T) {
	asks := tree("libgvc", lib+"libgvc.so.6 so asks", "usr/share/gvc/data")
	plugin := tree("plugin", lib+"gvc/plugin.so so", "usr/share/plugin/x")
	v := merge(nil, tree("dot", "usr/bin/dot"), asks, plugin)
	const over = "over/libgvc/1/"
	want := []string{
		over + "lib/x86_64-linux-gnu/gvc", over + "lib/x86_64-linux-gnu/libgvc.so.6", over + "share/gvc/data",
		"usr/bin/dot", lib + "gvc/plugin.so", "usr/share/gvc/data", "usr/share/plugin/x",
	}
	if diff := cmp.Diff(want, paths(v)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	// It is seen as libgvc/1/usr/lib/x86_64-linux-gnu/gvc.
	if target := v.Lookup(want[0]).Target; path.Join("/libgvc/1/usr/lib/x86_64-linux-gnu", target) != "/"+layout.ViewsDir+"/"+v.Tree+"/"+lib+"gvc" {
		t.Errorf("its directory of plugins leads to %s", target)
	}
	own := tree("libgvc", lib+"libgvc.so.6 so asks", lib+"gvc/own.so so")
	v = merge(nil, tree("dot", "usr/bin/dot"), own, plugin)
	for _, p := range []string{"own.so", "plugin.so"} {
		if f := v.Lookup(over + "lib/x86_64-linux-gnu/gvc/" + p); f == nil || f.Type != record.TypeFile {
			t.Errorf("in a directory where it has a file itself, %s is %+v", p, f)
		}
	}
	rust := tree("libstd-rust", lib+"librustc_driver-1.so so asks")
	v = merge(nil, tree("rustc", "usr/bin/rustc"), rust, tree("libstd-rust-dev", "usr/lib/rustlib/x/lib/std.rlib", "usr/lib/other/x"))
	if v.Lookup("over/libstd-rust/1/lib/rustlib/x") == nil || v.Lookup("over/libstd-rust/1/lib/other") != nil {
		t.Errorf("of a compiler's crates it has %v", paths(v))
	}
	if v = merge(nil, tree("dot", "usr/bin/dot"), asks); slices.ContainsFunc(paths(v), func(p string) bool { return strings.HasPrefix(p, "over/") }) {
		t.Errorf("nothing stands beside, and it has %v", paths(v))
	}
}

// TestBesideOwnDirectory: libraries outside of the loader's directories that another package
// loads are bound to their tree, so it shows the files beside them, too.
func TestBesideOwnDirectory(t *testing.T) {
	core := tree("core", "usr/lib/office/program/libcore.so so", "usr/lib/office/share/x")
	ure := tree("ure", "usr/lib/office/program/unorc")
	writer := tree("writer", "usr/lib/office/program/libwriter.so so")
	writer.Files[0].ELF.Needed = []string{"libcore.so"}
	const over = "over/core/1/lib/office/"
	want := []string{
		over + "program/libcore.so", over + "program/libwriter.so", over + "program/unorc", over + "share/x",
		"usr/lib/office/program/libcore.so", "usr/lib/office/program/libwriter.so", "usr/lib/office/program/unorc", "usr/lib/office/share/x",
	}
	if diff := cmp.Diff(want, paths(merge(nil, core, ure, writer))); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	if v := merge(nil, core, ure); slices.ContainsFunc(paths(v), func(p string) bool { return strings.HasPrefix(p, "over/") }) {
		t.Errorf("nobody loads its library, and it has %v", paths(v))
	}
}

// TestLinkToLibrary: a module that is a link to a library of the loader's directories is
// there, though the library is not.
func TestLinkToLibrary(t *testing.T) {
	lpeg := tree("lpeg", lib+"liblpeg.so.2 so", lib+"lua/5.4/lpeg.so -> ../../liblpeg.so.2")
	v := merge(nil, lpeg)
	if diff := cmp.Diff([]string{lib + "lua/5.4/lpeg.so"}, paths(v)); diff != "" {
		t.Fatalf("(-want +have)\n%s", diff)
	}
	if f := v.Files[0]; f.Type != record.TypeFile || f.Object != lpeg.Lookup(lib+"liblpeg.so.2").Object || f.Target != "" {
		t.Errorf("it is %+v", f)
	}
}

// TestFillConversions: where the root has no conversions of character sets, the view has those of
// its C library, as they are when the tree is placed.
func TestFillConversions(t *testing.T) {
	libc := tree("libc6", lib+"libc.so.6 so", lib+"ld-linux-x86-64.so.2 so", lib+"gconv/EUC-JP.so so", lib+"gconv/gconv-modules", lib+"gconv/link.so -> EUC-JP.so", "usr/share/x", "usr/lib/locale/C.utf8/x")
	closure := []*record.Manifest{tree("app", "usr/bin/app"), tree("libc6", "usr/share/not-this-one"), libc}
	fill := func(root ...string) (*view.Parts, []string) {
		p := view.PartsOf("x", closure, nil)
		p.FillConversions(closure, func(name string) bool { return slices.Contains(root, name) })
		v := view.Merge(p)
		var paths []string
		for i := range v.Files {
			if p := v.Files[i].Path; p != releasePath(v) && p != "usr/share/not-this-one" {
				paths = append(paths, p)
			}
		}
		return &p, paths
	}
	lacking, paths := fill()
	if diff := cmp.Diff([]string{"usr/bin/app", lib + "gconv/EUC-JP.so", lib + "gconv/gconv-modules", lib + "gconv/link.so"}, paths); diff != "" {
		t.Errorf("where the root has none (-want +have)\n%s", diff)
	}
	has, paths := fill("/" + lib + "gconv")
	if diff := cmp.Diff([]string{"usr/bin/app"}, paths); diff != "" {
		t.Errorf("where the root has some (-want +have)\n%s", diff)
	}
	if lacking.Identity() == has.Identity() {
		t.Error("both are one view")
	}
	edited := libc.Clone()
	edited.Lookup(lib + "gconv/EUC-JP.so").Object = digest.Of([]byte("edited"))
	err := lacking.Place(func(m *record.Manifest) (*record.Manifest, error) {
		if m == libc {
			return edited, nil
		}
		return m, nil
	})
	v := view.Merge(*lacking)
	if f := v.Lookup(lib + "gconv/EUC-JP.so"); err != nil || f == nil || f.Object != digest.Of([]byte("edited")) || !slices.Contains(v.Merged, "libc6/"+libc.Tree) {
		t.Errorf("when it is placed: %v, merged of %v", err, v.Merged)
	}
}

// TestFillConf: where links in /usr lead to configuration that the root has not, the view
// has it itself.
func TestFillConf(t *testing.T) {
	closure := []*record.Manifest{
		tree("ssl", "usr/bin/ssl", "usr/lib/ssl/openssl.cnf -> /etc/ssl/openssl.cnf", "usr/lib/ssl/own.cnf -> ../../../etc/ssl/own.cnf", "usr/lib/ssl/lost.cnf -> /etc/ssl/lost.cnf",
			"usr/lib/ssl/certs -> /etc/ssl/certs", "usr/lib/ssl/made.cnf -> /etc/ssl/made.cnf", "usr/lib/ssl/made", "usr/lib/ssl/other -> /usr/share/x", "etc/ssl/openssl.cnf", "etc/ssl/own.cnf"),
		tree("jre", "usr/lib/jre/conf -> /etc/jre", "etc/jre/a", "etc/jre/sub/b -> ../c", "etc/jre/c -> /usr/share/jre/c", "etc/jre/gone -> /nowhere"),
		tree("more", "usr/share/jre/c", "etc/jre/a", "etc/jre/more"),
	}
	closure[0].WouldMake.Copies = []pkginfo.MadeCopy{{From: "/usr/lib/ssl/made", To: "/etc/ssl/made.cnf"}}
	fill := func(root ...string) *view.Parts {
		p := view.PartsOf("x", closure, nil)
		p.FillConf(closure, func(name string) bool { return slices.Contains(root, name) })
		return &p
	}
	parts := fill("/etc/ssl/own.cnf")
	v := view.Merge(*parts)
	have := map[string]string{}
	for _, f := range v.Files {
		if f.Path == releasePath(v) {
			continue
		}
		switch {
		case strings.HasPrefix(f.Path, "usr/share") || strings.HasPrefix(f.Path, "usr/bin"):
		case f.Type == record.TypeSymlink:
			have[f.Path] = "-> " + f.Target
		default:
			have[f.Path] = f.Object.String()
		}
	}
	of := func(name, p string) string { return digest.Of([]byte(name + p)).String() }
	want := map[string]string{
		"usr/lib/ssl/openssl.cnf": of("ssl", "etc/ssl/openssl.cnf"), "usr/lib/ssl/own.cnf": "-> ../../../etc/ssl/own.cnf", "usr/lib/ssl/lost.cnf": "-> /etc/ssl/lost.cnf",
		"usr/lib/ssl/made.cnf": of("ssl", "usr/lib/ssl/made"), "usr/lib/ssl/made": of("ssl", "usr/lib/ssl/made"), "usr/lib/ssl/certs": "-> /etc/ssl/certs", "usr/lib/ssl/other": "-> /usr/share/x",
		"usr/lib/jre/conf/a": of("jre", "etc/jre/a"), "usr/lib/jre/conf/sub/b": of("more", "usr/share/jre/c"), "usr/lib/jre/conf/c": of("more", "usr/share/jre/c"),
		"usr/lib/jre/conf/more": of("more", "etc/jre/more"),
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	if f := v.Lookup("usr/lib/ssl/openssl.cnf"); f != nil && f.Mode != 0o755 {
		t.Errorf("its mode is %v", f.Mode)
	}
	// It is another view when the root has the file, and the same one as ever when it has all.
	all := fill("/etc/ssl/own.cnf", "/etc/ssl/openssl.cnf", "/etc/ssl/made.cnf", "/etc/jre")
	if plain := view.PartsOf("x", closure, nil); all.Identity() != plain.Identity() || parts.Identity() == plain.Identity() {
		t.Error("the identity does not say what the view has of its own")
	}
}

// TestOdd: two packages that disagree about what is a directory make no view that cannot be
// placed.
func TestOdd(t *testing.T) {
	for _, trees := range [][]*record.Manifest{
		{tree("a", "usr/share/x -> y"), tree("b", "usr/share/x/file")},
		{tree("b", "usr/share/x/file"), tree("a", "usr/share/x -> y")},
	} {
		if v := merge(nil, trees...); len(v.Files) != 1 || v.Files[0].Path != trees[0].Files[0].Path {
			t.Errorf("it has %v", paths(v))
		}
	}
}

// TestGenerated: what follows from other files stands in their place, also beside libraries
// that look for it there, and makes another view.
func TestGenerated(t *testing.T) {
	asks := tree("libgvc", lib+"libgvc.so.6 so", lib+"gvc/plugin.so so")
	words := tree("words", "usr/lib/aspell/en.rws -> /var/lib/aspell/en.rws")
	p := view.PartsOf("libgvc", []*record.Manifest{asks, words}, nil)
	before, plain := p.Identity(), p
	made := func(into, name string) view.Generated {
		g := record.Generated{By: "test", Input: digest.Of([]byte(name))}
		return view.Generated{Generated: g, Into: into, Beside: name == "config", Files: []record.File{
			{Path: into + "/" + name, Type: record.TypeFile, Mode: 0o644, Generated: &g.Input},
		}}
	}
	p.Generate(made(lib+"gvc", "config"))
	p.Generate(made("usr/lib/aspell", "en.rws"))
	v := mergeParts(p)
	const over = "over/libgvc/1/lib/x86_64-linux-gnu/"
	want := []string{over + "gvc/config", over + "gvc/plugin.so", over + "libgvc.so.6", "usr/lib/aspell/en.rws", lib + "gvc/config", lib + "gvc/plugin.so"}
	if diff := cmp.Diff(want, paths(v)); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	if f := v.Lookup("usr/lib/aspell/en.rws"); f.Type != record.TypeFile || f.Generated == nil || len(v.Generated) != 2 {
		t.Errorf("it is %+v, and %+v", f, v.Generated)
	}
	if p.Identity() == before || plain.Identity() != before || len(plain.Beside) != 0 {
		t.Error("it is the same view, or has changed the one before")
	}
}

func TestIdentity(t *testing.T) {
	a, b := tree("a", "usr/bin/a"), tree("b", "usr/bin/b")
	parts := func(links []record.Link, trees ...*record.Manifest) digest.Digest {
		p := view.PartsOf("head/@stable", trees, links)
		return p.Identity()
	}
	if parts(nil, a, b) != parts(nil, a, b, tree("lib", lib+"libx.so.1 so")) {
		t.Error("a package of libraries changes it")
	}
	for name, other := range map[string]digest.Digest{
		"order": parts(nil, b, a), "fewer": parts(nil, a), "a link": parts([]record.Link{{Path: "usr/bin/c", Target: "a"}}, a, b),
	} {
		if other == parts(nil, a, b) {
			t.Errorf("another %s does not change it", name)
		}
	}
}
