package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testdeb"
	"github.com/hashpkg/hashpkg/internal/testelf"
	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/internal/testrpm"
	"github.com/hashpkg/hashpkg/internal/testsaid"
)

// TestScripts runs the scripts of the command line. Beside testscript's own
// commands they have:
//
//	hashpkg ARGUMENT...                    runs hashpkg, as exec hashpkg does
//	status NUMBER PROGRAM ARGUMENT...      runs a program that is to end with this exit status
//	deb FILE KEY=VALUE... PATH=SOURCE...   builds a package: keys are name, version, arch,
//	                                       depends, recommends, provides, conffile (a path), script (a script's name), and of
//	                                       single files mode:PATH=OCTAL, link:PATH=TARGET
//	elf FILE KEY=VALUE...                  makes a program or library of amd64: keys are
//	                                       interpreter, soname, needed, and osabi, a number
//	fetch SUITE[/ARCH] NAME...             puts packages of the Debian archive into the
//	                                       directory of that name; ARCH is amd64 if not given
//	repack NAME RPM DEB                    packs the files of a deb as an rpm of that name;
//	                                       DEB is a pattern
//	repository DIR SUITE DATE DEB...
//	                                       makes a signed repository and DIR/SUITE.sources, which
//	                                       names it; DATE is such as 2023-11-01
//	damage FILE                            changes one byte in the middle of a file
//	registry                               starts a registry of containers' images, and sets REGISTRY to its address
//
// The directory R is there and empty: the root that most of them change. There are
// also the conditions needs:root, needs:archive (Debian's) and needs:PROGRAM, which a
// script that cannot do without them asks for in its first lines.
func TestScripts(t *testing.T) {
	rpms, err := filepath.Abs("../testdata/rpms")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../testdata/scripts/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	centos := ""
	if found := testrpm.CentOS(".."); len(found) > 0 {
		if centos, err = filepath.Abs(filepath.Dir(found[0])); err != nil {
			t.Fatal(err)
		}
	} else {
		files = slices.DeleteFunc(files, func(file string) bool { return filepath.Base(file) == "install-centos.txtar" })
	}
	program := scriptedHashpkg(t)
	testscript.Run(t, testscript.Params{
		Files: files,
		Setup: func(e *testscript.Env) error {
			e.Setenv("SOURCE_DATE_EPOCH", "1700000000")
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("RPMS", rpms)
			e.Setenv("CENTOS", centos)
			if err := os.Mkdir(filepath.Join(e.WorkDir, "R"), 0o755); err != nil {
				return err
			}
			e.Setenv("PATH", filepath.Dir(program)+string(filepath.ListSeparator)+e.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"hashpkg": runHashpkg, "status": runStatus, "deb": buildDeb, "fetch": fetch, "repack": repack, "damage": damage, "registry": startRegistry,
			"repository": repository, "elf": makeELF,
		},
		Condition: func(cond string) (bool, error) {
			what, isNeed := strings.CutPrefix(cond, "needs:")
			switch {
			case cond == "root":
				return os.Geteuid() == 0, nil
			case cond == "amd64":
				return elf.EM_X86_64 == hostMachine(), nil
			case isNeed:
				why := lack(what)
				if why != nil {
					t.Logf("%s: %v", what, why)
				}
				return why == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

// lack returns why a script that needs something cannot run, or nil.
func lack(what string) error {
	switch what {
	case "root":
		return testneed.LackRoot()
	case "archive": // Debian's, or a cache of it, which has what the scripts fetch
		if err := testneed.LackNetwork(); err != nil {
			return err
		}
		_, err := archive.Fetch(context.Background(), archive.Options{Suite: "bookworm", Arch: "amd64", Packages: []string{"jq"}})
		return err
	}
	return testneed.LackPrograms(what)
}

func hostMachine() elf.Machine {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		return 0
	}
	defer f.Close()
	return f.Machine
}

func runHashpkg(ts *testscript.TestScript, neg bool, args []string) {
	switch err := ts.Exec("hashpkg", args...); {
	case err != nil && !neg:
		ts.Fatalf("hashpkg failed: %v", err)
	case err == nil && neg:
		ts.Fatalf("hashpkg succeeded, and should not")
	case neg:
		keepMessage(ts, args)
	}
}

// keepMessage keeps what a refused command has said.
func keepMessage(ts *testscript.TestScript, args []string) {
	ts.Check(testsaid.Refused(args, ts.ReadFile("stderr")))
}

// runStatus runs a program that is to end with an exit status: status NUMBER PROGRAM ARGUMENT...
func runStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status NUMBER PROGRAM ARGUMENT...")
	}
	have := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		have = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%s: %v", args[1], err)
	}
	if fmt.Sprint(have) != args[0] {
		ts.Fatalf("%s ended with the status %d, and should with %s", args[1], have, args[0])
	}
	if args[1] == "hashpkg" && have != 0 {
		keepMessage(ts, args[2:])
	}
}

func buildDeb(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: deb FILE KEY=VALUE... PATH=SOURCE...")
	}
	p := testdeb.Package{Scripts: map[string]string{}}
	modes := map[string]uint32{}
	for _, arg := range args[1:] {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			ts.Fatalf("deb: %q is not KEY=VALUE", arg)
		}
		switch what, path, _ := strings.Cut(key, ":"); what {
		case "name":
			p.Name = value
		case "version":
			p.Version = value
		case "arch":
			p.Arch = value
		case "depends":
			p.Depends = value
		case "recommends":
			p.Fields = append(p.Fields, testdeb.Field{Name: "Recommends", Value: value})
		case "conffile":
			p.Conffiles += "/" + value + "\n"
		case "provides":
			p.Provides = value
		case "script":
			p.Scripts[value] = "#!/bin/sh\nexit 1\n"
		case "preinst", "postinst":
			p.Scripts[what] = ts.ReadFile(value)
		case "mode":
			var mode uint32
			_, err := fmt.Sscanf(value, "%o", &mode)
			ts.Check(err)
			modes[path] = mode
		case "link":
			p.Files = append(p.Files, testdeb.Symlink(path, value))
		default:
			mode := uint32(0o644)
			if info, err := os.Stat(ts.MkAbs(value)); err == nil && info.Mode()&0o111 != 0 {
				mode = 0o755
			}
			p.Files = append(p.Files, testdeb.File{Path: key, Mode: mode, Content: ts.ReadFile(value)})
		}
	}
	for i := range p.Files {
		if mode, ok := modes[p.Files[i].Path]; ok {
			p.Files[i].Mode = mode
		}
	}
	b, err := p.Build()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
}

func makeELF(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: elf FILE KEY=VALUE...")
	}
	var f testelf.File
	osabi := 0
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "interpreter":
			f.Interpreter = value
		case "soname":
			f.Soname = value
		case "runpath":
			f.RunPath = value
		case "needed":
			f.Needed = append(f.Needed, value)
		case "osabi":
			n, err := strconv.Atoi(value)
			ts.Check(err)
			osabi = n
		default:
			ts.Fatalf("elf: %q is not a key", key)
		}
	}
	b := f.Bytes()
	b[elf.EI_OSABI] = byte(osabi)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o755))
}

func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fetch SUITE[/ARCH] NAME...")
	}
	suite, arch, ok := strings.Cut(args[0], "/")
	if !ok {
		arch = "amd64"
	}
	files, err := archive.Fetch(context.Background(), archive.Options{Suite: suite, Arch: arch, Packages: args[1:]})
	ts.Check(err)
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	for _, f := range files {
		ts.Check(os.Symlink(f, filepath.Join(dir, filepath.Base(f))))
	}
}

func repack(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: repack NAME RPM DEB")
	}
	name, rpm, deb := args[0], args[1], args[2]
	debs, err := filepath.Glob(ts.MkAbs(deb))
	ts.Check(err)
	if len(debs) != 1 {
		ts.Fatalf("repack: %s are %d files", deb, len(debs))
	}
	b, err := repackDeb(name, debs[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(rpm), b, 0o644))
}

// repackDeb returns the files of a deb as an rpm of that name.
func repackDeb(name, deb string) ([]byte, error) {
	version, err := exec.Command("dpkg-deb", "--showformat", "${Version}", "-W", deb).Output()
	if err != nil {
		return nil, err
	}
	p := testrpm.Package{Name: name, Arch: "x86_64", Compression: testdeb.Gzip}
	full := string(version)
	if epoch, rest, has := strings.Cut(full, ":"); has {
		p.Epoch, full = epoch, rest
	}
	p.Version, p.Release, _ = strings.Cut(full, "-")
	content, err := exec.Command("dpkg-deb", "--fsys-tarfile", deb).Output()
	if err != nil {
		return nil, err
	}
	requires, provides := map[string]bool{}, map[string]bool{} // as rpmbuild finds them
	for archive := tar.NewReader(bytes.NewReader(content)); ; {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		file := testrpm.File{Path: filepath.Join("/", h.Name), Mode: uint32(h.Mode)}
		switch h.Typeflag {
		case tar.TypeSymlink:
			file = testrpm.Symlink(file.Path, h.Linkname)
		case tar.TypeReg:
			b, err := io.ReadAll(archive)
			if err != nil {
				return nil, err
			}
			file.Content = string(b)
			if f, err := elf.NewFile(bytes.NewReader(b)); err == nil {
				libraries, err := f.ImportedLibraries()
				if err != nil {
					return nil, err
				}
				for _, l := range libraries {
					requires[l+"()(64bit)"] = true
				}
				names, err := f.DynString(elf.DT_SONAME)
				if err != nil {
					return nil, err
				}
				for _, name := range names {
					provides[name+"()(64bit)"] = true
				}
			}
		default:
			continue
		}
		p.Files = append(p.Files, file)
	}
	p.Provides = slices.Sorted(maps.Keys(provides))
	p.Requires = slices.Sorted(maps.Keys(requires))
	return p.Build()
}

func startRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: registry")
	}
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	ts.Defer(s.Close)
	ts.Setenv("REGISTRY", strings.TrimPrefix(s.URL, "http://"))
}

func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: damage FILE")
	}
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	info, err := os.Stat(path)
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(os.Chmod(path, 0o644))
	ts.Check(os.WriteFile(path, b, 0o644))
	ts.Check(os.Chmod(path, info.Mode()))
}
