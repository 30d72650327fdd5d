package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/internal/visible"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/repo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction/query"
	"github.com/hashpkg/hashpkg/transaction/relations"
)

func newShowCommand(a *app) *cobra.Command {
	var o sourceFlags
	cmd := &cobra.Command{
		Use:   "show NAME[=VERSION]",
		Short: "Show what a package holds and which libraries its files load",
		Long: `Show what a package holds and which libraries its files load. Without a version
it is the default one; VERSION may be a tree's directory name.

Of a package that is not installed, or with --from, it shows the versions that can be
installed by name, where they are, their sizes, what the highest one needs, and who
signed for it.`,
		Example: `  # The default version
  hashpkg show jq
  # One version, for a program
  hashpkg show jq=1.6-2.1 --json
  # What a release has
  hashpkg show --from sid jq`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, given []string) error { return runShow(c.Context(), a, o, given[0]) },
	}
	o.add(a, cmd)
	cmd.ValidArgsFunction = a.complete(nth(anyOf(installedNames(isAny), a.availableNames(cmd, &o)), nothing), noFiles)
	return cmd
}

type showOutput struct {
	packageOutput
	Summary   string          `json:"summary"`
	Package   string          `json:"package_file"`
	Digest    digest.Digest   `json:"package_digest"`
	Signature pkginfo.Verdict `json:"signature"`
	Signer    string          `json:"signer"`
	Reason    string          `json:"signature_reason"`
	Identity  digest.Digest   `json:"identity"`
	Binding   record.Binding  `json:"binding"`
	Scripts   []string        `json:"scripts_skipped"`
	Conf      []string        `json:"configuration"` // what was copied to /etc for it, or computed
	View      string          `json:"view"`          // absolute in the root; "" for none
	Programs  []programOutput `json:"programs"`      // that see it
	scriptsOutput
	Files     []fileOutput    `json:"files"`
	Libraries []libraryOutput `json:"libraries"`
	Needs     []needOutput    `json:"needs"`
	// Prelocated are the files of which relocations are bound to symbols of the file itself.
	Prelocated []relations.Prelocated `json:"prelocated"`
	Unnoted    []string               `json:"without_note"` // bound programs that do not say to which files
	Frozen     []string               `json:"frozen"`       // programs of the system that are frozen to files of it
	// Sources are, of a package of the system, those of the machine that have this version.
	Sources  []string `json:"sources_with_it"`
	recorded record.Binding
	signed   string
	computed bool // something of Conf
}

// managers are the package managers of formats.
var managers = map[pkginfo.Format]string{"deb": "dpkg", "rpm": "rpm"}

type fileOutput struct {
	Path   string              `json:"path"`
	Type   record.FileType     `json:"type"`
	Object digest.Digest       `json:"object"`
	Size   int64               `json:"size"`
	Mode   record.Mode         `json:"mode"`
	Source digest.Digest       `json:"source_digest"`
	Target string              `json:"target,omitempty"`
	Edits  []record.EditRecord `json:"edits"`
}

type libraryOutput struct {
	Soname string `json:"soname"`
	Path   string `json:"path"`
}

type needOutput struct {
	File     string `json:"file"`
	Soname   string `json:"soname"`
	Provider string `json:"provider"`
	Path     string `json:"path"`
}

// scriptsOutput is what a package's scripts would do.
type scriptsOutput struct {
	Alternatives []pkginfo.Alternative `json:"alternatives"`
	WouldMake    pkginfo.Made          `json:"scripts_would_make"`
	Unread       []string              `json:"scripts_unread"`
}

func newScriptsOutput(m *record.Manifest) scriptsOutput {
	return scriptsOutput{append([]pkginfo.Alternative{}, m.Alternatives...), m.WouldMake, append([]string{}, m.Unread...)}
}

// text says it for people, with indent before each line.
func (o *scriptsOutput) text(indent string) string {
	var text strings.Builder
	if len(o.Alternatives) > 0 {
		fmt.Fprintf(&text, "%salternatives\n", indent)
	}
	for _, alt := range o.Alternatives {
		fmt.Fprintf(&text, "%s  %s  %s -> %s (%d)\n", indent, alt.Name, alt.Link, alt.Path, alt.Priority)
	}
	made := o.WouldMake
	if len(made.Directories)+len(made.Users)+len(made.Groups) > 0 {
		fmt.Fprintf(&text, "%sits scripts would make\n", indent)
	}
	for _, user := range made.Users {
		fmt.Fprintf(&text, "%s  user %s\n", indent, user)
	}
	for _, group := range made.Groups {
		fmt.Fprintf(&text, "%s  group %s\n", indent, group)
	}
	for _, dir := range made.Directories {
		fmt.Fprintf(&text, "%s  %s\n", indent, strings.Join(strings.Fields("directory "+dir.Path+" "+dir.Mode+" "+dir.Owner), " "))
	}
	if len(o.Unread) > 0 {
		fmt.Fprintf(&text, "%snot understood of its scripts\n", indent)
	}
	for _, what := range o.Unread {
		fmt.Fprintf(&text, "%s  %s\n", indent, what)
	}
	return text.String()
}

// parseSpec takes NAME[=VERSION] apart; what is neither is wrong use.
func parseSpec(text string) (query.Spec, error) {
	spec, err := query.ParseSpec(text)
	if err != nil {
		return spec, usageError{err}
	}
	return spec, nil
}

func newShowOutput(root *sysroot.Root, t *record.Tree, m *record.Manifest) showOutput {
	out := showOutput{
		packageOutput: newPackageOutput(root, t), Summary: m.Summary, Package: m.Package.File, Digest: m.Package.Digest,
		Signature: m.Package.Verdict, Signer: m.Package.Signer, Reason: m.Package.Reason, Identity: m.Identity, Scripts: append([]string{}, m.Scripts...),
		scriptsOutput: newScriptsOutput(m),
		signed:        signedBy(m.Package),
		Programs:      []programOutput{}, Files: []fileOutput{}, Libraries: []libraryOutput{}, Needs: []needOutput{}, Unnoted: []string{}, Prelocated: []relations.Prelocated{},
	}
	if t.Origin == record.OriginPrivate {
		out.Binding, out.recorded = m.Binding.Whole(), m.Binding
	}
	if t.View != "" {
		out.View = root.Prefix() + "/" + layout.TreePath(layout.ViewName, t.View)
	}
	for i := range m.Files {
		f := &m.Files[i]
		if f.Launches != "" {
			out.Programs = append(out.Programs, newLaunched(f))
		}
		out.Files = append(out.Files, fileOutput{
			Path: f.Path, Type: f.Type, Object: f.Object, Size: f.Size, Mode: f.Mode, Source: f.Source,
			Target: f.Target, Edits: append([]record.EditRecord{}, f.Edits...),
		})
		if self := f.SelfBound(); self != nil {
			out.Prelocated = append(out.Prelocated, relations.Prelocated{Path: f.Path, SelfBound: *self})
		}
		if isUnnoted(f) {
			out.Unnoted = append(out.Unnoted, f.Path)
		}
		for _, n := range f.Needs {
			out.Needs = append(out.Needs, needOutput{f.Path, n.Soname, n.Provider, n.Path})
		}
	}
	for _, l := range m.Links {
		if f := m.Resolve(l.File()); f != nil && strings.HasPrefix(l.Path, "lib") && f.ELF != nil {
			out.Libraries = append(out.Libraries, libraryOutput{f.ELF.Soname, f.Path})
		}
	}
	return out
}

// isUnnoted reports whether a file is a program that is bound to files of trees, and has no note
// that says which these are.
func isUnnoted(f *record.File) bool {
	return f.ELF != nil && f.ELF.IsProgram() && f.Patch != nil &&
		slices.ContainsFunc(f.Needs, func(n record.Need) bool { return n.Provider != "" }) &&
		!slices.ContainsFunc(f.Edits, func(e record.EditRecord) bool { return e.Kind == record.EditNote })
}

func runShow(ctx context.Context, a *app, o sourceFlags, text string) error {
	spec, err := parseSpec(text)
	if err != nil {
		return err
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	if o.from != "" {
		return runShowAvailable(ctx, a, root, o, spec)
	}
	g, err := root.Active()
	if err != nil {
		return err
	}
	t, err := query.Best(g, spec)
	if errors.Is(err, query.ErrNotInstalled) {
		available := runShowAvailable(ctx, a, root, o, spec)
		what, hint := advice.Of(err)
		switch {
		case errors.Is(available, repo.ErrNoSource) && strings.HasPrefix(hint, "did you mean"):
			return err
		case errors.Is(available, repo.ErrNoSource):
			return advice.Errorf("%w; with --from RELEASE it is looked for in a release", err)
		case available != nil:
			return fmt.Errorf("%s; %w", what, available)
		}
		return nil
	}
	if err != nil {
		return err
	}
	m, err := root.Store().Manifest(t.Name, t.Dir)
	if err != nil {
		return err
	}
	out := newShowOutput(root, t, m)
	c, err := root.Conf()
	if err != nil {
		return err
	}
	pins, err := root.Pins()
	if err != nil {
		return err
	}
	out.Conf, out.Frozen = []string{}, []string{}
	for _, p := range pins {
		if p.Frozen() && p.Pinned().Path() == t.Path() && !slices.Contains(out.Frozen, p.Program) {
			out.Frozen = append(out.Frozen, p.Program)
		}
	}
	if t.Origin == record.OriginPrivate {
		for _, f := range filesFor(c, t.Name) {
			out.Conf = append(out.Conf, f.Path)
			out.computed = out.computed || f.Computed
		}
	}
	out.Sources = []string{}
	if t.Origin == record.OriginSystem {
		out.Sources = a.sourcesWith(ctx, root, t)
	}
	if a.json {
		return a.printJSON(out)
	}
	return a.printShow(out)
}

func (a *app) printShow(out showOutput) error {
	mark := ""
	if out.Default {
		mark = ", the default"
	}
	text := fmt.Sprintf("%s %s (%s, %s)%s\n", out.Name, out.Version, out.Architecture, out.Format, mark)
	if out.Summary != "" {
		text += "  " + out.Summary + "\n"
	}
	from := fmt.Sprintf("%s, BLAKE3 %s\nsigned    %s", out.Package, out.Digest, out.signed)
	if out.Origin == record.OriginSystem {
		from = fmt.Sprintf("the system: %s has installed it", managers[out.Format])
		if len(out.Sources) > 0 {
			from += "; this version is in " + strings.Join(out.Sources, ", ")
		}
	}
	text += fmt.Sprintf("tree      %s\nfrom      %s\nidentity  %s\nsince     generation %d\n", out.Tree, from, out.Identity, out.Since)
	if b := out.Binding; out.recorded != (record.Binding{}) {
		prelocated := map[record.Prelocate]string{record.PrelocateOn: ", prelocated", record.PrelocateOff: ", never prelocated, as somebody said"}
		text += fmt.Sprintf("binding   programs %s, search paths %s%s\n", b.Bind, b.RunPath, prelocated[out.recorded.Prelocate])
	}
	for _, p := range out.Prelocated {
		text += fmt.Sprintf("  %s  %s\n", visible.Line(p.Path), prelocatedText(&p.SelfBound, true))
	}
	if out.Release != "" {
		text += fmt.Sprintf("release   %s\n", out.Release)
	}
	if len(out.Scripts) > 0 {
		ran := "none of them ran"
		if out.computed {
			ran = "what configures it ran in a box"
		}
		text += fmt.Sprintf("scripts   %s: %s\n", strings.Join(out.Scripts, ", "), ran)
	}
	if n := len(out.Conf); n > 0 {
		text += fmt.Sprintf("/etc      %s, such as %s; hashpkg conf list %s says more\n", count(n, "file"), out.Conf[0], out.Name)
	}
	text += out.scriptsOutput.text("")
	if out.View != "" {
		text += "view      " + out.View + "\n"
	}
	for _, p := range out.Programs {
		text += fmt.Sprintf("  %s  %s%s\n", p.Name, p.Why, map[record.Launch]string{record.LaunchNone: ", but has none, as somebody said", record.LaunchCapable: "; by a capability"}[p.Launch])
	}
	if len(out.Libraries) > 0 {
		text += "libraries\n"
	}
	for _, l := range out.Libraries {
		text += fmt.Sprintf("  %s  %s\n", visible.Line(l.Soname), visible.Line(l.Path))
	}
	for _, p := range out.Frozen {
		text += fmt.Sprintf("frozen    %s loads exactly these files\n", p)
	}
	last := ""
	if len(out.Needs) > 0 {
		text += "loads\n"
	}
	for _, n := range out.Needs {
		if n.File != last {
			note := ""
			if slices.Contains(out.Unnoted, n.File) {
				note = "  (it has no note of these files' digests)"
			}
			text += fmt.Sprintf("  %s%s\n", visible.Line(n.File), note)
			last = n.File
		}
		provider := n.Provider
		if provider == "" {
			provider = "the system"
		}
		text += fmt.Sprintf("    %s  %s  (%s)\n", visible.Line(n.Soname), visible.Line(n.Path), provider)
	}
	text += count(len(out.Files), "file") + "\n"
	for _, f := range out.Files {
		if !a.verbose {
			break
		}
		text += fmt.Sprintf("  %s %s %s\n", f.Mode.String(), visible.Line(f.Path), f.Object.Short())
	}
	return a.printf("%s", text)
}

// sourcesWith returns the machine's sources that have a package's version, as far as their
// indexes were fetched: nothing is for this.
func (a *app) sourcesWith(ctx context.Context, root *sysroot.Root, t *record.Tree) []string {
	quiet := *a
	quiet.quiet = true
	names := []string{}
	err := quiet.withPackages(ctx, root, sourceFlags{offline: true}, func(p *repo.Pool) error {
		found, err := p.Named(t.Name)
		for _, f := range found {
			if f.Version == t.Version && f.Architecture == t.Architecture && !slices.Contains(names, f.Source.Name) {
				names = append(names, f.Source.Name)
			}
		}
		return err
	})
	if err != nil { // such as that there are none, or none that were fetched
		return []string{}
	}
	return names
}

// signedBy says what the package's signatures came to.
func signedBy(p record.PackageFile) string { return signedAs(p.Verdict, p.Signer, p.Reason) }

func signedAs(verdict pkginfo.Verdict, signer, reason string) string {
	text := "no"
	switch verdict {
	case pkginfo.Good:
		text = "by " + signer
	case pkginfo.NoKey:
		text = "with a key that was not known"
	case pkginfo.Unsupported:
		text = "in a way that was not verified"
	}
	if reason != "" {
		text += ": " + reason
	}
	return text
}
