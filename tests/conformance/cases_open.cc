// open, creat, O_TMPFILE, openat2; descriptors and what they allow.
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <csignal>

#include "tests/conformance/harness.h"

namespace conformance {
namespace {

struct flag_word {
  int flag;
  const char* name;
};
constexpr flag_word flag_words[] = {{O_CREAT, "CREAT"},       {O_EXCL, "EXCL"},
                                    {O_TRUNC, "TRUNC"},       {O_DIRECTORY, "DIRECTORY"},
                                    {O_NOFOLLOW, "NOFOLLOW"}, {O_PATH, "PATH"}};

std::string flags_text(int flags) {
  std::string text = std::to_string(flags & O_ACCMODE);
  for (const flag_word& w : flag_words)
    if ((flags & w.flag) == w.flag) text += std::string("|") + w.name;
  return text;
}

void try_all_flags(const char* path) {
  for (int bits = 0; bits < 64; ++bits)
    for (const int way : {O_RDONLY, O_WRONLY, O_RDWR, 3}) {
      int flags = way;
      for (int i = 0; i < 6; ++i)
        if ((bits & (1 << i)) != 0) flags |= flag_words[i].flag;
      // On what may be made or emptied the next combination finds it as it was.
      const std::string label = std::string(path) + " " + flags_text(flags);
      const int fd = ::open(path, flags | O_NONBLOCK, 0644);
      note(label, ok_or_errno(fd));
      if (fd < 0) continue;
      note(label + " fstat", fstat_of(fd));
      ::close(fd);
      struct stat st {};
      if ((flags & O_TRUNC) != 0 && ::stat(path, &st) == 0 && st.st_size == 0)
        (void)!::truncate(path, 10);
      if ((flags & O_CREAT) != 0 && std::strcmp(path, "none") == 0) (void)::unlink("none");
    }
}

void all_flags() {
  for (const std::string& kind : kinds) {
    const context c(kind);
    if (kind == "none") {
      try_all_flags("none");
    } else if (kind == "dangle") {
      make_kind(kind, "x");
      for (const int flags :
           {O_RDONLY, O_RDONLY | O_NOFOLLOW, O_CREAT | O_EXCL | O_RDWR, O_RDONLY | O_PATH,
            O_PATH | O_NOFOLLOW, O_CREAT | O_NOFOLLOW, O_CREAT | O_DIRECTORY})
        note(std::to_string(flags), fd_or_errno(::open("x", flags, 0644)));
    } else {
      make_kind(kind, "x");
      try_all_flags("x");
      for (const int flags : {O_RDONLY, O_RDWR, O_RDWR | O_CREAT, O_RDONLY | O_DIRECTORY, O_PATH})
        note("slash " + std::to_string(flags), fd_or_errno(::open("x/", flags | O_NONBLOCK, 0644)));
    }
    empty_here();
  }
}

void creation_modes() {
  for (const int mask : {0, 022, 027, 077, 0777})
    for (const int mode : {0, 0400, 0644, 0666, 0777, 01666, 02666, 04666, 06755, 07777, 0100644}) {
      const context c("umask " + octal(static_cast<mode_t>(mask)) + " mode " + octal(mode));
      make_dir("d", 0777);
      for (const user& who : {root, alice})
        as(who, [&] {
          ::umask(static_cast<mode_t>(mask));
          const std::string path = std::string("d/") + who.name;
          const int fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR, static_cast<mode_t>(mode));
          NUM(fd < 0 ? -1 : 0);
          NUM(::write(fd, "may", 3));  // whatever the mode
          note("fstat", fstat_of(fd));
          ::close(fd);
          FD(::open(path.c_str(), O_RDWR));
        });
      empty_here();
    }
  make_dir("p");
  TIMES("p", ::close(::open("p/f", O_CREAT | O_RDWR, 0644)));
  TIMES("p", ::close(::open("p/f", O_CREAT | O_RDWR, 0644)));
  TIMES("p/f", ::close(::open("p/f", O_RDWR | O_TRUNC)));
  make_file("p/g");
  TIMES("p/g", ::close(::open("p/g", O_RDWR | O_TRUNC)));
  TIMES("p/g", ::close(::open("p/g", O_RDWR)));
  OK(::creat("p/none/x", 0644));
  FD(::creat("p/c", 0600));
  FD(::creat("p", 0600));
  LSTAT("p/c");
}

void what_descriptors_allow() {
  make_file("f");
  make_dir("d");
  struct way {
    const char* name;
    const char* path;
    int flags;
  };
  for (const way& w :
       {way{"read", "f", O_RDONLY}, way{"write", "f", O_WRONLY}, way{"both", "f", O_RDWR},
        way{"append", "f", O_WRONLY | O_APPEND}, way{"path", "f", O_PATH},
        way{"dir", "d", O_RDONLY | O_DIRECTORY}, way{"dir path", "d", O_PATH}}) {
    const context c(w.name);
    const int fd = ::open(w.path, w.flags);
    NUM(::read(fd, room_of_100(), 4));
    NUM(::pread(fd, room_of_100(), 4, 2));
    NUM(::write(fd, "zz", 2));
    NUM(::pwrite(fd, "yy", 2, 1));
    NUM(::lseek(fd, 0, SEEK_CUR));
    NUM(::lseek(fd, -1, SEEK_SET));
    NUM(::lseek(fd, 0, 99));
    OK(::ftruncate(fd, 8));
    OK(::ftruncate(fd, -1));
    OK(::fsync(fd));
    OK(::fdatasync(fd));
    OK(::fchmod(fd, 0644));
    OK(::fchown(fd, 0, 0));
    OK(::futimens(fd, nullptr));
    OK(::fchdir(fd));
    (void)!::chdir(w.path[0] == 'd' ? ".." : ".");
    OK(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0 ? 0 : -1);
    OK(::fallocate(fd, 0, 0, 5));
    OK(::syncfs(fd));
    void* at = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
    OK(at == MAP_FAILED ? -1 : 0);
    at = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    OK(at == MAP_FAILED ? -1 : 0);
    NUM(::fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND));
    struct stat st {};
    OK(::fstat(fd, &st));
    OK(::openat(fd, "x", O_RDONLY));
    ::close(fd);
    OK(::close(fd));
  }
  note("content", file_bytes("f"));
}

int run_program(const char* path) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execl(path, path, "30", static_cast<char*>(nullptr));
    ::_exit(errno);
  }
  return pid;
}

int copy_program(const char* from, const char* to) {
  const int in = ::open(from, O_RDONLY), out = ::open(to, O_CREAT | O_WRONLY, 0755);
  std::vector<char> room(1 << 16);
  for (ssize_t n; (n = ::read(in, room.data(), room.size())) > 0;)
    if (::write(out, room.data(), static_cast<std::size_t>(n)) != n) return -1;
  ::close(in);
  return ::close(out);
}

void text_is_busy() {
  OK(copy_program("/bin/sleep", "sleep"));
  const int writer = ::open("sleep", O_WRONLY);
  int status = 0;
  ::waitpid(run_program("./sleep"), &status, 0);
  note("exec of what is written", errno_name(WEXITSTATUS(status)));
  ::close(writer);
  const pid_t pid = run_program("./sleep");
  for (int i = 0; i < 100; ++i) {  // until it is running the copy
    char room[4096];
    const ssize_t n =
        ::readlink(("/proc/" + std::to_string(pid) + "/exe").c_str(), room, sizeof room);
    if (n > 6 &&
        std::string(room, static_cast<std::size_t>(n)).find("conformance-") != std::string::npos)
      break;
    nap();
  }
  FD(::open("sleep", O_WRONLY));
  FD(::open("sleep", O_RDWR));
  FD(::open("sleep", O_RDONLY | O_TRUNC));
  FD(::open("sleep", O_RDONLY));
  OK(::truncate("sleep", 0));
  OK(::chmod("sleep", 0700));
  OK(::link("sleep", "other"));
  FD(::open("other", O_WRONLY));
  OK(::unlink("sleep"));
  ::kill(pid, SIGKILL);
  ::waitpid(pid, &status, 0);
  FD(::open("other", O_WRONLY));
  make_file("script", "#!/bin/sh\nexit 7\n", 0755);
  ::waitpid(run_program("./script"), &status, 0);
  NUM(WEXITSTATUS(status));
  make_file("not-executable", "#!/bin/sh\nexit 7\n", 0644);
  ::waitpid(run_program("./not-executable"), &status, 0);
  note("exec without x", errno_name(WEXITSTATUS(status)));
  make_file("garbage", "garbage", 0755);
  ::waitpid(run_program("./garbage"), &status, 0);
  note("exec of garbage", errno_name(WEXITSTATUS(status)));
}

std::string fd_path(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

// The kernel opens them by itself, and what has no name is still there.
void unlinked_specials() {
  const std::vector<std::pair<const char*, mode_t>> kinds{
      {"fifo", S_IFIFO}, {"device", S_IFCHR}, {"socket", S_IFSOCK}};
  for (const auto& [kind, type] : kinds) {
    const context c(kind);
    OK(::mknod("node", type | 0600, makedev(1, 3)));
    const int path = ::open("node", O_PATH);
    FD(::open("node", O_RDWR | O_NONBLOCK));
    const int fd = ::open("node", O_RDWR | O_NONBLOCK);
    make_file("file");
    OK(type == S_IFIFO ? ::rename("file", "node") : ::unlink("node"));
    note("fstat", fstat_of(path));
    OK(::chmod(fd_path(path).c_str(), 0640));
    OK(::fchownat(path, "", 1, 2, AT_EMPTY_PATH));
    note("fstat", fstat_of(path));
    if (fd >= 0) {
      OK(::fchmod(fd, 0604));
      OK(::futimens(fd, nullptr));
      NUM(::write(fd, "abc", 3));
      note("fstat", fstat_of(fd));
      ::close(fd);
    }
    FD(::open(fd_path(path).c_str(), O_RDWR | O_NONBLOCK));
    ::close(path);
    empty_here();
  }
}

void unnamed_files() {
  make_dir("d");
  const int fd = ::open("d", O_TMPFILE | O_RDWR, 0640);
  OK(fd);
  note("fstat", fstat_of(fd));
  note("nothing in it", listing("d"));
  NUM(::write(fd, "unnamed", 7));
  OK(::ftruncate(fd, 20));
  OK(::fchmod(fd, 0600));
  OK(::fsync(fd));
  note("fstat", fstat_of(fd));
  OK(::linkat(AT_FDCWD, fd_path(fd).c_str(), AT_FDCWD, "d/named", AT_SYMLINK_FOLLOW));
  LSTAT("d/named");
  note("content", file_bytes("d/named"));
  OK(::linkat(fd, "", AT_FDCWD, "d/twice", AT_EMPTY_PATH));
  OK(::unlink("d/named"));
  OK(::unlink("d/twice"));
  OK(::linkat(fd, "", AT_FDCWD, "d/after", AT_EMPTY_PATH));
  note("fstat", fstat_of(fd));
  ::close(fd);
  const int closed = ::open("d", O_TMPFILE | O_RDWR | O_EXCL, 0640);
  OK(closed);
  OK(::linkat(AT_FDCWD, fd_path(closed).c_str(), AT_FDCWD, "d/excl", AT_SYMLINK_FOLLOW));
  ::close(closed);
  FD(::open("d", O_TMPFILE | O_RDONLY, 0640));
  FD(::open("d", O_TMPFILE | O_WRONLY, 0640));
  FD(::open("d", O_TMPFILE | O_RDWR | O_CREAT, 0640));
  FD(::open("none", O_TMPFILE | O_RDWR, 0640));
  make_file("f");
  FD(::open("f", O_TMPFILE | O_RDWR, 0640));
  as(alice, [] { FD(::open("d", O_TMPFILE | O_RDWR, 0640)); });
  set_mode("d", 02777);
  give("d", root, 73050);
  set_mode("d", 02777);
  as(alice, [] {
    const int mine = ::open("d", O_TMPFILE | O_RDWR, 06777);
    OK(mine);
    note("fstat", fstat_of(mine));
    OK(::linkat(AT_FDCWD, fd_path(mine).c_str(), AT_FDCWD, "d/alices", AT_SYMLINK_FOLLOW));
    LSTAT("d/alices");
    NUM(::write(mine, "x", 1));
  });
  LSTAT("d/alices");
  TIMES("d", ::close(::open("d", O_TMPFILE | O_RDWR, 0600)));
}

void positions_and_duplicates() {
  make_file("f");
  const int a = ::open("f", O_RDWR), b = ::dup(a), c = ::open("f", O_RDWR | O_APPEND);
  NUM(::lseek(a, 4, SEEK_SET));
  NUM(::lseek(b, 0, SEEK_CUR));
  NUM(::write(b, "++", 2));
  NUM(::lseek(a, 0, SEEK_CUR));
  NUM(::lseek(c, 0, SEEK_CUR));
  NUM(::write(c, "end", 3));
  NUM(::lseek(c, 0, SEEK_CUR));
  NUM(::pwrite(c, "PW", 2, 0));  // Linux appends
  note("content", file_bytes("f"));
  NUM(::lseek(a, -3, SEEK_END));
  NUM(::lseek(a, 100, SEEK_END));
  NUM(::write(a, "far", 3));
  LSTAT("f");
  note("content", file_bytes("f"));
  OK(::fcntl(a, F_SETFL, O_APPEND));
  NUM(::lseek(a, 0, SEEK_SET));
  NUM(::write(a, "tail", 4));
  NUM(::lseek(a, 0, SEEK_CUR));
  OK(::fcntl(a, F_SETFL, 0));
  NUM(::pwrite(a, "front", 5, 0));
  note("content", file_bytes("f"));
  in_child([&] { NUM(::lseek(a, 1, SEEK_SET)); });
  NUM(::lseek(b, 0, SEEK_CUR));
}

}  // namespace

case_list cases_of_open() {
  return {{"open_flags", all_flags},
          {"open_modes", creation_modes},
          {"descriptors", what_descriptors_allow},
          {"text_busy", text_is_busy},
          {"tmpfile", unnamed_files},
          {"unlinked_specials", unlinked_specials},
          {"positions", positions_and_duplicates}};
}

}  // namespace conformance
