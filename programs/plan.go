package programs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/hashpkg/hashpkg/elfedit"
	"github.com/hashpkg/hashpkg/ldso"
	"github.com/hashpkg/hashpkg/programs/inplace"
	"github.com/hashpkg/hashpkg/sysroot"
)

// Plan decides on programs, on as many processors as there are. Programs that are
// not there have no decision; one that could not be looked at has a decision that
// says why. An error is one of ctx.
func Plan(ctx context.Context, root *sysroot.Root, records *Records, list []*Program, p *Policy) ([]*Decision, error) {
	decisions := make([]*Decision, len(list))
	pool := sync.Pool{New: func() any { return finders{} }}
	err := inParallel(ctx, len(list), func(i int) {
		f, _ := pool.Get().(finders)
		decisions[i] = planOne(root, records, list[i], p, f)
		pool.Put(f)
	})
	return slices.DeleteFunc(decisions, func(d *Decision) bool { return d == nil }), err
}

// planOne decides on one program; nil when it is not there.
func planOne(root *sysroot.Root, records *Records, program *Program, p *Policy, finders finders) *Decision {
	var d *Decision
	err := Read(root, program, records.Of(program.Package.Key, program.Path), p.Rewrite.SizeLimit(), func(f *Facts, b Bytes) error {
		finder := ldso.Finder(nil)
		if f.Left == "" {
			var err error
			if finder, err = finders.find(root, f.Info); err != nil {
				return err
			}
		}
		var err error
		d, err = Decide(f, b, p, finder)
		return err
	})
	switch {
	case err == nil:
		return d
	case isGone(err):
		return nil
	}
	return undecided(program, err)
}

// isGone reports whether an error says that nothing has a name.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }

// undecided is the decision on a program that cannot be looked at.
func undecided(p *Program, err error) *Decision {
	d := &Decision{Facts: Facts{Program: *p}}
	if passes(err) {
		d.Fault = fmt.Errorf("edit %s: %w", p.Path, err)
	} else {
		d.Left, d.Unsettled = "cannot be edited: "+cause(err), inplace.Stays(err)
	}
	return d
}

// finders are the loader's models for the architectures of a root, for one goroutine
// at a time.
type finders map[string]ldso.Finder // by triplet

func (f finders) find(root *sysroot.Root, info *elfedit.Info) (ldso.Finder, error) {
	triplet := ldso.Triplet(info)
	if f[triplet] == nil {
		finder, err := root.System(info)
		if err != nil {
			return nil, err
		}
		f[triplet] = finder
	}
	return f[triplet], nil
}

// inParallel calls f with 0 to n-1, on as many processors as there are, until ctx
// ends.
func inParallel(ctx context.Context, n int, f func(i int)) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		if inner.Err() != nil {
			break
		}
		group.Go(func() error {
			f(i)
			return nil
		})
	}
	return cmp.Or(group.Wait(), ctx.Err())
}
