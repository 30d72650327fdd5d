package deb

import (
	"bytes"
	"errors"
)

var errNumber = errors.New("invalid number")

// parseNumber reads a number of a tar header: octal, or GNU's base 256 for what
// octal has no room for, which begins with the byte 0x80, or 0xff if negative.
func parseNumber(field []byte) (int64, error) {
	if field[0] != 0x80 && field[0] != 0xff {
		return parseOctal(field)
	}
	negative := field[0] == 0xff
	v := int64(0)
	if negative {
		v = -1
	}
	for _, c := range field[1:] {
		if v>>54 != 0 && v>>54 != -1 {
			return 0, errNumber
		}
		v = v<<8 | int64(c)
	}
	if negative != (v < 0) {
		return 0, errNumber
	}
	return v, nil
}

// parseOctal reads digits between spaces and NULs. Only NULs are zero, only
// spaces are an error, as in dpkg.
func parseOctal(field []byte) (int64, error) {
	field = bytes.TrimLeft(field, " ")
	if len(field) == 0 {
		return 0, errNumber
	}
	v := int64(0)
	for i, c := range field {
		if c == 0 || c == ' ' {
			if len(bytes.Trim(field[i:], " \x00")) > 0 {
				return 0, errNumber
			}
			break
		}
		if c < '0' || c > '7' {
			return 0, errNumber
		}
		v = v<<3 | int64(c-'0') // at most twelve digits
	}
	return v, nil
}

// cString returns what stands before the first NUL.
func cString(field []byte) string {
	if i := bytes.IndexByte(field, 0); i >= 0 {
		field = field[:i]
	}
	return string(field)
}

func isZero(b []byte) bool { return firstNonZero(b) < 0 }

func firstNonZero(b []byte) int {
	for i, c := range b {
		if c != 0 {
			return i
		}
	}
	return -1
}
