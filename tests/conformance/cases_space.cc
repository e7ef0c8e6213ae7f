// fallocate in all modes, and what st_blocks says.
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "tests/conformance/harness.h"

namespace conformance {
namespace {

void modes() {
  struct mode_name {
    int mode;
    const char* name;
  };
  const std::vector<mode_name> modes = {
      {0, "allocate"},
      {FALLOC_FL_KEEP_SIZE, "keep"},
      {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch"},
      {FALLOC_FL_PUNCH_HOLE, "punch without keep"},
      {FALLOC_FL_ZERO_RANGE, "zero"},
      {FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, "zero keep"},
      {FALLOC_FL_COLLAPSE_RANGE, "collapse"},
      {FALLOC_FL_INSERT_RANGE, "insert"},
      {FALLOC_FL_UNSHARE_RANGE, "unshare"},
      {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, "punch and zero"},
      {0x1000, "unknown"}};
  for (const mode_name& m : modes)
    for (const std::size_t size : {0, 100, 10000, 300000})
      for (const auto& [at, length] : std::vector<std::pair<off_t, off_t>>{{0, 0},
                                                                           {0, -1},
                                                                           {-1, 10},
                                                                           {0, 50},
                                                                           {10, 5000},
                                                                           {4096, 8192},
                                                                           {5000, 100000},
                                                                           {200000, 200000},
                                                                           {1 << 20, 4096},
                                                                           {0, 1 << 20}}) {
        const context c(std::string(m.name) + " of " + std::to_string(size) + ": " +
                        std::to_string(at) + "+" + std::to_string(length));
        make_file("x", std::string(size, 'x'));
        const int fd = ::open("x", O_RDWR);
        OK(::fallocate(fd, m.mode, at, length));
        note("fstat", fstat_of(fd));
        note("content", file_bytes("x"));
        ::close(fd);
        (void)::unlink("x");
      }
  make_file("f", std::string(20000, 'f'));
  const int fd = ::open("f", O_RDWR), reader = ::open("f", O_RDONLY), dir = ::open(".", O_RDONLY),
            append = ::open("f", O_WRONLY | O_APPEND), path = ::open("f", O_PATH);
  OK(::fallocate(reader, 0, 0, 10));
  OK(::fallocate(dir, 0, 0, 10));
  OK(::fallocate(path, 0, 0, 10));
  OK(::fallocate(-1, 0, 0, 10));
  OK(::fallocate(append, 0, 0, 30000));
  OK(::fallocate(append, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 5000));
  int pipe[2];
  OK(::pipe(pipe));
  OK(::fallocate(pipe[1], 0, 0, 10));
  NUM(::posix_fallocate(fd, 0, 40000));
  NUM(::posix_fallocate(fd, 0, 0));
  NUM(::posix_fallocate(reader, 0, 10));
  note("content", file_bytes("f"));
  TIMES("f", [] {
    const int g = ::open("f", O_RDWR);
    (void)!::fallocate(g, 0, 0, 100000);
    ::close(g);
  }());
  TIMES("f", [] {
    const int g = ::open("f", O_RDWR);
    (void)!::fallocate(g, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8192);
    ::close(g);
  }());
  TIMES("f", [] {
    const int g = ::open("f", O_RDWR);
    (void)!::fallocate(g, FALLOC_FL_ZERO_RANGE, 0, 8192);
    ::close(g);
  }());
  for (const int d : {fd, reader, dir, append, path}) ::close(d);
}

long blocks_of(int fd) {
  struct stat st {};
  return ::fstat(fd, &st) == 0 ? static_cast<long>(st.st_blocks) : -1;
}

void blocks() {
  const int fd = ::open("f", O_CREAT | O_RDWR, 0644);
  NUM(blocks_of(fd));
  OK(::ftruncate(fd, 10 << 20));
  NUM(blocks_of(fd));
  OK(::fallocate(fd, 0, 0, 1 << 20));
  NUM(blocks_of(fd) >= 2048);
  NUM(blocks_of(fd) < 4096);
  OK(::fallocate(fd, FALLOC_FL_KEEP_SIZE, 10 << 20, 1 << 20));
  NUM(blocks_of(fd) >= 4096);
  OK(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 10 << 20));
  NUM(blocks_of(fd) < 4096);
  OK(::ftruncate(fd, 0));
  NUM(blocks_of(fd));
  const std::string text(1 << 20, 'x');
  NUM(::write(fd, text.data(), text.size()));
  OK(::fsync(fd));
  NUM(blocks_of(fd) >= 2048);
  NUM(blocks_of(fd) < 2200);
  OK(::ftruncate(fd, 4096));
  NUM(blocks_of(fd));
  NUM(::pwrite(fd, "x", 1, 10 << 20));
  OK(::fsync(fd));
  NUM(blocks_of(fd) <= 64);
  ::close(fd);
}

void controls() {
  make_file("f", "12345");
  const int fd = ::open("f", O_RDWR), dir = ::open(".", O_RDONLY);
  int value = 0;
  OK(::ioctl(fd, FIONREAD, &value));
  NUM(value);
  OK(::ioctl(fd, 0x5aff, &value));
  OK(::ioctl(dir, 0x5aff, &value));
  const context c("flags of ext4");
  OK(::ioctl(fd, FS_IOC_GETFLAGS, &value));
  OK(::ioctl(fd, FS_IOC_GETVERSION, &value));
  OK(::ioctl(fd, FICLONE, fd));
  ::close(fd);
  ::close(dir);
}

}  // namespace

case_list cases_of_space() {
  return {{"fallocate", modes}, {"blocks", blocks}, {"controls", controls}};
}

}  // namespace conformance
