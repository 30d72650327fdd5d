package repo

// Watcher is shown how far a set of files has come. Its methods are called by several
// goroutines at once.
type Watcher interface {
	// Progress returns what is called with how many bytes of a file there are: first
	// those from before.
	Progress(file int) func(n int64)
	// Finished is called when a file is there, with what people call it.
	Finished(file int, name string)
	// End is called when the set is complete, or was given up.
	End()
}

type nobody struct{}

func (nobody) Progress(int) func(int64) { return nil }
func (nobody) Finished(int, string)     {}
func (nobody) End()                     {}
