package deb

import (
	"slices"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// scriptTools are packages, and what such packages provide, that maintainer scripts
// call and programs do not, each with the source packages whose programs do. A control
// file has no word for the difference.
//
// Interpreters (perl-base, python3) are not among them, nor what is Essential because
// programs call it without a word (bash, coreutils).
var scriptTools = map[string][]string{
	"adduser":                     {"adduser"},
	"base-files":                  {"base-files"},
	"base-passwd":                 {"base-passwd"},
	"cdebconf":                    {"cdebconf"},
	"dbconfig-common":             {"dbconfig-common"},
	"dbconfig-mysql":              {"dbconfig-common"},
	"dbconfig-no-thanks":          {"dbconfig-common"},
	"dbconfig-pgsql":              {"dbconfig-common"},
	"dbconfig-sqlite3":            {"dbconfig-common"},
	"debconf":                     {"debconf"},
	"debconf-2.0":                 {"debconf", "cdebconf"},
	"dpkg":                        {"dpkg"},
	"init-system-helpers":         {"init-system-helpers"},
	"install-info":                {"texinfo"},
	"lsb-base":                    {"lsb", "sysvinit"}, // functions of init scripts
	"opensysusers":                {"opensysusers"},
	"runit-helper":                {"dh-runit"},
	"systemd-standalone-sysusers": {"systemd"},
	"systemd-standalone-tmpfiles": {"systemd"},
	"systemd-sysusers":            {"systemd"},
	"systemd-tmpfiles":            {"systemd"},
	"sysvinit-utils":              {"sysvinit"}, // has the functions of lsb-base since trixie
	"ucf":                         {"ucf"},
	"update-inetd":                {"update-inetd"},
	"usr-is-merged":               {"usrmerge"},
	"usrmerge":                    {"usrmerge"},
}

// splitRequires tells the relations that programs of p need from those that only its
// maintainer scripts do: those of which an alternative is a tool of scripts that p was
// not built together with.
func splitRequires(p *pkginfo.Package) (programs, scripts []pkginfo.Relation) {
	source := p.Source
	if source == "" {
		source = p.Name
	}
	isForScripts := func(r pkginfo.Relation) bool {
		return slices.ContainsFunc(r.Alternatives, func(c pkginfo.Constraint) bool {
			sources, ok := scriptTools[c.Name]
			return ok && !slices.Contains(sources, source)
		})
	}
	if !slices.ContainsFunc(p.Requires, isForScripts) {
		return p.Requires, nil
	}
	for _, r := range p.Requires {
		if isForScripts(r) {
			scripts = append(scripts, r)
		} else {
			programs = append(programs, r)
		}
	}
	return programs, scripts
}
