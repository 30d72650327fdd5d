package audit

import (
	"path"
	"slices"
)

func base(name string) string { return path.Base(name) }
func dir(name string) string  { return path.Dir(name) }

// Level says how much a finding is worth.
type Level string

// The levels: what would not load, what loads and is unsafe or breaks easily, and what may be meant.
const (
	LevelError   Level = "error"
	LevelWarning Level = "warning"
	LevelNote    Level = "note"
)

func rank(l Level) int { return slices.Index([]Level{LevelError, LevelWarning, LevelNote}, l) }

// Check is one kind of finding.
type Check struct {
	ID    string
	Level Level
	// Title says what is wrong, as a sentence without its end, and Do what to do about it.
	Title, Do string
}

// The names of the checks.
const (
	damagedFile         = "damaged-file"
	missingInterpreter  = "missing-interpreter"
	relativeInterpreter = "relative-interpreter"
	missingLibrary      = "missing-library"
	relativeNeeded      = "relative-needed"
	missingVersion      = "missing-version"
	undefinedSymbol     = "undefined-symbol"
	setuidOrigin        = "setuid-origin"

	libraryElsewhere   = "library-elsewhere"
	unversioned        = "unversioned-library"
	lazySymbol         = "undefined-symbol-lazy"
	loadedTwice        = "loaded-twice"
	foreignInterpreter = "foreign-interpreter"
	absoluteNeeded     = "absolute-needed"
	rpath              = "rpath"
	runpathEmpty       = "runpath-empty"
	runpathRelative    = "runpath-relative"
	runpathBuild       = "runpath-build-dir"
	runpathHome        = "runpath-home"
	runpathWritable    = "runpath-writable"
	runpathOutside     = "runpath-outside"
	textRelocations    = "text-relocations"
	executableStack    = "executable-stack"
	noRelRO            = "no-relro"
	noPIE              = "no-pie"
	noSoname           = "no-soname"
	sonameLink         = "no-soname-link"
	duplicateSoname    = "duplicate-soname"

	runpathDefault = "runpath-default"
	runpathAbsent  = "runpath-absent"
	noBindNow      = "no-bind-now"
	noIBT          = "no-ibt"
	noShadowStack  = "no-shstk"
)

// Checks returns all checks, errors first.
func Checks() []Check {
	const searchPath = "remove the entry (hashpkg elf --set-rpath, or the build's own option), or write it with $ORIGIN"
	return []Check{
		{damagedFile, LevelError, "An executable or library begins as an ELF file does, and cannot be read as one", "build or copy the file anew"},
		{missingInterpreter, LevelError, "The program's interpreter is not there: the kernel does not start it", "have the package require the C library that it was built with, or set another one (hashpkg elf --set-interpreter)"},
		{relativeInterpreter, LevelError, "The path of the interpreter is relative: the program starts in one directory only", "set the path that the ABI has (hashpkg elf --set-interpreter)"},
		{missingLibrary, LevelError, "A needed library is not in the package, in what it requires, or in the root", "have the package require the one that has it, name its directory with --library-dir, or build without it"},
		{relativeNeeded, LevelError, "A needed library is named by a relative path", "give that library a SONAME and link anew, or rename it (hashpkg elf --replace-needed)"},
		{missingVersion, LevelError, "A library has not the symbol version that is wanted of it: the loader ends the program", "have the package require a newer version of that library, or build on an older release"},
		{undefinedSymbol, LevelError, "A symbol is in nothing that is loaded, and the loader binds all at the start (BIND_NOW)", "link with the library that defines it, or require a newer version of that library"},
		{setuidOrigin, LevelError, "A program with rights of its own needs a library that only $ORIGIN leads to, which the loader ignores there", "use an absolute path that only root can write to"},

		{libraryElsewhere, LevelWarning, "A library needs one that the loader does not find, though it is there: who loads it must have loaded the other one before", "add $ORIGIN and the way to it to the library's RUNPATH, unless the program that loads it has loaded the other one by then"},
		{unversioned, LevelWarning, "A library defines no symbol versions, or the reference is weak: the loader warns, and goes on", "link with the build of the library that it will run with"},
		{lazySymbol, LevelWarning, "A symbol is in nothing that is loaded: the process ends when it is used first", "link with the library that defines it (-Wl,-z,defs finds these at build time)"},
		{loadedTwice, LevelWarning, "One library would be loaded twice, as two files, each with its own state", "have all name it in the same way"},
		{foreignInterpreter, LevelWarning, "The interpreter is neither one that an ABI names nor the package's", "set the path that the ABI has (hashpkg elf --set-interpreter)"},
		{absoluteNeeded, LevelWarning, "A library out of the package is needed by its path, so that no other one can take its place", "give that library a SONAME and link anew, or rename it (hashpkg elf --replace-needed)"},
		{rpath, LevelWarning, "The search path is a DT_RPATH, which LD_LIBRARY_PATH cannot change, and which libraries inherit", "link with -Wl,--enable-new-dtags"},
		{runpathEmpty, LevelWarning, "The search path has an empty entry: libraries of the working directory are loaded", searchPath},
		{runpathRelative, LevelWarning, "The search path has a relative directory", searchPath},
		{runpathBuild, LevelWarning, "The search path has a directory in which packages are built", searchPath},
		{runpathHome, LevelWarning, "The search path has a directory of somebody's home", searchPath},
		{runpathWritable, LevelWarning, "Others than root can put libraries into a directory of the search path", searchPath},
		{runpathOutside, LevelWarning, "The search path has a directory that is neither the package's nor searched anyway", searchPath},
		{textRelocations, LevelWarning, "The code is relocated: SELinux forbids that, and no process shares the pages", "compile everything with -fPIC or -fPIE"},
		{executableStack, LevelWarning, "The stack is executable: glibc 2.41 and later do not open such libraries with dlopen", "link with -z noexecstack, and end assembler files with .section .note.GNU-stack"},
		{noRelRO, LevelWarning, "What the loader relocates is not protected afterwards (RELRO)", "link with -Wl,-z,relro"},
		{noPIE, LevelWarning, "The program is no position-independent one", "compile with -fPIE, and link with -pie"},
		{noSoname, LevelWarning, "A library that stands where programs look for it has no SONAME", "link with -Wl,-soname,NAME"},
		{sonameLink, LevelWarning, "The name by which programs ask for a library is not there", "put a link of that name into the package, as ldconfig -n DIR makes it"},
		{duplicateSoname, LevelWarning, "Two libraries of one package have the same SONAME where programs look for them", "keep one of them, or put the other one into a directory of its own"},

		{runpathDefault, LevelNote, "The search path has a directory that is searched anyway", searchPath},
		{runpathAbsent, LevelNote, "The search path has a directory that is not there", searchPath},
		{noBindNow, LevelNote, "Functions are bound lazily, so that their table stays writable", "link with -Wl,-z,now"},
		{noIBT, LevelNote, "It is not marked for indirect branch tracking (CET), which is then off in its processes", "compile everything with -fcf-protection"},
		{noShadowStack, LevelNote, "It is not marked for the shadow stack (CET), which is then off in its processes", "compile everything with -fcf-protection"},
	}
}

// checkOf returns the check of that name; there is one.
func checkOf(id string) Check {
	checks := Checks()
	return checks[slices.IndexFunc(checks, func(c Check) bool { return c.ID == id })]
}
