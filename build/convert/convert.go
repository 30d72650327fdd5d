// Package convert makes an existing package again with its programs edited as package
// build does it for one that is about to be packed: [File] is all of it.
//
// The package is read by its format's strict reader. Its ELF files are unpacked beside
// the result, edited there, and packed again by the format ([backends.Rewriter]), which
// keeps everything else as it was. The result is then read again and compared with the
// input, file by file; it gets its name only when nothing but what was to change is
// another.
//
// What is in the result depends on the package, the policy and the options alone: not on
// the libraries or the time of the machine. So it has no note of the libraries that
// programs were built against, which nobody knows here.
package convert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/build"
	"github.com/hashpkg/hashpkg/internal/advice"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Options say how a package is converted.
type Options struct {
	Formats backends.Formats
	Prefix  string      // where trees stand on the machines that will have the package; "" for layout.DefaultPrefix
	Rules   build.Rules // of [Rules]
	Exclude []string    // patterns as in build.Policy

	Suffix      string    // of the version; "" for the format's own
	Compression string    // as in [backends.Changes]
	Author      string    // of the changelog's entry; "" for [DefaultAuthor]
	Time        time.Time // of that entry, if the one before is older; else it follows that one

	// MaxSize is how many bytes the files of the package may have, unpacked; 0 for as many
	// as when it is installed. One with more is refused, with an [*unpack.SizeError].
	MaxSize int64

	// Out is the file that is written, or a directory that is there, in which it gets the
	// name that it has in repositories.
	Out    string
	DryRun bool // everything is done, and thrown away; Out may be ""

	// Progress, unless nil, is told how many bytes of the package's file were read in a step.
	Progress func(step string, done int64)
}

// DefaultAuthor stands in the changelog where nobody else does.
const DefaultAuthor = "hashpkg convert <maintainers@hashpkg.invalid>"

// Report is what became of a package.
type Report struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	Format       string `json:"format"`

	// Changed says whether a program was edited. A package of which none was is copied
	// as it is.
	Changed    bool   `json:"changed"`
	NewVersion string `json:"newVersion,omitempty"`
	Output     string `json:"output,omitempty"` // the file; "" in a dry run
	Kept       bool   `json:"kept,omitempty"`   // the output is the package itself, which stays as it is
	Size       int64  `json:"size"`             // of the package's file, and of the new one, in bytes
	NewSize    int64  `json:"newSize"`

	Files    []build.File `json:"files"`          // those with the ELF magic number, by their paths
	Lost     []string     `json:"lost,omitempty"` // what the package had and the new one has not
	Warnings []string     `json:"warnings"`
}

// Rules reads rules as [build.ParseRules] does. No program gets a note.
func Rules(text string) (build.Rules, error) {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return build.ParseRules(text + "note none /*\n")
}

// note is what the changelog says.
const note = "Programs search the libraries of hashpkg's trees, too."

// File converts the package in a file. When it returns an error, nothing has been written
// under the output's name, and nothing is left beside it. A process that is killed leaves a
// directory whose name begins with ".hashpkg-convert-".
func File(ctx context.Context, name string, o *Options) (report *Report, err error) {
	in, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would wait for a writer
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: it is no regular file", name)
	}
	c := &conversion{Options: o, ctx: ctx, in: in, name: name, info: info}
	dir, base, err := c.place()
	if err != nil {
		return nil, err
	}
	if c.work, err = os.MkdirTemp(dir, ".hashpkg-convert-"); err != nil {
		return nil, fmt.Errorf("make a directory to work in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.work)) }()
	if err := c.run(); errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return nil, advice.Errorf("%s: %w; make room there, or name a directory of another disk with -o", name, err)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if o.DryRun {
		return &c.report, nil
	}
	if base == "" {
		base = c.fileName
	}
	target := filepath.Join(dir, base)
	if err := c.checkTarget(target); err != nil {
		if c.report.Changed || !errors.Is(err, errItself) {
			return nil, err
		}
		c.report.Output, c.report.Kept = target, true
		return &c.report, nil
	}
	if err := os.Rename(c.output(), target); err != nil {
		return nil, err
	}
	c.report.Output = target
	return &c.report, nil
}

// conversion is one package on its way.
type conversion struct {
	*Options
	ctx  context.Context
	in   *os.File
	name string
	info fs.FileInfo
	work string // a directory, on the file system of the result

	rewriter backends.Rewriter
	seen     *contents           // of the package
	notes    map[string][]byte   // of [backends.Changes]
	tree     map[string]unpacked // the regular files that stand in the work's tree, by path
	fileName string              // of the result
	report   Report
}

func (c *conversion) output() string { return filepath.Join(c.work, "package") }
func (c *conversion) root() string   { return filepath.Join(c.work, "tree") }

// place returns the directory of the result, and its name; "" for the one that it has in
// repositories.
func (c *conversion) place() (dir, base string, err error) {
	if c.Out == "" {
		return "", "", nil // os.MkdirTemp's own directory
	}
	info, err := os.Stat(c.Out)
	switch {
	case err == nil && info.IsDir():
		return c.Out, "", nil
	case err == nil && !info.Mode().IsRegular():
		return "", "", fmt.Errorf("%s: it is neither a regular file nor a directory", c.Out)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", "", err
	case strings.HasSuffix(c.Out, "/"):
		return "", "", advice.Errorf("%s: there is no such directory; make it first: mkdir -p %s", c.Out, c.Out)
	}
	if err := c.checkTarget(c.Out); err != nil {
		return "", "", err
	}
	return filepath.Dir(c.Out), filepath.Base(c.Out), nil
}

var errItself = errors.New("it is the package itself, which stays as it is")

// checkTarget refuses to write over the package itself.
func (c *conversion) checkTarget(target string) error {
	info, err := os.Stat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if os.SameFile(info, c.info) {
		return advice.Errorf("%s: %w; name another file or directory with -o", target, errItself)
	}
	return nil
}

// run makes the result, and the report but for where it is.
func (c *conversion) run() error {
	r, err := c.open("reading")
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.Mkdir(c.root(), 0o755); err != nil {
		return err
	}
	if err := c.unpack(r); err != nil {
		return err
	}
	p := c.seen.pkg
	c.report = Report{
		Name: p.Name, Version: p.Version, Architecture: p.Architecture, Format: string(p.Format),
		Size: c.info.Size(), Files: c.report.Files, Warnings: []string{},
	}
	if err := c.bind(); err != nil {
		return err
	}
	if !c.report.Changed {
		c.fileName = filepath.Base(c.name)
		return c.copy()
	}
	return c.rewrite()
}

// source reads the package from its beginning. Its format, with which source begins, is
// not asked again.
func (c *conversion) source(step string) (io.Reader, error) {
	if _, err := c.in.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return &watched{c: c, r: c.in, step: step}, nil
}

// watched is a reader that ends with its context, and tells how far it is.
type watched struct {
	c    *conversion
	r    io.Reader
	n    int64
	step string
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.r.Read(p)
	w.n += int64(n)
	if w.c.Progress != nil {
		w.c.Progress(w.step, w.n)
	}
	return n, err
}

// open begins to read the package, and refuses what is not converted whatever is in it.
func (c *conversion) open(step string) (backends.Reader, error) {
	source, err := c.source(step)
	if err != nil {
		return nil, err
	}
	format, all, err := c.Formats.Identify(source)
	if err != nil {
		return nil, err
	}
	var ok bool
	if c.rewriter, ok = format.(backends.Rewriter); !ok {
		return nil, fmt.Errorf("packages of the format %s are not converted", format.Name())
	}
	r, err := format.Open(all, nil)
	if err != nil {
		return nil, err
	}
	if err := c.rewriter.Rewritable(r); err != nil {
		return nil, errors.Join(fmt.Errorf("it is not converted: %w", err), r.Close())
	}
	return r, nil
}

// bind edits what was unpacked.
func (c *conversion) bind() error {
	if len(c.tree) == 0 {
		return nil
	}
	root, err := sysroot.Open(c.root(), c.Prefix, nil)
	if err != nil {
		return err
	}
	defer root.Close()
	report, err := build.Bind(c.ctx, root, &build.Policy{Rules: c.Rules, Exclude: c.Exclude, Prefix: c.Prefix})
	if err != nil {
		return err
	}
	for _, f := range report.Files {
		if f.Error != "" {
			return fmt.Errorf("%s is not edited: %s", f.Path, f.Error)
		}
		if f.RunPathLeft == build.OtherPrefix {
			return fmt.Errorf("it is not converted: %s %s", f.Path, f.RunPathLeft)
		}
		c.report.Changed = c.report.Changed || f.Changed
		c.report.Files = append(c.report.Files, f)
	}
	slices.SortFunc(c.report.Files, func(a, b build.File) int { return strings.Compare(a.Path, b.Path) })
	c.report.Warnings = append(c.report.Warnings, report.Warnings...)
	return nil
}

// copy makes the result of a package in which nothing is edited: the same bytes.
func (c *conversion) copy() error {
	r, err := c.source("copying")
	if err != nil {
		return err
	}
	return c.write(func(w *os.File) error {
		n, err := io.Copy(w, r)
		c.report.NewSize = n
		return err
	})
}

// write makes the file of the result.
func (c *conversion) write(content func(w *os.File) error) error {
	w, err := os.OpenFile(c.output(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	err = content(w)
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}

// rewrite makes the result of a package in which something was edited.
func (c *conversion) rewrite() error {
	changes := &backends.Changes{
		Suffix: c.Suffix, Compression: c.Compression, Note: note, Author: c.Author, Time: c.Time,
		Files: map[string]backends.Content{}, Notes: c.notes,
	}
	if changes.Author == "" {
		changes.Author = DefaultAuthor
	}
	for _, f := range c.report.Files {
		if !f.Changed {
			continue
		}
		content, name, err := c.edited(append([]string{f.Path}, f.Links...))
		if err != nil {
			return err
		}
		changes.Files[name] = content
	}
	return c.write(func(w *os.File) error {
		r, err := c.source("writing")
		if err != nil {
			return err
		}
		result, err := c.rewriter.Rewrite(w, r, changes)
		if err != nil {
			return err
		}
		c.fileName, c.report.NewVersion, c.report.Lost = result.FileName, result.Version, result.Lost
		if result.Unnoted {
			c.report.Warnings = append(c.report.Warnings, "the package has no changelog that can be read, and so nothing in it says what was changed")
		}
		if c.report.NewSize, err = w.Seek(0, io.SeekEnd); err != nil {
			return err
		}
		return c.check(w, changes, result)
	})
}

// edited returns the content of an edited file, by the one of its names that is a regular
// file in the package.
func (c *conversion) edited(names []string) (backends.Content, string, error) {
	for i, name := range names {
		name = strings.TrimPrefix(name, "/")
		u, ok := c.tree[name]
		if !ok {
			continue
		}
		place := filepath.Join(c.root(), name)
		info, err := os.Lstat(place)
		if err != nil {
			return backends.Content{}, "", err
		}
		content := backends.Content{Size: info.Size(), OldSize: u.size, Open: func() (io.ReadCloser, error) { return os.Open(place) }}
		for _, other := range slices.Delete(slices.Clone(names), i, i+1) {
			content.Links = append(content.Links, strings.TrimPrefix(other, "/"))
		}
		return content, name, nil
	}
	return backends.Content{}, "", fmt.Errorf("%s was edited, and is not in the package", strings.Join(names, ", "))
}

// check reads the result and compares it with the package: nothing but what was to change
// is another.
func (c *conversion) check(w *os.File, changes *backends.Changes, result *backends.Rewritten) error {
	if _, err := w.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, err := c.rewriter.Open(&watched{c: c, r: w, step: "checking"}, nil)
	if err != nil {
		return fmt.Errorf("read what was written: %w", err)
	}
	defer r.Close()
	now := newContents(r.Package())
	if err := now.readAll(r, nil); err != nil {
		return fmt.Errorf("read what was written: %w", err)
	}
	isNote := func(name string) bool { _, ok := c.notes[name]; return ok }
	if err := now.compare(c.seen, result.Version, slices.Collect(maps.Keys(changes.Files)), isNote); err != nil {
		return fmt.Errorf("what was written is not the package: %w", err)
	}
	return nil
}
