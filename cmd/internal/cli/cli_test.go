package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/cmd/internal/cli"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testsaid"
	"github.com/hashpkg/hashpkg/layout"
)

// hashpkg runs one command line.
func hashpkg(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	env := cli.Env{Formats: backends.Formats{deb.Format{}, rpm.Format{}}, In: strings.NewReader(""), Out: &out, Err: &err, Getenv: func(name string) string {
		return map[string]string{"SOURCE_DATE_EPOCH": "1700000000"}[name]
	}}
	if status = cli.Main(t.Context(), args, env); status != 0 {
		if err := testsaid.Refused(args, err.String()); err != nil {
			t.Error(err)
		}
	}
	return status, out.String(), err.String()
}

// installed returns a root that has the package tool 1.0.
func installed(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	file := filepath.Join(t.TempDir(), "tool.deb")
	content := testdeb.Deb(t, testdeb.Package{Name: "tool", Version: "1.0", Files: []testdeb.File{testdeb.Exec("usr/bin/tool", "tool")}})
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := hashpkg(t, "--root", root, "install", "-q", file); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	return root
}

// TestWrongUse has command lines that are refused before anything is read: each has
// the status 2, and a message that says what is wrong.
func TestWrongUse(t *testing.T) {
	root := t.TempDir()
	for _, test := range []struct{ args, says string }{
		{"nonsense", `there is no command "nonsense" of hashpkg; hashpkg --help lists them`},
		{"list --nonsense", "there is no option --nonsense; see hashpkg list --help"},
		{"install", "install: an argument is missing; usage: hashpkg install NAME|FILE..."},
		{"list --sort age", "--sort age: expected name or size"},
		{"list --offline", "--offline goes with --upgradable"},
		{"list [", "\"[\": a [ in a GLOB wants its ]"},
		{"tree --depth -1 tool", "--depth -1: expected a number of levels"},
		{"autoremove tool", `autoremove: "tool" is an argument too many`},
		{"install --signature maybe x.deb", "the policy \"maybe\" for signatures is unknown: use require, warn or off"},
		{"install --keyring", "--keyring needs a value, FILE; see hashpkg install --help"},
		{"show", "usage: hashpkg show NAME[=VERSION]"},
		{"use", "usage: hashpkg use"},
		{"use tool", "expected NAME=VERSION, or --highest NAME"},
		{"remove", "usage: hashpkg remove"},
		{"diff 1", "usage: hashpkg diff N M"},
		{"diff 1 x", `"x"`},
		{"rollback 1 2", "usage: hashpkg rollback"},
		{"rollback x", `"x"`},
		{"gc --keep 0", "--keep 0: expected 1 or more"},
		{"use --wait -1s tool=1", `--wait -1s: expected a duration such as 30s`},
		{"sync --wait soon", "expected a duration such as 30s"},
		{"gc --keep x", `--keep x: expected a number; see hashpkg gc --help`},
		{"pin tool", "hashpkg help pin"},
		{"unpin", "expected a program, or --all; see hashpkg help unpin"},
		{"restore", "hashpkg help restore"},
		{"hooks nonsense", `there is no command "nonsense" of hashpkg hooks; hashpkg hooks --help lists them`},
		{"hooks instll", `there is no command "instll" of hashpkg hooks; did you mean install?`},
		{"help nonsense", `there is no command "nonsense" of hashpkg; hashpkg --help lists them`},
		{"help hooks nonsense", `there is no command "nonsense" of hashpkg hooks`},
		{"help list nonsense", `hashpkg list has no commands, and "nonsense" would be one`},
		{"lst", `did you mean ls or list?`},
		{"list --jsno", `there is no option --jsno; did you mean --json?`},
		{"list -x", `there is no option -x; see hashpkg list --help`},
		{"gc --keep", `--keep needs a value, N; see hashpkg gc --help`},
		{"gc --keep 99999999999999999999", `it is out of range`},
		{"list --json=x", `--json x: expected true or false`},
		{"diff 1", `diff: an argument is missing; usage: hashpkg diff N M`},
		{"--prefix relative list", `prefix "relative" is not absolute`},
	} {
		status, stdout, stderr := hashpkg(t, append([]string{"--root", root}, strings.Fields(test.args)...)...)
		if status != 2 || stdout != "" || !strings.HasPrefix(stderr, "hashpkg: ") || !strings.Contains(stderr, test.says) {
			t.Errorf("%s: status %d, it prints %q and says %q, want 2 and %q", test.args, status, stdout, stderr, test.says)
		}
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("the root has changed: %v %v", left, err)
	}
}

// TestStatuses has the other exit statuses.
func TestStatuses(t *testing.T) {
	root := installed(t)
	for _, test := range []struct {
		args string
		want int
	}{
		{"", 0},
		{"list", 0},
		{"show tool", 0},
		{"verify", 0},
		{"use tool=1.0", 0},
		{"gc --dry-run", 0},
		{"check", 0},
		{"help", 0},
		{"version", 0},
		{"show nothing", 1},
		{"use tool=2.0", 1},
		{"remove nothing", 1},
		{"diff 1 9", 1},
		{"rollback 9", 1},
		{"install nothing.deb", 1},
		{"sync", 1},
	} {
		if status, _, stderr := hashpkg(t, append([]string{"--root", root}, strings.Fields(test.args)...)...); status != test.want || (status == 0) != !strings.Contains(stderr, "hashpkg: ") {
			t.Errorf("%q: status %d, want %d: %s", test.args, status, test.want, stderr)
		}
	}
}

func TestDamageHasItsStatus(t *testing.T) {
	root := installed(t)
	file := filepath.Join(root, "var/sys/tool/1.0/usr/bin/tool")
	if err := os.Chmod(file, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("evil"), 0o755); err != nil {
		t.Fatal(err)
	}
	status, stdout, _ := hashpkg(t, "--root", root, "verify", "--json")
	var said struct {
		Checked int
		Damaged []struct{ Package, Path, What string }
	}
	if err := json.Unmarshal([]byte(stdout), &said); err != nil || status != 3 || said.Checked == 0 || len(said.Damaged) == 0 {
		t.Errorf("status %d, %v: %s", status, err, stdout)
	}
}

func TestLockHasItsStatus(t *testing.T) {
	root := installed(t)
	f, err := os.Open(filepath.Join(root, "var/sys", layout.LockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"remove tool", "gc", "rollback 1"} {
		if status, _, stderr := hashpkg(t, append([]string{"--root", root}, strings.Fields(args)...)...); status != 4 ||
			!strings.HasSuffix(stderr, fmt.Sprintf("/var/sys is held by process %d; wait with --wait 1m\n", os.Getpid())) {
			t.Errorf("%s: status %d: %s", args, status, stderr)
		}
	}
	if status, _, stderr := hashpkg(t, "--root", root, "list"); status != 0 {
		t.Errorf("who only reads needs no lock: status %d: %s", status, stderr)
	}
}

// An install that is interrupted says so, and changes nothing.
func TestInterrupted(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(t.TempDir(), "tool.deb")
	if err := os.WriteFile(file, testdeb.Deb(t, testdeb.Package{Name: "tool", Version: "1.0"}), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr bytes.Buffer
	env := cli.Env{Formats: backends.Formats{deb.Format{}, rpm.Format{}}, In: strings.NewReader(""), Out: new(bytes.Buffer), Err: &stderr, Getenv: func(string) string { return "" }}
	if status := cli.Main(ctx, []string{"--root", root, "install", "-q", file}, env); status != 1 || stderr.String() != "hashpkg: interrupted; nothing was changed\n" {
		t.Errorf("status %d: %s", status, stderr.String())
	}
	if _, stdout, _ := hashpkg(t, "--root", root, "list"); stdout != "" {
		t.Errorf("list prints %q", stdout)
	}
}

// TestJSONOfEmptyRoot has what programs read where nothing is installed: lists are
// lists there, too, and nothing is made.
func TestJSONOfEmptyRoot(t *testing.T) {
	root := t.TempDir()
	for args, want := range map[string]string{
		"list":          `{"missing":[],"packages":[]}`,
		"generations":   `{"generations":[]}`,
		"verify":        `{"checked":0,"damaged":[],"copies":0,"copied_bytes":0,"unread":[]}`,
		"gc":            `{"generations":[],"trees":[],"objects":0,"bytes":0,"in_use":[],"kept":[],"last":[],"linked":[],"gone":[]}`,
		"check":         `{"at_work":[],"problems":[],"notes":[],"packages":0,"programs":0,"frozen":0,"pins":[]}`,
		"pins":          `{"frozen":[],"pins":[]}`,
		"restore --all": `{"restored":[],"left":[],"edited":[]}`,
	} {
		status, stdout, stderr := hashpkg(t, append([]string{"--root", root, "--json"}, strings.Fields(args)...)...)
		if status != 0 || stderr != "" {
			t.Errorf("%s: status %d: %s", args, status, stderr)
		}
		if diff := cmp.Diff(want+"\n", stdout); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", args, diff)
		}
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("the root has changed: %v %v", left, err)
	}
}

func TestSettings(t *testing.T) {
	for _, test := range []struct {
		settings string
		status   int
		says     string
	}{
		{"", 0, "nothing is installed at ROOT/var/sys"},
		{"prefix = \"/usr/lib/sys\"\n", 0, "nothing is installed at ROOT/usr/lib/sys"},
		{"prefx = \"/usr/lib/sys\"\n", 1, `ROOT/etc/hashpkg.toml: "prefx" is not a setting that hashpkg knows; see hashpkg help settings`},
		{"[rewrite]\nexecutable = \"all\"\n", 1, `"rewrite.executable" is not a setting`},
		{"prefix = \"relative\"\n", 2, "is not absolute"},
		{"prefix = 7\n", 1, `read settings: ROOT/etc/hashpkg.toml: line 1: "prefix" cannot have a value of this kind (integer); see hashpkg help settings`},
		{"\n[gc]\nkeep = \"x\"\n", 1, `hashpkg.toml: line 3: "gc.keep" cannot have a value of this kind (string); see hashpkg help settings`},
		{"mirrors = 7\n", 1, `(integer); see hashpkg help settings`},
		{"nonsense\n", 1, "read settings: ROOT/etc/hashpkg.toml: line 1: expected '=' after key; see hashpkg help settings"},
	} {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc/hashpkg.toml"), []byte(test.settings), 0o644); err != nil {
			t.Fatal(err)
		}
		status, _, stderr := hashpkg(t, "--root", root, "list")
		if stderr = strings.ReplaceAll(stderr, root, "ROOT"); status != test.status || !strings.Contains(stderr, test.says) {
			t.Errorf("%q: status %d: %s", test.settings, status, stderr)
		}
	}
}

// everyCommand calls f with each command that people call, and the words that call it.
func everyCommand(f func(c *cobra.Command, words []string)) {
	var walk func(c *cobra.Command, words []string)
	walk = func(c *cobra.Command, words []string) {
		f(c, words)
		for _, sub := range c.Commands() {
			if !sub.Hidden {
				walk(sub, slices.Concat(words, []string{sub.Name()}))
			}
		}
	}
	walk(cli.NewRootCommand(cli.Env{}), nil)
}

// TestHelp looks for what a person expects of every command's help: what it does, an
// example of its use, and each flag.
func TestHelp(t *testing.T) {
	commands := 0
	everyCommand(func(c *cobra.Command, words []string) {
		commands++
		name := c.CommandPath()
		status, help, stderr := hashpkg(t, append([]string{"help"}, words...)...)
		if status != 0 || stderr != "" {
			t.Errorf("help of %s: status %d: %s", name, status, stderr)
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: it is said to do %q", name, c.Short)
		}
		if c.Runnable() && c.HasParent() && !c.HasSubCommands() && !strings.Contains(c.Example, name) {
			t.Errorf("%s has no example of its use: %q", name, c.Example)
		}
		for line := range strings.Lines(c.Example) {
			if line = strings.TrimSuffix(line, "\n"); !strings.HasPrefix(line, "  ") || strings.TrimSpace(line) == "" {
				t.Errorf("%s: this line of the example is not indented by two: %q", name, line)
			}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || !f.Hidden && !strings.Contains(help, "--"+f.Name) {
				t.Errorf("%s: --%s is not in the help", name, f.Name)
			}
		})
	})
	if commands < 20 {
		t.Errorf("there are %d commands", commands)
	}
}

// The generated reference has a page for every command; `make docs` writes it.
func TestReferenceHasEveryCommand(t *testing.T) {
	repository, err := repositoryDir()
	if err != nil {
		t.Fatal(err)
	}
	everyCommand(func(c *cobra.Command, _ []string) {
		if c.IsAdditionalHelpTopicCommand() {
			return
		}
		page := strings.ReplaceAll(c.CommandPath(), " ", "_") + ".md"
		b, err := os.ReadFile(filepath.Join(repository, "docs/cli", page))
		if err != nil {
			t.Error(err)
		}
		if !strings.Contains(string(b), c.Short) {
			t.Errorf("%s does not say what the help says; run make docs", page)
		}
	})
}

// repositoryDir returns the directory that has go.mod.
func repositoryDir() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, found := os.Stat(filepath.Join(dir, "go.mod")); found == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			err = fs.ErrNotExist
		}
	}
	return "", err
}
