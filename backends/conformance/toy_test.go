package conformance_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/backends/conformance"
	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/backends/rpm"
	"github.com/hashpkg/hashpkg/backends/trust"
	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/pkginfo"
	"github.com/hashpkg/hashpkg/sysroot"
	"github.com/hashpkg/hashpkg/transaction"
)

// toy is a format that only this test knows: a tar archive whose first file says in
// JSON what the package is and how many files follow. Versions are numbers, and a
// package manager has a file of JSON.
type toy struct{}

var _ backends.Format = toy{}

const (
	toyHead     = "toy.json"
	toyDatabase = "/var/lib/toy/installed.json"
	toyLimit    = 1 << 20
)

// toyPackage is the head of a package, and a package in the database.
type toyPackage struct {
	Name, Version, Arch string
	Count               int      // of files of a package
	Script              string   // that is run after an installation
	Files               []string `json:",omitempty"` // of an installed one
}

func (p *toyPackage) info() (*pkginfo.Package, error) {
	if _, err := strconv.Atoi(p.Version); p.Name == "" || strings.Contains(p.Name, "/") || p.Arch == "" || err != nil {
		return nil, fmt.Errorf("read toy: %q %q for %q is not a package", p.Name, p.Version, p.Arch)
	}
	out := &pkginfo.Package{Format: "toy", Name: p.Name, Version: p.Version, Architecture: p.Arch}
	if p.Script != "" {
		out.Scripts = []pkginfo.Script{{Name: "after", Interpreter: "/bin/sh", Body: p.Script, Arguments: []string{}}}
	}
	return out, nil
}

func (toy) Name() pkginfo.Format { return "toy" }

func (toy) Matches(head []byte) bool { return bytes.HasPrefix(head, []byte(toyHead+"\x00")) }

func (toy) Order() pkginfo.Order {
	compare := func(a, b string) int {
		m, errA := strconv.Atoi(a)
		n, errB := strconv.Atoi(b)
		switch {
		case errA != nil && errB != nil:
			return cmp.Compare(a, b)
		case errA != nil:
			return -1
		case errB != nil:
			return 1
		}
		return cmp.Compare(m, n)
	}
	return pkginfo.Order{Compare: compare, InRange: pkginfo.RangeBy(compare)}
}

func (toy) Open(r io.Reader, _ *trust.Keyring) (backends.Reader, error) {
	source := &zeroCounter{r: r}
	t := &toyReader{tar: tar.NewReader(source), source: source, tree: unpack.NewTree(false)}
	h, err := t.tar.Next()
	if err != nil {
		return nil, fmt.Errorf("read toy: %w", err)
	}
	if h.Name != toyHead || h.Size > toyLimit {
		return nil, fmt.Errorf("read toy: it begins with %q", h.Name)
	}
	var p toyPackage
	if err := json.NewDecoder(t.tar).Decode(&p); err != nil {
		return nil, fmt.Errorf("read toy: %w", err)
	}
	t.left = p.Count
	t.pkg, err = p.info()
	return t, err
}

type toyReader struct {
	tar    *tar.Reader
	source *zeroCounter
	tree   *unpack.Tree
	pkg    *pkginfo.Package
	left   int
	isFile bool
	err    error
}

func (t *toyReader) Package() *pkginfo.Package { return t.pkg }
func (t *toyReader) Signature() pkginfo.Signature {
	return pkginfo.Signature{Verdict: pkginfo.Unsigned}
}
func (t *toyReader) NamesOwners() bool { return false }

func (t *toyReader) Close() error {
	if t.err == nil {
		t.err = errors.New("read toy: the reader is closed")
	}
	return nil
}

func (t *toyReader) Read(p []byte) (int, error) {
	if !t.isFile {
		return 0, io.EOF
	}
	return t.tar.Read(p)
}

func (t *toyReader) Next() (*pkginfo.Entry, error) {
	if t.err != nil {
		return nil, t.err
	}
	e, err := t.next()
	t.err = err
	return e, err
}

func (t *toyReader) next() (*pkginfo.Entry, error) {
	h, err := t.tar.Next()
	if err == io.EOF {
		return nil, t.finish()
	}
	if err != nil {
		return nil, fmt.Errorf("read toy: %w", err)
	}
	kind, ok := map[byte]pkginfo.Type{
		tar.TypeReg: pkginfo.Regular, tar.TypeDir: pkginfo.Directory, tar.TypeSymlink: pkginfo.Symlink, tar.TypeLink: pkginfo.HardLink,
	}[h.Typeflag]
	if !ok {
		return nil, fmt.Errorf("read toy: %q is of type %q", h.Name, h.Typeflag)
	}
	t.isFile = kind == pkginfo.Regular
	t.left--
	e, err := t.tree.Add(pkginfo.Entry{
		Path: h.Name, Type: kind, Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid, Size: h.Size, ModTime: h.ModTime, Link: h.Linkname,
	})
	if err == nil && e == nil {
		err = errors.New("a directory is there twice")
	}
	if err != nil {
		return nil, fmt.Errorf("read toy: %w", err)
	}
	return e, nil
}

// finish returns io.EOF when all files came, and the marker of the end whole.
func (t *toyReader) finish() error {
	rest, err := backends.ReadAll(t.source, toyLimit)
	switch {
	case err != nil:
		return err
	case t.left != 0 || len(bytes.Trim(rest, "\x00")) > 0 || t.source.zeros < 1024:
		return errors.New("read toy: it does not end where it should")
	}
	return io.EOF
}

// zeroCounter counts the zeros at the end of what was read, of which a tar archive
// has two blocks, and package tar does not ask for all.
type zeroCounter struct {
	r     io.Reader
	zeros int
}

func (z *zeroCounter) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	rest := len(bytes.TrimRight(p[:n], "\x00"))
	if rest > 0 {
		z.zeros = 0
	}
	z.zeros += n - rest
	return n, err
}

func (toy) State(root backends.Root) (string, error) {
	info, err := root.Stat(toyDatabase)
	if errors.Is(err, fs.ErrNotExist) {
		return "", backends.ErrNoDatabase
	}
	if err != nil {
		return "", err
	}
	return pkginfo.FileStamp(info), nil
}

func (toy) Database(_ context.Context, root backends.Root) (backends.Database, error) {
	b, err := root.ReadFile(toyDatabase, toyLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, backends.ErrNoDatabase
	}
	if err != nil {
		return nil, err
	}
	var all []toyPackage
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	var d toyPackages
	for _, p := range all {
		info, err := p.info()
		if err != nil {
			return nil, err
		}
		d = append(d, &backends.Installed{
			Package: info, Key: pkginfo.Key{Format: "toy", ID: p.Arch + "_" + p.Name}, Stamp: p.Version,
			Files: func() (entries []pkginfo.Entry, err error) {
				for _, f := range p.Files {
					entries = append(entries, pkginfo.Entry{Path: f})
				}
				return entries, nil
			},
			Reinstall: "toy again " + p.Name,
		})
	}
	return d, nil
}

type toyPackages []*backends.Installed

func (d toyPackages) Packages() []*backends.Installed { return d }

func (toy) RootKeys(context.Context, backends.Root) (*trust.Keyring, []string, error) {
	return nil, nil, nil
}

func buildToy(t testing.TB, p conformance.Package) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h *tar.Header, content string) {
		h.Size, h.Format = int64(len(content)), tar.FormatGNU
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	head, err := json.Marshal(toyPackage{Name: p.Name, Version: p.Version, Arch: p.Architecture, Count: len(p.Files), Script: p.AfterInstall})
	if err != nil {
		t.Fatal(err)
	}
	add(&tar.Header{Name: toyHead, Typeflag: tar.TypeReg}, string(head))
	kinds := map[pkginfo.Type]byte{
		pkginfo.Regular: tar.TypeReg, pkginfo.Directory: tar.TypeDir, pkginfo.Symlink: tar.TypeSymlink, pkginfo.HardLink: tar.TypeLink,
	}
	for _, f := range p.Files {
		add(&tar.Header{Name: f.Path, Typeflag: kinds[f.Type], Mode: int64(f.Mode), Uid: f.UID, Linkname: f.Link}, f.Content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func installToys(t testing.TB, dir string, packages ...conformance.Package) {
	t.Helper()
	all := []toyPackage{}
	for _, p := range packages {
		one := toyPackage{Name: p.Name, Version: p.Version, Arch: p.Architecture}
		for _, f := range p.Files {
			one.Files = append(one.Files, f.Path)
		}
		all = append(all, one)
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, toyDatabase), b)
}

func writeFile(t testing.TB, file string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Fixtures{
		Format: toy{}, Others: backends.Formats{deb.Format{}, rpm.Format{}},
		Build:    buildToy,
		Versions: [][]string{{"1"}, {"9", "09"}, {"10"}},
		OpenRoot: func(t testing.TB, dir string) backends.Root {
			t.Helper()
			return open(t, dir, nil)
		},
		Install: installToys, DatabaseFile: toyDatabase,
	})
}

func open(t testing.TB, dir string, formats backends.Formats) *sysroot.Root {
	t.Helper()
	root, err := sysroot.Open(dir, layout.DefaultPrefix, formats)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestThirdFormat has a root that knows the toy format beside the others: all of
// hashpkg takes it, and nothing but the list of formats has changed.
func TestThirdFormat(t *testing.T) {
	formats := backends.Formats{deb.Format{}, rpm.Format{}, toy{}}
	dir := t.TempDir()
	root := open(t, dir, formats)
	tool := func(version string) string {
		file := filepath.Join(t.TempDir(), "tool.toy")
		writeFile(t, file, buildToy(t, conformance.Package{Name: "tool", Version: version, Architecture: "noarch", Files: []conformance.File{
			{Path: "usr/bin/tool", Type: pkginfo.Regular, Mode: 0o755, Content: "#!/bin/sh\necho " + version + "\n"},
		}}))
		return file
	}
	install := func(o transaction.InstallOptions) (*transaction.InstallResult, error) {
		o.Root, o.Now = root, time.Now()
		return transaction.Install(t.Context(), o)
	}
	for _, version := range []string{"10", "9"} { // of which the first is higher in this format alone
		result, err := install(transaction.InstallOptions{Packages: transaction.PackageFiles(tool(version))})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(result.Plan.Warnings, func(w string) bool { return strings.Contains(w, "carries no signature") }) {
			t.Errorf("nobody tells that it is not signed: %q", result.Plan.Warnings)
		}
	}
	g, err := root.Active()
	if err != nil {
		t.Fatal(err)
	}
	if d := g.DefaultOf("tool"); d == nil || d.Version != "10" || d.Format != "toy" {
		t.Errorf("the default is %+v", d)
	}
	if _, err := install(transaction.InstallOptions{Packages: transaction.PackageFiles(tool("11")), Signature: trust.Require}); !errors.Is(err, trust.ErrSignature) {
		t.Errorf("where signatures are required it is taken: %v", err)
	}
	if _, err := transaction.Sync(t.Context(), transaction.SyncOptions{Root: root, Now: time.Now()}); !errors.Is(err, backends.ErrNoDatabase) {
		t.Errorf("sync of a root without a database: %v", err)
	}
	installToys(t, dir, conformance.Package{Name: "base", Version: "1", Architecture: "noarch"})
	if _, err := transaction.Sync(t.Context(), transaction.SyncOptions{Root: root, Now: time.Now()}); err != nil {
		t.Error(err)
	}
	if _, ok := root.SystemState().Packages[pkginfo.Key{Format: "toy", ID: "noarch_base"}]; !ok {
		t.Errorf("sync remembers %v", root.SystemState().Packages)
	}

	// What does not know the format refuses it by name.
	root = open(t, t.TempDir(), formats[:2])
	if _, err := install(transaction.InstallOptions{Packages: transaction.PackageFiles(tool("1"))}); !errors.Is(err, backends.ErrUnknownFormat) {
		t.Errorf("%v", err)
	}
}
