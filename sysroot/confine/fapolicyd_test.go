package confine_test

import (
	"testing"

	"github.com/hashpkg/hashpkg/sysroot/confine"
)

func TestIntegrity(t *testing.T) {
	for text, want := range map[string]confine.Integrity{
		"":                              confine.IntegrityNone,
		"permissive = 0\n":              confine.IntegrityNone,
		"integrity = none\n":            confine.IntegrityNone,
		"# integrity = sha256\n":        confine.IntegrityNone,
		"integrity = size\n":            confine.IntegritySize,
		"integrity=sha256":              confine.IntegritySHA256,
		"  integrity =  IMA  \ntrust=x": confine.IntegrityIMA,
		"integrity = crc\n":             confine.IntegrityNone,
		"integrityx = sha256\n":         confine.IntegrityNone,
	} {
		if have := confine.ParseIntegrity([]byte(text)); have != want {
			t.Errorf("%q: %q, want %q", text, have, want)
		}
	}
	if have := confine.ReadIntegrity(files{confine.FapolicydConfig[1:]: "integrity = sha256\n"}); have != confine.IntegritySHA256 {
		t.Errorf("read %q", have)
	}
	if confine.ReadIntegrity(files{}) != "" || confine.HasAIDE(files{}) != "" {
		t.Error("a root without settings has some")
	}
	if have := confine.HasAIDE(files{"etc/aide/aide.conf": ""}); have != "/etc/aide/aide.conf" {
		t.Errorf("AIDE's settings are %q", have)
	}
}
