package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// TestCompletion has somebody type at a shell, with the completion script of hashpkg and
// the tabulator key: names of commands, of releases and of packages.
func TestCompletion(t *testing.T) {
	const bashCompletion = "/usr/share/bash-completion/bash_completion"
	testneed.Programs(t, "bash", "zsh", "fish")
	if _, err := os.Stat(bashCompletion); err != nil {
		testneed.Unmet(t, fmt.Errorf("it needs bash-completion: %w", err))
	}
	s := openShop(t)
	s.mustRun("update")
	s.mustRun("install", "-q", "tool")
	s.write("var/sys/.hashpkg/system/pins.json", `{"layout": 1, "pins": [{"program": "/usr/bin/curl", "library": "libssl3", "version": "3", "tree": "3"}]}`)
	scripts := t.TempDir()
	for name, shell := range map[string]string{"hashpkg.bash": "bash", "_hashpkg": "zsh", "hashpkg.fish": "fish"} {
		text, err := exec.Command(hashpkg(t), "completion", shell).Output()
		if err == nil {
			err = os.WriteFile(filepath.Join(scripts, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, shell := range []struct {
		name string
		args []string
		load string
	}{
		{"bash", []string{"--norc", "--noprofile", "-i"}, ". " + bashCompletion + "; . " + scripts + "/hashpkg.bash"},
		{"zsh", []string{"-f", "-i"}, "fpath=(" + scripts + " $fpath); autoload -Uz compinit; compinit -u -D"},
		{"fish", []string{"--no-config", "-i"}, "source " + scripts + "/hashpkg.fish"},
	} {
		t.Run(shell.name, func(t *testing.T) {
			cmd := exec.Command(shell.name, shell.args...)
			home := t.TempDir()
			cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home, "TERM=xterm", "LC_ALL=C.UTF-8", "EDITOR=",
				"PATH="+filepath.Dir(hashpkg(t))+":"+os.Getenv("PATH"))
			for _, kv := range s.command().Env {
				if strings.HasPrefix(kv, "SOURCE_DATE_EPOCH=") {
					cmd.Env = append(cmd.Env, kv)
				}
			}
			at := startTyping(t, cmd)
			at.types(shell.load + "; echo loa''ded\r")
			at.waitsFor("loaded")
			at.types("hashpkg --root " + s.root + " show --from sta\tlibt\t--json\r")
			at.waitsFor(`{"name":"libtool1","available":[`)
			// Names and versions of what is installed, generations, pins, policies.
			at.types("hashpkg --root " + s.root + " show tool=\t--json\r")
			at.waitsFor(`{"name":"tool","version":"1",`)
			at.types("hashpkg --root " + s.root + " rollback \t--json\r")
			at.waitsFor(`"generation":1,`)
			at.types("hashpkg --root " + s.root + " unpin \t")
			at.waitsFor("/usr/bin/curl")
			at.types("\x15hashpkg install --signature re\t")
			at.waitsFor("quire")
			at.types("\x15")
			// Of several words there is a list, with what they do.
			at.types("hashpkg --root " + s.root + " ho\t\t")
			at.waitsFor("Let packages keep their versions")
			at.types("\x15exit\r") // after the line is taken away
			at.ends()
		})
	}
}

// typing is a program on a terminal.
type typing struct {
	t        *testing.T
	cmd      *exec.Cmd
	terminal *os.File
	ended    chan error

	mu   sync.Mutex
	said []byte
}

// startTyping starts a program that has a terminal of its own.
func startTyping(t *testing.T, cmd *exec.Cmd) *typing {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	fd := int(terminal.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	err = errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 200}))
	if err != nil {
		t.Fatal(err)
	}
	end, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = end, end, end
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	if err := errors.Join(err, end.Close()); err != nil {
		t.Fatal(err)
	}
	y := &typing{t: t, cmd: cmd, terminal: terminal, ended: make(chan error, 1)}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := terminal.Read(b)
			y.mu.Lock()
			y.said = append(y.said, b[:n]...)
			y.mu.Unlock()
			if err != nil { // EIO: nobody has the other end any more
				break
			}
		}
		y.ended <- cmd.Wait()
	}()
	t.Cleanup(func() { cmd.Process.Kill() }) // an error says that it has ended
	return y
}

func (y *typing) types(text string) {
	y.t.Helper()
	if _, err := y.terminal.WriteString(text); err != nil {
		y.t.Fatal(err)
	}
}

// waitsFor waits until the program has said something, and forgets what was said so far.
func (y *typing) waitsFor(text string) {
	y.t.Helper()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		y.mu.Lock()
		i := bytes.Index(y.said, []byte(text))
		if i >= 0 {
			y.said = y.said[i+len(text):]
		}
		said := string(y.said)
		y.mu.Unlock()
		switch {
		case i >= 0:
			return
		case time.Since(start) > 30*time.Second:
			y.t.Fatalf("%q does not come; the terminal has %q", text, said)
		}
	}
}

// ends waits until the program has ended.
func (y *typing) ends() {
	y.t.Helper()
	select {
	case <-y.ended: // a shell's status is that of its last command
	case <-time.After(30 * time.Second):
		y.t.Error("it does not end")
	}
}
