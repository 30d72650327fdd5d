package hooks

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

func TestParseStat(t *testing.T) {
	const rest = " S 8 1 1 0 -1 4194560 10 0 0 0 0 0 0 0 20 0 1 0 12345 1000 10"
	for stat, want := range map[string]process{
		"7 (apt-get)" + rest:                {0, 8, "apt-get", "12345"},
		"7 (a) S (apt)" + rest:              {0, 8, "a) S (apt", "12345"},
		"7 (apt-get) S 1 1":                 {},
		"7 (apt-get) S x" + rest[4:]:        {},
		"7 apt-get S":                       {},
		") 7 (":                             {},
		"":                                  {},
		"7 (unattended-upgr)" + rest + "\n": {0, 8, "unattended-upgr", "12345"},
	} {
		if p := parseStat(stat); p != want {
			t.Errorf("%q is %+v", stat, p)
		}
	}
}

// TestCurrentRun names a run by the process that has the lock, if that is one which
// ends with it.
func TestCurrentRun(t *testing.T) {
	testneed.Programs(t, "python3")
	root := newRoot(t, "/var/sys", map[string]string{"var/lib/dpkg/lock-frontend": ""})
	if run := currentRun(root); run != "" {
		t.Errorf("nobody has the lock: %q", run)
	}
	if work := ProcessAtWork(root); work != "" {
		t.Errorf("nobody has the lock, and at work is %q", work)
	}
	for name, counts := range map[string]bool{"apt-get": true, "packagekitd": false} {
		const holds = `import fcntl,sys
open("/proc/self/comm","w").write(sys.argv[2])
f=open(sys.argv[1],"r+")
fcntl.lockf(f,fcntl.LOCK_EX)
print("has",flush=True)
sys.stdin.read()`
		cmd := exec.Command("python3", "-c", holds, root.Dir()+"/var/lib/dpkg/lock-frontend", name)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		run := currentRun(root)
		if strings.HasPrefix(run, name+" ") != counts || currentRun(root) != run {
			t.Errorf("%s has the lock: %q", name, run)
		}
		if work := ProcessAtWork(root); !strings.HasPrefix(work, name+" ") {
			t.Errorf("%s has the lock, and at work is %q", name, work)
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}
