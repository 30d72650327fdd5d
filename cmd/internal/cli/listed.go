package cli

import (
	"cmp"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/hashpkg/hashpkg/pkginfo"
)

// column is one column of a list.
type column struct {
	name string
	text func(l *lister, t *listed) string
}

// columns are those that a list can have.
func columns() []column {
	return []column{
		{"name", func(_ *lister, t *listed) string { return t.Name }},
		{"version", func(_ *lister, t *listed) string { return t.Version }},
		{"architecture", func(_ *lister, t *listed) string { return t.Architecture }},
		{"format", func(_ *lister, t *listed) string { return string(t.Format) }},
		{"origin", func(_ *lister, t *listed) string { return string(t.Origin) }},
		{"release", func(_ *lister, t *listed) string { return cmp.Or(t.Release, "-") }},
		{"size", func(l *lister, t *listed) string { return l.sizeText(t.size) }},
		{"state", func(_ *lister, t *listed) string { return t.state() }},
		{"since", func(_ *lister, t *listed) string { return strconv.Itoa(t.Since) }},
		{"tree", func(l *lister, t *listed) string { return l.root.Prefix() + "/" + t.Path() }},
	}
}

// forTerminals are the columns that a person sees who asks for none.
func forTerminals() []string {
	return []string{"name", "version", "architecture", "origin", "release", "size", "state"}
}

func columnNames() (names []string) {
	for _, c := range columns() {
		names = append(names, c.name)
	}
	return names
}

// lessNeeded returns the numbers of those columns that are cut where they do not fit, the least
// important one first.
func lessNeeded(names []string) (numbers []int) {
	for _, name := range []string{"tree", "release", "state"} {
		if i := slices.Index(names, name); i >= 0 {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// columnOf returns a column by its name; nil for none.
func columnOf(name string) *column {
	all := columns()
	if i := slices.IndexFunc(all, func(c column) bool { return c.name == name }); i >= 0 {
		return &all[i]
	}
	return nil
}

func (l *lister) sizeText(size int64) string {
	switch {
	case size == unknownSize:
		return "?"
	case l.screen.IsTerminal():
		return humanSize(size)
	}
	return strconv.FormatInt(size, 10)
}

// state says for people how a package stands.
func (t *listed) state() string {
	var words []string
	switch {
	case t.active && t.Default:
		words = append(words, "default")
	case t.active:
		words = append(words, "installed")
	case t.generation != 0:
		words = append(words, "in generation "+strconv.Itoa(t.generation))
	default:
		words = append(words, "stored")
	}
	if t.active && t.Release != "" && !t.Asked {
		words = append(words, "automatic")
	}
	if t.OnHold {
		words = append(words, "on hold")
	}
	if t.pinned {
		words = append(words, "pinned")
	}
	if t.available != "" {
		words = append(words, "newer: "+t.available)
	}
	return strings.Join(words, ", ")
}

// mark is the state as scripts have read it since there is a list: default, on hold, both, or
// nothing; and more where they ask for more.
func (t *listed) mark() string {
	var words []string
	switch {
	case t.active && t.Default:
		words = append(words, "default")
	case !t.active:
		return t.state()
	}
	if t.OnHold {
		words = append(words, "on hold")
	}
	if t.available != "" {
		words = append(words, "newer: "+t.available)
	}
	return strings.Join(words, ", ")
}

// print prints a list: with a header on a terminal, or where columns were asked for.
func (l *lister) print(rows []*listed, terminal bool) error {
	names := l.options.columns
	if len(names) == 0 && terminal {
		names = forTerminals()
	}
	w := l.table(lessNeeded(names)...)
	line := func(cells []string) error {
		_, err := io.WriteString(w, strings.Join(cells, "\t")+"\n")
		return err
	}
	if len(names) > 0 && len(rows) > 0 && !l.quiet {
		w.Header(strings.Split(strings.ToUpper(strings.Join(names, "\n")), "\n")...)
	}
	for _, t := range rows {
		var cells []string
		for _, name := range names {
			cells = append(cells, columnOf(name).text(l, t))
		}
		if len(names) == 0 {
			cells = []string{t.Name, t.Version, t.Architecture, string(t.Format), cmp.Or(t.Release, "-"), t.mark(), l.root.Prefix() + "/" + t.Path()}
		}
		if err := line(cells); err != nil {
			return err
		}
	}
	return w.Flush()
}

// listedPackage is one package in the output of list --json. Its signature is in
// the manifest, which list does without otherwise.
type listedPackage struct {
	packageOutput
	Active     bool            `json:"active"`     // the active generation has it
	Generation int             `json:"generation"` // else the newest one that does; 0 for none
	Pinned     bool            `json:"pinned"`
	Size       *int64          `json:"size"`      // bytes; null where the record of its files cannot be read
	Available  string          `json:"available"` // with --upgradable: the newer version
	Signature  pkginfo.Verdict `json:"signature"`
	Signer     string          `json:"signer"`
	Reason     string          `json:"signature_reason"`
}

func (l *lister) printJSON(rows []*listed, missing []string) error {
	packages := make([]listedPackage, len(rows))
	for i, t := range rows {
		file, err := l.root.Store().PackageFile(t.Name, t.Dir)
		if err != nil {
			return err
		}
		packages[i] = listedPackage{
			packageOutput: newPackageOutput(l.root, t.Tree), Active: t.active, Generation: t.generation, Pinned: t.pinned, Available: t.available,
			Signature: file.Verdict, Signer: file.Signer, Reason: file.Reason,
		}
		if t.size != unknownSize {
			packages[i].Size = &t.size
		}
	}
	return l.app.printJSON(map[string]any{"packages": packages, "missing": append([]string{}, missing...)})
}
