package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrepo"
	"github.com/hashpkg/hashpkg/internal/testroot"
	"github.com/hashpkg/hashpkg/internal/testrpm"
)

var updateScreens = flag.Bool("update", false, "write the screens of e2e/personas and docs/screens.md anew")

// The size of the terminal.
const screenWidth, screenHeight = 100, 30

// persona is somebody at a terminal, as e2e/personas/NAME.txt has them: a line for the title, one
// for the system that they sit at, an empty one, and then blocks of lines. "$ COMMAND" has to
// succeed, "! COMMAND" to fail, and "> TEXT<Tab>" only types what it says, with keys by tmux's
// names in brackets. The lines "| ..." below are the screen after that, which begins with the
// command. All else is text for the reader.
type persona struct {
	title, system string
	lines         []string
}

// readPersona reads a persona's file.
func readPersona(t *testing.T, file string) persona {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) < 4 || lines[2] != "" {
		t.Fatalf("%s has no title, system and empty line", file)
	}
	return persona{title: lines[0], system: lines[1], lines: lines[3:]}
}

// text is the file of the persona, with other screens: one for each command.
func (p persona) text(screens []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n\n", p.title, p.system)
	next := 0
	for _, line := range p.lines {
		if strings.HasPrefix(line, "|") {
			continue
		}
		b.WriteString(line + "\n")
		if isCommand(line) && next < len(screens) {
			for line := range strings.Lines(screens[next]) {
				b.WriteString(strings.TrimRight("| "+line, " \n") + "\n")
			}
			next++
		}
	}
	return b.String()
}

func isCommand(line string) bool {
	return strings.HasPrefix(line, "$ ") || strings.HasPrefix(line, "! ") || strings.HasPrefix(line, "> ")
}

// page is the persona's part of docs/screens.md.
func (p persona) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n", p.title)
	inScreen := false
	for _, line := range p.lines {
		screen, isScreen := strings.CutPrefix(line, "|")
		if isCommand(line) {
			continue
		}
		if isScreen != inScreen || isScreen && strings.HasPrefix(screen, " $ ") {
			b.WriteString("\n")
		}
		inScreen = isScreen
		switch {
		case isScreen:
			b.WriteString(strings.TrimRight("    "+strings.TrimPrefix(screen, " "), " ") + "\n")
		case line != "":
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// screensPage is docs/screens.md.
func screensPage(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Screens\n\nWhat people see who use hashpkg: a terminal of " + strconv.Itoa(screenWidth) + " columns and " + strconv.Itoa(screenHeight) +
		" lines, each screen as it is after its first line was typed.\nTests type these commands on whole systems and compare the screens; what is another each time, such as digests and times, is replaced.\n" +
		"The packages are made for the tests.\n")
	for _, file := range personaFiles(t) {
		b.WriteString("\n" + readPersona(t, file).page())
	}
	return b.String()
}

func personaFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("personas/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no personas: %v", err)
	}
	return files
}

// TestScreensPage compares docs/screens.md with the screens of the personas.
func TestScreensPage(t *testing.T) {
	page := screensPage(t)
	if *updateScreens {
		return // TestPersonas writes it
	}
	have, err := os.ReadFile("../docs/screens.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), page); diff != "" {
		t.Errorf("docs/screens.md is not what the personas see; go test ./e2e -run TestPersonas -update writes it (-have +want): %s", diff)
	}
}

// TestPersonas has each persona type at a terminal of tmux, and compares what they see with what
// their file has. With -update it writes these files, and docs/screens.md.
func TestPersonas(t *testing.T) {
	testneed.Root(t)
	testneed.Programs(t, "tmux", "unshare", "gcc")
	weather := weatherFiles(t)
	for _, file := range personaFiles(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			p := readPersona(t, file)
			d := sitDown(t, p.system, weather)
			var screens []string
			for i, line := range p.lines {
				if !isCommand(line) {
					continue
				}
				screen := d.does(line)
				screens = append(screens, screen)
				if t.Failed() && !*updateScreens {
					t.Fatalf("line %d, %s: the screen is\n%s", i+4, line, screen)
				}
			}
			have, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			saw := p.text(screens)
			if *updateScreens {
				if err := os.WriteFile(file, []byte(saw), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(have), saw); diff != "" {
				t.Errorf("the screens are others; -update writes them (-have +saw): %s", diff)
			}
		})
	}
	if *updateScreens {
		if err := os.WriteFile("../docs/screens.md", []byte(screensPage(t)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// desk is a system, and a terminal at which somebody sits.
type desk struct {
	t       *testing.T
	tmux    func(args ...string) (string, error)
	prompts string // a file to which the shell adds the last status before each prompt
	typed   int    // prompts there were
}

// promptWidth is that of "$ ".
const promptWidth = 2

// sitDown makes a system of a kind, "USER on SYSTEM with SHELL", and starts a terminal in it.
func sitDown(t *testing.T, kind string, weather [3][]testdeb.Package) *desk {
	t.Helper()
	words := strings.Fields(kind)
	if len(words) != 5 {
		t.Fatalf("the system is %q, not USER on SYSTEM with SHELL", kind)
	}
	user, system, shell := words[0], words[2], words[4]
	var root *testroot.Root
	switch system {
	case "debian":
		root = newSystem(t, "fish")
		root.Run("sh", "-c", "rm -rf /etc/apt/sources.list* /var/lib/apt/lists; mkdir /etc/apt/sources.list.d")
	case "rpm":
		root = testroot.RPM(t).Root
		root.Install(hashpkg(t), "/usr/bin/hashpkg")
	default:
		t.Fatalf("there is no system %q", system)
	}
	serveWeather(t, root, system, weather)
	completion := root.Run("hashpkg", "completion", "fish")
	const prompt = `echo $status >>/run/prompts`
	root.WriteFile("/usr/share/fish/vendor_completions.d/hashpkg.fish", completion, 0o644)
	root.WriteFile("/etc/fish/config.fish", "set -g fish_greeting\nset -g fish_autosuggestion_enabled 0\nfunction fish_prompt\n\t"+prompt+"\n\techo '$ '\nend\n", 0o644)
	root.WriteFile("/etc/personas.bashrc", "PS1='$ '\nPROMPT_COMMAND='"+strings.Replace(prompt, "$status", "$?", 1)+"'\n"+
		`bind -x '"\C-l": printf "\033[H\033[2J"'`+"\n", 0o644) // the system need not know the terminal
	root.WriteFile("/run/prompts", "", 0o666)
	id, home := 0, "/root"
	if user != "root" {
		id, home = 1000, "/home/"+user
		root.WriteFile("/etc/passwd", root.ReadFile("/etc/passwd")+user+":x:1000:1000::"+home+":/bin/bash\n", 0o644)
		root.Run("sh", "-c", "mkdir -p "+home+" && chown 1000:1000 "+home)
	}
	argv := []string{"bash", "--noprofile", "--rcfile", "/etc/personas.bashrc", "-i"}
	if shell == "fish" {
		argv = []string{"fish", "--interactive"}
	}
	path := "/var/sys/current-system/bin:" + home + "/.local/sys/current-system/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	inside := root.PivotCommand(t.Context(), id, slices.Concat([]string{
		"env", "-i", "PATH=" + path, "HOME=" + home, "USER=" + user, "TERM=screen", "LC_ALL=C.UTF-8",
		"DEBIAN_FRONTEND=noninteractive", "HISTFILE=", "sh", "-c", `cd && exec "$@"`, "sh",
	}, argv)...)

	dir, err := os.MkdirTemp("", "tmux") // the paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	conf, socket := filepath.Join(dir, "conf"), filepath.Join(dir, "socket")
	if err := os.WriteFile(conf, []byte("set -g exit-empty off\nset -g status off\nset -g remain-on-exit on\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "LC_ALL=C.UTF-8", "TMUX=")
	server := exec.Command("tmux", "-S", socket, "-f", conf, "-D")
	server.Env, server.SysProcAttr = env, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, prompts: root.Path("/run/prompts")}
	d.tmux = func(args ...string) (string, error) {
		cmd := exec.Command("tmux", append([]string{"-S", socket}, args...)...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("tmux %q: %w: %s", args, err, out)
		}
		return string(out), err
	}
	t.Cleanup(func() {
		_, err := d.tmux("kill-server")
		ended := make(chan error, 1)
		go func() { ended <- server.Wait() }()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			err = errors.Join(err, errors.New("tmux does not end"), server.Process.Kill())
			<-ended
		}
		if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	d.waitFor("tmux", func() bool { _, err := os.Stat(socket); return err == nil })
	size := []string{"-x", strconv.Itoa(screenWidth), "-y", strconv.Itoa(screenHeight)}
	own := []string{"unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child", "env", "PATH=" + os.Getenv("PATH")}
	start := slices.Concat([]string{"new-session", "-d"}, size, own, inside.Args)
	if _, err := d.tmux(start...); err != nil {
		t.Fatal(err)
	}
	d.typed = 1
	d.waitFor("the first prompt", d.atPrompt)
	return d
}

// waitFor waits until something is so, for two minutes at most.
func (d *desk) waitFor(what string, isSo func() bool) {
	d.t.Helper()
	for start := time.Now(); !isSo(); time.Sleep(30 * time.Millisecond) {
		if time.Since(start) > 2*time.Minute {
			screen, err := d.tmux("capture-pane", "-p")
			d.t.Fatalf("%s does not come; the screen is %v\n%s", what, err, screen)
		}
	}
}

// statuses are those that the shell has written before its prompts.
func (d *desk) statuses() []string {
	d.t.Helper()
	b, err := os.ReadFile(d.prompts)
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// cursor returns where it is.
func (d *desk) cursor() (x, y int) {
	d.t.Helper()
	out, err := d.tmux("display-message", "-p", "#{cursor_x} #{cursor_y}")
	if err == nil {
		_, err = fmt.Sscan(out, &x, &y)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return x, y
}

// atPrompt reports whether the shell waits for the next command.
func (d *desk) atPrompt() bool {
	x, _ := d.cursor()
	return x == promptWidth && len(d.statuses()) >= d.typed
}

// does types a line of a persona's file on an empty screen, and returns the screen after it.
func (d *desk) does(line string) string {
	d.t.Helper()
	keys := func(args ...string) {
		d.t.Helper()
		if _, err := d.tmux(append([]string{"send-keys"}, args...)...); err != nil {
			d.t.Fatal(err)
		}
	}
	keys("C-u") // what an earlier line has only typed
	keys("C-l")
	d.waitFor("an empty screen", func() bool {
		x, y := d.cursor()
		return x == promptWidth && y == 0 && strings.TrimSpace(d.screen()) == "$"
	})
	d.typed = len(d.statuses())
	text := line[2:]
	if line[0] == '>' {
		for _, part := range keyNames.FindAllStringSubmatch(text, -1) {
			if part[1] != "" {
				keys(part[1])
				time.Sleep(1500 * time.Millisecond) // the shell asks hashpkg meanwhile
			} else {
				keys("-l", part[0])
			}
		}
		return d.quietScreen()
	}
	keys("-l", text)
	keys("Enter")
	d.typed++
	d.waitFor("a prompt after "+text, d.atPrompt)
	status := d.statuses()
	if ok := status[len(status)-1] == "0"; ok != (line[0] == '$') {
		d.t.Errorf("%s ends with status %s", text, status[len(status)-1])
	}
	return strings.TrimSuffix(strings.TrimSuffix(d.quietScreen(), "\n"), "\n$") + "\n"
}

var keyNames = regexp.MustCompile(`<([^<>]+)>|[^<>]+`)

// screen is what the terminal has, without empty lines at the end.
func (d *desk) screen() string {
	d.t.Helper()
	out, err := d.tmux("capture-pane", "-p", "-J") // lines that the terminal wraps are one
	if err != nil {
		d.t.Fatal(err)
	}
	for _, v := range varying {
		out = v.pattern.ReplaceAllString(out, v.with)
	}
	var b strings.Builder
	for _, line := range fetchedInOrder(slices.Collect(strings.Lines(out))) {
		rest := []rune(strings.TrimRight(line, " \n"))
		for len(rest) > screenWidth {
			b.WriteString(string(rest[:screenWidth]) + "\n")
			rest = rest[screenWidth:]
		}
		b.WriteString(string(rest) + "\n")
	}
	return strings.TrimRight(b.String(), " \n") + "\n"
}

// quietScreen is a screen that stays as it is.
func (d *desk) quietScreen() string {
	d.t.Helper()
	screen, since := d.screen(), time.Now()
	for start := time.Now(); time.Since(since) < 700*time.Millisecond && time.Since(start) < time.Minute; time.Sleep(50 * time.Millisecond) {
		if now := d.screen(); now != screen {
			screen, since = now, time.Now()
		}
	}
	return screen
}

// varying is what is another one on another machine, or on another day.
var varying = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\b[0-9a-f]{16,}\b`), "DIGEST"},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\d`), "YYYY-MM-DD"},
	{regexp.MustCompile(`(YYYY-MM-DD|last sync) \d\d:\d\d`), "$1 HH:MM"},
	{regexp.MustCompile(`\b\d+(\.\d+)?([MG]\b|[MG]i?B)`), "SIZE"},
	{regexp.MustCompile(`\d+ (files and directories currently)`), "N $1"},
	{regexp.MustCompile(`\b(\d+ bytes?|\d+(\.\d+)?KB?|SIZE) freed`), "N freed"},
	{regexp.MustCompile(`\d+ (files checked:) \d+ (as packaged)`), "N $1 N $2"},
}

// fetchedInOrder sorts the lines that stand together and say what was fetched: of several files the fastest
// comes first.
func fetchedInOrder(lines []string) []string {
	isFetched := func(line string) bool { return strings.HasPrefix(line, "fetched ") }
	for i := 0; i < len(lines); i++ {
		n := 0
		for i+n < len(lines) && isFetched(lines[i+n]) {
			n++
		}
		slices.Sort(lines[i : i+n])
		i += n
	}
	return lines
}

// weatherFiles builds three versions of a program and its library. The third library is an
// unfortunate one.
func weatherFiles(t *testing.T) (versions [3][]testdeb.Package) {
	t.Helper()
	dir := t.TempDir()
	for i := range versions {
		version := fmt.Sprintf("%d.0-1", i+1)
		says := []string{"sunny", "sunny, with a breeze", "sunny, -9999 degrees"}[i]
		for name, text := range map[string]string{
			"lib.c":  "const char *weather(void) { return \"" + says + "\"; }\n",
			"main.c": "#include <stdio.h>\nconst char *weather(void);\nint main(void) { puts(weather()); return 0; }\n",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		lib, program := filepath.Join(dir, "libweather.so.1"), filepath.Join(dir, "weather")
		mustRun(t, "gcc", "-shared", "-fPIC", "-Wl,-soname,libweather.so.1", "-o", lib, filepath.Join(dir, "lib.c"))
		mustRun(t, "gcc", "-o", program, filepath.Join(dir, "main.c"), lib)
		var content [2]string
		for i, file := range []string{lib, program} {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			content[i] = string(b)
		}
		versions[i] = []testdeb.Package{
			{
				Name: "weather", Version: version, Depends: "libweather1 (>= 1.0)", Summary: "say what the weather is like", Fields: []testdeb.Field{{Name: "Installed-Size", Value: "40"}},
				Files: []testdeb.File{{Path: "usr/bin/weather", Mode: 0o755, Content: content[1]}},
			},
			{
				Name: "libweather1", Version: version, Summary: "weather as a library", Fields: []testdeb.Field{{Name: "Installed-Size", Value: "40"}},
				Files: []testdeb.File{{Path: "usr/lib/x86_64-linux-gnu/libweather.so.1", Mode: 0o644, Content: content[0]}},
			},
		}
	}
	return versions
}

// serveWeather puts repositories of the weather at /srv/archive, and has the system know them: the
// releases "harbor", with the first version, and "summit", with the second; and at /srv/updates the debs for
// a package manager, of all versions. On a system of rpm the releases are repositories of rpms.
func serveWeather(t *testing.T, root *testroot.Root, system string, weather [3][]testdeb.Package) {
	t.Helper()
	key := testrepo.NewKey(t, "weather", 0)
	write := func(dir string, files testrepo.Files) {
		t.Helper()
		for name, content := range files {
			root.WriteFile(dir+"/"+name, content, 0o644)
		}
	}
	for i, release := range []string{"harbor", "summit"} {
		if system == "rpm" {
			var packages []testrpm.Package
			for _, p := range weather[i] {
				version, rpmRelease, _ := strings.Cut(p.Version, "-")
				r := testrpm.Package{Name: strings.TrimSuffix(p.Name, "1"), Version: version, Release: rpmRelease, Summary: p.Summary}
				for _, f := range p.Files {
					r.Files = append(r.Files, testrpm.File{Path: "/" + strings.Replace(f.Path, "lib/x86_64-linux-gnu", "lib64", 1), Mode: f.Mode, Content: f.Content})
				}
				if p.Depends != "" {
					r.Requires = []string{"libweather.so.1()(64bit)"}
				} else {
					r.Provides = []string{"libweather.so.1()(64bit)"}
				}
				packages = append(packages, r)
			}
			repository := testrepo.RPMs{Packages: packages, Signer: key}
			write("/srv/"+release, repository.Files(t))
			root.WriteFile("/etc/pki/rpm-gpg/RPM-GPG-KEY-weather", testrepo.PublicKeys(t, key), 0o644)
			root.WriteFile("/etc/yum.repos.d/"+release+".repo", repository.Sources(release, "file:///srv/"+release, "/etc/pki/rpm-gpg/RPM-GPG-KEY-weather"), 0o644)
			continue
		}
		repository := testrepo.Debs{Suite: release, Packages: weather[i], Signer: key}
		write("/srv/archive", repository.Files(t))
		root.WriteFile("/etc/hashpkg/sources.d/"+release+".sources", repository.Sources(t, "file:/srv/archive"), 0o644)
	}
	for _, packages := range weather {
		for _, p := range packages {
			root.WriteFile("/srv/updates/"+p.Name+"_"+p.Version+"_amd64.deb", string(testdeb.Deb(t, p)), 0o644)
		}
	}
}
