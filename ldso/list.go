package ldso

import "strings"

// Listed is an entry of the list of needed libraries by which a program loads a closure
// without a search.
type Listed struct {
	Old    string  // the name that it takes the place of; "" for none
	Name   string  // what the program needs
	Object *Object // nil for one that the loader opens nothing for, or that is missing

	// Optional is for an object that the program does not ask for, so that it can do without.
	// It is loaded all the same, when libraries need it, and has its place in the order.
	Optional bool
}

// IsSearched reports whether the loader looks in directories for the entry.
func (e Listed) IsSearched() bool {
	return !strings.Contains(e.Name, "/") && (e.Object != nil || e.Old != "")
}

// List returns what the program of a closure needs to load it in the order in which it is.
// name says by which name it asks for an object, a path or that by which it was asked for
// first; "" makes it optional. The interpreter is known to the loader by no other name
// than the one by which the kernel has loaded it, which is that of PT_INTERP.
//
// The sonames are for the end of the list: those that no library of the closure asks for.
// By then they are loaded, and nothing is opened for them. What asks later finds these
// libraries by such a name, and glibc up to 2.27 lets nobody else than libdl.so.2, known
// by that name, use dlopen (glibc dlfcn/dlopen.c, "invalid caller").
func (c *Closure) List(program *Object, name func(o *Object, asked string) string) (list, sonames []Listed) {
	asked := map[*Object]string{} // the name by which each was first needed
	known := map[string]bool{}    // names that libraries need
	for _, n := range c.Needs {
		if n.From != program {
			known[n.Name] = true
		}
		if n.Provider != nil && asked[n.Provider] == "" {
			asked[n.Provider] = n.Name
		}
	}
	for _, o := range c.Objects[1:] {
		e := Listed{Old: asked[o], Name: name(o, asked[o]), Object: o}
		if e.Name == "" {
			list = append(list, Listed{Name: asked[o], Optional: true})
			continue
		}
		list = append(list, e)
		if s := o.Info.Soname; o != c.Interpreter && e.Name != s && s != "" && !strings.Contains(s, "/") && !known[s] {
			sonames = append(sonames, Listed{Name: s})
		}
	}
	return list, sonames
}
