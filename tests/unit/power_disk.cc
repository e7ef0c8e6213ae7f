// The hooks, and the events they write. A write is an event before it is made (its bytes may be on
// the disk at any moment from then on), everything else after it has been done. No sync is really
// made, whether the disk is recorded or not: what is in the record counts, and it takes no time.
#include "tests/unit/power_disk.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <string_view>
#include <utility>

#include "tests/unit/power_record.h"

namespace tangelo::power {

namespace {

class recorder {
 public:
  void start(const std::string& root) {
    const std::lock_guard<std::mutex> guard(mutex_);
    root_ = root;
    events_.clear(), paths_.clear(), names_.clear(), open_.clear();
    forget_ring();
    on_ = true;
  }
  void stop() { on_ = false; }
  bool on() const { return on_; }
  std::size_t size() {
    const std::lock_guard<std::mutex> guard(mutex_);
    return events_.size();
  }

  void opened(int fd, int at, const char* name, int flags) {
    if ((flags & O_TMPFILE) == O_TMPFILE) return;
    const std::lock_guard<std::mutex> guard(mutex_);
    const std::string path = path_of(at, name);
    if (!is_ours(path)) return;
    struct stat st{};
    if (::fstat(fd, &st) != 0) return;
    if (S_ISDIR(st.st_mode)) {
      open_[fd] = {-1, 0, path};
      return;
    }
    const auto [found, made] = names_.try_emplace(path, static_cast<int>(paths_.size()));
    if (made) {
      paths_.push_back(path);
      sizes_.resize(paths_.size());
      add({.what = event_kind::create, .file = found->second, .path = path});
    } else if ((flags & O_TRUNC) != 0) {
      truncated(found->second, 0);
    }
    const auto file = static_cast<std::size_t>(found->second);
    open_[fd] = {found->second, (flags & O_APPEND) != 0 ? sizes_[file] : 0, path};
  }
  void closed(int fd) {
    const std::lock_guard<std::mutex> guard(mutex_);
    open_.erase(fd);
  }
  // The index of the event, or -1.
  std::ptrdiff_t writes(int fd, const iovec* parts, int count, std::int64_t offset) {
    const std::lock_guard<std::mutex> guard(mutex_);
    const auto at = open_.find(fd);
    if (at == open_.end() || at->second.file < 0) return -1;
    std::string bytes;
    for (int i = 0; i < count; ++i)
      bytes.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
    const std::uint64_t size = bytes.size();
    const std::uint64_t from =
        offset < 0 ? at->second.position : static_cast<std::uint64_t>(offset);
    if (offset < 0) at->second.position += size;
    auto& end = sizes_[static_cast<std::size_t>(at->second.file)];
    end = std::max(end, from + size);
    if (bytes.find_first_not_of('\0') == std::string::npos) bytes.clear();
    add({.what = event_kind::write,
         .file = at->second.file,
         .offset = from,
         .size = size,
         .bytes = std::move(bytes)});
    return static_cast<std::ptrdiff_t>(events_.size()) - 1;
  }
  void write_synced(std::ptrdiff_t index) {
    const std::lock_guard<std::mutex> guard(mutex_);
    add({.what = event_kind::sync_write, .upto = static_cast<std::size_t>(index)});
  }
  void truncates(int fd, std::uint64_t size) {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (const auto at = open_.find(fd); at != open_.end() && at->second.file >= 0)
      truncated(at->second.file, size);
  }
  // Zeros as far as the file has bytes; what becomes of its room is nobody's concern.
  void zeroes(int fd, std::uint64_t offset, std::uint64_t size) {
    const std::lock_guard<std::mutex> guard(mutex_);
    const auto at = open_.find(fd);
    if (at == open_.end() || at->second.file < 0) return;
    const std::uint64_t end = sizes_[static_cast<std::size_t>(at->second.file)];
    if (offset < end)
      add({.what = event_kind::write,
           .file = at->second.file,
           .offset = offset,
           .size = std::min(size, end - offset)});
  }
  void synced(int fd) {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (const auto at = open_.find(fd); at != open_.end()) synced(at->second, events_.size());
  }
  void all_synced() {
    const std::lock_guard<std::mutex> guard(mutex_);
    add({.what = event_kind::sync_all, .upto = events_.size()});
  }
  void made_directory(int at, const char* name) {
    const std::lock_guard<std::mutex> guard(mutex_);
    const std::string path = path_of(at, name);
    if (is_ours(path) && path != root_) add({.what = event_kind::mkdir, .path = path});
  }
  void renamed(const char* from, const char* to) {
    const std::lock_guard<std::mutex> guard(mutex_);
    const std::string a = path_of(AT_FDCWD, from), b = path_of(AT_FDCWD, to);
    const auto at = names_.find(a);
    if (at == names_.end()) return;  // RocksDB's own log, written with stdio
    names_[b] = at->second;
    names_.erase(a);
    add({.what = event_kind::rename, .path = a, .to = b});
  }
  void unlinked(int at, const char* name) {
    const std::lock_guard<std::mutex> guard(mutex_);
    const std::string path = path_of(at, name);
    if (names_.erase(path) != 0) add({.what = event_kind::unlink, .path = path});
  }

  // What is about to be submitted: writes, and syncs that begin.
  void submits(const io_uring* ring) {
    const unsigned mask = *ring->sq.kring_mask;
    for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; ++i) {
      io_uring_sqe& e = ring->sq.sqes[i & mask];
      if (e.opcode == IORING_OP_WRITE && on_) {
        const iovec part{reinterpret_cast<void*>(e.addr), e.len};  // NOLINT: the ring's form
        (void)writes(e.fd, &part, 1, static_cast<std::int64_t>(e.off));
      } else if (e.opcode == IORING_OP_FSYNC) {
        const std::lock_guard<std::mutex> guard(mutex_);
        if (const auto at = open_.find(e.fd); at != open_.end() && on_)
          begun_syncs_[e.user_data] = {at->second, events_.size()};
        e.opcode = IORING_OP_NOP;
      }
    }
  }
  // Syncs that have ended, if they were not seen before.
  void look_at(const io_uring* ring) {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (ring_ != ring) {
      ring_ = ring;
      seen_ = *ring->cq.khead;
    }
    const unsigned tail = std::atomic_ref(*ring->cq.ktail).load(std::memory_order_acquire);
    for (; seen_ != tail; ++seen_) {
      const io_uring_cqe& e = ring->cq.cqes[seen_ & *ring->cq.kring_mask];
      const auto at = begun_syncs_.find(e.user_data);
      if (at == begun_syncs_.end()) continue;
      if (e.res >= 0) synced(at->second.first, at->second.second);
      begun_syncs_.erase(at);
    }
  }
  void look_again() {
    if (ring_ != nullptr) look_at(ring_);
  }
  void forget_ring() {
    ring_ = nullptr;
    begun_syncs_.clear();
  }

  const std::vector<event>& all() const { return events_; }
  const std::vector<std::string>& paths() const { return paths_; }
  const std::string& root() const { return root_; }

 private:
  struct open_file {
    int file = -1;  // -1: a directory
    std::uint64_t position = 0;
    std::string path;
  };

  void add(event e) { events_.push_back(std::move(e)); }
  void truncated(int file, std::uint64_t size) {
    sizes_[static_cast<std::size_t>(file)] = size;
    add({.what = event_kind::truncate, .file = file, .size = size});
  }
  void synced(const open_file& o, std::size_t upto) {
    if (o.file < 0)
      add({.what = event_kind::sync_names, .upto = upto, .path = o.path});
    else
      add({.what = event_kind::sync_file, .file = o.file, .upto = upto});
  }
  bool is_ours(const std::string& path) const {
    return path == root_ || (path.starts_with(root_) && path[root_.size()] == '/');
  }
  std::string path_of(int at, std::string_view name) const {
    std::string path(name);
    if (path.starts_with('/')) {
      at = AT_FDCWD;
    } else if (const auto o = open_.find(at); o != open_.end()) {
      path = o->second.path + "/" + path;
    }
    for (std::size_t i; (i = path.find("//")) != std::string::npos;) path.erase(i, 1);
    while (path.ends_with("/.")) path.resize(path.size() - 2);
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    return path;
  }

  std::atomic<bool> on_ = false;
  std::mutex mutex_;  // guards what follows
  std::string root_;
  std::vector<event> events_;
  std::vector<std::string> paths_;     // of each file when it was made
  std::vector<std::uint64_t> sizes_;   // of each file
  std::map<std::string, int> names_;   // of files
  std::map<int, open_file> open_;
  std::map<std::uint64_t, std::pair<open_file, std::size_t>> begun_syncs_;
  const io_uring* ring_ = nullptr;
  unsigned seen_ = 0;
};

recorder& the() {
  static recorder r;
  return r;
}

template <class F>
F* real(F*& cached, const char* name) {
  if (cached == nullptr) cached = reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
  return cached;
}
// The function that this program's definition of NAME stands before.
#define REAL(NAME, ...)                     \
  static int (*cached)(__VA_ARGS__);        \
  const auto next = real(cached, NAME)
#define REAL_SIZE(NAME, ...)                \
  static ssize_t (*cached)(__VA_ARGS__);    \
  const auto next = real(cached, NAME)

}  // namespace

void record_disk(const std::string& root) { the().start(root); }
void stop_recording() { the().stop(); }
std::size_t recorded() {
  the().look_again();
  return the().size();
}
const std::vector<event>& events() { return the().all(); }
const std::vector<std::string>& file_paths() { return the().paths(); }
const std::string& recorded_root() { return the().root(); }

// ---- hooks --------------------------------------------------------------------------------------

extern "C" {
int hook_open(const char* path, int flags, mode_t mode) __asm__("open");
int hook_openat(int at, const char* path, int flags, mode_t mode) __asm__("openat");
int hook_close(int fd) __asm__("close");
ssize_t hook_write(int fd, const void* from, size_t size) __asm__("write");
ssize_t hook_pwrite(int fd, const void* from, size_t size, off_t at) __asm__("pwrite");
ssize_t hook_pwritev2(int fd, const iovec* parts, int count, off_t at,
                      int flags) __asm__("pwritev2");
int hook_ftruncate(int fd, off_t size) __asm__("ftruncate");
int hook_fallocate(int fd, int mode, off_t offset, off_t size) __asm__("fallocate");
ssize_t hook_copy(int from, off64_t* from_at, int to, off64_t* to_at, size_t size,
                  unsigned flags) __asm__("copy_file_range");
int hook_fsync(int fd) __asm__("fsync");
int hook_fdatasync(int fd) __asm__("fdatasync");
int hook_syncfs(int fd) __asm__("syncfs");
int hook_mkdir(const char* path, mode_t mode) __asm__("mkdir");
int hook_mkdirat(int at, const char* path, mode_t mode) __asm__("mkdirat");
int hook_rename(const char* from, const char* to) __asm__("rename");
int hook_unlink(const char* path) __asm__("unlink");
int hook_unlinkat(int at, const char* path, int flags) __asm__("unlinkat");
int hook_submit(io_uring* ring) __asm__("io_uring_submit");
int hook_submit_events(io_uring* ring) __asm__("io_uring_submit_and_get_events");
int hook_submit_wait(io_uring* ring, io_uring_cqe** cqe, unsigned count, __kernel_timespec* time,
                     sigset_t* signals) __asm__("io_uring_submit_and_wait_timeout");
void hook_ring_exit(io_uring* ring) __asm__("io_uring_queue_exit");

// Under the names that programs with 64-bit offsets use.
int hook_open64(const char* path, int flags, mode_t mode) __asm__("open64");
int hook_openat64(int at, const char* path, int flags, mode_t mode) __asm__("openat64");
ssize_t hook_pwrite64(int fd, const void* from, size_t size, off_t at) __asm__("pwrite64");
ssize_t hook_pwritev64v2(int fd, const iovec* parts, int count, off_t at,
                         int flags) __asm__("pwritev64v2");
int hook_ftruncate64(int fd, off_t size) __asm__("ftruncate64");
int hook_fallocate64(int fd, int mode, off_t offset, off_t size) __asm__("fallocate64");

int hook_open(const char* path, int flags, mode_t mode) {
  REAL("open", const char*, int, ...);
  const int fd = next(path, flags, mode);
  if (fd >= 0 && the().on()) the().opened(fd, AT_FDCWD, path, flags);
  return fd;
}
int hook_openat(int at, const char* path, int flags, mode_t mode) {
  REAL("openat", int, const char*, int, ...);
  const int fd = next(at, path, flags, mode);
  if (fd >= 0 && the().on()) the().opened(fd, at, path, flags);
  return fd;
}
int hook_close(int fd) {
  REAL("close", int);
  if (the().on()) the().closed(fd);
  return next(fd);
}
ssize_t hook_write(int fd, const void* from, size_t size) {
  REAL_SIZE("write", int, const void*, size_t);
  const iovec part{const_cast<void*>(from), size};
  if (the().on()) (void)the().writes(fd, &part, 1, -1);
  return next(fd, from, size);
}
ssize_t hook_pwrite(int fd, const void* from, size_t size, off_t at) {
  REAL_SIZE("pwrite", int, const void*, size_t, off_t);
  const iovec part{const_cast<void*>(from), size};
  if (the().on()) (void)the().writes(fd, &part, 1, at);
  return next(fd, from, size, at);
}
ssize_t hook_pwritev2(int fd, const iovec* parts, int count, off_t at, int flags) {
  REAL_SIZE("pwritev2", int, const iovec*, int, off_t, int);
  const std::ptrdiff_t index = the().on() ? the().writes(fd, parts, count, at) : -1;
  const ssize_t n = next(fd, parts, count, at, flags & ~RWF_DSYNC);
  if (index >= 0 && n > 0 && (flags & RWF_DSYNC) != 0) the().write_synced(index);
  return n;
}
int hook_ftruncate(int fd, off_t size) {
  REAL("ftruncate", int, off_t);
  if (the().on()) the().truncates(fd, static_cast<std::uint64_t>(size));
  return next(fd, size);
}
int hook_fallocate(int fd, int mode, off_t offset, off_t size) {
  REAL("fallocate", int, int, off_t, off_t);
  const bool zeroes = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
  if (the().on() && zeroes)
    the().zeroes(fd, static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(size));
  return next(fd, mode, offset, size);
}
ssize_t hook_copy(int from, off64_t* from_at, int to, off64_t* to_at, size_t size,
                  unsigned flags) {
  REAL_SIZE("copy_file_range", int, off64_t*, int, off64_t*, size_t, unsigned);
  std::string bytes(size, '\0');
  const ssize_t n = ::pread(from, bytes.data(), size, *from_at);
  const iovec part{bytes.data(), n > 0 ? static_cast<std::size_t>(n) : 0};
  if (the().on() && n > 0) (void)the().writes(to, &part, 1, *to_at);
  return next(from, from_at, to, to_at, size, flags);
}
int hook_fsync(int fd) {
  if (the().on()) the().synced(fd);
  return 0;
}
int hook_fdatasync(int fd) {
  if (the().on()) the().synced(fd);
  return 0;
}
int hook_syncfs(int) {
  if (the().on()) the().all_synced();
  return 0;
}
int hook_mkdir(const char* path, mode_t mode) {
  REAL("mkdir", const char*, mode_t);
  const int rc = next(path, mode);
  if (rc == 0 && the().on()) the().made_directory(AT_FDCWD, path);
  return rc;
}
int hook_mkdirat(int at, const char* path, mode_t mode) {
  REAL("mkdirat", int, const char*, mode_t);
  const int rc = next(at, path, mode);
  if (rc == 0 && the().on()) the().made_directory(at, path);
  return rc;
}
int hook_rename(const char* from, const char* to) {
  REAL("rename", const char*, const char*);
  const int rc = next(from, to);
  if (rc == 0 && the().on()) the().renamed(from, to);
  return rc;
}
int hook_unlink(const char* path) {
  REAL("unlink", const char*);
  const int rc = next(path);
  if (rc == 0 && the().on()) the().unlinked(AT_FDCWD, path);
  return rc;
}
int hook_unlinkat(int at, const char* path, int flags) {
  REAL("unlinkat", int, const char*, int);
  const int rc = next(at, path, flags);
  if (rc == 0 && the().on()) the().unlinked(at, path);
  return rc;
}
int hook_open64(const char* path, int flags, mode_t mode) { return hook_open(path, flags, mode); }
int hook_openat64(int at, const char* path, int flags, mode_t mode) {
  return hook_openat(at, path, flags, mode);
}
ssize_t hook_pwrite64(int fd, const void* from, size_t size, off_t at) {
  return hook_pwrite(fd, from, size, at);
}
ssize_t hook_pwritev64v2(int fd, const iovec* parts, int count, off_t at, int flags) {
  return hook_pwritev2(fd, parts, count, at, flags);
}
int hook_ftruncate64(int fd, off_t size) { return hook_ftruncate(fd, size); }
int hook_fallocate64(int fd, int mode, off_t offset, off_t size) {
  return hook_fallocate(fd, mode, offset, size);
}
int hook_submit(io_uring* ring) {
  REAL("io_uring_submit", io_uring*);
  the().submits(ring);
  const int rc = next(ring);
  if (the().on()) the().look_at(ring);
  return rc;
}
int hook_submit_events(io_uring* ring) {
  REAL("io_uring_submit_and_get_events", io_uring*);
  the().submits(ring);
  const int rc = next(ring);
  if (the().on()) the().look_at(ring);
  return rc;
}
int hook_submit_wait(io_uring* ring, io_uring_cqe** cqe, unsigned count, __kernel_timespec* time,
                     sigset_t* signals) {
  REAL("io_uring_submit_and_wait_timeout", io_uring*, io_uring_cqe**, unsigned,
       __kernel_timespec*, sigset_t*);
  the().submits(ring);
  const int rc = next(ring, cqe, count, time, signals);
  if (the().on()) the().look_at(ring);
  return rc;
}
void hook_ring_exit(io_uring* ring) {
  static void (*cached)(io_uring*);
  the().forget_ring();
  real(cached, "io_uring_queue_exit")(ring);
}
}  // extern "C"

}  // namespace tangelo::power
