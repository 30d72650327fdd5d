package confine

import (
	"strings"
)

// FapolicydConfig has the settings of fapolicyd, fapolicyd.conf(5).
const FapolicydConfig = "/etc/fapolicyd/fapolicyd.conf"

// Integrity is how fapolicyd compares programs with those that it trusts, which are
// those of the package manager's database.
type Integrity string

// What fapolicyd compares beside the path. An edited program has another digest than
// the database, and may have another size: with these it is not trusted, and not run.
const (
	IntegrityNone   Integrity = ""
	IntegritySize   Integrity = "size"
	IntegritySHA256 Integrity = "sha256"
	IntegrityIMA    Integrity = "ima"
)

// ReadIntegrity returns what fapolicyd compares in a root. That it is permissive, or
// does not run, is not looked at: it may be otherwise tomorrow, when no sync runs.
func ReadIntegrity(files Files) Integrity {
	b, err := files.ReadFile(FapolicydConfig, maxFile)
	if err != nil {
		return IntegrityNone
	}
	return ParseIntegrity(b)
}

// ParseIntegrity reads the settings of fapolicyd. A value that it does not know is as
// one that it has none of.
func ParseIntegrity(b []byte) Integrity {
	found := IntegrityNone
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.TrimSpace(key) != "integrity" {
			continue
		}
		switch v := Integrity(strings.ToLower(strings.TrimSpace(value))); v {
		case IntegritySize, IntegritySHA256, IntegrityIMA:
			found = v
		default:
			found = IntegrityNone
		}
	}
	return found
}

// aideConfigs are where distributions have the settings of AIDE, aide.conf(5).
var aideConfigs = []string{"/etc/aide.conf", "/etc/aide/aide.conf"}

// HasAIDE returns the settings of AIDE in a root, which compares files with a database
// of its own; "" where there are none.
func HasAIDE(files Files) string {
	for _, name := range aideConfigs {
		if files.HasFile(name) {
			return name
		}
	}
	return ""
}
