//go:build system

package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpkg/hashpkg/internal/testroot"
)

// packaged is what a package manager says of a root: whose each file is, as NAME=VERSION.
type packaged map[string]string

// dpkgSays asks dpkg.
func dpkgSays(t *testing.T, root *testroot.Root) packaged {
	t.Helper()
	return parsePackaged(t, root, root.Run("sh", "-c", `dpkg-query -W -f '${db:Status-Status} ${binary:Package} ${Package}=${Version}\n' | while read -r status p spec; do
	[ "$status" = installed ] || continue
	dpkg-query -L "$p" | while read -r file; do printf '%s\t%s\n' "$spec" "$file"; done
done`))
}

// rpmSays asks rpm.
func rpmSays(t *testing.T, root *testroot.RPMRoot) packaged {
	t.Helper()
	return parsePackaged(t, root.Root, root.RPM("-qa", "--qf", `[%{=NAME}=%{=EVR}\t%{FILENAMES}\n]`))
}

// parsePackaged reads lines of a package and a path; links to directories, as of the merged
// /usr, are followed.
func parsePackaged(t *testing.T, root *testroot.Root, out string) packaged {
	t.Helper()
	of := packaged{}
	for line := range strings.Lines(out) {
		spec, file, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			continue
		}
		dir, err := filepath.EvalSymlinks(root.Path(filepath.Dir(file)))
		if err != nil || !strings.HasPrefix(dir, root.Dir) {
			continue
		}
		of[filepath.Join(strings.TrimPrefix(dir, root.Dir), "/", filepath.Base(file))] = spec
	}
	return of
}

// asked returns what a query prints with --json.
func asked[T any](t *testing.T, root *testroot.Root, args ...string) (answer T) {
	t.Helper()
	out, err := root.RunErr(t.Context(), append([]string{"sh", "-c", `exec "$@" 2>/dev/null`, "sh", "hashpkg", "--json"}, args...)...)
	if out == "" {
		t.Fatalf("%q: %v", args, err)
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
	return answer
}

// answered is a file of an answer.
type answered struct {
	Package, Version, Origin, Path string
	Closure, Programs              []answered
	Problems                       []string
}

func (a *answered) spec() string { return a.Package + "=" + a.Version }

// judgeQueries compares the answers about a system that hashpkg follows with what the loader and
// the package manager say.
func judgeQueries(t *testing.T, root *testroot.Root, says packaged) {
	t.Helper()
	loads := root.Loads("/var")
	final := map[string]string{}
	resolve := func(file string) string {
		if final[file] == "" {
			out, err := filepath.EvalSymlinks(root.Path(file))
			if err != nil {
				t.Fatal(err)
			}
			final[file] = strings.TrimPrefix(out, root.Dir)
		}
		return final[file]
	}
	var programs []string
	users := map[string][]string{} // of a library
	for program, load := range loads {
		if says[program] == "" || load.Err != "" || isLibrary(program) {
			continue
		}
		programs = append(programs, program)
		for _, file := range load.Libraries {
			users[resolve(file)] = append(users[resolve(file)], program)
		}
	}
	slices.Sort(programs)
	if len(programs) < 40 {
		t.Fatalf("there are %d programs", len(programs))
	}

	// deps and graph, as the loader has it; and whose each file is.
	compared, owned := 0, map[string]bool{}
	for i := 0; i < len(programs); i += 7 {
		program := programs[i]
		var want []string
		for _, file := range loads[program].Libraries {
			want = append(want, resolve(file))
		}
		slices.Sort(want)
		want = slices.Compact(want)
		answer := asked[struct{ Files []answered }](t, root, "deps", "--tree", program).Files
		if len(answer) != 1 || len(answer[0].Problems) > 0 {
			t.Errorf("deps %s: %+v", program, answer)
			continue
		}
		if answer[0].spec() != says[program] {
			t.Errorf("deps says that %s is of %s; the package manager says %s", program, answer[0].spec(), says[program])
		}
		var have []string
		for _, f := range answer[0].Closure {
			have = append(have, f.Path)
			owned[f.Path] = true
			if f.spec() != says[f.Path] {
				t.Errorf("deps says that %s is of %s; the package manager says %s", f.Path, f.spec(), says[f.Path])
			}
		}
		slices.Sort(have)
		if !slices.Equal(have, want) {
			t.Errorf("deps says that %s loads %q; the loader says %q", program, have, want)
		}
		have = nil
		for _, n := range asked[struct{ Nodes []answered }](t, root, "graph", program).Nodes {
			if n.Path != program {
				have = append(have, n.Path)
			}
		}
		slices.Sort(have)
		if !slices.Equal(have, want) {
			t.Errorf("graph says that %s loads %q; the loader says %q", program, have, want)
		}
		owned[program] = true
		compared++
	}
	for file := range owned {
		owners := asked[struct{ Owners []answered }](t, root, "owner", file).Owners
		if len(owners) != 1 || owners[0].spec() != says[file] {
			t.Errorf("owner says that %s is of %+v; the package manager says %s", file, owners, says[file])
		}
	}

	// users and why, of the libraries that a few and that many programs load.
	libraries := make([]string, 0, len(users))
	for file := range users {
		if n := len(users[file]); n > 1 && n < len(programs) && !strings.Contains(file, "/ld-linux") {
			libraries = append(libraries, file)
		}
	}
	slices.SortFunc(libraries, func(a, b string) int { return len(users[a]) - len(users[b]) })
	if len(libraries) > 12 {
		libraries = slices.Concat(libraries[:4], libraries[len(libraries)/2:len(libraries)/2+4], libraries[len(libraries)-4:])
	}
	for _, file := range libraries {
		slices.Sort(users[file])
		builds := asked[struct{ Builds []answered }](t, root, "users", file).Builds
		if len(builds) != 1 || builds[0].spec() != says[file] || builds[0].Path != file {
			t.Errorf("users of %s: %+v; the package manager says %s", file, builds, says[file])
			continue
		}
		var have []string
		for _, p := range builds[0].Programs {
			if p.spec() != says[p.Path] {
				t.Errorf("users says that %s is of %s; the package manager says %s", p.Path, p.spec(), says[p.Path])
			}
			if load, ok := loads[p.Path]; !isLibrary(p.Path) && (!ok || load.Err == "") { // what fails loads it, too, or would
				have = append(have, p.Path)
			}
		}
		if !slices.Equal(have, users[file]) {
			t.Errorf("users says that %s is loaded by %q; the loader says by %q", file, have, users[file])
		}
		name, _, _ := strings.Cut(says[file], "=")
		kept := asked[struct {
			Packages []struct {
				answered
				Chains []struct {
					Root  string
					Links []struct{ What string }
				}
			}
		}](t, root, "why", "--limit", "0", says[file]).Packages
		if len(kept) != 1 || kept[0].spec() != says[file] {
			t.Errorf("why %s: %+v", says[file], kept)
			continue
		}
		isSystem, through := false, map[string]bool{}
		for _, c := range kept[0].Chains {
			isSystem = isSystem || c.Root == "system"
			through[strings.TrimPrefix(c.Links[0].What, "program ")] = true
		}
		if !isSystem {
			t.Errorf("why %s does not say that the package manager has it: %+v", name, kept[0].Chains)
		}
		for program := range through { // not all: a chain ends at what the package manager has
			if strings.HasPrefix(program, "/") && loads[program].Err == "" && !isLibrary(program) && !loadsOf(t, loads[program], says, resolve, says[file]) {
				t.Errorf("why says that %s loads %s, and the loader that it does not", program, name)
			}
		}
	}

	// The bill has the packages with libraries, in the versions that are installed.
	versions := map[string]bool{}
	for _, spec := range says {
		versions[spec] = true
	}
	type component struct{ Name, Version, PURL string }
	components := asked[struct{ Components []component }](t, root, "sbom", "--format", "cyclonedx").Components
	billed := map[string]bool{}
	for _, c := range components {
		billed[c.Name+"="+c.Version] = true
		if !versions[c.Name+"="+c.Version] {
			t.Errorf("sbom has %s=%s, which is not installed", c.Name, c.Version)
		}
		named := strings.ReplaceAll(c.Name, "+", "%2B") + "@"
		// The root of rpm's packages has no os-release to say whose they are.
		if !strings.HasPrefix(c.PURL, "pkg:deb/debian/"+named) && !strings.HasPrefix(c.PURL, "pkg:rpm/"+named) {
			t.Errorf("the URL of %s is %s", c.Name, c.PURL)
		}
	}
	for file := range users {
		if !billed[says[file]] {
			t.Errorf("sbom has no %s, of which %s is", says[file], file)
		}
	}
	t.Logf("%d of %d programs, %d files and %d libraries have the answers of the loader and of the package manager; the bill has %d packages",
		compared, len(programs), len(owned), len(libraries), len(components))
}

// isLibrary reports whether a file is a library that can be run, too, of which hashpkg speaks as one.
func isLibrary(file string) bool {
	return strings.HasPrefix(filepath.Base(file), "lib") && strings.Contains(filepath.Base(file), ".so")
}

// loadsOf reports whether something of a package, NAME=VERSION, is loaded.
func loadsOf(t *testing.T, load testroot.Load, says packaged, resolve func(string) string, spec string) bool {
	t.Helper()
	for _, file := range load.Libraries {
		if says[resolve(file)] == spec {
			return true
		}
	}
	return false
}

// TestSystemQueriesDebian asks about a system of dpkg, after a sync, after what hooks have followed, and of
// processes.
func TestSystemQueriesDebian(t *testing.T) {
	t.Parallel()
	root := newSystem(t)
	root.Run("hashpkg", "hooks", "install")
	root.Run("hashpkg", "sync", "-q")
	judgeQueries(t, root, dpkgSays(t, root))
	repo := root.Repo()
	repo.Add(root.FetchMissing("jq", "curl")...)
	root.Run("apt-get", "-y", "-q", "--no-install-recommends", "install", "jq", "curl")
	says := dpkgSays(t, root)
	judgeQueries(t, root, says)

	// A process of the system, in a namespace with another root, seen from outside.
	cmd := root.Command(t.Context(), "jq", ".")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}()
	waitMapped(t, root, "libjq.so.1", "libjq1", 1)
	// It goes on with the library that an upgrade has replaced, which a tree still has.
	old := says[mustResolve(t, root, "/usr/lib/x86_64-linux-gnu/libjq.so.1")]
	repo.Add(testroot.Rebuild(t, testroot.Change{Suffix: "+new1", Note: true}, root.Fetch("libjq1")...)...)
	root.Run("apt-get", "-y", "-q", "--no-install-recommends", "install", "libjq1")
	waitMapped(t, root, "libjq.so.1", old, 1)
	for _, b := range runningBuilds(t, root, "libjq.so.1") {
		if b.Active && len(b.Processes) > 0 {
			t.Errorf("a process has the new library: %+v", b)
		}
	}
}

// TestSystemQueriesRPM is the same on a system of rpm.
func TestSystemQueriesRPM(t *testing.T) {
	t.Parallel()
	root := testroot.RPM(t)
	root.Install(hashpkg(t), "/usr/bin/hashpkg")
	root.Run("hashpkg", "sync", "-q")
	judgeQueries(t, root.Root, rpmSays(t, root))
}

func mustResolve(t *testing.T, root *testroot.Root, file string) string {
	t.Helper()
	final, err := filepath.EvalSymlinks(root.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(final, root.Dir)
}

// runningBuild is a build of an answer of users --running.
type runningBuild struct {
	Package, Version, Path string
	Active                 bool
	Processes              []struct {
		PID        int
		Name, User string
	}
}

// runningBuilds asks, from outside of a root, which processes have a library mapped.
func runningBuilds(t *testing.T, root *testroot.Root, library string) []runningBuild {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), hashpkg(t), "--root", root.Dir, "--json", "users", library, "--running").Output()
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Builds []runningBuild }
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return answer.Builds
}

// waitMapped waits until so many processes have the library of a package, NAME or NAME=VERSION, mapped.
func waitMapped(t *testing.T, root *testroot.Root, library, of string, count int) {
	t.Helper()
	said := ""
	for range 200 {
		builds := runningBuilds(t, root, library)
		said = fmt.Sprintf("%+v", builds)
		for _, b := range builds {
			if (b.Package == of || b.Package+"="+b.Version == of) && len(b.Processes) == count {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("no %d processes have %s of %s: %s", count, library, of, said)
}
