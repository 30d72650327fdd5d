package transaction

import (
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/atomicfile"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/store"
	"github.com/hashpkg/hashpkg/sysroot"
)

// program is one dynamic executable of an installed package.
type program struct {
	pkg    *installed
	path   string // in the root, absolute, without links in its directory
	host   string
	digest string // as the package manager's database has it: "md5:hex"; "" for none
	file   fileID
}

type fileID struct{ dev, ino uint64 }

func newProgram(pkg *installed, digest, inside, host string, st *unix.Stat_t) *program {
	return &program{pkg: pkg, path: inside, host: host, digest: digest, file: fileID{st.Dev, st.Ino}}
}

// programChange is what a sync makes of one program.
type programChange struct {
	*program
	source     digest.Digest       // of the packaged bytes
	keep       *layout.EditedFile  // its record until now; nil for none
	had        *layout.AppliedEdit // the edit that it has; nil when it is as packaged
	want       *layout.AppliedEdit // the edit that it shall have; nil for none
	edit       elfedit.Edit        // from the bytes on disk to the wanted ones; zero when there is nothing to do
	interp     string
	loads      []string // the files that it loads as it is packaged, by device and inode
	left       string   // why it is left as it is, although the policy would have it edited
	unpinned   string   // why its pins are not followed
	unsettled  bool     // left or not pinned because of what the loader finds at the moment
	fault      error    // what kept it from being edited, and may not the next time
	unanswered []string // sonames that it needs and that no tree offers
	staged     *atomicfile.Replacement
	newFile    string // the staged file on the host
	restores   bool   // somebody wants the packaged bytes
}

// changes reports whether the file is to be replaced.
func (c *programChange) changes() bool { return c.left == "" && c.fault == nil && !c.edit.IsZero() }

// fails keeps why the program is not edited.
func (c *programChange) fails(err error) {
	var errno unix.Errno
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.EROFS): // stays so
	case errors.As(err, &errno), errors.Is(err, atomicfile.ErrChanged):
		c.fault = fmt.Errorf("edit %s: %w", c.path, err)
		return
	}
	c.left, c.unsettled = err.Error(), errors.Is(err, errLoadsOther)
}

// programEditor decides which edits programs get, and makes them.
type programEditor struct {
	root     *sysroot.Root
	rewrite  Rewrite
	own      string            // the root's architecture
	farm     map[string]bool   // the libraries that trees of the system offer
	trees    map[string]string // path of its tree by package key
	pins     []*pinnedLibrary
	edits    map[string]*layout.PackageEdits // by package key
	moved    map[string]bool                 // keys of those in edits that have new paths
	restored bool                            // also those that somebody wants as packaged
	strict   bool                            // what cannot be pinned is left: somebody is waiting for the answer
	planOnly bool                            // the farm is not there yet: nothing can be resolved in it
}

// finders are the loader's models for the architectures of a root, for one
// goroutine.
type finders struct {
	root *sysroot.Root
	of   map[string]ldso.Finder
}

func (f *finders) find(info *elfedit.Info) (ldso.Finder, error) {
	triplet := ldso.Triplet(info)
	if f.of[triplet] == nil {
		finder, err := f.root.System(info)
		if err != nil {
			return nil, err
		}
		f.of[triplet] = finder
	}
	return f.of[triplet], nil
}

// prepare decides what becomes of a program.
func (e *programEditor) prepare(p *program, f *finders) (*programChange, error) {
	file, err := os.Open(p.host)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	c := &programChange{program: p}
	err = store.MapFile(file, func(data []byte) error { return e.prepareBytes(c, data, f) })
	if err := refusal(c, err); err != nil {
		return nil, fmt.Errorf("edit %s: %w", p.path, err)
	}
	return c, nil
}

// refusal makes what the editor refuses a reason to leave the program.
func refusal(c *programChange, err error) error {
	var refused *elfedit.RefusedError
	if errors.As(err, &refused) {
		c.left = refused.Reason
		return nil
	}
	return err
}

func (e *programEditor) prepareBytes(c *programChange, data []byte, f *finders) error {
	packaged, err := e.packaged(c, data)
	if err != nil || c.left != "" {
		return err
	}
	info, err := elfedit.Inspect(packaged)
	if err != nil {
		return err
	}
	c.interp = info.Interpreter
	records, pins, err := e.records(c, info, f)
	if err != nil || c.left != "" || c.keep != nil && c.keep.Restored && !e.restored {
		return err
	}
	if len(pins) > 0 {
		// What a pinned program loads changes with all other libraries, so it is
		// looked at each time, and starts without the pin if it cannot with it.
		err := refusal(c, e.apply(c, data, packaged, info, append(slices.Clone(records.path), records.pins...), pins, f))
		if err != nil || c.left == "" || e.strict {
			return err
		}
		c.unpinned, c.left, c.unsettled = c.left, "", true
	}
	return e.apply(c, data, packaged, info, records.path, nil, f)
}

// apply makes the edits on the packaged bytes and looks at what the loader would
// make of the result. It sets left when that must not take the program's place.
func (e *programEditor) apply(c *programChange, data, packaged []byte, info *elfedit.Info, records []layout.EditRecord, pins []*pinnedLibrary, f *finders) error {
	if len(records) == 0 {
		if c.had != nil {
			c.edit = elfedit.Diff(data, packaged)
		}
		return nil
	}
	if c.had != nil && len(pins) == 0 && reflect.DeepEqual(c.had.Edits, records) {
		c.want = c.had
		return nil
	}
	changes, err := changesOf(records)
	if err != nil {
		return err
	}
	edit, err := elfedit.Make(packaged, changes)
	if err != nil {
		return err
	}
	edited, err := edit.Apply(packaged)
	if err != nil {
		return err
	}
	if c.left, err = e.compare(c, info, edited, records, pins, f); err != nil || c.left != "" {
		c.unsettled = true
		return err
	}
	if c.had != nil && reflect.DeepEqual(c.had.Edits, records) {
		c.want = c.had
		return nil
	}
	patch, err := layout.PackEdit(edit)
	if err != nil {
		return err
	}
	c.want = &layout.AppliedEdit{Object: digest.Of(edited), Edits: records, Patch: patch, Pins: pinNames(pins)}
	c.edit = edit
	if c.had != nil {
		c.edit = elfedit.Diff(data, edited)
	}
	return nil
}

// packaged returns the bytes that the program's package brought: those on disk,
// or with the recorded edit undone. It sets left when somebody else has changed the
// file.
func (e *programEditor) packaged(c *programChange, data []byte) ([]byte, error) {
	disk := digest.Of(data)
	if edits := e.edits[c.pkg.key]; edits != nil {
		for i := range edits.Files {
			if edits.Files[i].Path == c.path {
				c.keep = &edits.Files[i]
			}
		}
	}
	if c.keep != nil {
		if c.had = c.keep.With(disk); c.had != nil {
			edit, err := c.had.Patch.Edit()
			if err != nil {
				return nil, err
			}
			packaged, err := edit.Invert().Apply(data)
			if err != nil {
				return nil, err
			}
			if digest.Of(packaged) != c.keep.Source {
				return nil, errors.New("undoing its recorded edit does not give the packaged bytes; run hashpkg verify --system")
			}
			c.source = c.keep.Source
			return packaged, nil
		}
		if c.keep.Source != disk {
			c.keep = nil // of a file that was there before this one
		}
	}
	c.source = disk
	if c.keep == nil && !hasDigest(data, c.digest) {
		c.left = "is not the file that its package brought"
	}
	return data, nil
}

// hasDigest reports whether bytes have the digest that a package manager's
// database gives, "algorithm:hex". One that is missing says nothing against them.
func hasDigest(data []byte, want string) bool {
	algorithm, sum, _ := strings.Cut(want, ":")
	h := newHash(algorithm)
	if h == nil {
		return true
	}
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil)) == sum
}

// newHash returns the hash function of a database's digests; nil for one that is
// not known.
func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "md5":
		return md5.New()
	case "sha1":
		return sha1.New()
	case "sha224":
		return sha256.New224()
	case "sha256":
		return sha256.New()
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	}
	return nil
}

// wantedRecords are the edits that the policy and the pins ask for.
type wantedRecords struct{ path, pins []layout.EditRecord }

// records returns the edits that a program shall have, and the pins that are for it.
func (e *programEditor) records(c *programChange, info *elfedit.Info, f *finders) (wantedRecords, []*pinnedLibrary, error) {
	var records wantedRecords
	dir := layout.LibraryDir(e.own, info)
	answers := false
	for _, name := range info.Needed {
		switch {
		case strings.Contains(name, "/"):
		case e.farm[dir+"/"+name]:
			answers = true
		case !layout.IsGlibcLibrary(name):
			c.unanswered = append(c.unanswered, name)
		}
	}
	if reason := e.rewrite.passes(c.path, c.pkg.Name); reason == "" && (answers || e.rewrite.Executables == RewriteFull) {
		switch {
		case info.HasRPath && !info.HasRunPath:
			c.left = "has an RPATH, which a RUNPATH would switch off"
			return records, nil, nil
		default:
			records.path = append(records.path, e.searchPath(c, info, dir))
		}
	}
	pins, pinned, err := e.pinRecords(c, info, f)
	records.pins = pinned
	return records, pins, err
}

// searchPath returns the record for RUNPATH: what the author wrote stays in front.
func (e *programEditor) searchPath(c *programChange, info *elfedit.Info, dir string) layout.EditRecord {
	prefix := e.root.Prefix()
	var dirs []string
	if tree := e.trees[c.pkg.key]; e.rewrite.Executables == RewriteFull && tree != "" {
		dirs = append(dirs, prefix+"/"+tree+"/"+dir, prefix+"/"+c.pkg.Name+"/"+layout.DefaultLink+"/"+dir)
	}
	dirs = append(dirs, prefix+"/"+layout.CurrentSystem+"/"+dir)
	record := layout.EditRecord{Kind: layout.EditRunPath}
	if info.HasRunPath && info.RunPath != "" {
		record.From = []string{info.RunPath}
		dirs = append([]string{info.RunPath}, dirs...)
	}
	record.To = []string{strings.Join(dirs, ":")}
	return record
}

// compare resolves the program as it is packaged and as it would be. It returns
// why the edited one must not be used; "" when both load the same libraries, but for
// those that are pinned.
func (e *programEditor) compare(c *programChange, info *elfedit.Info, edited []byte, records []layout.EditRecord, pins []*pinnedLibrary, f *finders) (string, error) {
	after, err := elfedit.Inspect(edited)
	if err != nil {
		return "", err
	}
	if err := compareEdited(after, &layout.File{ELF: info, Edits: records}); err != nil {
		return "", err
	}
	if e.planOnly {
		return "", nil
	}
	was, err := c.load(info, f)
	if err != nil {
		return "", err
	}
	is, err := c.load(after, f)
	if err != nil {
		return "", err
	}
	c.loads = nil
	for _, o := range was.Objects[1:] {
		c.loads = append(c.loads, o.ID)
	}
	if !was.Starts() && len(pins) == 0 {
		return "does not start as it is: " + whyNot(was), nil
	}
	if !is.Starts() && !forced(pins) {
		return "would not start: " + whyNot(is), nil
	}
	return differ(was, is, pins), nil
}

// load resolves the program with these facts in place of what is on disk.
func (p *program) load(info *elfedit.Info, f *finders) (*ldso.Closure, error) {
	finder, err := f.find(info)
	if err != nil {
		return nil, err
	}
	return ldso.Load(&ldso.Object{Path: p.path, ID: fmt.Sprintf("%d:%d", p.file.dev, p.file.ino), Info: info}, finder)
}

// whyNot says what keeps a program from starting.
func whyNot(c *ldso.Closure) string {
	for _, m := range c.Missing {
		return fmt.Sprintf("%s, needed by %s, is missing", m.Name, m.From.Path)
	}
	for _, v := range c.Versions {
		if v.Fatal {
			return fmt.Sprintf("%s needs the symbol version %s of %s", v.From.Path, v.Version, v.File)
		}
	}
	return "the loader's model says so"
}

// differ says how two closures differ; "" when they are the same files in the same
// order, but for pinned ones.
func differ(was, is *ldso.Closure, pins []*pinnedLibrary) string {
	if len(pins) == 0 {
		if !slices.EqualFunc(was.Objects[1:], is.Objects[1:], func(a, b *ldso.Object) bool { return a.ID == b.ID }) {
			return "the loader would find other libraries: " + firstDifference(was, is)
		}
		return ""
	}
	loaded := map[string]*ldso.Object{}
	for _, o := range is.Objects[1:] {
		if name := o.Info.Soname; name != "" && loaded[name] != nil {
			return fmt.Sprintf("two builds of %s would be loaded, %s and %s", name, loaded[name].Path, o.Path)
		}
		loaded[o.Info.Soname] = o
	}
	return ""
}

func firstDifference(was, is *ldso.Closure) string {
	for i := 1; i < max(len(was.Objects), len(is.Objects)); i++ {
		switch {
		case i >= len(is.Objects):
			return was.Objects[i].Path + " would be missing"
		case i >= len(was.Objects):
			return is.Objects[i].Path + " would come in addition"
		case was.Objects[i].ID != is.Objects[i].ID:
			return fmt.Sprintf("%s in place of %s", is.Objects[i].Path, was.Objects[i].Path)
		}
	}
	return "no difference"
}

// editBatch bounds the bytes of programs that stand beside those whose place they
// will take.
const editBatch = 256 << 20

// edit makes the changes, some at a time: recorded durably, written beside the old
// files, looked at by the loader itself where that can be, and then renamed over
// them. What one program cannot take does not keep the others from it.
func (e *programEditor) edit(ctx context.Context, changes []*programChange) error {
	sweep(changes)
	for _, round := range rounds(changes) {
		work := round.first
		for len(work) > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, size := 0, int64(0)
			for n < len(work) && (n == 0 || size < editBatch) {
				size += work[n].edit.NewSize
				n++
			}
			if err := e.editSome(work[:n], round.same); err != nil {
				return err
			}
			work = work[n:]
		}
	}
	return nil
}

// result is a file that programs have in common now and, once they are edited, too.
type result struct {
	file   fileID
	digest digest.Digest
}

// round is a set of changes that can be made together: files have other names, and
// one that is replaced under one of them has changed under the others.
type round struct {
	first []*programChange            // one for each file
	same  map[result][]*programChange // the other names that become the same file
	files map[fileID]result
}

// rounds orders the changes: nearly always one round has them all.
func rounds(changes []*programChange) []*round {
	var rounds []*round
	for _, c := range changes {
		if !c.changes() {
			continue
		}
		i := 0
		for ; i < len(rounds); i++ {
			if taken, ok := rounds[i].files[c.file]; !ok || taken == c.result() {
				break
			}
		}
		if i == len(rounds) {
			rounds = append(rounds, &round{same: map[result][]*programChange{}, files: map[fileID]result{}})
		}
		r := rounds[i]
		if _, ok := r.files[c.file]; ok {
			r.same[c.result()] = append(r.same[c.result()], c)
			continue
		}
		r.files[c.file] = c.result()
		r.first = append(r.first, c)
	}
	return rounds
}

// leftAge is how old a file must be to have been left by a process that was killed.
const leftAge = 2 * time.Second

// sweep removes what a killed run has left beside programs: the next run looks at
// the same ones again. A setuid program's copy would outlive its package there.
func sweep(changes []*programChange) {
	dirs := map[string]bool{}
	for _, c := range changes {
		dirs[path.Dir(c.host)] = true
	}
	for dir := range dirs {
		_ = atomicfile.Sweep(dir, leftAge) // what cannot be removed harms no program
	}
}

func (c *programChange) result() result {
	if c.want == nil {
		return result{c.file, c.source}
	}
	return result{c.file, c.want.Object}
}

func (e *programEditor) editSome(work []*programChange, same map[result][]*programChange) (err error) {
	defer func() {
		for _, c := range work {
			if c.staged != nil {
				err = errors.Join(err, c.staged.Discard())
			}
		}
	}()
	forEach(work, func(c *programChange) {
		if serr := e.stage(c); serr != nil {
			c.fails(serr)
		}
	})
	var paths []string
	touched := map[string]bool{}
	for _, c := range work {
		for _, other := range append(same[c.result()], c) {
			if !c.changes() {
				other.left, other.fault = c.left, c.fault
				continue
			}
			e.record(other, true)
			touched[other.pkg.key] = true
		}
		if c.changes() {
			paths = append(paths, c.newFile)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	if err := atomicfile.SyncFiles(paths); err != nil {
		return err
	}
	if err := e.writeRecords(touched); err != nil {
		return err
	}
	hosts := make([]string, 0, len(work))
	replaced := map[string]bool{} // packages whose records have an edit too many now
	for _, c := range work {
		if !c.changes() {
			continue
		}
		if err := c.staged.Commit(); err != nil {
			c.fails(err)
			continue
		}
		hosts = append(hosts, c.host)
		for _, other := range append(same[c.result()], c) {
			if other != c {
				if err := atomicfile.ReplaceByLink(c.host, other.host); err != nil {
					other.fails(err)
					continue
				}
			}
			e.record(other, false)
			if other.had != nil || other.want == nil {
				replaced[other.pkg.key] = true
			}
		}
	}
	if len(replaced) == 0 {
		return nil
	}
	if err := atomicfile.SyncFiles(hosts); err != nil {
		return err
	}
	return e.writeRecords(replaced)
}

// forEach calls f for each of a list, on as many processors as there are.
func forEach[T any](list []T, f func(T)) {
	work := make(chan T)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(list)) {
		wg.Go(func() {
			for v := range work {
				f(v)
			}
		})
	}
	for _, v := range list {
		work <- v
	}
	close(work)
	wg.Wait()
}

// stage writes the edited file beside the old one and has the loader look at it.
func (e *programEditor) stage(c *programChange) error {
	staged, err := atomicfile.StageEdited(c.host, c.edit, atomicfile.ReplaceOptions{})
	if err != nil {
		return err
	}
	c.staged = staged
	if c.newFile, err = staged.Named(); err != nil {
		return err
	}
	b, err := os.ReadFile(c.newFile)
	if err != nil {
		return err
	}
	if digest.Of(b) != c.result().digest {
		return errors.New("what was written does not have the digest that it should")
	}
	if e.root.Dir() != "/" || c.want == nil || len(c.want.Pins) > 0 && forced(e.pins) {
		return nil
	}
	return compareLoaded(c, c.newFile)
}

// record puts a change into its package's record: both edits while one takes the
// other's place, then the new one alone.
func (e *programEditor) record(c *programChange, both bool) {
	edits := e.edits[c.pkg.key]
	if edits == nil {
		edits = &layout.PackageEdits{Layout: layout.FormatVersion, Key: c.pkg.key}
		e.edits[c.pkg.key] = edits
	}
	i, found := slices.BinarySearchFunc(edits.Files, c.path, func(f layout.EditedFile, p string) int { return cmp.Compare(f.Path, p) })
	file := layout.EditedFile{Path: c.path, Source: c.source, Restored: c.restores}
	if c.want != nil {
		file.Applied = append(file.Applied, *c.want)
	}
	if both && c.had != nil {
		file.Applied = append(file.Applied, *c.had)
	}
	switch {
	case len(file.Applied) == 0 && !file.Restored && found:
		edits.Files = slices.Delete(edits.Files, i, i+1)
	case len(file.Applied) == 0 && !file.Restored:
	case found:
		edits.Files[i] = file
	default:
		edits.Files = slices.Insert(edits.Files, i, file)
	}
}

func (e *programEditor) writeRecords(keys map[string]bool) error {
	var list []*layout.PackageEdits
	for key := range keys {
		list = append(list, e.edits[key])
	}
	return e.root.SetEdits(list)
}

// prepareAll prepares programs on as many processors as there are.
func (e *programEditor) prepareAll(programs []*program) ([]*programChange, error) {
	type job struct {
		p *program
		i int
	}
	jobs := make([]job, len(programs))
	changes := make([]*programChange, len(programs))
	faults := make([]error, len(programs))
	for i, p := range programs {
		jobs[i] = job{p, i}
	}
	pool := sync.Pool{New: func() any { return &finders{e.root, map[string]ldso.Finder{}} }}
	forEach(jobs, func(j job) {
		f, _ := pool.Get().(*finders)
		changes[j.i], faults[j.i] = e.prepare(j.p, f)
		pool.Put(f)
	})
	for i, err := range faults {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			changes[i] = &programChange{program: programs[i]}
			changes[i].fails(err)
		}
	}
	return slices.DeleteFunc(changes, func(c *programChange) bool { return c == nil }), nil
}

// Rewrite is what the administrator wants to be done to executables.
type Rewrite struct {
	// Executables is the policy for RUNPATH.
	Executables RewritePolicy
	// Include and Exclude hold patterns as of path.Match for paths in the root;
	// one that names a directory stands for all that is below it. With Include,
	// only those are edited.
	Include, Exclude []string
}

// RewritePolicy says what is written into DT_RUNPATH of executables.
type RewritePolicy string

// The policies.
const (
	RewriteMinimal RewritePolicy = "minimal" // the directories that can answer
	RewriteFull    RewritePolicy = "full"    // the version's, the default's and current-system's, in all
	RewriteNone    RewritePolicy = "none"    // nothing
)

// passes returns why the policy leaves a program alone; "" when it does not.
func (r *Rewrite) passes(program, pkg string) string {
	switch {
	case r.Executables == RewriteNone:
		return "executables = \"none\""
	case pkg == "hashpkg":
		return "hashpkg itself is never edited"
	case len(r.Include) > 0 && !matchesAny(r.Include, program):
		return "is not included"
	case matchesAny(r.Exclude, program):
		return "is excluded"
	}
	return ""
}

func matchesAny(patterns []string, program string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		for name := program; name != "/" && name != "."; name = path.Dir(name) {
			if ok, err := path.Match(strings.TrimSuffix(p, "/"), name); err == nil && ok {
				return true
			}
		}
		return false
	})
}
