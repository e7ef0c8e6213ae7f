#!/bin/bash
# rdma.sh: the verbs provider over Soft-RoCE (rdma_rxe), in a guest with Debian 12's own kernel.
#
# As oldkernel.sh: QEMU without acceleration, and an initramfs with our programs, the conformance
# suite of the providers, the libraries of RDMA, busybox, and rdma_job.sh as the first process. See
# lib.sh for the environment. TANGELO_RECONNECTS is how often the server is killed so that the
# mount connects again (10), when registrations are counted.
. "$(dirname "$0")/lib.sh"
go_inside "$@"
need meson apt-get dpkg-deb cpio busybox qemu-system-x86_64 ldd rdma ip

# In the order of loading.
modules=(net/ipv4/udp_tunnel net/ipv6/ip6_udp_tunnel fs/configfs/configfs crypto/crc32_generic
  drivers/infiniband/core/{ib_core,ib_uverbs,ib_cm,iw_cm,rdma_cm,rdma_ucm}
  drivers/infiniband/sw/rxe/rdma_rxe drivers/net/dummy fs/fuse/fuse)

get_kernel() { # prints the directory with vmlinuz and the modules; downloaded once
  local package files kernel=$cache/kernel_rdma
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
    touch "$kernel/done"
  fi
  echo "$kernel"
}

make_initramfs() { # from the directory $1, which it fills; the kernel is in $2
  local top=$1 module n=10 tools library
  install_programs "$top"
  mkdir -p "$top"/{bin,dev,proc,sys,tmp,run,srv,mnt,var/lib,modules,etc}
  install "$(command -v busybox)" "$top/bin/busybox"
  install "$build/tests/unit/rdma_provider_test" "$top/usr/bin/provider_test"
  tools=("$(command -v rdma)" "$(command -v ip)")
  install "${tools[@]}" "$top/usr/bin/"
  for module in "${modules[@]}"; do
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
  printf 'reconnects=%d\n' "${TANGELO_RECONNECTS:-10}" > "$top/settings"
  (cd "$top" && find . | cpio --quiet -o -H newc | gzip -1) > "$work/initramfs"
}

boot() {
  exec timeout -k 5 "${TANGELO_LIMIT:-900}" qemu-system-x86_64 -M pc -cpu max -smp 2 -m 2048 \
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
