package plan

import (
	"regexp"
	"slices"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/ldso"
)

// closuresDir is the directory of a tree with closure objects for its programs, named by
// the first half of their digests.
const closuresDir = "closures"

func closureFile(d digest.Digest) string { return closuresDir + "/" + d.String()[:32] + ".so" }

// sanitizers are the libraries that must come before all others of a process.
var sanitizers = regexp.MustCompile(`^lib(a|l|t|hwa|ub)san\.so\.`)

// shortList returns the list of a program that cannot have the whole one, because it has
// room for so many entries only, or because it searches: it would look for the names in it
// that are no paths in its own search path, which has none of them. It is a closure object
// that needs all of them, what the program needs itself, and the next ones while there is
// room; of a program that searches, only what comes before the first such name, for the
// object has no search path. It is the whole list when there is not even room for that, or
// the machine has no closure objects.
//
// The program's own needs stay because a library of LD_PRELOAD is loaded before the
// needs of the object: it would load the root's own C library. Where that is the
// program's, too, it does no harm.
func (p *planner) shortList(c *candidate, f *record.File, r *resolution, whole []ldso.Listed, room int, searches bool) []ldso.Listed {
	var list []ldso.Listed
	before := 0       // entries of list that come before the object
	complete := false // no more may be in list, or it would be loaded too early
	for i, own := range f.ELF.Needed {
		entry := ldso.Listed{Old: own, Name: own}
		for _, e := range whole {
			if e.Object != nil && e.Object == r.provider(own) {
				entry = ldso.Listed{Old: own, Name: e.Name, Object: e.Object}
			}
		}
		if searches && entry.IsSearched() && !slices.ContainsFunc(f.ELF.Needed[i:], sanitizers.MatchString) {
			complete = true
			break
		}
		list = append(list, entry)
		if sanitizers.MatchString(own) {
			before = len(list)
		}
	}
	if len(list) >= room {
		return whole
	}
	var needed []string
	for _, e := range whole {
		needed = append(needed, e.Name)
	}
	object := closureFor(f.ELF, needed, nil)
	b, err := object.Bytes()
	if err != nil {
		return whole // the editor says what is wrong with it, if the machine is not
	}
	p.lists[f] = append(p.lists[f], object)
	list = slices.Insert(list, before, ldso.Listed{Name: p.treePath(c) + "/" + closureFile(digest.Of(b))})
	for _, e := range whole {
		complete = complete || len(list) == room || searches && e.IsSearched()
		if complete {
			break
		}
		if !slices.ContainsFunc(list, func(o ldso.Listed) bool { return o.Name == e.Name }) {
			list = append(list, e)
		}
	}
	return list
}

// closureFor describes a closure object that a program can load.
func closureFor(program *elfedit.Info, needed, auxiliary []string) *elfedit.Closure {
	return &elfedit.Closure{
		Class: program.Class, Data: program.Data, Machine: program.Machine, Flags: program.Flags, Needed: needed, Auxiliary: auxiliary,
	}
}

// placeOptional returns a list in which the optional libraries are closure objects, one for those that
// stand together, which have the loader put them there (see [elfedit.Closure]). When it comes to such an object, the
// libraries of the root that need them have already loaded them, behind what the list has. Those behind which
// nothing stands that the loader would open are at their place without.
func (p *planner) placeOptional(c *candidate, f *record.File, list []ldso.Listed) []ldso.Listed {
	last := len(list)
	for last > 0 && (list[last-1].Optional || list[last-1].Object == nil) {
		last--
	}
	var out []ldso.Listed
	var names []string
	for i, e := range list {
		if e.Optional {
			names = append(names, e.Name)
			continue
		}
		if object := closureFor(f.ELF, nil, names); len(names) > 0 && i < last {
			if b, err := object.Bytes(); err == nil { // the machine has none, at worst
				p.lists[f] = append(p.lists[f], object)
				out = append(out, ldso.Listed{Name: p.treePath(c) + "/" + closureFile(digest.Of(b))})
			}
		}
		names = nil
		out = append(out, e)
	}
	return out
}

// addClosures adds the closure objects of a package's programs to its files.
func (p *planner) addClosures(c *candidate) error {
	var files []record.File
	for i := range c.m.Files {
		f := &c.m.Files[i]
		if len(f.Edits) == 0 { // it was not edited
			continue
		}
		for _, object := range p.lists[f] {
			b, err := object.Bytes()
			if err != nil {
				return err
			}
			d := digest.Of(b)
			made := record.File{Path: closureFile(d), Type: record.TypeFile, Mode: 0o644, Object: d, Source: d, Size: int64(len(b)), Closure: object}
			if !slices.ContainsFunc(files, func(o record.File) bool { return o.Path == made.Path }) {
				files = append(files, made)
			}
		}
	}
	c.addFiles(files)
	return nil
}
