package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// journalEntry is an entry as journalctl -o json says it. A field with several values is a list.
type journalEntry map[string]any

// values returns the values of a field.
func (e journalEntry) values(name string) []string {
	list, ok := e[name].([]any)
	if !ok {
		list = []any{e[name]}
	}
	var values []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			values = append(values, s)
		}
	}
	return values
}

// withJournal has systemd's own journald take what a command logs, and prints what it has taken
// for that command alone. It has no syslog and no kernel to read from.
const withJournal = `set -eu
mkdir -p /run/systemd/journal /run/log/journal
[ -s /etc/machine-id ] || echo 0123456789abcdef0123456789abcdef >/etc/machine-id
mountpoint -q /sys || mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
/lib/systemd/systemd-journald >/dev/null 2>&1 &
journald=$!
i=0
while ! [ -S /run/systemd/journal/socket ]; do
	i=$((i + 1)); [ $i -lt 100 ] || exit 99
	sleep 0.1
done
( eval "$1" ) >/dev/null 2>&1
journalctl --sync || sleep 1
journalctl -o json SYSLOG_IDENTIFIER=hashpkg
kill $journald
wait $journald || :
rm -rf /run/log/journal /run/systemd/journal
`

// TestLogToJournal has a real journald take what changes programs: by commands and by apt's hook.
func TestLogToJournal(t *testing.T) {
	root := newSystem(t, "systemd", "curl")
	logged := func(command string) (entries []journalEntry) {
		t.Helper()
		for line := range strings.Lines(root.Run("sh", "-c", withJournal, "sh", command)) {
			var e journalEntry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			entries = append(entries, e)
		}
		return entries
	}
	of := func(entries []journalEntry, action string) journalEntry {
		t.Helper()
		var found []journalEntry
		for _, e := range entries {
			if slices.Equal(e.values("HASHPKG_ACTION"), []string{action}) {
				found = append(found, e)
			}
		}
		if len(found) != 1 {
			t.Fatalf("%d entries are of what was %s, of %v", len(found), action, entries)
		}
		return found[0]
	}
	has := func(e journalEntry, field, want string) {
		t.Helper()
		if have := e.values(field); !slices.Contains(have, want) {
			t.Errorf("%s is %q, without %q", field, have, want)
		}
	}

	entries := logged("hashpkg hooks install; hashpkg sync")
	edited := of(entries, "edited")
	has(edited, "HASHPKG_PROGRAM", "/usr/bin/curl")
	has(edited, "HASHPKG_PACKAGE", "curl")
	has(edited, "HASHPKG_COMMAND", "hashpkg sync")
	has(edited, "HASHPKG_USER", "root")
	has(edited, "HASHPKG_GENERATION", "1")
	has(edited, "PRIORITY", "6")
	if n := len(edited.values("HASHPKG_PROGRAM")); n < 100 {
		t.Errorf("edited are %d programs", n)
	}
	has(of(entries, "switched"), "HASHPKG_PACKAGE", "zlib1g")

	version := strings.TrimSpace(root.Run("dpkg-query", "-W", "-f", "${Version}", "zlib1g"))
	entries = logged("hashpkg pin /usr/bin/curl zlib1g=" + version)
	pinned := of(entries, "pinned")
	has(pinned, "HASHPKG_PROGRAM", "/usr/bin/curl")
	has(pinned, "HASHPKG_LIBRARY", "zlib1g="+version)
	has(pinned, "MESSAGE", "pinned /usr/bin/curl to zlib1g="+version+" (hashpkg pin /usr/bin/curl zlib1g="+version+")")
	has(of(entries, "edited"), "HASHPKG_PROGRAM", "/usr/bin/curl")
	has(of(logged("hashpkg unpin /usr/bin/curl"), "unpinned"), "HASHPKG_PACKAGE", "curl")
	has(of(logged("hashpkg freeze /usr/bin/curl"), "frozen"), "HASHPKG_LIBRARY", "zlib1g="+version)
	entries = logged("hashpkg thaw --all")
	has(of(entries, "thawed"), "HASHPKG_PROGRAM", "/usr/bin/curl")
	has(of(entries, "restored"), "HASHPKG_PROGRAM", "/usr/bin/curl")

	entries = logged("apt-get -y -q purge curl; apt-get -y -q autoremove --purge")
	has(entries[len(entries)-1], "HASHPKG_COMMAND", "apt-get -y -q autoremove --purge")

	// Nobody asks for a log, or nobody takes it: the command is done, and says so once at most.
	for _, tt := range []struct{ what, before, says string }{
		{"no journal", "", ""},
		{"a journal that is stopped", "mkdir -p /run/systemd/journal; ln -s /nowhere /run/systemd/journal/socket", ""},
		{"none is wanted", `printf '[log]\nto = "none"\n' >/etc/hashpkg.toml`, ""},
		{"one is wanted", `printf '[log]\nto = "journal"\n' >/etc/hashpkg.toml`, "warning: the log lacks what was done: send to the journal at /run/systemd/journal/socket: no such file or directory\n"},
	} {
		root.Run("sh", "-c", tt.before)
		root.Run("hashpkg", "restore", "--all")
		if out := root.Run("sh", "-c", "hashpkg sync --again 2>&1 >/dev/null"); out != tt.says {
			t.Errorf("%s: it says %q, want %q", tt.what, out, tt.says)
		}
	}
}
