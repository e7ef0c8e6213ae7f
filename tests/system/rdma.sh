#!/bin/bash
# rdma.sh: the verbs provider over Soft-RoCE (rdma_rxe) and Soft-iWARP (siw), in a guest with
# Debian 12's own kernel.
#
# As oldkernel.sh: QEMU without acceleration, and an initramfs with our programs, the conformance
# suite of the providers, the libraries of RDMA, busybox, and rdma_job.sh as the first process. siw
# is not in that kernel: its source is built against the kernel's headers. See lib.sh for the
# environment. TANGELO_RDMA is the kinds of devices ("rxe siw"); TANGELO_RECONNECTS is how often the
# server is killed so that the mount connects again (10), when registrations are counted.
. "$(dirname "$0")/lib.sh"
go_inside "$@"
need meson apt-get dpkg-deb cpio busybox qemu-system-x86_64 ldd rdma ip make gcc git fio

# In the order of loading; siw comes last.
modules=(net/ipv4/udp_tunnel net/ipv6/ip6_udp_tunnel fs/configfs/configfs crypto/crc32_generic
  crypto/crc32c_generic lib/libcrc32c
  drivers/infiniband/core/{ib_core,ib_uverbs,ib_cm,iw_cm,rdma_cm,rdma_ucm}
  drivers/infiniband/sw/rxe/rdma_rxe drivers/net/dummy fs/fuse/fuse)

get_kernel() { # prints the directory with vmlinuz and the modules; downloaded once
  local package files kernel
  kernel=$cache/kernel_rdma-$(md5sum <<< "${modules[*]}" | cut -c1-8)
  if [ ! -e "$kernel/done" ]; then
    package=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" { print $2; exit }')
    [[ $package == linux-image-6.1.* ]] || { say "the kernel is $package, not 6.1" >&2; return 1; }
    say "downloading $package" >&2
    rm -rf "$kernel"
    mkdir -p "$kernel"
    files=("${modules[@]/#/*/kernel/}")
    (cd "$kernel" && apt-get -qq download "$package" > download.log 2>&1 &&
      dpkg-deb --fsys-tarfile ./*.deb | tar -x --wildcards --transform 's,.*/,,' \
        './boot/vmlinuz-*' "${files[@]/%/.ko}" 2>> download.log &&
      mv vmlinuz-* vmlinuz) || { cat "$kernel/download.log" >&2; return 1; }
    rm "$kernel"/*.deb
    build_siw "$kernel" "${package#linux-image-}" > "$kernel/siw.log" 2>&1 ||
      { tail -5 "$kernel/siw.log" >&2; return 1; }
    touch "$kernel/done"
  fi
  echo "$kernel"
}

build_siw() { # into the directory $1, for the release $2
  local at=$work/siw release=$2 headers
  local version=${release%%-*}
  version=${version%.*}
  mkdir -p "$at" && cd "$at" || return
  apt-get -qq download "linux-headers-$release" "linux-headers-${release%-*}-common" \
    "linux-kbuild-$version" "linux-source-$version" || return
  for package in linux-headers-*.deb linux-kbuild-*.deb; do dpkg-deb -x "$package" . || return; done
  dpkg-deb --fsys-tarfile linux-source-*.deb | tar -xO "./usr/src/linux-source-$version.tar.xz" |
    tar -xJ --wildcards --strip-components=1 '*/drivers/infiniband/sw/siw/*' || return
  headers=$at/usr/src/linux-headers-$release
  sed -i "s,/usr/src/,$at/usr/src/,g" "$headers/Makefile"
  make -C "$headers" M="$at/drivers/infiniband/sw/siw" CONFIG_RDMA_SIW=m modules || return
  strip --strip-debug -o "$1/siw.ko" drivers/infiniband/sw/siw/siw.ko
}

make_initramfs() { # from the directory $1, which it fills; the kernel is in $2
  local top=$1 module n=10 tools library
  install_programs "$top"
  mkdir -p "$top"/{bin,dev,proc,sys,tmp,run,srv,mnt,var/lib,modules,etc}
  install "$(command -v busybox)" "$top/bin/busybox"
  install "$build/tests/unit/rdma_provider_test" "$top/usr/bin/provider_test"
  tools=("$(command -v rdma)" "$(command -v ip)" "$(command -v git)" "$(command -v fio)")
  install "${tools[@]}" "$top/usr/bin/"
  for module in "${modules[@]}" siw; do
    install -m 644 "$2/$(basename "$module").ko" "$top/modules/$((n++))-$(basename "$module").ko"
  done
  cp -r /etc/libibverbs.d "$top/etc/"
  {
    libraries
    ldd "${tools[@]}" "$build/tests/unit/rdma_provider_test" | awk '/=> \// { print $3 }'
    ls /usr/lib/*/libibverbs/lib{rxe,siw}-rdmav*.so
  } | sort -u | while read -r library; do
    install -D "$library" "$top$library"
  done
  install "$source_dir/tests/system/rdma_job.sh" "$top/init"
  printf 'reconnects=%d\nkinds="%s"\n' "${TANGELO_RECONNECTS:-10}" "${TANGELO_RDMA:-rxe siw}" \
    > "$top/settings"
  (cd "$top" && find . | cpio --quiet -o -H newc | gzip -1) > "$work/initramfs"
}

boot() {
  exec timeout -k 5 "${TANGELO_LIMIT:-1800}" qemu-system-x86_64 -M pc -cpu max -smp 2 -m 3072 \
    -accel tcg,thread=multi -nodefaults -no-user-config -display none -no-reboot \
    -kernel "$1/vmlinuz" -initrd "$work/initramfs" -append "console=ttyS0 quiet panic=-1 \
      mitigations=off nokaslr random.trust_cpu=on tsc=reliable no_timer_check" \
    -serial "file:$work/console" -serial "file:$work/log"
}

kernel=$(get_kernel) || die "no kernel"
say "making an initramfs"
make_initramfs "$work/top" "$kernel"
say "booting"
(boot "$kernel") &
machine=$!
follow "$work/log" "$machine"
wait "$machine" || true
grep -q '^result: 0' "$work/log" || { tail -20 "$work/console"; die "see above"; }
say "passed"
