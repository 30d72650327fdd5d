package programs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/ldso"
)

// compareLoaded resolves the program as it is packaged and as it would be. It
// returns why the edited one must not be used; "" when both load the same libraries,
// but for those that are pinned.
func (d *Decision) compareLoaded(edited *elfedit.Info, pinned followed, finder ldso.Finder, symbols Symbols) (Reason, error) {
	before, err := d.load(d.Info, finder)
	if err != nil {
		return "", err
	}
	after, err := d.load(edited, finder)
	if err != nil {
		return "", err
	}
	d.Loads = ids(before)
	follows := len(pinned.trees) > 0
	switch {
	case !before.Starts() && !follows:
		return "does not start as it is: " + whyNot(before), nil
	case !after.Starts() && !pinned.forced:
		return wouldNotStart + whyNot(after), nil
	case pinned.loads != nil && !slices.Equal(ids(after), pinned.loads):
		return "would load other files than those that it is frozen to", nil
	case follows:
		// A freeze is to what the program loads already.
		if r := twice(after); r != "" || pinned.forced || pinned.loads != nil {
			return r, nil
		}
		return answered(after, symbols)
	}
	return difference(before, after), nil
}

// ids returns what a closure has beside the program and closure objects, by device and inode.
func ids(c *ldso.Closure) (list []string) {
	for _, o := range c.Objects[1:] {
		if !strings.HasPrefix(o.ID, closureID) {
			list = append(list, o.ID)
		}
	}
	return list
}

// load resolves the program with these facts in place of what is on disk.
func (f *Facts) load(info *elfedit.Info, finder ldso.Finder) (*ldso.Closure, error) {
	return ldso.Load(f.object(info), finder)
}

// object is the program, with these facts in place of what is on disk.
func (f *Facts) object(info *elfedit.Info) *ldso.Object {
	return &ldso.Object{Path: f.Path, ID: fmt.Sprintf("%d:%d", f.File.Device, f.File.Inode), Info: info}
}

// whyNot says what keeps a program from starting.
func whyNot(c *ldso.Closure) Reason {
	for _, m := range c.Missing {
		return Reason(fmt.Sprintf("%s, needed by %s, is missing", m.Name, m.From.Path))
	}
	for _, v := range c.Versions {
		if v.Fatal {
			return Reason(fmt.Sprintf("%s needs the symbol version %s of %s", v.From.Path, v.Version, v.File))
		}
	}
	return "the loader's model says so"
}

// twice returns why a program that follows pins would load one library twice, as two
// files; "" if it does not.
func twice(c *ldso.Closure) Reason {
	loaded := map[string]*ldso.Object{}
	for _, o := range c.Objects[1:] {
		name := o.Info.Soname
		if name != "" && loaded[name] != nil {
			return Reason(fmt.Sprintf("would load two builds of %s, %s and %s", name, loaded[name].Path, o.Path))
		}
		loaded[name] = o
	}
	return ""
}

// difference says how two closures differ; "" when they are the same files in the
// same order.
func difference(before, after *ldso.Closure) Reason {
	const would = "would load other libraries: "
	for i := 1; i < max(len(before.Objects), len(after.Objects)); i++ {
		switch {
		case i >= len(after.Objects):
			return Reason(would + before.Objects[i].Path + " would be missing")
		case i >= len(before.Objects):
			return Reason(would + after.Objects[i].Path + " would come in addition")
		case before.Objects[i].ID != after.Objects[i].ID:
			return Reason(fmt.Sprintf("%s%s in place of %s", would, after.Objects[i].Path, before.Objects[i].Path))
		}
	}
	return ""
}
