//go:build system

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// An imageEngine is a program that takes images, and makes containers of them.
type imageEngine struct {
	name string
	// run has %s for the image, and prints what the container prints.
	run string
}

// imageEngines are run without a daemon, a network, or limits that only a machine's first root may raise.
var imageEngines = []imageEngine{
	{"podman", "podman $storage --cgroup-manager cgroupfs --events-backend file run --rm --network none --runtime runc --ulimit nofile=512:512 --ulimit nproc=512:512 $image sh -c 'id -u; exec jq -n 6*7'"},
	{"podman, read-only, as another user", "podman $storage --cgroup-manager cgroupfs --events-backend file run --rm --network none --runtime runc --ulimit nofile=512:512 --ulimit nproc=512:512 --read-only --user nobody $image sh -c 'id -u; exec jq -n 6*7'"},
	{"buildah", "c=$(buildah $storage from --pull-never $image); buildah $storage run --isolation chroot $c -- sh -c 'id -u; exec jq -n 6*7'; buildah $storage rm $c >/dev/null"},
}

// TestSystemImageEngines has podman and buildah load an image and pull it from a registry, show what it is made of, and run it, as
// root and as a user without rights.
func TestSystemImageEngines(t *testing.T) {
	m := newImageMaker(t)
	testneed.Programs(t, "podman", "buildah", "newuidmap")
	host := m.registry(registryServers["docker-registry"](t), false)
	pushed := "docker://" + host + "/tools/jq:1"
	for _, dir := range []string{m.dir, filepath.Dir(m.dir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"--from", "trixie", "jq", "coreutils", "--with", "shell", "--label", "org.example.what=test"}
	made := m.made(m.command("cache", append(args, "-o", pushed)...))
	for _, archive := range []string{"oci-archive:jq.tar:localhost/tools/jq:1", "docker-archive:jq-docker.tar:localhost/tools/docker:1"} {
		m.made(m.command("cache", append(args, "-o", archive)...))
	}
	for user, become := range map[string]string{"root": "", "nobody": m.userWithIDs()} {
		t.Run(user, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "img-") // podman wants short names
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			})
			sh := func(script string) string {
				t.Helper()
				prelude := fmt.Sprintf("cd %s; mkdir -p %s/run; chmod 700 %[2]s/run; export HOME=%[2]s XDG_RUNTIME_DIR=%[2]s/run; storage='--root %[2]s/storage --runroot %[2]s/run/storage --storage-driver vfs'\n", m.dir, dir)
				c := exec.Command("sh", "-ec", prelude+script) // for a cleanup, too
				if become != "" {
					c = exec.Command("sh", "-c", fmt.Sprintf(`chown %s %s && exec setpriv --reuid=%[1]s --regid=%[1]s --clear-groups sh -ec "$0"`, become, dir), prelude+script)
				}
				out, err := c.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v: %s", script, err, out)
				}
				return string(out)
			}
			// A user's podman leaves a process that keeps the user's namespace, until it is told to end it.
			t.Cleanup(func() { sh("podman $storage rmi --all --force; podman $storage system migrate") })
			sh("podman $storage load -q -i jq.tar; podman $storage load -q -i jq-docker.tar; podman $storage pull -q --tls-verify=false " + strings.TrimPrefix(pushed, "docker://"))
			var inspected []struct {
				Digest string
				Config struct {
					Labels map[string]string
				}
			}
			if out := sh("podman $storage inspect --type image " + strings.TrimPrefix(pushed, "docker://")); json.Unmarshal([]byte(out[strings.Index(out, "["):]), &inspected) != nil || len(inspected) != 1 {
				t.Fatalf("podman inspect: %s", out)
			}
			if i := inspected[0]; i.Digest != made.Digest || i.Config.Labels["org.example.what"] != "test" || i.Config.Labels["org.hashpkg.sources"] != "trixie" {
				t.Errorf("%+v, and %s was made", i, made.Digest)
			}
			if out := sh("podman $storage history --no-trunc --format '{{.CreatedBy}} {{.Comment}}' localhost/tools/jq:1"); !strings.Contains(out, "hashpkg image jq=1.7.1-") {
				t.Errorf("podman history: %s", out)
			}
			for _, e := range imageEngines {
				for _, image := range []string{"localhost/tools/jq:1", "localhost/tools/docker:1", strings.TrimPrefix(pushed, "docker://")} {
					want := "0\n42\n"
					if strings.Contains(e.name, "another user") {
						want = "65534\n42\n"
					}
					if out := sh("image=" + image + "\n" + e.run); !strings.HasSuffix(out, want) {
						t.Errorf("%s of %s: %q, want %q", e.name, image, out, want)
					}
				}
			}
		})
	}
}

// userWithIDs returns the number of a user without rights who may map other users (subuid(5)), which it makes: with a name that no
// other run has.
func (m *imageMaker) userWithIDs() string {
	name := fmt.Sprintf("hashpkg-image-test-%d", os.Getpid())
	m.exec("useradd", "--no-create-home", name)
	m.t.Cleanup(func() {
		if out, err := exec.Command("userdel", name).CombinedOutput(); err != nil {
			m.t.Errorf("userdel: %v: %s", err, out)
		}
	})
	return strings.TrimSpace(m.exec("id", "-u", name))
}

// TestSystemImageRuntimes has the other runtime of OCI do what runc does in TestSystemImagePrograms. It knows the unified
// hierarchy of control groups only, and is shown that one where the machine has others as well.
func TestSystemImageRuntimes(t *testing.T) {
	m := newImageMaker(t)
	testneed.Programs(t, "crun", "unshare")
	b := m.unpack("jq:latest", m.made(m.command("cache", "--from", "trixie", "jq", "sqlite3", "--with", "shell", "-o", "oci:jq")))
	if out, err := b.container(65534, "sh", "-c", "exec jq -n 6*7"); err != nil || out != "42\n" {
		t.Fatalf("runc: %v: %s", err, out)
	}
	const script = `mount -t cgroup2 none /sys/fs/cgroup && exec crun --cgroup-manager=disabled --root "$0/crun" run --bundle "$1" "$2"`
	c := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", script, m.dir, b.path, fmt.Sprintf("hashpkg-test-%d", os.Getpid()))
	if out, err := c.CombinedOutput(); err != nil || string(out) != "42\n" {
		t.Errorf("crun: %v: %s", err, out)
	}
}
