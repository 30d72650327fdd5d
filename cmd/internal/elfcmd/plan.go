package elfcmd

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/mapped"
)

// filePlan is what one file shall become.
type filePlan struct {
	changes  elfedit.Changes
	expected elfedit.Info  // what Inspect says of the edited file
	cache    *elfedit.Note // the resolution cache that the file shall have
	inspect  func(data []byte) (*elfedit.Info, error)
	warnings []string
}

// plan applies the options to one file as patchelf does: each kind of change
// once, in patchelf's order, whatever the order on the command line.
func (o *options) plan(info *elfedit.Info) (*filePlan, error) {
	p := &filePlan{expected: *info}
	p.changes.PageSize = o.pageSize
	if o.osabi != nil {
		p.changes.OSABI, p.expected.OSABI = o.osabi, *o.osabi
	}
	if o.soname != nil && info.Type == elf.ET_DYN { // patchelf passes over programs that are not position-independent
		p.changes.Soname, p.expected.Soname = o.soname, *o.soname
	}
	if o.interpreter != "" {
		if info.Interpreter == "" {
			return nil, errNoInterpreter
		}
		p.changes.Interpreter, p.expected.Interpreter = &o.interpreter, o.interpreter
	}
	if stack := o.clearExecStack || o.execStack; stack && !o.printExecStack {
		executable := !o.clearExecStack
		p.changes.ExecStack, p.expected.ExecStack, p.expected.HasStack = &executable, executable, true
	}
	if err := o.planPath(info, p); err != nil {
		return nil, err
	}
	if err := o.planNeeded(info, p); err != nil {
		return nil, err
	}
	if o.noDefaultLib {
		p.changes.NoDefaultLib, p.expected.NoDefault = &o.noDefaultLib, true
	}
	p.changes.DebugTag = o.debugTag
	p.changes.ClearSymbolVersions = o.clearVersions
	p.changes.RenameSymbols = o.renameSymbols
	if err := o.planCache(info, p); err != nil {
		return nil, err
	}
	p.inspect = o.inspect
	return p, nil
}

// make makes the edit. What patchelf does, too, is done with a warning where it
// costs the file some of its protection.
func (p *filePlan) make(data []byte) (elfedit.Edit, error) {
	e, err := elfedit.Make(data, p.changes)
	if !errors.Is(err, elfedit.ErrLeavesRelRO) {
		return e, err
	}
	p.changes.MayLeaveRelRO = true
	p.expected.DynamicRelRO = false
	p.warnings = append(p.warnings, fmt.Sprintf("its dynamic section stays writable from now on: there is room for %d entries more where it is protected (RELRO), and not for these", p.expected.DynamicRoom))
	return elfedit.Make(data, p.changes)
}

// check compares an edited file with the plan.
func (p *filePlan) check(data []byte) error {
	got, err := p.inspect(data)
	if err != nil {
		return fmt.Errorf("the edited file cannot be read: %w", err)
	}
	p.expected.DynamicRoom = got.DynamicRoom
	if others, cache := splitCache(got.Notes); reflect.DeepEqual(cache, p.cache) {
		if wanted, _ := splitCache(p.expected.Notes); reflect.DeepEqual(others, wanted) {
			p.expected.Notes = got.Notes
		}
	}
	expected := p.expected
	expected.Musl = got.Musl           // it follows from the interpreter and the needed libraries
	expected.AsksWhere = got.AsksWhere // a search path that was added may name $ORIGIN, and bytes that are not used any more stay
	if len(p.changes.RenameSymbols) > 0 {
		expected.ImportsOpen, expected.ImportsWhere = got.ImportsOpen, got.ImportsWhere
	}
	if reflect.DeepEqual(*got, expected) {
		return nil
	}
	a, b := reflect.ValueOf(*got), reflect.ValueOf(expected)
	for i := range a.NumField() {
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			return fmt.Errorf("the edited file is not what was planned: %s is %v, and should be %v",
				a.Type().Field(i).Name, a.Field(i), b.Field(i))
		}
	}
	return nil
}

// searchPath is DT_RUNPATH, or DT_RPATH where there is no other.
func searchPath(info *elfedit.Info) (dirs string, found bool) {
	if info.HasRunPath {
		return info.RunPath, true
	}
	return info.RPath, info.HasRPath
}

// planPath plans the search path. Of several changes patchelf makes the first
// of: shrink, remove, set, add.
func (o *options) planPath(info *elfedit.Info, p *filePlan) error {
	if !o.shrinkRPath && !o.removeRPath && o.setRPath == nil && o.addRPath == nil {
		return nil
	}
	if !info.HasDynamic {
		return errNoDynamic
	}
	dirs, found := searchPath(info)
	switch {
	case o.shrinkRPath && !found:
		return nil
	case o.shrinkRPath:
		kept, err := o.shrink(info, dirs, p)
		if err != nil {
			return err
		}
		dirs = kept
	case o.removeRPath:
		p.changes.Path = &elfedit.SearchPath{Remove: true}
		p.expected.RPath, p.expected.RunPath, p.expected.HasRPath, p.expected.HasRunPath = "", "", false, false
		return nil
	case o.setRPath != nil:
		dirs = *o.setRPath
	default:
		have := strings.Split(dirs, ":")
		for _, dir := range strings.Split(*o.addRPath, ":") {
			// An empty name is the working directory, which nobody adds on purpose.
			if dir != "" && !slices.Contains(have, dir) {
				have = append(have, dir)
				dirs = strings.TrimPrefix(dirs+":"+dir, ":")
			}
		}
		if dirs == "" && !found {
			return nil
		}
	}
	p.changes.Path = &elfedit.SearchPath{Set: &dirs}
	p.expected.RPath, p.expected.RunPath, p.expected.HasRPath, p.expected.HasRunPath = "", dirs, false, true
	if o.forceRPath {
		p.changes.Path.Form = elfedit.FormRPath
		p.expected.RPath, p.expected.RunPath, p.expected.HasRPath, p.expected.HasRunPath = dirs, "", true, false
	}
	return nil
}

// shrink returns the directories that hold a needed library which none before
// them holds. Names that are not absolute stay, such as $ORIGIN.
func (o *options) shrink(info *elfedit.Info, dirs string, p *filePlan) (string, error) {
	root, err := filepath.Abs(cmp.Or(o.root, "/"))
	if err != nil {
		return "", fmt.Errorf("find the root: %w", err)
	}
	if st, err := os.Stat(root); err == nil && !st.IsDir() {
		return "", fmt.Errorf("the root %s is not a directory", root)
	}
	open := slices.Clone(info.Needed)
	var kept []string
	for _, dir := range strings.Split(dirs, ":") {
		if dir != "" && dir[0] != '/' {
			kept = append(kept, dir)
			continue
		}
		if dir == "" || !hasPrefix(dir, o.rpathPrefixes) {
			continue
		}
		host, err := securejoin.SecureJoin(root, dir) // links lead to what they are in the root
		if err != nil {
			return "", fmt.Errorf("find %s in root %s: %w", dir, root, err)
		}
		n := len(open)
		open = slices.DeleteFunc(open, func(name string) bool { return isLibraryOf(info, path.Join(host, name)) })
		if len(open) < n {
			kept = append(kept, dir)
		} else if info.ImportsOpen && holdsLibrary(host) {
			p.warnings = append(p.warnings, fmt.Sprintf("%s is removed from its search path; it holds libraries, and the file calls dlopen", dir))
		}
	}
	return strings.Join(kept, ":"), nil
}

// hasPrefix reports whether s starts with one of the prefixes, or there are none.
func hasPrefix(s string, prefixes []string) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// isLibraryOf reports whether a file is for the machine of info. No more is read
// than the head.
func isLibraryOf(info *elfedit.Info, name string) bool {
	if st, err := os.Stat(name); err != nil || !st.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [20]byte // up to e_machine, which is at 18 in both classes (gABI, figure 4-3)
	if _, err := io.ReadFull(f, head[:]); err != nil || string(head[:4]) != elf.ELFMAG {
		return false
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if info.Data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	return elf.Class(head[elf.EI_CLASS]) == info.Class && elf.Data(head[elf.EI_DATA]) == info.Data &&
		elf.Machine(order.Uint16(head[18:])) == info.Machine
}

// holdsLibrary reports whether a directory has a name like a library's.
func holdsLibrary(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	return slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, ".so") })
}

// planNeeded plans the list of needed libraries: set, then remove, replace and
// add, as patchelf orders them.
func (o *options) planNeeded(info *elfedit.Info, p *filePlan) error {
	if o.setNeeded == nil && len(o.removeNeeded)+len(o.replaceNeeded)+len(o.addNeeded) == 0 {
		return nil
	}
	if !info.HasDynamic {
		return errNoDynamic
	}
	list := slices.Clone(info.Needed)
	if o.setNeeded != nil {
		list = slices.Clone(o.setNeeded)
	}
	list = slices.DeleteFunc(list, func(name string) bool { return slices.Contains(o.removeNeeded, name) })
	for i, name := range list {
		if renamed, ok := o.replaceNeeded[name]; ok {
			list[i] = renamed
		}
	}
	first := slices.Compact(slices.Sorted(slices.Values(o.addNeeded))) // patchelf's order
	first = slices.DeleteFunc(first, func(name string) bool { return slices.Contains(list, name) })
	list = append(first, list...)

	renamed := make(map[string]string)
	for _, need := range info.VersionNeeds {
		if name, ok := o.replaceNeeded[need.File]; ok {
			renamed[need.File] = name
		} else if name := takesPlaceOf(need.File, o.setNeeded); name != "" && !slices.Contains(list, need.File) {
			renamed[need.File] = name
		}
	}
	if !slices.Equal(list, info.Needed) {
		if list == nil {
			list = []string{}
		}
		p.changes.SetNeeded = list
		p.expected.Needed = list
		if len(list) == 0 {
			p.expected.Needed = nil
		}
	}
	maps.DeleteFunc(renamed, func(from, to string) bool { return from == to })
	if len(renamed) == 0 {
		return nil
	}
	p.changes.VersionFiles = renamed
	p.expected.VersionNeeds = slices.Clone(info.VersionNeeds)
	for i := range p.expected.VersionNeeds {
		if name, ok := renamed[p.expected.VersionNeeds[i].File]; ok {
			p.expected.VersionNeeds[i].File = name
		}
	}
	return nil
}

// takesPlaceOf returns the path in list under which a library is loaded that is
// known as soname: one with that base name, else a file with that soname.
func takesPlaceOf(soname string, list []string) string {
	for _, name := range list {
		if strings.Contains(name, "/") && path.Base(name) == soname {
			return name
		}
	}
	for _, name := range list {
		if !path.IsAbs(name) {
			continue
		}
		var is bool
		err := mapped.Open(name, func(data []byte) error {
			info, err := elfedit.Inspect(data)
			is = err == nil && info.Soname == soname
			return err
		})
		if err == nil && is {
			return name
		}
	}
	return ""
}
