package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testroot"
)

// TestImagesAreEqual has the shipped hook of mmdebstrap make two images at two times.
func TestImagesAreEqual(t *testing.T) {
	t.Parallel()
	hook, err := filepath.Abs("../hooks/files/mmdebstrap-hooks/customize90-hashpkg.sh")
	if err != nil {
		t.Fatal(err)
	}
	var images [2]string
	for i := range images {
		root := testroot.Debian(t, "bookworm", "")
		if i == 1 { // a hook in the image came first, and something else after it
			root.Install(hashpkg(t), "/usr/bin/hashpkg")
			root.Run("env", "SOURCE_DATE_EPOCH=1700000000", "hashpkg", "hook", "after")
			root.Run("touch", "/var/sys/.hashpkg/objects")
			root.Run("rm", "/usr/bin/hashpkg")
		}
		cmd := exec.Command(hook, root.Dir)
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(hashpkg(t))+":"+os.Getenv("PATH"), "SOURCE_DATE_EPOCH=1700000000")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		images[i] = imageListing(t, root.Dir)
		root.Install(hashpkg(t), "/usr/bin/hashpkg")
		inForce(t, root, fmt.Sprintf("image %d", i))
	}
	sameImages(t, images)
}

// imageListing returns a line for each file that a sync may make or change in an image,
// without what is only true of one copy of it, and the digests of their bytes.
func imageListing(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `cd "$1"
find var/sys usr/bin usr/sbin -printf '%p %y %m %U %G %n %T@ %l ' \( -type d -printf '\n' -o -printf '%s\n' \) | sort
find var/sys usr/bin usr/sbin -type f -print0 | sort -z | xargs -0 sha256sum`, "sh", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func sameImages(t *testing.T, images [2]string) {
	t.Helper()
	a, b := strings.Split(images[0], "\n"), strings.Split(images[1], "\n")
	if len(a) != len(b) || len(a) < 1000 {
		t.Fatalf("the images have %d and %d lines", len(a), len(b))
	}
	differ := 0
	for i := range a {
		if a[i] != b[i] {
			if differ++; differ < 10 {
				t.Errorf("%s\nis in the other image\n%s", a[i], b[i])
			}
		}
	}
}
