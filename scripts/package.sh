#!/bin/sh
# Builds bin/hashpkg_VERSION_ARCH.deb or bin/hashpkg-VERSION-1.ARCH.rpm:
# package.sh deb|rpm. GOARCH chooses the architecture, PKGVERSION the version, and
# OUT another directory.
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
	PKGVERSION=$(git describe --tags --match 'v[0-9]*' --dirty=+dirty 2>/dev/null | sed 's/^v//; s/-/+/; s/-/./g') || true
	[ -n "$PKGVERSION" ] || PKGVERSION="0~git$(git log -1 --format=%cd --date=format:%Y%m%d).$(git describe --always --abbrev=12 --dirty=+dirty)"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/stage
mkdir -p "$stage/usr/bin" "$stage/usr/share/man/man1" "$stage/usr/share/doc/hashpkg" "$stage/usr/share/hashpkg" "$stage/usr/lib/systemd/system" \
	"$stage/usr/share/bash-completion/completions" "$stage/usr/share/zsh/vendor-completions" "$stage/usr/share/fish/vendor_completions.d" "$out"
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X github.com/hashpkg/hashpkg/cmd/internal/cli.Version=$PKGVERSION" \
	-o "$stage/usr/bin/hashpkg" ./cmd/hashpkg
# What the program writes itself, this machine's build of it writes.
own=$work/hashpkg
CGO_ENABLED=0 GOARCH='' go build -trimpath -buildvcs=false -o "$own" ./cmd/hashpkg
"$own" completion bash >"$stage/usr/share/bash-completion/completions/hashpkg"
"$own" completion zsh >"$stage/usr/share/zsh/vendor-completions/_hashpkg"
"$own" completion fish >"$stage/usr/share/fish/vendor_completions.d/hashpkg.fish"
for page in docs/man/*.1; do
	gzip -9n <"$page" >"$stage/usr/share/man/man1/$(basename "$page").gz"
done
cp -R hooks/files/mmdebstrap-hooks "$stage/usr/share/hashpkg/"
cp packaging/systemd/* "$stage/usr/lib/systemd/system/"
mkdir "$stage/usr/share/hashpkg/apparmor"
cp packaging/apparmor/* "$stage/usr/share/hashpkg/apparmor/"
cp README.md "$stage/usr/share/doc/hashpkg/"
for page in docs/*.md; do
	cp "$page" "$stage/usr/share/doc/hashpkg/"
done
gzip -9n <CHANGELOG.md >"$stage/usr/share/doc/hashpkg/CHANGELOG.md.gz"

build_deb() {
	case $goarch in
	386) arch=i386 ;;
	arm) arch=armhf ;;
	ppc64le) arch=ppc64el ;;
	*) arch=$goarch ;;
	esac
	"$own" hooks install dpkg apparmor --root "$stage" -q
	cp packaging/deb/copyright "$stage/usr/share/doc/hashpkg/"
	gzip -9n >"$stage/usr/share/doc/hashpkg/changelog.gz" <<-END
		hashpkg ($PKGVERSION) unstable; urgency=medium

		  * CHANGELOG.md has what changed.

		 -- hashpkg maintainers <maintainers@hashpkg.invalid>  $(date -Rud "@$SOURCE_DATE_EPOCH")
	END
	mkdir -p "$stage/usr/share/lintian/overrides" "$stage/DEBIAN"
	cp packaging/deb/overrides "$stage/usr/share/lintian/overrides/hashpkg"
	for file in conffiles triggers postinst prerm postrm; do
		cp packaging/deb/$file "$stage/DEBIAN/"
	done
	size=$(cd "$stage" && find . -path ./DEBIAN -prune -o -type f -printf '%s\n' | awk '{ n += int(($1 + 1023) / 1024) } END { print n }')
	sed "s/@VERSION@/$PKGVERSION/; s/@ARCH@/$arch/; s/@SIZE@/$size/" packaging/deb/control >"$stage/DEBIAN/control"
	(cd "$stage" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | sort | xargs md5sum) >"$stage/DEBIAN/md5sums"
	find "$stage" -type d -exec chmod 755 {} +
	file=$out/hashpkg_${PKGVERSION}_$arch.deb
	dpkg-deb --root-owner-group -Zxz --build "$stage" "$file" >/dev/null
	echo "$file"
}

build_rpm() {
	case $goarch in
	amd64) arch=x86_64 ;;
	arm64) arch=aarch64 ;;
	386) arch=i686 ;;
	arm) arch=armv7hl ;;
	*) arch=$goarch ;;
	esac
	mkdir -p "$stage/usr/share/licenses/hashpkg" "$stage/usr/share/zsh/site-functions"
	mv "$stage/usr/share/zsh/vendor-completions/_hashpkg" "$stage/usr/share/zsh/site-functions/"
	rmdir "$stage/usr/share/zsh/vendor-completions"
	cp LICENSE "$stage/usr/share/licenses/hashpkg/"
	{
		echo '%defattr(-,root,root,-)'
		(cd "$stage" && find usr/share/hashpkg -type d -printf '%%dir /%p\n' | sort)
		echo '%dir /usr/share/hashpkg/mmdebstrap-hooks'
		(cd "$stage" && find . -type f -printf '/%P\n' | sort)
	} >"$work/list"
	rpmbuild -bb --quiet --target "$arch" --define "_topdir $work/top" --define "_rpmdir $work" \
		--define '_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' \
		--define "version $PKGVERSION" --define "stage $stage" --define "list $work/list" \
		--define '_buildhost localhost' --define 'use_source_date_epoch_as_buildtime 1' \
		--define 'clamp_mtime_to_source_date_epoch 1' packaging/rpm/hashpkg.spec
	file=hashpkg-$PKGVERSION-1.$arch.rpm
	mv "$work/$file" "$out/"
	echo "$out/$file"
}

case $format in
deb) build_deb ;;
rpm) build_rpm ;;
*)
	echo "usage: $0 deb|rpm" >&2
	exit 2
	;;
esac
