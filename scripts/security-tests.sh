#!/bin/sh
# Fails if SECURITY.md names a test that does not exist.
set -eu
cd "$(dirname "$0")/.."

status=0
for test in $(grep -Eo '\b(Test|Fuzz)[A-Z][A-Za-z0-9]*' SECURITY.md | sort -u); do
	if ! grep -rqE --include='*_test.go' "^func $test\\(" .; then
		echo "SECURITY.md names $test, and there is no such test" >&2
		status=1
	fi
done
exit $status
