package e2e

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testelf"
)

// brokenState is one way to break a store, and what verify --repair makes of it.
type brokenState struct {
	// damage is a script that runs in the prefix; object NAME prints the object of a file
	// there, and flip FILE changes a byte of it.
	damage string
	from   bool // the packages are at hand
	status int  // of the first repair
	says   string
	// then are the commands that it names, after which it has nothing more to say
	then   [][]string
	prefix string // that the store has then
	undo   string // a script that runs in the root, after the repair
	// other says that the store is right afterwards and is another one
	other bool
}

// brokenStates has, for each row of the table in docs/layout.md, what the row speaks of.
var brokenStates = map[string][]brokenState{
	"an object is damaged or lost": {
		{damage: "flip prog/1/usr/bin/prog", from: true, says: "from prog_1.deb, edited again"},
		{damage: "flip prog/1/usr/bin/script", from: true, says: "from prog_1.deb"},
		{damage: "flip prog/1/usr/bin/script", status: 3, says: "give its package: hashpkg verify --repair --from prog_1.deb", then: [][]string{{"verify", "--repair", "--from", "DEBS"}}},
		{damage: "rm $(object prog/1/usr/bin/script)", says: "its object is missing; from "},
		{damage: "rm $(object prog/1/usr/bin/script) prog/1/usr/bin/script", status: 3, says: "give its package", then: [][]string{{"verify", "--repair", "--from", "DEBS", "prog=1"}}},
		{damage: "rm -r .hashpkg/objects/*", says: "its object is missing; from "},
		{damage: "o=$(object prog/1/usr/bin/script); rm $o; mkdir $o; rm prog/1/usr/bin/script", from: true, says: "was in the place of an object; moved to the quarantine"},
	},
	"an object has a setuid bit, another mode or owner": {
		{damage: "chmod 4555 prog/1/usr/bin/script", says: "replaced by a copy of its own"},
		{damage: "chmod 0755 prog/1/usr/bin/script", says: "replaced by a copy of its own"},
	},
	"a file, link, directory or tree is lost, or another thing is in its place": {
		{damage: "rm prog/1/usr/bin/prog", says: "made again from its manifest and objects"},
		{damage: "rm prog/1/usr/bin/alias", says: "made again"},
		{damage: "rm prog/1/bin/prog", says: "made again"},
		{damage: "ln -sfn elsewhere prog/1/bin/prog", says: "leads to elsewhere, "},
		{damage: "rm -r prog/1/usr/bin", says: "made again"},
		{damage: "rm -r prog/1", says: "the tree is missing; made again from its objects"},
		{damage: "rm -r prog", says: "the tree is missing; made again from its objects"},
		{damage: "rm -r prog/1/usr/bin && echo x >prog/1/usr/bin", says: "was in the way; moved to the quarantine"},
		{damage: "rm prog/1/usr/bin/prog && mkdir prog/1/usr/bin/prog", says: "was in the way; moved to the quarantine"},
		{damage: "mv prog/1 away && ln -s ../away prog/1", says: "the tree is missing: a link is in its place", other: true},
	},
	"a file has another mode, owner or attribute": {
		{damage: "chmod 0600 prog/1/usr/share/doc/prog/secret", says: "made again"},
		{damage: "chmod 0700 prog/1/usr/share", says: "set again"},
		{damage: "rm prog/1/usr/bin/prog && cp prog/2/usr/bin/prog prog/1/usr/bin/prog", says: "made again"},
	},
	"a file is not in the manifest": {
		{damage: "echo x >prog/1/usr/new", says: "is not in the manifest; moved to the quarantine"},
		{damage: "mkdir -p prog/1/usr/new/new", says: "is not in the manifest; moved to the quarantine"},
	},
	"a manifest is lost, cannot be decoded, or is another's": {
		{damage: "rm .hashpkg/manifests/prog/1.json", from: true, says: "is missing; made again from its package"},
		{damage: "rm -r .hashpkg/manifests/*", from: true, says: "made again from its package"},
		{damage: "echo x >.hashpkg/manifests/prog/1.json", from: true, says: "made again from its package"},
		{damage: "cp .hashpkg/manifests/prog/2.json .hashpkg/manifests/prog/1.json", from: true, says: "made again from its package"},
		{damage: "rm .hashpkg/manifests/prog/1.json", status: 3, says: "with hashpkg verify --repair --from FILE", then: [][]string{{"verify", "--repair", "--from", "DEBS"}}},
	},
	"an edited file is not the packaged one with the edit of the manifest, or what `edits` says is not what the file has": {
		{damage: `grep -q '"kind": *"interpreter"' .hashpkg/manifests/prog/1.json && sed -i 's/"kind": *"interpreter"/"kind":"soname"/' .hashpkg/manifests/prog/1.json`, from: true, says: "made again"},
		{damage: `sed -i 's/"packed": *"[^"]*"/"packed":"eA=="/' .hashpkg/manifests/prog/1.json`, from: true, says: "made again from its package"},
		{damage: `sed -i 's/"packed": *"[^"]*"/"packed":"eA=="/' .hashpkg/manifests/prog/1.json`, status: 3, says: "hashpkg verify --repair --from prog_1.deb", then: [][]string{{"verify", "--repair", "--from", "DEBS", "prog=1"}}},
	},
	"a manifest that cannot be read, or a tree without one, that no generation, pin or program has": {
		{damage: "echo x >.hashpkg/manifests/prog/8.json", says: "8.json: "},
		{damage: "mkdir -p prog/9/usr", says: "is a tree without a manifest, of no generation; moved to the quarantine"},
	},
	"a view's manifest is lost": {
		{damage: "rm -r .hashpkg/manifests/.view", says: "made again from the trees that it is merged from"},
		{damage: "echo x >$(echo .hashpkg/manifests/.view/*)", says: "made again from the trees that it is merged from"},
	},
	"`system/pins.json` cannot be read": {
		{damage: "mkdir .hashpkg/system && echo x >.hashpkg/system/pins.json", says: "system/pins.json", undo: "rmdir var/sys/.hashpkg/system"},
	},
	"`generation.json` is damaged or lost": {
		{damage: "rm current-system/generation.json", says: "made again from the index"},
		{damage: "echo x >current-system/generation.json", says: "made again from the index"},
		{damage: "rm .hashpkg/generations/1/generation.json .hashpkg/generations/1/index", says: "generations/1: its record is missing; moved to the quarantine", other: true},
		{damage: "rm current-system/index current-system/generation.json", status: 3, says: "run hashpkg rollback N", then: [][]string{{"rollback", "1"}, {"verify", "--repair"}}, other: true},
	},
	"`index` is damaged or lost": {
		{damage: "rm current-system/index", says: "made again from the record"},
		{damage: "echo x >current-system/index", says: "made again from the record"},
	},
	"a link of a farm or a `NAME/default` is lost or leads elsewhere": {
		{damage: "rm current-system/bin/prog", says: "made again from the record"},
		{damage: "rm -r current-system/bin", says: "made again from the record"},
		{damage: "ln -sfn elsewhere prog/default", says: "made again from the record"},
		{damage: "rm prog/default", says: "made again from the record"},
		{damage: "ln -s x current-system/bin/x", says: "is not in the generation's record; moved to the quarantine"},
	},
	"`current-system` is lost, or is a file, a directory or a link to something else": {
		{damage: "rm current-system", status: 3, says: "run hashpkg rollback 2", then: [][]string{{"rollback", "2"}}},
		{damage: "rm current-system && echo x >current-system", status: 3, says: "run hashpkg rollback 2", then: [][]string{{"rollback", "2"}}},
		{damage: "rm current-system && mkdir current-system && echo x >current-system/x", status: 3, says: "run hashpkg rollback 2", then: [][]string{{"rollback", "2"}}},
		{damage: "ln -sfn /etc current-system", status: 3, says: "run hashpkg rollback 2", then: [][]string{{"rollback", "2"}}},
		{damage: "ln -sfn .hashpkg/generations/7 current-system", status: 3, says: "run hashpkg rollback 2", then: [][]string{{"rollback", "2"}}},
		{damage: "rm -r .hashpkg/generations/1 current-system && mkdir current-system", says: "leads to generation 2, the only one", other: true},
		{damage: "rm -r .hashpkg/generations/1 && ln -sfn ../../.. current-system", says: "leads to generation 2, the only one", other: true},
		{damage: "rm -r .hashpkg/generations/1 && rm current-system", says: "leads to generation 2, the only one", other: true},
	},
	"a writer was killed": {
		{damage: `mkdir -p .hashpkg/staging/t1 new/1 && echo '{"generation":3,"dirs":["new"],"moves":[{"from":"trees/0","to":"new/1"}]}' >.hashpkg/staging/t1/journal`, says: " 0 remain damaged"},
		{damage: "mkdir .hashpkg/staging/t1 && echo x >.hashpkg/staging/t1/journal", says: "its journal cannot be read; moved to the quarantine"},
		{damage: "mkdir .hashpkg/staging/t1 && echo x >.hashpkg/staging/file && ln -s / .hashpkg/staging/t2", says: " 0 remain damaged"},
	},
	"`format` is lost, or is no number": {
		{damage: "rm .hashpkg/format", says: "is missing; written again"},
		{damage: "rm .hashpkg/format current-system", status: 3, says: "is missing; written again", then: [][]string{{"rollback", "2"}}},
		{damage: ": >.hashpkg/format", says: "is no number of a layout; moved to the quarantine"},
		{damage: "echo 1 1 >.hashpkg/format", says: "is no number of a layout; moved to the quarantine"},
		{damage: "rm .hashpkg/format && mkdir .hashpkg/format", says: "is no number of a layout; moved to the quarantine"},
		{damage: "ln -sf /etc/passwd .hashpkg/format", says: "is no number of a layout; moved to the quarantine"},
	},
	"a store was copied without its hard links": {
		{damage: "cp -r . ../copy && rm -r ../sys && mv ../copy ../sys", says: "linked again"},
	},
	"the store was moved to another prefix": {
		{damage: "mkdir ../../srv && mv ../sys ../../srv/sys", prefix: "/srv/sys", status: 3, says: "prog/1: was made for the prefix /var/sys, and loads libraries from there; not mended: move the store back", undo: "mv srv/sys var/sys && rmdir srv"},
		{damage: "mkdir ../../srv && mv ../sys ../../srv/sys && ln -s ../srv/sys ../../var/sys", prefix: "/srv/sys", says: " 0 remain damaged", undo: "rm var/sys && mv srv/sys var/sys && rmdir srv"},
	},
	"the clock was set back": {
		{damage: `sed -i 's/"time": *"2023/"time":"2423/' .hashpkg/generations/1/generation.json && rm .hashpkg/generations/1/index`, says: "has a time in the future", other: true},
	},
}

const stateHelpers = `
object() { find .hashpkg/objects -samefile "$1"; }
flip() {
	mode=$(stat -c %a "$1"); chmod u+w "$1"
	at=$(($(stat -c %s "$1") / 2)); byte=$(od -An -tu1 -j$at -N1 "$1")
	printf "\\$(printf %o $((byte ^ 1)))" | dd of="$1" bs=1 seek=$at conv=notrunc status=none
	chmod "$mode" "$1"
}
`

// TestBrokenStates breaks a store in each of the ways that docs/layout.md lists, repairs it,
// and runs the command that is named where something remains.
func TestBrokenStates(t *testing.T) {
	rows := repairRows(t)
	for _, row := range rows {
		if len(brokenStates[row]) == 0 {
			t.Errorf("docs/layout.md has a row for which there is no state: %s", row)
		}
	}
	for row := range maps.Keys(brokenStates) {
		if !slices.Contains(rows, row) {
			t.Errorf("docs/layout.md has no row: %s", row)
		}
	}
	dir := t.TempDir()
	base := filepath.Join(dir, "base")
	debs := boundPackages(t, dir)
	if err := os.Mkdir(base, 0o755); err != nil {
		t.Fatal(err)
	}
	mustRun(t, hashpkg(t), append([]string{"--root", base, "install", "-q"}, debs[:3]...)...)
	mustRun(t, hashpkg(t), "--root", base, "install", "-q", debs[3], debs[4])
	before := dump(t, base)
	for row, states := range brokenStates {
		for _, s := range states {
			t.Run(row+"/"+s.damage, func(t *testing.T) {
				root := filepath.Join(t.TempDir(), "root")
				copyRoot(t, base, root)
				s.check(t, root, filepath.Dir(debs[0]), before)
			})
		}
	}
}

func (s *brokenState) check(t *testing.T, root, debs, before string) {
	t.Helper()
	damage := exec.Command("sh", "-ec", stateHelpers+s.damage)
	damage.Dir = filepath.Join(root, "var/sys")
	if out, err := damage.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if dump(t, root) == before && !strings.Contains(s.damage, "cp -r") {
		t.Fatal("nothing was broken")
	}
	undone := false
	command := func(args ...string) (int, string) {
		t.Helper()
		for i, arg := range args {
			if arg == "DEBS" {
				args[i] = debs
			}
		}
		if s.prefix != "" && !undone {
			args = append([]string{"--prefix", s.prefix}, args...)
		}
		cmd := exec.Command(hashpkg(t), append([]string{"--root", root}, args...)...)
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	args := []string{"verify", "--repair"}
	if s.from {
		args = append(args, "--from", debs)
	}
	broken := dump(t, root)
	dryStatus, dry := command(append(slices.Clone(args), "--dry-run")...)
	if dryStatus != s.status {
		t.Errorf("a dry run: status %d: %s", dryStatus, dry)
	}
	if have := dump(t, root); have != broken {
		t.Errorf("a dry run changes:\n%s", lineDiff(broken, have))
	}
	status, out := command(args...)
	if status != s.status || !strings.Contains(out, s.says) {
		t.Errorf("status %d and not %d, or it does not say %q: %s", status, s.status, s.says, out)
	}
	if s.undo != "" {
		undo := exec.Command("sh", "-ec", s.undo)
		undo.Dir = root
		if out, err := undo.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		undone = true
	}
	for _, then := range s.then {
		if status, out := command(slices.Clone(then)...); status != 0 {
			t.Errorf("%q: status %d: %s", then, status, out)
		}
	}
	for _, args := range [][]string{{"verify", "--repair"}, {"verify", "--all"}, {"verify"}} {
		if status, out := command(args...); status != 0 || args[len(args)-1] == "--repair" && !strings.Contains(out, " 0 mended, 0 quarantined") {
			t.Errorf("then %q: status %d: %s", args, status, out)
		}
	}
	if err := os.RemoveAll(filepath.Join(root, "var/sys/.hashpkg/quarantine")); err != nil {
		t.Fatal(err)
	}
	if have := dump(t, root); have != before && !s.other {
		t.Errorf("the store is not what it was:\n%s", lineDiff(before, have))
	}
}

// repairRows returns the first column of the table of what verify --repair does.
func repairRows(t *testing.T) (rows []string) {
	t.Helper()
	b, err := os.ReadFile("../docs/layout.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), "| what is wrong | what `--repair` does |\n| --- | --- |\n")
	if !ok {
		t.Fatal("docs/layout.md has no table of what --repair does")
	}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "| ") {
			return rows
		}
		rows = append(rows, strings.TrimSpace(strings.Split(line, "|")[1]))
	}
	return rows
}

// boundPackages are a C library, a library, two versions of a program that is bound to
// them, and a program that sees a view.
func boundPackages(t *testing.T, dir string) (files []string) {
	t.Helper()
	const libDir = "usr/lib/x86_64-linux-gnu/"
	elf := func(path string, f testelf.File) testdeb.File { return testdeb.Exec(path, string(f.Bytes())) }
	prog := func(version string) testdeb.Package {
		return testdeb.Package{Name: "prog", Version: version, Depends: "liba1", Files: []testdeb.File{
			elf("usr/bin/prog", testelf.File{Interpreter: "/lib64/ld-linux-x86-64.so.2", Needed: []string{"liba.so.1", "libc.so.6"}, RunPath: "/opt/" + version}),
			testdeb.Symlink("usr/bin/alias", "prog"),
			testdeb.Exec("usr/bin/script", "#!/bin/sh\necho "+version+"\n"),
			{Path: "usr/share/doc/prog/secret", Mode: 0o640, Content: "secret"},
		}}
	}
	for _, p := range []testdeb.Package{
		{Name: "libc6", Version: "2.36", Files: []testdeb.File{
			elf(libDir+"ld-linux-x86-64.so.2", testelf.File{Soname: "ld-linux-x86-64.so.2"}),
			elf(libDir+"libc.so.6", testelf.File{Soname: "libc.so.6", Needed: []string{"ld-linux-x86-64.so.2"}}),
		}},
		{Name: "liba1", Version: "1", Depends: "libc6", Files: []testdeb.File{
			elf(libDir+"liba.so.1", testelf.File{Soname: "liba.so.1", Needed: []string{"libc.so.6"}}),
		}},
		prog("1"), prog("2"),
		{Name: "seer", Version: "1", Files: []testdeb.File{testdeb.Exec("usr/bin/seer", "#!/bin/sh\n"), {Path: "usr/share/seer/data", Content: "x"}}},
	} {
		files = append(files, writeDeb(t, dir, p))
	}
	return files
}
