package repo

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo/choose"
)

// maxFilesOf bounds how many files of packages are taken from an index of all files:
// those that some relation of the release names. Fedora's are some thousands.
const maxFilesOf = 1 << 20

// filesOf has files of a source's packages that its own index does not list.
type filesOf struct {
	paths map[string][]string // by the digests of packages, without their kinds
	names map[string][]string // of packages, by paths
	count int
}

// add adds a file of a package.
func (f *filesOf) add(name, digest, path string) error {
	if slices.Contains(f.paths[digest], path) {
		return nil
	}
	if f.count++; f.count > maxFilesOf {
		return fmt.Errorf("more than %d files of packages are named by relations, a fixed limit of hashpkg (docs/limits.md)", maxFilesOf)
	}
	if f.paths == nil {
		f.paths, f.names = map[string][]string{}, map[string][]string{}
	}
	f.paths[digest] = append(f.paths[digest], path)
	if !slices.Contains(f.names[path], name) {
		f.names[path] = append(f.names[path], name)
	}
	return nil
}

// complete adds to packages of the index the files that are known of them.
func (f *filesOf) complete(all []*pkginfo.Listed) []*pkginfo.Listed {
	for _, l := range all {
		_, digest, _ := strings.Cut(l.Digest, ":")
		l.Files = append(l.Files, f.paths[digest]...)
	}
	return all
}

func (p *part) named(name string) ([]*pkginfo.Listed, error) {
	all, err := p.index.Named(name)
	return p.files.complete(all), err
}

func (p *part) providing(name string) ([]*pkginfo.Listed, error) {
	all, err := p.index.Providing(name)
	all = p.files.complete(all)
	for _, of := range p.files.names[name] {
		more, err := p.named(of)
		if err != nil {
			return nil, err
		}
		for _, l := range more {
			isThere := slices.ContainsFunc(all, func(o *pkginfo.Listed) bool { return o.Digest == l.Digest })
			if slices.Contains(l.Files, name) && !isThere {
				all = append(all, l)
			}
		}
	}
	return all, err
}

// readFiles completes a pool by the indexes of all files, for a choice that lacks something or
// depends on a file, and reports whether it did: only they may have a file that it lacks, or
// one that another version or provider would need. They are fetched, unless they are in the cache.
func (r *Repo) readFiles(ctx context.Context, p *Pool, format backends.Repositories) (bool, error) {
	lists, ok := format.(backends.FileLists)
	if !ok {
		return false, nil
	}
	var items []item
	var of []*part
	for _, part := range p.parts {
		if part.state.Files != nil {
			items, of = append(items, part.filesItem()), append(of, part)
		}
	}
	if len(items) == 0 {
		return false, nil
	}
	wanted := map[string]bool{}
	for _, part := range p.parts {
		for l, err := range part.index.All() {
			if err != nil {
				return false, advice.Errorf("look in the index of %s: %w; hashpkg clean --all removes it, so that it is fetched again", part.source.Name, err)
			}
			for _, relation := range l.Requires {
				addPaths(wanted, relation, lists)
			}
		}
	}
	if len(wanted) == 0 {
		return false, nil
	}
	for i, part := range of {
		if err := r.readFilesOf(ctx, part, lists, items[i], wanted); err != nil {
			return false, err
		}
	}
	return true, nil
}

// hasCondition reports whether a relation of a choice depends on whether a package has a
// file that indexes do not list.
func hasCondition(choice *choose.Choice, format backends.Repositories) bool {
	lists, ok := format.(backends.FileLists)
	if !ok {
		return false
	}
	paths := map[string]bool{}
	for _, c := range choice.Packages {
		for _, r := range c.Requires {
			if strings.Contains(r.Text, " if ") || strings.Contains(r.Text, " unless ") || strings.Contains(r.Text, " without ") {
				addPaths(paths, r, lists)
			}
		}
	}
	return len(paths) > 0
}

// addPaths adds the files that a relation names, and that indexes do not list.
func addPaths(paths map[string]bool, r pkginfo.Relation, lists backends.FileLists) {
	if !strings.Contains(r.Text, "/") {
		return
	}
	what, _ := r.Expression()
	var add func(e pkginfo.Expression)
	add = func(e pkginfo.Expression) {
		if name := e.Constraint.Name; strings.HasPrefix(name, "/") && !lists.IsListed(name) {
			paths[name] = true
		}
		for _, o := range e.Operands {
			add(o)
		}
	}
	add(what)
}

// filesItem returns the source's index of all files.
func (p *part) filesItem() item {
	urls := p.source.URLs
	if len(p.state.URLs) > 0 {
		urls = p.state.URLs
	}
	list := p.state.Files
	it := item{name: p.source.Name + " " + list.Name, size: list.Size, digest: list.Digest}
	for _, path := range list.Paths {
		it.urls = append(it.urls, addresses(urls, path)...)
	}
	return it
}

// readFilesOf reads a source's index of all files, and fetches it unless the cache has it.
func (r *Repo) readFilesOf(ctx context.Context, p *part, lists backends.FileLists, it item, wanted map[string]bool) error {
	file, err := r.fetchOne(ctx, it)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", it.name, err)
	}
	defer f.Close()
	if err := lists.ReadFiles(p.state.Files, f, wanted, p.files.add); err != nil {
		return fmt.Errorf("read %s: %w", it.name, err)
	}
	return ctx.Err()
}
