# rdma_lib.sh: sourced after guest_lib.sh: guests with Soft-RoCE (rdma_rxe) and Soft-iWARP (siw).
# The latter is not in Debian's kernel: its source is built against the kernel's headers.
# shellcheck shell=bash disable=SC2154
need rdma ip make gcc git fio

# In the order of loading.
modules=(net/ipv4/udp_tunnel net/ipv6/ip6_udp_tunnel fs/configfs/configfs crypto/crc32_generic
  crypto/crc32c_generic lib/libcrc32c
  drivers/infiniband/core/{ib_core,ib_uverbs,ib_cm,iw_cm,rdma_cm,rdma_ucm}
  drivers/infiniband/sw/rxe/rdma_rxe drivers/net/dummy fs/fuse/fuse
  drivers/virtio/{virtio_ring,virtio,virtio_pci_modern_dev,virtio_pci_legacy_dev,virtio_pci}
  net/core/failover drivers/net/{net_failover,virtio_net})

add_modules() { # siw, to the directory $1, for the release $2
  local at=$work/siw release=$2 headers package
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

# A guest in $work/top whose job is $1; sets $kernel. More programs can be added before end_guest.
begin_rdma_guest() {
  local library
  kernel=$(get_kernel "${modules[@]}") || die "no kernel"
  begin_guest "$work/top" "$1" "$kernel" "${modules[@]}" siw
  install -m 644 "$source_dir/tests/system/rdma_job_lib.sh" "$work/top/rdma_job_lib.sh"
  add_tools "$work/top" "$(command -v rdma)" "$(command -v ip)" "$(command -v git)" \
    "$(command -v fio)"
  cp -r /etc/libibverbs.d "$work/top/etc/"
  for library in /usr/lib/*/libibverbs/lib{rxe,siw}-rdmav*.so; do
    install -D "$library" "$work/top$library"
  done
}
