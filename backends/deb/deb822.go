package deb

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// lineKind is what a line of deb822(5) is.
type lineKind uint8

const (
	emptyLine     lineKind = iota // between paragraphs
	spaceLine                     // nothing but space: readers differ on what it means
	fieldLine                     // "Name: value"
	continuedLine                 // the field before goes on
	otherLine                     // none of these
)

// fieldLines reads text of the form of deb822(5) line by line: dpkg's database, control
// files, and what archives and apt have. What a line that is not allowed means, or a
// field that is there twice, is for the caller to say.
type fieldLines struct {
	r   *bufio.Reader
	max int // bytes of a line that are kept

	number int // of the current line, from 1
	kind   lineKind
	// text is the line without its end, name and value of a field without space
	// around them, value of a continued one without the space before it. They are
	// valid until the next call.
	text, name, value []byte
	isCut             bool // the line has more than max bytes, and the rest of it is lost
	long              []byte
}

// newFieldLines reads lines of which max bytes are kept.
func newFieldLines(r io.Reader, max int) *fieldLines {
	return &fieldLines{r: bufio.NewReaderSize(r, 64<<10), max: max}
}

// next advances to the next line; io.EOF is returned after the last one.
func (l *fieldLines) next() error {
	line, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		l.long = append(l.long[:0], line...)
		for errors.Is(err, bufio.ErrBufferFull) {
			line, err = l.r.ReadSlice('\n')
			if room := l.max + 1 - len(l.long); room > 0 {
				l.long = append(l.long, line[:min(room, len(line))]...)
			}
		}
		line = l.long
	}
	if err != nil && (err != io.EOF || len(line) == 0) {
		return err
	}
	l.number++
	line = bytes.TrimRight(line, "\r\n")
	if l.isCut = len(line) > l.max; l.isCut {
		line = line[:l.max]
	}
	l.parse(line)
	return nil
}

func (l *fieldLines) parse(line []byte) {
	l.text, l.name, l.value = line, nil, bytes.TrimSpace(line)
	colon := bytes.IndexByte(line, ':')
	switch {
	case len(line) == 0:
		l.kind = emptyLine
	case len(l.value) == 0:
		l.kind = spaceLine
	case line[0] == ' ' || line[0] == '\t':
		l.kind = continuedLine
	case colon < 0:
		l.kind = otherLine
	default:
		l.kind, l.name, l.value = fieldLine, bytes.TrimRight(line[:colon], " \t"), bytes.TrimSpace(line[colon+1:])
	}
}

// is reports whether the line begins a field of this name, in lower case.
func (l *fieldLines) is(name string) bool {
	return l.kind == fieldLine && len(l.name) == len(name) && bytes.EqualFold(l.name, []byte(name))
}
