// witness: a program that works on a filesystem all the time and notices everything.
//
//   witness DIRECTORY STATUS
//
// Makes DIRECTORY, works inside it until SIGTERM, removes it and says what it has seen. STATUS is
// a file elsewhere with one line: operations of each worker, and the longest wait of an
// operation in microseconds, those under way included; SIGUSR1 starts that figure anew.
//
// The first thing that is not as it must be ends it with exit code 1: an error, a byte that
// differs, a name that is there or is not, a lock that somebody else could take, a working
// directory that is gone. It uses no other file of the system and is linked statically, so that it
// runs in a guest with nothing in it.
//
// Workers, one thread each:
//   data   writes and reads back random blocks of an open file; fsync; a shared mapping
//   names  makes, links, renames, lists, removes names; an operation done twice shows as an error
//   held   looks after what was opened at the start: a flock, an unlinked file, the working
//          directory, a directory's position
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

std::atomic<bool> stopping{false};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "witness: %s\n", what.c_str());
  std::fflush(stderr);
  ::_exit(1);
}
void must(bool ok, std::string_view what) {
  if (!ok) fail(std::string(what) + ": " + std::strerror(errno));
}
void holds(bool ok, std::string_view what) {
  if (!ok) fail(std::string(what));
}

std::int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// One thread's operations, each timed. The thread writes, the main thread looks.
class worker {
 public:
  // Runs one operation; false or a negative number from it is a failure called `what`.
  template <typename Operation>
  auto must_do(std::string_view what, Operation operation) {
    began_us_ = now_us();
    const auto answer = operation();
    took(now_us() - began_us_.load());
    began_us_ = 0;
    must(answer >= decltype(answer){}, what);
    ++operations_;
    return answer;
  }

  // An operation that has to fail with `expected`.
  template <typename Operation>
  void must_refuse(std::string_view what, int expected, Operation operation) {
    began_us_ = now_us();
    const auto answer = operation();
    const int error = errno;
    took(now_us() - began_us_.load());
    began_us_ = 0;
    holds(answer < 0, std::string(what) + ": succeeded, but must not");
    errno = error;
    must(error == expected, what);
    ++operations_;
  }

  std::uint64_t operations() const { return operations_; }
  void forget_longest() { longest_us_ = 0; }
  std::int64_t longest_us() const {
    const std::int64_t began = began_us_;
    return std::max<std::int64_t>(longest_us_, began == 0 ? 0 : now_us() - began);
  }

 private:
  void took(std::int64_t us) {
    if (us > longest_us_) longest_us_ = us;
  }
  std::atomic<std::uint64_t> operations_{0};
  std::atomic<std::int64_t> longest_us_{0};
  std::atomic<std::int64_t> began_us_{0};  // of the operation under way; 0: none
};

// ---- data ---------------------------------------------------------------------------------------

constexpr std::size_t block_size = 8192;
constexpr std::size_t block_count = 256;
using block = std::array<std::uint64_t, block_size / 8>;

void fill(block& b, std::size_t index, std::uint64_t version) {
  for (std::size_t i = 0; i < b.size(); ++i)
    b[i] = version == 0 ? 0 : (version * 0x9e3779b97f4a7c15) ^ (index << 32) ^ i;
}

class data_file {
 public:
  explicit data_file(worker& w) : w_(w), versions_(block_count, 0) {
    fd_ = w_.must_do("open data", [] { return ::open("data", O_RDWR | O_CREAT | O_EXCL, 0600); });
    w_.must_do("ftruncate data", [this] { return ::ftruncate(fd_, block_size * block_count); });
    map_fd_ = w_.must_do("open mapped",
                         [] { return ::open("mapped", O_RDWR | O_CREAT | O_EXCL, 0600); });
    w_.must_do("ftruncate mapped", [this] { return ::ftruncate(map_fd_, sizeof(block)); });
    void* const p = ::mmap(nullptr, sizeof(block), PROT_READ | PROT_WRITE, MAP_SHARED, map_fd_, 0);
    must(p != MAP_FAILED, "mmap");
    mapped_ = static_cast<block*>(p);
  }

  void turn() {
    const std::size_t first = random_() % block_count;
    const std::size_t count = std::min<std::size_t>(1 + random_() % 16, block_count - first);
    if (random_() % 2 == 0) write(first, count); else verify(first, count);
    if (++turns_ % 16 == 0) w_.must_do("fsync data", [this] { return ::fsync(fd_); });
    if (turns_ % 8 == 0) write_mapping();
    if (turns_ % 32 == 0) drop_cache();
  }

  void end() {
    verify(0, block_count);
    must(::munmap(mapped_, sizeof(block)) == 0, "munmap");
    w_.must_do("close mapped", [this] { return ::close(map_fd_); });
    w_.must_do("close data", [this] { return ::close(fd_); });
    w_.must_do("unlink data", [] { return ::unlink("data"); });
    w_.must_do("unlink mapped", [] { return ::unlink("mapped"); });
  }

 private:
  void write(std::size_t first, std::size_t count) {
    buffer_.resize(count);
    for (std::size_t i = 0; i < count; ++i)
      fill(buffer_[i], first + i, ++versions_[first + i]);
    const ssize_t n = w_.must_do("pwrite data", [this, first] {
      return ::pwrite(fd_, buffer_.data(), buffer_.size() * block_size, offset(first));
    });
    holds(static_cast<std::size_t>(n) == count * block_size, "pwrite data: a short write");
  }

  void verify(std::size_t first, std::size_t count) {
    buffer_.resize(count);
    const ssize_t n = w_.must_do("pread data", [this, first] {
      return ::pread(fd_, buffer_.data(), buffer_.size() * block_size, offset(first));
    });
    holds(static_cast<std::size_t>(n) == count * block_size, "pread data: a short read");
    for (std::size_t i = 0; i < count; ++i) {
      fill(expected_, first + i, versions_[first + i]);
      holds(buffer_[i] == expected_, "data differs in block " + std::to_string(first + i));
    }
  }

  void write_mapping() {
    fill(*mapped_, block_count, ++map_version_);
    w_.must_do("msync", [this] { return ::msync(mapped_, sizeof(block), MS_SYNC); });
    const ssize_t n = w_.must_do("pread mapped", [this] {
      return ::pread(map_fd_, expected_.data(), sizeof(block), 0);
    });
    holds(n == sizeof(block) && expected_ == *mapped_, "the mapping and its file differ");
  }

  void drop_cache() { // what is read next comes from the filesystem
    w_.must_do("fsync data", [this] { return ::fsync(fd_); });
    (void)::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
  }

  static off_t offset(std::size_t index) { return static_cast<off_t>(index * block_size); }

  worker& w_;
  int fd_ = -1;
  int map_fd_ = -1;
  block* mapped_ = nullptr;
  std::uint64_t map_version_ = 0;
  std::uint64_t turns_ = 0;
  std::vector<std::uint64_t> versions_;
  std::vector<block> buffer_;
  block expected_{};
  std::mt19937 random_{4711};
};

// ---- names --------------------------------------------------------------------------------------

std::set<std::string> names_in(worker& w, const char* path) {
  std::set<std::string> found;
  DIR* const d = ::opendir(path);
  must(d != nullptr, "opendir");
  errno = 0;
  while (const dirent* e = ::readdir(d)) {
    const std::string name = e->d_name;
    if (name == "." || name == "..") continue;
    holds(found.insert(name).second, "readdir: " + name + " is there twice");
  }
  must(errno == 0, "readdir");
  w.must_do("closedir", [d] { return ::closedir(d); });
  return found;
}

// One turn: each step fails if it was done twice or not at all.
void turn_of_names(worker& w) {
  struct stat st{};
  w.must_do("mkdir d", [] { return ::mkdir("d", 0700); });
  const int fd = w.must_do("create d/a",
                           [] { return ::open("d/a", O_WRONLY | O_CREAT | O_EXCL, 0600); });
  const ssize_t n = w.must_do("write d/a", [fd] { return ::write(fd, "tangelo", 7); });
  holds(n == 7, "write d/a: a short write");
  w.must_do("close d/a", [fd] { return ::close(fd); });
  w.must_do("link d/b", [] { return ::link("d/a", "d/b"); });
  w.must_do("rename d/a d/c", [] { return ::rename("d/a", "d/c"); });
  w.must_refuse("stat d/a", ENOENT, [&st] { return ::stat("d/a", &st); });
  w.must_do("stat d/c", [&st] { return ::stat("d/c", &st); });
  holds(st.st_nlink == 2 && st.st_size == 7, "d/c: wrong number of links, or size");
  w.must_do("symlink d/s", [] { return ::symlink("elsewhere", "d/s"); });
  holds(names_in(w, "d") == std::set<std::string>{"b", "c", "s"}, "d: wrong names in it");
  w.must_refuse("rmdir d with names in it", ENOTEMPTY, [] { return ::rmdir("d"); });
  for (const char* name : {"d/b", "d/c", "d/s"})
    w.must_do(std::string("unlink ") + name, [name] { return ::unlink(name); });
  w.must_do("rmdir d", [] { return ::rmdir("d"); });
}

// ---- what is held -------------------------------------------------------------------------------

class held_files {
 public:
  explicit held_files(worker& w) : w_(w) {
    std::array<char, 4096> cwd{};
    must(::getcwd(cwd.data(), cwd.size()) != nullptr, "getcwd");
    cwd_ = cwd.data();
    lock_fd_ = w_.must_do("open locked",
                          [] { return ::open("locked", O_RDWR | O_CREAT | O_EXCL, 0600); });
    w_.must_do("flock", [this] { return ::flock(lock_fd_, LOCK_EX); });
    gone_fd_ = w_.must_do("open gone",
                          [] { return ::open("gone", O_RDWR | O_CREAT | O_EXCL, 0600); });
    fill(block_, 1, 1);
    w_.must_do("write gone", [this] { return ::write(gone_fd_, block_.data(), sizeof block_); });
    w_.must_do("unlink gone", [] { return ::unlink("gone"); });
    make_directory();
  }

  void turn() {
    std::array<char, 4096> cwd{};
    must(::getcwd(cwd.data(), cwd.size()) != nullptr, "getcwd");
    holds(cwd_ == cwd.data(), "the working directory is another one");
    struct stat st{};
    w_.must_do("fstat gone", [this, &st] { return ::fstat(gone_fd_, &st); });
    holds(st.st_nlink == 0, "the unlinked file has a name");
    (void)::posix_fadvise(gone_fd_, 0, 0, POSIX_FADV_DONTNEED);
    block b{};
    const ssize_t n =
        w_.must_do("pread gone", [this, &b] { return ::pread(gone_fd_, b.data(), sizeof b, 0); });
    holds(n == sizeof b && b == block_, "the unlinked file differs");
    const int other = w_.must_do("open locked", [] { return ::open("locked", O_RDWR); });
    w_.must_refuse("a second flock", EWOULDBLOCK,
                   [other] { return ::flock(other, LOCK_EX | LOCK_NB); });
    w_.must_do("close locked", [other] { return ::close(other); });
    read_on();
  }

  void end() {
    ::closedir(directory_);
    for (int i = 0; i < entries; ++i)
      w_.must_do("unlink many/N", [i] { return ::unlink(entry(i).c_str()); });
    w_.must_do("rmdir many", [] { return ::rmdir("many"); });
    w_.must_do("close gone", [this] { return ::close(gone_fd_); });
    w_.must_do("close locked", [this] { return ::close(lock_fd_); });
    w_.must_do("unlink locked", [] { return ::unlink("locked"); });
  }

 private:
  static constexpr int entries = 200;
  static std::string entry(int i) { return "many/entry" + std::to_string(i); }

  void make_directory() {
    w_.must_do("mkdir many", [] { return ::mkdir("many", 0700); });
    for (int i = 0; i < entries; ++i) {
      const int fd = w_.must_do("create many/N", [i] {
        return ::open(entry(i).c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
      });
      w_.must_do("close many/N", [fd] { return ::close(fd); });
    }
    directory_ = ::opendir("many");
    must(directory_ != nullptr, "opendir many");
  }

  void read_on() { // a few entries of a listing that goes on over many turns
    for (int i = 0; i < 10; ++i) {
      errno = 0;
      const dirent* const e = ::readdir(directory_);
      if (e != nullptr) {
        if (e->d_name[0] != '.')
          holds(listed_.insert(e->d_name).second, "an entry was listed twice");
        continue;
      }
      must(errno == 0, "readdir many");
      holds(listed_.size() == entries, "entries are missing from a listing");
      listed_.clear();
      ::rewinddir(directory_);
    }
  }

  worker& w_;
  std::string cwd_;
  int lock_fd_ = -1;
  int gone_fd_ = -1;
  block block_{};
  DIR* directory_ = nullptr;
  std::set<std::string> listed_;
};

// ---- all of it ----------------------------------------------------------------------------------

struct workers {
  worker data, names, held;

  std::int64_t longest_us() const {
    return std::max({data.longest_us(), names.longest_us(), held.longest_us()});
  }
  void forget_longest() {
    for (worker* w : {&data, &names, &held}) w->forget_longest();
  }
  void write_status(int fd) const {
    std::array<char, 128> line{};
    const int n = std::snprintf(
        line.data(), line.size(), "%-12llu %-12llu %-12llu %-12lld\n",
        static_cast<unsigned long long>(data.operations()),
        static_cast<unsigned long long>(names.operations()),
        static_cast<unsigned long long>(held.operations()),
        static_cast<long long>(longest_us()));
    must(::pwrite(fd, line.data(), static_cast<std::size_t>(n), 0) == n, "write the status");
  }
};

// Waits for signals, keeps the status up to date.
void watch(workers& all, int status_fd, const sigset_t& signals) {
  std::int64_t longest_ever = 0;
  for (;;) {
    const timespec pause{0, 5'000'000};
    const int signal = ::sigtimedwait(&signals, nullptr, &pause);
    longest_ever = std::max(longest_ever, all.longest_us());
    if (signal == SIGUSR1) all.forget_longest();
    all.write_status(status_fd);
    if (signal == SIGTERM) break;
  }
  stopping = true;
  std::printf("witness: %llu operations, no error, no difference, longest wait %lld ms\n",
              static_cast<unsigned long long>(all.data.operations() + all.names.operations() +
                                              all.held.operations()),
              static_cast<long long>(longest_ever / 1000));
}

void work(const char* directory, int status_fd, const sigset_t& signals) {
  must(::mkdir(directory, 0700) == 0, directory);
  must(::chdir(directory) == 0, directory);
  workers all;
  data_file data(all.data);
  held_files held(all.held);
  const auto begin = [](auto turn) {
    return std::thread([turn] {
      while (!stopping) turn();
    });
  };
  std::array<std::thread, 3> threads{begin([&data] { data.turn(); }),
                                     begin([&all] { turn_of_names(all.names); }),
                                     begin([&held] { held.turn(); })};
  watch(all, status_fd, signals);
  for (std::thread& t : threads) t.join();
  data.end();
  held.end();
  must(::chdir("/") == 0, "chdir /");
  must(::rmdir(directory) == 0, "the directory is not empty");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: witness DIRECTORY STATUS\n");
    return 2;
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGUSR1);
  (void)::sigprocmask(SIG_BLOCK, &signals, nullptr);
  const int status_fd = ::open(argv[2], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  must(status_fd >= 0, argv[2]);
  work(argv[1], status_fd, signals);
  return 0;
}
