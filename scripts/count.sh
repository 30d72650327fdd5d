#!/bin/sh
# Counts the tests, subtests included, in the events that `go test -json` wrote.
# A package that did not build, or failed outside its tests, is one that failed.
exec awk '
	!/"Action":"(pass|fail|skip)"/ { next }
	{
		match($0, /"Action":"[a-z]+"/); action = substr($0, RSTART + 10, RLENGTH - 11)
		match($0, /"Package":"[^"]*"/); package = substr($0, RSTART + 11, RLENGTH - 12)
	}
	/"Test":/ { count[action]++; if (action == "fail") explained[package] = 1; next }
	action == "fail" && !(package in explained) { count["fail"]++ }
	END { printf "%d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"] }
' "$1"
