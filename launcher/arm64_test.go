package launcher_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
	"github.com/hashpkg/hashpkg/launcher"
)

// TestArm64 runs the launcher for the other machine in qemu, which passes its system
// calls on; the programs that it becomes are this machine's. What a user gets cannot be
// shown so, for qemu makes no process with namespaces; TestSpawn shows the rest of that.
func TestArm64(t *testing.T) {
	if runtime.GOARCH == "arm64" {
		return // the other tests have shown it
	}
	testneed.Programs(t, "qemu-aarch64-static")
	path, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		t.Fatal(err)
	}
	qemu, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	inRoot(t, func(r *root) {
		arm := func(path string, c launcher.Config) {
			b, err := launcher.New("arm64", c)
			r.must(err)
			r.write(path, string(b))
		}
		r.write("/qemu", string(qemu))
		arm(launched, config)
		run := []string{"/qemu", launched}
		with := func(args ...string) []string { return append(run[:len(run):len(run)], args...) }

		// As root, with all that a view can have.
		r.want(asRoot, "view", with("cat", "/usr/lib/prog/data")...)
		r.want(asRoot, "host", with("cat", "/usr/lib/host/data")...)
		r.want(asRoot, "host same view \n", with("ls", "/usr/lib/both")...)
		r.want(asRoot, "/usr/bin/prog\nx y\n", with("argv0", "print", "x y")...)
		r.want(asRoot, "-prog\n", "/qemu", "-0", "-prog", launched, "argv0")
		r.want(asRoot, "/usr/bin/prog-other\n", "/qemu", "-0", "prog-other", launched, "argv0")
		r.want(asRoot, "/usr/bin/prog\n", "/qemu", "-0", "/var/../var/sys/prog/1.0/bin/prog", launched, "argv0")
		r.want(asRoot, "/home/user/prog\n", "/qemu", "-0", "/home/user/prog", launched, "argv0")
		r.want(asRoot, r.run(asRoot, "/usr/bin/host-tool", "set-up", "exec", "/usr/bin/host-tool", "umask", "fds"),
			append([]string{"/usr/bin/host-tool", "set-up", "exec"}, with("umask", "fds")...)...)
		second := prefix + "/second/1.0/bin/second"
		r.second()
		arm(second, launcher.Config{View: prefix + "/.hashpkg/views/second", Host: config.Host, Program: "/usr/bin/second", Prefix: prefix})
		r.want(asRoot, "secondhost-tool second \n", with("exec", "/qemu", second, "cat", "/usr/lib/second/data", "ls", "/usr/bin")...)
		c := call{caller: asRoot, dir: "/usr/lib/both", args: with("cwd", "cat", "view")}
		if got := r.call(c); got.out != "/usr/lib/both\nview" {
			r.t.Errorf("in a directory of the view: %+v", got)
		}
		r.mount("/usr/lib/modules", 0)
		r.want(asRoot, "submountview", with("cat", "/usr/lib/modules/data", "cat", "/usr/lib/prog/data")...)
		r.write(viewDir+"/usr/games/data", "view")
		r.want(asRoot, "viewhost", with("cat", "/usr/games/data", "cat", "/usr/src/data")...)
		r.write(prefix+"/libone/2.0/usr/lib/one", "tree")
		r.write(viewDir+"/over/libone/2.0/lib/one", "view")
		r.want(asRoot, "view", with("cat", prefix+"/libone/2.0/usr/lib/one")...)

		// Where there is none: a user, by qemu, and root, when something is missing.
		check := func(as caller) {
			got := r.call(call{caller: as, args: with("argv0")})
			if got.status != 0 || got.out != config.Fallback+"\n" || strings.Count(got.err, "\n") != 1 || !strings.HasPrefix(got.err, "prog: it runs without its view (") {
				r.t.Errorf("as %s: %+v", as.name, got)
			}
		}
		check(asUser)
		r.must(os.Remove(config.Host + "/view"))
		check(asRoot)
		bare := config
		bare.Fallback = ""
		arm("/bare", bare)
		got := r.call(call{caller: asRoot, args: []string{"/qemu", "/bare"}})
		if want := "prog: it was not started (mount " + config.Host + "/view: ENOENT)\n"; got.status != 126 || got.err != want {
			r.t.Errorf("%+v, want %q", got, want)
		}
	})
}

// TestSpawn starts a process on both machines. qemu gives it a copy of the memory.
func TestSpawn(t *testing.T) {
	for _, test := range []struct {
		compiler string
		options  []string
		runner   []string
	}{
		{"x86_64-linux-gnu-gcc", []string{"-DSHARED_MEMORY"}, nil},
		{"aarch64-linux-gnu-gcc", nil, []string{"qemu-aarch64-static"}},
	} {
		t.Run(test.compiler, func(t *testing.T) {
			testneed.Programs(t, append(test.runner, test.compiler)...)
			out := filepath.Join(t.TempDir(), "spawn")
			args := []string{"-std=gnu11", "-Os", "-ffreestanding", "-fno-pic", "-no-pie", "-fno-stack-protector", "-static", "-nostdlib", "-o", out, "testdata/spawn.c"}
			if text, err := exec.Command(test.compiler, append(test.options, args...)...).CombinedOutput(); err != nil {
				t.Fatalf("build: %v: %s", err, text)
			}
			run := append(test.runner, out)
			if text, err := exec.Command(run[0], run[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, text)
			}
		})
	}
}
