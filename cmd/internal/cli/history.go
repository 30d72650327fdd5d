package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/internal/visible"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/relations"
)

func newHistoryCommand(a *app) *cobra.Command {
	pattern := ""
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Say what changed when, by whom and by which command",
		Long: `List the generations, the newest first: when each was made, by whom, by which command, and
what changed. Where the hook of a package manager made it, the command is that of the
package manager, such as "apt upgrade": one run of it is one generation. The user is who
logged in, before sudo or su. Passwords in addresses are not kept. Pins and freezes, which
make no generation, have lines without a number.

An asterisk is at the active generation. "?" stands for what nobody knows: older versions
of hashpkg have kept neither commands nor users, and images have none. What hashpkg gc has
removed is not listed, and neither are pins before some thousands of others. hashpkg generations is a list for scripts.`,
		Example: `  # All generations, the newest first
  hashpkg history
  # When did these packages change?
  hashpkg history --package 'libssl*'
  # All that is known of one generation
  hashpkg history show 12`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return runHistory(a, pattern) },
	}
	cmd.Flags().StringVar(&pattern, "package", "", "only what concerns the package `NAME`, which may be a pattern")
	a.completeFlag(cmd, "package", installedNames(isAny), noFiles)
	show := &cobra.Command{
		Use:     "show [N]",
		Aliases: []string{"info"},
		Short:   "Say all that is known of one generation",
		Long: `Say when, by whom and by which command generation N, or the active one, was made, and
what became of each package. Of libraries that came, and are still there, the programs
that load them are named, with -v all of them.`,
		Example: `  # The active generation
  hashpkg history show
  # Generation 12, for a program
  hashpkg history show 12 --json`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			id, err := optionalGeneration(given)
			if err != nil {
				return err
			}
			return runHistoryShow(c.Context(), a, id)
		},
	}
	show.ValidArgsFunction = a.complete(nth(generationNumbers, nothing), noFiles)
	cmd.AddCommand(show)
	return cmd
}

// historyOutput is one generation in the output of history.
type historyOutput struct {
	ID       int       `json:"id"`
	Parent   int       `json:"parent"`
	Time     time.Time `json:"time"`
	Active   bool      `json:"active"`
	Command  string    `json:"command"` // "" for unknown
	User     string    `json:"user"`
	Restored int       `json:"restored,omitempty"`
	Undone   int       `json:"undone,omitempty"`
	// Changes are nil when nobody knows them.
	Changes []changeOutput `json:"changes"`
}

// changeOutput is what became of a package, and who is concerned.
type changeOutput struct {
	record.PackageChange
	Programs []string `json:"programs,omitempty"` // that load a library of it; history show only
}

// newHistoryOutput says what is known of a generation. What older versions have not
// recorded follows from the generation before, while that is there.
func newHistoryOutput(root *sysroot.Root, g *record.Generation, active int) (historyOutput, error) {
	h := historyOutput{ID: g.ID, Parent: g.Parent, Time: g.Time, Active: g.ID == active}
	var changes []record.PackageChange
	switch {
	case g.Parent == 0:
		changes = record.PackageChanges(&record.Generation{Architecture: g.Architecture}, g)
	case g.History != nil:
		changes = append([]record.PackageChange{}, g.History.Changes...)
	default:
		parent, err := root.Generation(g.Parent)
		if err != nil && !errors.Is(err, sysroot.ErrNoGeneration) {
			return h, err
		}
		if err == nil {
			changes = record.PackageChanges(parent, g)
		}
	}
	if changes != nil {
		h.Changes = make([]changeOutput, len(changes))
		for i, c := range changes {
			h.Changes[i].PackageChange = c
		}
	}
	if g.History != nil { // an image may have anything in it
		h.Command, h.User = visible.Line(g.History.Command), visible.Line(g.History.User)
		h.Restored, h.Undone = g.History.Restored, g.History.Undone
	}
	return h, nil
}

func runHistory(a *app, pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return usageError{fmt.Errorf("--package %s: a [ in a pattern wants its ]", pattern)}
	}
	root, active, err := a.openHistory()
	if err != nil {
		return err
	}
	ids, err := root.Generations()
	if err != nil {
		return err
	}
	var damaged error
	out := []historyOutput{}
	for _, id := range slices.Backward(ids) {
		var h historyOutput
		g, err := root.Generation(id)
		if errors.Is(err, sysroot.ErrNoGeneration) { // gc was at work meanwhile
			continue
		}
		if err == nil {
			h, err = newHistoryOutput(root, g, active)
		}
		if err != nil { // one is damaged, and the others are what one looks for then
			a.complain("hashpkg: %v; see hashpkg verify\n", plain(err))
			damaged = errDamaged
			continue
		}
		if pattern != "" {
			h.Changes = slices.DeleteFunc(h.Changes, func(c changeOutput) bool {
				matches, _ := path.Match(pattern, c.Name) // is a pattern: see above
				return !matches
			})
			if len(h.Changes) == 0 {
				continue
			}
		}
		out = append(out, h)
	}
	pins, err := pinEvents(root, pattern)
	if err != nil {
		a.notice("warning: %v\n", err)
	}
	if a.json {
		err = a.printJSON(map[string]any{"generations": out, "pins": pins})
	} else {
		err = a.printHistory(root, out, pins, pattern)
	}
	return cmp.Or(err, damaged)
}

// pinEvents returns what became of pins and freezes, the newest first; with a pattern, what
// concerns packages with such a name.
func pinEvents(root *sysroot.Root, pattern string) ([]record.Event, error) {
	list := []record.Event{}
	if ok, err := root.Exists(); err != nil || !ok {
		return list, err
	}
	history, err := root.PinHistory()
	if err != nil {
		return list, err
	}
	for _, e := range slices.Backward(history.Events) {
		if pattern == "" || e.OfPackage(func(name string) bool {
			matches, _ := path.Match(pattern, name) // is a pattern: see above
			return matches
		}) {
			e.Command, e.User = visible.Line(e.Command), visible.Line(e.User) // an image may have anything in it
			list = append(list, e)
		}
	}
	return list, nil
}

// openHistory returns the root, and the number of the active generation; 0 when the link
// to it is lost.
func (a *app) openHistory() (*sysroot.Root, int, error) {
	root, err := a.openRoot()
	if err != nil {
		return nil, 0, err
	}
	if ok, err := root.Exists(); err != nil || !ok {
		return root, 0, err
	}
	active, err := root.Store().Active()
	if err != nil || active == 0 { // this list is what one needs then
		if _, err := root.Active(); err != nil {
			a.notice("warning: %v\n", err)
		}
		return root, 0, nil
	}
	return root, active, nil
}

func (a *app) printHistory(root *sysroot.Root, list []historyOutput, pins []record.Event, pattern string) error {
	if len(list)+len(pins) == 0 {
		what := "no generation of %s is there\n"
		if pattern != "" {
			what = "no generation of %s has changed such a package\n"
		}
		a.notice(what, root.Store().Path("."))
		return nil
	}
	w := a.table(4, 5)
	out := *a
	out.Out = w
	w.Header("", "ID", "TIME", "USER", "COMMAND", "CHANGES")
	row := func(mark, id string, t time.Time, user, command, summary string) error {
		return out.printf("%s\t%s\t%s\t%s\t%s\t%s\n", mark, id, t.Local().Format("2006-01-02 15:04"), cmp.Or(user, "?"), a.shortCommand(command), summary)
	}
	printPins := func(isNewer func(*record.Event) bool) error {
		for ; len(pins) > 0 && isNewer(&pins[0]); pins = pins[1:] {
			if err := row("", "", pins[0].Time, pins[0].User, pins[0].Command, visible.Line(pins[0].String())); err != nil {
				return err
			}
		}
		return nil
	}
	for _, h := range list {
		if err := printPins(func(e *record.Event) bool {
			return e.Time.After(h.Time) || e.Time.Equal(h.Time) && e.Generation >= h.ID
		}); err != nil {
			return err
		}
		mark := ""
		if h.Active {
			mark = "*"
		}
		if err := row(mark, strconv.Itoa(h.ID), h.Time, h.User, h.Command, h.summary()); err != nil {
			return err
		}
	}
	if err := printPins(func(*record.Event) bool { return true }); err != nil {
		return err
	}
	return w.Flush()
}

// shortCommand returns a command as a table has it.
func (a *app) shortCommand(command string) string {
	const most = 48
	letters := []rune(command)
	if command == "" || len(letters) <= most || a.verbose {
		return cmp.Or(command, "?")
	}
	return string(letters[:most-3]) + "..."
}

// summary says in a few words what changed.
func (h *historyOutput) summary() string {
	switch {
	case h.Changes == nil:
		return "?"
	case len(h.Changes) == 0:
		return "views only"
	case len(h.Changes) == 1:
		return strings.ReplaceAll(h.Changes[0].String(), "\t", " ")
	}
	var came, went, others int
	for i := range h.Changes {
		switch c := &h.Changes[i]; {
		case len(c.Added) > 0 && c.Before == "":
			came++
		case len(c.Removed) > 0 && c.After == "":
			went++
		default:
			others++
		}
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{came, "added"}, {others, "changed"}, {went, "removed"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return strings.Join(parts, ", ")
}

func runHistoryShow(ctx context.Context, a *app, id int) error {
	root, active, err := a.openHistory()
	if err != nil {
		return err
	}
	if id = cmp.Or(id, active); id == 0 {
		return errors.New("no generation is active; hashpkg history lists those that are there")
	}
	g, err := root.Generation(id)
	if err != nil {
		return err
	}
	h, err := newHistoryOutput(root, g, active)
	if err != nil {
		return err
	}
	if g.Parent != 0 { // with the first one everything came
		if err := a.addPrograms(ctx, &h); err != nil {
			a.notice("warning: who loads the libraries is not known: %v\n", err)
		}
	}
	if a.json {
		return a.printJSON(h)
	}
	_, err = root.Generation(h.Parent)
	return a.printGeneration(&h, h.Parent == 0 || !errors.Is(err, sysroot.ErrNoGeneration))
}

// addPrograms names the programs that load the libraries that came.
func (a *app) addPrograms(ctx context.Context, h *historyOutput) error {
	var r *relations.Relations
	for i := range h.Changes {
		c := &h.Changes[i]
		if c.Origin == "" || c.After == "" || c.After == c.Before && len(c.Remade) == 0 {
			continue
		}
		if r == nil {
			var err error
			if _, r, err = a.relations(ctx); err != nil {
				return err
			}
		}
		target, err := r.Find(c.Name + "=" + c.After)
		if err != nil { // it is gone since
			continue
		}
		builds, err := r.Users(ctx, target)
		if err != nil {
			return err
		}
		for _, b := range builds {
			for _, p := range b.Programs {
				if p.Package != c.Name {
					c.Programs = append(c.Programs, p.Path)
				}
			}
		}
		slices.Sort(c.Programs)
		c.Programs = slices.Compact(c.Programs)
	}
	return nil
}

// printGeneration prints one generation; hasParent says that the one is there from which it was
// made, without which nothing can be undone.
func (a *app) printGeneration(h *historyOutput, hasParent bool) error {
	title := fmt.Sprintf("generation %d", h.ID)
	if h.Parent != 0 {
		title += fmt.Sprintf(", made from %d", h.Parent)
	}
	if h.Active {
		title += ", active"
	}
	command := cmp.Or(h.Command, "?")
	switch {
	case h.Restored != 0:
		command += fmt.Sprintf("  (has the packages of generation %d)", h.Restored)
	case h.Undone != 0:
		command += fmt.Sprintf("  (takes back generation %d)", h.Undone)
	}
	if err := a.printf("%s\ntime     %s\nuser     %s\ncommand  %s\n", title, h.Time.Local().Format("2006-01-02 15:04:05 -0700"), cmp.Or(h.User, "?"), command); err != nil {
		return err
	}
	if h.Changes == nil {
		return a.printf("what changed is not known: generation %d is not there any more\n", h.Parent)
	}
	own := false
	for _, of := range []struct {
		title string
		own   bool
	}{{"", true}, {"packages of the system:", false}} {
		for i := range h.Changes {
			c := &h.Changes[i]
			if c.IsOwn() != of.own {
				continue
			}
			own = own || of.own
			if of.title != "" {
				if err := a.printf("%s\n", of.title); err != nil {
					return err
				}
				of.title = ""
			}
			if err := errors.Join(a.printChanged("  "+c.String()), a.printf("%s", a.programsLine(c.Programs))); err != nil {
				return err
			}
		}
	}
	switch {
	case len(h.Changes) == 0:
		return a.printf("no package changed, but the views of programs\n")
	case own && !hasParent:
		return a.printf("it cannot be undone: hashpkg gc has removed generation %d, from which it was made\n", h.Parent)
	case own:
		return a.printf("undo: hashpkg undo %d\n", h.ID)
	}
	return nil
}

// programsLine names programs that a library concerns.
func (a *app) programsLine(programs []string) string {
	const most = 8
	if len(programs) == 0 {
		return ""
	}
	more := ""
	if n := len(programs) - most; n > 0 && !a.verbose {
		programs, more = programs[:most], fmt.Sprintf(" and %d more", n)
	}
	return "      loaded by " + strings.Join(programs, ", ") + more + "\n"
}
