package elfcmd

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/internal/mapped"
	"github.com/hashpkg/hashpkg/programs/inplace"
)

// What a file has not got. Scripts look for the first words, which are
// patchelf's.
var (
	errNoInterpreter = errors.New("cannot find section '.interp': it is a library, or linked statically")
	errNoDynamic     = errors.New("cannot find section '.dynamic': it is linked statically, or has lost it")
)

// output is what the command prints with --json.
type output struct {
	Files []*fileOutput `json:"files"`
}

type fileOutput struct {
	Path  string        `json:"path"`
	Error string        `json:"error,omitempty"`
	ELF   *elfedit.Info `json:"elf,omitempty"`
	Edit  *editOutput   `json:"edit,omitempty"`
	// Recorded is what Env.Recorded returns; of a file that no option can change.
	Recorded fmt.Stringer `json:"recorded,omitempty"`
}

type editOutput struct {
	Changed bool  `json:"changed"`
	OldSize int64 `json:"old_size"`
	NewSize int64 `json:"new_size"`
	Hunks   int   `json:"hunks"`
	Bytes   int   `json:"bytes"` // that the hunks write
}

func newEditOutput(e elfedit.Edit) *editOutput {
	out := &editOutput{Changed: !e.IsZero(), OldSize: e.OldSize, NewSize: e.NewSize, Hunks: len(e.Hunks)}
	for _, h := range e.Hunks {
		out.Bytes += len(h.New)
	}
	return out
}

// String is a line of --dry-run.
func (e *editOutput) String() string {
	switch growth := e.NewSize - e.OldSize; {
	case !e.Changed:
		return "no change"
	case growth < 0:
		return fmt.Sprintf("%d bytes in %d hunks, %d bytes shorter", e.Bytes, e.Hunks, -growth)
	default:
		return fmt.Sprintf("%d bytes in %d hunks, %d bytes longer", e.Bytes, e.Hunks, growth)
	}
}

// maxTries is how often a file is edited anew that changed meanwhile, as one
// does that is named twice.
const maxTries = 3

// file does one file.
func (r *run) file(name string) *fileResult {
	var result *fileResult
	for range maxTries {
		result = &fileResult{fileOutput: fileOutput{Path: name}}
		if r.o.undo != "" {
			result.err = r.undo(name, result)
		} else {
			result.err = r.edit(name, result)
		}
		if !errors.Is(result.err, elfedit.ErrEditMismatch) && !errors.Is(result.err, inplace.ErrChanged) {
			break
		}
	}
	if result.err != nil {
		var p *fs.PathError
		if errors.As(result.err, &p) && p.Path == name {
			result.err = p.Err // the name comes first
		}
		result.err = fmt.Errorf("%s: %w", name, result.err)
		result.Error = result.err.Error()
	}
	return result
}

// addRecorded adds what is recorded of a file's edits.
func (r *run) addRecorded(name string, result *fileResult) {
	if r.Recorded == nil {
		return
	}
	recorded, err := r.Recorded(name)
	if err != nil { // a record says nothing of whether the file is sound
		fmt.Fprintf(&result.notes, "%s: warning: %s: %s\n", r.program, r.Visible(name), r.Visible(err.Error()))
	}
	if result.Recorded = recorded; recorded != nil && !r.o.json {
		fmt.Fprintf(&result.out, "%s", recorded)
	}
}

// edit prints what is asked of a file, and changes it.
func (r *run) edit(name string, result *fileResult) error {
	o := r.o
	var plan *filePlan
	var e elfedit.Edit
	var before checksum
	described := false
	err := mapped.Open(name, func(data []byte) error {
		info, err := o.inspect(data)
		if err != nil {
			return err
		}
		result.ELF = info
		if r.program == "hashpkg" && o.asksNothing() { // patchelf prints nothing
			described = true
			describe(&result.out, name, info, r.Visible)
			return nil
		}
		if !r.o.json || o.edits() {
			if err := editable(info); err != nil {
				return err
			}
		}
		if err := o.print(info, &result.out); err != nil {
			return err
		}
		if !o.edits() && o.savePatch == "" {
			e.OldSize, e.NewSize = int64(len(data)), int64(len(data))
		} else {
			if plan, err = o.plan(info); err != nil {
				return err
			}
			if e, err = plan.make(data); err != nil {
				return err
			}
			result.Edit = newEditOutput(e)
		}
		if o.savePatch != "" {
			before = checksumOf(data)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if o.debug {
		result.debug(name, e)
	}
	if plan == nil && (o.json || described) {
		r.addRecorded(name, result)
	}
	if described {
		return nil
	}
	if plan == nil {
		return r.write(name, e, result, nil)
	}
	for _, w := range plan.warnings {
		fmt.Fprintf(&result.notes, "%s: warning: %s: %s\n", r.program, name, w)
	}
	if o.savePatch != "" && !o.dryRun {
		return r.writeWithPatch(name, e, plan, before, result)
	}
	if err := r.write(name, e, result, plan.check); err != nil {
		return err
	}
	if !o.dryRun {
		result.ELF = &plan.expected
	}
	return nil
}

// inspect reads a file. One whose names are in no table is read all the same,
// for what needs no names.
func (o *options) inspect(data []byte) (*elfedit.Info, error) {
	info, err := elfedit.Inspect(data)
	if errors.Is(err, elfedit.ErrNoStringTable) && !o.needsNames() {
		err = nil
	}
	return info, err
}

// editable refuses what patchelf refuses.
func editable(info *elfedit.Info) error {
	switch {
	case info.SplitDebug:
		return errors.New("it holds only the debugging information of another file")
	case info.Type == elf.ET_REL:
		return errors.New("wrong ELF type: it is an object file or kernel module, which the dynamic loader does not load")
	case info.Type == elf.ET_CORE:
		return errors.New("wrong ELF type: it is a core file")
	case info.Type != elf.ET_EXEC && info.Type != elf.ET_DYN:
		return fmt.Errorf("wrong ELF type: %d", info.Type)
	}
	return nil
}

// print writes what the --print options ask for, in patchelf's order and form.
// All of it is of the file before its change.
func (o *options) print(info *elfedit.Info, w io.Writer) error {
	if o.printInterpreter {
		if info.Interpreter == "" {
			return errNoInterpreter
		}
		fmt.Fprintf(w, "%s\n", info.Interpreter)
	}
	if o.printOSABI {
		fmt.Fprintf(w, "%s\n", osabiName(info.OSABI))
	}
	// Of a program that is not position-independent, patchelf prints no soname.
	if o.printSoname && info.Type == elf.ET_DYN {
		if !info.HasDynamic {
			return errNoDynamic
		}
		if info.Soname != "" {
			fmt.Fprintf(w, "%s\n", info.Soname)
		}
	}
	if o.printRPath {
		if !info.HasDynamic {
			return errNoDynamic
		}
		dirs, _ := searchPath(info)
		fmt.Fprintf(w, "%s\n", dirs)
	}
	if o.printExecStack {
		fmt.Fprintf(w, "execstack: %c\n", execStack(info))
	}
	if o.printNeeded {
		if !info.HasDynamic {
			return errNoDynamic
		}
		for _, name := range info.Needed {
			fmt.Fprintf(w, "%s\n", name)
		}
	}
	return nil
}

// execStack is X or -, or ? for a file that does not say.
func execStack(info *elfedit.Info) rune {
	switch {
	case info.ExecStack:
		return 'X'
	case info.HasStack:
		return '-'
	}
	return '?'
}

// debug says what is about to change.
func (result *fileResult) debug(name string, e elfedit.Edit) {
	fmt.Fprintf(&result.notes, "patching ELF file '%s'\n", name)
	for _, h := range e.Hunks {
		fmt.Fprintf(&result.notes, "offset %#x: %d bytes in place of %d\n", h.Offset, len(h.New), len(h.Old))
	}
	if e.IsZero() {
		fmt.Fprintf(&result.notes, "nothing changes\n")
	}
}

// write makes an edit, as far as there is one, in the file or in --output.
func (r *run) write(name string, e elfedit.Edit, result *fileResult, check func([]byte) error) error {
	o := r.o
	if o.dryRun {
		fmt.Fprintf(&result.out, "%s: %s\n", name, newEditOutput(e))
		return nil
	}
	if e.IsZero() && (o.output == "" || o.output == name) {
		return nil
	}
	if o.output != "" {
		if info, err := os.Stat(o.output); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
			if o.savePatch != "" {
				return fmt.Errorf("--save-patch needs a file that stays, and %s is a pipe or a device", o.output)
			}
			return writeStream(name, o.output, e)
		}
	}
	return replace(name, o.output, e, inplace.Options{Check: check, Durable: o.sync})
}

// replace makes an edit in a file, or in output unless that is empty.
func replace(name, output string, e elfedit.Edit, o inplace.Options) (err error) {
	from, err := placeOf(name)
	if err != nil {
		return err
	}
	defer from.Dir.Close()
	paths := map[string]string{from.Dir.Path(from.Base): name}
	if output != "" {
		to, err := placeOf(output)
		if err != nil {
			return err
		}
		defer to.Dir.Close()
		paths[to.Dir.Path(to.Base)] = output
		o.To = &to
	}
	r, err := inplace.Stage(from.Dir, from.Base, e, o)
	if err == nil {
		err = r.Commit()
	}
	var p *fs.PathError
	if !errors.As(err, &p) {
		return err
	}
	p.Path = cmp.Or(paths[p.Path], p.Path) // as the user named it
	if output == "" && (errors.Is(err, inplace.ErrSigned) || errors.Is(err, inplace.ErrVerity)) {
		p.Err = fmt.Errorf("%w; --output writes an edited copy", p.Err)
	}
	return err
}

// placeOf opens the directory of a file, or of the one that a link there leads to.
// The caller closes it.
func placeOf(name string) (inplace.Place, error) {
	real := name
	if st, err := os.Lstat(name); err == nil && st.Mode()&fs.ModeSymlink != 0 {
		if real, err = filepath.EvalSymlinks(name); err != nil {
			return inplace.Place{}, fmt.Errorf("follow %s: %w", name, err)
		}
	}
	path, base := filepath.Split(real)
	if base == "" || base == "." || base == ".." { // a directory, of which Stage will say so
		path, base = real, "."
	}
	dir, err := beneath.Open(cmp.Or(path, "."))
	return inplace.Place{Dir: dir, Base: base}, err
}

// writeStream writes the edited file to a pipe or a device.
func writeStream(name, output string, e elfedit.Edit) error {
	f, err := os.OpenFile(output, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = mapped.Open(name, func(data []byte) error {
		at := int64(0)
		for _, h := range e.Hunks {
			if _, err := f.Write(data[at:min(h.Offset, int64(len(data)))]); err != nil {
				return err
			}
			if _, err := f.Write(h.New); err != nil {
				return err
			}
			at = h.Offset + int64(len(h.New))
		}
		if at < int64(len(data)) {
			_, err := f.Write(data[at:])
			return err
		}
		return nil
	})
	return errors.Join(err, f.Close())
}

// writeWithPatch writes the patch before the file changes, so that no edited
// file is without one.
func (r *run) writeWithPatch(name string, e elfedit.Edit, plan *filePlan, before checksum, result *fileResult) error {
	o := r.o
	p := patch{Format: patchFormat, File: name, Before: before, After: before, Edit: e}
	if e.Hunks == nil {
		p.Edit.Hunks = []elfedit.Hunk{}
	}
	var remove func() error
	save := func(data []byte) (err error) {
		if err := plan.check(data); err != nil {
			return err
		}
		p.After = checksumOf(data)
		remove, err = p.create(o.savePatch)
		return err
	}
	if e.IsZero() && o.output == "" {
		if _, err := p.create(o.savePatch); err != nil {
			return err
		}
		result.ELF = &plan.expected
		return nil
	}
	if err := r.write(name, e, result, save); err != nil {
		if remove != nil {
			err = errors.Join(err, remove())
		}
		return err
	}
	result.ELF = &plan.expected
	return nil
}
