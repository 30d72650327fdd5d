#!/bin/sh
# Runs each fuzz target for a while: scripts/fuzz.sh 10s
# An input that fails is written to the package's testdata/fuzz, and is a test from then on.
set -eu
cd "$(dirname "$0")/.."
mkdir -p .cache

failed=
for target in $(grep -ro --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/func //' | sort); do
	file=${target%%:*} name=${target##*:}
	echo "$name (${file%/*})"
	if go test -run '^$' -fuzz "^$name\$" -fuzztime "${1:-10s}" -fuzzminimizetime 500x "${file%/*}" >.cache/fuzz.log 2>&1; then
		tail -n 1 .cache/fuzz.log
	# When its time is over while a worker is in the middle of an input, the go
	# command may call that a failure; it has then found none.
	elif sed -n '/^--- FAIL/{n;p;}' .cache/fuzz.log | grep -qx ' *context deadline exceeded'; then
		echo "ok, out of time in the middle of an input"
	else
		cat .cache/fuzz.log
		failed="$failed $name"
	fi
done
if [ -n "$failed" ]; then
	echo "failed:$failed"
	exit 1
fi
