package cli

import (
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
)

// addCompletionCommand adds cobra's command, which else prints its help whatever is wrong.
func addCompletionCommand(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = args(cobra.NoArgs), func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
}

// What a shell does where a completion offers nothing.
const (
	noFiles = cobra.ShellCompDirectiveNoFileComp
	orFiles = cobra.ShellCompDirectiveDefault
)

// completion offers words to a shell in place of one that was begun, behind other
// arguments. It fetches and changes nothing. What it cannot find out it does not offer: an
// error would stand in the middle of somebody's command line.
type completion func(root *sysroot.Root, given []string, begun string) []string

// complete returns what cobra calls for a completion.
func (a *app) complete(c completion, otherwise cobra.ShellCompDirective) cobra.CompletionFunc {
	return func(_ *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
		a.quiet = true
		root, err := a.openRoot()
		if err != nil {
			return nil, otherwise
		}
		defer root.Close() // nothing was written
		words := slices.DeleteFunc(c(root, given, begun), func(word string) bool { return !strings.HasPrefix(word, begun) })
		slices.Sort(words)
		return slices.Compact(words), otherwise
	}
}

// completeFlag has a completion offer the values of a flag.
func (a *app) completeFlag(cmd *cobra.Command, flag string, c completion, otherwise cobra.ShellCompDirective) {
	if err := cmd.RegisterFlagCompletionFunc(flag, a.complete(c, otherwise)); err != nil {
		panic(err) // the command has no such flag
	}
}

// nth offers for each argument what the completion in its place does, and for those
// behind them what the last one does.
func nth(places ...completion) completion {
	return func(root *sysroot.Root, given []string, begun string) []string {
		return places[min(len(given), len(places)-1)](root, given, begun)
	}
}

// nothing offers nothing.
func nothing(*sysroot.Root, []string, string) []string { return nil }

// anyOf offers what each of several completions does.
func anyOf(all ...completion) completion {
	return func(root *sysroot.Root, given []string, begun string) []string {
		var words []string
		for _, c := range all {
			words = append(words, c(root, given, begun)...)
		}
		return words
	}
}

// completeRepo calls f with what the root knows of repositories, offline.
func (a *app) completeRepo(root *sysroot.Root, f func(*repo.Repo)) {
	r, err := a.openRepo(root, sourceFlags{offline: true}, trust.ByKeys)
	if err != nil {
		return
	}
	defer r.Close()
	f(r)
}

// availableNames offers the packages of a release that can be installed by name, and
// behind NAME= their versions. It waits for a first letter: a shell would take seconds to
// sort the names of a whole distribution.
func (a *app) availableNames(cmd *cobra.Command, o *sourceFlags) completion {
	return func(root *sysroot.Root, _ []string, begun string) (words []string) {
		if begun == "" || repo.LooksLikeFile(begun) {
			return nil
		}
		a.completeRepo(root, func(r *repo.Repo) {
			sources, err := r.Release(cmd.Context(), o.from)
			if err != nil {
				return
			}
			known := slices.DeleteFunc(slices.Clone(sources), func(s backends.Source) bool {
				state, err := r.State(&s)
				return err != nil || state == nil
			})
			err = r.With(cmd.Context(), known, func(p *repo.Pool) (err error) {
				name, _, versions := strings.Cut(begun, "=")
				if !versions {
					words, err = p.Names(begun, math.MaxInt)
					return err
				}
				all, err := p.Named(name)
				for _, one := range all {
					words = append(words, name+"="+one.Version)
				}
				return err
			})
			if err != nil {
				words = nil
			}
		})
		return words
	}
}

// releases offers the sources and releases that the root has, and the releases that
// formats know by name.
func (a *app) releases(cmd *cobra.Command) completion {
	return func(root *sysroot.Root, _ []string, _ string) (words []string) {
		a.completeRepo(root, func(r *repo.Repo) {
			sources, err := r.Sources(cmd.Context())
			if err != nil {
				return
			}
			for _, s := range sources {
				words = append(words, s.Name)
				if s.Release != "" {
					words = append(words, s.Release)
				}
			}
		})
		return append(words, knownReleases(root, nil, "")...)
	}
}

// knownReleases offers the releases that formats know by name, without those of long ago.
func knownReleases(root *sysroot.Root, _ []string, _ string) (words []string) {
	for _, f := range root.Formats() {
		if f, ok := f.(backends.Repositories); ok {
			words = append(words, f.Offered()...)
		}
	}
	return words
}

// ownSources offers the sources that files of hashpkg's own name.
func (a *app) ownSources(cmd *cobra.Command) completion {
	return func(root *sysroot.Root, _ []string, _ string) (words []string) {
		a.completeRepo(root, func(r *repo.Repo) {
			sources, err := r.Sources(cmd.Context())
			if err != nil {
				return
			}
			for _, s := range sources {
				if path.Dir(s.File) == repo.SourcesDir {
					words = append(words, s.Name)
				}
			}
		})
		return words
	}
}

// trees calls f with each tree of the active generation.
func trees(root *sysroot.Root, f func(*record.Tree)) {
	g, err := root.Active()
	if err != nil {
		return
	}
	for i := range g.Trees {
		f(&g.Trees[i])
	}
}

// installedNames offers the packages of the active generation that fit, by their names
// and, once there is a "=", with their versions.
func installedNames(fits func(*record.Tree) bool) completion {
	return func(root *sysroot.Root, _ []string, begun string) (words []string) {
		trees(root, func(t *record.Tree) {
			switch {
			case !fits(t):
			case strings.Contains(begun, "="):
				words = append(words, t.Name+"="+t.Version)
			default:
				words = append(words, t.Name)
			}
		})
		return words
	}
}

// storedNames offers the packages that the store has, whether or not a generation has them, by
// their names and, once there is a "=", with their versions.
func storedNames(root *sysroot.Root, _ []string, begun string) (words []string) {
	name, _, versions := strings.Cut(begun, "=")
	if !versions {
		words, err := root.Store().Names()
		if err != nil {
			return nil
		}
		return slices.DeleteFunc(words, func(word string) bool { return word == layout.ViewName })
	}
	trees, err := root.Store().Trees(name)
	if err != nil {
		return nil
	}
	for _, t := range trees {
		words = append(words, name+"="+layout.VersionText(t))
	}
	return words
}

// installedSonames offers the libraries that the active generation has.
func installedSonames(root *sysroot.Root, _ []string, begun string) (words []string) {
	if begun == "" {
		return nil // there are thousands
	}
	trees(root, func(t *record.Tree) {
		for _, l := range slices.Concat(t.Links, slices.Collect(maps.Keys(t.Places)), t.Inner) {
			if name := path.Base(l); strings.Contains(name, ".so") {
				words = append(words, name)
			}
		}
	})
	return words
}

// installedVersions offers NAME=VERSION of what the active generation has.
func installedVersions(root *sysroot.Root, _ []string, _ string) (words []string) {
	trees(root, func(t *record.Tree) { words = append(words, t.Name+"="+t.Version) })
	return words
}

// Which packages of a generation fit.
func isAny(*record.Tree) bool        { return true }
func isPrivate(t *record.Tree) bool  { return t.Origin == record.OriginPrivate }
func isByName(t *record.Tree) bool   { return t.Release != "" && !t.OnHold }
func isOnHold(t *record.Tree) bool   { return t.OnHold }
func isAskedFor(t *record.Tree) bool { return t.Release != "" && t.Asked }
func generationNumbers(root *sysroot.Root, _ []string, _ string) (words []string) {
	ids, err := root.Generations()
	if err != nil {
		return nil
	}
	for _, id := range ids {
		words = append(words, strconv.Itoa(id))
	}
	return words
}

// pinned offers the programs that have pins, and behind one, or with all set, the
// libraries that it is pinned to.
func pinned(all *bool) completion {
	return func(root *sysroot.Root, given []string, _ string) (words []string) {
		pins, err := root.Pins()
		if err != nil {
			return nil
		}
		program := record.EveryProgram
		if !*all && len(given) > 0 {
			program = given[0]
		}
		for i := range pins {
			switch p := &pins[i]; {
			case p.Frozen(): // see frozen
			case *all || len(given) > 0:
				if p.Program == program {
					words = append(words, p.Library)
				}
			case p.Program != record.EveryProgram:
				words = append(words, p.Program)
			}
		}
		return words
	}
}

// oneOf offers words.
func oneOf[T ~string](words ...T) func(*sysroot.Root, []string, string) []string {
	return func(*sysroot.Root, []string, string) []string {
		list := make([]string, len(words))
		for i, w := range words {
			list[i] = string(w)
		}
		return list
	}
}

// listOf offers words for the last place of a list with commas, but for those that it has.
func listOf(words ...string) completion {
	return func(_ *sysroot.Root, _ []string, begun string) (lists []string) {
		before := begun[:strings.LastIndexByte(begun, ',')+1]
		given := strings.Split(before, ",")
		for _, w := range words {
			if !slices.Contains(given, w) {
				lists = append(lists, before+w)
			}
		}
		return lists
	}
}

// policies offers the policies for signatures.
func policies(*sysroot.Root, []string, string) []string {
	return []string{string(trust.Require), string(trust.Warn), string(trust.Off)}
}
