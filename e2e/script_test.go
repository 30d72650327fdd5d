package e2e

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hashpkg/hashpkg/internal/archive"
	"github.com/hashpkg/hashpkg/internal/testdeb"
)

// TestScripts runs the scripts of the command line. Beside testscript's own
// commands they have:
//
//	hashpkg ARGUMENT...                    runs hashpkg, as exec hashpkg does
//	deb FILE KEY=VALUE... PATH=SOURCE...   builds a package: keys are name, version, arch,
//	                                       depends, provides, script (a script's name), and of
//	                                       single files mode:PATH=OCTAL, link:PATH=TARGET
//	fetch SUITE[/ARCH] NAME...             puts packages of the Debian archive into the
//	                                       directory of that name; ARCH is amd64 if not given
//	damage FILE                            changes one byte in the middle of a file
func TestScripts(t *testing.T) {
	rpms, err := filepath.Abs(filepath.Join("..", "..", "shared", "rpms"))
	if err != nil {
		t.Fatal(err)
	}
	program := scriptedHashpkg(t)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("..", "testdata", "scripts"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("SOURCE_DATE_EPOCH", "1700000000")
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("RPMS", rpms)
			e.Setenv("PATH", filepath.Dir(program)+string(filepath.ListSeparator)+e.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"hashpkg": runHashpkg, "deb": buildDeb, "fetch": fetch, "damage": damage,
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "archive": // Debian's archive, or a cache of it, has what the scripts fetch
				_, err := archive.Fetch(context.Background(), archive.Options{Suite: "bookworm", Arch: "amd64", Packages: []string{"jq"}})
				if err != nil && os.Getenv("CI") != "" {
					return false, err
				}
				return err == nil, nil
			case "rpms": // real rpms beside the repository
				_, err := os.Stat(rpms)
				if err != nil && os.Getenv("CI") != "" {
					return false, err
				}
				return err == nil, nil
			case "amd64":
				return elf.EM_X86_64 == hostMachine(), nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
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
		case "provides":
			p.Provides = value
		case "script":
			p.Scripts[value] = "#!/bin/sh\nexit 1\n"
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
