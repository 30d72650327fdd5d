package advice_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/hashpkg/hashpkg/internal/advice"
)

func TestOf(t *testing.T) {
	plain := errors.New("it is broken; nobody knows why")
	simple := advice.Errorf("find %s: %w; run hashpkg %s", "jq", fs.ErrNotExist, "update")
	for _, tt := range []struct {
		err                 error
		text, message, hint string
	}{
		{plain, plain.Error(), plain.Error(), ""},
		{advice.Errorf("no advice: %w", plain), "no advice: it is broken; nobody knows why", "no advice: it is broken; nobody knows why", ""},
		{simple, "find jq: file does not exist; run hashpkg update", "find jq: file does not exist", "run hashpkg update"},
		{fmt.Errorf("install: %w", simple), "install: find jq: file does not exist; run hashpkg update", "install: find jq: file does not exist", "run hashpkg update"},
		{errors.Join(simple, plain), simple.Error() + "\n" + plain.Error(), "find jq: file does not exist\n" + plain.Error(), "run hashpkg update"},
		{advice.Errorf("%w; %s it", plain, "mend"), plain.Error() + "; mend it", plain.Error(), "mend it"},
		{advice.Errorf("%s; %s", "a; b", "c; d"), "a; b; c; d", "a; b", "c; d"},
		{advice.First("run it as root", plain), "run it as root: " + plain.Error(), plain.Error(), "run it as root"},
		{fmt.Errorf("sync: %w", advice.First("run it as root", plain)), "sync: run it as root: " + plain.Error(), "sync: " + plain.Error(), "run it as root"},
		{advice.Errorf("%[2]s; %[1]s", "one", "two"), "two; one", "two", "one"},
	} {
		message, hint := advice.Of(tt.err)
		if tt.err.Error() != tt.text || message != tt.message || hint != tt.hint {
			t.Errorf("%q is %q with the advice %q, want %q with %q", tt.err, message, hint, tt.message, tt.hint)
		}
	}
	if !errors.Is(simple, fs.ErrNotExist) {
		t.Error("what was wrapped is lost")
	}
}
