package record_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashpkg/hashpkg/layout/record"
)

func TestPinnedTree(t *testing.T) {
	const text = `["libssl3=3.0.11-1~deb12u2@i386","a=1"]`
	var trees []record.PinnedTree
	if err := json.Unmarshal([]byte(text), &trees); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]record.PinnedTree{{Library: "libssl3", Tree: "3.0.11-1~deb12u2@i386"}, {Library: "a", Tree: "1"}}, trees); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	if b, err := json.Marshal(trees); err != nil || string(b) != text {
		t.Errorf("encoded again it is %s (%v)", b, err)
	}
	for _, bad := range []string{`"a"`, `"=1"`, `"a="`, `"../b=1"`, `"a=../b"`, `"a=b/c"`, `".hashpkg=1"`} {
		if err := json.Unmarshal([]byte(bad), new(record.PinnedTree)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
