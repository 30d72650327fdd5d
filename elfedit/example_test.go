package elfedit_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/internal/testelf"
)

// A program gets a RUNPATH, and loses it again.
func Example() {
	program := testelf.File{Interpreter: "/lib64/ld-linux-x86-64.so.2", Needed: []string{"libjq.so.1"}}.Bytes()

	path := "$ORIGIN/../lib"
	edit, err := elfedit.Make(program, elfedit.Changes{Path: &elfedit.SearchPath{Set: &path}})
	if err != nil {
		log.Fatal(err)
	}
	edited, err := edit.Apply(program)
	if err != nil {
		log.Fatal(err)
	}
	info, err := elfedit.Inspect(edited)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("searches", info.RunPath, "for", info.Needed)

	undone, err := edit.Invert().Apply(edited)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("undone to the byte:", bytes.Equal(undone, program))
	// Output:
	// searches $ORIGIN/../lib for [libjq.so.1]
	// undone to the byte: true
}
