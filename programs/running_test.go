package programs

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestFindRunning starts a program and finds it by what stat(2) says of its file.
func TestFindRunning(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	info, err := os.Stat(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if pid := FindRunning().of(FileID{Device: uint64(st.Dev), Inode: st.Ino}); pid == 0 { //nolint:unconvert // not on every architecture
		t.Errorf("%s is not found to be run", cmd.Path)
	}
}
