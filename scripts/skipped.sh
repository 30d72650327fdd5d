#!/bin/sh
# Lists the tests that were skipped, with the reason that each gave, from the events
# that `go test -json` wrote. A test that has a skipped subtest is not one.
exec awk '
	function field(name,    s) {
		if (!match($0, "\"" name "\":\"([^\"\\\\]|\\\\.)*\"")) return ""
		s = substr($0, RSTART + length(name) + 4, RLENGTH - length(name) - 5)
		gsub(/\\n|\\t/, " ", s); gsub(/\\u003e/, ">", s); gsub(/\\u003c/, "<", s); gsub(/\\u0026/, "\\&", s); gsub(/\\"/, "\"", s)
		return s
	}
	!/"Test":/ { next }
	/"Action":"output"/ {
		line = field("Output")
		# What the test last said by itself; a script says more after its reason.
		if (line ~ /^ *[A-Za-z0-9_]*\.go:[0-9]+: / && line !~ /^ *testscript\.go:/) said[field("Package") " " field("Test")] = line
	}
	/"Action":"skip"/ {
		name = field("Package") " " field("Test"); why = said[name]
		sub(/^ *[^ ]*\.go:[0-9]+: */, "", why); sub(/^skipped: /, "", why); sub(/ *$/, "", why)
		sub(/^github.com\/hashpkg\/hashpkg\//, "", name)
		print name ": " why
	}
' "$1"
