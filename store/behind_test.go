package store_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/store"
)

// TestAddSmall stages small files, of which some are equal, from several
// goroutines: each can be read as soon as Add has returned.
func TestAddSmall(t *testing.T) {
	_, staging := begin(t, nil)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 300 {
				content := bytes.Repeat([]byte(fmt.Sprint(i, g%2)), 1+i%50)
				d, n, err := staging.Add(bytes.NewReader(content), int64(len(content)))
				if err != nil || n != int64(len(content)) || d != digest.Of(content) {
					t.Errorf("Add gives %v, %d, %v", d, n, err)
					return
				}
				err = staging.Map(d, func(b []byte) error {
					if !bytes.Equal(b, content) {
						t.Errorf("Map gives %.20q, want %.20q", b, content)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := staging.AddTrees(nil); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(staging.Dir().Path("objects"))
	if err != nil || len(files) != 600 {
		t.Fatalf("there are %d files (%v), want 600", len(files), err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode() != 0o444 || info.ModTime().Unix() != store.ObjectTime {
			t.Fatalf("%s has mode %v and time %v (%v)", f.Name(), info.Mode(), info.ModTime(), err)
		}
	}
}

// TestAddSmallFails sees to it that a file which cannot be written is told by
// whoever needs it, though Add has long returned.
func TestAddSmallFails(t *testing.T) {
	_, staging := begin(t, nil)
	if err := staging.Dir().Remove("objects"); err != nil {
		t.Fatal(err)
	}
	d, _, _ := staging.Add(strings.NewReader("content"), 7) // may say it already
	for what, err := range map[string]error{
		"Map":      staging.Map(d, func([]byte) error { return nil }),
		"AddTrees": staging.AddTrees(nil),
	} {
		if err == nil || !strings.Contains(err.Error(), "stage file: ") {
			t.Errorf("%s gives %v", what, err)
		}
	}
	for i := range 100 { // more than wait
		if _, _, err := staging.Add(strings.NewReader(fmt.Sprintf("%07d", i)), 7); err == nil {
			t.Fatal("Add after a failure gives no error")
		}
	}
}
