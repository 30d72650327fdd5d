package e2e

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// TestVerifySystem changes files behind hashpkg's back.
func TestVerifySystem(t *testing.T) {
	root := newSystem(t, "jq")
	root.Run("hashpkg", "sync")
	root.Run("sh", "-c", "printf x >> /usr/bin/jq; printf x >> /usr/bin/env; rm /usr/bin/who")
	out, err := root.RunErr(t.Context(), "hashpkg", "verify", "--system", "--json")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("verify --system: %v", err)
	}
	var v struct{ Altered []struct{ Path, What string } }
	if err := json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &v); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := map[string]string{
		"/usr/bin/jq":  "is neither what its package brought nor what hashpkg made of it",
		"/usr/bin/env": "is not what its package brought",
		"/usr/bin/who": "is missing",
	}
	for _, a := range v.Altered {
		if want[a.Path] != a.What {
			t.Errorf("%s: %s", a.Path, a.What)
		}
		delete(want, a.Path)
	}
	if len(want) > 0 {
		t.Errorf("not reported: %v", want)
	}
	if out, err := root.RunErr(t.Context(), "hashpkg", "restore", "/usr/bin/jq"); err == nil || !strings.Contains(out, "neither") {
		t.Errorf("restore of an altered file: %v %s", err, out)
	}
	// Its package brings it again, and with it the edit.
	root.Repo().Add(root.Fetch("jq", "coreutils")...)
	root.Run("apt-get", "-y", "-q", "install", "--reinstall", "jq", "coreutils")
	root.Run("hashpkg", "sync")
	root.Run("hashpkg", "verify", "--system")
}
