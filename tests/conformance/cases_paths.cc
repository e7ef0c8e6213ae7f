// Resolving paths: what every call has in common.
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include "tests/conformance/harness.h"

namespace conformance {
namespace {

// Calls that take a path; each leaves things as they are, or fails.
struct path_call {
  const char* name;
  std::function<long(const char*)> call;
};

const std::vector<path_call>& path_calls() {
  static const std::vector<path_call> calls = {
      {"open",
       [](const char* p) {
         const int fd = ::open(p, O_RDONLY | O_NONBLOCK);
         if (fd >= 0) ::close(fd);
         return long{fd < 0 ? -1 : 0};
       }},
      {"open create",
       [](const char* p) {
         const int fd = ::open(p, O_RDWR | O_CREAT | O_NONBLOCK, 0644);
         if (fd >= 0) ::close(fd);
         return long{fd < 0 ? -1 : 0};
       }},
      {"open directory",
       [](const char* p) {
         const int fd = ::open(p, O_RDONLY | O_DIRECTORY);
         if (fd >= 0) ::close(fd);
         return long{fd < 0 ? -1 : 0};
       }},
      {"stat",
       [](const char* p) {
         struct stat st;
         return long{::stat(p, &st)};
       }},
      {"lstat",
       [](const char* p) {
         struct stat st;
         return long{::lstat(p, &st)};
       }},
      {"access", [](const char* p) { return long{::access(p, R_OK)}; }},
      {"chmod", [](const char* p) { return long{::chmod(p, 0755)}; }},
      {"chown", [](const char* p) { return long{::chown(p, 0, 0)}; }},
      {"lchown", [](const char* p) { return long{::lchown(p, 0, 0)}; }},
      {"truncate", [](const char* p) { return long{::truncate(p, 5)}; }},
      {"utimensat", [](const char* p) { return long{::utimensat(AT_FDCWD, p, nullptr, 0)}; }},
      {"utimensat nofollow",
       [](const char* p) { return long{::utimensat(AT_FDCWD, p, nullptr, AT_SYMLINK_NOFOLLOW)}; }},
      {"readlink", [](const char* p) { return long{::readlink(p, room_of_100(), 100)}; }},
      {"chdir",
       [](const char* p) {
         const int fd = ::open(".", O_RDONLY);
         const long r = ::chdir(p);
         const int e = errno;
         (void)!::fchdir(fd);
         ::close(fd);
         errno = e;
         return r;
       }},
      {"opendir",
       [](const char* p) {
         DIR* d = ::opendir(p);
         if (d != nullptr) ::closedir(d);
         return long{d == nullptr ? -1 : 0};
       }},
      {"mkdir", [](const char* p) { return long{::mkdir(p, 0755)}; }},
      {"mkfifo", [](const char* p) { return long{::mkfifo(p, 0644)}; }},
      {"symlink", [](const char* p) { return long{::symlink("x", p)}; }},
      {"link from",
       [](const char* p) {
         const long r = ::link(p, "linked");
         const int e = errno;
         if (r == 0) ::unlink("linked");
         errno = e;
         return r;
       }},
      {"link to", [](const char* p) { return long{::link("other", p)}; }},
      {"rename from", [](const char* p) { return long{::rename(p, "other-dir/none/x")}; }},
      {"rename to", [](const char* p) { return long{::rename("no-such", p)}; }},
      {"statfs",
       [](const char* p) {
         struct statfs s;
         return long{::statfs(p, &s)};
       }},
      {"pathconf", [](const char* p) { return ::pathconf(p, _PC_NAME_MAX); }},
      {"rmdir", [](const char* p) { return long{::rmdir(p)}; }},
      {"unlink", [](const char* p) { return long{::unlink(p)}; }},
  };
  return calls;
}

void try_all(const char* path) {
  const context c(std::string("path ") +
                  (std::strlen(path) > 40 ? std::to_string(std::strlen(path)) + " bytes" : path));
  for (const path_call& p : path_calls()) note(p.name, number_or_errno(p.call(path)));
}

void every_kind() {
  for (const std::string& kind : kinds)
    for (const char* path : {"x", "x/", "x//", "x/.", "x/..", "./x", "x/none", "x/none/", "x/../x",
                             "x/inside/", "x/inside/x"}) {
      const context c(kind);
      make_file("other");
      make_dir("other-dir");
      make_kind(kind, "x");
      try_all(path);
      empty_here();
    }
}

void lengths() {
  const std::vector<std::string> paths = {
      std::string(255, 'a'),        std::string(256, 'a'),        std::string(256, 'a') + "/b",
      std::string(255, 'a') + "/b", "x/" + std::string(256, 'a'), std::string(4095, 'a'),
      std::string(4096, 'a'),       std::string(4093, '/') + "xx"};
  for (const std::string& path : paths) {
    make_file("other");
    make_dir("other-dir");
    if (path.front() != '/') try_all(path.c_str());
    empty_here();
  }
  std::string dotted;
  while (dotted.size() < 4092) dotted += "./";
  make_file("f");
  OK(::access((dotted + "f").c_str(), F_OK));
  OK(::access((dotted + "./f").c_str(), F_OK));
  OK(::access((dotted + "././f").c_str(), F_OK));
  OK(::access("", F_OK));
}

void chains_of_links() {
  make_dir("d");
  make_file("d/f");
  OK(::symlink("d", "l0"));
  OK(::symlink("d/f", "f0"));
  for (int i = 1; i <= 45; ++i) {
    OK(::symlink(("l" + std::to_string(i - 1)).c_str(), ("l" + std::to_string(i)).c_str()));
    OK(::symlink(("f" + std::to_string(i - 1)).c_str(), ("f" + std::to_string(i)).c_str()));
  }
  for (const int i : {0, 1, 38, 39, 40, 41, 45}) {
    const context c(std::to_string(i));
    const std::string dir = "l" + std::to_string(i), file = "f" + std::to_string(i);
    OK(::access((dir + "/f").c_str(), F_OK));
    OK(::access(file.c_str(), F_OK));
    FD(::open(file.c_str(), O_RDWR));
    FD(::open(file.c_str(), O_RDWR | O_CREAT, 0644));
    OK(::mkdir((dir + "/new").c_str(), 0755));
    OK(::rmdir((dir + "/new").c_str()));
    OK(::truncate(file.c_str(), 3));
  }
  OK(::symlink("loop-b", "loop-a"));
  OK(::symlink("loop-a", "loop-b"));
  make_file("other");
  make_dir("other-dir");
  for (const char* path : {"loop-a", "loop-a/x", "loop-a/", "d/../loop-b/.."}) try_all(path);
  OK(::symlink("../d/f", "d/up"));
  OK(::symlink("up/", "d/slash"));
  OK(::symlink(".", "d/self"));
  note("up", file_bytes("d/up"));
  OK(::access("d/slash", F_OK));
  OK(::access("d/self/self/self/f", F_OK));
  OK(::symlink("nowhere", "dangle"));
  FD(::open("dangle", O_RDWR | O_CREAT, 0644));
  LSTAT("nowhere");
  OK(::symlink("nowhere2", "dangle2"));
  FD(::open("dangle2", O_RDWR | O_CREAT | O_EXCL, 0644));
  LSTAT("nowhere2");
  OK(::symlink("nodir/x", "dangle3"));
  FD(::open("dangle3", O_RDWR | O_CREAT, 0644));
}

void dot_dot_is_right_after_a_move() {
  make_dir("a");
  make_dir("a/sub");
  make_dir("b");
  make_file("a/in-a");
  make_file("b/in-b");
  const int fd = ::open("a/sub", O_RDONLY | O_DIRECTORY);
  OK(::faccessat(fd, "../in-a", F_OK, 0));
  OK(::rename("a/sub", "b/sub"));
  OK(::faccessat(fd, "../in-a", F_OK, 0));
  OK(::faccessat(fd, "../in-b", F_OK, 0));
  struct stat parent {
  }, b{};
  OK(::fstatat(fd, "..", &parent, 0));
  OK(::stat("b", &b));
  NUM(parent.st_ino == b.st_ino);
  DIR* dir = ::fdopendir(::dup(fd));
  while (const dirent* e = ::readdir(dir))
    if (std::strcmp(e->d_name, "..") == 0) NUM(e->d_ino == b.st_ino);
  ::closedir(dir);
  ::close(fd);
}

void limits() {
  make_file("f");
  make_dir("d");
  OK(::symlink("f", "s"));
  const int fd = ::open("f", O_RDWR);
  for (const int name :
       {_PC_LINK_MAX, _PC_NAME_MAX, _PC_PATH_MAX, _PC_PIPE_BUF, _PC_CHOWN_RESTRICTED, _PC_NO_TRUNC,
        _PC_SYMLINK_MAX, _PC_2_SYMLINKS, _PC_FILESIZEBITS}) {
    const bool is_guess = name == _PC_LINK_MAX || name == _PC_FILESIZEBITS;
    const context c((is_guess ? "guess of the C library " : "pathconf ") + std::to_string(name));
    NUM(::pathconf("f", name));
    NUM(::pathconf("d", name));
    NUM(::fpathconf(fd, name));
  }
  struct statfs s {};
  OK(::statfs("f", &s));
  NUM(s.f_namelen);
  NUM(s.f_bsize);
  NUM(s.f_frsize);
  NUM(s.f_blocks > 0);
  NUM(s.f_bfree <= s.f_blocks);
  NUM(s.f_bavail <= s.f_bfree);
  NUM(s.f_files > 0);
  NUM(s.f_ffree <= s.f_files);
  OK(::fstatfs(fd, &s));
  OK(::statfs("s", &s));
  OK(::statfs("d", &s));
  struct statvfs v {};
  OK(::statvfs("f", &v));
  NUM(static_cast<long>(v.f_namemax));
  NUM(static_cast<long>(v.f_flag & (ST_RDONLY | ST_NOSUID)));
  ::close(fd);
}

}  // namespace

case_list cases_of_paths() {
  return {{"paths_of_every_kind", every_kind},
          {"path_lengths", lengths},
          {"link_chains", chains_of_links},
          {"dot_dot", dot_dot_is_right_after_a_move},
          {"limits", limits}};
}

}  // namespace conformance
