package elfedit

// maxGap is how many equal bytes between two changes a hunk takes in, rather than
// that another begins.
const maxGap = 64

// Diff returns the edit that turns one file into another, whatever made them
// differ. It compares byte by byte at the same offsets.
func Diff(from, to []byte) Edit {
	e := Edit{OldSize: int64(len(from)), NewSize: int64(len(to))}
	common := min(len(from), len(to))
	add := func(start, end int) {
		h := Hunk{Offset: int64(start)}
		h.Old = append([]byte{}, from[min(start, len(from)):min(end, len(from))]...)
		h.New = append([]byte{}, to[min(start, len(to)):min(end, len(to))]...)
		e.Hunks = append(e.Hunks, h)
	}
	start, last := -1, -1 // the change that is open, and its last differing byte
	for i := range common {
		if from[i] == to[i] {
			continue
		}
		if start >= 0 && i-last > maxGap {
			add(start, last+1)
			start = i
		}
		if start < 0 {
			start = i
		}
		last = i
	}
	switch longer := max(len(from), len(to)); {
	case longer > common && start >= 0 && common-last <= maxGap:
		add(start, longer)
	case longer > common:
		if start >= 0 {
			add(start, last+1)
		}
		add(common, longer)
	case start >= 0:
		add(start, last+1)
	}
	return e
}
