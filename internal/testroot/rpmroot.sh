#!/bin/bash
# rpmroot.sh OUT [deb-package...]
# Repackage real Debian packages (some, those named, and what they depend on) as rpms with
# rpmbuild, install them with rpm into the empty root OUT/root, and run it.
#   OUT/rpms  newest versions      OUT/rpms-old  older versions (of those named, if any are), for upgrades
#   OUT/root  the installed root, rpm database at OUT/root/var/lib/rpm
# Needs: Debian 12 or so, root, rpm, rpmbuild, dpkg-deb; apt-get for SRC=deb.
# SRC=deb (default) downloads debs; SRC=host takes the files of the packages
# installed on this machine and needs no network (no older versions then).
# NOLD=0 skips the older versions (they take a third of the time).
set -eu -o pipefail
export LC_ALL=C
out=$(mkdir -p "${1:?output dir}" && cd "$1" && pwd); shift
further=$*
set -- bash coreutils grep sed jq curl gzip tar findutils gawk \
  xz-utils iputils-ping less file libc-bin perl-base tzdata \
  libstdc++6 libverto1 install-info make ca-certificates "$@"
src=${SRC:-deb} old=${NOLD:-1}
arch=$(dpkg --print-architecture); rpmarch=$(rpm --eval '%{_target_cpu}')
skip=' libelogind0 debconf debconf-2.0 cdebconf dpkg debianutils openssl original-awk mawk base-files awk cdebconf libdebconfclient0 libnewt0.52 libslang2 libtextwrap1 '
rm -rf "$out"/{rpms,rpms-old,debs,tmp,root}; mkdir -p "$out"/{rpms,rpms-old,debs,tmp}
dbargs=(--root "$out/root" --dbpath /var/lib/rpm --nosignature)

# 1. closure of the seeds
closure() {
  if [ $src = host ]; then
    local todo="$*" seen=' ' p d
    while [ -n "$todo" ]; do
      p=${todo%% *}; todo=${todo#"$p"}; todo=${todo# }
      case "$seen$skip" in *" $p "*) continue;; esac
      dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q ' installed$' || continue
      seen="$seen$p "
      d=$(dpkg-query -W -f '${Pre-Depends},${Depends}' "$p" | tr ',|' '\n\n' |
          sed 's/(.*//; s/:[a-z0-9]*//; s/ //g' | sort -u | tr '\n' ' ')
      todo="$todo${todo:+ }$d"; todo=${todo% }
    done
    echo $seen | tr ' ' '\n'
  else
    apt-cache ${further:+-o APT::Cache::ShowOnlyFirstOr=true} depends --recurse --no-recommends --no-suggests --no-conflicts \
      --no-breaks --no-replaces --no-enhances "$@" | grep '^[a-z0-9]' | sed 's/:.*//'
  fi | sort -u | while read -r p; do
    case "$skip" in *" $p "*) ;; *) echo "$p";; esac; done
}

# 2. the tree of one package: tree NAME VERSION DIR -> DIR/r (files) DIR/c (control)
tree() {
  rm -rf "$3"; mkdir -p "$3/r" "$3/c"
  if [ $src = host ]; then
    local l=/var/lib/dpkg/info i
    i=$l/$1:$arch.list; [ -e "$i" ] || i=$l/$1.list
    while IFS= read -r f; do
      case $f in /bin|/sbin|/lib|/lib64) continue;; esac
      if [ -L "$f" ] || [ -f "$f" ]; then printf '%s\0' "${f#/}"; fi
    done <"$i" | tar -C / --null -T - -cf - 2>/dev/null | tar -C "$3/r" -xpf -
    cp "${i%.list}.conffiles" "$3/c/conffiles" 2>/dev/null || :
  else
    local d; d=$(ls "$out"/debs/"$1"_"${2//:/%3a}"_*.deb)
    dpkg-deb -x "$d" "$3/r"; dpkg-deb -e "$d" "$3/c"
  fi
  local d                       # merge /bin /sbin /lib /lib64 into /usr
  for d in bin sbin lib lib64; do
    [ -d "$3/r/$d" ] && [ ! -L "$3/r/$d" ] || continue
    mkdir -p "$3/r/usr/$d"; cp -al "$3/r/$d/." "$3/r/usr/$d/"; rm -rf "$3/r/$d"
  done
  # relative links out of the moved directories stay right: /lib/x -> usr/lib/x
  find "$3/r" -type l -lname '/lib/*' -printf '%p\n' | while read -r k; do
    ln -sfn "/usr$(readlink "$k")" "$k"; done
  if [ "$1" = install-info ]; then mkdir -p "$3/r/usr/sbin"; ln -sf ../bin/install-info "$3/r/usr/sbin/install-info"; fi
  if [ "$1" = bash ]; then ln -sf bash "$3/r/usr/bin/sh"; fi
  if [ "$1" = gawk ]; then ln -sf gawk "$3/r/usr/bin/awk"; fi
}

# 3. one rpm: build NAME DEBVERSION DESTDIR NUMBER
build() {
  local pay=(w9.gzdio w6.xzdio w3.zstdio w9.bzdio w7.lzdio w.ufdio)
  local n=$1 dv=$2 dest=$3 k=$4 t=$out/tmp/b.$1.$4 v r e=0 x s=$out/tmp/$1.$4
  tree "$n" "$dv" "$t"
  x=$dv; case $x in *:*) e=${x%%:*}; x=${x#*:};; esac
  v=$x r=1; case $x in *-*) v=${x%-*} r=${x##*-};; esac
  {
    printf 'Name: %s\nVersion: %s\nRelease: %s\nEpoch: %s\nSummary: %s, repackaged\n' "$n" "$v" "$r" "$e" "$n"
    printf 'License: as Debian\nURL: https://www.debian.org/%s\n' "$n"
    [ "$n" = bash ] && printf 'Provides: /bin/sh, /bin/bash\n'
    [ "$n" = perl-base ] && printf '%%global __requires_exclude ^perl\nProvides: /usr/bin/perl, perl = 4:%s\n' "$v"
    # Of what scripts and modules seem to need, Debian's packages leave some to their administrator.
    [ -n "$further" ] && [ "$n" != perl-base ] && printf '%%global __requires_exclude ^(perl|python|ruby|pkgconfig|/)\n'
    [ "$n" = libc6 ] && printf 'Provides: rtld(GNU_HASH)\n'
    case $n in     # the names other distributions ask for
      libc6) printf 'Provides: glibc = %s, glibc(x86-64) = %s\n' "$v" "$v";;
      libgcc-s1) printf 'Provides: libgcc = %s\n' "$v";;
      libkeyutils1) printf 'Provides: keyutils-libs = %s\n' "$v";;
      install-info) printf 'Provides: /sbin/install-info, info\n';;
    esac
    [ "$n" = libc-bin ] && printf 'Provides: /sbin/ldconfig\n'
    [ "$n" != filesystem ] && printf 'Requires(pre): filesystem\n'
    case $n in lib*) [ "$n" = libc6 ] || [ "$n" = libc-bin ] ||
      printf 'Requires(post,postun): /sbin/ldconfig\n';; esac
    printf '%%description\nDebian package %s %s, repackaged with its real files.\n' "$n" "$dv"
    printf '%%install\nmkdir -p %%{buildroot}\ncp -a "%s/r/." %%{buildroot}\n' "$t"
    case $n in
      libc6) printf '%%post -p <lua>\nif posix.access("/usr/sbin/ldconfig", "x") then rpm.execute("/usr/sbin/ldconfig") end\n';;
      libc-bin) printf '%%post -p /sbin/ldconfig\n%%transfiletriggerin -p <lua> -- /usr/share/zoneinfo\nlocal f = io.open("/var/log/zone.trigger", "a") f:write("in\\n") f:close()\n';;
      lib*) printf '%%post -p /sbin/ldconfig\n%%postun -p /sbin/ldconfig\n';;
      jq) printf '%%pre\necho pre $1 >> /var/log/jq.script\n%%post\njq -n 1 >> /var/log/jq.script\n%%preun\necho preun $1 >> /var/log/jq.script\n%%postun\necho postun $1 >> /var/log/jq.script\n';;
    esac
    printf '%%files\n%%defattr(-,root,root,-)\n'
    ( cd "$t/r"
      find . -mindepth 1 ! -type d -printf '%P\n' | sort | while IFS= read -r f; do
        p=
        case $f in
          usr/share/locale/*/LC_*) l=${f#usr/share/locale/}; p="%lang(${l%%/*}) ";;
          usr/share/doc/*|usr/share/man/*) p='%doc ';;
        esac
        if [ -e "$t/c/conffiles" ] && grep -qx "/$f" "$t/c/conffiles"; then p='%config(noreplace) '; fi
        case $f in usr/bin/ping) p='%caps(cap_net_raw=ep) ';; esac
        printf '%s"/%s"\n' "$p" "$f"
      done
      # directories nobody else owns
      find . -mindepth 1 -type d -printf '%P\n' | sort | while IFS= read -r f; do
        grep -qx "/$f" "$out/tmp/fsdirs" || printf '%%dir "/%s"\n' "$f"; done )
    [ "$n" = jq ] && printf '%%ghost /var/log/jq.script\n'
    [ "$n" = libc6 ] && printf '%%ghost /etc/ld.so.cache\n'
    :
  } >"$s.spec"
  if [ "$n" = jq ]; then mkdir -p "$t/r/var/log"; : >"$t/r/var/log/jq.script"; fi
  if [ "$n" = libc6 ]; then mkdir -p "$t/r/etc"; : >"$t/r/etc/ld.so.cache"; fi
  rpmbuild -bb --quiet --define "_topdir $out/tmp/top" --define "_rpmdir $dest" \
    --define '_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' \
    --define "_binary_payload ${pay[$((k % 6))]}" --define 'debug_package %{nil}' \
    --define '__os_install_post %{nil}' --define '_build_id_links none' \
    --define '_missing_doc_files_terminate_build 0' --define '_docdir_fmt none' \
    --define "__brp_mangle_shebangs %{nil}" \
    ${SOURCE_DATE_EPOCH:+--define 'use_source_date_epoch_as_buildtime 1'} \
    --define '_buildhost builder.invalid' \
    "$s.spec" >"$s.log" 2>&1 || { tail -20 "$s.log" >&2; return 1; }
  rm -rf "$t"
}

# 4. the filesystem package: directories and the /usr merge links
t=$out/tmp/fs
mkdir -p "$t"/{boot,dev,proc,sys,run,root,home,tmp,mnt,opt,srv,etc/default,etc/ld.so.conf.d,var/log,var/lib/rpm,var/cache,var/tmp} \
  "$t"/usr/{bin,sbin,lib64,lib/$(gcc -print-multiarch 2>/dev/null || dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo x86_64-linux-gnu),include,local/bin,share/doc,share/man/man1,share/man/man8,share/locale,share/info,share/bug,share/lintian/overrides}
for d in bin sbin lib lib64; do ln -s usr/$d "$t/$d"; done
chmod 1777 "$t/tmp" "$t/var/tmp"; chmod 700 "$t/root"
echo /usr/lib64 >"$t/etc/ld.so.conf.d/lib64.conf"   # for rpms of other distributions
# those whom all distributions have
printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n' >"$t/etc/passwd"; printf 'root:x:0:\nnobody:x:65534:\n' >"$t/etc/group"
(cd "$t" && find . -mindepth 1 -type d -printf '/%P\n'; for d in bin sbin lib lib64; do echo /$d; done) >"$out/tmp/fsdirs"
{ printf 'Name: filesystem\nVersion: 1\nRelease: 1\nSummary: Base directories\nLicense: none\n'
  printf '%%description\nThe base directories and the links of the merged /usr.\n'
  printf '%%install\ncp -a "%s/." %%{buildroot}\n%%files\n%%defattr(-,root,root,-)\n' "$t"
  (cd "$t" && find . -mindepth 1 -type d -printf '%%dir "/%P"\n' | sort; find . -type l -printf '"/%P"\n'
   echo '%config(noreplace) /etc/passwd'; echo '%config /etc/ld.so.conf.d/lib64.conf'; echo '%config(noreplace) /etc/group')
} >"$out/tmp/filesystem.spec"
rpmbuild -bb --quiet --define "_topdir $out/tmp/top" --define "_rpmdir $out/rpms" \
  --define '_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' --define '_build_id_links none' \
  --define '__os_install_post %{nil}' --define 'debug_package %{nil}' "$out/tmp/filesystem.spec" >"$out/tmp/filesystem.log" 2>&1 ||
  { cat "$out/tmp/filesystem.log" >&2; exit 1; }

# 5. build them all
t0=$(date +%s); k=0
ps=$(closure "$@")
[ $src = host ] || apt-cache madison $ps >"$out/tmp/madison"
for p in $ps; do
  if [ $src = host ]; then vs=$(dpkg-query -W -f '${Version}\n' "$p" | head -1)
  else vs=$(awk -v p="$p" '$1==p && !s[$3]++ {print $3}' "$out/tmp/madison"); fi
  [ -n "$vs" ] || { echo "no version: $p" >&2; continue; }
  new=; for v in $vs; do if [ -z "$new" ] || dpkg --compare-versions "$v" gt "$new"; then new=$v; fi; done
  echo "$p $new $out/rpms $k"
  if [ "$old" = 1 ] && case " $further " in '  ' | *" $p "*) ;; *) false;; esac; then for v in $vs; do k=$((k+1)); [ "$v" = "$new" ] || echo "$p $v $out/rpms-old $k"; done; fi
  k=$((k+1))
done >"$out/tmp/jobs"
[ $src = host ] || (cd "$out/debs" && awk '{print $1 "=" $2}' "$out/tmp/jobs" |
  xargs apt-get -qq -o APT::Sandbox::User=root download)
export out src arch further; export -f tree build
xargs -P "$(nproc)" -L 1 bash -c 'set -eu -o pipefail; build "$@"' _ <"$out/tmp/jobs"
t1=$(date +%s)

# 6. install into the empty root, in one transaction, with the dependency checks
mkdir -p "$out/root/var/lib/rpm"
rpm "${dbargs[@]}" --initdb
rpm "${dbargs[@]}" --force-debian --excludedocs -i "$out"/rpms/*.rpm
t2=$(date +%s)

# 7. use it
chroot "$out/root" /bin/bash -c 'echo ok; jq --version; echo "{\"a\":[1,2]}" | jq -c .a; ls / | wc -l; sed --version | head -1; curl --version | head -1' </dev/null
rpm "${dbargs[@]}" -qa | sort | wc -l
echo "build $((t1-t0)) s, install $((t2-t1)) s"
rm -rf "$out/tmp"
