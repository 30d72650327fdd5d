package deb

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/backends"
	"github.com/hashpkg/hashpkg/internal/unpack"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// edited are the files of a package that become others, the changelog among them.
type edited struct {
	files map[string]*backends.Content
	note  string // the path of the changelog; "" if there is none
}

// rewriteControl reads control.tar, and writes it for what data.tar will be.
func (rw *rewriting) rewriteControl() error {
	s, err := rw.d.nextMember(controlTar, controlCompressions)
	if err != nil {
		return err
	}
	err = rw.readControl(s)
	if err != nil {
		s.free()
		return err
	}
	if err := s.close(); err != nil {
		return err
	}
	if err := rw.edit(); err != nil {
		return err
	}
	return rw.writePacked(s.member, controlTar, controlCompressions, func(w io.Writer) error {
		for _, f := range rw.control {
			if f.header.kind != '0' {
				if _, err := w.Write(f.raw); err != nil {
					return err
				}
				continue
			}
			if err := writeEntry(w, withSize(f.raw, int64(len(f.content))), int64(len(f.content)), bytes.NewReader(f.content)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (rw *rewriting) readControl(s *stream) error {
	tar := newTarReader(&limitedReader{r: s, left: maxControlTar}, controlTar)
	tree := unpack.NewTree(false)
	kept := map[string]string{}
	for {
		h, err := tar.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		f := rawFile{raw: bytes.Clone(tar.raw), header: h}
		e, err := tar.addTo(tree, h)
		if err != nil {
			return err
		}
		if e != nil {
			f.path = e.Path
		}
		if f.content, err = io.ReadAll(tar); err != nil {
			return err
		}
		if isKeptControlFile(f.path) && h.kind == '0' {
			kept[f.path] = string(f.content)
		}
		rw.control = append(rw.control, f)
	}
	var err error
	rw.d.pkg, err = parsePackage(kept)
	return err
}

// edit changes the control files, and finds what is to be changed in data.tar.
func (rw *rewriting) edit() error {
	p := rw.d.pkg
	if strings.HasSuffix(p.Version, rw.suffix) {
		return fmt.Errorf("the version %s ends in %q already, and its programs are not as this policy wants them: convert the package that it was made from, or choose another --suffix", p.Version, rw.suffix)
	}
	if err := checkSuffix(rw.suffix); err != nil {
		return err
	}
	rw.edited = &edited{files: map[string]*backends.Content{}}
	for path, c := range rw.Files {
		rw.edited.files[path] = &c
	}
	if err := rw.editChangelog(); err != nil {
		return err
	}
	for i := range rw.control {
		f := &rw.control[i]
		var err error
		switch {
		case f.header.kind != '0':
		case f.path == "control":
			f.content = rw.editFields(f.content)
		case f.path == "md5sums":
			f.content, err = rw.editSums(f.content)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkSuffix refuses what deb-version(7) does not allow, and what would be read as
// another part of the version.
func checkSuffix(suffix string) error {
	for _, c := range []byte(suffix) {
		if !strings.ContainsRune("+.~", rune(c)) && !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			return fmt.Errorf("the suffix %q has %q in it, which the version of a deb may not end in: use letters, digits and . + ~", suffix, c)
		}
	}
	return nil
}

// controlField is a field of a control file as it stands there, or a line that is none.
type controlField struct {
	name string // "" of a line that is no field
	text []byte // all its lines
}

// value returns what stands behind the colon, lines that continue it included.
func (f *controlField) value() string {
	_, value, _ := strings.Cut(string(f.text), ":")
	return value
}

// controlFields returns the fields of a control file that [parseControl] takes.
func controlFields(text []byte) (fields []controlField) {
	for line := range bytes.Lines(text) {
		if last := len(fields) - 1; last >= 0 && fields[last].name != "" && (line[0] == ' ' || line[0] == '\t') {
			fields[last].text = append(fields[last].text, line...)
			continue
		}
		name, _, isField := bytes.Cut(line, []byte(":"))
		f := controlField{text: bytes.Clone(line)}
		if isField {
			f.name = string(bytes.TrimRight(name, " \t"))
		}
		fields = append(fields, f)
	}
	return fields
}

// editFields gives the control file its new version and size. A package whose version
// is not its source's says of which source it is, as one that Debian builds again does
// (deb-control(5), "Source"). A field that is written anew stands on one line.
func (rw *rewriting) editFields(text []byte) []byte {
	p := rw.d.pkg
	has := func(name string) bool {
		return slices.ContainsFunc(p.Fields, func(f pkginfo.Field) bool { return strings.EqualFold(f.Name, name) })
	}
	// Packages of the same source ask for one another by exactly this version.
	own := fmt.Sprintf("%s (= %s)", p.Name, p.Version)
	offersOwn := slices.Contains(p.Provides, pkginfo.Capability{Name: p.Name, Version: p.Version})
	var out bytes.Buffer
	for _, f := range controlFields(text) {
		value := strings.Join(strings.Fields(f.value()), " ")
		switch strings.ToLower(f.name) {
		case "version":
			fmt.Fprintf(&out, "%s: %s%s\n", f.name, p.Version, rw.suffix)
			if !has("Provides") {
				fmt.Fprintf(&out, "Provides: %s\n", own)
			}
		case "provides":
			switch {
			case value == "":
				fmt.Fprintf(&out, "%s: %s\n", f.name, own)
			case offersOwn:
				out.Write(f.text)
			default:
				fmt.Fprintf(&out, "%s: %s, %s\n", f.name, own, value)
			}
		case "package":
			out.Write(f.text)
			if !has("Source") {
				fmt.Fprintf(&out, "Source: %s (%s)\n", p.Name, p.Version)
			}
		case "source":
			if value == "" {
				value = p.Name
			}
			if !strings.Contains(value, "(") {
				value += " (" + p.Version + ")"
			}
			fmt.Fprintf(&out, "%s: %s\n", f.name, value)
		case "installed-size":
			size, err := strconv.ParseInt(value, 10, 62)
			if err != nil { // dpkg takes any text for it
				out.Write(f.text)
				continue
			}
			fmt.Fprintf(&out, "%s: %d\n", f.name, max(0, size+rw.growth()))
		default:
			out.Write(f.text)
		}
	}
	return out.Bytes()
}

// growth is by how many KiB the changed files are larger, each counted as
// dpkg-gencontrol(1) does: rounded up.
func (rw *rewriting) growth() int64 {
	kib := func(n int64) int64 { return (n + 1023) / 1024 }
	sum := int64(0)
	for _, c := range rw.edited.files {
		sum += kib(c.Size) - kib(c.OldSize)
	}
	return sum
}

// editSums gives the lines of changed files their new sums. Its lines are "SUM  PATH".
func (rw *rewriting) editSums(text []byte) ([]byte, error) {
	names := map[string]*backends.Content{}
	for path, c := range rw.edited.files {
		for _, name := range append(c.Links, path) {
			names[name] = c
		}
	}
	var out bytes.Buffer
	for line := range bytes.Lines(text) {
		name := strings.TrimRight(string(line), "\r\n")
		const sumSize = 2 * md5.Size
		if len(name) < sumSize+2 {
			out.Write(line)
			continue
		}
		path, err := unpack.CleanName(name[sumSize+2:])
		c := names[unpack.MergedPath(path)]
		if err != nil || c == nil {
			out.Write(line)
			continue
		}
		sum, err := sumOf(c)
		if err != nil {
			return nil, err
		}
		out.WriteString(sum)
		out.Write(line[sumSize:])
	}
	return out.Bytes(), nil
}

func sumOf(c *backends.Content) (string, error) {
	r, err := c.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := md5.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// changelogTop is the first line of an entry: deb-changelog(5).
var changelogTop = regexp.MustCompile(`^([a-z0-9][a-z0-9+.-]+) \([^ )]+\) ([^;\n]+);[ \t]*[Uu]rgency=([a-zA-Z]+)[^\n]*\n`)

// changelogEnd is the line that ends an entry, with its time.
var changelogEnd = regexp.MustCompile(`(?m)^ -- .* <[^>]*>  (.+)$`)

// editChangelog puts an entry on top of the changelog, if there is one that
// deb-changelog(5) knows and that can be unpacked.
func (rw *rewriting) editChangelog() error {
	p := rw.d.pkg
	best := ""
	for path := range rw.Notes {
		if noteRank(p, path) > noteRank(p, best) {
			best = path
		}
	}
	if best == "" {
		return nil
	}
	text, isPacked := rw.Notes[best], strings.HasSuffix(best, ".gz")
	if isPacked {
		var err error
		if text, err = gunzip(text); err != nil {
			return nil // it stays as it is: no part of the package needs it
		}
	}
	top := changelogTop.FindSubmatch(text)
	if top == nil {
		return nil // upstream's, or none that deb-changelog(5) knows
	}
	end := changelogEnd.FindSubmatch(text)
	if end == nil {
		return nil
	}
	at, err := time.Parse("Mon, _2 Jan 2006 15:04:05 -0700", string(end[1]))
	if err != nil {
		return nil
	}
	at = at.Add(time.Second) // entries are in the order of their times
	if rw.Time.After(at) {
		at = rw.Time
	}
	entry := fmt.Sprintf("%s (%s%s) %s; urgency=%s\n\n  * %s\n\n -- %s  %s\n\n",
		top[1], p.Version, rw.suffix, top[2], top[3], rw.Note, rw.Author, at.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	text = append([]byte(entry), text...)
	if isPacked {
		var err error
		if text, err = gzipped(text); err != nil {
			return err
		}
	}
	rw.edited.note = best
	rw.edited.files[best] = &backends.Content{Size: int64(len(text)), OldSize: int64(len(rw.Notes[best])), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(text)), nil
	}}
	return nil
}

// maxChangelog is the most that a changelog may have, unpacked.
const maxChangelog = 64 << 20

func gunzip(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(z, maxChangelog+1))
	if err == nil && len(text) > maxChangelog {
		err = fmt.Errorf("it has more than %d bytes", maxChangelog)
	}
	return text, err
}

// gzipped packs as gzip -9n does: without a name and a time.
func gzipped(text []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	_, err = z.Write(text)
	if err = errors.Join(err, z.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
