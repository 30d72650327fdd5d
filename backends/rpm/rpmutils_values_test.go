package rpm

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	rpmutils "github.com/sassoftware/go-rpmutils"
)

// TestOtherReaderValues has a reader of other people's as the judge of every value
// of real packages that it gives, of format 6 as well.
func TestOtherReaderValues(t *testing.T) {
	compared := map[kind]int{}
	for _, pattern := range []string{"*.rpm", "centos7/*.rpm"} {
		files, err := filepath.Glob(filepath.Join("../../../shared/rpms", pattern))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			t.Skip("no packages to compare with")
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d, err := NewReader(bytes.NewReader(b), nil)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			d.Close()
			theirs, err := rpmutils.ReadHeader(bytes.NewReader(b))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			h := d.header
			for tag, v := range h.values {
				if tag < sigFirstLegacy { // it looks for these in the signature header
					continue
				}
				var ours, other any
				switch v.kind {
				case kindString, kindStrings, kindI18nStrings:
					ours = h.strings(tag, -1)
					other, err = theirs.GetStrings(int(tag))
				case kindBin:
					ours = h.bytes(tag)
					other, err = theirs.GetBytes(int(tag))
				case kindInt16:
					ours = h.uint16s(tag, -1)
					other, err = theirs.Get(int(tag))
				case kindInt32:
					ours = h.uint32s(tag, -1)
					other, err = theirs.GetUint32s(int(tag))
				case kindInt64:
					ours = h.uint64s(tag, -1)
					other, err = theirs.GetUint64s(int(tag))
				default:
					continue
				}
				if err != nil || !reflect.DeepEqual(ours, other) {
					t.Errorf("%s, tag %d: %v, the other reader has %v, %v", file, tag, ours, other, err)
				}
				compared[v.kind]++
			}
			if h.err != nil {
				t.Errorf("%s: %v", file, h.err)
			}
		}
	}
	for _, k := range []kind{kindInt16, kindInt32, kindInt64, kindString, kindStrings, kindI18nStrings} {
		if compared[k] == 0 {
			t.Errorf("no value of type %d was compared", k)
		}
	}
	t.Log("values compared, by type: ", compared)
}
