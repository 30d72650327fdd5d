package rpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"

	"github.com/hashpkg/hashpkg/backends"
)

// The format of sqlite's write-ahead log (sqlite.org/fileformat2.html, 4): a header
// and frames, each a page as a transaction left it.
const (
	walHeaderSize = 32
	walFrameSize  = 24 // before the page
	walMagic      = 0x377f0682
	walVersion    = 3007000

	journalMagic = "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
)

// walLog is the committed part of a write-ahead log.
type walLog struct {
	wal    *source
	frames map[uint32]int64 // where the last version of each page is
	pages  uint32           // that the database has after the last commit, or 0 if there is none
}

// openWal reads a log, which may be empty. As for sqlite, it ends before the first
// frame that is not whole, and a log that is not whole from the start holds
// nothing: a program was stopped while it wrote it, and committed nothing then.
func openWal(wal *source, pageSize int) (*walLog, error) {
	l := &walLog{wal: wal, frames: map[uint32]int64{}}
	if wal.size < walHeaderSize {
		return l, nil
	}
	head := make([]byte, walHeaderSize)
	if err := wal.read(head, 0); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	sum := walSum{order: binary.LittleEndian}
	switch be.Uint32(head) {
	case walMagic:
	case walMagic | 1:
		sum.order = be
	default:
		return l, nil
	}
	sum.add(head[:24])
	if !sum.is(head[24:]) || int64(be.Uint32(head[8:])) != int64(pageSize) {
		return l, nil
	}
	if version := be.Uint32(head[4:]); version != walVersion {
		return nil, wal.unreadable("its log is of version %d", version)
	}
	pending := map[uint32]int64{}
	frame := make([]byte, walFrameSize+pageSize)
	for at := int64(walHeaderSize); at+int64(len(frame)) <= wal.size; at += int64(len(frame)) {
		if err := wal.read(frame, at); err != nil {
			return nil, err
		}
		number, commit := be.Uint32(frame), be.Uint32(frame[4:])
		sum.add(frame[:8])
		sum.add(frame[walFrameSize:])
		if number == 0 || string(frame[8:16]) != string(head[16:24]) || !sum.is(frame[16:]) {
			break
		}
		pending[number] = at + walFrameSize
		if commit == 0 {
			continue
		}
		for n, offset := range pending {
			l.frames[n] = offset
		}
		clear(pending)
		l.pages = commit
	}
	return l, nil
}

// walSum is the checksum of a log so far. Numbers are in an order that the log
// says, the sums themselves always big-endian.
type walSum struct {
	order  binary.ByteOrder
	s1, s2 uint32
}

// add adds b, whose length is a multiple of 8.
func (s *walSum) add(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		s.s1 += s.order.Uint32(b) + s.s2
		s.s2 += s.order.Uint32(b[4:]) + s.s1
	}
}

func (s *walSum) is(b []byte) bool {
	return binary.BigEndian.Uint32(b) == s.s1 && binary.BigEndian.Uint32(b[4:]) == s.s2
}

// checkJournal refuses a database beside which a journal says that a change of it
// was not finished. rpm's databases have none, unless a file system does not let
// them have a log.
func checkJournal(root backends.Root, file string) error {
	f, err := backends.OpenRegular(root, file, math.MaxInt64)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	magic := make([]byte, len(journalMagic))
	if _, err := io.ReadFull(f, magic); err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return fmt.Errorf("read %s: %w", backends.HostName(root, file), err)
	}
	if string(magic) == journalMagic {
		return &FormatError{Member: path.Base(file), Msg: "a change of the database was not finished: run rpm -qa, which takes it back"}
	}
	return nil
}
