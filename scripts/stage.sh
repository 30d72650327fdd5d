#!/bin/sh
# Puts the files of hashpkg's packages into a directory: stage.sh DIR. GOARCH chooses the
# architecture, VERSION is what hashpkg says of itself.
set -eu
cd "$(dirname "$0")/.."
stage=$1
umask 022
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
share=$stage/usr/share
mkdir -p "$stage/usr/bin" "$share/doc/hashpkg" "$share/hashpkg/apparmor" "$stage/usr/lib/systemd/system" \
	"$share/bash-completion/completions" "$share/zsh/vendor-completions" "$share/fish/vendor_completions.d" \
	"$stage/etc/profile.d" "$stage/etc/logrotate.d" "$stage/usr/lib/environment.d" "$share/fish/vendor_conf.d"
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X github.com/hashpkg/hashpkg/cmd/internal/cli.Version=$VERSION" \
	-o "$stage/usr/bin/hashpkg" ./cmd/hashpkg
# What the program writes itself, a build for this machine writes.
own=$stage/usr/bin/hashpkg
if [ "$(go env GOARCH)" != "$(go env GOHOSTARCH)" ]; then
	own=$work/hashpkg
	CGO_ENABLED=0 GOARCH='' go build -trimpath -buildvcs=false -o "$own" ./cmd/hashpkg
fi
"$own" completion bash >"$share/bash-completion/completions/hashpkg"
"$own" completion zsh >"$share/zsh/vendor-completions/_hashpkg"
"$own" completion fish >"$share/fish/vendor_completions.d/hashpkg.fish"
# Shells and sessions find what is installed: the lines are those of setup-path.
{
	cat <<-'END'
		# What hashpkg has installed is found after the system's own. For none of it, empty
		# this file, or set HASHPKG_NO_PATH before it is read.
		if [ -z "${HASHPKG_NO_PATH-}" ]; then
	END
	"$own" setup-path --print --shell sh --root / --prefix /var/sys
	echo fi
} >"$stage/etc/profile.d/hashpkg.sh"
{
	cat <<-'END'
		# What hashpkg has installed is found after the system's own. For none of it, have an
		# empty file of this name in /etc/fish/conf.d, or set HASHPKG_NO_PATH.
		if test -z "$HASHPKG_NO_PATH"
	END
	"$own" setup-path --print --shell fish --root / --prefix /var/sys
	echo end
} >"$share/fish/vendor_conf.d/hashpkg.fish"
cp packaging/environment.d/* "$stage/usr/lib/environment.d/"
for page in docs/man/*.[1-8]; do
	case $page in */dh_*) continue ;; esac # of another package
	mkdir -p "$share/man/man${page##*.}"
	gzip -9n <"$page" >"$share/man/man${page##*.}/$(basename "$page").gz"
done
cp -R hooks/files/mmdebstrap-hooks "$share/hashpkg/"
cp packaging/systemd/* closure/serve/hashpkg-serve.socket closure/serve/hashpkg-serve.service "$stage/usr/lib/systemd/system/"
cp packaging/apparmor/* "$share/hashpkg/apparmor/"
cp packaging/logrotate/hashpkg "$stage/etc/logrotate.d/"
cp README.md "$share/doc/hashpkg/"
for page in docs/*.md; do
	cp "$page" "$share/doc/hashpkg/"
done
gzip -9n <CHANGELOG.md >"$share/doc/hashpkg/CHANGELOG.md.gz"
