package elfedit

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// corpusDirs are where the corpus test looks; HASHPKG_TEST_ELF_DIRS replaces
// them.
func corpusDirs() []string {
	if dirs := os.Getenv("HASHPKG_TEST_ELF_DIRS"); dirs != "" {
		return strings.Split(dirs, ":")
	}
	return []string{"/usr/bin", "/usr/sbin", "/usr/lib"}
}

func corpusFiles(t *testing.T) []string {
	var files []string
	for _, dir := range corpusDirs() {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			f, err := os.Open(path)
			if err != nil {
				return nil
			}
			defer f.Close()
			magic := make([]byte, 4)
			if _, err := f.Read(magic); err == nil && string(magic) == elf.ELFMAG {
				files = append(files, path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// corpus is what a run over many files found.
type corpus struct {
	t        *testing.T
	dir      string
	strip    bool
	judged   bool
	refused  map[string]int
	growth   map[string][]int64
	handled  int
	bindable int
	failures int
}

// TestCorpus edits the programs and libraries of the system that it runs on in
// the ways that a package manager does: all of them with HASHPKG_TEST_ELF=1,
// else some.
func TestCorpus(t *testing.T) {
	testneed.Programs(t, "strip", "eu-elflint")
	files := corpusFiles(t)
	if os.Getenv("HASHPKG_TEST_ELF") == "" {
		var some []string
		for i := 0; i < len(files); i += len(files)/40 + 1 {
			some = append(some, files[i])
		}
		files = some
	}
	_, lintErr := exec.LookPath("eu-elflint")
	_, stripErr := exec.LookPath("strip")
	c := &corpus{t: t, dir: t.TempDir(), judged: lintErr == nil, strip: stripErr == nil, refused: make(map[string]int), growth: make(map[string][]int64)}
	start := time.Now()
	for _, path := range files {
		c.file(path)
	}
	t.Logf("%d files in %v: %d handled, %d with failures; strip and eu-elflint: %v, %v", len(files), time.Since(start).Round(time.Second), c.handled, c.failures, c.strip, c.judged)
	t.Logf("%d symbols that a file can be bound to", c.bindable)
	for reason, n := range c.refused {
		t.Logf("refused %d: %s", n, reason)
	}
	for name, list := range c.growth {
		slices.Sort(list)
		zero := 0
		for _, n := range list {
			if n == 0 {
				zero++
			}
		}
		t.Logf("growth, %s: %d of %d files none, median %d, 95%% %d, max %d", name, zero, len(list), list[len(list)/2], list[len(list)*95/100], list[len(list)-1])
	}
}

func (c *corpus) errorf(path, format string, args ...any) {
	c.failures++
	c.t.Errorf("%s: %s", path, fmt.Sprintf(format, args...))
}

const threeDirs = "/var/sys/some-package/1.2.3-4+deb12u1/lib64:/var/sys/some-package/default/lib64:/var/sys/current-system/lib64"

func (c *corpus) file(path string) {
	runtime.GC()
	data, err := os.ReadFile(path)
	if err != nil {
		c.t.Logf("%s: %v", path, err)
		return
	}
	info, err := Inspect(data)
	if err != nil {
		c.errorf(path, "inspect: %v", err)
		return
	}
	three := Changes{Path: &SearchPath{First: strings.Split(threeDirs, ":")}}
	if _, err := Make(data, three); err != nil {
		var reason *RefusedError
		if !errors.As(err, &reason) {
			c.errorf(path, "edit: %v", err)
		} else {
			c.refused[reason.Reason]++
		}
		return
	}
	c.handled++
	f := &corpusFile{corpus: c, path: path, data: data, info: info, loader: hostLoader(c.t, info.Class, info.Machine)}
	f.copyPath = writeProgram(c.t, c.dir, filepath.Base(path), data)
	defer os.Remove(f.copyPath)
	if f.loader != "" {
		f.resolved, err = resolve(f.loader, f.copyPath)
		if err != nil {
			f.loader = ""
		}
	}
	if c.judged {
		f.lint = lint(c.t, f.copyPath)
	}
	edited := f.try("three directories", three, f.resolved)
	f.tenMore(edited)

	names := Changes{
		AddNeededFirst: []string{"libpreload-for-this-test.so.1"},
		AddNeededLast:  []string{"/var/sys/some-package/default/lib64/libanother.so.2"},
	}
	if len(info.Needed) > 0 {
		last := info.Needed[len(info.Needed)-1]
		names.ReplaceNeeded = []Replacement{{last, "/usr/lib/not/there/" + last}}
	}
	f.try("needed added and replaced", names, "")
	self, err := SelfBindable(data)
	if err != nil {
		c.errorf(path, "bindable: %v", err)
	}
	c.bindable += len(self)
	f.try("bound to itself", Changes{SelfBind: self}, f.resolved)
	f.try("bound to itself, three directories", Changes{SelfBind: self, Path: three.Path}, f.resolved)
	f.fill()
	if f.loader != "" && len(info.Needed) > 0 {
		f.flatten()
	} else {
		var many []string
		for i := range 60 {
			many = append(many, fmt.Sprintf("/var/sys/some-package-%d/1.2.3/lib64/libnumber.so.%d", i, i))
		}
		f.try("60 needed", Changes{SetNeeded: append(many, info.Needed...)}, "")
	}
}

// corpusFile is one file of the corpus.
type corpusFile struct {
	*corpus
	path     string
	copyPath string
	data     []byte
	info     *Info
	loader   string
	resolved string
	lint     map[string]int
}

// fill adds as many entries as the dynamic section has room for, and one more.
func (f *corpusFile) fill() {
	if !f.info.DynamicRelRO {
		return
	}
	list := slices.Clone(f.info.Needed)
	for i := range f.info.DynamicRoom {
		list = append(list, fmt.Sprintf("n%d", i))
	}
	edited, err := makeChecked(f.data, Changes{SetNeeded: list})
	if err == nil {
		err = checkSound(f.data, edited)
	}
	if err != nil {
		f.errorf(f.path, "%d entries, for which there is room: %v", f.info.DynamicRoom, err)
	} else if got, err := Inspect(edited); err != nil || !got.DynamicRelRO || got.DynamicRoom != 0 {
		f.errorf(f.path, "%d entries: room for %d is left, %v", f.info.DynamicRoom, got.DynamicRoom, err)
	}
	if _, err := Make(f.data, Changes{SetNeeded: append(list, "one more")}); !errors.Is(err, ErrLeavesRelRO) {
		f.errorf(f.path, "one entry more than there is room for: %v", err)
	}
}

// flatten binds the file to what the loader finds for it.
func (f *corpusFile) flatten() {
	list := paths(f.resolved)
	if len(list) == 0 {
		return
	}
	files := make(map[string]string)
	for line := range strings.Lines(f.resolved) {
		if name, path, ok := strings.Cut(strings.TrimSpace(line), " => "); ok && !strings.Contains(path, "ld-linux") {
			files[name] = path
		}
	}
	needed := list
	for _, name := range f.info.Needed {
		if isLoaderName(name) {
			needed = append(slices.Clone(list), name)
		}
	}
	edited := f.try("flattened", Changes{SetNeeded: needed, VersionFiles: files}, "")
	if edited == nil {
		return
	}
	writeProgram(f.t, f.dir, filepath.Base(f.path), edited)
	out, err := resolve(f.loader, f.copyPath)
	if err != nil {
		f.errorf(f.path, "flattened: the loader says %v: %s", err, out)
		return
	}
	if got := paths(out); !slices.Equal(got, list) {
		f.errorf(f.path, "flattened: loads %q, not %q", got, list)
	}
}

// try makes one change, and has it judged. resolved, unless empty, is what the
// loader must resolve.
func (f *corpusFile) try(name string, c Changes, resolved string) []byte {
	edited, err := makeChecked(f.data, c)
	var reason *RefusedError
	if errors.As(err, &reason) {
		f.refused[name+": "+reason.Reason]++
		added := len(c.needed(f.info.Needed)) - len(f.info.Needed)
		if errors.Is(err, ErrLeavesRelRO) && (!f.info.DynamicRelRO || c.Path == nil && added <= f.info.DynamicRoom) {
			f.errorf(f.path, "%s: %d entries more are refused, though there is room for %d", name, added, f.info.DynamicRoom)
		}
		return nil
	}
	if err != nil {
		f.errorf(f.path, "%s: %v", name, err)
		return nil
	}
	f.growth[name] = append(f.growth[name], int64(len(edited)-len(f.data)))
	if err := checkSound(f.data, edited); err != nil {
		f.errorf(f.path, "%s: %v", name, err)
	}
	got, err := Inspect(edited)
	if err != nil {
		f.errorf(f.path, "%s: inspect: %v", name, err)
		return nil
	}
	if diff := difference(f.info, got, c); diff != "" {
		f.errorf(f.path, "%s: %s", name, diff)
	}
	writeProgram(f.t, f.dir, filepath.Base(f.path), edited)
	if f.judged {
		if fresh := newComplaints(f.lint, lint(f.t, f.copyPath)); len(fresh) > 0 {
			f.errorf(f.path, "%s: eu-elflint: %q", name, fresh)
		}
	}
	f.load(name, resolved)
	if f.strip && f.loader != "" && !bytes.Contains(f.data[:min(len(f.data), 4096)], []byte("Go build")) {
		if out, err := exec.Command("strip", f.copyPath).CombinedOutput(); err != nil {
			if before, beforeErr := exec.Command("strip", "-o", f.copyPath+".stripped", f.path).CombinedOutput(); beforeErr == nil {
				f.errorf(f.path, "%s: strip: %s%s", name, before, out)
			}
			os.Remove(f.copyPath + ".stripped")
		} else {
			f.load(name+", stripped", resolved)
			stripped, err := os.ReadFile(f.copyPath)
			if err != nil {
				f.t.Fatal(err)
			}
			if info, err := Inspect(stripped); err != nil {
				f.errorf(f.path, "%s, stripped: %v", name, err)
			} else if diff := difference(f.info, info, c); diff != "" {
				f.errorf(f.path, "%s, stripped: %s", name, diff)
			}
		}
	}
	return edited
}

func (f *corpusFile) load(name, resolved string) {
	if f.loader == "" || resolved == "" {
		return
	}
	out, err := resolve(f.loader, f.copyPath)
	if err != nil || out != resolved {
		f.errorf(f.path, "%s: the loader says %v: %s\ninstead of %s", name, err, out, resolved)
	}
}

// tenMore edits an edited file ten times more, which must not make it larger,
// and then loads it.
func (f *corpusFile) tenMore(edited []byte) {
	if edited == nil {
		return
	}
	size := len(edited)
	for i := range 10 {
		path := strings.Replace(threeDirs, "1.2.3-4", fmt.Sprintf("%d.2.3-4", i), 1)
		more, err := makeChecked(edited, Changes{Path: &SearchPath{Set: &path}})
		if err != nil {
			f.errorf(f.path, "edit %d more: %v", i, err)
			return
		}
		edited = more
	}
	if len(edited) != size && f.info.RunPath == "" && f.info.RPath == "" {
		f.errorf(f.path, "ten more edits: %d bytes, was %d", len(edited), size)
	}
	if err := checkSound(f.data, edited); err != nil {
		f.errorf(f.path, "ten more edits: %v", err)
	}
	if f.info.RunPath == "" && f.info.RPath == "" {
		writeProgram(f.t, f.dir, filepath.Base(f.path), edited)
		f.load("ten more edits", f.resolved)
	}
}

// difference says what Inspect finds changed beyond what was asked for.
func difference(before, after *Info, c Changes) string {
	want, got := *before, *after
	if c.Path != nil {
		path := want.RunPath
		if !want.HasRunPath {
			path = want.RPath
		}
		want.RPath, want.HasRPath = "", false
		want.RunPath, want.HasRunPath = c.Path.apply(path, want.HasRunPath || before.HasRPath)
	}
	want.Needed = c.needed(want.Needed)
	want.VersionNeeds = slices.Clone(want.VersionNeeds)
	for i := range want.VersionNeeds {
		want.VersionNeeds[i].File = c.versionFile(want.VersionNeeds[i].File)
	}
	want.Notes = slices.Clone(want.Notes)
	for _, n := range c.SetNotes {
		i := slices.IndexFunc(want.Notes, func(o Note) bool { return o.Name == n.Name && o.Type == n.Type })
		if i < 0 {
			want.Notes = append(want.Notes, n)
		} else {
			want.Notes[i] = n
		}
	}
	want.DynamicRoom = got.DynamicRoom
	if a, b := fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got); a != b {
		return fmt.Sprintf("is %s, not %s", b, a)
	}
	return ""
}
