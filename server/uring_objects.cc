#include "server/uring_objects.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>
#include <list>
#include <unordered_map>

#include "base/check.h"
#include "server/object_files.h"

namespace tangelo {

namespace {

constexpr std::size_t open_count_max = 512;

// One open object file, or one being opened.
struct open_object {
  using waiter = std::function<void(error_code)>;
  std::uint64_t inode = 0;
  unique_fd fd;
  bool opening = false;
  bool removed = false;  // to be closed as soon as nobody uses it
  unsigned users = 0;
  std::vector<waiter> waiters;
  std::list<std::uint64_t>::iterator place;  // in the order of use
};

class uring_objects final : public object_store {
 public:
  uring_objects(unique_fd directory, loop& home, workers& pool)
      : files_(std::move(directory)), loop_(home), pool_(pool) {}

  bool read_now(std::uint64_t inode, std::uint64_t offset, mutable_byte_span into) override;
  void read(std::uint64_t inode, std::uint64_t offset, mutable_byte_span into,
            count_done f) override;
  void write(std::uint64_t inode, std::uint64_t offset, byte_span from, bool durably,
             count_done f) override;
  void truncate(std::uint64_t inode, std::uint64_t size, done f) override;
  void change_space(space_change what, std::uint64_t inode, std::uint64_t offset,
                    std::uint64_t size, count_done f) override;
  void blocks_inside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                     count_done f) override;
  void blocks_outside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                      count_done f) override;
  void writable_inside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                       count_done f) override;
  void seek(std::uint64_t inode, std::uint64_t offset, bool hole, count_done f) override;
  void copy(std::uint64_t from, std::uint64_t from_offset, std::uint64_t to,
            std::uint64_t to_offset, std::uint64_t size, count_done f) override;
  void forget(std::uint64_t inode, std::uint64_t offset, std::uint64_t size) override;
  void remove(std::uint64_t inode, done f) override;
  void sync(std::uint64_t inode, done f) override;
  op_result<store_space> space() override;
  op_result<std::uint64_t> load_now(std::uint64_t inode, std::uint64_t offset,
                                    mutable_byte_span into) override {
    return files_.read(inode, offset, into);
  }
  error_code write_now(std::uint64_t inode, std::uint64_t offset, byte_span from) override {
    return files_.write(inode, offset, from);
  }
  error_code truncate_now(std::uint64_t inode, std::uint64_t size) override {
    return files_.truncate(inode, size);
  }
  error_code change_space_now(space_change what, std::uint64_t inode, std::uint64_t offset,
                              std::uint64_t size) override {
    const op_result<std::uint64_t> r = files_.change_space(what, inode, offset, size);
    return r ? error_code::ok : r.error();
  }
  error_code remove_now(std::uint64_t inode) override { return files_.remove(inode); }
  error_code sync_now() override {
    return ::syncfs(files_.directory()) == 0 ? error_code::ok : last_error();
  }

 private:
  // One read or write on its way through the ring; deletes itself at its end.
  class request;

  open_object* find(std::uint64_t inode);
  void with_file(std::uint64_t inode, bool create, open_object::waiter f);
  void opened(std::uint64_t inode, op_result<int> fd);
  void leave(open_object& o);
  void close_idle(std::uint64_t inode);
  void on_pool(std::function<error_code()> job, done f);
  void count_on_pool(std::function<op_result<std::uint64_t>()> job, count_done f);
  void sync_name(std::uint64_t inode, done f);

  const object_files files_;
  loop& loop_;
  workers& pool_;
  std::unordered_map<std::uint64_t, open_object> open_;
  std::list<std::uint64_t> order_;  // least recently used first
  // Directories with names that may not be durable, and how many changes were made in them.
  std::unordered_map<std::string, std::uint64_t> dirty_directories_;
};

class uring_objects::request final : public completion {
 public:
  enum class kind : std::uint8_t { read, write, sync };
  request(uring_objects& store, open_object& file, kind k, std::uint64_t offset,
          mutable_byte_span bytes, bool durably, count_done f)
      : store_(store),
        file_(file),
        kind_(k),
        offset_(offset),
        bytes_(bytes),
        durably_(durably),
        f_(std::move(f)) {}

  void start() noexcept {
    const mutable_byte_span left = bytes_.subspan(moved_);
    const auto size = static_cast<unsigned>(left.size());
    io_uring_sqe* sqe = store_.loop_.entry(this);
    switch (kind_) {
      case kind::read:
        io_uring_prep_read(sqe, file_.fd.get(), left.data(), size, offset_ + moved_);
        break;
      case kind::write:
        io_uring_prep_write(sqe, file_.fd.get(), left.data(), size, offset_ + moved_);
        break;
      case kind::sync:
        io_uring_prep_fsync(sqe, file_.fd.get(), IORING_FSYNC_DATASYNC);
        break;
    }
    io_uring_sqe_set_data(sqe, static_cast<completion*>(this));
  }

  void on_complete(int res, std::uint32_t) noexcept override {
    if (res == -EINTR || res == -EAGAIN) return start();
    if (res < 0) return end(failure{error_of_errno(-res)});
    if (kind_ == kind::sync) return end(blocks_);
    moved_ += static_cast<std::size_t>(res);
    if (res != 0 && moved_ < bytes_.size()) return start();
    if (kind_ == kind::read) return end(moved_);
    if (moved_ < bytes_.size()) return end(failure{error_code::no_space});
    struct stat st{};
    if (::fstat(file_.fd.get(), &st) == 0) blocks_ = static_cast<std::uint64_t>(st.st_blocks);
    if (!durably_) return end(blocks_);
    kind_ = kind::sync;
    start();
  }

 private:
  void end(op_result<std::uint64_t> answer) noexcept {
    count_done f = std::move(f_);
    uring_objects& store = store_;
    open_object& file = file_;
    const std::uint64_t inode = file.inode;
    const bool name_too = durably_ && answer.has_value();
    store.leave(file);
    delete this;
    if (!name_too) return f(answer);
    store.sync_name(inode, [answer, f](error_code e) {
      if (e == error_code::ok)
        f(answer);
      else
        f(failure{e});
    });
  }

  uring_objects& store_;
  open_object& file_;
  kind kind_;
  std::uint64_t offset_;
  mutable_byte_span bytes_;
  bool durably_;
  count_done f_;
  std::size_t moved_ = 0;
  std::uint64_t blocks_ = 0;
};

open_object* uring_objects::find(std::uint64_t inode) {
  const auto at = open_.find(inode);
  if (at == open_.end() || at->second.opening) return nullptr;
  order_.splice(order_.end(), order_, at->second.place);
  return &at->second;
}

// Calls `f` with the file open, at once if it is; `f` must leave() it after success.
void uring_objects::with_file(std::uint64_t inode, bool create, open_object::waiter f) {
  const auto [at, made] = open_.try_emplace(inode);
  open_object& o = at->second;
  if (!made && !o.opening) {
    order_.splice(order_.end(), order_, o.place);
    ++o.users;
    return f(error_code::ok);
  }
  if (!made) {
    // A reader may have begun to open a file that is not there yet: then a writer tries again.
    o.waiters.push_back([this, inode, create, f = std::move(f)](error_code e) {
      if (e == error_code::no_entry && create) return with_file(inode, create, f);
      f(e);
    });
    return;
  }
  o.inode = inode;
  o.opening = true;
  o.place = order_.insert(order_.end(), inode);
  o.waiters.push_back(std::move(f));
  if (create) ++dirty_directories_[object_files::directory_of(inode)];
  const auto fd = std::make_shared<op_result<int>>(failure{error_code::io});
  pool_.submit([this, inode, create, fd] { *fd = files_.open(inode, create); },
               [this, inode, fd] { opened(inode, *fd); });
}

void uring_objects::opened(std::uint64_t inode, op_result<int> fd) {
  const auto at = open_.find(inode);
  CHECK(at != open_.end());
  open_object& o = at->second;
  std::vector<open_object::waiter> waiters;
  waiters.swap(o.waiters);
  if (!fd) {
    order_.erase(o.place);
    open_.erase(at);
    for (const open_object::waiter& f : waiters) f(fd.error());
    return;
  }
  o.fd.reset(*fd);
  o.opening = false;
  o.users = static_cast<unsigned>(waiters.size());
  for (const open_object::waiter& f : waiters) f(error_code::ok);
}

void uring_objects::leave(open_object& o) {
  CHECK(o.users > 0);
  --o.users;
  if (o.removed && o.users == 0) return close_idle(o.inode);
  for (auto at = order_.begin(); open_.size() > open_count_max && at != order_.end();) {
    const auto victim = open_.find(*at++);
    if (victim->second.users == 0 && !victim->second.opening && &victim->second != &o)
      close_idle(victim->first);
  }
}

void uring_objects::close_idle(std::uint64_t inode) {
  const auto at = open_.find(inode);
  if (at == open_.end() || at->second.opening || at->second.users != 0) return;
  order_.erase(at->second.place);
  open_.erase(at);
}

void uring_objects::on_pool(std::function<error_code()> job, done f) {
  const auto e = std::make_shared<error_code>(error_code::io);
  pool_.submit([e, job = std::move(job)] { *e = job(); }, [e, f = std::move(f)] { f(*e); });
}

void uring_objects::count_on_pool(std::function<op_result<std::uint64_t>()> job, count_done f) {
  const auto r = std::make_shared<op_result<std::uint64_t>>(failure{error_code::io});
  pool_.submit([r, job = std::move(job)] { *r = job(); }, [r, f = std::move(f)] { f(*r); });
}

bool uring_objects::read_now(std::uint64_t inode, std::uint64_t offset, mutable_byte_span into) {
  const open_object* o = find(inode);
  if (o == nullptr) return false;
  const iovec part{into.data(), into.size()};
  const ssize_t n = ::preadv2(o->fd.get(), &part, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  return n == static_cast<ssize_t>(into.size());
}

void uring_objects::read(std::uint64_t inode, std::uint64_t offset, mutable_byte_span into,
                         count_done f) {
  with_file(inode, false, [this, inode, offset, into, f = std::move(f)](error_code e) {
    if (e == error_code::no_entry)  // never from inside the call: opening takes a turn
      return f(std::uint64_t{0});
    if (e != error_code::ok) return f(failure{e});
    (new request(*this, open_.at(inode), request::kind::read, offset, into, false, f))->start();
  });
}

void uring_objects::write(std::uint64_t inode, std::uint64_t offset, byte_span from, bool durably,
                          count_done f) {
  with_file(inode, true, [this, inode, offset, from, durably, f = std::move(f)](error_code e) {
    if (e != error_code::ok) return f(failure{e});
    // The ring's interface knows no constant bytes; they are only read.
    const mutable_byte_span bytes(const_cast<std::byte*>(from.data()), from.size());
    (new request(*this, open_.at(inode), request::kind::write, offset, bytes, durably, f))
        ->start();
  });
}

void uring_objects::truncate(std::uint64_t inode, std::uint64_t size, done f) {
  on_pool([this, inode, size] { return files_.truncate(inode, size); }, std::move(f));
}

void uring_objects::change_space(space_change what, std::uint64_t inode, std::uint64_t offset,
                                 std::uint64_t size, count_done f) {
  if (what == space_change::allocate) ++dirty_directories_[object_files::directory_of(inode)];
  count_on_pool([this, what, inode, offset, size] {
    return files_.change_space(what, inode, offset, size);
  }, std::move(f));
}

void uring_objects::blocks_inside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                                  count_done f) {
  count_on_pool([this, inode, offset, size] { return files_.blocks_inside(inode, offset, size); },
                std::move(f));
}

void uring_objects::blocks_outside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                                   count_done f) {
  count_on_pool([this, inode, offset, size] { return files_.blocks_outside(inode, offset, size); },
                std::move(f));
}

void uring_objects::writable_inside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                                    count_done f) {
  count_on_pool(
      [this, inode, offset, size] { return files_.writable_inside(inode, offset, size); },
      std::move(f));
}

void uring_objects::seek(std::uint64_t inode, std::uint64_t offset, bool hole, count_done f) {
  count_on_pool([this, inode, offset, hole] { return files_.seek(inode, offset, hole); },
                std::move(f));
}

void uring_objects::copy(std::uint64_t from, std::uint64_t from_offset, std::uint64_t to,
                         std::uint64_t to_offset, std::uint64_t size, count_done f) {
  ++dirty_directories_[object_files::directory_of(to)];
  count_on_pool([this, from, from_offset, to, to_offset, size] {
    return files_.copy(from, from_offset, to, to_offset, size);
  }, std::move(f));
}

void uring_objects::forget(std::uint64_t inode, std::uint64_t offset, std::uint64_t size) {
  if (const open_object* o = find(inode); o != nullptr)
    (void)::posix_fadvise(o->fd.get(), static_cast<off_t>(offset), static_cast<off_t>(size),
                          POSIX_FADV_DONTNEED);  // it is only an attempt
}

void uring_objects::remove(std::uint64_t inode, done f) {
  if (const auto at = open_.find(inode); at != open_.end()) at->second.removed = true;
  close_idle(inode);
  ++dirty_directories_[object_files::directory_of(inode)];
  on_pool([this, inode] { return files_.remove(inode); }, std::move(f));
}

void uring_objects::sync_name(std::uint64_t inode, done f) {
  const auto dirty = dirty_directories_.find(object_files::directory_of(inode));
  if (dirty == dirty_directories_.end()) return f(error_code::ok);
  on_pool([this, inode] { return files_.sync_directory(inode); },
          [this, inode, changes = dirty->second, f = std::move(f)](error_code e) {
            const auto at = dirty_directories_.find(object_files::directory_of(inode));
            if (e == error_code::ok && at != dirty_directories_.end() && at->second == changes)
              dirty_directories_.erase(at);
            f(e);
          });
}

void uring_objects::sync(std::uint64_t inode, done f) {
  with_file(inode, false, [this, inode, f = std::move(f)](error_code e) {
    if (e == error_code::no_entry) return sync_name(inode, f);
    if (e != error_code::ok) return f(e);
    const auto then = [f](op_result<std::uint64_t> r) {
      f(r ? error_code::ok : r.error());
    };
    (new request(*this, open_.at(inode), request::kind::sync, 0, {}, true, then))->start();
  });
}

op_result<store_space> uring_objects::space() {
  struct statvfs st{};
  if (::fstatvfs(files_.directory(), &st) != 0) return failure{last_error()};
  store_space s;
  s.block_size = st.f_frsize;
  s.blocks = st.f_blocks;
  s.blocks_free = st.f_bfree;
  s.blocks_available = st.f_bavail;
  s.files = st.f_files;
  s.files_free = st.f_ffree;
  return s;
}

}  // namespace

outcome<std::unique_ptr<object_store>> open_uring_objects(const std::string& directory, loop& home,
                                                          workers& pool) {
  unique_fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd)
    return failure{problem{exit_code::store,
                           fmt::format("{}: {}", directory, std::strerror(errno)),
                           "the volume's data is missing or not readable for this user"}};
  return std::unique_ptr<object_store>(new uring_objects(std::move(fd), home, pool));
}

}  // namespace tangelo
