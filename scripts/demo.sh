#!/bin/sh
# Installs jq of two Debian releases by name, each with its libraries and its C
# library, side by side into ./demo-root, and runs both.
set -eu
cd "$(dirname "$0")/.."

say() { printf '\n# %s\n' "$*"; }
run() {
	printf '$ %s\n' "$*"
	"$@"
}

# Root gets a root of its own, in which the programs run by chroot. Others get
# a prefix, in which they run where they stand.
if [ "$(id -u)" = 0 ]; then
	where="--root demo-root"
	in_root() { run chroot demo-root "$@"; }
	prefix=/var/sys
else
	prefix=$PWD/demo-root/sys
	where="--prefix $prefix"
	in_root() { run "$@"; }
	case $prefix in *[[:space:]]*)
		echo "demo: the path of this directory has a space in it; move it, or run the demonstration as root" >&2
		exit 1
		;;
	esac
fi
mkdir -p demo-root

for suite in bookworm trixie; do
	say "jq of Debian $suite with all that it needs, verified to the signature of the release"
	# shellcheck disable=SC2086 # flags
	run bin/hashpkg install $where ${HASHPKG_MIRROR:+--mirror "$HASHPKG_MIRROR"} --from "$suite" jq
done

say "Two versions of everything, the C library included"
# shellcheck disable=SC2086 # flags
run bin/hashpkg list $where

# shellcheck disable=SC2086 # flags
versions=$(bin/hashpkg list $where | awk '$1 == "jq" { print $2 }')
say "Each runs on the libraries and the C library of its own release"
for version in $versions; do
	in_root "$prefix/jq/$version/bin/jq" --version
done

say "The highest version is the default, until another one is chosen"
in_root "$prefix/current-system/bin/jq" --version
first=${versions%%[[:space:]]*}
# shellcheck disable=SC2086 # flags
run bin/hashpkg use $where "jq=$first"
in_root "$prefix/current-system/bin/jq" --version

say "And back"
# shellcheck disable=SC2086 # flags
run bin/hashpkg rollback $where
in_root "$prefix/current-system/bin/jq" --version
