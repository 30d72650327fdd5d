package cli

import "testing"

// TestExecMissing: what is said of a command that is not there.
func TestExecMissing(t *testing.T) {
	for command, want := range map[string]string{
		"./missing":           "run ./missing: no such file or directory",
		"no-such-program-xyz": "run no-such-program-xyz: there is no such program in PATH",
		"/etc/passwd":         "run /etc/passwd: permission denied",
	} {
		if err := execWith(nil, []string{command}); err == nil || err.Error() != want {
			t.Errorf("the error is %v, want %s", err, want)
		}
	}
}
