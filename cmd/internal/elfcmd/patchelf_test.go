package elfcmd

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// elfPrograms are built with gcc: name to arguments.
var elfPrograms = map[string][]string{
	"pie":        {"-o", "pie", "main.c", "liba.so", "libb.so", "-Wl,--no-as-needed", "-Wl,-rpath,/x:/y"},
	"no-pie":     {"-no-pie", "-o", "no-pie", "main.c", "liba.so"},
	"rpath":      {"-o", "rpath", "main.c", "liba.so", "-Wl,--disable-new-dtags,-rpath,/x:/y"},
	"now":        {"-Wl,-z,now,-z,separate-code", "-o", "now", "main.c", "liba.so"},
	"execstack":  {"-Wl,-z,execstack", "-o", "execstack", "main.c", "liba.so"},
	"static":     {"-static", "-no-pie", "-o", "static", "empty.c"},
	"library":    {"-shared", "-fPIC", "-o", "library", "b.c"},
	"liba.so":    {"-shared", "-fPIC", "-Wl,-soname,liba.so.1,--version-script=versions", "-o", "liba.so", "a.c"},
	"nothing.so": {"-shared", "-nostdlib", "-fPIC", "-o", "nothing.so", "b.c"},
}

func buildELFPrograms(t *testing.T) (dir string, names []string) {
	t.Helper()
	testneed.Programs(t, "gcc", "readelf", "patchelf")
	dir = t.TempDir()
	for name, text := range map[string]string{
		"a.c": "int answer(void) { return 42; }\n", "b.c": "int other(void) { return 1; }\n", "empty.c": "int main(void) { return 0; }\n",
		"main.c":   "int answer(void);\nint main(void) { return answer() != 42; }\n",
		"versions": "V1 { global: answer; local: *; };\n",
		"value":    "/from/a:/file", "words": "no ELF file, and long enough for a header of one, which has 64 bytes",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := func(args ...string) {
		cmd := exec.Command("gcc", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("gcc %q: %v: %s", args, err, out)
		}
	}
	build("-shared", "-fPIC", "-Wl,-soname,libb.so.1", "-o", "libb.so", "b.c")
	build(elfPrograms["liba.so"]...)
	for name, args := range elfPrograms {
		build(args...)
		names = append(names, name)
	}
	for _, d := range []string{"libs", "libs2"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, lib := range []string{"liba.so", "libb.so"} {
			b, err := os.ReadFile(filepath.Join(dir, lib))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, d, lib+".1"), b, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir, names
}

// elfCalls are compared on every program. DIR is the directory of the programs
// and FILE the program. A semicolon ends a call; behind => are the calls that
// patchelf gets, one option at a time, where it confuses strings otherwise.
var elfCalls = []string{
	"FILE", "--print-interpreter FILE", "--print-soname FILE", "--print-rpath FILE", "--print-needed FILE",
	"--print-needed --print-rpath --print-soname --print-interpreter FILE", "FILE --print-needed",
	"--print-needed FILE FILE", "--print-needed words FILE", "--print-needed nosuch", "--print-needed libs",
	"--set-rpath /a FILE", "--set-rpath /a --set-rpath /var/sys/package/1.2.3/lib64:/b FILE", "--set-rpath  FILE",
	"--set-rpath @value FILE", "--set-rpath @nosuch FILE", "--set-rpath /a --print-rpath FILE",
	"--add-rpath /n FILE", "--add-rpath /n:/m FILE", "--add-rpath /n --add-rpath /m FILE", "--add-rpath /n --force-rpath FILE",
	"--set-rpath /a --add-rpath /b FILE", "--force-rpath FILE", "--force-rpath --set-rpath /a FILE", "--force-rpath --set-rpath /x:/y FILE",
	"--remove-rpath FILE", "--remove-rpath --set-rpath /a FILE", "--remove-rpath --add-rpath /a FILE", "--shrink-rpath --remove-rpath FILE",
	"--shrink-rpath FILE", "--shrink-rpath --force-rpath FILE",
	"--set-rpath DIR/none:DIR/libs:DIR/libs2:$ORIGIN/../lib:rel FILE;--shrink-rpath FILE",
	"--set-rpath DIR/libs:DIR/libs2 FILE;--shrink-rpath --allowed-rpath-prefixes DIR/libs2:/opt FILE",
	"--set-rpath DIR/libs:/usr FILE;--shrink-rpath --allowed-rpath-prefixes /opt FILE",
	"--add-needed libz.so FILE", "--add-needed libz.so --add-needed libm.so.6 FILE", "--remove-needed liba.so.1 FILE", "--remove-needed nosuch FILE",
	"--replace-needed liba.so.1 libother-with-a-long-name.so.1 FILE", "--replace-needed nosuch libz.so FILE",
	"--replace-needed liba.so.1 libq.so --replace-needed libb.so.1 libr.so FILE",
	"--replace-needed liba.so.1 libb.so.1 --replace-needed libb.so.1 libr.so FILE",
	"--replace-needed liba.so.1 libq.so --remove-needed libb.so.1 --add-needed libz.so FILE" +
		"=>--remove-needed libb.so.1 FILE;--replace-needed liba.so.1 libq.so FILE;--add-needed libz.so FILE",
	"--remove-needed liba.so.1 --replace-needed libb.so.1 liba.so.1 FILE",
	"--remove-needed liba.so.1 --add-needed liba.so.1 FILE",
	"--set-soname libnew.so.3 FILE", "--set-soname libnew.so.3 --print-soname FILE",
	"--set-interpreter /a/b/ld.so FILE", "--set-interpreter /a/b/ld.so --print-interpreter FILE", "--interpreter /a/longer/name/of/a/loader/ld.so FILE",
	"--set-interpreter /1/ld.so --set-interpreter /2/ld.so FILE", "--set-interpreter  FILE",
	"--no-default-lib FILE", "--no-default-lib --set-rpath /a FILE;--no-default-lib FILE", "--clear-symbol-version nosuch FILE", "--clear-symbol-version answer FILE",
	"--page-size 65536 --set-rpath /a/b/c FILE", "--page-size 0 FILE", "--page-size x FILE", "--page-size",
	"--output DIR/output --set-rpath /a FILE", "--output DIR/output FILE", "--output DIR/output FILE FILE",
	"--bogus FILE", "--print-rpath=1 FILE", "--set-rpath", "--replace-needed a", "--replace-needed a FILE", "", "--help", "-h", "--bogus --help", "--set-rpath /a",
	"--set-interpreter /a/b --set-rpath /c:/d --add-needed libz.so --no-default-lib --print-needed FILE" +
		"=>--set-interpreter /a/b FILE;--set-rpath /c:/d FILE;--print-needed FILE;--add-needed libz.so FILE;--no-default-lib FILE",
}

// elfCallsSince are compared when patchelf has the option that they start with.
var elfCallsSince = []string{
	"--print-os-abi FILE", "--set-os-abi linux FILE;--print-os-abi FILE", "--set-os-abi nonsense FILE", "--print-execstack FILE",
	"--clear-execstack FILE;--print-execstack FILE", "--set-execstack FILE;--print-execstack FILE", "--add-debug-tag FILE",
}

// elfOutcome is what a call left and said.
type elfOutcome struct {
	ok      bool
	out     string
	dynamic string // what readelf says of the file, without addresses
	output  string // likewise of --output
}

// dynamicFacts are the lines of readelf that an edit is about. The order of
// tags says nothing, but that of the needed libraries does.
func dynamicFacts(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	out, err := exec.Command("readelf", "-dlVW", path).Output()
	if err != nil {
		t.Fatalf("readelf %s: %v", path, err)
	}
	kept := regexp.MustCompile(`(?m)(\((?:NEEDED|SONAME|FLAGS_1|DEBUG|R(?:UN)?PATH)\) .*|Requesting program.*|File: \S+|Name: \S+  Flags: \w+)$`).FindAllString(string(out), -1)
	var needed, others []string
	for _, line := range kept {
		if strings.Contains(line, "(NEEDED)") {
			needed = append(needed, line)
		} else {
			others = append(others, line)
		}
	}
	slices.Sort(others)
	return strings.Join(append(needed, others...), "\n")
}

// TestElfLikePatchelf makes the same calls with patchelf and this command, and
// compares what they print, how they end, and the files that they leave.
func TestElfLikePatchelf(t *testing.T) {
	dir, programs := buildELFPrograms(t)
	help, err := exec.Command("patchelf", "--help").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	calls := append([]string{}, elfCalls...)
	for _, call := range elfCallsSince {
		if option, _, _ := strings.Cut(call, " "); bytes.Contains(help, []byte(option)) {
			calls = append(calls, call)
		}
	}
	t.Chdir(dir)
	compared := 0
	for _, program := range programs {
		for _, call := range calls {
			if !strings.Contains(call, "FILE") && program != programs[0] {
				continue
			}
			outcomes := make(map[string]elfOutcome)
			for _, tool := range []string{"patchelf", "hashpkg"} {
				b, err := os.ReadFile(program)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile("file", b, 0o755); err != nil {
					t.Fatal(err)
				}
				os.Remove("output")
				o := elfOutcome{ok: true}
				steps, alone, found := strings.Cut(call, "=>")
				if found && tool == "patchelf" {
					steps = alone
				}
				for _, step := range strings.Split(steps, ";") {
					var args []string
					if step != "" {
						for _, arg := range strings.Split(step, " ") {
							args = append(args, strings.NewReplacer("DIR", dir, "FILE", "file").Replace(arg))
						}
					}
					var out bytes.Buffer
					if tool == "patchelf" {
						cmd := exec.Command("patchelf", args...)
						cmd.Stdout = &out
						o.ok = cmd.Run() == nil && o.ok
					} else {
						env := Env{Out: &out, Err: new(bytes.Buffer), Getenv: func(string) string { return "" }}
						o.ok = Main(args, env) == 0 && o.ok
					}
					o.out += out.String()
					if !o.ok {
						break
					}
				}
				o.dynamic = dynamicFacts(t, "file")
				o.output = dynamicFacts(t, "output")
				outcomes[tool] = o
			}
			compared++
			if have, want := outcomes["hashpkg"], outcomes["patchelf"]; have != want && !differs(call, have, want) {
				t.Errorf("%s of %s:\nhave %s\nwant %s", call, program, have, want)
			}
		}
	}
	t.Logf("%d calls compared", compared)
}

func (o elfOutcome) String() string {
	return fmt.Sprintf("ok %v\nprinted %q\n%s\n%s", o.ok, o.out, o.dynamic, o.output)
}

// differs reports a difference that is meant.
func differs(call string, have, want elfOutcome) bool {
	switch {
	case call == "--print-needed words FILE": // after a file that fails, the others are done too
		have.out = want.out
	case strings.HasPrefix(call, "--clear-symbol-version"): // a file without versions has none to clear
		have.ok = want.ok
	}
	return have == want
}
