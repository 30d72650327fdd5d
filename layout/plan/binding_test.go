package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/layout/record"
)

// TestBindings plans for programs that are bound and that search, with short and long
// search paths.
func TestBindings(t *testing.T) {
	const own, defaults, farm = "/var/sys/jq/1.6/lib64:", "/var/sys/jq/default/lib64:", "/var/sys/current-system/lib64"
	interpreter := record.EditRecord{
		Kind: record.EditInterpreter, From: []string{"/lib64/ld-linux-x86-64.so.2"}, To: []string{"/var/sys/libc6/2.36/" + libDir + "ld-linux-x86-64.so.2"},
	}
	needed := record.EditRecord{Kind: record.EditNeeded, From: []string{"libjq.so.1", "libc.so.6", "libm.so.6", "libonig.so.5", "ld-linux-x86-64.so.2", ""}}
	for _, file := range []string{"libjq1/1.6/" + libDir + "libjq.so.1.0.4", "libc6/2.36/" + libDir + "libc.so.6", "libc6/2.36/" + libDir + "libm.so.6", "libonig5/6.9/" + libDir + "libonig.so.5.6.9", "libc6/2.36/" + libDir + "ld-linux-x86-64.so.2"} {
		needed.To = append(needed.To, "/var/sys/"+file)
	}
	needed.To = append(needed.To, "libjq.so.1")
	path := func(list string) record.EditRecord {
		return record.EditRecord{Kind: record.EditRunPath, To: []string{list}}
	}
	identities := map[digest.Digest]record.Binding{}
	for _, tt := range []struct {
		binding record.Binding
		program []record.EditRecord
		library []record.EditRecord
	}{
		{
			record.Binding{},
			[]record.EditRecord{interpreter, needed},
			[]record.EditRecord{path("/var/sys/libc6/2.36/lib64:/var/sys/libonig5/6.9/lib64")},
		},
		{
			record.Binding{RunPath: record.RunPathFull},
			[]record.EditRecord{interpreter, needed, path(own + defaults + farm)},
			[]record.EditRecord{path("/var/sys/libjq1/1.6/lib64:/var/sys/libjq1/default/lib64:/var/sys/libc6/2.36/lib64:/var/sys/libonig5/6.9/lib64:" + farm)},
		},
		{
			record.Binding{Bind: record.BindRunPath},
			[]record.EditRecord{interpreter, path("/var/sys/libjq1/1.6/lib64:/var/sys/libc6/2.36/lib64")},
			[]record.EditRecord{path("/var/sys/libc6/2.36/lib64:/var/sys/libonig5/6.9/lib64")},
		},
		{
			record.Binding{Bind: record.BindRunPath, RunPath: record.RunPathFull},
			[]record.EditRecord{interpreter, path(own + defaults + "/var/sys/libjq1/1.6/lib64:/var/sys/libc6/2.36/lib64:" + farm)},
			[]record.EditRecord{path("/var/sys/libjq1/1.6/lib64:/var/sys/libjq1/default/lib64:/var/sys/libc6/2.36/lib64:/var/sys/libonig5/6.9/lib64:" + farm)},
		},
	} {
		command := []*record.Manifest{jq("1.6", "GLIBC_2.34"), libjq("1.6"), onig("6.9"), libc("2.36", "GLIBC_2.34"), pkg("text", "1", nil)}
		for _, m := range command {
			m.Binding = tt.binding
		}
		plan := newWorld().plan(t, command...)
		if diff := cmp.Diff(tt.program, edits(t, plan, "jq", "usr/bin/jq")); diff != "" {
			t.Errorf("%+v: the program (-want +have):\n%s", tt.binding, diff)
		}
		if diff := cmp.Diff(tt.library, edits(t, plan, "libjq1", libDir+"libjq.so.1.0.4")); diff != "" {
			t.Errorf("%+v: the library (-want +have):\n%s", tt.binding, diff)
		}
		if diff := cmp.Diff([]record.EditRecord{path("/var/sys/libc6/2.36/lib64")}, edits(t, plan, "libc6", libDir+"libm.so.6")); diff != "" {
			t.Errorf("%+v: the C library (-want +have):\n%s", tt.binding, diff)
		}
		for _, tree := range plan.Trees {
			if tree.Name == "jq" && len(tree.Manifest.Lookup("usr/bin/jq").Needs) != 5 {
				t.Errorf("%+v: it is to load %+v, want five libraries", tt.binding, tree.Manifest.Lookup("usr/bin/jq").Needs)
			}
			if other, twice := identities[tree.Identity]; twice {
				t.Errorf("%s has the same identity with %+v as with %+v", tree.Name, tt.binding, other)
			}
			identities[tree.Identity] = tt.binding
		}
	}
}
