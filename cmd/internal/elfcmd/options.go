package elfcmd

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// options is one call of the command: what to print, what to change, of
// which files.
type options struct {
	files []string

	printInterpreter, printOSABI, printSoname, printRPath, printExecStack, printNeeded bool

	interpreter               string
	osabi                     *elf.OSABI
	soname                    *string
	clearExecStack, execStack bool

	shrinkRPath, removeRPath, forceRPath bool
	setRPath, addRPath                   *string
	rpathPrefixes                        []string // of --shrink-rpath

	setNeeded               []string // nil: not given
	addNeeded, removeNeeded []string
	replaceNeeded           map[string]string

	noDefaultLib, debugTag bool
	resolutionCache        bool
	clearVersions          []string
	renameSymbols          map[string]string
	pageSize               uint64

	output, savePatch, undo string
	dryRun, sync, debug     bool
	json, quiet             bool
	root                    string
	showHelp, showVersion   bool
	addRPaths               int    // how often --add-rpath was given
	unknown                 string // the first argument that looks like an option and is none
}

// Option is one option of the command, as its help lists it.
type Option struct {
	Name   string   // without the dashes
	Values []string // what its values are called
	Help   string
}

// Options returns the options in the order of the help, without those that every
// command of hashpkg has.
func Options() []Option {
	var list []Option
	for _, option := range optionTable() {
		if option.help != "" {
			list = append(list, Option{option.name, option.values, option.help})
		}
	}
	return list
}

// option is one option with what it does.
type option struct {
	name   string
	short  string
	values []string // what its values are called
	help   string   // "" for another spelling of an option, which no help lists
	global bool     // every command has it
	set    func(o *options, v []string) error
}

// optionTable is in the order of the help. The names up to debug are
// patchelf's, with their meanings.
func optionTable() []option {
	flag := func(name, help string, at func(o *options) *bool) option {
		return option{name: name, help: help, set: func(o *options, _ []string) error {
			*at(o) = true
			return nil
		}}
	}
	text := func(name, value, help string, set func(o *options, v string)) option {
		return option{name: name, values: []string{value}, help: help, set: func(o *options, v []string) error {
			set(o, v[0])
			return nil
		}}
	}
	return []option{
		text("set-interpreter", "FILENAME", "make FILENAME the program's ELF interpreter", func(o *options, v string) { o.interpreter = v }),
		text("interpreter", "FILENAME", "", func(o *options, v string) { o.interpreter = v }),
		{name: "page-size", values: []string{"SIZE"}, help: "align a segment that is added to SIZE", set: setPageSize},
		flag("print-interpreter", "print the program's ELF interpreter", func(o *options) *bool { return &o.printInterpreter }),
		flag("print-os-abi", "print the OS ABI of the file header", func(o *options) *bool { return &o.printOSABI }),
		{name: "set-os-abi", values: []string{"ABI"}, help: "set the OS ABI of the file header", set: setOSABI},
		flag("print-soname", "print DT_SONAME, or nothing where there is none", func(o *options) *bool { return &o.printSoname }),
		text("set-soname", "SONAME", "set DT_SONAME of a library", func(o *options, v string) { o.soname = &v }),
		text("set-rpath", "RPATH", "set DT_RUNPATH", func(o *options, v string) { o.setRPath = &v }),
		text("add-rpath", "RPATH", "add the directories of RPATH to the end of DT_RUNPATH", func(o *options, v string) {
			o.addRPath = &v
			o.addRPaths++
		}),
		flag("remove-rpath", "remove DT_RUNPATH and DT_RPATH", func(o *options) *bool { return &o.removeRPath }),
		flag("shrink-rpath", "remove the directories from DT_RUNPATH that hold no needed library", func(o *options) *bool { return &o.shrinkRPath }),
		text("allowed-rpath-prefixes", "PREFIXES", "with --shrink-rpath, also remove directories that start with none of PREFIXES",
			func(o *options, v string) { o.rpathPrefixes = strings.Split(v, ":") }),
		flag("print-rpath", "print DT_RUNPATH, or DT_RPATH, or an empty line", func(o *options) *bool { return &o.printRPath }),
		flag("force-rpath", "with the options above, make DT_RPATH in place of DT_RUNPATH", func(o *options) *bool { return &o.forceRPath }),
		text("add-needed", "LIBRARY", "add a DT_NEEDED before the others (may be repeated)", func(o *options, v string) { o.addNeeded = append(o.addNeeded, v) }),
		text("remove-needed", "LIBRARY", "remove a DT_NEEDED (may be repeated)", func(o *options, v string) { o.removeNeeded = append(o.removeNeeded, v) }),
		{
			name: "replace-needed", values: []string{"LIBRARY", "NEW"}, help: "replace a DT_NEEDED, and its name among the symbol versions (may be repeated)",
			set: func(o *options, v []string) error {
				if o.replaceNeeded == nil {
					o.replaceNeeded = make(map[string]string)
				}
				o.replaceNeeded[v[0]] = v[1]
				return nil
			},
		},
		flag("print-needed", "print each DT_NEEDED", func(o *options) *bool { return &o.printNeeded }),
		flag("no-default-lib", "set DF_1_NODEFLIB: do not search the default directories", func(o *options) *bool { return &o.noDefaultLib }),
		flag("no-sort", "accepted for patchelf's sake: nothing is sorted", func(*options) *bool { return new(bool) }),
		flag("no-clobber-old-sections", "accepted for patchelf's sake: old bytes are never overwritten", func(*options) *bool { return new(bool) }),
		text("clear-symbol-version", "SYMBOL", "take the version from a dynamic symbol (may be repeated)", func(o *options, v string) { o.clearVersions = append(o.clearVersions, v) }),
		flag("add-debug-tag", "add DT_DEBUG where there is none", func(o *options) *bool { return &o.debugTag }),
		flag("build-resolution-cache", "write the note that says where each needed library is found, for a C library that reads it (Nixpkgs')",
			func(o *options) *bool { return &o.resolutionCache }),
		flag("print-execstack", "print whether the stack is executable: X, -, or ? where nothing says so", func(o *options) *bool { return &o.printExecStack }),
		flag("clear-execstack", "make the stack not executable", func(o *options) *bool { return &o.clearExecStack }),
		flag("set-execstack", "make the stack executable", func(o *options) *bool { return &o.execStack }),
		{name: "rename-dynamic-symbols", values: []string{"FILE"}, help: "rename dynamic symbols; each line of FILE has an old and a new name", set: readSymbolMap},
		text("output", "FILE", "write the result there, and leave the one file as it is", func(o *options, v string) { o.output = v }),
		flag("debug", "print details to standard error", func(o *options) *bool { return &o.debug }),
		flag("version", "print the version of patchelf that this is made after", func(o *options) *bool { return &o.showVersion }),

		{name: "set-needed", values: []string{"LIBRARIES"}, help: "make these all of DT_NEEDED, in this order, separated by commas", set: setNeeded},
		text("save-patch", "PATCH", "write what was changed in the one file to the new file PATCH", func(o *options, v string) { o.savePatch = v }),
		text("undo", "PATCH", "undo the changes of PATCH in the one file", func(o *options, v string) { o.undo = v }),
		flag("dry-run", "print what would change, and change nothing", func(o *options) *bool { return &o.dryRun }),
		flag("sync", "wait until each new file is on the disk before it takes its place", func(o *options) *bool { return &o.sync }),

		{name: "help", short: "h", global: true, set: flag("", "", func(o *options) *bool { return &o.showHelp }).set},
		{name: "json", global: true, set: flag("", "", func(o *options) *bool { return &o.json }).set},
		{name: "quiet", short: "q", global: true, set: flag("", "", func(o *options) *bool { return &o.quiet }).set},
		{name: "verbose", short: "v", global: true, set: flag("", "", func(o *options) *bool { return &o.debug }).set},
		{name: "root", values: []string{"DIR"}, global: true, set: text("", "", "", func(o *options, v string) { o.root = v }).set},
		{name: "prefix", values: []string{"PREFIX"}, global: true, set: text("", "", "", func(*options, string) {}).set},
	}
}

// parseArgs reads a command line as patchelf does: options and files in any
// order, of an option that is repeated the last counts unless it makes a list.
// Beyond that it takes --option=value, and -- before files. It stops at --help
// and --version.
func parseArgs(args []string) (*options, error) {
	byName := make(map[string]option)
	for _, option := range optionTable() {
		byName["--"+option.name] = option
		if option.short != "" {
			byName["-"+option.short] = option
		}
	}
	o := new(options)
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			o.files = append(o.files, args[i+1:]...)
			break
		}
		option, known := byName[arg]
		var values []string
		if !known && strings.HasPrefix(arg, "-") && len(arg) > 1 {
			name, value, _ := strings.Cut(arg, "=")
			if option, known = byName[name]; known && len(option.values) != 1 {
				return nil, fmt.Errorf("option %s: it does not take its values with =", name)
			}
			values = []string{value}
			if _, err := os.Lstat(arg); !known && err != nil && o.unknown == "" {
				o.unknown = arg
			}
		}
		if !known {
			o.files = append(o.files, arg)
			continue
		}
		if values == nil {
			n := len(option.values)
			if len(args)-i-1 < n {
				return nil, fmt.Errorf("option %s: missing argument; it takes %s", arg, strings.Join(option.values, " "))
			}
			values = args[i+1 : i+1+n]
			i += n
		}
		if err := option.call(o, values); err != nil {
			return nil, fmt.Errorf("option %s: %w", arg, err)
		}
		if o.showHelp || o.showVersion {
			return o, nil
		}
	}
	return o, o.check()
}

// call sets an option, with @FILE replaced by what the file holds.
func (option *option) call(o *options, values []string) error {
	resolved := make([]string, len(values))
	for i, v := range values {
		resolved[i] = v
		if strings.HasPrefix(v, "@") && !option.global && option.name != "rename-dynamic-symbols" {
			var err error
			if resolved[i], err = readValue(v[1:]); err != nil {
				return err
			}
		}
	}
	return option.set(o, resolved)
}

// maxValue bounds the file of a value, and of a symbol map, in bytes.
const maxValue = 1 << 24

// readValue reads a value from a file. One line break at its end is left out: no
// name ends with it, and every editor writes it.
func readValue(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("read its value: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxValue+1))
	if err != nil {
		return "", fmt.Errorf("read its value: %w", err)
	}
	if len(b) > maxValue {
		return "", fmt.Errorf("read its value: %s has more than %d bytes", name, maxValue)
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}

// check refuses what contradicts itself.
func (o *options) check() error {
	one := func(option string) error {
		return fmt.Errorf("%s option only allowed with single input file", option)
	}
	switch {
	case o.unknown != "":
		return fmt.Errorf("%s: no such option, and no such file", o.unknown)
	case len(o.files) == 0:
		return errors.New("missing filename")
	case o.output != "" && len(o.files) != 1:
		return one("--output")
	case o.savePatch != "" && len(o.files) != 1:
		return one("--save-patch")
	case o.undo != "" && len(o.files) != 1:
		return one("--undo")
	case o.setRPath != nil && o.addRPath != nil:
		return errors.New("--set-rpath option not allowed with --add-rpath")
	case o.resolutionCache && o.forceRPath:
		return errors.New("--build-resolution-cache option not allowed with --force-rpath")
	case o.undo != "" && (o.edits() || o.savePatch != ""):
		return errors.New("--undo option not allowed with an option that changes the file, or --save-patch")
	}
	for _, path := range []*string{o.setRPath, o.addRPath} {
		if path == nil || !strings.Contains(*path, ":") {
			continue
		}
		// Who names a directory like this means it, and would get two others.
		if info, err := os.Stat(*path); err == nil && info.IsDir() {
			return fmt.Errorf("the directory %q holds a colon, which ends a directory in a search path", *path)
		}
	}
	return nil
}

// edits reports whether an option was given that can change a file.
func (o *options) edits() bool {
	return o.interpreter != "" || o.osabi != nil || o.soname != nil || o.clearExecStack || o.execStack ||
		o.shrinkRPath || o.removeRPath || o.setRPath != nil || o.addRPath != nil ||
		o.setNeeded != nil || len(o.addNeeded)+len(o.removeNeeded)+len(o.replaceNeeded) > 0 ||
		o.noDefaultLib || o.debugTag || o.resolutionCache || len(o.clearVersions)+len(o.renameSymbols) > 0
}

// asksNothing reports whether only files are named.
func (o *options) asksNothing() bool {
	return !o.edits() && o.savePatch == "" && o.output == "" && !o.printInterpreter && !o.printOSABI && !o.printSoname && !o.printRPath && !o.printExecStack && !o.printNeeded
}

// needsNames reports whether an option was given that prints or changes names of
// the dynamic section.
func (o *options) needsNames() bool {
	return o.json || o.printSoname || o.printRPath || o.printNeeded || o.soname != nil ||
		o.shrinkRPath || o.removeRPath || o.setRPath != nil || o.addRPath != nil ||
		o.setNeeded != nil || len(o.addNeeded)+len(o.removeNeeded)+len(o.replaceNeeded) > 0 ||
		len(o.clearVersions)+len(o.renameSymbols) > 0 || o.resolutionCache
}

func setPageSize(o *options, v []string) error {
	n, err := strconv.ParseUint(v[0], 10, 32)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is not a size in bytes", v[0])
	}
	o.pageSize = n
	return nil
}

func setNeeded(o *options, v []string) error {
	o.setNeeded = strings.FieldsFunc(v[0], func(c rune) bool { return c == ',' || c == '\n' })
	if len(o.setNeeded) == 0 {
		return errors.New("no library is named; --remove-needed removes one")
	}
	return nil
}

// osabiNames are patchelf's names, by the number in the file header; the first
// is the one that is printed.
func osabiNames() map[elf.OSABI][]string {
	return map[elf.OSABI][]string{
		elf.ELFOSABI_NONE: {"System V", "system-v", "sysv"}, elf.ELFOSABI_HPUX: {"HP-UX"}, elf.ELFOSABI_NETBSD: {"NetBSD"},
		elf.ELFOSABI_LINUX: {"Linux", "gnu"}, elf.ELFOSABI_HURD: {"GNU Hurd", "gnu-hurd", "hurd"}, elf.ELFOSABI_SOLARIS: {"Solaris"},
		elf.ELFOSABI_AIX: {"AIX"}, elf.ELFOSABI_IRIX: {"IRIX"}, elf.ELFOSABI_FREEBSD: {"FreeBSD"}, elf.ELFOSABI_TRU64: {"Tru64"},
		elf.ELFOSABI_OPENBSD: {"OpenBSD"}, elf.ELFOSABI_OPENVMS: {"OpenVMS"},
	}
}

func osabiName(abi elf.OSABI) string {
	if names := osabiNames()[abi]; names != nil {
		return names[0]
	}
	return fmt.Sprintf("0x%02X", byte(abi))
}

func setOSABI(o *options, v []string) error {
	for abi, names := range osabiNames() {
		for _, name := range names {
			if strings.EqualFold(name, strings.TrimSpace(v[0])) {
				o.osabi = &abi
				return nil
			}
		}
	}
	return fmt.Errorf("unrecognized OS ABI %q", v[0])
}

// readSymbolMap reads pairs of names, one on a line, as patchelf does: the first
// empty line ends them.
func readSymbolMap(o *options, v []string) error {
	f, err := os.Open(v[0])
	if err != nil {
		return fmt.Errorf("cannot open map file: %w", err)
	}
	defer f.Close()
	o.renameSymbols = make(map[string]string)
	lines := bufio.NewScanner(io.LimitReader(f, maxValue))
	for n := 1; lines.Scan(); n++ {
		names := strings.Fields(lines.Text())
		if len(names) == 0 {
			break
		}
		at := fmt.Sprintf("%s:%d", v[0], n)
		if len(names) == 1 {
			return fmt.Errorf("%s: Map file line is missing the second element", at)
		}
		if _, twice := o.renameSymbols[names[0]]; twice {
			return fmt.Errorf("%s: Name '%s' appears twice in the map file", at, names[0])
		}
		if strings.Contains(names[0]+names[1], "@") {
			return fmt.Errorf("%s: Name pair contains version tag: %s %s", at, names[0], names[1])
		}
		o.renameSymbols[names[0]] = names[1]
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read map file: %w", err)
	}
	return nil
}
