package repo

import (
	"fmt"
	"strings"
)

// Request is a package that somebody names.
type Request struct {
	Name         string
	Architecture string // "" for the root's own
	Version      string // "" for the highest
	Suite        string // the source that it is to come from; "" for any of the release
}

// ParseRequest reads "NAME[:ARCHITECTURE][=VERSION|/SUITE]", as apt does.
func ParseRequest(text string) (Request, error) {
	var q Request
	rest, version, hasVersion := strings.Cut(text, "=")
	if q.Version = version; !hasVersion {
		rest, q.Suite, _ = strings.Cut(text, "/")
	}
	q.Name, q.Architecture, _ = strings.Cut(rest, ":")
	if q.Name == "" || hasVersion && version == "" || strings.HasSuffix(text, "/") || strings.HasSuffix(rest, ":") || strings.ContainsAny(text, " \t\n") {
		return q, fmt.Errorf("%.200q is neither NAME nor NAME=VERSION, NAME/SUITE or NAME:ARCHITECTURE", text)
	}
	return q, nil
}

// String returns what ParseRequest reads.
func (q Request) String() string {
	text := q.Name
	if q.Architecture != "" {
		text += ":" + q.Architecture
	}
	if q.Version != "" {
		text += "=" + q.Version
	}
	if q.Suite != "" {
		text += "/" + q.Suite
	}
	return text
}
