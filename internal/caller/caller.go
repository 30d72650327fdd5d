// Package caller finds out who runs a command, and tells it as it may be kept: [User]
// and [CommandLine]. What it returns is for people to read. It decides nothing: a
// process can call itself what it likes, and root can be whoever it says.
package caller

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashpkg/hashpkg/internal/visible"
)

// maxCommand bounds a command that is kept, in bytes.
const maxCommand = 500

// User returns the name of who logged in to run this process, or their number where it
// has no name.
//
// The kernel knows it in most sessions, whatever su, sudo and the like have done since
// (audit's login user). Where it does not, sudo, pkexec and doas say who called them;
// others than root are believed to be themselves only.
func User(getenv func(string) string) string { return userOf("/proc", os.Geteuid(), getenv) }

func userOf(proc string, euid int, getenv func(string) string) string {
	login, err := os.ReadFile(path.Join(proc, "self/loginuid"))
	id := strings.TrimSpace(string(login))
	if err == nil && id != unsetLogin && id != overflowLogin && isNumber(id) {
		return name(id)
	}
	if euid == 0 {
		for _, key := range []string{"SUDO_UID", "PKEXEC_UID"} {
			if id := getenv(key); isNumber(id) {
				return name(id)
			}
		}
		if by := getenv("DOAS_USER"); by != "" {
			return visible.Line(by)
		}
	}
	return name(strconv.Itoa(euid))
}

// Login users that are none: nobody logged in, or somebody outside of the namespace.
const unsetLogin, overflowLogin = "4294967295", "65534"

func isNumber(id string) bool {
	_, err := strconv.ParseUint(id, 10, 32)
	return err == nil
}

func name(id string) string {
	u, err := user.LookupId(id)
	if err != nil || u.Username == "" {
		return id
	}
	return visible.Line(u.Username)
}

// Arguments returns the arguments of a process, and nothing when it is gone or cannot be
// seen.
func Arguments(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

// OfProgram returns the arguments of a program by its name, without the interpreter that
// runs it: "dnf upgrade" of "/usr/bin/python3 -s /usr/bin/dnf upgrade". The name is that
// which the kernel has, cut after 15 bytes.
func OfProgram(program string, args []string) []string {
	const seen = 15
	for i, arg := range args[:min(len(args), 4)] {
		if base := path.Base(arg); base == program || len(program) == seen && strings.HasPrefix(base, program) {
			return append([]string{base}, args[i+1:]...)
		}
	}
	if len(args) == 0 {
		return []string{program}
	}
	return append([]string{program}, args[1:]...)
}

// CommandLine returns arguments as one line that a shell would take apart again, but for
// what a record must not have: secrets are "***", control characters are escaped, and a
// long line is cut.
func CommandLine(args []string) string {
	var b strings.Builder
	for i, arg := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		arg = withoutSecrets(arg)
		if i > 0 && strings.HasPrefix(args[i-1], "-") && namesSecret(args[i-1]) && !strings.Contains(args[i-1], "=") {
			arg = hidden
		}
		b.WriteString(quoted(arg))
		if b.Len() > maxCommand {
			break
		}
	}
	line := b.String()
	if len(line) <= maxCommand {
		return line
	}
	cut := maxCommand
	for cut > 0 && !utf8.RuneStart(line[cut]) {
		cut--
	}
	return line[:cut] + "..."
}

// hidden stands for a secret.
const hidden = "***"

// withoutSecrets hides the user and the password of an address, its query, in which
// stores of files have signatures, and the values of options that are named for what they are.
func withoutSecrets(arg string) string {
	for i := range len(arg) {
		if arg[i] == '=' && namesSecret(arg[:i]) { // of "--setopt=password=X" the second one
			return arg[:i+1] + hidden
		}
	}
	scheme, rest, ok := strings.Cut(arg, "://")
	if !ok {
		return arg
	}
	// A password may have any character, against all rules: the last @ ends it.
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = hidden + rest[at:]
	}
	if address, _, ok := strings.Cut(rest, "?"); ok {
		rest = address + "?" + hidden
	}
	return scheme + "://" + rest
}

// namesSecret reports whether an option is named for a secret.
func namesSecret(option string) bool {
	option = strings.ToLower(option)
	if !strings.HasPrefix(option, "-") && !strings.ContainsAny(option, ":._") && option != "password" {
		return false
	}
	for _, word := range []string{"password", "passwd", "passphrase", "secret", "token"} {
		if strings.Contains(option, word) {
			return true
		}
	}
	return false
}

// quoted returns an argument as one word of a shell's.
func quoted(arg string) string {
	arg = visible.Line(arg)
	if arg != "" && !strings.ContainsFunc(arg, func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("_-+=.,:/@%~^*\\", c)
	}) {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

// IsElevated reports whether the process has rights that whoever started it may not have
// themselves: as another user's, or root's by sudo, pkexec or doas. They may be allowed to run this
// program and no other.
func IsElevated(getenv func(string) string) bool {
	return os.Geteuid() != os.Getuid() || isElevated("/proc", os.Geteuid(), getenv)
}

func isElevated(proc string, euid int, getenv func(string) string) bool {
	for _, key := range []string{"SUDO_UID", "PKEXEC_UID", "DOAS_USER"} {
		if by := getenv(key); by != "" && by != strconv.Itoa(euid) {
			return true
		}
	}
	login, err := os.ReadFile(path.Join(proc, "self/loginuid"))
	id := strings.TrimSpace(string(login))
	return err == nil && id != unsetLogin && id != overflowLogin && id != strconv.Itoa(euid)
}
