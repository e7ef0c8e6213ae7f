// Mapped files, alone and mixed with read and write.
#include <sys/mman.h>
#include <sys/stat.h>

#include <csetjmp>
#include <csignal>

#include "tests/conformance/harness.h"

namespace conformance {
namespace {

sigjmp_buf back;
void on_signal(int) { ::siglongjmp(back, 1); }

// "read", "SIGBUS".
std::string touch(volatile char* at, bool writes) {
  struct sigaction action {
  }, old_bus{}, old_segv{};
  action.sa_handler = on_signal;
  ::sigaction(SIGBUS, &action, &old_bus);
  ::sigaction(SIGSEGV, &action, &old_segv);
  std::string result = "signal";
  if (sigsetjmp(back, 1) == 0) {
    if (writes) {
      *at = 'W';
      result = "written";
    } else {
      result = "read " + std::to_string(static_cast<unsigned char>(*at));
    }
  }
  ::sigaction(SIGBUS, &old_bus, nullptr);
  ::sigaction(SIGSEGV, &old_segv, nullptr);
  return result;
}

char* map(int fd, std::size_t size, int protection, int flags, off_t at = 0) {
  void* p = ::mmap(nullptr, size, protection, flags, fd, at);
  note("mmap", p == MAP_FAILED ? errno_name(errno) : "ok");
  return p == MAP_FAILED ? nullptr : static_cast<char*>(p);
}

constexpr std::size_t page = 4096;

void shared() {
  make_file("f", std::string(3 * page + 100, 'a'));
  const int fd = ::open("f", O_RDWR);
  char* m = map(fd, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED);
  if (m == nullptr) return;
  std::memcpy(m + 10, "mapped", 6);
  char room[100] = {};
  NUM(::pread(fd, room, 10, 8));
  note("read sees it", hex(room));
  NUM(::pwrite(fd, "written", 7, page));
  note("the mapping sees it", hex(std::string(m + page, 10)));
  m[3 * page + 99] = 'Z';
  m[3 * page + 150] = 'X';  // behind the end: not in the file
  OK(::msync(m, 4 * page, MS_SYNC));
  note("content", file_bytes("f"));
  LSTAT("f");
  OK(::ftruncate(fd, 3 * page + 200));
  note("behind the old end is zero", file_bytes("f"));
  OK(::ftruncate(fd, page + 50));
  note("cut: first page", touch(m, false));
  note("cut: the rest of the last page", touch(m + page + 60, false));
  note("cut: behind", touch(m + 2 * page, false));
  note("cut: behind, writing", touch(m + 2 * page, true));
  OK(::ftruncate(fd, 4 * page));
  note("grown: behind", touch(m + 2 * page, false));
  note("grown: written", touch(m + 3 * page, true));
  OK(::msync(m, 4 * page, MS_ASYNC));
  OK(::msync(m + 1, 10, MS_SYNC));
  OK(::msync(m, page, MS_SYNC | MS_ASYNC));
  OK(::msync(m, page, MS_INVALIDATE));
  OK(::close(fd));
  std::memcpy(m + 20, "after close", 11);
  OK(::munmap(m, 4 * page));
  note("content", file_bytes("f"));
  make_file("g", std::string(page, 'g'));
  TIMES("g", [] {
    const int g = ::open("g", O_RDWR);
    char* p = static_cast<char*>(::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED, g, 0));
    p[0] = 'x';
    ::msync(p, page, MS_SYNC);
    ::munmap(p, page);
    ::close(g);
  }());
}

void private_mappings() {
  make_file("f", std::string(2 * page, 'p'));
  for (const int flags : {O_RDONLY, O_RDWR}) {
    const context c(std::to_string(flags));
    const int fd = ::open("f", flags);
    char* m = map(fd, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    if (m == nullptr) continue;
    m[0] = 'X';
    OK(::msync(m, 2 * page, MS_SYNC));
    note("content", file_bytes("f"));
    note("behind the end", touch(m, false));
    ::munmap(m, 2 * page);
    ::close(fd);
  }
}

void protections() {
  make_file("f", std::string(page, 'p'), 0755);
  for (const int flags : {O_RDONLY, O_WRONLY, O_RDWR, O_PATH})
    for (const int protection :
         {PROT_READ, PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC, PROT_NONE})
      for (const int how : {MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, 0}) {
        const context c(std::to_string(flags) + " " + std::to_string(protection) + " " +
                        std::to_string(how));
        const int fd = ::open("f", flags);
        char* m = map(fd, page, protection, how);
        if (m != nullptr) {
          OK(::mprotect(m, page, PROT_READ));
          OK(::mprotect(m, page, PROT_READ | PROT_WRITE));
          ::munmap(m, page);
        }
        ::close(fd);
      }
  const int fd = ::open("f", O_RDWR);
  for (const off_t at : {1, 100, 4095, 4096, 1 << 20}) map(fd, page, PROT_READ, MAP_SHARED, at);
  map(fd, 0, PROT_READ, MAP_SHARED);
  const int d = ::open(".", O_RDONLY);
  map(d, page, PROT_READ, MAP_SHARED);
  ::close(d);
  ::close(fd);
  make_file("empty", "");
  const int empty = ::open("empty", O_RDWR);
  char* m = map(empty, page, PROT_READ | PROT_WRITE, MAP_SHARED);
  if (m != nullptr) {
    note("of an empty file", touch(m, false));
    note("of an empty file, writing", touch(m, true));
  }
  LSTAT("empty");
  ::close(empty);
}

void mixed_with_everything() {
  const int fd = ::open("f", O_CREAT | O_RDWR, 0644), direct = ::open("f", O_RDWR | O_DIRECT);
  OK(::ftruncate(fd, 1 << 20));
  char* m = map(fd, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED);
  if (m == nullptr) return;
  alignas(4096) static char room[2 * page];
  std::memset(room, 'D', sizeof room);
  for (int i = 0; i < 20; ++i) {
    const context c(std::to_string(i));
    const off_t at = i * 10 * static_cast<off_t>(page);
    std::memset(m + at, 'a' + i, 3 * page);
    NUM(::pwrite(direct, room, page, at + static_cast<off_t>(page)));
    note("mapped", hex(std::string(m + at + page - 3, 6) + std::string(m + at + 2 * page - 3, 6)));
    NUM(::pread(direct, room + page, page, at));
    note("direct", hex(std::string(room + page, 5)));
    NUM(::pwrite(fd, "w", 1, at + 5));
    note("mapped", hex(std::string(m + at, 8)));
    std::memset(room, 'D', sizeof room);
  }
  OK(::fsync(fd));
  note("content", file_bytes("f"));
  const int other = ::open("g", O_CREAT | O_RDWR, 0644);
  NUM(::write(other, m, 300000));  // from a mapping
  note("copied", file_bytes("g"));
  NUM(::pread(other, m + 500000, 300000, 0));  // into a mapping
  note("content", file_bytes("f"));
  NUM(::pwrite(fd, m + 100, 50000, 200));  // onto itself
  note("content", file_bytes("f"));
  OK(::unlink("f"));
  m[77] = '!';
  OK(::msync(m, 1 << 20, MS_SYNC));
  NUM(::pread(fd, room, 1, 77));
  note("unlinked", hex(std::string(room, 1)));
  ::munmap(m, 1 << 20);
  ::close(fd);
  ::close(direct);
  ::close(other);
}

void forked() {
  make_file("f", std::string(page, '0'));
  const int fd = ::open("f", O_RDWR);
  char* m = map(fd, page, PROT_READ | PROT_WRITE, MAP_SHARED);
  if (m == nullptr) return;
  in_child([m] { m[1] = 'c'; });
  note("the child's", hex(std::string(m, 3)));
  in_child([] {
    const int mine = ::open("f", O_RDWR);
    char* n = map(mine, page, PROT_READ | PROT_WRITE, MAP_SHARED);
    if (n != nullptr) n[2] = 'd';
  });
  note("another mapping's", hex(std::string(m, 4)));
  note("content", file_bytes("f"));
}

}  // namespace

case_list cases_of_mappings() {
  return {{"mmap_shared", shared},
          {"mmap_private", private_mappings},
          {"mmap_protection", protections},
          {"mmap_mixed", mixed_with_everything},
          {"mmap_forked", forked}};
}

}  // namespace conformance
