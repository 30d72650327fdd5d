package rpm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
)

const (
	maxVariable  = 4 << 10 // the file of one
	maxExpansion = 16 << 10
)

// variableDirs have a file for each variable, the later ones before the earlier.
var variableDirs = []string{"/etc/yum/vars", "/etc/dnf/vars", "/etc/zypp/vars.d"}

// releasePackages are the capabilities whose provider says what $releasever is, in
// dnf's order. The version of those in parentheses is that of the capability.
var releasePackages = []string{
	"system-release(releasever)", "system-release", "distribution-release(releasever)", "distribution-release", "redhat-release", "suse-release",
}

// variables are what "$releasever" and so on stand for in a root (dnf.conf(5)).
type variables struct {
	ctx          context.Context
	root         backends.Root
	architecture string // "" for the root's own
	known        map[string]string
}

// expand replaces the variables in a text: $name, ${name}, ${name:-word} where it is
// not set or empty, ${name:+word} where it is. A variable that is not set is an error.
func (v *variables) expand(text string) (string, error) {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "$")
		b.WriteString(before)
		if !ok {
			return b.String(), nil
		}
		name := variableName(rest)
		text = rest[len(name):]
		operator, word := "", ""
		if strings.HasPrefix(rest, "{") {
			inner, after, ok := strings.Cut(rest[1:], "}")
			name = variableName(inner)
			operator, text = inner[len(name):], after
			if n := min(2, len(operator)); n == 2 {
				operator, word = operator[:n], operator[n:]
			}
			if !ok || operator != "" && operator != ":-" && operator != ":+" || strings.Contains(word, "$") {
				return "", fmt.Errorf("%.80q is not a variable", "$"+rest)
			}
		}
		if name == "" {
			return "", fmt.Errorf("%.80q is not a variable", "$"+rest)
		}
		value, err := v.value(name)
		if err != nil {
			return "", err
		}
		switch {
		case operator == ":-" && value == "":
			value = word
		case operator == ":+" && value != "":
			value = word
		case operator == "" && value == "":
			return "", fmt.Errorf("the root does not say what $%s is", name)
		}
		b.WriteString(value)
		if b.Len() > maxExpansion {
			return "", fmt.Errorf("with its variables it has more than %d bytes", maxExpansion)
		}
	}
}

func variableName(s string) string {
	for i, c := range []byte(s) {
		if c != '_' && !isDigit(rune(c)) && !isLetter(rune(c)) {
			return s[:i]
		}
	}
	return s
}

// value returns what a variable stands for, or "".
func (v *variables) value(name string) (string, error) {
	if value, ok := v.known[name]; ok {
		return value, nil
	}
	value, err := v.find(name)
	if err != nil {
		return "", err
	}
	if v.known == nil {
		v.known = map[string]string{}
	}
	v.known[name] = value
	return value, nil
}

func (v *variables) find(name string) (string, error) {
	for i := len(variableDirs) - 1; i >= 0; i-- {
		b, err := v.root.ReadFile(variableDirs[i]+"/"+name, maxVariable)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read $%s: %w", name, err)
		}
		line, _, _ := strings.Cut(string(b), "\n")
		return strings.TrimSpace(line), nil
	}
	switch name {
	case "arch", "basearch":
		architecture := v.architecture
		if architecture == "" {
			all, err := Format{}.Architectures(v.root)
			if err != nil {
				return "", err
			}
			architecture = all[0]
		}
		if name == "basearch" {
			architecture = baseArchitecture(architecture)
		}
		return architecture, nil
	case "releasever":
		return rootRelease(v.ctx, v.root)
	case "releasever_major", "releasever_minor":
		release, err := v.value("releasever")
		major, minor, _ := strings.Cut(release, ".")
		if name == "releasever_minor" {
			return minor, err
		}
		return major, err
	}
	return "", nil
}

// rootRelease returns $releasever as dnf finds it: the version of the package that
// provides what stands for the distribution's release. It is "" for a root that rpm
// does not keep.
func rootRelease(ctx context.Context, root backends.Root) (string, error) {
	all, err := ReadDatabase(ctx, root)
	if errors.Is(err, backends.ErrNoDatabase) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, capability := range releasePackages {
		for _, p := range all {
			if p.Name == capability {
				return upstreamVersion(p.Version), nil
			}
			for _, c := range p.Provides {
				switch {
				case c.Name != capability:
				case strings.HasSuffix(capability, "(releasever)") && c.Version != "":
					return upstreamVersion(c.Version), nil
				default:
					return upstreamVersion(p.Version), nil
				}
			}
		}
	}
	return "", nil
}

// upstreamVersion returns a version without epoch and release.
func upstreamVersion(evr string) string {
	_, version, _ := splitEVR(evr)
	return version
}

// compatible are the architectures whose packages another one runs, too, the best
// first (rpm: arch_compat).
var compatible = map[string][]string{
	"x86_64":  {"x86_64", "i686", "i586", "i486", "i386"},
	"i686":    {"i686", "i586", "i486", "i386"},
	"aarch64": {"aarch64"},
	"armv7hl": {"armv7hl", "armv6hl"},
	"ppc64le": {"ppc64le"},
	"riscv64": {"riscv64"},
	"s390x":   {"s390x", "s390"},
}

// Architectures returns rpm's words for what the root can run: its shell says what
// that is, and in an empty root the machine.
func (Format) Architectures(root backends.Root) ([]string, error) {
	for _, program := range []string{"/bin/sh", "/usr/bin/sh", "/bin/bash", "/usr/bin/env"} {
		f, err := root.Open(program)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var head [20]byte
		n, err := io.ReadFull(f, head[:])
		if cerr := f.Close(); cerr != nil {
			return nil, cerr
		}
		if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		if all := compatible[elfArchitecture(head[:n])]; all != nil {
			return all, nil
		}
	}
	name := map[string]string{"386": "i686", "amd64": "x86_64", "arm": "armv7hl", "arm64": "aarch64"}[runtime.GOARCH]
	if name == "" {
		name = runtime.GOARCH
	}
	if all := compatible[name]; all != nil {
		return all, nil
	}
	return nil, fmt.Errorf("find the root's architecture: rpm's word for %s is not known", runtime.GOARCH)
}

// elfArchitecture returns rpm's word for the machine that a program is for, by the
// head of its file (gABI, figure 4-3).
func elfArchitecture(head []byte) string {
	if len(head) < 20 || string(head[:4]) != "\x7fELF" {
		return ""
	}
	class, order := head[4], head[5]
	machine := uint16(head[18]) | uint16(head[19])<<8
	if order == 2 {
		machine = machine>>8 | machine<<8
	}
	switch [3]uint16{uint16(class), uint16(order), machine} {
	case [3]uint16{2, 1, 62}:
		return "x86_64"
	case [3]uint16{1, 1, 3}:
		return "i686"
	case [3]uint16{2, 1, 183}:
		return "aarch64"
	case [3]uint16{1, 1, 40}:
		return "armv7hl"
	case [3]uint16{2, 1, 21}:
		return "ppc64le"
	case [3]uint16{2, 1, 243}:
		return "riscv64"
	case [3]uint16{2, 2, 22}:
		return "s390x"
	}
	return ""
}

// baseArchitecture returns $basearch: the architecture that repositories have a
// directory for.
func baseArchitecture(architecture string) string {
	switch architecture {
	case "i486", "i586", "i686":
		return "i386"
	case "armv6hl", "armv7hl":
		return "armhfp"
	}
	return architecture
}
