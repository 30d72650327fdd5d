package record

import (
	"fmt"
	"slices"
)

// Binding says how the programs and libraries of a private tree find libraries.
//
// In a manifest an empty member is the default, and so is one that says nothing of any
// file that the package has: Bind of a package without programs.
type Binding struct {
	Bind      Bind      `json:"bind,omitempty"`
	RunPath   RunPath   `json:"runpath,omitempty"`
	Prelocate Prelocate `json:"prelocate,omitempty"`
}

// Bind says how programs find the libraries that they need.
type Bind string

// The ways. A program lists all that it loads by path, or searches.
const (
	BindAbsolute Bind = "absolute" // the default
	BindRunPath  Bind = "runpath"
)

// RunPath says which directories a search path has.
type RunPath string

// The forms. A path has the directories that can answer for something, or besides
// these those of its own package, of that version and of its default, and the farm's.
const (
	RunPathMinimal RunPath = "minimal" // the default
	RunPathFull    RunPath = "full"
)

// Prelocate says whether relocations of the package's files are bound to these files
// themselves, where nothing else can answer them. A manifest that says nothing is of a tree
// of which none are. PrelocateOff in a manifest is what somebody has said of the package by its
// name: what is said of all packages of a command does not change it.
type Prelocate string

// The choices.
const (
	PrelocateOn  Prelocate = "on"
	PrelocateOff Prelocate = "off"
)

// ParseBinding returns a binding of words that may be empty.
func ParseBinding(bind, runPath string) (Binding, error) {
	b := Binding{Bind: Bind(bind), RunPath: RunPath(runPath)}
	return b, b.Check()
}

// Check returns an error for a word that is none of those above.
func (b Binding) Check() error {
	switch b.Bind {
	case "", BindAbsolute, BindRunPath:
	default:
		return fmt.Errorf("programs are bound %q or %q, not %q", BindAbsolute, BindRunPath, b.Bind)
	}
	switch b.RunPath {
	case "", RunPathMinimal, RunPathFull:
	default:
		return fmt.Errorf("search paths are %q or %q, not %q", RunPathMinimal, RunPathFull, b.RunPath)
	}
	switch b.Prelocate {
	case "", PrelocateOn, PrelocateOff:
	default:
		return fmt.Errorf("prelocation is %q or %q, not %q", PrelocateOn, PrelocateOff, b.Prelocate)
	}
	return nil
}

// Or returns b, and what other says where b says nothing.
func (b Binding) Or(other Binding) Binding {
	if b.Bind == "" {
		b.Bind = other.Bind
	}
	if b.RunPath == "" {
		b.RunPath = other.RunPath
	}
	if b.Prelocate == "" {
		b.Prelocate = other.Prelocate
	}
	return b
}

// Recorded returns b as manifests have it: without what is the default, and with what b says of
// prelocation.
func (b Binding) Recorded() Binding {
	if b.Bind == BindAbsolute {
		b.Bind = ""
	}
	if b.RunPath == RunPathMinimal {
		b.RunPath = ""
	}
	return b
}

// Whole returns b, as a manifest has it, with what it means where it says nothing.
func (b Binding) Whole() Binding {
	return b.Or(Binding{BindAbsolute, RunPathMinimal, PrelocateOff})
}

// IsPrelocated reports whether relocations are bound to the package's own files.
func (b Binding) IsPrelocated() bool { return b.Whole().Prelocate == PrelocateOn }

// Bindings returns all that there are, as manifests have them.
func Bindings() (all []Binding) {
	for _, prelocate := range []Prelocate{"", PrelocateOn, PrelocateOff} {
		for _, runPath := range []RunPath{RunPathMinimal, RunPathFull} {
			for _, bind := range []Bind{BindAbsolute, BindRunPath} {
				if b := (Binding{bind, runPath, prelocate}).Recorded(); !slices.Contains(all, b) {
					all = append(all, b)
				}
			}
		}
	}
	return all
}
