package transaction

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testrpm"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
)

// TestScriptsAreRead installs a deb and an rpm whose scripts do the same, and which say
// so in their own ways. Nothing of it is done.
func TestScriptsAreRead(t *testing.T) {
	const add = "update-alternatives --install /usr/bin/pager pager /bin/tool 7; [ -d /usr/lib/tool ] && [ -x /usr/bin/link ] && mkdir -p /var/lib/tool\n"
	dir := t.TempDir()
	root, err := sysroot.Open(t.TempDir(), layout.DefaultPrefix, backends.Formats{deb.Format{}, rpm.Format{}})
	if err != nil {
		t.Fatal(err)
	}
	tool := testdeb.Package{
		Name: "tool", Version: "1", Scripts: map[string]string{"postinst": "#!/bin/sh\n[ \"$1\" != configure ] || " + add, "preinst": "#!/usr/bin/perl\n", "prerm": "#!/bin/sh\nmkdir /var/lib/gone\n"},
		Files: []testdeb.File{{Path: "bin/tool", Mode: 0o755}, testdeb.Symlink("usr/bin/link", "/bin/tool"), {Path: "usr/lib/tool/"}, {Path: "usr/lib/sysusers.d/tool.conf", Content: "u tool\n"}},
	}
	tool2 := testrpm.Package{
		Name: "tool2", Scripts: map[string]string{"post": "[ $1 -ne 1 ] || { " + add + "}\n", "preun": "mkdir /var/lib/gone\n"},
		Files: []testrpm.File{
			{Path: "/usr/bin/link", Mode: testrpm.TypeSymlink | 0o777, Link: "tool"},
			{Path: "/usr/bin/tool", Mode: testrpm.TypeFile | 0o755},
			{Path: "/usr/lib/sysusers.d/tool.conf", Content: "u tool\n"},
			{Path: "/usr/lib/tool", Mode: testrpm.TypeDir | 0o755},
		},
		Edit: func(h *testrpm.Header) {
			h.Strings(1151, "posix.mkdir('/x')") // %pretrans
			h.Strings(1153, "<lua>")
		},
	}
	var files []Package
	for name, b := range map[string][]byte{"tool.deb": testdeb.Deb(t, tool), "tool.rpm": testrpm.RPM(t, tool2)} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, Package{Path: file})
	}
	o := InstallOptions{Root: root, Packages: files, Signature: trust.Off, Now: time.Unix(1700000000, 0)}
	if result, err := Install(t.Context(), o); err != nil || !result.Changed {
		t.Fatal(result, err)
	}
	g, err := root.Active()
	if err != nil {
		t.Fatal(err)
	}
	want := record.Manifest{
		Alternatives: []pkginfo.Alternative{{Name: "pager", Link: "/usr/bin/pager", Path: "/usr/bin/tool", Priority: 7}},
		WouldMake:    pkginfo.Made{Directories: []pkginfo.MadeDirectory{{Path: "/var/lib/tool"}}, Users: []string{"tool"}, Groups: []string{"tool"}},
	}
	for name, unread := range map[string]string{
		"tool": "preinst: it is not a shell script but one for /usr/bin/perl", "tool2": "pretrans: it is not a shell script but one for <lua>",
	} {
		m, err := root.Store().Manifest(name, g.DefaultOf(name).Dir)
		if err != nil {
			t.Fatal(err)
		}
		want.Unread = []string{unread}
		if diff := cmp.Diff(want.Alternatives, m.Alternatives); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(want.WouldMake, m.WouldMake); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(want.Unread, m.Unread); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
