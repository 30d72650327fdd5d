package audit

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/ldso"
)

// paths says what is wrong with the paths that the file holds: of the interpreter, of needed libraries, and
// those that are searched.
func (a *auditor) paths() error {
	info := a.file.Object.Info
	switch {
	case info.Interpreter == "":
	case !path.IsAbs(info.Interpreter):
		a.add(relativeInterpreter, "the kernel looks for the interpreter %s in the directory in which the program is started", info.Interpreter)
	case !a.isOurs(info.Interpreter) && !isStandardInterpreter(info.Interpreter):
		a.add(foreignInterpreter, "the interpreter %s is neither the system's nor of the package", info.Interpreter)
	}
	for _, name := range slices.Concat(info.Needed, info.Filter) {
		switch {
		case !strings.Contains(name, "/") || hasOrigin(name):
		case !path.IsAbs(name) && !strings.HasPrefix(name, "$"):
			a.add(relativeNeeded, "it needs %s, which is looked for in the directory in which the program is started", name)
		case path.IsAbs(name) && !a.isOurs(name):
			a.add(absoluteNeeded, "it needs %s by its path, which is not the package's", name)
		}
	}
	if info.HasRPath && !info.HasRunPath {
		a.add(rpath, "it has the DT_RPATH %s", info.RPath)
	}
	list, has := info.RunPath, info.HasRunPath
	if !has {
		list, has = info.RPath, info.HasRPath
	}
	if !has {
		return nil
	}
	defaults, err := a.world.SearchDirs(info)
	if err != nil {
		return err
	}
	for dir := range strings.SplitSeq(list, ":") {
		a.searchDir(dir, defaults)
	}
	return nil
}

// searchDir says what is wrong with one directory of a search path.
func (a *auditor) searchDir(dir string, defaults []string) {
	switch {
	case dir == "":
		a.add(runpathEmpty, "the search path has an empty entry, which is the directory in which the program is started")
		return
	case hasOrigin(dir):
		own := path.Dir(a.file.Object.Path)
		expanded := path.Clean(originIn(dir, own))
		// What the program itself stands in is for others to judge.
		if !isBelow(own, homes) && !isBelow(own, writable) && !a.isBuildDir(own) && a.world.Owned(own) == "" && a.unsafe(dir, expanded) {
			return
		}
		if !strings.Contains(expanded, "$") && !strings.HasPrefix(expanded, a.world.Prefix()+"/") && !a.subject.has(expanded) && !a.world.Exists(expanded) {
			a.add(runpathAbsent, "there is no %s (%s)", dir, expanded)
		}
		return
	case strings.HasPrefix(dir, "$"): // $LIB, $PLATFORM
		a.add(runpathRelative, "the search path has %s, which is not absolute", dir)
		return
	case !path.IsAbs(dir):
		a.add(runpathRelative, "the search path has %s, which is looked for in the directory in which the program is started", dir)
		return
	}
	clean := path.Clean(dir)
	switch {
	case a.unsafe(dir, clean):
	case slices.Contains(defaults, a.world.Final(clean)) || slices.Contains(defaults, clean):
		a.add(runpathDefault, "the search path has %s, which is searched anyway", dir)
	case a.isOurs(clean):
	case !a.world.Exists(clean):
		a.add(runpathAbsent, "there is no %s", dir)
	case a.subject.IsPackage:
		a.add(runpathOutside, "the search path has %s, which is not the package's", dir)
	}
}

// unsafe says that others than root can put libraries into a directory of a search path, if they can.
func (a *auditor) unsafe(dir, clean string) bool {
	switch who := a.world.Owned(clean); {
	case a.isBuildDir(clean):
		a.add(runpathBuild, "the search path has %s, in which packages are built", dir)
	case isBelow(clean, homes):
		a.add(runpathHome, "the search path has %s, which is somebody's home", dir)
	case isBelow(clean, writable):
		a.add(runpathWritable, "the search path has %s, in which everybody can put libraries", dir)
	case who != "":
		a.add(runpathWritable, "the search path has %s, in which %s can put libraries", dir, who)
	default:
		return false
	}
	return true
}

// isOurs reports whether a path is of the subject, or below the prefix, where trees refer to each other.
func (a *auditor) isOurs(name string) bool {
	name = path.Clean(name)
	return a.subject.has(name) || a.subject.has(a.world.Final(name)) || strings.HasPrefix(name, a.world.Prefix()+"/")
}

// Directories that nobody's package may search.
var (
	homes    = []string{"/home", "/root"}
	writable = []string{"/tmp", "/var/tmp", "/dev/shm", "/run/user"}
	builds   = []string{"/build", "/builddir", "/buildroot", "/usr/src", "/var/lib/buildd", "/var/cache/pbuilder", "/github/workspace"}
)

// buildDir matches the directories in which rpmbuild and others work, wherever these stand.
var buildDir = regexp.MustCompile(`/(BUILDROOT|BUILD|rpmbuild|debian/tmp|CMakeFiles|\.libs)(/|$)`)

func (a *auditor) isBuildDir(dir string) bool {
	staged := a.subject.StagedAt
	return isBelow(dir, builds) || buildDir.MatchString(dir) || staged != "" && staged != "/" && isBelow(dir, []string{staged})
}

// isBelow reports whether a path is one of the directories, or below one.
func isBelow(name string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") })
}

func hasOrigin(dir string) bool {
	return strings.Contains(dir, "$ORIGIN") || strings.Contains(dir, "${ORIGIN}")
}

func originIn(dir, origin string) string {
	return strings.NewReplacer("${ORIGIN}", origin, "$ORIGIN", origin).Replace(dir)
}

// standardInterpreter matches the paths that the loaders of glibc and musl have by their ABIs
// (glibc, shlib-versions and the ld-linux names of sysdeps; musl, ldso's LDSO_PATHNAME).
var standardInterpreter = regexp.MustCompile(`^(/usr)?/lib(32|64|x32)?/(ld-linux[-a-z0-9_.]*\.so\.[0-9]|ld64\.so\.[0-9]|ld\.so\.1|ld-musl-[a-z0-9_-]+\.so\.1|ld-lsb[-a-z0-9]*\.so\.[0-9])$`)

func isStandardInterpreter(name string) bool { return standardInterpreter.MatchString(name) }

// isPublic reports whether a library stands where every program of its ABI finds it.
func (a *auditor) isPublic() (bool, error) {
	return isPublic(a.world, a.file.Object)
}

func isPublic(world World, o *ldso.Object) (bool, error) {
	base := path.Base(o.Path)
	if !strings.HasPrefix(base, "lib") || !strings.Contains(base, ".so") {
		return false, nil
	}
	dirs, err := world.SearchDirs(o.Info)
	return err == nil && slices.Contains(dirs, world.Final(path.Dir(o.Path))), err
}
