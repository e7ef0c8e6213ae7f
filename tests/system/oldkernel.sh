#!/bin/bash
# oldkernel.sh: front ends that die on a kernel without FUSE_NOTIFY_RESEND (before 6.9).
#
# Debian 12's own kernel is booted in QEMU, without any acceleration, from an initramfs that has
# our programs, their libraries, busybox, and oldkernel_job.sh as its first and only process. See
# lib.sh for the environment. TANGELO_KILLS is the number of kills (20), TANGELO_SEED their phases.
. "$(dirname "$0")/lib.sh"
go_inside "$@"
need meson apt-get dpkg-deb cpio busybox qemu-system-x86_64 ldd

# ---- a kernel -----------------------------------------------------------------------------------

get_kernel() { # prints the directory with vmlinuz and fuse.ko; downloaded once
  local package kernel=$cache/kernel
  if [ ! -e "$kernel/done" ]; then
    package=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" { print $2; exit }')
    [[ $package == linux-image-6.1.* ]] || { say "the kernel is $package, not 6.1" >&2; return 1; }
    say "downloading $package" >&2
    rm -rf "$kernel"
    mkdir -p "$kernel"
    (cd "$kernel" && apt-get -qq download "$package" > download.log 2>&1 &&
      dpkg-deb --fsys-tarfile ./*.deb | tar -x --wildcards --transform 's,.*/,,' \
        './boot/vmlinuz-*' '*/kernel/fs/fuse/fuse.ko' && mv vmlinuz-* vmlinuz) ||
      { cat "$kernel/download.log" >&2; return 1; }
    rm "$kernel"/*.deb
    touch "$kernel/done"
  fi
  echo "$kernel"
}

# ---- a system -----------------------------------------------------------------------------------

make_initramfs() { # from the directory $1, which it fills; fuse.ko is in $2
  local top=$1 library
  install_programs "$top"
  mkdir -p "$top"/{bin,dev,proc,sys,tmp,run,srv,mnt,var/lib}
  install "$(command -v busybox)" "$top/bin/busybox"
  install -m 644 "$2/fuse.ko" "$top/fuse.ko"
  install "$source_dir/tests/system/oldkernel_job.sh" "$top/init"
  libraries | while read -r library; do
    install -D "$library" "$top$library"
  done
  printf 'kills=%d seed=%d\n' "${TANGELO_KILLS:-20}" "${TANGELO_SEED:-$RANDOM}" > "$top/settings"
  (cd "$top" && find . | cpio --quiet -o -H newc | gzip -1) > "$work/initramfs"
}

boot() {
  exec timeout -k 5 "${TANGELO_LIMIT:-600}" qemu-system-x86_64 -M pc -cpu max -smp 2 -m 1536 \
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
