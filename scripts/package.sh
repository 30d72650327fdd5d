#!/bin/sh
# Builds hashpkg's packages into bin: package.sh deb|rpm. GOARCH chooses the architecture,
# PKGVERSION the version, and OUT another directory.
# Everything in the packages follows from the commit: two runs give the same bytes.
set -eu
cd "$(dirname "$0")/.."
format=$1
out=${OUT:-bin}
umask 022
export LC_ALL=C TZ=UTC0
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
goarch=$(go env GOARCH)

# v1.2 is 1.2, three commits on it is 1.2+3.gHASH; before the first tag, 0~git.
if [ -z "${PKGVERSION-}" ]; then
	PKGVERSION=$(git describe --tags --match 'v[0-9]*' --abbrev=12 --dirty=+dirty 2>/dev/null | sed 's/^v//; s/-/+/; s/-/./g') || true
	[ -n "$PKGVERSION" ] || PKGVERSION="0~git$(git log -1 --format=%cd --date=format:%Y%m%d).$(git describe --always --abbrev=12 --dirty=+dirty)"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# moveOut moves packages to where they are asked for, and names them.
moveOut() {
	for file; do
		mv "$file" "$out/"
		echo "$out/$(basename "$file")"
	done
}

build_deb() {
	case $goarch in
	386) arch=i386 ;;
	arm) arch=armhf ;;
	ppc64le) arch=ppc64el ;;
	*) arch=$goarch ;;
	esac
	source=$work/hashpkg
	mkdir "$source"
	git ls-files -z >"$work/files"
	tar --null -T "$work/files" -cf "$work/source.tar"
	tar -xf "$work/source.tar" -C "$source"
	cat >"$source/debian/changelog" <<-END
		hashpkg ($PKGVERSION) unstable; urgency=medium

		  * CHANGELOG.md has what changed.

		 -- hashpkg maintainers <maintainers@hashpkg.invalid>  $(date -Rud "@$SOURCE_DATE_EPOCH")
	END
	# -d: the compiler need not be a package.
	if ! (cd "$source" && GOCACHE=$(go env GOCACHE) GOMODCACHE=$(go env GOMODCACHE) \
		dpkg-buildpackage -b -d -us -uc --host-arch "$arch" >"$work/log" 2>&1); then
		cat "$work/log" >&2
		exit 1
	fi
	moveOut "$work"/*.deb
}

build_rpm() {
	case $goarch in
	amd64) arch=x86_64 ;;
	arm64) arch=aarch64 ;;
	386) arch=i686 ;;
	arm) arch=armv7hl ;;
	*) arch=$goarch ;;
	esac
	stage=$work/stage
	VERSION=$PKGVERSION scripts/stage.sh "$stage"
	mkdir -p "$stage/usr/share/licenses/hashpkg" "$stage/usr/share/zsh/site-functions"
	mv "$stage/usr/share/zsh/vendor-completions/_hashpkg" "$stage/usr/share/zsh/site-functions/"
	rmdir "$stage/usr/share/zsh/vendor-completions"
	cp LICENSE "$stage/usr/share/licenses/hashpkg/"
	{
		echo '%defattr(-,root,root,-)'
		(cd "$stage" && find usr/share/hashpkg -type d -printf '%%dir /%p\n' | sort)
		(cd "$stage" && find . -type f -printf '/%P\n' | sed 's|^/etc/|%config(noreplace) &|' | sort)
	} >"$work/list"
	mkdir "$stage/usr/share/doc/hashpkg-follow"
	cp docs/system.md "$stage/usr/share/doc/hashpkg-follow/"
	echo 'While this file is here, rpm calls hashpkg after each transaction.' >"$stage/usr/share/hashpkg/follow"
	mkdir -p "$stage/usr/share/doc/hashpkg-devel" "$stage/usr/lib/rpm/macros.d"
	cp docs/build.md "$stage/usr/share/doc/hashpkg-devel/"
	cp packaging/rpm/brp-hashpkg "$stage/usr/lib/rpm/"
	cp packaging/rpm/macros.hashpkg "$stage/usr/lib/rpm/macros.d/"
	chmod -R u=rwX,go=rX "$stage" # a clone has the modes of the umask that it was made with
	rpmbuild -bb --quiet --target "$arch" --define "_topdir $work/top" --define "_rpmdir $work" \
		--define '_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' \
		--define "version $PKGVERSION" --define "date $(date -ud "@$SOURCE_DATE_EPOCH" '+%a %b %d %Y')" --define "stage $stage" --define "list $work/list" \
		--define '_buildhost localhost' --define 'use_source_date_epoch_as_buildtime 1' \
		--define 'clamp_mtime_to_source_date_epoch 1' packaging/rpm/hashpkg.spec
	moveOut "$work"/*.rpm
}

case $format in
deb) build_deb ;;
rpm) build_rpm ;;
*)
	echo "usage: $0 deb|rpm" >&2
	exit 2
	;;
esac
