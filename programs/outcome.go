package programs

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/programs/inplace"
)

// State is what became of a program.
type State int

// The states of programs.
const (
	Unchanged State = iota // there was nothing to do
	Edited                 // it has the desired edit
	Restored               // it has its packaged bytes again
	Left                   // it is left as it is, though it would be edited
	Failed                 // it is as it was; the next sync tries again
)

// Outcome is what became of one program.
type Outcome struct {
	*Decision
	State  State
	Reason Reason // of Left
	Err    error  // of Failed
	// LookAgain says that it is to be looked at again although its package has not
	// changed.
	LookAgain bool
}

// Expected returns the outcomes that decisions have when nothing is in their way.
func Expected(decisions []*Decision) []Outcome {
	outcomes := make([]Outcome, 0, len(decisions))
	for _, d := range decisions {
		outcomes = append(outcomes, expected(d))
	}
	return outcomes
}

func expected(d *Decision) Outcome {
	o := Outcome{Decision: d, LookAgain: d.Unsettled}
	switch {
	case d.Fault != nil:
		o.State, o.Err = Failed, d.Fault
	case d.Left != "":
		o.State, o.Reason = Left, d.Left
	case d.Edit.IsZero():
	case d.Desired != nil:
		o.State = Edited
	default:
		o.State = Restored
	}
	return o
}

// stopped is the outcome of a decision that could not be carried out.
func stopped(d *Decision, err error) Outcome {
	switch o := (Outcome{Decision: d, LookAgain: true}); {
	case errors.Is(err, errDisagrees):
		o.State, o.Reason = Left, Reason(err.Error())
		return o
	case inplace.Stays(err):
		o.State, o.Reason = Left, "cannot be replaced: "+cause(err)
		return o
	default:
		o.State, o.Err = Failed, fmt.Errorf("edit %s: %w", d.Path, err)
		return o
	}
}

// cause is what an error says, without the paths on the host in it.
func cause(err error) Reason {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return Reason(err.Error())
}

// passes reports whether an error is a fault that may be gone the next time: a full
// disk, one that fails, or somebody who changes the file.
func passes(err error) bool {
	var errno unix.Errno
	var p *fs.PathError
	return !inplace.Stays(err) && (errors.As(err, &errno) || errors.As(err, &p) ||
		errors.Is(err, inplace.ErrChanged) || errors.Is(err, elfedit.ErrEditMismatch))
}
