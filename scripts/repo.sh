#!/bin/sh
# Builds hashpkg's packages, and two signed repositories of them: bin/repo/deb for apt and
# bin/repo/rpm for dnf. KEY names the key that signs, as gpg finds it (GNUPGHOME). URL is the
# address at which bin/repo will be served, OUT another directory, and PACKAGES one with packages
# that were built before, such as those of several architectures.
# Signatures have the time of the commit as well: two runs with one key give the same bytes.
set -eu
cd "$(dirname "$0")/.."
umask 022
export LC_ALL=C TZ=UTC0
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
out=$(realpath -m "${OUT:-bin/repo}")
url=${URL:-file://$out}

fail() {
	printf 'repo: %s\n' "$@" >&2
	exit 2
}

for tool in apt-ftparchive:apt-utils createrepo_c:createrepo-c gpg:gnupg rpmsign:rpm xz:xz-utils; do
	command -v "${tool%:*}" >/dev/null || fail "${tool%:*} is not there; it comes with Debian's package ${tool#*:}"
done
case $url in
*[[:space:]]*) fail "the address $url has a space in it; give another one with URL=..." ;;
esac
# What is there is replaced, so it has to be an older one.
if [ -e "$out" ] && [ ! -e "$out/deb/hashpkg.sources" ]; then
	rmdir "$out" 2>/dev/null || fail "$out is there, and is no repository of hashpkg; give another directory with OUT=..."
fi
if [ -e "$out" ] && ls -A "$out" | grep -qvx -e deb -e rpm; then
	fail "$out has more than a repository of hashpkg, which would go; give another directory with OUT=..."
fi

[ -n "${KEY-}" ] || fail 'name the key that signs: make repo KEY=FINGERPRINT' \
	'gpg --list-secret-keys lists those that are there, and this makes one (RSA is what rpm reads everywhere):' \
	'    gpg --quick-generate-key "NAME <MAIL>" rsa4096 sign 3y'
# A primary key's line ("sec") has an S among what it can do if it, or one of its subkeys
# ("ssb"), may sign today (gnupg, doc/DETAILS). When the last of these was made: gpg refuses
# signatures that are older than their key.
keys=$(gpg --batch --with-colons --list-secret-keys -- "$KEY" 2>/dev/null) ||
	fail "gpg has no secret key of the name $KEY in ${GNUPGHOME:-$HOME/.gnupg}; gpg --list-secret-keys lists what it has"
key=$(echo "$keys" | awk -F: '
	$1 == "sec" { keys++; signs = $12 ~ /S/ && $12 !~ /D/; primary = 1 }
	($1 == "sec" || $1 == "ssb") && $12 ~ /s/ && $6 > made { made = $6 }
	$1 == "fpr" && primary { fingerprint = $10; primary = 0 }
	END { print (keys == 1 ? (signs ? "good" : "bad") : "many"), fingerprint, made }')
read -r state fingerprint made <<END
$key
END
case $state in
many) fail "several keys have the name $KEY; give the fingerprint of one" ;;
bad) fail "the key $fingerprint cannot sign: it has expired, is revoked or disabled, or is for something else" ;;
esac
time=$SOURCE_DATE_EPOCH
[ "$time" -ge "$made" ] || time=$made
signing="--digest-algo SHA512 --faked-system-time $time!"

mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.XXXXXX")
old=
# The repository before is there again, where the new one has not taken its place.
trap '[ -z "$old" ] || [ -e "$out" ] || mv -T "$old/repo" "$out"; rm -rf "$work" ${old:+"$old"}' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# quietly runs what says something only when it fails.
quietly() {
	if ! "$@" >"$work/log" 2>&1; then
		cat "$work/log" >&2
		exit 1
	fi
}

# sign has gpg sign a file: sign FILE SIGNATURE HOW.
sign() {
	# shellcheck disable=SC2086 # the options are words
	quietly gpg --batch --yes $signing --local-user "$fingerprint" --armor --output "$2" "$3" "$1"
}

new=$work/repo
deb=$new/deb
rpm=$new/rpm
mkdir -p "$deb/pool" "$rpm"
if [ -n "${PACKAGES-}" ]; then
	cp "$PACKAGES"/hashpkg_*.deb "$PACKAGES"/hashpkg-follow_*.deb "$PACKAGES"/dh-sequence-hashpkg_*.deb "$deb/pool/"
	cp "$PACKAGES"/hashpkg-*.rpm "$rpm/"
else
	OUT=$deb/pool quietly scripts/package.sh deb
	OUT=$rpm quietly scripts/package.sh rpm
fi
public=$rpm/RPM-GPG-KEY-hashpkg
quietly gpg --batch --armor --export-options export-minimal --output "$public" --export "$fingerprint"

# apt: the indexes of each architecture, with what is for all of them, and the description.
suite=$deb/dists/hashpkg
architectures=$(cd "$deb/pool" && printf '%s\n' hashpkg_*.deb | sed 's/.*_//; s/\.deb$//' | sort -u | paste -sd ' ')
for arch in $architectures; do
	index=$suite/main/binary-$arch
	mkdir -p "$index/by-hash/SHA256"
	(cd "$deb" && apt-ftparchive -q=2 -o APT::FTPArchive::MD5=false -o APT::FTPArchive::SHA1=false --arch "$arch" packages pool) >"$index/Packages"
	gzip -9nk "$index/Packages"
	xz -9k -T1 "$index/Packages"
done
apt-ftparchive -q=2 -o APT::FTPArchive::MD5=false -o APT::FTPArchive::SHA1=false \
	-o APT::FTPArchive::Release::Origin=hashpkg -o APT::FTPArchive::Release::Label=hashpkg \
	-o APT::FTPArchive::Release::Suite=hashpkg -o APT::FTPArchive::Release::Codename=hashpkg \
	-o APT::FTPArchive::Release::Components=main -o "APT::FTPArchive::Release::Architectures=$architectures" \
	-o APT::FTPArchive::Release::Acquire-By-Hash=yes \
	-o "APT::FTPArchive::Release::Date=$(date -Rud "@$SOURCE_DATE_EPOCH")" release "$suite" >"$work/Release"
mv "$work/Release" "$suite/Release"
for file in "$suite"/main/binary-*/Packages*; do
	digest=$(sha256sum <"$file")
	ln "$file" "$(dirname "$file")/by-hash/SHA256/${digest%% *}"
done
sign "$suite/Release" "$suite/Release.gpg" --detach-sign
sign "$suite/Release" "$suite/InRelease" --clear-sign
{
	printf 'Types: deb\nURIs: %s/deb\nSuites: hashpkg\nComponents: main\nArchitectures: %s\nSigned-By:\n' "$url" "$architectures"
	sed 's/^$/./; s/^/ /' "$public"
} >"$deb/hashpkg.sources"

# dnf: packages that are signed themselves, and their index. It has the times of their files.
quietly rpmsign --define "_gpg_name $fingerprint" --define "_gpg_sign_cmd_extra_args $signing" --define "__gpg $(command -v gpg)" \
	--addsign "$rpm"/*.rpm
touch -d "@$SOURCE_DATE_EPOCH" "$rpm"/*.rpm
quietly createrepo_c --no-database --general-compress-type gz --revision "$SOURCE_DATE_EPOCH" --set-timestamp-to-revision "$rpm"
touch "$rpm"/*.rpm # rsync and web servers tell by the time that a file is another one
sign "$rpm/repodata/repomd.xml" "$rpm/repodata/repomd.xml.asc" --detach-sign
cat >"$rpm/hashpkg.repo" <<-END
	[hashpkg]
	name=hashpkg
	baseurl=$url/rpm
	enabled=1
	gpgcheck=1
	repo_gpgcheck=1
	gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-hashpkg
END

if [ -e "$out" ]; then
	old=$(mktemp -d "$out.XXXXXX")
	mv -T "$out" "$old/repo"
fi
mv -T "$new" "$out"
echo "$out/deb"
echo "$out/rpm"
