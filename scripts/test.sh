#!/bin/sh
# Runs the tests, with the arguments of `go test` that it is given, and counts
# them in its last line. It passes when none failed, and none was skipped: those it
# names, with their reasons. With ALLOW_SKIPS=1 tests may be skipped.
# PACKAGES are the packages (all). .cache/test.json has every event of the run.
set -u
cd "$(dirname "$0")/.." || exit 1

PATH=$PATH:/usr/sbin:/sbin
events=${EVENTS:-.cache/test.json}
mkdir -p .cache
status=0
# What tests of the commands do half of the time is to wait for the disk: so many at a
# time are twice as fast on two cores.
# shellcheck disable=SC2086 # the packages are words
go tool -modfile=tools/go.mod gotestsum --format pkgname --hide-summary skipped \
	--jsonfile "$events" -- -timeout 60m -parallel 4 "$@" ${PACKAGES:-./...} || status=$?
skipped=$(scripts/skipped.sh "$events")
if [ -n "$skipped" ] && [ "${ALLOW_SKIPS-}" != 1 ]; then
	printf '\nThese tests were skipped, so this is no pass (ALLOW_SKIPS=1 allows it):\n%s\n\n' "$skipped"
	[ $status != 0 ] || status=1
fi
scripts/count.sh "$events"
exit $status
