#include "server/object_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>

namespace tangelo {

namespace {

// Format final. Neighbours share a directory: files made together cost one directory together.
std::uint64_t hash_of(std::uint64_t inode) {
  std::uint64_t z = (inode >> 8) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 32)) * 0xbf58476d1ce4e5b9u;
  return z ^ (z >> 29);
}

error_code sync_at(int directory, const std::string& path) {
  const unique_fd fd(::openat(directory, path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return last_error();
  return ::fsync(fd.get()) == 0 ? error_code::ok : last_error();
}

}  // namespace

error_code last_error() noexcept { return error_of_errno(errno); }

std::string object_files::directory_of(std::uint64_t inode) {
  const std::uint64_t h = hash_of(inode);
  return fmt::format("{:02x}/{:02x}", h & 0xff, (h >> 8) & 0xff);
}

std::string object_files::path_of(std::uint64_t inode) {
  return fmt::format("{}/{:016x}", directory_of(inode), inode);
}

error_code object_files::make_directories(std::uint64_t inode) const {
  const std::string second = directory_of(inode);
  const std::string first = second.substr(0, 2);
  for (const std::string& path : {first, second})
    if (::mkdirat(directory_.get(), path.c_str(), 0700) != 0 && errno != EEXIST)
      return last_error();
  const error_code e = sync_at(directory_.get(), ".");
  return e == error_code::ok ? sync_at(directory_.get(), first) : e;
}

op_result<int> object_files::open(std::uint64_t inode, bool create) const {
  const std::string path = path_of(inode);
  const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0);
  int fd = ::openat(directory_.get(), path.c_str(), flags, 0600);
  if (fd < 0 && errno == ENOENT && create) {
    const error_code e = make_directories(inode);
    if (e != error_code::ok) return failure{e};
    fd = ::openat(directory_.get(), path.c_str(), flags, 0600);
  }
  if (fd < 0) return failure{last_error()};
  return fd;
}

op_result<std::uint64_t> read_all(int fd, std::uint64_t offset, mutable_byte_span into) noexcept {
  std::uint64_t n = 0;
  while (n < into.size()) {
    const mutable_byte_span left = into.subspan(n);
    const ssize_t got = ::pread(fd, left.data(), left.size(), static_cast<off_t>(offset + n));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failure{last_error()};
    if (got == 0) break;
    n += static_cast<std::uint64_t>(got);
  }
  return n;
}

op_result<std::uint64_t> object_files::read(std::uint64_t inode, std::uint64_t offset,
                                            mutable_byte_span into) const {
  const op_result<int> opened = open(inode, false);
  if (!opened && opened.error() == error_code::no_entry) return std::uint64_t{0};
  if (!opened) return failure{opened.error()};
  const unique_fd fd(*opened);
  return read_all(fd.get(), offset, into);
}

error_code object_files::write(std::uint64_t inode, std::uint64_t offset, byte_span from) const {
  const op_result<int> opened = open(inode, true);
  if (!opened) return opened.error();
  const unique_fd fd(*opened);
  while (!from.empty()) {
    const ssize_t n = ::pwrite(fd.get(), from.data(), from.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n == 0 ? error_code::no_space : last_error();
    from = from.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return error_code::ok;
}

error_code object_files::truncate(std::uint64_t inode, std::uint64_t size) const {
  const op_result<int> opened = open(inode, false);
  if (!opened) return opened.error() == error_code::no_entry ? error_code::ok : opened.error();
  const unique_fd fd(*opened);
  struct stat st{};
  if (::fstat(fd.get(), &st) != 0) return last_error();
  if (static_cast<std::uint64_t>(st.st_size) <= size) return error_code::ok;
  return ::ftruncate(fd.get(), static_cast<off_t>(size)) == 0 ? error_code::ok : last_error();
}

error_code object_files::remove(std::uint64_t inode) const {
  if (::unlinkat(directory_.get(), path_of(inode).c_str(), 0) == 0 || errno == ENOENT)
    return error_code::ok;
  return last_error();
}

error_code object_files::sync_directory(std::uint64_t inode) const {
  const error_code e = sync_at(directory_.get(), directory_of(inode));
  return e == error_code::no_entry ? error_code::ok : e;  // nothing was ever made there
}

}  // namespace tangelo
