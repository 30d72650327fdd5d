package transaction

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
)

// profileDir has AppArmor's profiles, and abstraction what lets confined programs
// read the prefix: abstractions/base includes all of that directory (apparmor.d(5)).
const (
	profileDir  = "/etc/apparmor.d"
	abstraction = profileDir + "/abstractions/base.d/hashpkg"
)

// profileHead matches the line that begins a profile and names what it is attached
// to: "/usr/bin/man {", "profile cupsd /usr/sbin/cupsd flags=(attach_disconnected) {".
var profileHead = regexp.MustCompile(`^\s*(?:profile\s+\S+\s+)?"?(/[^\s"]*|@\{[^\s"]*)"?\s*(?:(?:flags=)?\(([^)]*)\)\s*)?(?:xattrs=\([^)]*\)\s*)?\{`)

// The files that say whether SELinux is enforced, and where the prefix gets its
// labels from (selinux(8), semanage-fcontext(8)).
const (
	selinuxConfig = "/etc/selinux/config"
	selinuxRules  = "/etc/selinux/%s/contexts/files/file_contexts.%s"
)

// unlabeled returns why SELinux may keep programs from a library in the prefix;
// "" when it does not enforce, or has a rule for the prefix.
func (e *programEditor) unlabeled() string {
	settings := map[string]string{}
	for line := range strings.Lines(e.readFile(selinuxConfig)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			settings[name] = value
		}
	}
	if settings["SELINUX"] != "enforcing" {
		return ""
	}
	prefix := e.root.Prefix()
	for _, kind := range []string{"subs", "subs_dist", "local"} {
		for line := range strings.Lines(e.readFile(fmt.Sprintf(selinuxRules, settings["SELINUXTYPE"], kind))) {
			if fields := strings.Fields(line); len(fields) > 1 && (fields[0] == prefix || strings.HasPrefix(fields[0], prefix+"(")) {
				return ""
			}
		}
	}
	return "SELinux enforces, and no rule says how " + prefix + " is labeled; run hashpkg hooks install selinux && restorecon -RF " + prefix
}

// readFile returns the contents of a file of the root; "" when it cannot be read.
func (e *programEditor) readFile(name string) string {
	p, err := e.root.HostPath(name)
	if err != nil {
		return ""
	}
	b, err := store.ReadFile(p)
	if err != nil {
		return ""
	}
	return string(b)
}

// confined returns why a program may not read a library in the prefix, though it
// is confined; "" when it may, or is not confined as far as the root tells.
func (e *programEditor) confined(program string) string {
	if reason := e.unlabeled(); reason != "" {
		return reason
	}
	dir, err := e.root.HostPath(profileDir)
	if err != nil {
		return ""
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "" // no AppArmor
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		b, err := store.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			continue
		}
		if attached, reads := profileReads(e.root, b, program); attached && !reads {
			return "its AppArmor profile " + profileDir + "/" + entry.Name() + " does not let it read " + e.root.Prefix() +
				"; hashpkg hooks install allows that to profiles which include abstractions/base"
		}
	}
	return ""
}

// profileReads reports whether a file of profiles has one that is attached to a
// program and enforced, and whether it lets the program read the prefix.
func profileReads(root *sysroot.Root, b []byte, program string) (attached, reads bool) {
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := profileHead.FindStringSubmatch(line); m != nil && matchesAttachment(m[1], program) && !strings.Contains(m[2], "complain") {
			attached = true
		}
		if strings.Contains(line, root.Prefix()+"/") && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			reads = true
		}
	}
	if !attached || reads {
		return attached, reads
	}
	base := regexp.MustCompile(`(?m)^\s*#?include\s+(if exists\s+)?<abstractions/base>`).Match(b)
	return attached, base && hasFile(root, abstraction)
}

func hasFile(root *sysroot.Root, name string) bool {
	p, err := root.HostPath(name)
	if err != nil {
		return false
	}
	_, err = os.Stat(p)
	return !errors.Is(err, fs.ErrNotExist)
}

// matchesAttachment compares a program with the expression of a profile:
// alternatives in braces, and wildcards (apparmor.d(5)).
func matchesAttachment(expression, program string) bool {
	if before, rest, ok := strings.Cut(expression, "{"); ok && !strings.HasSuffix(before, "@") {
		alternatives, after, closed := strings.Cut(rest, "}")
		if !closed {
			return false
		}
		for _, a := range strings.Split(alternatives, ",") {
			if matchesAttachment(before+a+after, program) {
				return true
			}
		}
		return false
	}
	if rest, ok := strings.CutPrefix(expression, "@{bin}"); ok {
		return matchesAttachment("/{,usr/}{,s}bin"+rest, program)
	}
	ok, err := path.Match(strings.ReplaceAll(expression, "**", "*"), program)
	return err == nil && ok
}
