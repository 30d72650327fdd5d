package service

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// unit is what the text of a unit is made of.
type unit struct {
	name    string // without ".service"
	of      string // the name of the package's unit, or of the package
	spec    string // NAME=VERSION of the package
	text    string // the package's unit; "" for command
	command string
	user    string

	view string      // where it is, absolute; "" for none
	over [][2]string // directories of the view, and what they stand in place of
	dirs []directory // that are the service's own

	program func(name string) string // the path of a program of the packages in its tree, or the name
}

// directory is one of a package, or that its scripts would make.
type directory struct {
	parent string // "/etc", "/var/lib", "/var/cache" or "/var/log"
	name   string
}

// own are the parents of directories that systemd makes for a service, and the settings by which it does.
var own = []struct{ parent, setting string }{
	{"/etc", "ConfigurationDirectory"}, {"/var/lib", "StateDirectory"}, {"/var/cache", "CacheDirectory"}, {"/var/log", "LogsDirectory"}, {"/run", "RuntimeDirectory"},
}

// named returns the directory's name for the service.
func (u *unit) named(dir string) string {
	switch {
	case u.name == u.of:
		return dir
	case dir == u.of:
		return u.name
	}
	return u.name + "-" + dir
}

// section is one of a unit's file, with its settings in their order.
type section struct {
	name     string
	settings [][2]string
}

// parse reads systemd.syntax(7). What is not of that form is left out.
func parse(text string) (sections []section) {
	var line string
	for part := range strings.Lines(text) {
		part = strings.TrimRight(part, "\r\n")
		if trimmed := strings.TrimSpace(part); trimmed != "" && (trimmed[0] == '#' || trimmed[0] == ';') {
			continue // also in the middle of a line that goes on
		}
		if before, goesOn := strings.CutSuffix(part, `\`); goesOn {
			line += before + " "
			continue
		}
		line = strings.TrimSpace(line + part)
		key, value, isSetting := strings.Cut(line, "=")
		switch {
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			sections = append(sections, section{name: line[1 : len(line)-1]})
		case isSetting && len(sections) > 0:
			last := &sections[len(sections)-1]
			last.settings = append(last.settings, [2]string{strings.TrimSpace(key), strings.TrimSpace(value)})
		}
		line = ""
	}
	return sections
}

// String returns the text of the unit.
func (u *unit) String() string {
	sections := parse(u.text)
	if u.text == "" {
		service := section{name: "Service", settings: [][2]string{{"ExecStart", u.command}}}
		if u.user != "" {
			service.settings = append(service.settings, [2]string{"User", u.user})
		}
		sections = []section{
			{name: "Unit", settings: [][2]string{{"Description", u.of}, {"After", "network.target"}}},
			service,
			{name: "Install", settings: [][2]string{{"WantedBy", "multi-user.target"}}},
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "# hashpkg service has written this for %s, and replaces it when another version is\n# installed. What is to be different belongs into %s.service.d/NAME.conf.\n", u.spec, u.name)
	for _, s := range sections {
		fmt.Fprintf(&out, "\n[%s]\n", s.name)
		for _, set := range s.settings {
			if value, ok := u.setting(s.name, set[0], set[1]); ok {
				fmt.Fprintf(&out, "%s=%s\n", set[0], value)
			}
		}
		if s.name == "Service" {
			u.writeOwn(&out, s)
		}
	}
	return out.String()
}

// setting returns what a setting of the package's is in the unit, and whether it is there at all.
func (u *unit) setting(section, key, value string) (string, bool) {
	switch section + " " + key {
	case "Unit Description":
		return value + " (" + escape(u.spec) + ")", true
	case "Unit Documentation", "Install Alias", "Install Also":
		return "", false // of the package's own name
	case "Service PIDFile":
		return u.withOwnPID(value), true
	}
	if section == "Unit" && (strings.HasPrefix(key, "Condition") || strings.HasPrefix(key, "Assert")) {
		return u.exec(value), true // the host's systemd looks at the path
	}
	if section != "Service" {
		return value, true
	}
	if strings.HasPrefix(key, "Exec") {
		return u.withOwnPID(u.exec(value)), true
	}
	for _, o := range own {
		if o.setting == key {
			return "", false // see writeOwn
		}
	}
	return value, true
}

// exec returns a command line with the program of the packages in the place of one at its path.
func (u *unit) exec(line string) string {
	prefix := line[:len(line)-len(strings.TrimLeft(line, "@-:+!|"))]
	program, rest, _ := strings.Cut(line[len(prefix):], " ")
	if path.IsAbs(program) {
		program = escape(u.program(program))
	}
	if rest != "" {
		program += " " + rest
	}
	return prefix + program
}

// escape keeps systemd from reading a specifier in a path: systemd.unit(5).
func escape(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// withOwnPID has a service of another name write its number into a file of that name.
func (u *unit) withOwnPID(s string) string {
	if u.name == u.of {
		return s
	}
	return strings.ReplaceAll(s, "/run/"+u.of+".pid", "/run/"+u.name+".pid")
}

// writeOwn writes the settings for the view, and for the directories of the service.
func (u *unit) writeOwn(out *strings.Builder, service section) {
	if u.view != "" {
		fmt.Fprintf(out, "ExtensionDirectories=%s\n", escape(u.view))
	}
	for _, o := range u.over {
		fmt.Fprintf(out, "BindReadOnlyPaths=%s:%s\n", quotePath(o[0]), quotePath(o[1]))
	}
	for _, o := range own {
		var names, binds []string
		add := func(dir string) {
			name := u.named(dir)
			if slices.Contains(names, name) {
				return
			}
			names = append(names, name)
			if name != dir {
				binds = append(binds, fmt.Sprintf("BindPaths=%s/%s:%s/%s\n", o.parent, name, o.parent, dir))
			}
		}
		for _, set := range service.settings {
			if set[0] == o.setting {
				for dir := range strings.FieldsSeq(set[1]) {
					add(strings.Split(dir, "/")[0])
				}
			}
		}
		for _, d := range u.dirs {
			if d.parent == o.parent {
				add(d.name)
			}
		}
		if len(names) > 0 {
			fmt.Fprintf(out, "%s=%s\n%s", o.setting, strings.Join(names, " "), strings.Join(binds, ""))
		}
	}
}

// quotePath returns a path as settings of mounts take it.
func quotePath(p string) string { return strings.ReplaceAll(escape(p), ":", `\:`) }
