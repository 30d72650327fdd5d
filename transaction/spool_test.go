package transaction

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/hashpkg/hashpkg/digest"
)

func TestSpool(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	s, err := newSpool()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the spool has a name: %v, %v", entries, err)
	}

	content := func(i int) string { return "\x7fELF" + strings.Repeat(fmt.Sprint(i), 1000*i+1) }
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			b := content(i % 10) // each twice
			d, n, err := s.Add(strings.NewReader(b), int64(len(b)))
			if err != nil || n != int64(len(b)) || d != digest.Of([]byte(b)) {
				t.Errorf("file %d: digest %s, %d bytes, error %v", i, d, n, err)
			}
			err = s.Map(d, func(have []byte) error {
				if string(have) != b {
					t.Errorf("file %d comes back as %d other bytes", i, len(have))
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range 10 { // as often as somebody asks
		b := []byte(content(i))
		if err := s.Map(digest.Of(b), func(have []byte) error {
			if !bytes.Equal(have, b) {
				t.Errorf("file %d comes back as other bytes", i)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}

func TestSpoolSizes(t *testing.T) {
	s, err := newSpool()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, tt := range []struct {
		name, content string
		size          int64
		kept          bool
	}{
		{"ELF", "\x7fELF and so on", 14, true},
		{"magic only", "\x7fELF", 4, true},
		{"longer than its package says", "\x7fELF longer", 8, false},
		{"shorter than its package says", "\x7fELF shorter", 20, false},
		{"text", "#!/bin/sh", 9, false},
		{"empty", "", 0, false},
		{"short", "\x7fEL", 3, false},
		{"after those", "\x7fELF after", 10, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, n, err := s.Add(strings.NewReader(tt.content), tt.size)
			if err != nil || n != int64(len(tt.content)) || d != digest.Of([]byte(tt.content)) {
				t.Errorf("digest %s, %d bytes, error %v", d, n, err)
			}
			var have string
			err = s.Map(d, func(b []byte) error { have = string(b); return nil })
			if tt.kept != (err == nil) || tt.kept && have != tt.content {
				t.Errorf("it comes back as %q, error %v; want it kept: %v", have, err, tt.kept)
			}
		})
	}
}
