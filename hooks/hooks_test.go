package hooks

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// A hook returns whatever happens, and what it was is kept where there is a store.
func TestRunNeverFails(t *testing.T) {
	now := time.Unix(1700000000, 0)
	root := newRoot(t, "/var/sys", map[string]string{"var/sys/.hashpkg/format": "1\n"})
	for _, c := range []struct {
		name string
		open func() (Hook, error)
		kept string
	}{
		{"settings", func() (Hook, error) { return Hook{Event: After, Root: root, Now: now}, errors.New("bad\nsettings") }, "2023-11-14T22:13:20Z hook after: bad; settings"},
		{"panic", func() (Hook, error) { panic("at the disco") }, ""},
		{"panic of the hook", func() (Hook, error) { return Hook{Event: Before}, nil }, ""},
		{"unknown", func() (Hook, error) { return Hook{Event: "sideways", Root: root, Now: now}, nil }, "2023-11-14T22:13:20Z hook sideways: no hook is called \"sideways\""},
	} {
		if err := root.SetFailure(""); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		Run(context.Background(), &said, c.open)
		if lines := strings.Count(said.String(), "\n"); lines != 2 || !strings.Contains(said.String(), "hashpkg check") {
			t.Errorf("%s: said %q", c.name, said.String())
		}
		if kept, err := root.Failure(); err != nil || kept != c.kept {
			t.Errorf("%s: kept %q, %v", c.name, kept, err)
		}
	}
}

// Where nobody has asked for a store there is nothing to do, and none is made.
func TestRunWithoutStore(t *testing.T) {
	root := newRoot(t, "/var/sys", map[string]string{"var/lib/dpkg/status": ""})
	for _, h := range []Hook{
		{Event: Before, Root: root},
		{Event: Retire, Root: root},
		{Event: During, Root: root, Foreign: true},
		{Event: After, Root: root, Foreign: true},
	} {
		var said bytes.Buffer
		Run(context.Background(), &said, func() (Hook, error) { return h, nil })
		if said.Len() > 0 {
			t.Errorf("%s: said %q", h.Event, said.String())
		}
	}
	if ok, err := root.Exists(); ok || err != nil {
		t.Errorf("a store was made: %v %v", ok, err)
	}
}
