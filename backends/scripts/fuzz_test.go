package scripts

import (
	"testing"
	"time"
)

// FuzzRead reads whatever there is: no panic, and an end before long.
func FuzzRead(f *testing.F) {
	for _, body := range hostile {
		if len(body) < 2000 {
			f.Add("#!/bin/sh\n" + body)
		}
	}
	for _, body := range hosts {
		f.Add("#!/bin/bash\n" + body)
	}
	f.Add("#!/bin/sh\nset -e\nfor i in a b; do update-alternatives --install /usr/bin/$i ${i%x} \"$(echo $i | sed -e 's/\\(a\\)/\\1/g')\" $((1+2)) --slave /a b /c; done\n")
	f.Add("#!sh\n0&0\xe4") // which the parser reports twice
	f.Fuzz(func(t *testing.T, body string) {
		start := time.Now()
		e := Read(contextOf(body, "/usr/bin/tool", "/usr/share/tool/"))
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		for _, a := range e.Alternatives {
			if !isKnown(a.Name, a.Link, a.Path) || !isName(a.Name) || a.Link[0] != '/' || a.Path[0] != '/' {
				t.Errorf("%+v", a)
			}
		}
	})
}
