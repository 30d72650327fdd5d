package rpm

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/internal/testneed"
)

var capabilityTexts = []struct {
	text, want string // in hexadecimal digits; "" for none, "error" for an error
}{
	{"", ""},
	{"=", ""},
	{"cap_net_raw=ep", "0100000200200000000000000000000000000000"},
	{"cap_net_raw+ep", "0100000200200000000000000000000000000000"},
	{"cap_net_raw=pe", "0100000200200000000000000000000000000000"},
	{"CAP_NET_RAW=p", "0000000200200000000000000000000000000000"},
	{"cap_net_raw=i", "0000000200000000002000000000000000000000"},
	{"= cap_net_raw+ep", "0100000200200000000000000000000000000000"},
	{"cap_net_raw,cap_net_admin=ep", "0100000200300000000000000000000000000000"},
	{"cap_chown=p cap_kill+p", "0000000221000000000000000000000000000000"},
	{"cap_chown=eip cap_chown-i", "0100000201000000000000000000000000000000"},
	{"cap_chown+ep-e", "0000000201000000000000000000000000000000"},
	{"cap_checkpoint_restore,cap_bpf=ep", "0100000200000000000000008001000000000000"},
	{"cap_chown=ep cap_kill=p", "error"}, // a file has one effective bit for all
	{"cap_of_all=p", "error"},
	{"cap_chown", "error"},
	{"+p", "error"},
	{"cap_chown+", "error"},
	{"cap_chown=x", "error"},
	{"cap_chown,=p", "error"},
}

func TestEncodeCapabilities(t *testing.T) {
	for _, test := range capabilityTexts {
		got, err := encodeCapabilities(test.text)
		switch {
		case test.want == "error" && err == nil:
			t.Errorf("%q: %x, want an error", test.text, got)
		case test.want != "error" && (err != nil || hex.EncodeToString([]byte(got)) != test.want):
			t.Errorf("%q: %x, %v, want %s", test.text, got, err, test.want)
		}
	}
	all, err := encodeCapabilities("=ep")
	if err != nil || hex.EncodeToString([]byte(all)) != "01000002ffffffff00000000ff01000000000000" {
		t.Errorf("=ep: %x, %v", all, err)
	}
}

// TestCapabilitiesBySetcap compares with the attribute that setcap sets.
func TestCapabilitiesBySetcap(t *testing.T) {
	testneed.Root(t)
	testneed.Programs(t, "setcap")
	file := filepath.Join(t.TempDir(), "x")
	for _, test := range capabilityTexts {
		if test.want == "" {
			continue
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		output, err := exec.Command("setcap", test.text, file).CombinedOutput()
		if strings.Contains(string(output), "Operation not permitted") || strings.Contains(string(output), "not supported") {
			testneed.Unmet(t, "setcap: ", string(output))
		}
		if err != nil {
			if test.want != "error" {
				t.Errorf("%q: setcap: %s", test.text, output)
			}
			continue
		}
		if test.want == "error" {
			t.Errorf("%q is right for setcap", test.text)
			continue
		}
		value := make([]byte, 64)
		n, err := unix.Getxattr(file, "security.capability", value)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(value[:n]); got != test.want {
			t.Errorf("%q: setcap sets %s, want %s", test.text, got, test.want)
		}
	}
}
