// Reading and writing in all forms.
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <csignal>
#include <cstdlib>
#include <memory>

#include "tests/conformance/harness.h"

namespace conformance {
namespace {

std::string pattern(std::size_t size, unsigned seed) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) {
    seed = seed * 1664525u + 1013904223u;
    text[i] = static_cast<char>(seed >> 24);
  }
  return text;
}

std::string read_at(int fd, std::size_t size, off_t at) {
  std::string room(size, '?');
  const ssize_t n = ::pread(fd, room.data(), size, at);
  if (n < 0) return errno_name(errno);
  room.resize(static_cast<std::size_t>(n));
  std::size_t hash = 14695981039346656037u;
  for (const char c : room) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return std::to_string(n) + " bytes, hash " + std::to_string(hash);
}

void simple() {
  const int fd = ::open("f", O_CREAT | O_RDWR, 0644);
  NUM(::write(fd, "", 0));
  NUM(::write(fd, "hello", 5));
  NUM(::read(fd, room_of_100(), 100));
  NUM(::pread(fd, room_of_100(), 0, 0));
  NUM(::pread(fd, room_of_100(), 100, 5));
  NUM(::pread(fd, room_of_100(), 100, 1000));
  NUM(::pread(fd, room_of_100(), 100, -1));
  NUM(::pwrite(fd, "x", 1, -1));
  NUM(::pwrite(fd, nullptr, 0, 50));
  LSTAT("f");
  NUM(::pwrite(fd, reinterpret_cast<const char*>(8), 10, 0));
  NUM(::pread(fd, reinterpret_cast<char*>(8), 10, 0));
  for (const std::size_t size :
       {1, 511, 512, 4095, 4096, 4097, 65535, 65536, 65537, 131072, 1048576, 1048577, 3000000})
    for (const off_t at : {0, 1, 4095, 4096, 100000}) {
      const context c(std::to_string(size) + " at " + std::to_string(at));
      const std::string text =
          pattern(size, static_cast<unsigned>(size) + static_cast<unsigned>(at));
      OK(::ftruncate(fd, at == 1 ? 0 : 50000));
      NUM(::pwrite(fd, text.data(), size, at));
      note("all", file_bytes("f"));
      note("middle", read_at(fd, size / 2 + 1, at + static_cast<off_t>(size / 3)));
      note("over the end", read_at(fd, size + 5000, at));
    }
  ::close(fd);
  make_file("g");
  TIMES("g", [] {
    const int g = ::open("g", O_WRONLY);
    (void)!::write(g, "x", 1);
    ::close(g);
  }());
  TIMES("g", [] {
    const int g = ::open("g", O_WRONLY);
    (void)!::write(g, "x", 0);
    ::close(g);
  }());
  TIMES("g", [] {
    const int g = ::open("g", O_WRONLY | O_APPEND);
    (void)!::write(g, "x", 1);
    ::close(g);
  }());
  const int d = ::open(".", O_RDONLY);
  NUM(::read(d, room_of_100(), 100));
  ::close(d);
}

void vectors() {
  const int fd = ::open("f", O_CREAT | O_RDWR, 0644);
  std::string a = pattern(1000, 1), b = pattern(5000, 2), c = pattern(70000, 3);
  iovec v[3] = {{a.data(), a.size()}, {b.data(), b.size()}, {c.data(), c.size()}};
  NUM(::writev(fd, v, 3));
  NUM(::writev(fd, v, 0));
  NUM(::writev(fd, v, -1));
  NUM(::writev(fd, v, 1025));
  NUM(::pwritev(fd, v, 2, 200000));
  NUM(::pwritev(fd, v, 2, -2));
  NUM(::pwritev2(fd, v, 2, 100, RWF_APPEND));
  NUM(::pwritev2(fd, v, 1, -1, 0));
  NUM(::pwritev2(fd, v, 1, 7, RWF_DSYNC));
  NUM(::pwritev2(fd, v, 1, 7, RWF_SYNC));
  NUM(::pwritev2(fd, v, 1, 7, 0x40000000));
  note("content", file_bytes("f"));
  NUM(::preadv(fd, v, 3, 10));
  note("a", std::to_string(std::hash<std::string>{}(a)));
  note("c", std::to_string(std::hash<std::string>{}(c)));
  NUM(::lseek(fd, 500, SEEK_SET));
  NUM(::readv(fd, v, 3));
  note("b", std::to_string(std::hash<std::string>{}(b)));
  NUM(::preadv2(fd, v, 2, -1, 0));
  iovec empty[2] = {{nullptr, 0}, {nullptr, 0}};
  NUM(::writev(fd, empty, 2));
  NUM(::readv(fd, empty, 2));
  iovec bad[2] = {{a.data(), 10}, {reinterpret_cast<void*>(8), 10}};
  NUM(::pwritev(fd, bad, 2, 0));
  note("content", file_bytes("f"));
  std::vector<iovec> many(1024, iovec{a.data(), 3});
  NUM(::pwritev(fd, many.data(), 1024, 0));
  note("content", file_bytes("f"));
  ::close(fd);
}

void seeking() {
  const int fd = ::open("f", O_CREAT | O_RDWR, 0644);
  NUM(::lseek(fd, 0, SEEK_DATA));
  NUM(::lseek(fd, 0, SEEK_HOLE));
  const std::string block = pattern(65536, 5);
  NUM(::pwrite(fd, block.data(), block.size(), 1 << 20));
  NUM(::pwrite(fd, block.data(), block.size(), 4 << 20));
  OK(::ftruncate(fd, 8 << 20));
  OK(::fsync(fd));
  for (const int how : {SEEK_DATA, SEEK_HOLE})
    for (const off_t at : {0, 1, 1 << 19, (1 << 20) - 1, 1 << 20, (1 << 20) + 5, (1 << 20) + 65535,
                           (1 << 20) + 65536, 3 << 20, 4 << 20, (4 << 20) + 65536, 7 << 20,
                           (8 << 20) - 1, 8 << 20, 9 << 20, -1}) {
      const context c(how == SEEK_DATA ? "data" : "hole");
      note(std::to_string(at), number_or_errno(::lseek(fd, at, how)));
    }
  OK(::ftruncate(fd, (4 << 20) + 100));
  NUM(::lseek(fd, (4 << 20) + 50, SEEK_HOLE));
  NUM(::lseek(fd, (4 << 20) + 50, SEEK_DATA));
  NUM(::lseek(fd, 0, SEEK_END));
  NUM(::lseek(fd, 10, SEEK_END));
  NUM(::lseek(fd, -10, SEEK_END));
  NUM(::lseek(fd, -(5 << 20), SEEK_END));
  NUM(::lseek(fd, 1LL << 40, SEEK_SET));
  NUM(::lseek(fd, 0, SEEK_CUR));
  NUM(::read(fd, room_of_100(), 10));
  ::close(fd);
  const int d = ::open(".", O_RDONLY);
  NUM(::lseek(d, 0, SEEK_SET));
  ::close(d);
  make_file("full", std::string(100000, 'f'));
  const int full = ::open("full", O_RDONLY);
  NUM(::lseek(full, 0, SEEK_HOLE));
  NUM(::lseek(full, 99999, SEEK_HOLE));
  NUM(::lseek(full, 0, SEEK_DATA));
  NUM(::lseek(full, 50000, SEEK_DATA));
  NUM(::lseek(full, 100000, SEEK_DATA));
  ::close(full);
}

void copying() {
  make_file("a", pattern(300000, 7));
  const int a = ::open("a", O_RDWR);
  for (const std::size_t size : {0, 1, 4096, 5000, 100000, 300000, 400000})
    for (const off_t from : {0, 100, 4096, 299999, 300000, 300001})
      for (const off_t to : {0, 5000, 1000000}) {
        const context c(std::to_string(size) + " from " + std::to_string(from) + " to " +
                        std::to_string(to));
        const int b = ::open("b", O_CREAT | O_TRUNC | O_RDWR, 0644);
        off_t in = from, out = to;
        NUM(::copy_file_range(a, &in, b, &out, size, 0));
        NUM(in);
        NUM(out);
        note("content", file_bytes("b"));
        ::close(b);
      }
  off_t in = 0, out = 100;
  NUM(::copy_file_range(a, &in, a, &out, 1000, 0));  // overlaps
  in = 0, out = 200000;
  NUM(::copy_file_range(a, &in, a, &out, 1000, 0));
  note("content", file_bytes("a"));
  const int b = ::open("b", O_RDWR | O_TRUNC);
  NUM(::lseek(a, 10, SEEK_SET));
  NUM(::copy_file_range(a, nullptr, b, nullptr, 5000, 0));
  NUM(::lseek(a, 0, SEEK_CUR));
  NUM(::lseek(b, 0, SEEK_CUR));
  NUM(::copy_file_range(a, nullptr, b, nullptr, 5000, 1));
  in = -1;
  NUM(::copy_file_range(a, &in, b, nullptr, 5000, 0));
  const int reader = ::open("b", O_RDONLY), append = ::open("b", O_WRONLY | O_APPEND),
            dir = ::open(".", O_RDONLY);
  NUM(::copy_file_range(a, nullptr, reader, nullptr, 10, 0));
  NUM(::copy_file_range(append, nullptr, b, nullptr, 10, 0));
  NUM(::copy_file_range(a, nullptr, append, nullptr, 10, 0));
  NUM(::copy_file_range(a, nullptr, dir, nullptr, 10, 0));
  NUM(::copy_file_range(dir, nullptr, b, nullptr, 10, 0));
  in = 0, out = 0;
  TIMES("b", ::copy_file_range(a, &in, b, &out, 100, 0));
  OK(::ftruncate(a, 0));
  NUM(::pwrite(a, "end", 3, 5 << 20));  // sparse
  in = 0, out = 0;
  NUM(::copy_file_range(a, &in, b, &out, 6 << 20, 0));
  note("content", file_bytes("b"));
  OK(::ioctl(b, FICLONE, reader));
  for (const int fd : {a, b, reader, append, dir}) ::close(fd);
}

void sending_and_splicing() {
  make_file("a", pattern(300000, 9));
  const int a = ::open("a", O_RDWR), b = ::open("b", O_CREAT | O_RDWR, 0644);
  off_t from = 1000;
  NUM(::sendfile(b, a, &from, 200000));
  NUM(from);
  note("content", file_bytes("b"));
  NUM(::sendfile(b, a, nullptr, 10));
  NUM(::lseek(a, 0, SEEK_CUR));
  from = 400000;
  NUM(::sendfile(b, a, &from, 10));
  const int append = ::open("b", O_WRONLY | O_APPEND);
  NUM(::sendfile(append, a, nullptr, 10));
  int pipe[2];
  OK(::pipe(pipe));
  loff_t at = 100;
  NUM(::splice(a, &at, pipe[1], nullptr, 50000, 0));
  at = 7;
  NUM(::splice(pipe[0], nullptr, b, &at, 50000, 0));
  note("content", file_bytes("b"));
  NUM(::splice(a, nullptr, b, nullptr, 10, 0));
  NUM(::tee(a, b, 10, 0));
  std::string text = pattern(5000, 11);
  iovec v{text.data(), text.size()};
  NUM(::vmsplice(pipe[1], &v, 1, 0));
  NUM(::splice(pipe[0], nullptr, b, nullptr, 5000, SPLICE_F_MOVE));
  note("content", file_bytes("b"));
  for (const int fd : {a, b, append, pipe[0], pipe[1]}) ::close(fd);
}

struct aligned {
  explicit aligned(std::size_t size)
      : bytes(static_cast<char*>(std::aligned_alloc(4096, (size + 8191) / 4096 * 4096))) {}
  ~aligned() { std::free(bytes); }
  aligned(const aligned&) = delete;
  aligned& operator=(const aligned&) = delete;
  char* bytes;
};

void direct() {
  const int fd = ::open("f", O_CREAT | O_RDWR | O_DIRECT, 0644);
  const int plain = ::open("f", O_RDWR);
  aligned room(2 << 20);
  const std::string text = pattern(2 << 20, 13);
  for (const std::size_t size : {4096, 8192, 65536, 1 << 20, 2 << 20})
    for (const off_t at : {0, 4096, 1 << 20}) {
      const context c(std::to_string(size) + " at " + std::to_string(at));
      OK(::ftruncate(fd, 0));
      std::memcpy(room.bytes, text.data(), size);
      NUM(::pwrite(fd, room.bytes, size, at));
      note("by cache", read_at(plain, size, at));
      NUM(::pwrite(plain, "cached", 6, at + 100));
      std::memset(room.bytes, 0, size);
      NUM(::pread(fd, room.bytes, size, at));
      note("direct", std::to_string(std::hash<std::string>{}(std::string(room.bytes, size))));
      note("all", file_bytes("f"));
      NUM(::pread(fd, room.bytes, size, at + static_cast<off_t>(size)));
      NUM(::pread(fd, room.bytes, 2 << 20, at));
    }
  OK(::fsync(fd));
  NUM(::lseek(fd, 0, SEEK_SET));
  NUM(::read(fd, room.bytes, 4096));
  NUM(::write(fd, room.bytes, 4096));
  NUM(::lseek(fd, 0, SEEK_CUR));
  note("all", file_bytes("f"));
  ::close(fd);
  const int append = ::open("f", O_WRONLY | O_DIRECT | O_APPEND);
  NUM(::write(append, room.bytes, 4096));
  LSTAT("f");
  ::close(append);
  ::close(plain);
}

void limits() {
  const int fd = ::open("f", O_CREAT | O_RDWR, 0644);
  NUM(::pwrite(fd, "x", 1, (1LL << 43)));
  LSTAT("f");
  NUM(::pread(fd, room_of_100(), 10, (1LL << 43) - 5));
  NUM(::lseek(fd, 0, SEEK_END));
  OK(::ftruncate(fd, 0));
  // Sizes that no filesystem with 63 bits refuses are refused by ext4: their own notes.
  for (const int bits : {44, 50, 62}) {
    const context c("beyond ext4, bit " + std::to_string(bits));
    NUM(::pwrite(fd, "x", 1, 1LL << bits));
    OK(::ftruncate(fd, 1LL << bits));
    NUM(::lseek(fd, 1LL << bits, SEEK_SET));
  }
  OK(::ftruncate(fd, 0));
  NUM(::pwrite(fd, "xy", 2, INT64_MAX));
  NUM(::pwrite(fd, "xy", 2, INT64_MAX - 1));
  NUM(::pread(fd, room_of_100(), 2, INT64_MAX - 1));
  LSTAT("f");
  in_child([fd] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    OK(::setrlimit(RLIMIT_FSIZE, &limit));
    NUM(::pwrite(fd, room_of_100(), 100, 950));
    NUM(::pwrite(fd, room_of_100(), 100, 1000));
    NUM(::pwrite(fd, room_of_100(), 100, 5000));
    OK(::ftruncate(fd, 1001));
    OK(::ftruncate(fd, 1000));
    OK(::truncate("f", 2000));
    OK(::fallocate(fd, 0, 0, 2000));
  });
  in_child([fd] {
    const rlimit limit{1000, 1000};
    OK(::setrlimit(RLIMIT_FSIZE, &limit));
    NUM(::pwrite(fd, room_of_100(), 100, 1000));
  });
  LSTAT("f");
  ::close(fd);
}

void syncing() {
  make_file("f", pattern(100000, 3));
  for (const int flags : {0, O_SYNC, O_DSYNC}) {
    const context c("flags " + std::to_string(flags));
    const int fd = ::open("f", O_RDWR | flags);
    NUM(::write(fd, "some", 4));
    OK(::fsync(fd));
    OK(::fdatasync(fd));
    OK(::sync_file_range(
        fd, 0, 4096,
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
    OK(::sync_file_range(fd, -5, 4096, 0));
    OK(::syncfs(fd));
    ::close(fd);
  }
  const int d = ::open(".", O_RDONLY);
  OK(::fsync(d));
  OK(::fdatasync(d));
  OK(::syncfs(d));
  ::close(d);
  OK(::fsync(-1));
  make_kind("fifo", "p");
  const int p = ::open("p", O_RDWR);
  OK(::fsync(p));
  ::close(p);
  ::sync();
  for (const int advice : {POSIX_FADV_NORMAL, POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM,
                           POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED, POSIX_FADV_NOREUSE, 77}) {
    const int fd = ::open("f", O_RDONLY);
    NUM(::posix_fadvise(fd, 0, 4096, advice));
    OK(::readahead(fd, 0, 4096));
    ::close(fd);
  }
  note("content", file_bytes("f"));
}

}  // namespace

case_list cases_of_data() {
  return {{"read_write", simple},
          {"vectors", vectors},
          {"seek", seeking},
          {"copy_file_range", copying},
          {"splice", sending_and_splicing},
          {"direct", direct},
          {"size_limits", limits},
          {"sync", syncing}};
}

}  // namespace conformance
