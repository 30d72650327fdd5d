package cli

import "strings"

// step is a line of what is printed as a tree: it leads to what is known by key.
type step struct{ key, text string }

// printBelow prints what is below a key, each line below what leads to it, and what is below
// one key once. depth is how many levels there are; 0 for all.
func (a *app) printBelow(top string, below func(key string) []step, depth int) error {
	shown := map[string]bool{}
	var show func(key string, level int) error
	show = func(key string, level int) error {
		shown[key] = true
		for _, s := range below(key) {
			mark := ""
			if shown[s.key] && len(below(s.key)) > 0 {
				mark = "  (above)"
			}
			if err := a.printf("%s%s%s\n", strings.Repeat("  ", level), s.text, mark); err != nil {
				return err
			}
			if shown[s.key] || level == depth {
				continue
			}
			if err := show(s.key, level+1); err != nil {
				return err
			}
		}
		return nil
	}
	return show(top, 1)
}
