// Who may do what: owner, group and others by r, w and x, for every call; sticky and setgid
// directories.
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "tests/conformance/harness.h"

namespace conformance {
namespace {

const std::vector<user>& users() {
  static const std::vector<user> all = {root, alice, member, bob};
  return all;
}

void use_file() {
  FD(::open("x", O_RDONLY));
  FD(::open("x", O_WRONLY));
  FD(::open("x", O_RDWR));
  FD(::open("x", O_RDONLY | O_APPEND));
  FD(::open("x", O_WRONLY | O_APPEND));
  FD(::open("x", O_RDWR | O_CREAT, 0644));
  FD(::open("x", O_PATH));
  FD(::open("x", O_RDONLY | O_NOATIME));
  OK(::access("x", R_OK));
  OK(::access("x", W_OK));
  OK(::access("x", X_OK));
  struct stat st {};
  OK(::stat("x", &st));
  OK(static_cast<int>(::getxattr("x", "user.a", room_of_100(), 100)));
  NUM(::listxattr("x", room_of_100(), 100));
  OK(::setxattr("x", "user.b", "v", 1, 0));
  OK(::removexattr("x", "user.b"));
  OK(::setxattr("x", "trusted.b", "v", 1, 0));
  OK(static_cast<int>(::getxattr("x", "trusted.a", room_of_100(), 100)));
  OK(::utimensat(AT_FDCWD, "x", nullptr, 0));
  const timespec old[2] = {{1, 2}, {3, 4}};
  OK(::utimensat(AT_FDCWD, "x", old, 0));
  OK(::link("x", "linked"));
  OK(::unlink("linked"));
  int status = 0;
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execl("./x", "x", static_cast<char*>(nullptr));
    ::_exit(errno);
  }
  ::waitpid(pid, &status, 0);
  note("exec", errno_name(WEXITSTATUS(status)));
  OK(::truncate("x", 9));
  FD(::open("x", O_RDONLY | O_TRUNC));
  FD(::open("x", O_WRONLY | O_TRUNC));
  OK(::chown("x", -1u, -1u));
  OK(::chmod("x", 0644));
}

void files_by_mode() {
  set_mode(".", 0777);
  for (int bits = 0; bits < 8; ++bits)
    for (const int shift : {6, 3, 0}) {
      const mode_t mode = static_cast<mode_t>(bits << shift);
      for (const user& who : users()) {
        const context c("mode " + octal(mode));
        make_file("x");
        (void)!::setxattr("x", "user.a", "v", 1, 0);
        (void)!::setxattr("x", "trusted.a", "v", 1, 0);
        give("x", alice, alice.gid);
        set_mode("x", mode);
        as(who, use_file);
        LSTAT("x");
        empty_here();
      }
    }
}

void prepare_directory(const user& owner, const user& of_files, mode_t mode) {
  make_dir("d");
  make_file("outside");
  give("outside", of_files, of_files.gid);
  set_mode("outside", 0666);
  for (const char* name : {"d/f", "d/unlinked", "d/renamed", "d/out", "d/over", "d/a", "d/b"}) {
    make_file(name);
    give(name, of_files, of_files.gid);
    set_mode(name, 0666);
  }
  for (const char* name : {"d/sub", "d/removed", "d/moved", "d/empty-over"}) {
    make_dir(name, 0777);
    give(name, of_files, of_files.gid);
  }
  if (::symlink("f", "d/s") != 0) note("PREPARATION s", errno_name(errno));
  (void)!::lchown("d/s", of_files.uid, of_files.gid);
  give("d", owner, owner.gid);
  set_mode("d", mode);
}

void use_directory() {
  struct stat st {};
  OK(::stat("d", &st));
  OK(::stat("d/f", &st));
  OK(::stat("d/none", &st));
  OK(::lstat("d/s", &st));
  OK(::access("d/f", R_OK));
  NUM(::readlink("d/s", room_of_100(), 100));
  FD(::open("d/f", O_RDONLY));
  FD(::open("d/f", O_WRONLY));
  FD(::open("d/f", O_RDWR | O_CREAT, 0644));
  FD(::open("d/f", O_RDWR | O_CREAT | O_EXCL, 0644));
  FD(::open("d", O_RDONLY | O_DIRECTORY));
  note("listing", listing("d"));
  const int here = ::open(".", O_RDONLY);
  OK(::chdir("d"));
  (void)!::fchdir(here);
  ::close(here);
  FD(::open("d/new", O_RDWR | O_CREAT, 0644));
  OK(::mkdir("d/newdir", 0755));
  OK(::mkfifo("d/newfifo", 0644));
  OK(::symlink("x", "d/newlink"));
  OK(::link("d/f", "d/newhard"));
  OK(::link("outside", "d/newhard2"));
  FD(::open("d", O_TMPFILE | O_RDWR, 0600));
  OK(::unlink("d/unlinked"));
  OK(::unlink("d/none"));
  OK(::rmdir("d/removed"));
  OK(::rmdir("d/f"));
  OK(::rename("d/renamed", "d/renamed2"));
  OK(::rename("d/a", "d/b"));
  OK(::rename("d/out", "out"));
  OK(::rename("outside", "d/over"));
  OK(::rename("d/moved", "moved"));
  OK(::rename("d/sub", "d/empty-over"));
  OK(::renameat2(AT_FDCWD, "d/f", AT_FDCWD, "d/s", RENAME_EXCHANGE));
  OK(::setxattr("d", "user.x", "v", 1, 0));
  OK(::utimensat(AT_FDCWD, "d", nullptr, 0));
  OK(::access("d", R_OK));
  OK(::access("d", W_OK));
  OK(::access("d", X_OK));
  OK(::access("d/f/..", X_OK));
}

void directories_by_mode() {
  set_mode(".", 0777);
  for (int bits = 0; bits < 8; ++bits)
    for (const int shift : {6, 3, 0})
      for (const user& who : users()) {
        if (shift != 6 && who.uid == 0) continue;
        const mode_t mode = static_cast<mode_t>(bits << shift);
        const context c("mode " + octal(mode));
        prepare_directory(alice, bob, mode);
        as(who, use_directory);
        note("after", listing("d"));
        empty_here();
      }
}

void sticky_directories() {
  set_mode(".", 0777);
  for (const mode_t mode : {0777, 01777, 01770, 01776})
    for (const user& owner : {root, alice, bob})
      for (const user& of_files : {root, alice, bob, member})
        for (const user& who : {alice, member, root}) {
          const context c("mode " + octal(mode) + " of " + owner.name + " files of " +
                          of_files.name);
          prepare_directory(owner, of_files, mode);
          as(who, use_directory);
          note("after", listing("d"));
          empty_here();
        }
  // The parent of what is replaced is sticky, too.
  for (const user& who : {alice, bob}) {
    make_dir("t", 01777);
    make_file("t/of-bob");
    give("t/of-bob", bob, bob.gid);
    make_file("mine");
    give("mine", who, who.gid);
    as(who, [] {
      OK(::rename("mine", "t/of-bob"));
      OK(::renameat2(AT_FDCWD, "mine", AT_FDCWD, "t/of-bob", RENAME_EXCHANGE));
    });
    empty_here();
  }
}

void make_everything(const char* in) {
  const std::string d = in;
  FD(::open((d + "/file").c_str(), O_CREAT | O_RDWR, 02775));
  LSTAT(d + "/file");
  FD(::open((d + "/plain").c_str(), O_CREAT | O_RDWR, 02664));
  LSTAT(d + "/plain");
  OK(::mkdir((d + "/dir").c_str(), 0755));
  LSTAT(d + "/dir");
  OK(::mkdir((d + "/dir/below").c_str(), 02700));
  LSTAT(d + "/dir/below");
  OK(::mkfifo((d + "/fifo").c_str(), 02777));
  LSTAT(d + "/fifo");
  OK(::symlink("x", (d + "/link").c_str()));
  LSTAT(d + "/link");
  OK(::mknod((d + "/node").c_str(), S_IFREG | 06777, 0));
  LSTAT(d + "/node");
}

void setgid_directories() {
  for (const mode_t mode : {0777, 02777, 03777})
    for (const gid_t group : {gid_t{73050}, gid_t{73001}, gid_t{73777}, gid_t{0}})
      for (const user& who : users()) {
        const context c("mode " + octal(mode) + " group " + std::to_string(group));
        make_dir("d");
        give("d", root, group);
        set_mode("d", mode);
        as(who, [] { make_everything("d"); });
        empty_here();
      }
  make_dir("g", 0777);
  give("g", alice, 73050);
  set_mode("g", 02777);
  as(member, [] {
    FD(::open("g/f", O_CREAT | O_RDWR, 02775));
    OK(::chmod("g/f", 02775));
  });
  LSTAT("g/f");
  as(bob, [] {
    FD(::open("g/b", O_CREAT | O_RDWR, 02775));
    OK(::chmod("g/b", 02775));
  });
  LSTAT("g/b");
  as(bob, [] {
    OK(::mkdir("g/dir", 0755));
    OK(::chmod("g/dir", 02755));
    LSTAT("g/dir");
  });
}

void search_on_the_way() {
  make_dir("a");
  make_dir("a/b");
  make_dir("a/b/c", 0777);
  make_file("a/b/c/f", "x", 0666);
  for (const mode_t mode : {0755, 0744, 0711, 0700, 0000}) {
    set_mode("a/b", mode);
    for (const user& who : {bob, root})
      as(who, [mode] {
        const context c("mode " + octal(mode));
        struct stat st {};
        OK(::stat("a/b/c/f", &st));
        OK(::stat("a/b/c", &st));
        OK(::stat("a/b/none", &st));
        OK(::stat("a/b/c/../../b/c/f", &st));
        FD(::open("a/b/c/f", O_RDWR));
        FD(::open("a/b/c/new", O_RDWR | O_CREAT, 0644));
        OK(::unlink("a/b/c/new"));
        OK(::mkdir("a/b/c/dir", 0755));
        OK(::rmdir("a/b/c/dir"));
        OK(::rename("a/b/c/f", "a/b/c/g"));
        OK(::rename("a/b/c/g", "a/b/c/f"));
        OK(::symlink("x", "a/b/c/s"));
        OK(::unlink("a/b/c/s"));
        OK(::link("a/b/c/f", "a/b/c/l"));
        OK(::unlink("a/b/c/l"));
        OK(::truncate("a/b/c/f", 1));
        OK(::chmod("a/b/c/f", 0666));
        OK(::access("a/b/c/f", F_OK));
        OK(::chdir("a/b/c"));
      });
  }
  // A descriptor needs no search on its way.
  set_mode("a/b", 0755);
  const int fd = ::open("a/b/c", O_RDONLY | O_DIRECTORY);
  set_mode("a", 0);
  as(bob, [fd] {
    FD(::openat(fd, "f", O_RDONLY));
    OK(::faccessat(fd, "f", F_OK, 0));
    FD(::openat(fd, "../c/f", O_RDONLY));
    OK(::access("a/b/c/f", F_OK));
  });
  ::close(fd);
}

void rights_are_those_of_the_opening() {
  make_file("f", "0123456789", 0666);
  give("f", alice, alice.gid);
  as(bob, [] {
    const int fd = ::open("f", O_RDWR);
    in_child([] { (void)0; });
    note("opened", ok_or_errno(fd));
    // The owner takes the rights away; what is open stays usable.
    ::close(fd);
  });
  const int fd = ::open("f", O_RDWR);
  set_mode("f", 0);
  as(bob, [fd] {
    NUM(::write(fd, "bob", 3));
    NUM(::pread(fd, room_of_100(), 100, 0));
    OK(::ftruncate(fd, 5));
    OK(::fsync(fd));
    void* at = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    OK(at == MAP_FAILED ? -1 : 0);
    OK(::fchmod(fd, 0666));
    OK(::fchown(fd, bob.uid, bob.gid));
    OK(::futimens(fd, nullptr));
    FD(::open("f", O_RDONLY));
    FD(::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY));
  });
  ::close(fd);
  note("content", file_bytes("f"));
  // Created without rights: the creator writes all the same.
  set_mode(".", 0777);
  as(alice, [] {
    const int mine = ::open("new", O_CREAT | O_RDWR, 0);
    NUM(::write(mine, "x", 1));
    FD(::open("new", O_RDONLY));
    ::close(mine);
  });
}

void capabilities_of_owner_and_root() {
  make_file("f");
  give("f", alice, alice.gid);
  set_mode("f", 0);
  make_dir("d");
  give("d", alice, alice.gid);
  set_mode("d", 0);
  make_file("d/f");
  as(root, [] {
    FD(::open("f", O_RDWR));
    note("listing", listing("d"));
    FD(::open("d/new", O_CREAT | O_RDWR, 0600));
    OK(::access("f", X_OK));
    OK(::access("d", R_OK | W_OK | X_OK));
    OK(::chmod("f", 06000));
    FD(::open("f", O_RDONLY | O_NOATIME));
  });
  as(bob, [] {
    OK(::chmod("f", 0777));
    OK(::chown("f", bob.uid, -1u));
    OK(::chmod("d", 0777));
    FD(::open("f", O_RDONLY | O_NOATIME));
  });
  as(alice, [] {
    OK(::chown("f", bob.uid, -1u));
    OK(::chown("f", alice.uid, -1u));
    OK(::chown("f", -1u, bob.gid));
    OK(::chmod("d", 0700));
    note("listing", listing("d"));
  });
}

}  // namespace

case_list cases_of_permission() {
  return {{"files_by_mode", files_by_mode},
          {"directories_by_mode", directories_by_mode},
          {"sticky", sticky_directories},
          {"setgid_directories", setgid_directories},
          {"search", search_on_the_way},
          {"open_rights", rights_are_those_of_the_opening},
          {"owner_and_root", capabilities_of_owner_and_root}};
}

}  // namespace conformance
