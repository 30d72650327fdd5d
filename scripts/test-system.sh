#!/bin/sh
# Runs the tests of whole systems: large roots, roots of rpm, virtual machines.
# These are in files with the build tag "system", and their names begin with
# TestSystem. The first run downloads some GB and takes an hour or two,
# and the cache has some 12 GB more then. Arguments are those of `go test`. It does not
# pass when a test was skipped; with ALLOW_SKIPS=1 tests may be.
set -u
cd "$(dirname "$0")/.." || exit 1

PATH=$PATH:/usr/sbin:/sbin
mkdir -p .cache
status=0
packages=$(grep -rl --include='*_test.go' '^//go:build system$' . | xargs -r -n 1 dirname | sort -u)
# One package at a time (-p 1): each makes roots of gigabytes.
# shellcheck disable=SC2086 # the directories are words
go test -tags system -p 1 -count=1 -timeout 180m -run '^TestSystem' -v "$@" $packages >.cache/system.log 2>&1 || status=1
grep -v -e '^=== ' -e '^PASS$' .cache/system.log
if grep -q '^ *--- SKIP: ' .cache/system.log && [ "${ALLOW_SKIPS-}" != 1 ]; then
	echo 'Tests were skipped, so this is no pass (ALLOW_SKIPS=1 allows it).'
	status=1
fi
exit $status
