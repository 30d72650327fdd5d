package images

import (
	"bytes"
	"cmp"
	"maps"
	"path"
	"regexp"
	"slices"

	"github.com/hashpkg/hashpkg/layout/record"
)

// How Debian's packages have PHP's modules: each has a file that loads it, and names the place of that in the order
// (dh_php, phpenmod(8)). Of the interfaces, such as cli, each has a directory of links to those that it loads.
var (
	phpModule   = regexp.MustCompile(`^usr/share/php([0-9]+\.[0-9]+)-[^/]+/[^/]+/([^/]+)\.ini$`)
	phpSAPI     = regexp.MustCompile(`^usr/lib/php/([0-9]+\.[0-9]+)/sapi/([^/]+)$`)
	phpPriority = regexp.MustCompile(`(?m)^;[ \t]*priority=([0-9]{1,3})[ \t]*$`)
)

// addPHP adds what the scripts of PHP's packages make: all modules are loaded, and each interface has its
// settings for production.
func (b *lastLayer) addPHP(objects Objects) error {
	for _, name := range slices.Sorted(maps.Keys(b.p.files)) {
		sapi := phpSAPI.FindStringSubmatch(name)
		if sapi == nil {
			continue
		}
		etc, usr := path.Join("etc/php", sapi[1]), path.Join("usr/lib/php", sapi[1])
		settings := cmp.Or(b.p.files[usr+"/php.ini-production."+sapi[2]], b.p.files[usr+"/php.ini-production"])
		b.addCopy(settings, path.Join(etc, sapi[2], "php.ini"))
		for _, file := range slices.Sorted(maps.Keys(b.p.files)) {
			module := phpModule.FindStringSubmatch(file)
			if module == nil || module[1] != sapi[1] {
				continue
			}
			var text bytes.Buffer
			if err := b.p.files[file].writeTo(&text, objects); err != nil {
				return err
			}
			priority := "20"
			if m := phpPriority.FindSubmatch(text.Bytes()); m != nil {
				priority = string(m[1])
			}
			available := path.Join(etc, "mods-available", module[2]+".ini")
			b.addCopy(b.p.files[file], available)
			b.add(link(path.Join(etc, sapi[2], "conf.d", priority+"-"+module[2]+".ini"), "/"+available))
		}
	}
	return nil
}

// addCopy adds a copy of a package's regular file; of nil, and of what is none, nothing.
func (b *lastLayer) addCopy(of *entry, to string) {
	if of == nil || of.kind != record.TypeFile {
		return
	}
	e := *of
	e.path, e.xattrs = to, nil
	b.add(e)
}
