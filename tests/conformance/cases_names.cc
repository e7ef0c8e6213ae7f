// Making, linking and removing names.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "tests/conformance/harness.h"

namespace conformance {
namespace {

void mkdir_makes() {
  for (const int mask : {0, 022, 077, 0777})
    for (const int mode : {0, 0755, 0777, 01777, 02755, 04755, 07777}) {
      const context c("umask " + octal(static_cast<mode_t>(mask)) + " mode " + octal(mode));
      ::umask(static_cast<mode_t>(mask));
      OK(::mkdir("d", static_cast<mode_t>(mode)));
      LSTAT("d");
      OK(::rmdir("d"));
    }
  ::umask(022);
  for (const std::string& kind : kinds) {
    const context c(kind);
    make_kind(kind, "x");
    OK(::mkdir("x", 0755));
    OK(::mkdir("x/", 0755));
    OK(::mkdir("x/below", 0755));
    OK(::mkdir("x/./below2", 0755));
    OK(::mkdir("x/none/below", 0755));
    LSTAT("x");
    empty_here();
  }
  OK(::mkdir(".", 0755));
  OK(::mkdir("..", 0755));
  OK(::mkdir("", 0755));
  OK(::mkdir("/", 0755));
  make_dir("p");
  TIMES("p", ::mkdir("p/a", 0755));
  TIMES("p", ::rmdir("p/a"));
  TIMES("p", ::mkdir("p", 0755));
  LSTAT("p");
  for (int i = 0; i < 5; ++i) OK(::mkdir(("p/" + std::to_string(i)).c_str(), 0755));
  LSTAT("p");
  OK(::rmdir("p/0"));
  make_file("p/f");
  LSTAT("p");
  make_dir("q");
  OK(::rename("p/1", "q/1"));
  LSTAT("p");
  LSTAT("q");
}

void rmdir_removes() {
  for (const std::string& kind : kinds)
    for (const char* path : {"x", "x/", "x/.", "x/..", "x/none"}) {
      const context c(kind + " " + path);
      make_kind(kind, "x");
      OK(::rmdir(path));
      LSTAT("x");
      empty_here();
    }
  OK(::rmdir("."));
  OK(::rmdir(".."));
  OK(::rmdir(""));
  OK(::rmdir("/proc"));
  make_dir("d");
  make_dir("d/e");
  OK(::rmdir("d/e/.."));
  OK(::rmdir("d"));
  OK(::unlinkat(AT_FDCWD, "d/e", 0));
  OK(::unlinkat(AT_FDCWD, "d/e", AT_REMOVEDIR));
  OK(::unlinkat(AT_FDCWD, "d", AT_REMOVEDIR | 0x40000000));
  OK(::unlinkat(-1, "d", AT_REMOVEDIR));
  OK(::rmdir("d"));
}

void removed_directory_is_still_open() {
  make_dir("d");
  const int fd = ::open("d", O_RDONLY | O_DIRECTORY);
  OK(::rmdir("d"));
  struct stat st {};
  NUM(::fstat(fd, &st) == 0 ? static_cast<long>(st.st_nlink) : -1);
  FD(::openat(fd, "new", O_CREAT | O_WRONLY, 0644));
  OK(::mkdirat(fd, "new", 0755));
  OK(::symlinkat("x", fd, "new"));
  OK(::mknodat(fd, "new", S_IFIFO | 0644, 0));
  make_file("f");
  OK(::linkat(AT_FDCWD, "f", fd, "new", 0));
  OK(::renameat(AT_FDCWD, "f", fd, "new"));
  OK(::faccessat(fd, "x", F_OK, 0));
  OK(::fstatat(fd, ".", &st, 0));
  FD(::openat(fd, ".", O_RDONLY | O_DIRECTORY));
  OK(::fchmod(fd, 0700));
  OK(::fsync(fd));
  ::close(fd);
  make_dir("e");
  OK(::chdir("e"));
  OK(::rmdir("../e"));
  OK(::stat(".", &st));
  NUM(static_cast<long>(st.st_nlink));
  FD(::open("f", O_CREAT | O_WRONLY, 0644));
  OK(::mkdir("g", 0755));
  FD(::open(".", O_RDONLY | O_DIRECTORY));
  note("listing", listing("."));
  OK(::access("none", F_OK));
  char room[4096];
  OK(::getcwd(room, sizeof room) == nullptr ? -1 : 0);
  OK(::chdir(".."));
}

void unlink_removes() {
  for (const std::string& kind : kinds)
    for (const char* path : {"x", "x/", "x/.", "x/none"}) {
      const context c(kind + " " + path);
      make_kind(kind, "x");
      OK(::unlink(path));
      LSTAT("x");
      empty_here();
    }
  OK(::unlink("."));
  OK(::unlink(".."));
  OK(::unlink(""));
  make_file("a");
  OK(::link("a", "b"));
  TIMES("a", ::unlink("b"));
  LSTAT("a");
  make_dir("d");
  make_file("d/f");
  TIMES("d", ::unlink("d/f"));
  const int fd = ::open("a", O_RDWR);
  OK(::unlink("a"));
  note("fstat", fstat_of(fd));
  NUM(::write(fd, "new", 3));
  NUM(::pread(fd, room_of_100(), 100, 0));
  OK(::ftruncate(fd, 100));
  OK(::fchmod(fd, 0600));
  OK(::fchown(fd, 5, 6));
  note("fstat after", fstat_of(fd));
  OK(::linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(fd)).c_str(), AT_FDCWD, "again",
              AT_SYMLINK_FOLLOW));
  FD(::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY));
  make_file("a", "another");
  note("the new one", file_bytes("a"));
  NUM(::pread(fd, room_of_100(), 100, 0));
  ::close(fd);
}

void link_links() {
  for (const std::string& from : kinds)
    for (const std::string& to : kinds) {
      const context c(from + " to " + to);
      make_kind(from, "x");
      make_kind(to, "y");
      OK(::link("x", "y"));
      LSTAT("x");
      LSTAT("y");
      empty_here();
    }
  make_file("f");
  OK(::link("f", "f"));
  OK(::link("f", "f/"));
  OK(::link("f/", "g"));
  OK(::link("f/g", "h"));
  OK(::link("f", ""));
  OK(::link("", "g"));
  OK(::link("f", "none/g"));
  OK(::link("f", "."));
  OK(::symlink("f", "s"));
  OK(::linkat(AT_FDCWD, "s", AT_FDCWD, "s-hard", 0));
  LSTAT("s-hard");
  OK(::linkat(AT_FDCWD, "s", AT_FDCWD, "s-followed", AT_SYMLINK_FOLLOW));
  LSTAT("s-followed");
  OK(::linkat(AT_FDCWD, "s", AT_FDCWD, "s-bad", 0x40000000));
  TIMES("f", ::link("f", "f2"));
  make_dir("d");
  TIMES("d", ::link("f", "d/f3"));
  OK(::link("f", "/proc/x"));
  OK(::link("/proc/self/status", "x"));
  LSTAT("f");
  struct stat a {
  }, b{};
  OK(::stat("f", &a));
  OK(::stat("d/f3", &b));
  NUM(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
  const int path_fd = ::open("f", O_PATH);
  OK(::linkat(path_fd, "", AT_FDCWD, "by-fd", AT_EMPTY_PATH));
  LSTAT("by-fd");
  as(alice, [&] { OK(::linkat(path_fd, "", AT_FDCWD, "by-fd2", AT_EMPTY_PATH)); });
  ::close(path_fd);
}

void symlinks() {
  for (const std::string& kind : kinds) {
    const context c(kind);
    make_kind(kind, "x");
    OK(::symlink("anything", "x"));
    OK(::symlink("anything", "x/"));
    OK(::symlink("anything", "x/below"));
    LSTAT("x");
    char room[100];
    NUM(::readlink("x", room, sizeof room));
    NUM(::readlink("x", room, 3));
    NUM(::readlink("x/", room, sizeof room));
    OK(::readlink("x", room, 0));
    empty_here();
  }
  OK(::symlink("", "x"));
  OK(::symlink("x", ""));
  for (const std::size_t size : {1, 59, 60, 255, 256, 1023, 4000, 4094, 4095, 4096, 5000}) {
    const context c("target of " + std::to_string(size));
    const std::string target(size, 't');
    OK(::symlink(target.c_str(), "long"));
    LSTAT("long");
    std::string room(5000, '\0');
    NUM(::readlink("long", room.data(), room.size()));
    NUM(room.substr(0, size) == target);
    (void)::unlink("long");
  }
  OK(::symlink("\x01\xff\xfe strange\n", "bytes"));
  char room[100] = {};
  NUM(::readlink("bytes", room, sizeof room));
  note("target", hex(room));
  ::umask(0777);
  OK(::symlink("x", "masked"));
  ::umask(022);
  LSTAT("masked");
  make_dir("d");
  TIMES("d", ::symlink("x", "d/s"));
  TIMES("d/s", ::readlink("d/s", room, sizeof room));
  TIMES("d/s", ::lchown("d/s", 7, 8));
  LSTAT("d/s");
  as(alice, [] {
    char small[10];
    NUM(::readlink("d/s", small, sizeof small));
  });
}

void mknods() {
  struct shape {
    mode_t mode;
    dev_t device;
  };
  const std::vector<shape> shapes = {{S_IFIFO | 0644, 0},
                                     {S_IFSOCK | 0600, 0},
                                     {S_IFREG | 0640, 0},
                                     {0640, 0},
                                     {S_IFCHR | 0666, makedev(1, 3)},
                                     {S_IFBLK | 0660, makedev(7, 300)},
                                     {S_IFDIR | 0755, 0},
                                     {S_IFLNK | 0777, 0},
                                     {S_IFIFO | 07777, 5},
                                     {0170000, 0},
                                     {S_IFCHR | 0666, makedev(4095, 1048575)},
                                     {S_IFREG | 06755, 3}};
  for (const user& who : {root, alice})
    for (const shape& s : shapes) {
      const context c("mode " + octal(s.mode) + " device " + std::to_string(s.device));
      make_dir("d", 0777);
      as(who, [&] {
        OK(::mknod("d/x", s.mode, s.device));
        LSTAT("d/x");
        OK(::mknod("d/x", s.mode, s.device));
        TIMES("d", ::mknod("d/y", s.mode, s.device));
      });
      empty_here();
    }
  for (const std::string& kind : kinds) {
    const context c(kind);
    make_kind(kind, "x");
    OK(::mkfifo("x", 0644));
    OK(::mkfifo("x/", 0644));
    OK(::mkfifo("x/below", 0644));
    empty_here();
  }
  OK(::mkfifo("fifo", 0666));
  const int reader = ::open("fifo", O_RDONLY | O_NONBLOCK);
  const int writer = ::open("fifo", O_WRONLY | O_NONBLOCK);
  NUM(::write(writer, "through", 7));
  NUM(::read(reader, room_of_100(), 100));
  LSTAT("fifo");
  OK(::fchmod(writer, 0600));
  LSTAT("fifo");
  ::close(reader);
  ::close(writer);
  OK(::mknod("null", S_IFCHR | 0666, makedev(1, 3)));
  const int null = ::open("null", O_RDWR);
  NUM(::write(null, "gone", 4));
  NUM(::read(null, room_of_100(), 100));
  ::close(null);
}

void names_of_any_length_and_bytes() {
  for (const std::size_t size : {1, 2, 127, 254, 255, 256, 257, 1000, 4094, 4095, 4096, 5000}) {
    const context c("name of " + std::to_string(size));
    const std::string name(size, 'n'), other(size, 'm');
    OK(::mkdir(name.c_str(), 0755));
    OK(::rmdir(name.c_str()));
    FD(::open(name.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644));
    OK(::link(name.c_str(), other.c_str()));
    OK(::rename(other.c_str(), "short"));
    OK(::rename("short", other.c_str()));
    OK(::unlink(other.c_str()));
    OK(::symlink("x", other.c_str()));
    OK(::access(name.c_str(), F_OK));
    OK(::truncate(name.c_str(), 0));
    OK(::chmod(name.c_str(), 0600));
    OK(::mkfifo((name.substr(1) + "f").c_str(), 0600));
    LSTAT(name);
    OK(::unlink(name.c_str()));
    empty_here();
  }
  for (int byte = 1; byte < 256; ++byte) {
    if (byte == '/' || byte == '.') continue;
    const context c("byte " + std::to_string(byte));
    const std::string name(1, static_cast<char>(byte)), longer = "a" + name + "b";
    make_file(name);
    OK(::rename(name.c_str(), longer.c_str()));
    LSTAT(longer);
    LSTAT(name);
    OK(::mkdir(name.c_str(), 0755));
  }
  note("all of them", listing("."));
  for (const char* name :
       {"...", " ", "..a", ".hidden", "a.", "\\", "\xc3\xa4", "a\xcc\x88", "A", "a"}) {
    const context c(hex(name));
    FD(::open(name, O_CREAT | O_EXCL | O_WRONLY, 0644));
  }
  note("and more", listing("."));
}

}  // namespace

case_list cases_of_names() {
  return {{"mkdir", mkdir_makes},
          {"rmdir", rmdir_removes},
          {"removed_directory", removed_directory_is_still_open},
          {"unlink", unlink_removes},
          {"link", link_links},
          {"symlink", symlinks},
          {"mknod", mknods},
          {"names", names_of_any_length_and_bytes}};
}

}  // namespace conformance
