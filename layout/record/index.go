package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashpkg/hashpkg/digest"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// indexMagic begins an index. One of a record without a history has the form that came
// before, and begins as that does.
const (
	indexMagic        = "hashpkg index 9\n"
	indexMagicWithout = "hashpkg index 8\n"
)

var errIndex = errors.New("the index is damaged")

// EncodeIndex returns the index of g, whose record on disk is record.
//
// Its form: the magic, the record's digest, then numbers as varints and strings
// with their length before them, in the order of [Generation] and [Tree].
func (g *Generation) EncodeIndex(record []byte) []byte {
	var w indexWriter
	if g.History == nil {
		w.WriteString(indexMagicWithout)
	} else {
		w.WriteString(indexMagic)
	}
	d := digest.Of(record)
	w.Write(d[:])
	w.number(int64(g.Layout))
	w.number(int64(g.ID))
	w.number(int64(g.Parent))
	w.number(g.Time.Unix())
	w.text(g.Architecture)
	w.text(g.Run)
	w.text(g.ToRoot)
	w.textMap(g.Alternatives)
	w.number(int64(len(g.Trees)))
	for i := range g.Trees {
		t := &g.Trees[i]
		w.text(t.Name)
		w.text(t.Version)
		w.text(t.Architecture)
		w.text(string(t.Format))
		w.text(string(t.Origin))
		w.text(t.Dir)
		w.Write(t.Identity[:])
		w.number(int64(t.Since))
		w.number(flags(t.Default, t.Chosen, t.Held, t.Asked, t.OnHold, !t.Until.IsZero(), t.Prelocated, t.Dev, !t.By.IsZero()))
		w.text(t.Release)
		w.text(t.Others)
		if !t.Until.IsZero() {
			w.number(t.Until.Unix())
		}
		if !t.By.IsZero() {
			w.text(t.By.URL)
			w.text(t.By.Signer)
		}
		w.texts(t.Links)
		w.number(int64(len(t.Offers)))
		for _, o := range t.Offers {
			w.text(o.Name)
			w.text(o.Link)
			w.text(o.Path)
			w.text(o.Target)
			w.number(int64(o.Priority))
		}
		w.texts(t.Inner)
		w.text(t.View)
		w.number(int64(len(t.Provides)))
		for _, c := range t.Provides {
			w.text(c.Name)
			w.text(c.Version)
		}
		w.textMap(t.Places)
		w.texts(t.AskWhere)
	}
	if g.History != nil {
		w.history(g.History)
	}
	return w.Bytes()
}

// DecodeIndex returns the generation of an index; an error when it was not made
// from record, or is damaged.
func DecodeIndex(index, record []byte) (*Generation, error) {
	g, of, err := decodeIndex(index)
	if err == nil && of != digest.Of(record) {
		err = fmt.Errorf("%w: it was made from another record", errIndex)
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

// Reconstruct returns the record that an index was made from, when that one is lost. It
// is the very same, byte by byte, or an error.
func Reconstruct(index []byte) (*Generation, []byte, error) {
	g, of, err := decodeIndex(index)
	if err != nil {
		return nil, nil, err
	}
	text, err := g.Encode()
	if err == nil && digest.Of(text) != of {
		err = fmt.Errorf("%w: its record cannot be made from it", errIndex)
	}
	return g, text, err
}

// decodeIndex returns the generation of an index, and the digest of the record that it
// was made from.
func decodeIndex(index []byte) (g *Generation, of digest.Digest, err error) {
	rest, hasHistory := bytes.CutPrefix(index, []byte(indexMagic))
	ok := hasHistory
	if !ok {
		rest, ok = bytes.CutPrefix(index, []byte(indexMagicWithout))
	}
	if !ok {
		return nil, of, errIndex
	}
	r := indexReader{b: string(rest)} // strings of the result are parts of this one
	of = r.digest()
	g = &Generation{Layout: int(r.number()), ID: int(r.number()), Parent: int(r.number())}
	g.Time = time.Unix(r.number(), 0).UTC()
	g.Architecture, g.Run, g.ToRoot = r.text(), r.text(), r.text()
	g.Alternatives = r.textMap()
	g.Trees = make([]Tree, r.count())
	for i := range g.Trees {
		t := &g.Trees[i]
		t.Name, t.Version, t.Architecture = r.text(), r.text(), r.text()
		t.Format, t.Origin, t.Dir = pkginfo.Format(r.text()), Origin(r.text()), r.text()
		t.Identity = r.digest()
		t.Since = int(r.number())
		f := r.number()
		t.Default, t.Chosen, t.Held = f&1 != 0, f&2 != 0, f&4 != 0
		t.Prelocated, t.Dev = f&64 != 0, f&128 != 0
		t.Asked, t.OnHold, t.Release = f&8 != 0, f&16 != 0, r.text()
		t.Others = r.text()
		if f&32 != 0 {
			t.Until = time.Unix(r.number(), 0).UTC()
		}
		if f&256 != 0 {
			t.By = Picker{URL: r.text(), Signer: r.text()}
		}
		t.Links = r.texts()
		if n := r.count(); n > 0 {
			t.Offers = make([]Offer, n)
			for j := range t.Offers {
				t.Offers[j] = Offer{Name: r.text(), Link: r.text(), Path: r.text(), Target: r.text(), Priority: int(r.number())}
			}
		}
		t.Inner, t.View = r.texts(), r.text()
		if n := r.count(); n > 0 {
			t.Provides = make([]pkginfo.Capability, n)
			for j := range t.Provides {
				t.Provides[j] = pkginfo.Capability{Name: r.text(), Version: r.text()}
			}
		}
		t.Places = r.textMap()
		t.AskWhere = r.texts()
	}
	if hasHistory {
		g.History = r.history()
	}
	if r.bad || r.b != "" {
		return nil, of, errIndex
	}
	return g, of, g.check()
}

func flags(bits ...bool) (f int64) {
	for i, b := range bits {
		if b {
			f |= 1 << i
		}
	}
	return f
}

type indexWriter struct{ bytes.Buffer }

func (w *indexWriter) history(h *History) {
	w.text(h.Command)
	w.text(h.User)
	w.number(int64(h.Restored))
	w.number(int64(h.Undone))
	w.number(int64(len(h.Changes)))
	for i := range h.Changes {
		c := &h.Changes[i]
		w.text(c.Name)
		w.text(string(c.Origin))
		w.text(c.Architecture)
		w.texts(c.Added)
		w.texts(c.Removed)
		w.texts(c.Remade)
		w.text(c.Before)
		w.text(c.After)
		w.texts(c.Held)
		w.texts(c.Unheld)
	}
}

func (w *indexWriter) number(n int64) { w.Write(binary.AppendVarint(w.AvailableBuffer(), n)) }

func (w *indexWriter) text(s string) {
	w.number(int64(len(s)))
	w.WriteString(s)
}

func (w *indexWriter) texts(list []string) {
	w.number(int64(len(list)))
	for _, s := range list {
		w.text(s)
	}
}

func (w *indexWriter) textMap(m map[string]string) {
	w.number(int64(len(m)))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		w.text(key)
		w.text(m[key])
	}
}

// indexReader takes an index apart. What is not there reads as zero and sets bad.
type indexReader struct {
	b   string
	bad bool
}

func (r *indexReader) take(n int) string {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, ""
		return ""
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

func (r *indexReader) number() int64 {
	n, used := binary.Varint([]byte(r.b[:min(len(r.b), binary.MaxVarintLen64)]))
	if used <= 0 {
		r.bad, r.b = true, ""
		return 0
	}
	r.b = r.b[used:]
	return n
}

// count is the length of a list, which has at least a byte for each member.
func (r *indexReader) count() int {
	n := r.number()
	if n < 0 || n > int64(len(r.b)) {
		r.bad, r.b = true, ""
		return 0
	}
	return int(n)
}

func (r *indexReader) text() string { return r.take(int(r.number())) }

func (r *indexReader) texts() []string {
	n := r.count()
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.text()
	}
	return list
}

func (r *indexReader) textMap() map[string]string {
	n := r.count()
	if n == 0 {
		return nil
	}
	m := make(map[string]string, n)
	for range n {
		key := r.text()
		m[key] = r.text()
	}
	return m
}

func (r *indexReader) history() *History {
	h := &History{Cause: Cause{Command: r.text(), User: r.text()}, Restored: int(r.number()), Undone: int(r.number())}
	if n := r.count(); n > 0 {
		h.Changes = make([]PackageChange, n)
		for i := range h.Changes {
			h.Changes[i] = PackageChange{
				Name: r.text(), Origin: Origin(r.text()), Architecture: r.text(), Added: r.texts(), Removed: r.texts(), Remade: r.texts(),
				Before: r.text(), After: r.text(), Held: r.texts(), Unheld: r.texts(),
			}
		}
	}
	return h
}

func (r *indexReader) digest() (d digest.Digest) {
	copy(d[:], r.take(digest.Size))
	return d
}
