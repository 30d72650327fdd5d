package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
)

// somebody is a user without privileges, with a home and a prefix of their own, in which hptool is
// installed, and two packages are there to install.
type somebody struct {
	t                           *testing.T
	home, prefix, hashpkg, farm string
	tool, other, more           string
}

const somebodyID = 65534

func newSomebody(t *testing.T) *somebody {
	t.Helper()
	testneed.Root(t) // to be somebody else
	dir, err := os.MkdirTemp("", "setup-path")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &somebody{
		t: t, home: filepath.Join(dir, "a home"), prefix: filepath.Join(dir, "it's sys"), hashpkg: filepath.Join(dir, "hashpkg"),
		tool: filepath.Join(dir, "tool.deb"), other: filepath.Join(dir, "other.deb"), more: filepath.Join(dir, "more.deb"),
	}
	s.farm = s.prefix + "/current-system"
	program, err := os.ReadFile(scriptedHashpkg(t))
	if err != nil {
		t.Fatal(err)
	}
	tool := testdeb.Deb(t, testdeb.Package{Name: "hptool", Version: "1.0", Files: []testdeb.File{
		testdeb.Exec("usr/bin/hptool", "#!/bin/sh\necho it works\n"),
		testdeb.Exec("usr/sbin/hpadmin", "#!/bin/sh\n"),
		{Path: "usr/share/man/man1/hptool.1", Content: ".TH HPTOOL 1\n.SH NAME\nhptool \\- is found\n"},
		{Path: "usr/share/bash-completion/completions/hptool", Content: "complete -W '--hello' hptool\n"},
		{Path: "usr/share/fish/vendor_completions.d/hptool.fish", Content: "complete -c hptool -l hello\n"},
		{Path: "usr/share/zsh/vendor-completions/_hptool", Content: "#compdef hptool\n"},
		{Path: "usr/share/applications/hptool.desktop", Content: "[Desktop Entry]\nType=Application\nName=Tool\nExec=hptool %u\nIcon=hptool\nMimeType=x-scheme-handler/hptool;\n"},
		{Path: "usr/share/icons/hicolor/48x48/apps/hptool.png", Content: "an icon"},
		{Path: "usr/share/icons/Theme/index.theme", Content: "a theme"},
	}})
	for file, content := range map[string][]byte{
		s.hashpkg: program, s.tool: tool,
		s.other: testdeb.Deb(t, testdeb.Package{Name: "other", Version: "1.0", Files: []testdeb.File{testdeb.Exec("usr/bin/other", "#!/bin/sh\n")}}),
		s.more:  testdeb.Deb(t, testdeb.Package{Name: "env", Version: "1.0", Files: []testdeb.File{testdeb.Exec("usr/bin/env", "#!/bin/sh\necho private\n")}}),
	} {
		if err := os.WriteFile(file, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{s.home, s.prefix} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(d, somebodyID, somebodyID); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs a program with a few variables, and returns what it says.
func (s *somebody) run(env []string, program string, args ...string) (stdout, stderr string, err error) {
	s.t.Helper()
	var out, errs bytes.Buffer
	c := exec.CommandContext(s.t.Context(), program, args...)
	c.Dir, c.Stdout, c.Stderr = s.home, &out, &errs
	c.Env = append([]string{"HOME=" + s.home, "PATH=/usr/local/bin:/usr/bin:/bin", "TERM=dumb", "LC_ALL=C.UTF-8"}, env...)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebodyID, Gid: somebodyID}}
	err = c.Run()
	return out.String(), errs.String(), err
}

func (s *somebody) must(env []string, program string, args ...string) (stdout, stderr string) {
	s.t.Helper()
	stdout, stderr, err := s.run(env, program, args...)
	if err != nil {
		s.t.Fatalf("%s %q: %v: %s", program, args, err, stderr)
	}
	return stdout, stderr
}

// TestSetupPath has shells start: they find the programs of hashpkg after the system's, their pages and
// completions, and no variable grows in shells within shells.
func TestSetupPath(t *testing.T) {
	testneed.Programs(t, "bash", "zsh", "fish", "dash", "man")
	s := newSomebody(t)
	prefix := []string{"HASHPKG_PREFIX=" + s.prefix}
	command := "hashpkg --prefix '" + strings.ReplaceAll(s.prefix, "'", `'\''`) + "' setup-path"
	hint := "where PATH does not look; " + command + " has your shell find them\n"
	_, said := s.must(prefix, s.hashpkg, "install", s.tool)
	if !strings.Contains(said, "note: commands are in "+s.farm+"/bin, "+hint) {
		t.Errorf("the first install says %q", said)
	}
	if _, said := s.must(prefix, s.hashpkg, "install", s.other); strings.Contains(said, hint) {
		t.Errorf("the second install says %q", said)
	}
	inPath := append([]string{"PATH=/usr/bin:/bin:" + s.farm + "/bin"}, prefix...)
	if _, said := s.must(inPath, s.hashpkg, "install", s.more); !strings.Contains(said, "note: env is found as /usr/bin/env, before "+s.farm+"/bin/env; "+command+" --first turns that round\n") {
		t.Errorf("of a command that the system has, too, it says %q", said)
	}
	if _, err := os.Lstat(s.farm + "/share/icons/Theme"); err == nil {
		t.Error("a theme is in the farm")
	}

	const show = `hptool; command -v env; echo "$PATH|$XDG_DATA_DIRS|${MANPATH-unset}"; man -w hptool`
	const showInFish = `hptool; command -v env; set -q MANPATH; and set m "$MANPATH"; or set m unset; echo (string join : $PATH)"|$XDG_DATA_DIRS|$m"; man -w hptool`
	want := func(first bool, path string) string {
		env := "/usr/bin/env"
		if first {
			env = s.farm + "/bin/env"
		}
		return "it works\n" + env + "\n" + path + "\n" + s.prefix + "/hptool/1.0/usr/share/man/man1/hptool.1\n" // where the link leads
	}
	data := "/usr/local/share:/usr/share:" + s.farm + "/share"
	for _, shell := range []struct {
		name    string
		write   []string
		start   []string // a login shell, and further ones, of the same kind
		files   string
		script  string
		further []string
	}{
		{"bash", nil, []string{"bash", "-l", "-c"}, ".bashrc .profile", show, []string{"bash", "-i", "-c"}},
		{"dash", []string{"--shell", "sh"}, []string{"dash", "-l", "-c"}, ".profile", show, []string{"dash", "-c", `. ~/.profile; eval "$0"`}},
		{"zsh", nil, []string{"zsh", "-c"}, ".zshenv", show, []string{"zsh", "-i", "-c"}},
		{"fish", nil, []string{"fish", "-c"}, ".config/fish/conf.d/hashpkg.fish", showInFish, []string{"fish", "-c"}},
	} {
		t.Run(shell.name, func(t *testing.T) {
			s := *s
			s.t, s.home = t, filepath.Join(t.TempDir(), "home")
			if err := os.Mkdir(s.home, 0o755); err != nil {
				t.Fatal(err)
			}
			for at := s.home; strings.Contains(at, "TestSetupPath"); at = filepath.Dir(at) {
				if err := os.Chmod(at, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chown(s.home, somebodyID, somebodyID); err != nil {
				t.Fatal(err)
			}
			env := append([]string{"SHELL=/usr/bin/" + shell.name}, prefix...)
			setup := func(more ...string) string {
				out, _ := s.must(env, s.hashpkg, append(append([]string{"setup-path"}, shell.write...), more...)...)
				return out
			}
			clean := func(out string) string { return strings.ReplaceAll(strings.ReplaceAll(out, "//", "/"), "\r", "") }
			ask := func(what, want string, env []string, start ...string) {
				t.Helper()
				out, said := s.must(env, start[0], start[1:]...)
				if clean(out) != want || strings.Contains(said, "hashpkg") {
					t.Errorf("%s: it says %q (%s)\nwant         %q", what, out, said, want)
				}
			}
			nested := func(n int, script string) []string {
				args := append(shell.start[:len(shell.start):len(shell.start)], script)
				for range n { // each one the argument of another
					var inner strings.Builder
					for _, word := range append(shell.further[:len(shell.further):len(shell.further)], args[len(args)-1]) {
						inner.WriteString("'" + strings.ReplaceAll(word, "'", `'\''`) + "' ")
					}
					args = append(shell.start[:len(shell.start):len(shell.start)], inner.String())
				}
				return args
			}
			unset := "unset"
			if shell.name == "zsh" { // which has it tied to an array
				unset = ""
			}
			printPath := `echo "$PATH"`
			if shell.name == "fish" {
				printPath = `string join : $PATH`
			}
			before, _ := s.must(nil, shell.start[0], append(shell.start[1:len(shell.start):len(shell.start)], printPath)...) // /etc/profile may set it anew
			before = strings.TrimSuffix(before, "\n")
			path, first := before+":"+s.farm+"/bin", s.farm+"/bin:"+before
			for _, name := range strings.Fields(shell.files) {
				if out := setup("--dry-run"); !strings.Contains(out, "/"+name+": would be written\n") {
					t.Errorf("a dry run says %q", out)
				}
			}
			for range 2 {
				setup()
			}
			if out := setup(); out != "nothing to do: your shell's files have the lines already\n" {
				t.Errorf("again, it says %q", out)
			}
			ask("a login shell", want(false, path+"|"+data+"|"+unset), nil, nested(0, shell.script)...)
			if shell.name != "fish" { // which quotes otherwise
				ask("shells in shells", want(false, path+"|"+data+"|"+unset), nil, nested(2, shell.script)...)
			}
			ask("with variables", want(false, path+"|/x:"+s.farm+"/share|/m:"+s.farm+"/share/man"), []string{"XDG_DATA_DIRS=/x", "MANPATH=/m"}, nested(0, shell.script)...)
			ask("with the default manual pages", want(false, path+"|"+data+"|/m::"+s.farm+"/share/man"), []string{"MANPATH=/m:"}, nested(0, shell.script)...)
			admin := append(shell.further[:len(shell.further):len(shell.further)], "command -v hpadmin")
			ask("with directories of the administrator", s.farm+"/sbin/hpadmin\n", []string{"PATH=/usr/sbin:/usr/bin:/bin"}, admin...)

			setup("--first")
			ask("with --first", want(true, first+"|"+data+"|"+unset), nil, nested(0, shell.script)...)
			if shell.name != "fish" {
				ask("with --first, shells in shells", want(true, first+"|"+data+"|"+unset), nil, nested(2, shell.script)...)
			}
			setup()
			if out, _ := s.must(nil, shell.start[0], append(shell.start[1:len(shell.start):len(shell.start)], completionOf(shell.name))...); !strings.Contains(out, completes[shell.name]) {
				t.Errorf("completion says %q", out)
			}
			if out := setup("--remove"); strings.Count(out, ": taken back\n") != len(strings.Fields(shell.files)) {
				t.Errorf("its removal says %q", out)
			}
			if out := setup("--remove"); out != "nothing to do: no file has lines of setup-path\n" {
				t.Errorf("removed again, it says %q", out)
			}
			if out, _, err := s.run(nil, shell.start[0], append(shell.start[1:len(shell.start):len(shell.start)], "command -v hptool")...); err == nil {
				t.Errorf("after the removal there is %s", out)
			}
		})
	}
}

// completes is what a shell says then: what the package's own completion gives.
var completes = map[string]string{"bash": "complete -W '--hello' hptool", "zsh": "_hptool", "fish": "--hello"}

// completionOf returns what has a shell say how hptool is completed.
func completionOf(shell string) string {
	switch shell {
	case "bash":
		return ". /usr/share/bash-completion/bash_completion; _completion_loader hptool; complete -p hptool"
	case "zsh":
		return "autoload -Uz compinit; compinit -u -D; echo $_comps[hptool]"
	case "fish":
		return "complete -C 'hptool --h'"
	}
	return "true"
}

// TestPackagedProfile has shells read what hashpkg's packages bring: once, twice, and not at all.
func TestPackagedProfile(t *testing.T) {
	testneed.Programs(t, "bash", "dash", "fish")
	stage := t.TempDir()
	cmd := exec.Command("../scripts/stage.sh", stage)
	cmd.Env = append(os.Environ(), "VERSION=test", "HASHPKG_PREFIX=/not/this/one")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const found = "/usr/sbin:/usr/bin:/bin:/var/sys/current-system/bin:/var/sys/current-system/sbin|/usr/local/share:/usr/share:/var/sys/current-system/share\n"
	profile, vendor := stage+"/etc/profile.d/hashpkg.sh", stage+"/usr/share/fish/vendor_conf.d/hashpkg.fish"
	const show = `echo "$PATH|$XDG_DATA_DIRS"`
	for _, c := range []struct {
		env, want string
		args      []string
	}{
		{"A=b", found, []string{"bash", "--norc", "--noprofile", "-euc", ". " + profile + "; . " + profile + "; " + show}},
		{"A=b", found, []string{"dash", "-euc", ". " + profile + "; . " + profile + "; " + show}},
		{"HASHPKG_NO_PATH=1", "/usr/sbin:/usr/bin:/bin|\n", []string{"dash", "-ec", ". " + profile + "; " + show}},
		{"A=b", found, []string{"fish", "--no-config", "-c", "source " + vendor + "; source " + vendor + "; echo (string join : $PATH)\"|$XDG_DATA_DIRS\""}},
		{"HASHPKG_NO_PATH=1", "/usr/sbin:/usr/bin:/bin|\n", []string{"fish", "--no-config", "-c", "source " + vendor + "; echo (string join : $PATH)\"|$XDG_DATA_DIRS\""}},
	} {
		cmd := exec.Command(c.args[0], c.args[1:]...)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/bin", "HOME=" + stage, c.env}
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != c.want {
			t.Errorf("with %s %q says %q, %v\nwant %q", c.env, c.args, out, err, c.want)
		}
	}
}

// TestSessions has sessions find what is installed: variables by systemd's own generator, and
// desktop files by GLib.
func TestSessions(t *testing.T) {
	const generator = "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator"
	testneed.Programs(t, generator, "gio", "desktop-file-validate")
	s := newSomebody(t)
	s.must(nil, s.hashpkg, "--prefix", s.prefix, "install", "-q", s.tool)
	text, err := os.ReadFile("../packaging/environment.d/99-hashpkg.conf")
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{
		"environment.d/99-hashpkg.conf": string(text),
		"environment.d/90-own.conf":     "PATH=/own\n",
		"mimeapps.list":                 "[Default Applications]\nx-scheme-handler/hptool=hptool.desktop\n",
	} {
		name := filepath.Join(s.home, ".config", file)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := s.must(nil, generator)
	const of = "/var/sys/current-system/"
	if want := "PATH=/own:" + of + "bin\nXDG_DATA_DIRS=/usr/local/share:/usr/share:" + of + "share\n"; !hasLines(out, want) {
		t.Errorf("environment.d gives %q", out)
	}
	if err := os.Remove(filepath.Join(s.home, ".config/environment.d/90-own.conf")); err != nil {
		t.Fatal(err)
	}
	out, _ = s.must([]string{"XDG_DATA_DIRS=/x"}, generator)
	if want := "PATH=/usr/local/bin:/usr/bin:/bin:" + of + "bin\nXDG_DATA_DIRS=/x:" + of + "share\n"; !hasLines(out, want) {
		t.Errorf("environment.d gives %q", out)
	}

	s.must(nil, "desktop-file-validate", s.farm+"/share/applications/hptool.desktop")
	env := []string{"XDG_DATA_DIRS=/usr/share:" + s.farm + "/share", "PATH=/usr/bin:/bin:" + s.farm + "/bin"}
	if out, said := s.must(env, "gio", "mime", "x-scheme-handler/hptool"); !strings.Contains(out+said, "hptool.desktop") {
		t.Errorf("the desktop file is not found: %s%s", out, said)
	}
	// Where its command is not in PATH, it is in no menu.
	if out, said, _ := s.run(env[:1], "gio", "mime", "x-scheme-handler/hptool"); strings.Contains(out+said, "hptool.desktop") {
		t.Errorf("the desktop file of a command that is not found is: %s%s", out, said)
	}
	if _, err := os.Stat(s.farm + "/share/icons/hicolor/48x48/apps/hptool.png"); err != nil {
		t.Error(err)
	}
}

func hasLines(text, lines string) bool {
	for line := range strings.Lines(lines) {
		if !strings.Contains("\n"+text, "\n"+line) {
			return false
		}
	}
	return true
}
