package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// ansibleResult is what the module of contrib/ansible returns.
type ansibleResult struct {
	Changed    bool
	Failed     bool
	Msg        string
	Generation int
	Packages   []string
	Pins       []string
	Programs   []string
	Undo       string
	Stdout     string
	Diff       struct{ Before, After string }
}

// play is a list of tasks, which one run of Debian's Ansible does on this machine.
type play struct {
	t     *testing.T
	root  string // that the module is given
	tasks []map[string]any
}

// module adds a call of the module; in check mode, with check.
func (p *play) module(check bool, args map[string]any) {
	args = maps.Clone(args)
	args["root"], args["executable"] = p.root, hashpkg(p.t)
	p.add(map[string]any{"hashpkg": args, "check_mode": check, "diff": true, "ignore_errors": true})
}

// command adds a command, whose standard output is Stdout of the result.
func (p *play) command(argv ...string) {
	p.add(map[string]any{"command": map[string]any{"argv": argv}, "changed_when": false})
}

func (p *play) add(task map[string]any) {
	task["register"] = fmt.Sprintf("r%d", len(p.tasks))
	p.tasks = append(p.tasks, task)
}

// run does the tasks, and returns their results.
func (p *play) run() (results []ansibleResult) {
	p.t.Helper()
	home := p.t.TempDir()
	all := make([]string, len(p.tasks))
	for i := range all {
		all[i] = fmt.Sprintf("r%d", i)
	}
	p.add(map[string]any{"copy": map[string]any{"dest": home + "/results", "content": "{{ [" + strings.Join(all, ", ") + "] | to_json }}"}})
	book, err := json.Marshal([]any{map[string]any{"hosts": "all", "gather_facts": false, "tasks": p.tasks}})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(home+"/book.yml", book, 0o644); err != nil {
		p.t.Fatal(err)
	}
	library, err := filepath.Abs("../contrib/ansible/library")
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command("ansible-playbook", "-i", "localhost,", "-c", "local", "-M", library, home+"/book.yml")
	cmd.Env = append(os.Environ(), "HOME="+home, "ANSIBLE_LOCAL_TEMP="+home+"/local", "ANSIBLE_REMOTE_TEMP="+home+"/remote",
		"ANSIBLE_NOCOLOR=1", "ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3", "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(home + "/results")
	if err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal(b, &results); err != nil || len(results) != len(all) {
		p.t.Fatalf("%v: %s", err, b)
	}
	return results
}

// TestAnsiblePackages has Ansible install and remove packages from files and by name, each step first
// in check mode: that it changes nothing, the step itself shows.
func TestAnsiblePackages(t *testing.T) {
	testneed.Programs(t, "ansible-playbook")
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	var debs []string
	for _, version := range []string{"1:1.0-1", "2.0"} {
		debs = append(debs, writeDeb(t, dir, testdeb.Package{
			Name: "tool", Version: version, Arch: "all",
			Files: []testdeb.File{{Path: "usr/bin/tool", Mode: 0o755, Content: "#!/bin/sh\necho " + version + "\n"}},
		}))
	}
	steps := []struct {
		what          string
		args          map[string]any
		changed       bool
		packages      []string
		before, after string
	}{
		{"a file", map[string]any{"name": debs[0]}, true, []string{"tool=1:1.0-1"}, "", "tool=1:1.0-1\n"},
		{"again", map[string]any{"name": debs[0]}, false, nil, "tool=1:1.0-1\n", "tool=1:1.0-1\n"},
		{"a name that is there", map[string]any{"name": []string{"tool", "tool=1:1.0-1", "tool=1%3a1.0-1"}}, false, nil, "tool=1:1.0-1\n", "tool=1:1.0-1\n"},
		{"another version", map[string]any{"name": debs}, true, []string{"tool=2.0"}, "tool=1:1.0-1\n", "tool=1:1.0-1\ntool=2.0\n"},
		{"one version out", map[string]any{"name": "tool=1:1.0-1", "state": "absent"}, true, []string{"tool=1:1.0-1"}, "tool=1:1.0-1\ntool=2.0\n", "tool=2.0\n"},
		{"out again", map[string]any{"name": "tool=1:1.0-1", "state": "absent"}, false, nil, "tool=2.0\n", "tool=2.0\n"},
		{"all out", map[string]any{"name": []string{"tool", "nothing"}, "state": "absent"}, true, []string{"tool=2.0"}, "tool=2.0\n", ""},
	}
	wrong := []struct {
		args map[string]any
		says string
	}{
		{map[string]any{"name": dir + "/missing.deb"}, "no such file"},
		{map[string]any{"state": "absent"}, "missing: name"},
		{map[string]any{"name": "x", "from": "no-such-release"}, "no-such-release"},
		{map[string]any{"state": "pinned", "name": "x=1"}, "missing: program"},
		{map[string]any{"state": "pinned", "name": "x=1", "program": "/usr/bin/x"}, "cannot pin"},
		{map[string]any{"name": []string{"x", dir + "/missing.deb"}}, "are not for one task"},
		{map[string]any{"name": "x", "from": dir}, "from is a release"},
		{map[string]any{"name": "tool:i386", "state": "absent"}, "of every release and architecture"},
		{map[string]any{"name": "tool/sid", "state": "absent"}, "of every release and architecture"},
	}
	p := &play{t: t, root: root}
	for _, s := range steps {
		p.module(true, s.args)
		p.module(false, s.args)
	}
	for _, w := range wrong {
		p.module(false, w.args)
	}
	results := p.run()
	for i, s := range steps {
		for _, r := range results[2*i : 2*i+2] {
			if r.Failed || r.Changed != s.changed || !slices.Equal(r.Packages, s.packages) && len(r.Packages)+len(s.packages) > 0 || r.Diff.Before != s.before || r.Diff.After != s.after {
				t.Errorf("%s: %+v", s.what, r)
			}
		}
		if did := results[2*i+1]; s.changed && did.Undo != "hashpkg undo" {
			t.Errorf("%s: %q undoes it", s.what, did.Undo)
		}
	}
	for i, w := range wrong {
		if r := results[2*len(steps)+i]; !r.Failed || r.Changed || !strings.Contains(r.Msg, w.says) {
			t.Errorf("%v: %+v", w.args, r)
		}
	}
}

// TestAnsiblePins has Ansible pin a program of a real system, and take the pin back.
func TestAnsiblePins(t *testing.T) {
	testneed.Programs(t, "ansible-playbook")
	root, _, second := serviceRoot(t)
	installDebs(root, second[0])
	root.Run("hashpkg", "sync")
	pinned := map[string]any{"state": "pinned", "program": "/usr/bin/svc", "name": "libsvc1=1.0"}
	unpinned := map[string]any{"state": "unpinned", "program": "/usr/bin/svc"}
	const line = "/usr/bin/svc libsvc1=1.0"
	steps := []struct {
		check         bool
		args          map[string]any
		changed       bool
		before, after string
		says          string // what the program says afterwards
	}{
		{true, pinned, true, "", line + "\n", "2.0"},
		{false, pinned, true, "", line + "\n", "1.0"},
		{false, pinned, false, line + "\n", line + "\n", "1.0"},
		{false, map[string]any{"state": "unpinned", "program": "*"}, false, line + "\n", line + "\n", "1.0"},
		{false, map[string]any{"state": "unpinned", "program": "/usr/bin/svc", "name": "libsvc1=9"}, false, line + "\n", line + "\n", "1.0"},
		{true, unpinned, true, line + "\n", "", "1.0"},
		{false, unpinned, true, line + "\n", "", "2.0"},
		{false, unpinned, false, "", "", "2.0"},
	}
	p := &play{t: t, root: root.Dir}
	for _, s := range steps {
		p.module(s.check, s.args)
		p.command("chroot", root.Dir, "/usr/bin/svc")
	}
	results := p.run()
	for i, s := range steps {
		r := results[2*i]
		if r.Failed || r.Changed != s.changed || r.Diff.Before != s.before || r.Diff.After != s.after {
			t.Errorf("step %d: %+v", i, r)
		}
		if s.changed && (!slices.Equal(r.Pins, []string{line}) || !slices.Equal(r.Programs, []string{"/usr/bin/svc"})) {
			t.Errorf("step %d: %+v", i, r)
		}
		if said := results[2*i+1].Stdout; said != s.says {
			t.Errorf("step %d: svc says %q, not %q", i, said, s.says)
		}
	}
}
