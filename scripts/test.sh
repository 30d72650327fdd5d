#!/bin/sh
# Runs the tests, with the arguments of `go test` that it is given, and counts
# them in its last line. .cache/test.json has every event of the run.
set -u
cd "$(dirname "$0")/.." || exit 1

PATH=$PATH:/usr/sbin:/sbin
mkdir -p .cache
status=0
go tool -modfile=tools/go.mod gotestsum --format pkgname --hide-summary output \
	--jsonfile .cache/test.json -- "$@" ./... || status=$?
scripts/count.sh .cache/test.json
exit $status
