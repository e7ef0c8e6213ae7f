# guest_lib.sh: sourced after lib.sh: guests with Debian 12's own kernel, in QEMU without
# acceleration.
#
# A guest is an initramfs: our programs and their libraries, busybox, modules of the kernel, and a
# job as its first process. The job begins with guest_job_lib.sh (in the guest: /guest_job_lib.sh)
# and says in its last line how it went. Figures from such a guest say nothing about speed by
# themselves.
# shellcheck shell=bash disable=SC2154
need meson apt-get dpkg-deb cpio busybox qemu-system-x86_64 ldd

# Prints a directory with vmlinuz and the modules $@ (paths below kernel/, without .ko); downloaded
# once. add_modules may put more there.
get_kernel() {
  local package files kernel
  kernel=$cache/kernel-$({
    declare -f add_modules
    printf '%s\n' "$@" | sort
  } | md5sum | cut -c1-8)
  if [ ! -e "$kernel/done" ]; then
    package=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" { print $2; exit }')
    [[ $package == linux-image-6.1.* ]] || { say "the kernel is $package, not 6.1" >&2; return 1; }
    say "downloading $package" >&2
    rm -rf "$kernel"
    mkdir -p "$kernel"
    files=("${@/#/*/kernel/}")
    (cd "$kernel" && apt-get -qq download "$package" > download.log 2>&1 &&
      dpkg-deb --fsys-tarfile ./*.deb | tar -x --wildcards --transform 's,.*/,,' \
        './boot/vmlinuz-*' "${files[@]/%/.ko}" 2>> download.log &&
      mv vmlinuz-* vmlinuz) || { cat "$kernel/download.log" >&2; return 1; }
    rm "$kernel"/*.deb
    (add_modules "$kernel" "${package#linux-image-}") > "$kernel/more.log" 2>&1 ||
      { tail -5 "$kernel/more.log" >&2; return 1; }
    touch "$kernel/done"
  fi
  echo "$kernel"
}
add_modules() { :; }  # to the directory $1, for the release $2

# Fills the directory $1 with what every guest has. $2 is the job, $3 the kernel's directory, the
# others are modules in the order of loading.
begin_guest() {
  local top=$1 job=$2 kernel=$3 module n=10 library
  shift 3
  install_programs "$top"
  mkdir -p "$top"/{bin,dev,proc,sys,tmp,run,srv,mnt,var/lib,modules,etc}
  install "$(command -v busybox)" "$top/bin/busybox"
  for module in "$@"; do
    module=$(basename "$module").ko
    install -m 644 "$kernel/$module" "$top/modules/$((n++))-$module"
  done
  libraries | while read -r library; do install -D "$library" "$top$library"; done
  install "$job" "$top/init"
  install -m 644 "$source_dir/tests/system/guest_job_lib.sh" "$top/guest_job_lib.sh"
}

# Programs $2... of this machine, with their libraries, for the guest in $1.
add_tools() {
  local top=$1 library
  shift
  install "$@" "$top/usr/bin/"
  ldd "$@" | awk '/=> \// { print $3 }' | sort -u | while read -r library; do
    install -D "$library" "$top$library"
  done
}

end_guest() { # packs $1; NAME=VALUE... are in the guest's /settings
  local top=$1
  shift
  printf '%s\n' "$@" > "$top/settings"
  (cd "$top" && find . | cpio --quiet -o -H newc | gzip -1) > "$work/initramfs"
}

# Boots; what the job says goes to the file $2, the kernel's words to $2.console. $3: what the job
# finds in its environment (NAME=VALUE), the rest are options of QEMU.
boot_guest() {
  local kernel=$1 log=$2 environment=$3
  shift 3
  exec timeout -k 5 "${TANGELO_LIMIT:-1800}" qemu-system-x86_64 -M pc -cpu max -smp 2 -m 3072 \
    -accel tcg,thread=multi -nodefaults -no-user-config -display none -no-reboot \
    -kernel "$kernel/vmlinuz" -initrd "$work/initramfs" -append "console=ttyS0 quiet panic=-1 \
      mitigations=off nokaslr random.trust_cpu=on tsc=reliable no_timer_check $environment" \
    -serial "file:$log.console" -serial "file:$log" "$@"
}
must_have_passed() { # the guest whose log is $1
  grep -q '^result: 0' "$1" || { tail -20 "$1.console"; die "see above"; }
}

run_guest() { # one, to its end
  local machine
  say "booting"
  (boot_guest "$1" "$work/log" "") &
  machine=$!
  follow "$work/log" "$machine"
  wait "$machine" || true
  must_have_passed "$work/log"
}
