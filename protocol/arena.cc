#include "protocol/arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace tangelo {

namespace {

constexpr unsigned arena_seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;

problem system_problem(std::string what) {
  return {exit_code::failed, std::move(what) + ": " + std::strerror(errno), {}};
}

problem foreign_arena(const char* name, const char* why) {
  return {exit_code::version, std::string(name) + ": " + why,
          "unmount and mount again with processes of one version"};
}

arena_header header_of(std::size_t total_size) noexcept {
  arena_header h;
  h.magic = arena_magic;
  h.layout_version = arena_layout_version;
  h.header_size = sizeof(arena_header);
  h.total_size = total_size;
  h.ops_offset = offsetof(fs_arena, ops);
  h.handles_offset = offsetof(fs_arena, handles);
  h.replay_offset = offsetof(fs_arena, replays);
  h.replay_size = sizeof(fs_arena::replay_log);
  h.op_count = op_slot_count;
  h.handle_count = handle_count;
  return h;
}

outcome<unique_fd> make_memfd(const char* name, std::size_t size) {
  unique_fd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return failure{system_problem(std::string("memfd_create ") + name)};
  const arena_header h = header_of(size);
  if (::fchmod(fd.get(), 0600) != 0 || ::ftruncate(fd.get(), static_cast<off_t>(size)) != 0 ||
      ::pwrite(fd.get(), &h, sizeof h, 0) != static_cast<ssize_t>(sizeof h) ||
      ::fcntl(fd.get(), F_ADD_SEALS, arena_seals) != 0)
    return failure{system_problem(std::string("arena ") + name)};
  return fd;
}

outcome<mapping> map_checked(const char* name, unique_fd fd, std::size_t size,
                             arena_access access) {
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return failure{system_problem(std::string(name) + ": fstat")};
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (static_cast<unsigned>(seals) & arena_seals) != arena_seals)
    return failure{foreign_arena(name, "not a sealed arena")};
  if (static_cast<std::uint64_t>(st.st_size) < sizeof(arena_header))
    return failure{foreign_arena(name, "too small for an arena")};
  arena_header h;
  if (::pread(fd.get(), &h, sizeof h, 0) != static_cast<ssize_t>(sizeof h))
    return failure{system_problem(std::string(name) + ": header")};
  if (h.magic != arena_magic) return failure{foreign_arena(name, "wrong magic")};
  if (h.layout_version != arena_layout_version)
    return failure{foreign_arena(name, ("layout version " + std::to_string(h.layout_version) +
                                        ", this program has " +
                                        std::to_string(arena_layout_version)).c_str())};
  const arena_header want = header_of(size);
  if (static_cast<std::uint64_t>(st.st_size) != size || std::memcmp(&h, &want, sizeof h) != 0)
    return failure{foreign_arena(name, "sizes do not match this program's layout")};
  const int protection = access == arena_access::read_write ? PROT_READ | PROT_WRITE : PROT_READ;
  void* address = ::mmap(nullptr, size, protection, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) return failure{system_problem(std::string(name) + ": mmap")};
  // A core dump needs the process's own memory; this here outlives it anyway.
  (void)::madvise(address, size, MADV_DONTDUMP);
  return mapping(address, size, std::move(fd));
}

}  // namespace

mapping& mapping::operator=(mapping&& other) noexcept {
  if (this != &other) {
    if (address_ != nullptr) ::munmap(address_, size_);
    address_ = std::exchange(other.address_, nullptr);
    size_ = std::exchange(other.size_, 0);
    fd_ = std::move(other.fd_);
  }
  return *this;
}

mapping::~mapping() {
  if (address_ != nullptr) ::munmap(address_, size_);
}

outcome<fs_arena_map> fs_arena_map::map(unique_fd fd, arena_access access) {
  outcome<mapping> m = map_checked("front end's arena", std::move(fd), sizeof(fs_arena), access);
  if (!m) return failure{m.error()};
  return fs_arena_map(*std::move(m));
}

outcome<shared_arena_map> shared_arena_map::map(unique_fd fd, arena_access access) {
  outcome<mapping> m = map_checked("shared arena", std::move(fd), sizeof(shared_arena), access);
  if (!m) return failure{m.error()};
  return shared_arena_map(*std::move(m));
}

outcome<arena_fds> make_arenas() {
  outcome<unique_fd> fs = make_memfd("tangelo-fs", sizeof(fs_arena));
  if (!fs) return failure{fs.error()};
  outcome<unique_fd> shared = make_memfd("tangelo-shared", sizeof(shared_arena));
  if (!shared) return failure{shared.error()};
  return arena_fds{*std::move(fs), *std::move(shared)};
}

outcome<unique_fd> read_only_copy(int fd) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  unique_fd copy(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!copy) return failure{system_problem(path)};
  return copy;
}

}  // namespace tangelo
