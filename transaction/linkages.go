package transaction

import (
	"cmp"
	"slices"
	"sync"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/internal/beneath"
	"github.com/hashpkg/hashpkg/layout"
	"github.com/hashpkg/hashpkg/layout/record"
	"github.com/hashpkg/hashpkg/store"
)

// linkagesIndex has the linkages of trees of the store, of those that somebody has asked for.
const linkagesIndex = layout.IndexDir + "/symbols"

// maxLinkages bounds it in bytes.
const maxLinkages = 1 << 30

// linkages has what plans find out of the symbols of trees, from one to the next: each follows from its
// tree's identity, so that none is ever out of date, and one that is lost is found out again. It
// implements [plan.Linkages].
type linkages struct {
	store *store.Store

	mu      sync.Mutex
	known   map[digest.Digest]*record.Linkage // nil before it is read
	changed bool
}

// Find implements [plan.Linkages].
func (l *linkages) Find(identity digest.Digest) *record.Linkage {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read()
	return l.known[identity]
}

// Add implements [plan.Linkages].
func (l *linkages) Add(linkage *record.Linkage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read()
	l.known[linkage.Identity], l.changed = linkage, true
}

// read reads the index. One that is missing, or damaged, is empty.
func (l *linkages) read() {
	if l.known != nil {
		return
	}
	l.known = map[digest.Digest]*record.Linkage{}
	b, err := l.store.Dir().ReadFile(linkagesIndex, maxLinkages)
	if err != nil {
		return
	}
	list, err := record.DecodeLinkages(b)
	if err != nil {
		return
	}
	for _, linkage := range list {
		l.known[linkage.Identity] = linkage
	}
}

// write writes the index where something was added. The caller has the root's lock. That it could not be written
// is no error: the next plan takes longer.
func (l *linkages) write() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.changed {
		return
	}
	list := make([]*record.Linkage, 0, len(l.known))
	for _, linkage := range l.known {
		list = append(list, linkage)
	}
	slices.SortFunc(list, func(a, b *record.Linkage) int { return cmp.Compare(string(a.Identity[:]), string(b.Identity[:])) })
	l.store.PutIndex(linkagesIndex, record.EncodeLinkages(list))
	l.changed = false
}

// DropLinkages removes from the index what is of none of some trees, by their identities, and what a killed
// writer has left beside it. The caller has the root's lock.
func DropLinkages(s *store.Store, stays map[digest.Digest]bool) {
	_ = s.Dir().SweepTemp(layout.IndexDir, beneath.AbandonedAfter) // what cannot be removed is in nobody's way
	l := &linkages{store: s}
	l.read()
	for identity := range l.known {
		if !stays[identity] {
			delete(l.known, identity)
			l.changed = true
		}
	}
	l.write()
}
