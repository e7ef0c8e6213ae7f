// The part of object_files that knows of blocks: allocating, punching, holes, copies.
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "server/object_files.h"

namespace tangelo {

namespace {

constexpr std::uint64_t block_size = 512;
constexpr std::uint64_t unit_size = 4096;  // of what a filesystem gives back
constexpr std::uint64_t size_max = INT64_MAX;

op_result<struct stat> stat_of(int fd) {
  struct stat st{};
  if (::fstat(fd, &st) != 0) return failure{last_error()};
  return st;
}

op_result<std::uint64_t> blocks_of(int fd) {
  const op_result<struct stat> st = stat_of(fd);
  if (!st) return failure{st.error()};
  return static_cast<std::uint64_t>(st->st_blocks);
}

error_code fallocate_all(int fd, int mode, std::uint64_t offset, std::uint64_t size) {
  int rc = 0;
  do {
    rc = ::fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                     static_cast<off_t>(size));
  } while (rc != 0 && errno == EINTR);
  return rc == 0 ? error_code::ok : last_error();
}

// For filesystems that cannot do better; not behind the file's end, where all reads as zeros.
error_code write_zeros(int fd, std::uint64_t offset, std::uint64_t size) {
  const op_result<struct stat> st = stat_of(fd);
  if (!st) return st.error();
  const std::uint64_t end = std::min(offset + size, static_cast<std::uint64_t>(st->st_size));
  const std::vector<char> zeros(128 << 10);
  while (offset < end) {
    const std::size_t n = std::min<std::uint64_t>(zeros.size(), end - offset);
    const ssize_t done = ::pwrite(fd, zeros.data(), n, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return done == 0 ? error_code::no_space : last_error();
    offset += static_cast<std::uint64_t>(done);
  }
  return error_code::ok;
}

error_code zero(int fd, int mode, std::uint64_t offset, std::uint64_t size) {
  const error_code e = fallocate_all(fd, mode, offset, size);
  return e == error_code::ok ? e : write_zeros(fd, offset, size);
}

// Nothing is given back behind the file's end (ext4), where allocated room may lie: the end moves.
// If it cannot, there is no byte to be punched.
error_code punch(int fd, std::uint64_t offset, std::uint64_t size) {
  const op_result<struct stat> st = stat_of(fd);
  if (!st) return st.error();
  const std::uint64_t end = offset + size;
  const bool is_short = static_cast<std::uint64_t>(st->st_size) < end;
  if (is_short && ::ftruncate(fd, static_cast<off_t>(end)) != 0 && errno != EFBIG)
    return last_error();
  return zero(fd, FALLOC_FL_PUNCH_HOLE, offset, size);
}

// Twice when the file ends before `size`: room behind its end is given back only by cutting it.
error_code trim(int fd, std::uint64_t size) {
  const op_result<struct stat> st = stat_of(fd);
  if (!st) return st.error();
  const auto end = static_cast<std::uint64_t>(st->st_size);
  const std::uint64_t blocks = (end + unit_size - 1) / unit_size * (unit_size / block_size);
  if (end <= size && static_cast<std::uint64_t>(st->st_blocks) <= blocks) return error_code::ok;
  for (int i = end < size ? 2 : 1; i > 0; --i)
    if (::ftruncate(fd, static_cast<off_t>(size)) != 0) return last_error();
  return error_code::ok;
}

// Which extents of a file's map count: with all of these flags and with none of those.
struct extent_flags {
  std::uint32_t with = 0;
  std::uint32_t without = 0;
};

// Allocated bytes in a range, by the filesystem's map of the file.
op_result<std::uint64_t> mapped_bytes(int fd, std::uint64_t offset, std::uint64_t end,
                                      extent_flags counted) {
  constexpr unsigned extent_count = 64;
  std::vector<std::uint64_t> room((sizeof(fiemap) + extent_count * sizeof(fiemap_extent)) / 8 + 1);
  std::uint64_t bytes = 0;
  for (bool last = false; !last && offset < end;) {
    auto* map = reinterpret_cast<fiemap*>(room.data());
    std::memset(map, 0, sizeof *map);
    map->fm_start = offset;
    map->fm_length = end - offset;
    map->fm_extent_count = extent_count;
    if (::ioctl(fd, FS_IOC_FIEMAP, map) != 0) return failure{last_error()};
    if (map->fm_mapped_extents == 0) break;
    for (unsigned i = 0; i < map->fm_mapped_extents; ++i) {
      const fiemap_extent& e = map->fm_extents[i];
      const std::uint64_t from = std::max<std::uint64_t>(e.fe_logical, offset);
      const std::uint64_t to = std::min<std::uint64_t>(e.fe_logical + e.fe_length, end);
      const bool counts = (e.fe_flags & counted.with) == counted.with &&
                          (e.fe_flags & counted.without) == 0;
      if (from < to && counts) bytes += to - from;
      offset = std::max<std::uint64_t>(offset, e.fe_logical + e.fe_length);
      last = (e.fe_flags & FIEMAP_EXTENT_LAST) != 0;
    }
  }
  return bytes;
}

// The same by what is said of data and holes.
std::uint64_t data_bytes(int fd, std::uint64_t offset, std::uint64_t end) {
  std::uint64_t bytes = 0;
  while (offset < end) {
    const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 || static_cast<std::uint64_t>(data) >= end) break;
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0) break;
    offset = static_cast<std::uint64_t>(hole);
    bytes += std::min(offset, end) - static_cast<std::uint64_t>(data);
  }
  return bytes;
}

// Does a change of bytes go to another place of the disk?
bool moves_changes(int fd) {
  constexpr std::uint32_t f2fs = 0xf2f52010, zfs = 0x2fc12fc1, bcachefs = 0xca451a4e;
  struct statfs st{};
  if (::fstatfs(fd, &st) != 0) return true;
  const auto type = static_cast<std::uint32_t>(st.f_type);
  return type == BTRFS_SUPER_MAGIC || type == NILFS_SUPER_MAGIC || type == f2fs || type == zfs ||
         type == bcachefs;
}

// In whole units.
std::uint64_t blocks_in(int fd, std::uint64_t offset, std::uint64_t size) {
  const std::uint64_t from = (offset + unit_size - 1) / unit_size * unit_size;
  const std::uint64_t to =
      size > size_max - offset ? size_max : (offset + size) / unit_size * unit_size;
  if (from >= to) return 0;
  const op_result<std::uint64_t> mapped = mapped_bytes(fd, from, to, {});
  return (mapped ? *mapped : data_bytes(fd, from, to)) / block_size;
}

}  // namespace

op_result<std::uint64_t> object_files::change_space(space_change what, std::uint64_t inode,
                                                    std::uint64_t offset,
                                                    std::uint64_t size) const {
  const op_result<int> opened = open(inode, what == space_change::allocate);
  if (!opened && opened.error() == error_code::no_entry) return std::uint64_t{0};
  if (!opened) return failure{opened.error()};
  const unique_fd fd(*opened);
  error_code e = error_code::io;
  switch (what) {
    case space_change::allocate: e = fallocate_all(fd.get(), 0, offset, size); break;
    case space_change::punch: e = punch(fd.get(), offset, size); break;
    case space_change::zero: e = zero(fd.get(), FALLOC_FL_ZERO_RANGE, offset, size); break;
    case space_change::trim: e = trim(fd.get(), offset); break;
  }
  if (e != error_code::ok) return failure{e};
  return blocks_of(fd.get());
}

op_result<std::uint64_t> object_files::blocks_inside(std::uint64_t inode, std::uint64_t offset,
                                                     std::uint64_t size) const {
  const op_result<int> opened = open(inode, false);
  if (!opened && opened.error() == error_code::no_entry) return std::uint64_t{0};
  if (!opened) return failure{opened.error()};
  const unique_fd fd(*opened);
  return blocks_in(fd.get(), offset, size);
}

op_result<std::uint64_t> object_files::blocks_outside(std::uint64_t inode, std::uint64_t offset,
                                                      std::uint64_t size) const {
  const op_result<int> opened = open(inode, false);
  if (!opened && opened.error() == error_code::no_entry) return std::uint64_t{0};
  if (!opened) return failure{opened.error()};
  const unique_fd fd(*opened);
  const op_result<std::uint64_t> blocks = blocks_of(fd.get());
  if (!blocks) return blocks;
  const std::uint64_t inside = blocks_in(fd.get(), offset, size);
  return *blocks > inside ? *blocks - inside : 0;
}

// Where changes move only what was allocated and never written stays in its place.
op_result<std::uint64_t> object_files::writable_inside(std::uint64_t inode, std::uint64_t offset,
                                                       std::uint64_t size) const {
  const op_result<int> opened = open(inode, false);
  if (!opened && opened.error() == error_code::no_entry) return std::uint64_t{0};
  if (!opened) return failure{opened.error()};
  const unique_fd fd(*opened);
  const std::uint64_t end = size > size_max - offset ? size_max : offset + size;
  extent_flags counted{0, FIEMAP_EXTENT_SHARED | FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_DATA_INLINE |
                              FIEMAP_EXTENT_DATA_TAIL};
  const bool moves = moves_changes(fd.get());
  if (moves) counted.with = FIEMAP_EXTENT_UNWRITTEN;
  const op_result<std::uint64_t> mapped = mapped_bytes(fd.get(), offset, end, counted);
  if (mapped || moves) return mapped ? *mapped : 0;
  return data_bytes(fd.get(), offset, end);
}

op_result<std::uint64_t> object_files::seek(std::uint64_t inode, std::uint64_t offset,
                                            bool hole) const {
  const op_result<int> opened = open(inode, false);
  if (!opened && opened.error() != error_code::no_entry) return failure{opened.error()};
  const unique_fd fd(opened ? *opened : -1);
  const off_t at =
      opened ? ::lseek(fd.get(), static_cast<off_t>(offset), hole ? SEEK_HOLE : SEEK_DATA) : -1;
  if (at >= 0) return static_cast<std::uint64_t>(at);
  if (opened && errno != ENXIO) return failure{last_error()};
  if (hole) return offset;
  return failure{error_code::no_device_address};
}

op_result<std::uint64_t> object_files::copy(std::uint64_t from, std::uint64_t from_offset,
                                            std::uint64_t to, std::uint64_t to_offset,
                                            std::uint64_t size) const {
  const op_result<int> source = open(from, false);
  if (!source && source.error() == error_code::no_entry) return std::uint64_t{0};
  if (!source) return failure{source.error()};
  const unique_fd in(*source);
  const op_result<int> target = open(to, true);
  if (!target) return failure{target.error()};
  const unique_fd out(*target);
  auto in_at = static_cast<off_t>(from_offset);
  auto out_at = static_cast<off_t>(to_offset);
  std::uint64_t copied = 0;
  while (copied < size) {
    const ssize_t n = ::copy_file_range(in.get(), &in_at, out.get(), &out_at, size - copied, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failure{last_error()};
    if (n == 0) break;
    copied += static_cast<std::uint64_t>(n);
  }
  return copied;
}

}  // namespace tangelo
