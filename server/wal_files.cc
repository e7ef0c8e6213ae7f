#include "server/wal_files.h"

#include <fcntl.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/fd.h"

namespace tangelo {

namespace {

constexpr std::uint64_t block_size = 4096;
constexpr std::uint64_t fill_step_min = 512 << 10;
constexpr std::uint64_t fill_step_max = 8 << 20;
constexpr std::size_t zero_size = 256 << 10;

struct aligned_free {
  void operator()(char* p) const noexcept { std::free(p); }
};
using aligned_bytes = std::unique_ptr<char, aligned_free>;

aligned_bytes allocate(std::size_t size) {
  auto* p = static_cast<char*>(std::aligned_alloc(block_size, size));
  CHECK(p != nullptr);
  return aligned_bytes(p);
}

std::uint64_t round_up(std::uint64_t n) { return (n + block_size - 1) / block_size * block_size; }

// 0 or an errno.
int write_all(int fd, const char* bytes, std::uint64_t size, std::uint64_t offset, int flags) {
  while (size != 0) {
    const iovec part{const_cast<char*>(bytes), size};
    const ssize_t n = ::pwritev2(fd, &part, 1, static_cast<off_t>(offset), flags);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? errno : EIO;
    bytes += n;
    size -= static_cast<std::uint64_t>(n);
    offset += static_cast<std::uint64_t>(n);
  }
  return 0;
}

// One log file as far as its writer and the filling thread share it.
struct log_blocks {
  unique_fd fd;
  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t filled = 0;   // guarded by mutex: bytes that are blocks of zeros or data
  std::uint64_t wanted = 0;   // guarded by mutex
  bool queued = false;        // guarded by mutex: the filling thread knows of it
  int failure = 0;            // guarded by mutex: errno of the last attempt to fill
};

// The thread that keeps log files filled with zeros ahead of their ends.
class log_filler {
 public:
  log_filler() : thread_([this] { run(); }) {}
  ~log_filler() {
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      stopped_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  void want(const std::shared_ptr<log_blocks>& file, std::uint64_t size) {
    {
      const std::lock_guard<std::mutex> guard(file->mutex);
      if (file->wanted < size) file->wanted = size;
      if (file->queued || file->filled >= file->wanted) return;
      file->queued = true;
      file->failure = 0;
    }
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      queue_.push_back(file);
    }
    wake_.notify_one();
  }

 private:
  void run() {
    for (;;) {
      std::shared_ptr<log_blocks> file;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [this] { return stopped_ || !queue_.empty(); });
        if (stopped_) return;
        file = std::move(queue_.front());
        queue_.pop_front();
      }
      fill(*file);
    }
  }

  void fill(log_blocks& file) {
    std::unique_lock<std::mutex> lock(file.mutex);
    while (file.filled < file.wanted && file.failure == 0) {
      const std::uint64_t from = file.filled;
      const std::uint64_t to = file.wanted;
      lock.unlock();
      int rc = 0;
      std::uint64_t at = from;
      while (at < to && rc == 0) {
        const std::uint64_t size = std::min<std::uint64_t>(zero_size, to - at);
        rc = write_all(file.fd.get(), zeros_.get(), size, at, 0);
        if (rc == 0) at += size;
      }
      const int flushed = ::fdatasync(file.fd.get()) == 0 ? 0 : errno;
      lock.lock();
      if (flushed == 0) file.filled = at;  // on a full disk perhaps all that is needed now
      file.failure = rc != 0 ? rc : flushed;
    }
    file.queued = false;
    file.changed.notify_all();
  }

  aligned_bytes zeros_ = [] {
    aligned_bytes p = allocate(zero_size);
    std::memset(p.get(), 0, zero_size);
    return p;
  }();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<log_blocks>> queue_;  // guarded by mutex_
  bool stopped_ = false;                           // guarded by mutex_
  std::thread thread_;
};

rocksdb::IOStatus status_of(int error, const char* what) {
  if (error == 0) return rocksdb::IOStatus::OK();
  if (error == ENOSPC || error == EDQUOT) return rocksdb::IOStatus::NoSpace(what);
  return rocksdb::IOStatus::IOError(what, std::strerror(error));
}

class log_file final : public rocksdb::FSWritableFile {
 public:
  // `step`: what it grows by.
  log_file(std::shared_ptr<log_blocks> blocks, log_filler& filler, std::uint64_t step)
      : blocks_(std::move(blocks)), filler_(filler), step_(step) {
    filler_.want(blocks_, round_up(step_ / 4));
  }
  ~log_file() override { (void)finish(); }

  using rocksdb::FSWritableFile::Append;
  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions&,
                           rocksdb::IODebugContext*) override {
    const std::lock_guard<std::mutex> guard(mutex_);
    pending_.append(data.data(), data.size());
    return rocksdb::IOStatus::OK();
  }
  rocksdb::IOStatus Flush(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return rocksdb::IOStatus::OK();
  }
  rocksdb::IOStatus Sync(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return status_of(sync(), "log");
  }
  rocksdb::IOStatus Close(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return status_of(finish(), "log");
  }
  bool IsSyncThreadSafe() const override { return true; }
  std::uint64_t GetFileSize(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    const std::lock_guard<std::mutex> guard(mutex_);
    return start_ + pending_.size();
  }
  void PrepareWrite(std::size_t, std::size_t, const rocksdb::IOOptions&,
                    rocksdb::IODebugContext*) override {}

 private:
  // Writes what was appended, whole blocks, and waits until it is on the disk.
  int sync() {
    const std::lock_guard<std::mutex> one_at_a_time(sync_mutex_);
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::uint64_t size = 0;
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      start = start_;
      end = start_ + pending_.size();
      if (end == synced_) return 0;
      size = round_up(pending_.size());
      if (size > buffer_size_) {
        buffer_ = allocate(size);
        buffer_size_ = size;
      }
      std::memcpy(buffer_.get(), pending_.data(), pending_.size());
      std::memset(buffer_.get() + pending_.size(), 0, size - pending_.size());
    }
    if (const int rc = wait_filled(start + size); rc != 0) return rc;
    if (const int rc = write_all(blocks_->fd.get(), buffer_.get(), size, start, RWF_DSYNC); rc != 0)
      return rc;
    const std::lock_guard<std::mutex> guard(mutex_);
    synced_ = end;
    const std::uint64_t whole = end / block_size * block_size;
    pending_.erase(0, whole - start);
    start_ = whole;
    return 0;
  }

  int wait_filled(std::uint64_t end) {
    std::unique_lock<std::mutex> lock(blocks_->mutex);
    const bool runs_low = blocks_->filled < end + step_ / 2;
    const std::uint64_t next = round_up(std::max(blocks_->filled, end) + step_);
    lock.unlock();
    if (runs_low) filler_.want(blocks_, next);
    lock.lock();
    blocks_->changed.wait(lock, [this, end] { return blocks_->filled >= end || !blocks_->queued; });
    return blocks_->filled >= end ? 0 : blocks_->failure;
  }

  // What was not synced is not written: it is not to be durable before what it relies on.
  int finish() {
    if (std::exchange(closed_, true)) return 0;
    const std::lock_guard<std::mutex> one_at_a_time(sync_mutex_);
    std::unique_lock<std::mutex> lock(blocks_->mutex);
    blocks_->wanted = 0;
    blocks_->changed.wait(lock, [this] { return !blocks_->queued; });
    return ::ftruncate(blocks_->fd.get(), static_cast<off_t>(synced_)) == 0 ? 0 : errno;
  }

  const std::shared_ptr<log_blocks> blocks_;
  log_filler& filler_;
  const std::uint64_t step_;
  std::mutex sync_mutex_;  // before mutex_
  aligned_bytes buffer_;         // guarded by sync_mutex_
  std::uint64_t buffer_size_ = 0;  // guarded by sync_mutex_
  std::mutex mutex_;
  std::string pending_;          // guarded by mutex_: the bytes from start_ on
  std::uint64_t start_ = 0;      // guarded by mutex_: a multiple of block_size
  std::uint64_t synced_ = 0;     // guarded by mutex_
  bool closed_ = false;
};

class wal_file_system final : public rocksdb::FileSystemWrapper {
 public:
  explicit wal_file_system(std::uint64_t step)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), step_(step) {}
  const char* Name() const override { return "tangelo-wal"; }

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* out,
                                    rocksdb::IODebugContext* debug) override {
    if (!name.ends_with(".log"))
      return FileSystemWrapper::NewWritableFile(name, options, out, debug);
    const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
    auto blocks = std::make_shared<log_blocks>();
    blocks->fd.reset(::open(name.c_str(), flags | O_DIRECT, 0644));
    if (!blocks->fd && errno == EINVAL) blocks->fd.reset(::open(name.c_str(), flags, 0644));
    if (!blocks->fd) return status_of(errno, name.c_str());
    *out = std::make_unique<log_file>(std::move(blocks), filler_, step_);
    return rocksdb::IOStatus::OK();
  }

 private:
  const std::uint64_t step_;
  log_filler filler_;
};

}  // namespace

std::unique_ptr<rocksdb::Env> make_wal_env(std::uint64_t disk_size) {
  const std::uint64_t step = std::clamp(disk_size / 128, fill_step_min, fill_step_max);
  return rocksdb::NewCompositeEnv(std::make_shared<wal_file_system>(round_up(step)));
}

}  // namespace tangelo
