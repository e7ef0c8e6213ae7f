#include "fs/dev_fuse.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "base/fd.h"
#include "base/log.h"
#include "fs/fuse_abi.h"
#include "fs/inval_notice.h"

namespace tangelo {

dev_fuse::dev_fuse(int fd, int bell_fd) noexcept : fd_(fd), invalidator_(fd, bell_fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0) (void)::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

ssize_t dev_fuse::read_request(mutable_byte_span head, mutable_byte_span tail) noexcept {
  const iovec parts[2] = {{head.data(), head.size()}, {tail.data(), tail.size()}};
  const ssize_t n = ::readv(fd_, parts, 2);
  return n < 0 ? -errno : n;
}

int dev_fuse::write_reply(const iovec* parts, int count) noexcept {
  return ::writev(fd_, parts, count) < 0 ? -errno : 0;
}

int dev_fuse::resend() noexcept {
  fuse_out_header notice{};
  notice.len = sizeof notice;
  notice.error = fuse_notify_resend;
  return ::write(fd_, &notice, sizeof notice) < 0 ? -errno : 0;
}

bool dev_fuse::forget_attributes(std::uint64_t inode) noexcept {
  const int rc = write_inval_notice(fd_, inode, -1);
  if (rc != 0 && rc != -ENOENT && rc != -ENODEV)
    log_debug("FUSE_NOTIFY_INVAL_INODE: {}", std::strerror(-rc));
  return rc != -ENOENT;
}

void dev_fuse::populate(mutable_byte_span bytes) noexcept {
  constexpr std::uintptr_t page = 4096;
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data()) & ~(page - 1);
  const auto end = reinterpret_cast<std::uintptr_t>(bytes.data()) + bytes.size();
  // Linux 5.14; on older ones the pages come when they are first used.
  if (::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_WRITE) != 0)
    log_debug("MADV_POPULATE_WRITE: {}", std::strerror(errno));
}

void dev_fuse::drop_caches(std::span<const std::uint64_t> inodes) noexcept {
  invalidator_.begin(inodes);
}

namespace {

// The set of signals in a line like "SigPnd:" of /proc/TID/status.
std::uint64_t signals_in(std::string_view status, std::string_view key) noexcept {
  const std::size_t at = status.find(key);
  if (at == std::string_view::npos) return 0;
  std::size_t begin = at + key.size();
  while (begin < status.size() && (status[begin] == ' ' || status[begin] == '\t')) ++begin;
  std::uint64_t mask = 0;
  std::from_chars(status.data() + begin, status.data() + status.size(), mask, 16);
  return mask;
}

constexpr std::uint64_t bit_of(int number) noexcept { return std::uint64_t{1} << (number - 1); }

// Of signals that end a process the kernel makes a SIGKILL at once, but not of those that also dump
// its core.
constexpr std::uint64_t dumping_signals = bit_of(SIGQUIT) | bit_of(SIGILL) | bit_of(SIGTRAP) |
                                          bit_of(SIGABRT) | bit_of(SIGBUS) | bit_of(SIGFPE) |
                                          bit_of(SIGSEGV) | bit_of(SIGXCPU) | bit_of(SIGXFSZ) |
                                          bit_of(SIGSYS);

}  // namespace

ssize_t proc_inspector::read_status(std::uint32_t tid) noexcept {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%u/status", tid);
  const unique_fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return -errno;
  const ssize_t n = ::read(fd.get(), status_, sizeof status_);
  return n < 0 ? -errno : n;
}

bool proc_inspector::look_up(std::uint32_t tid, credential& who) noexcept {
  const ssize_t n = read_status(tid);
  if (n <= 0 || !add_groups({status_, static_cast<std::size_t>(n)}, who)) return false;
  // The others the kernel has weighed with the owner of the file; this one counts here only.
  if ((who.powers & power::sys_admin) != 0 && !has_our_ids(tid))
    who.powers = static_cast<std::uint8_t>(who.powers & ~power::sys_admin);
  return true;
}

bool proc_inspector::has_our_ids(std::uint32_t tid) noexcept {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%u/uid_map", tid);
  char maps[2][512];
  ssize_t sizes[2] = {-1, -1};
  for (const int i : {0, 1}) {
    const unique_fd fd(::open(i == 0 ? "/proc/self/uid_map" : path, O_RDONLY | O_CLOEXEC));
    if (fd) sizes[i] = ::read(fd.get(), maps[i], sizeof maps[i]);
  }
  return sizes[0] > 0 && sizes[0] == sizes[1] &&
         std::memcmp(maps[0], maps[1], static_cast<std::size_t>(sizes[0])) == 0;
}

bool proc_inspector::is_being_killed(std::uint32_t tid) noexcept {
  const ssize_t n = read_status(tid);
  if (n <= 0) return n == -ENOENT || n == -ESRCH;
  const std::string_view status(status_, static_cast<std::size_t>(n));
  const std::uint64_t pending = signals_in(status, "SigPnd:") | signals_in(status, "ShdPnd:");
  const std::uint64_t survived = signals_in(status, "SigBlk:") | signals_in(status, "SigIgn:") |
                                 signals_in(status, "SigCgt:");
  return (pending & (bit_of(SIGKILL) | (dumping_signals & ~survived))) != 0;
}

}  // namespace tangelo
