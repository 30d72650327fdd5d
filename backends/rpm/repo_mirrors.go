package rpm

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	partMetalink = "metalink"
	maxMirrors   = 512 // of a list that are looked at
)

// mirrors is a list of them.
type mirrors struct {
	urls []string // addresses of the repository, the best first
	// Of the description, by a metalink: the digests of the current one, and of older
	// ones that a mirror may still have.
	current, older []string
}

// parseMirrorList reads one address a line. Those that are not for http are left
// out: rsync is for mirrors themselves.
func parseMirrorList(text []byte) (*mirrors, error) {
	m := &mirrors{}
	for line := range strings.Lines(string(text)) {
		if address, ok := mirrorAddress(strings.TrimSpace(line)); ok && len(m.urls) < maxMirrors {
			m.urls = append(m.urls, address)
		}
	}
	if len(m.urls) == 0 {
		return nil, errorIn("list of mirrors", "it has no address of a mirror")
	}
	return m, nil
}

// mirrorAddress returns an address of a repository, without a slash at the end.
func mirrorAddress(text string) (string, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || len(text) > maxListedText {
		return "", false
	}
	return strings.TrimRight(text, "/"), true
}

// parseMetalink reads a list of mirrors of repomd.xml, in either notation of
// metalinks: 3.0, with what Fedora's MirrorManager adds to it, and 4 (RFC 5854).
func parseMetalink(document []byte) (*mirrors, error) {
	root, err := parseXML(document, partMetalink)
	if err != nil {
		return nil, err
	}
	files := append(root.first("files").all("file"), root.all("file")...)
	i := slices.IndexFunc(files, func(f *element) bool { return f.attrs["name"] == partRepomd })
	if root.name != "metalink" || i < 0 {
		return nil, errorIn(partMetalink, "it is no list of mirrors of %s", partRepomd)
	}
	file := files[i]
	m := &mirrors{current: append(file.digests(), file.first("verification").digests()...)}
	for _, a := range file.first("mm0:alternates").all("mm0:alternate") {
		m.older = append(m.older, a.first("verification").digests()...)
	}
	type mirror struct {
		address string
		rank    int // lower is better
	}
	var found []mirror
	for _, u := range append(file.first("resources").all("url"), file.all("url")...) {
		address, ok := strings.CutSuffix(u.text, "/repodata/"+partRepomd)
		if address, isAddress := mirrorAddress(address); ok && isAddress {
			rank := -atoi(u.attrs["preference"]) // of 3.0: the highest is best
			if priority := u.attrs["priority"]; priority != "" {
				rank = atoi(priority)
			}
			found = append(found, mirror{address, rank})
		}
	}
	if len(found) == 0 {
		return nil, errorIn(partMetalink, "it has no address of a mirror")
	}
	if len(m.current) == 0 {
		return nil, errorIn(partMetalink, "it has no SHA-256 or SHA-512 of %s", partRepomd)
	}
	slices.SortStableFunc(found, func(a, b mirror) int { return a.rank - b.rank })
	for _, f := range found[:min(len(found), maxMirrors)] {
		m.urls = append(m.urls, f.address)
	}
	return m, nil
}

// digests returns the digests of <hash type="sha256"> or "sha-256" elements.
func (e *element) digests() []string {
	var all []string
	for _, h := range e.all("hash") {
		if d := indexDigest(strings.Replace(h.attrs["type"], "sha-", "sha", 1), strings.ToLower(h.text)); d != "" {
			all = append(all, d)
		}
	}
	return all
}

// atoi returns a small number, and 0 for what is not one.
func atoi(text string) int {
	n, err := strconv.ParseInt(text, 10, 24)
	if err != nil {
		return 0
	}
	return int(n)
}
