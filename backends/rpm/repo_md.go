package rpm

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpkg/hashpkg/backends"
)

// Bounds of a description. That of Fedora has 4 kB, and a list of mirrors 60 kB.
const (
	partRepomd   = "repomd.xml"
	partLifetime = "suseinfo.xml"

	maxDescription = 4 << 20
	maxElements    = 16 << 10
)

// element is an element of a small document.
type element struct {
	name     string
	attrs    map[string]string
	text     string // without space around it
	children []*element

	raw []byte // the text so far
}

// parseXML reads a small document.
func parseXML(document []byte, part string) (*element, error) {
	x := newXMLReader(bytes.NewReader(document), part, min(xmlWindow, 1+len(document)))
	outer := &element{}
	open := []*element{outer}
	for n := 0; ; {
		kind, err := x.next()
		if err == io.EOF {
			return outer.children[0], nil
		}
		if err != nil {
			return nil, err
		}
		last := open[len(open)-1]
		switch kind {
		case xmlStart:
			if n++; n > maxElements {
				return nil, x.fail("it has more than %d elements", maxElements)
			}
			e := &element{name: string(x.name)}
			for _, a := range x.attrs {
				if e.attrs == nil {
					e.attrs = map[string]string{}
				}
				e.attrs[string(a.name)] = string(a.value)
			}
			last.children = append(last.children, e)
			open = append(open, e)
		case xmlText:
			last.raw = append(last.raw, x.text...)
		case xmlEnd:
			last.text, last.raw = string(bytes.TrimSpace(last.raw)), nil
			open = open[:len(open)-1]
		}
	}
}

// all returns the children of a name.
func (e *element) all(name string) []*element {
	var found []*element
	for _, c := range e.children {
		if c.name == name {
			found = append(found, c)
		}
	}
	return found
}

// first returns the first element that a path of names leads to, or an empty one.
func (e *element) first(path ...string) *element {
	for _, name := range path {
		found := e.all(name)
		if len(found) == 0 {
			return &element{}
		}
		e = found[0]
	}
	return e
}

// repomd is what a repository says of itself and its indexes.
type repomd struct {
	date     time.Time
	distro   string // "Fedora 41"
	version  string // "41"
	primary  *backends.Part
	files    *backends.Part // filelists.xml; or nil
	lifetime *backends.Part // suseinfo.xml, which says how long it is good for; or nil
}

// parseRepomd reads repomd.xml.
func parseRepomd(document []byte) (*repomd, error) {
	root, err := parseXML(document, partRepomd)
	if err != nil {
		return nil, err
	}
	if root.name != "repomd" {
		return nil, errorIn(partRepomd, "it is not the description of a repository: its outermost element is %.40q", root.name)
	}
	m := &repomd{}
	seconds := unixTime(root.first("revision").text)
	for _, data := range root.all("data") {
		seconds = max(seconds, unixTime(data.first("timestamp").text))
		var of **backends.Part
		switch data.attrs["type"] {
		case "primary":
			of = &m.primary
		case "filelists":
			of = &m.files
		case "suseinfo":
			of = &m.lifetime
		default:
			continue
		}
		if *of != nil {
			return nil, errorIn(partRepomd, "it lists two files of the type %s", data.attrs["type"])
		}
		if *of, err = data.part(); err != nil {
			return nil, errorIn(partRepomd, "of %s: %v", data.attrs["type"], err)
		}
	}
	if m.primary == nil {
		if hasType(root, "primary_zck") {
			return nil, errorIn(partRepomd, "it has its index of packages as zchunk only, which hashpkg does not read: createrepo_c writes the plain one beside it, and whoever made the repository has left that out")
		}
		return nil, errorIn(partRepomd, "it has no index of packages")
	}
	m.date = time.Unix(seconds, 0).UTC()
	distro := root.first("tags", "distro")
	m.distro = distro.text
	if words := strings.Split(distro.attrs["cpeid"], ":"); len(words) > 4 { // cpe:/o:VENDOR:PRODUCT:VERSION
		m.version = words[4]
	}
	return m, nil
}

// hasType reports whether a description lists a file of a type.
func hasType(root *element, kind string) bool {
	return slices.ContainsFunc(root.all("data"), func(data *element) bool { return data.attrs["type"] == kind })
}

// part returns what <data> says of a file.
func (e *element) part() (*backends.Part, error) {
	p := &backends.Part{Name: e.attrs["type"], Unpacked: -1}
	checksum := e.first("checksum")
	if p.Digest = indexDigest(checksum.attrs["type"], checksum.text); p.Digest == "" {
		return nil, errors.New("it has no SHA-256 or SHA-512, and nothing else proves what an index is")
	}
	path, err := locate(e.first("location").attrs["href"], e.first("location").attrs["xml:base"])
	if err != nil {
		return nil, err
	}
	p.Paths = []string{path}
	if p.Size, err = fileSize(e.first("size").text); err != nil {
		return nil, err
	}
	if open := e.first("open-size").text; open != "" {
		if p.Unpacked, err = fileSize(open); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func fileSize(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 62)
	if err != nil || n == 0 {
		return 0, errors.New("its size is missing, or not a number")
	}
	return int64(n), nil
}

// unixTime returns the seconds of a time, and 0 for what is not one: a revision may be
// any word, and old programs wrote fractions of a second.
func unixTime(text string) int64 {
	whole, _, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n < 1e8 || n > 1e11 { // 1973, and not a date written in digits
		return 0
	}
	return n
}

// parseLifetime returns how long after its date a description is good, by
// suseinfo.xml; 0 if that does not say.
func parseLifetime(document []byte) (time.Duration, error) {
	root, err := parseXML(document, partLifetime)
	if err != nil {
		return 0, err
	}
	text := root.first("expire").text
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, errorIn(partLifetime, "%.40q is not a number of seconds", text)
	}
	return time.Duration(n) * time.Second, nil
}
