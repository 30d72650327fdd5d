package generate

import (
	"bytes"
	"maps"
	"path"
	"slices"
	"strings"
)

// desktopIndex says which desktop files are for a MIME type, as the Desktop Entry and MIME
// Applications specifications have it (update-desktop-database's mimeinfo.cache).
func desktopIndex(contents []Content) []byte {
	files := map[string][]string{}
	for _, c := range contents {
		for _, t := range mimeTypes(c.Bytes) {
			if name := path.Base(c.Path); !slices.Contains(files[t], name) {
				files[t] = append(files[t], name)
			}
		}
	}
	var b bytes.Buffer
	b.WriteString("[MIME Cache]\n")
	for _, t := range slices.Sorted(maps.Keys(files)) {
		b.WriteString(t + "=" + strings.Join(files[t], ";") + ";\n")
	}
	return b.Bytes()
}

// mimeTypes returns the MIME types of a desktop file.
func mimeTypes(file []byte) (types []string) {
	group := ""
	for line := range strings.Lines(string(file)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			group = line
		}
		key, value, ok := strings.Cut(line, "=")
		if group != "[Desktop Entry]" || !ok || strings.TrimSpace(key) != "MimeType" {
			continue
		}
		for t := range strings.SplitSeq(value, ";") {
			t = strings.TrimSpace(t)
			if kind, name, ok := strings.Cut(t, "/"); ok && kind != "" && name != "" && !strings.ContainsAny(t, "=[]\\ \t") {
				types = append(types, t)
			}
		}
	}
	return types
}
