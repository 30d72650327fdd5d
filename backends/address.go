package backends

import "strings"

// PlainURL returns an address without what may be secret in it: the user and password,
// and what follows the question mark. It may have variables of a format.
func PlainURL(address string) string {
	address, query, hasQuery := strings.Cut(address, "?")
	scheme, rest, isURL := strings.Cut(address, "://")
	if isURL {
		host, path, hasPath := strings.Cut(rest, "/")
		address = scheme + "://" + host[strings.LastIndexByte(host, '@')+1:]
		if hasPath {
			address += "/" + path
		}
	}
	if hasQuery && query != "" {
		address += "?..."
	}
	return address
}
