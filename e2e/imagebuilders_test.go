//go:build system

package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

// An imageBuilder is a program that makes images, with the configuration that
// docs/image-builds.md has for it.
type imageBuilder struct {
	name    string
	files   map[string]string // its configuration, by path
	overlay string            // where in its directory the program hashpkg has to be; "" for in PATH
	command []string          // run in its directory
	image   string            // the image that comes of it, a directory or a tar file
}

var imageBuilders = []imageBuilder{
	{
		name: "mmdebstrap",
		command: []string{
			"mmdebstrap", "--mode=root", "--variant=apt", "--include=jq", "--hook-dir=./hooks", "bookworm", "image.tar",
			"deb http://deb.debian.org/debian bookworm main",
		},
		image: "image.tar",
	},
	{
		name: "mkosi",
		files: map[string]string{
			"mkosi.conf": `[Distribution]
Distribution=debian
Release=bookworm
Mirror=http://deb.debian.org/debian

[Output]
Format=directory
Output=image

[Content]
Packages=jq
WithDocs=yes
`,
			"mkosi.finalize": `#!/bin/sh
exec ./hashpkg sync --root "$BUILDROOT"
`,
		},
		overlay: "hashpkg",
		// Without a system bus there is nobody whom a container could be registered with.
		command: []string{"mkosi", "--nspawn-keep-unit=yes", "build"},
		image:   "image",
	},
	{
		name: "debos",
		files: map[string]string{"image.yaml": `architecture: amd64
actions:
  - action: debootstrap
    suite: bookworm
    components: [main]
    mirror: http://deb.debian.org/debian
    variant: minbase
    keyring-file: /usr/share/keyrings/debian-archive-keyring.gpg
  - action: apt
    packages: [jq]
  - action: run
    description: give libraries their trees
    command: hashpkg sync --root "$ROOTDIR"
  - action: pack
    file: image.tar.gz
`},
		command: []string{"debos", "--disable-fakemachine", "image.yaml"},
		image:   "image.tar.gz",
	},
	{
		name: "kiwi",
		files: map[string]string{
			"image/config.xml": `<?xml version="1.0" encoding="utf-8"?>
<image schemaversion="7.4" name="image">
  <description type="system">
    <author>Builder</author>
    <contact>builder@example.org</contact>
    <specification>Debian with trees</specification>
  </description>
  <preferences>
    <version>1.0.0</version>
    <packagemanager>apt</packagemanager>
    <type image="tbz"/>
  </preferences>
  <repository type="apt-deb" distribution="bookworm" components="main" repository_gpgcheck="false">
    <source path="http://deb.debian.org/debian"/>
  </repository>
  <packages type="bootstrap">
    <package name="bash"/>
    <package name="jq"/>
  </packages>
</image>
`,
			"image/config.sh": `#!/bin/bash
hashpkg sync
`,
		},
		overlay: "image/root/usr/bin/hashpkg",
		command: []string{"kiwi-ng", "system", "prepare", "--description=image", "--root=root"},
		image:   "root",
	},
}

// TestSystemImageBuilders has real builders make an image twice by the ways that
// docs/image-builds.md describes: its programs work, search the farm, and the sync left the same in both.
func TestSystemImageBuilders(t *testing.T) {
	for _, b := range imageBuilders {
		t.Run(b.name, func(t *testing.T) {
			testneed.Root(t)
			testneed.Programs(t, b.command[0])
			testneed.Network(t)
			var images [2]string
			for i := range images {
				dir := b.build(t)
				images[i] = imageListing(t, dir)
				if out, err := exec.Command("chroot", dir, "sh", "-c", `echo '{"a":42}' | jq .a`).CombinedOutput(); err != nil || string(out) != "42\n" {
					t.Errorf("jq of the image: %v: %s", err, out)
				}
				out, err := exec.Command(hashpkg(t), "elf", "--print-rpath", filepath.Join(dir, "usr/bin/jq")).CombinedOutput()
				if err != nil || !strings.Contains(string(out), "/var/sys/current-system/lib64") {
					t.Errorf("jq searches %s (%v)", out, err)
				}
			}
			sameImages(t, images)
		})
	}
}

// build makes the image and returns the directory that it is in.
func (b imageBuilder) build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string, mode fs.FileMode) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil { // it may get into the image
			t.Fatal(err)
		}
	}
	for name, text := range b.files {
		var mode fs.FileMode = 0o644
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		put(name, text, mode)
	}
	hooks, err := filepath.Abs("../hooks/files/mmdebstrap-hooks")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(hooks, filepath.Join(dir, "hooks")); err != nil {
		t.Fatal(err)
	}
	if b.overlay != "" {
		program, err := os.ReadFile(hashpkg(t))
		if err != nil {
			t.Fatal(err)
		}
		put(b.overlay, string(program), 0o755)
	}
	cmd := exec.Command(b.command[0], b.command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(hashpkg(t))+":"+os.Getenv("PATH"), "SOURCE_DATE_EPOCH=1700000000")
	// A builder's mounts must not outlive it, whatever becomes of it.
	cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", b.command, err, out)
	}
	image := filepath.Join(dir, b.image)
	if !strings.Contains(b.image, ".tar") {
		return image
	}
	unpacked := t.TempDir()
	if out, err := exec.Command("tar", "-xpf", image, "-C", unpacked, "--numeric-owner", "--exclude=./dev/*").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return unpacked
}
