package elfedit

import (
	"debug/elf"
	"slices"
)

// Dynamic tags that debug/elf does not name, or not for every machine.
const (
	tagConfig    = elf.DynTag(0x6ffffefa)
	tagDepAudit  = elf.DynTag(0x6ffffefb)
	tagAudit     = elf.DynTag(0x6ffffefc)
	tagAuxiliary = elf.DynTag(0x7ffffffd)
	tagFilter    = elf.DynTag(0x7fffffff)

	// DT_MIPS_RLD_MAP_REL is a distance from its own entry; DT_MIPS_XHASH
	// replaces DT_GNU_HASH.
	tagMIPSRldMapRel = elf.DynTag(0x70000035)
	tagMIPSXHash     = elf.DynTag(0x70000036)
)

// dynString is a dynamic entry that is being edited.
type dynString struct {
	tag   elf.DynTag
	value uint64
	text  *string // what value shall refer to, where that changes
	from  int     // index in the entries as they were, -1 for a new one
}

// changeDynamic makes the new list of dynamic entries.
func (e *editor) changeDynamic() error {
	if e.dynProg < 0 {
		return nil
	}
	for i, d := range e.dyn {
		e.newDyn = append(e.newDyn, dynString{tag: d.tag, value: d.value, from: i})
	}
	if !e.changes.touchesDynamic() {
		return nil
	}
	var soname *string
	if e.table != nil {
		var err error
		if soname, err = e.dynText(elf.DT_SONAME); err != nil {
			return err
		}
	}
	isLoader := soname != nil && isLoaderName(*soname) && e.region(regionInterp) == nil
	for _, change := range []func() error{e.changePath, e.changeNeeded, e.changeSoname, e.changeFlags} {
		if err := change(); err != nil {
			return err
		}
	}
	if isLoader && e.dynEdit {
		return refused("the dynamic loader starts only with the dynamic section that it was linked with")
	}
	if e.info().IsStaticPIE() && e.dynEdit {
		// glibc's start-up code stops at a DT_RUNPATH (elf/get-dynamic-info.h).
		return refused("the file is linked statically: it loads no libraries, and may not start with a changed dynamic section")
	}
	return nil
}

// dynText returns the string of the last entry with the tag, nil without one.
func (e *editor) dynText(tag elf.DynTag) (*string, error) {
	at, ok := e.dynValue(tag)
	if !ok {
		return nil, nil
	}
	if e.table == nil {
		return nil, e.noStringTable()
	}
	text, err := e.table.text(at, "a string of the dynamic section")
	return &text, err
}

// setText makes one entry with the tag refer to a string, and drops others.
func (e *editor) setText(tag elf.DynTag, text string) {
	last := -1
	for i, d := range e.newDyn {
		if d.tag == tag {
			last = i
		}
	}
	if last < 0 {
		e.newDyn = append(e.newDyn, dynString{tag: tag, text: &text, from: -1})
	} else {
		e.newDyn[last].text = &text
	}
	e.dynEdit = true
}

func (e *editor) dropTag(tag elf.DynTag) {
	n := len(e.newDyn)
	e.newDyn = slices.DeleteFunc(e.newDyn, func(d dynString) bool { return d.tag == tag })
	e.dynEdit = e.dynEdit || len(e.newDyn) != n
}

func (e *editor) changePath() error {
	p := e.changes.Path
	if p == nil {
		return nil
	}
	runpath, err := e.dynText(elf.DT_RUNPATH)
	if err != nil {
		return err
	}
	rpath, err := e.dynText(elf.DT_RPATH)
	if err != nil {
		return err
	}
	was := runpath
	if was == nil {
		was = rpath
	}
	path, found := "", was != nil
	if found {
		path = *was
	}
	path, found = p.apply(path, found)
	if len(path) > maxName {
		return refused("the search path has %d bytes; %d are the most", len(path), maxName)
	}
	tag, other, have := elf.DT_RUNPATH, elf.DT_RPATH, runpath
	if p.Form == FormRPath || p.Form == FormAsFound && runpath == nil && rpath != nil {
		tag, other, have = elf.DT_RPATH, elf.DT_RUNPATH, rpath
	}
	if !found {
		e.dropTag(tag)
		e.dropTag(other)
		return nil
	}
	// The entry of the other form changes its tag and keeps its place.
	if have == nil && was != nil {
		for i, d := range e.newDyn {
			if d.tag == other {
				e.newDyn[i].tag = tag
				e.dynEdit = true
			}
		}
	}
	e.dropTag(other)
	if was == nil || *was != path {
		e.setText(tag, path)
	}
	return nil
}

func (e *editor) changeNeeded() error {
	c := e.changes
	if c.SetNeeded == nil && len(c.ReplaceNeeded)+len(c.RemoveNeeded)+len(c.AddNeededFirst)+len(c.AddNeededLast) == 0 {
		return nil
	}
	var old []string
	for _, d := range e.dyn {
		if d.tag == elf.DT_NEEDED {
			if e.table == nil {
				return e.noStringTable()
			}
			text, err := e.table.text(d.value, "a needed library's name")
			if err != nil {
				return err
			}
			old = append(old, text)
		}
	}
	list := c.needed(old)
	if slices.Equal(old, list) {
		return nil
	}
	e.dynEdit = true
	// Entries whose library stays keep their string.
	byName := make(map[string]dynString)
	at := -1
	for i, d := range e.newDyn {
		if d.tag == elf.DT_NEEDED {
			if at < 0 {
				at = i
			}
			text, err := e.table.text(d.value, "a needed library's name")
			if err != nil {
				return err
			}
			byName[text] = d
		}
	}
	e.dropTag(elf.DT_NEEDED)
	entries := make([]dynString, 0, len(list))
	for _, name := range list {
		d, ok := byName[name]
		if !ok {
			d = dynString{tag: elf.DT_NEEDED, text: &name, from: -1}
		}
		delete(byName, name)
		entries = append(entries, d)
	}
	e.newDyn = slices.Insert(e.newDyn, max(at, 0), entries...)
	return nil
}

func (e *editor) changeSoname() error {
	if e.changes.Soname == nil {
		return nil
	}
	was, err := e.dynText(elf.DT_SONAME)
	if err != nil {
		return err
	}
	if was == nil || *was != *e.changes.Soname {
		e.setText(elf.DT_SONAME, *e.changes.Soname)
	}
	return nil
}

func (e *editor) changeFlags() error {
	if e.changes.DebugTag {
		if _, ok := e.dynValue(elf.DT_DEBUG); !ok {
			e.newDyn = append(e.newDyn, dynString{tag: elf.DT_DEBUG, from: -1})
			e.dynEdit = true
		}
	}
	if e.changes.NoDefaultLib == nil {
		return nil
	}
	flags, _ := e.dynValue(elf.DT_FLAGS_1)
	want := flags &^ uint64(elf.DF_1_NODEFLIB)
	if *e.changes.NoDefaultLib {
		want |= uint64(elf.DF_1_NODEFLIB)
	}
	if want == flags {
		return nil
	}
	e.dynEdit = true
	for i := len(e.newDyn) - 1; i >= 0; i-- {
		if e.newDyn[i].tag == elf.DT_FLAGS_1 {
			e.newDyn[i].value = want
			return nil
		}
	}
	e.newDyn = append(e.newDyn, dynString{tag: elf.DT_FLAGS_1, value: want, from: -1})
	return nil
}

// wantDynamic registers the dynamic entries' references to strings: those
// that change, and those behind the mark.
func (e *editor) wantDynamic() error {
	for i := range e.newDyn {
		d := &e.newDyn[i]
		if d.text == nil && isStringTag(d.tag) && e.table.isOurs(d.value) {
			text, err := e.table.text(d.value, "a string of the dynamic section")
			if err != nil {
				return err
			}
			d.text = &text
		}
		if d.text != nil {
			e.table.want(*d.text, func(offset uint32) { e.newDyn[i].value = uint64(offset) })
		}
	}
	return nil
}

// setDynAddress changes the value of the entries with the tag.
func (e *editor) setDynAddress(tag elf.DynTag, value uint64) {
	for i := range e.newDyn {
		if e.newDyn[i].tag == tag {
			e.newDyn[i].value = value
		}
	}
}

// dynContent returns the dynamic section as it shall be, of the region's size.
func (e *editor) dynContent(r *region) []byte {
	size := e.dynSize()
	content := make([]byte, r.newSize)
	// What stands behind the last entry is not ours to clear.
	copy(content, e.data[r.off:r.off+r.size])
	for i, d := range e.newDyn {
		value := d.value
		if d.tag == tagMIPSRldMapRel && isMIPS(e.machine) && d.from >= 0 {
			// The place that it leads to stays; the entry may not.
			value += r.addr + uint64(d.from)*size
			value -= r.newAddr + uint64(i)*size
		}
		e.putDyn(content[uint64(i)*size:], d.tag, value)
	}
	last := max(len(e.newDyn)+1, len(e.dyn)+1)
	clear(content[uint64(len(e.newDyn))*size : min(uint64(last)*size, r.newSize)])
	return content
}

func isMIPS(m elf.Machine) bool { return m == elf.EM_MIPS || m == elf.EM_MIPS_RS3_LE }
