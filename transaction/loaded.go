package transaction

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/layout/rewrite"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/ldso"
)

// errLoadsOther is wrapped by what compareLoaded finds.
var errLoadsOther = errors.New("the loader says otherwise")

// loaderTime is how long the loader may take to list a program's libraries.
const loaderTime = 30 * time.Second

// compareLoaded asks the program's own loader which libraries it would load for
// its edited form. The error says how that differs from what it loads now; of a
// pinned program, only that it does not load.
func compareLoaded(c *programChange, edited string) error {
	is, err := listLoaded(c.interp, edited)
	if err != nil && runsNot(err) {
		return nil // of another architecture: the model of the loader has said yes
	}
	if err != nil {
		return fmt.Errorf("%w: it does not load the edited program: %v", errLoadsOther, err)
	}
	if len(c.want.Pins) > 0 || slices.Equal(is, c.loads) {
		return nil
	}
	was, err := listLoaded(c.interp, c.host)
	if err != nil && c.had != nil {
		return nil // an edit of ours that was forced, and goes
	}
	if err != nil {
		return fmt.Errorf("%w: it does not load the program as it is: %v", errLoadsOther, err)
	}
	if !slices.Equal(was, is) {
		return fmt.Errorf("%w: it would find other libraries for the edited program", errLoadsOther)
	}
	return nil
}

// listLoaded returns the files that ld.so --list names, as device and inode.
func listLoaded(interpreter, program string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), loaderTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, interpreter, "--list", program)
	cmd.Env = []string{"LC_ALL=C"}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	runErr := cmd.Run()
	var list []string
	for line := range strings.Lines(stdout.String()) {
		line = strings.TrimSpace(line)
		if i := strings.LastIndex(line, " (0x"); i >= 0 {
			line = line[:i]
		}
		if _, file, ok := strings.Cut(line, " => "); ok {
			line = file
		}
		if !strings.HasPrefix(line, "/") {
			continue // the kernel's own
		}
		info, err := os.Stat(line)
		if err != nil {
			return nil, err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil, fmt.Errorf("%s has no inode number", line)
		}
		list = append(list, fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	}
	if runErr != nil {
		if text := strings.TrimSpace(stderr.String()); text != "" {
			return list, fmt.Errorf("%s: %w", text, runErr)
		}
		return list, runErr
	}
	return list, nil
}

// runsNot reports whether a program could not be started at all.
func runsNot(err error) bool {
	return errors.Is(err, syscall.ENOEXEC) || errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ELIBBAD)
}

// compare resolves the program as it is packaged and as it would be. It returns
// why the edited one must not be used; "" when both load the same libraries, but for
// those that are pinned.
func (e *programEditor) compare(c *programChange, info *elfedit.Info, edited []byte, records []record.EditRecord, pins []*pinnedLibrary, f *finders) (string, error) {
	after, err := elfedit.Inspect(edited)
	if err != nil {
		return "", err
	}
	if err := rewrite.Compare(after, info, records); err != nil {
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
