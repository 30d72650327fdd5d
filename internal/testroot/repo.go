package testroot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// repoPath is where the repository stands in the root.
const repoPath = "/mnt/repo"

// Repo is a local apt repository for one root.
type Repo struct {
	Dir  string // the debs and their index, as the test sees them
	root *Root
}

// Repo makes an empty apt repository, and the only one that the root's apt
// knows. Packages get into it by Add.
func (r *Root) Repo() *Repo {
	r.tb.Helper()
	dir, err := os.MkdirTemp(r.scratch, "repo-")
	if err != nil {
		r.tb.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // apt reads as a user of its own
		r.tb.Fatal(err)
	}
	r.Bind(dir, repoPath)
	others, err := filepath.Glob(filepath.Join(r.Path("/etc/apt/sources.list.d"), "*"))
	for _, file := range others {
		err = errors.Join(err, os.Remove(file))
	}
	if err != nil {
		r.tb.Fatal(err)
	}
	r.WriteFile("/etc/apt/sources.list", "deb [trusted=yes] file:"+repoPath+" ./\n", 0o644)
	repo := &Repo{Dir: dir, root: r}
	repo.Add()
	return repo
}

// Add puts copies of debs into the repository, beside those of other versions,
// writes its index, and has the root's apt read it.
func (p *Repo) Add(debs ...string) {
	p.root.tb.Helper()
	for _, deb := range debs {
		// A hard link would let the repository change with the cache.
		if err := copyFile(deb, filepath.Join(p.Dir, filepath.Base(deb))); err != nil {
			p.root.tb.Fatal(err)
		}
	}
	if err := p.index(); err != nil {
		p.root.tb.Fatalf("index the repository: %v", err)
	}
	if p.root.Arch == hostArch(p.root.tb) {
		p.root.Run("apt-get", "-q", "update")
	}
}

func (p *Repo) index() error {
	if err := needTool("dpkg-scanpackages", "dpkg-dev"); err != nil {
		return err
	}
	cmd := exec.Command("dpkg-scanpackages", "--multiversion", ".")
	cmd.Dir = p.Dir
	var packages bytes.Buffer
	cmd.Stdout = &packages
	if err := run(cmd); err != nil {
		return err
	}
	// Nobody may read half an index.
	next := filepath.Join(p.Dir, "Packages.new")
	if err := os.WriteFile(next, packages.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(p.Dir, "Packages"))
}

// Path returns where a deb of the repository stands in the root, for dpkg.
func (p *Repo) Path(deb string) string { return repoPath + "/" + filepath.Base(deb) }

// Paths is Path for several.
func (p *Repo) Paths(debs ...string) []string {
	paths := make([]string, len(debs))
	for i, deb := range debs {
		paths[i] = p.Path(deb)
	}
	return paths
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close() //nolint:errcheck // the first error is reported
		return fmt.Errorf("copy %s: %v", from, err)
	}
	return out.Close()
}
