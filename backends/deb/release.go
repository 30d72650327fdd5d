package deb

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"time"
)

const maxRelease = 32 << 20 // that of Debian's unstable has a hundredth

// release is a Release file: what an archive says of itself and of its indexes
// (wiki.debian.org/DebianRepository/Format).
type release struct {
	origin, suite, codename, version string
	date, validUntil                 time.Time // zero if it does not say
	architectures, components        []string
	byHash                           bool // indexes are there by their digests, too
	// allIsElsewhere says that packages of all architectures have an index of their
	// own, and do not stand in that of each architecture.
	allIsElsewhere bool
	files          map[string]listedFile // by the path beside the Release file
}

// listedFile is what a Release file has of another one: its strongest digest.
type listedFile struct {
	size int64
	kind string // "sha512", "sha256"
	sum  string // in lower-case hexadecimal digits
}

// newHash returns a hash of the digest's kind.
func (f listedFile) newHash() hash.Hash {
	if f.kind == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

// digest returns the digest as records have it.
func (f listedFile) digest() string { return f.kind + ":" + f.sum }

// parseRelease reads a Release file.
func parseRelease(text []byte) (*release, error) {
	r := &release{files: map[string]listedFile{}}
	values := map[string]string{}
	byKind := map[string]map[string]listedFile{"sha256": {}, "sha512": {}}
	field, isOver := "", false
	lines := newFieldLines(bytes.NewReader(text), maxRelease)
	for lines.next() == nil {
		var err error
		switch {
		case lines.kind == emptyLine:
			isOver = len(values) > 0
		case isOver:
			err = errors.New("it has a second paragraph")
		case lines.kind == continuedLine && byKind[field] != nil:
			err = addListed(byKind[field], field, string(lines.value))
		case lines.kind == continuedLine || lines.kind == spaceLine:
		case lines.kind == otherLine || !isFieldName(string(lines.name)) || has(values, strings.ToLower(string(lines.name))):
			err = fmt.Errorf("%.80q is not a field, or is there twice", lines.text)
		default:
			field = strings.ToLower(string(lines.name))
			values[field] = string(lines.value)
			err = r.setDate(field, values[field])
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", lines.number, err)
		}
	}
	for _, kind := range []string{"sha256", "sha512"} { // the stronger one takes the place of the other
		for path, f := range byKind[kind] {
			if weaker, both := r.files[path]; both && weaker.size != f.size {
				return nil, fmt.Errorf("%.80q is listed with two sizes", path)
			}
			r.files[path] = f
		}
	}
	if len(r.files) == 0 {
		return nil, errors.New("it has no SHA-512 or SHA-256 of any index")
	}
	r.origin, r.suite, r.codename, r.version = values["origin"], values["suite"], values["codename"], values["version"]
	r.architectures, r.components = strings.Fields(values["architectures"]), strings.Fields(values["components"])
	r.byHash = values["acquire-by-hash"] == "yes"
	r.allIsElsewhere = slices.Contains(r.architectures, "all") &&
		!slices.Contains(strings.Fields(values["no-support-for-architecture-all"]), "Packages")
	return r, nil
}

func has(m map[string]string, key string) bool {
	_, ok := m[key]
	return ok
}

func (r *release) setDate(field, value string) (err error) {
	switch field {
	case "date":
		r.date, err = parseDate(value)
	case "valid-until":
		r.validUntil, err = parseDate(value)
	}
	return err
}

// parseDate reads a date of a Release file, which is in UTC by whatever name.
func parseDate(s string) (time.Time, error) {
	for _, layout := range []string{"Mon, _2 Jan 2006 15:04:05 MST", "Mon, _2 Jan 2006 15:04:05 -0700"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%.80q is not a date", s)
}

// addListed reads a line of the field SHA256 or SHA512: digest, size, path.
func addListed(files map[string]listedFile, kind, line string) error {
	parts := strings.Fields(line)
	if len(parts) != 3 {
		return fmt.Errorf("%.80q is not a digest, size and path", line)
	}
	f := listedFile{kind: kind, sum: strings.ToLower(parts[0])}
	if err := parseSum(make([]byte, f.newHash().Size()), f.sum, strings.Replace(strings.ToUpper(kind), "SHA", "SHA-", 1)); err != nil {
		return err
	}
	var err error
	if f.size, err = parseSize(parts[1]); err != nil {
		return err
	}
	if have, twice := files[parts[2]]; twice && have != f {
		return fmt.Errorf("%.80q is listed twice", parts[2])
	}
	files[parts[2]] = f
	return nil
}

// parseSum reads a digest in hexadecimal digits, as many as to has room for.
func parseSum(to []byte, s, name string) error {
	if len(s) == hex.EncodedLen(len(to)) {
		if _, err := hex.Decode(to, []byte(s)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%.80q is not a %s", s, name)
}

func parseSize(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 62)
	if err != nil {
		return 0, fmt.Errorf("%.80q is not a size", s)
	}
	return int64(n), nil
}
