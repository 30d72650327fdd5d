package ldso_test

import (
	"fmt"
	"log"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/ldso"
)

// libraries finds each name in one directory, as if there were no other.
type libraries map[string]*elfedit.Info

func (l libraries) Find(name string, _ []*ldso.Object) (*ldso.Object, error) {
	info := l[name]
	if info == nil {
		return nil, fmt.Errorf("%w: %s", ldso.ErrNotFound, name)
	}
	path := "/usr/lib/" + name
	return &ldso.Object{Path: path, ID: path, Info: info}, nil
}

func Example() {
	jq := &ldso.Object{Path: "/usr/bin/jq", ID: "jq", Info: &elfedit.Info{Needed: []string{"libjq.so.1", "libc.so.6"}}}
	closure, err := ldso.Load(jq, libraries{
		"libjq.so.1": {Soname: "libjq.so.1", Needed: []string{"libonig.so.5", "libc.so.6"}},
		"libc.so.6":  {Soname: "libc.so.6"},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, o := range closure.Objects {
		fmt.Println(o.Path)
	}
	for _, m := range closure.Missing {
		fmt.Println(m.From.Path, "needs", m.Name, "in vain")
	}
	fmt.Println("starts:", closure.Starts())
	// Output:
	// /usr/bin/jq
	// /usr/lib/libjq.so.1
	// /usr/lib/libc.so.6
	// /usr/lib/libjq.so.1 needs libonig.so.5 in vain
	// starts: false
}
