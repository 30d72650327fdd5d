package cli

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestManualHasSettings looks for each setting in hashpkg.toml(5): below ".Ss [TABLE]", or
// before the first such line, ".It Cm NAME". A table of any names has no more than that line.
func TestManualHasSettings(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("../../../docs/man/hashpkg.toml.5"))
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]string{}
	for i, part := range strings.Split(string(page), "\n.Ss ") {
		name, text, _ := strings.Cut(part, "\n")
		if i < 2 {
			name = ""
		}
		tables[strings.TrimSuffix(name, `\&`)] += text
	}
	var look func(table string, of reflect.Type)
	look = func(table string, of reflect.Type) {
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("toml"), ",")
			switch kind := of.Field(i).Type.Kind(); kind {
			case reflect.Struct, reflect.Map:
				if tables["["+name+"]"] == "" {
					t.Errorf("hashpkg.toml(5) does not have the table [%s]", name)
				} else if kind == reflect.Struct {
					look("["+name+"]", of.Field(i).Type)
				}
			default:
				if !strings.Contains(tables[table], "\n.It Cm "+strings.ReplaceAll(name, "-", `\-`)+" ") {
					t.Errorf("hashpkg.toml(5) does not have %s %s", table, name)
				}
			}
		}
	}
	look("", reflect.TypeFor[config]())
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "500M": 500 << 20, "64G": 64 << 30, "2T": 2 << 40, "4K": 4096, "4194304T": 1 << 62,
		"": 0, "0": 0, "G": 0, "-1": 0, "1.5G": 0, "64g": 0, "64GiB": 0, "4194305T": 0, "9223372036854775807": 0, "1 G": 0,
	} {
		n, err := parseSize(text)
		if n != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v, want %d", text, n, err, want)
		}
	}
}
