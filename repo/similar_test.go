package repo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpkg/hashpkg/internal/testdeb"
)

// TestSimilar asks for names that nothing has.
func TestSimilar(t *testing.T) {
	var packages []testdeb.Package
	for _, name := range strings.Fields("bc ffmpeg jq jqp libffmpeg postgis postgresql postgresql-15 python3 python2 python4 unrelated") {
		packages = append(packages, data(name, "1", ""))
	}
	f := newFixture(t, map[string]string{"etc/hashpkg/sources.d/1.sources": serve(t, "stable", packages...).sources()})
	for name, want := range map[string][]string{
		"ffmepg":   {"ffmpeg"},
		"jqq":      {"jq", "jqp"},
		"JQX":      {"jq", "jqp"},
		"postgres": {"postgresql", "postgresql-15", "postgis"},
		"python5":  {"python2", "python3", "python4"},
		"xyz":      nil,
	} {
		_, err := f.Select(t.Context(), "stable", f.installs("", name).Requests, false)
		text := fmt.Sprintf("find %s: no package has this name, or provides it", name)
		if want != nil {
			text += "; did you mean " + strings.Join(want, " or ") + "?"
		}
		if err == nil || err.Error() != text {
			t.Errorf("%s: the error is %v, not %s", name, err, text)
		}
	}
	if _, err := f.Select(t.Context(), "stable", f.installs("", "jqq", "bcc").Requests, false); err == nil || strings.Count(err.Error(), "did you mean") != 2 {
		t.Errorf("of two names: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "helper.deb"), testdeb.Deb(t, data("helper", "1", "")), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Select(t.Context(), dir, f.installs("", "helpr").Requests, false); err == nil || !strings.HasSuffix(err.Error(), "did you mean helper?") {
		t.Errorf("of a directory: %v", err)
	}
	if _, err := f.Select(t.Context(), "stable", f.installs("", "jq=2").Requests, false); err == nil || strings.Contains(err.Error(), "did you mean") {
		t.Errorf("a version that is not there: %v", err)
	}
}
