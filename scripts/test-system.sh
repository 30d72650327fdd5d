#!/bin/sh
# Runs the tests of whole systems: large roots, roots of rpm, virtual machines.
# These are in files with the build tag "system", and their names begin with
# TestSystem. The first run downloads about 1 GB and takes a quarter of an hour,
# and the cache has some 5 GB more then. Arguments are those of `go test`.
set -u
cd "$(dirname "$0")/.." || exit 1

PATH=$PATH:/usr/sbin:/sbin
mkdir -p .cache
status=0
packages=$(grep -rl --include='*_test.go' '^//go:build system$' . | xargs -r -n 1 dirname | sort -u)
# One package at a time (-p 1): each makes roots of gigabytes.
# shellcheck disable=SC2086 # the directories are words
go test -tags system -p 1 -count=1 -timeout 60m -run '^TestSystem' -v "$@" $packages >.cache/system.log 2>&1 || status=1
grep -v -e '^=== ' -e '^PASS$' .cache/system.log
exit $status
