// torture: random operations on a mount and on a local directory, which is the model.
//
//   torture [--operations N] [--seed N] [--workers N] [--without WORD] MOUNTED_DIR LOCAL_DIR
//
// N operations in all, in so many processes, each in a directory of its own and with a seed of its
// own (the printed one, and its number). Data operations as fsx makes them (read, write, append,
// direct, mapped, truncate, fallocate, copy), operations on names and attributes as fsstress does.
// Every result is compared at once, every 400 operations the whole tree. Exit code 1: a difference.
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "tests/conformance/harness.h"
#include "tests/conformance/pair.h"

namespace conformance {
namespace {

constexpr std::size_t file_size_max = 1 << 20;
constexpr std::size_t io_size_max = 200'000;

struct settings {
  std::uint64_t operations = 20'000, seed = 1;
  int workers = 4;
  std::string without;  // words of what is left out
  std::vector<std::string> dirs;
  bool has(const char* word) const { return without.find(word) == std::string::npos; }
};

std::string hashed(const char* bytes, std::size_t size) {
  std::uint64_t hash = 14695981039346656037u;
  for (std::size_t i = 0; i < size; ++i)
    hash = (hash ^ static_cast<unsigned char>(bytes[i])) * 1099511628211u;
  return std::to_string(size) + " bytes, hash " + std::to_string(hash);
}

class worker {
 public:
  worker(const settings& s, const std::string& mounted, const std::string& local,
         std::uint64_t seed)
      : s_(s),
        pair_(mounted, local, seed),
        random_(seed),
        room_(static_cast<char*>(std::aligned_alloc(4096, file_size_max + 4096)), &std::free),
        bytes_(file_size_max, '\0') {}

  void run(std::uint64_t operations) {
    while (pair_.count() < operations) {
      one();
      if (++turns_ % 400 == 0) whole_tree();
    }
    whole_tree();
  }

 private:
  void one() {
    const std::uint64_t dice = random_.below(100);
    if (dice < 12) open_file();
    else if (dice < 16) close_file();
    else if (dice < 55) data();
    else if (dice < 85) names();
    else attributes();
  }

  // ---- names ------------------------------------------------------------------------------------
  std::string path() {
    std::string text(1, static_cast<char>('a' + random_.below(6)));
    while (random_.one_in(3) && text.size() < 7)
      text += std::string("/") + static_cast<char>('a' + random_.below(6));
    return text;
  }
  void call(const std::string& what, const std::function<long(side&)>& f) {
    pair_.compare(what, [&f](side& x) { return number_or_errno(f(x)); });
  }

  void names() {
    const std::string a = path(), b = path();
    const char *p = a.c_str(), *q = b.c_str();
    switch (random_.below(9)) {
      case 0: return call("mkdir " + a, [p](side& x) { return ::mkdirat(x.dir, p, 0755); });
      case 1:
        return call("rmdir " + a, [p](side& x) { return ::unlinkat(x.dir, p, AT_REMOVEDIR); });
      case 2: return call("unlink " + a, [p](side& x) { return ::unlinkat(x.dir, p, 0); });
      case 3:
        return call("link " + a + " " + b,
                    [p, q](side& x) { return ::linkat(x.dir, p, x.dir, q, 0); });
      case 4:
        return call("symlink " + a + " " + b, [p, q](side& x) { return ::symlinkat(p, x.dir, q); });
      case 5: return call("mkfifo " + a, [p](side& x) { return ::mkfifoat(x.dir, p, 0600); });
      case 6: return list(a);
      default: {
        constexpr unsigned all[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
        const unsigned flags = all[random_.below(5)];
        return call("rename " + a + " " + b + " " + std::to_string(flags),
                    [p, q, flags](side& x) { return ::renameat2(x.dir, p, x.dir, q, flags); });
      }
    }
  }

  void list(const std::string& a) {
    pair_.compare("list " + a, [&a](side& x) {
      const int fd = ::openat(x.dir, a.c_str(), O_RDONLY | O_DIRECTORY);
      if (fd < 0) return errno_name(errno);
      const std::string text = listing("/proc/self/fd/" + std::to_string(fd));
      ::close(fd);
      return text;
    });
  }

  static std::string stat_at(const side& x, const std::string& a) {
    struct stat st {};
    const int r = ::fstatat(x.dir, a.c_str(), &st, AT_SYMLINK_NOFOLLOW);
    return stat_text(r, st);
  }

  void attributes() {
    const std::string a = path();
    const char* p = a.c_str();
    const std::uint64_t n = random_.next();
    switch (random_.below(8)) {
      case 0:
        return call("chmod " + a, [p, n](side& x) { return ::fchmodat(x.dir, p, n & 07777, 0); });
      case 1:
        return call("chown " + a, [p, n](side& x) {
          return ::fchownat(x.dir, p, static_cast<uid_t>(n % 5), static_cast<gid_t>(n / 7 % 5),
                            AT_SYMLINK_NOFOLLOW);
        });
      case 2: {
        const timespec t[2] = {{static_cast<time_t>(n % 2000000000), 5},
                               {static_cast<time_t>(n / 3 % 2000000000), 999999999}};
        return pair_.compare("utimens " + a, [p, &t](side& x) {
          struct stat st {};
          const int r = ::utimensat(x.dir, p, t, 0);
          if (r != 0) return errno_name(errno);
          if (::fstatat(x.dir, p, &st, 0) != 0) return errno_name(errno);
          return std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec);
        });
      }
      case 3: return xattr(a, n);
      default: return pair_.compare("stat " + a, [&a](side& x) { return stat_at(x, a); });
    }
  }

  void xattr(const std::string& a, std::uint64_t n) {
    const std::string name = "user." + std::string(1, static_cast<char>('a' + n % 3));
    const std::string value = std::to_string(n);
    pair_.compare("xattr " + a + " " + name, [&](side& x) {
      const int fd = ::openat(x.dir, a.c_str(), O_RDONLY | O_NONBLOCK);
      if (fd < 0) return errno_name(errno);
      char room[100];
      std::string text;
      if (n % 4 == 0)
        text = number_or_errno(::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0));
      if (n % 4 == 1) text = number_or_errno(::fremovexattr(fd, name.c_str()));
      const ssize_t size = ::fgetxattr(fd, name.c_str(), room, sizeof room);
      text +=
          " " + (size < 0 ? errno_name(errno) : std::string(room, static_cast<std::size_t>(size)));
      ::close(fd);
      return text;
    });
  }

  // ---- data -------------------------------------------------------------------------------------
  void open_file() {
    const std::size_t i = random_.below(pair_.mounted().files.size());
    const std::string a = path();
    int flags = O_RDWR | O_NONBLOCK;
    if (random_.one_in(2)) flags |= O_CREAT;
    if (random_.one_in(8)) flags |= O_TRUNC;
    if (random_.one_in(8)) flags |= O_EXCL;
    if (random_.one_in(6)) flags |= O_APPEND;
    if (random_.one_in(6)) flags |= O_DIRECT;
    close_file(i);
    pair_.compare("open " + a + " " + std::to_string(flags) + " as " + std::to_string(i),
                  [&a, flags, i](side& x) {
                    const int fd = ::openat(x.dir, a.c_str(), flags, 0644);
                    if (fd < 0) return errno_name(errno);
                    struct stat st {};
                    (void)!::fstat(fd, &st);
                    if (S_ISREG(st.st_mode)) x.files[i] = fd;
                    else ::close(fd);
                    return "ok " + stat_text(0, st);
                  });
  }

  void close_file() { close_file(random_.below(pair_.mounted().files.size())); }
  void close_file(std::size_t i) {
    if (pair_.mounted().files[i] < 0) return;
    call("close " + std::to_string(i), [i](side& x) {
      const int fd = x.files[i];
      x.files[i] = -1;
      return ::close(fd);
    });
  }

  off_t size_of(std::size_t i) {
    struct stat st {};
    return ::fstat(pair_.local().files[i], &st) == 0 ? st.st_size : 0;
  }
  // Often at edges: of pages, of the file.
  std::uint64_t position(off_t size) {
    std::uint64_t at = random_.below(file_size_max);
    if (random_.one_in(3)) at = random_.below(20'000);
    if (random_.one_in(4)) at = at / 4096 * 4096;
    if (random_.one_in(5)) at = static_cast<std::uint64_t>(size);
    return std::min<std::uint64_t>(at, file_size_max - 1);
  }
  std::size_t length(std::uint64_t at) {
    std::size_t n = random_.one_in(4) ? random_.below(io_size_max) : random_.below(9000);
    if (random_.one_in(4)) n = (n + 4095) / 4096 * 4096;
    return std::min<std::size_t>(n, file_size_max - at);
  }
  void fill(std::size_t n) {
    std::uint64_t word = random_.next();
    for (std::size_t k = 0; k < n; ++k) {
      if (k % 64 == 0) word = word * 6364136223846793005u + 1;
      bytes_[k] = static_cast<char>(word >> (k % 7 * 8));
    }
  }

  void data() {
    std::size_t i = random_.below(pair_.mounted().files.size());
    for (std::size_t n = 0; pair_.mounted().files[i] < 0; ++n) {
      if (n == pair_.mounted().files.size()) return open_file();
      i = (i + 1) % pair_.mounted().files.size();
    }
    const off_t size = size_of(i);
    std::uint64_t at = position(size);
    std::size_t n = length(at);
    const int flags = ::fcntl(pair_.local().files[i], F_GETFL);
    if ((flags & O_DIRECT) != 0) at = at / 4096 * 4096, n = n / 4096 * 4096;
    const std::string where =
        std::to_string(i) + " " + std::to_string(at) + "+" + std::to_string(n);
    switch (random_.below(12)) {
      case 0:
      case 1:
      case 2: return read(where, i, at, n);
      case 3:
      case 4:
      case 5:
      case 6: return write(where, i, at, n, size, flags);
      case 7:
        return call("ftruncate " + where,
                    [i, at](side& x) { return ::ftruncate(x.files[i], static_cast<off_t>(at)); });
      case 8: return mapped(where, i, at, n, size, flags);
      case 9: return space(where, i, at, n);
      case 10: return copy(where, i, at, n);
      default: return settle(where, i);
    }
  }

  void read(const std::string& where, std::size_t i, std::uint64_t at, std::size_t n) {
    pair_.compare("read " + where, [&](side& x) {
      const ssize_t got = ::pread(x.files[i], room_.get(), n, static_cast<off_t>(at));
      return got < 0 ? errno_name(errno) : hashed(room_.get(), static_cast<std::size_t>(got));
    });
  }

  void write(const std::string& where, std::size_t i, std::uint64_t at, std::size_t n, off_t size,
             int flags) {
    if ((flags & O_APPEND) != 0 && static_cast<std::size_t>(size) + n > file_size_max) return;
    // A direct append is aligned only while the file's size is: the model refuses others.
    if ((flags & O_APPEND) != 0 && (flags & O_DIRECT) != 0 && size % 4096 != 0) return;
    fill(n);
    std::memcpy(room_.get(), bytes_.data(), n);
    call("write " + where,
         [&](side& x) { return ::pwrite(x.files[i], room_.get(), n, static_cast<off_t>(at)); });
  }

  void mapped(const std::string& where, std::size_t i, std::uint64_t at, std::size_t n, off_t size,
              int) {
    if (size == 0) return;
    const auto end = static_cast<std::uint64_t>(size);
    at = std::min(at, end - 1);
    n = std::min<std::size_t>(n, end - at);
    const bool writes = random_.one_in(2);
    fill(n);
    pair_.compare((writes ? "mapped write " : "mapped read ") + where, [&](side& x) {
      void* p = ::mmap(nullptr, end, PROT_READ | PROT_WRITE, MAP_SHARED, x.files[i], 0);
      if (p == MAP_FAILED) return errno_name(errno);
      char* m = static_cast<char*>(p);
      if (writes) std::memcpy(m + at, bytes_.data(), n);
      std::string text = hashed(m, end);
      if (n % 3 == 0) text += ok_or_errno(::msync(m, end, MS_SYNC));
      ::munmap(m, end);
      return text;
    });
  }

  void space(const std::string& where, std::size_t i, std::uint64_t at, std::size_t n) {
    constexpr int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                             FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    const int mode = modes[random_.below(5)];
    if (!s_.has("fallocate")) return;
    call("fallocate " + std::to_string(mode) + " " + where, [&](side& x) {
      return ::fallocate(x.files[i], mode, static_cast<off_t>(at), static_cast<off_t>(n));
    });
  }

  void copy(const std::string& where, std::size_t i, std::uint64_t at, std::size_t n) {
    const std::size_t j = random_.below(pair_.mounted().files.size());
    const std::uint64_t to = random_.below(file_size_max - n);
    if (pair_.mounted().files[j] < 0) return;
    call("copy " + where + " to " + std::to_string(j) + " " + std::to_string(to), [&](side& x) {
      loff_t from = static_cast<loff_t>(at), into = static_cast<loff_t>(to);
      long sum = 0;
      for (std::size_t left = n; left != 0;) {  // short copies are allowed
        const ssize_t k = ::copy_file_range(x.files[i], &from, x.files[j], &into, left, 0);
        if (k < 0 && sum == 0) return -1L;
        if (k <= 0) break;
        sum += k;
        left -= static_cast<std::size_t>(k);
      }
      return sum;
    });
  }

  void settle(const std::string& where, std::size_t i) {
    switch (random_.below(4)) {
      case 0: return call("fsync " + where, [i](side& x) { return ::fsync(x.files[i]); });
      case 1: return call("fdatasync " + where, [i](side& x) { return ::fdatasync(x.files[i]); });
      case 2:
        return call("drop " + where, [i](side& x) {
          (void)::fdatasync(x.files[i]);
          return ::posix_fadvise(x.files[i], 0, 0, POSIX_FADV_DONTNEED);
        });
      default: return seek(where, i);
    }
  }

  // Where data begins may differ; that there is none but zeros before it may not.
  void seek(const std::string& where, std::size_t i) {
    const off_t size = size_of(i);
    if (size == 0) return;
    const off_t at = static_cast<off_t>(random_.below(static_cast<std::uint64_t>(size)));
    pair_.compare("seek " + where, [&](side& x) {
      const off_t data = ::lseek(x.files[i], at, SEEK_DATA);
      if (data < 0 && errno != ENXIO) return errno_name(errno);
      const off_t end = data < 0 ? size : data;
      const off_t hole = ::lseek(x.files[i], at, SEEK_HOLE);
      if (hole < at || hole > size) return "hole at " + std::to_string(hole);
      char page[4096];
      for (off_t k = at; k < end;) {
        const ssize_t got = ::pread(pair_.local().files[i], page, sizeof page, k);
        if (got <= 0) break;
        for (ssize_t b = 0; b < got && k + b < end; ++b)
          if (page[b] != 0) return "a hole where byte " + std::to_string(k + b) + " is";
        k += got;
      }
      return std::string("ok");
    });
  }

  // ---- everything -------------------------------------------------------------------------------
  void whole_tree() { below("."); }
  void below(const std::string& dir) {
    list(dir);
    std::vector<std::string> names;
    const int fd = ::openat(pair_.local().dir, dir.c_str(), O_RDONLY | O_DIRECTORY);
    if (fd < 0) return;
    DIR* d = ::fdopendir(fd);
    while (const dirent* e = ::readdir(d))
      if (e->d_name[0] != '.') names.emplace_back(e->d_name);
    ::closedir(d);
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      const std::string a = dir + "/" + name;
      pair_.compare("stat " + a, [&a](side& x) { return stat_at(x, a); });
      struct stat st {};
      if (::fstatat(pair_.local().dir, a.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (S_ISDIR(st.st_mode)) below(a);
      if (!S_ISREG(st.st_mode)) continue;
      pair_.compare("content " + a, [&](side& x) {
        const int f = ::openat(x.dir, a.c_str(), O_RDONLY);
        if (f < 0) return errno_name(errno);
        const std::string text = file_bytes("/proc/self/fd/" + std::to_string(f));
        ::close(f);
        return text;
      });
    }
  }

  const settings& s_;
  pair pair_;
  prng random_;
  std::unique_ptr<char, void (*)(void*)> room_;
  std::string bytes_;
  std::uint64_t turns_ = 0;
};

int usage() {
  std::fprintf(stderr,
               "usage: torture [--operations N] [--seed N] [--workers N] [--without WORD]\n"
               "         MOUNTED_DIR LOCAL_DIR\n");
  return 2;
}

int run(const settings& s) {
  if (s.dirs.size() != 2 || s.workers < 1) return usage();
  std::printf("seed %llu\n", static_cast<unsigned long long>(s.seed));
  std::fflush(stdout);
  std::vector<pid_t> pids;
  for (int i = 0; i < s.workers; ++i) {
    std::string dirs[2];
    for (int k = 0; k < 2; ++k) {
      dirs[k] = s.dirs[static_cast<std::size_t>(k)] + "/torture-" + std::to_string(s.seed) + "-" +
                std::to_string(i);
      if (::mkdir(dirs[k].c_str(), 0755) != 0) return std::perror(dirs[k].c_str()), 2;
    }
    const pid_t pid = ::fork();
    if (pid == 0) {
      worker(s, dirs[0], dirs[1], s.seed + static_cast<std::uint64_t>(i))
          .run(s.operations / static_cast<std::uint64_t>(s.workers));
      ::_exit(0);
    }
    pids.push_back(pid);
  }
  int failed = 0;
  for (const pid_t pid : pids) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) ++failed;
  }
  std::printf("%llu operations, %d of %d workers saw a difference\n",
              static_cast<unsigned long long>(s.operations), failed, s.workers);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace conformance

int main(int argc, char** argv) {
  conformance::settings s;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool more = i + 1 < argc;
    if (word == "--operations" && more) s.operations = std::strtoull(argv[++i], nullptr, 10);
    else if (word == "--seed" && more) s.seed = std::strtoull(argv[++i], nullptr, 10);
    else if (word == "--workers" && more) s.workers = std::atoi(argv[++i]);
    else if (word == "--without" && more) s.without += std::string(argv[++i]) + " ";
    else if (word.starts_with("-")) return conformance::usage();
    else s.dirs.push_back(word);
  }
  return conformance::run(s);
}
