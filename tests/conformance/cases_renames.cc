// rename in all its forms.
#include <linux/fs.h>
#include <sys/stat.h>

#include <cstdio>

#include "tests/conformance/harness.h"

namespace conformance {
namespace {

int rename_with(const char* from, const char* to, unsigned flags) {
  return ::renameat2(AT_FDCWD, from, AT_FDCWD, to, flags);
}

void all_pairs() {
  for (const unsigned flags : {0u, unsigned{RENAME_NOREPLACE}, unsigned{RENAME_EXCHANGE},
                               unsigned{RENAME_NOREPLACE | RENAME_EXCHANGE}, 0x80u})
    for (const std::string& from : kinds)
      for (const std::string& to : kinds) {
        const context c("flags " + std::to_string(flags) + " " + from + " to " + to);
        make_kind(from, "x");
        make_kind(to, "y");
        OK(rename_with("x", "y", flags));
        note("after", listing("."));
        LSTAT("y");
        empty_here();
      }
}

void paths() {
  for (const std::string& from : {std::string("file"), std::string("dir"), std::string("to_dir")})
    for (const char* a : {"x", "x/", "x/.", "x/..", ".", "..", "", "x/none"})
      for (const char* b :
           {"y", "y/", "y/.", "y/..", ".", "..", "", "none/y", "file/y", "x/y", "x", "x/."}) {
        const context c(from);
        make_kind(from, "x");
        make_file("file");
        note(std::string("rename ") + a + " " + b, ok_or_errno(::rename(a, b)));
        note("after", listing("."));
        empty_here();
      }
}

void into_itself() {
  make_dir("a");
  make_dir("a/b");
  make_dir("a/b/c");
  OK(::rename("a", "a/x"));
  OK(::rename("a", "a/b"));
  OK(::rename("a", "a/b/c/x"));
  OK(::rename("a/b/c", "a"));
  OK(::rename("a/b", "a"));
  OK(rename_with("a", "a/b", RENAME_EXCHANGE));
  OK(rename_with("a/b/c", "a", RENAME_EXCHANGE));
  OK(rename_with("a", "a", RENAME_EXCHANGE));
  OK(rename_with("a", "a", RENAME_NOREPLACE));
  OK(::rename("a", "a"));
  LSTAT("a");
  make_file("f");
  OK(::link("f", "g"));
  TIMES("f", ::rename("f", "g"));
  OK(::rename("f", "g"));
  note("both are there", listing("."));
  OK(rename_with("f", "g", RENAME_EXCHANGE));
  OK(rename_with("f", "g", RENAME_NOREPLACE));
  LSTAT("f");
}

void over_an_open_file() {
  make_file("a", "from a");
  make_file("b", "from b");
  const int fd = ::open("b", O_RDWR);
  OK(::rename("a", "b"));
  note("the name", file_bytes("b"));
  note("the open file", fstat_of(fd));
  char room[100] = {};
  NUM(::pread(fd, room, sizeof room, 0));
  note("its bytes", hex(room));
  NUM(::pwrite(fd, "xyz", 3, 0));
  note("the name again", file_bytes("b"));
  ::close(fd);
  make_dir("d");
  make_dir("e");
  const int dir = ::open("e", O_RDONLY | O_DIRECTORY);
  OK(::rename("d", "e"));
  struct stat st {};
  NUM(::fstat(dir, &st) == 0 ? static_cast<long>(st.st_nlink) : -1);
  FD(::openat(dir, "f", O_CREAT | O_WRONLY, 0644));
  ::close(dir);
  LSTAT("e");
}

void counts_and_times() {
  make_dir("p");
  make_dir("q");
  make_dir("p/d");
  make_file("p/f");
  make_file("q/over");
  TIMES("p", ::rename("p/f", "p/g"));
  TIMES("p/g", ::rename("p/g", "p/h"));
  TIMES("p", ::rename("p/h", "q/h"));
  TIMES("q", ::rename("q/h", "p/h"));
  TIMES("q", ::rename("p/h", "q/h"));
  TIMES("p/d", ::rename("p/d", "q/d"));
  note("times of d after its move", time_changes("q/d", [] { (void)::rename("q/d", "p/d"); }));
  LSTAT("p");
  LSTAT("q");
  OK(::rename("p/d", "q/d"));
  LSTAT("p");
  LSTAT("q");
  LSTAT("q/d");
  make_dir("q/e");
  OK(::rename("q/d", "q/e"));
  LSTAT("q");
  OK(::rename("q/h", "q/over"));
  LSTAT("q/over");
  make_dir("p/x");
  make_file("q/y");
  OK(rename_with("p/x", "q/y", RENAME_EXCHANGE));
  LSTAT("p");
  LSTAT("q");
  LSTAT("p/x");
  LSTAT("q/y");
  TIMES("p", rename_with("p/x", "q/y", RENAME_EXCHANGE));
  TIMES("q/y", rename_with("p/x", "p/none", RENAME_EXCHANGE));
  make_file("linked");
  OK(::link("linked", "linked2"));
  make_file("new");
  OK(::rename("new", "linked"));
  LSTAT("linked2");
  TIMES("linked2", ::unlink("linked"));
}

void other_filesystem() {
  make_file("f");
  make_dir("d");
  OK(::rename("f", "/proc/f"));
  OK(::rename("d", "/proc/d"));
  OK(::rename("/proc/self/status", "x"));
  OK(::rename("f", "/dev/shm/f-of-conformance"));
  OK(::renameat2(-1, "f", AT_FDCWD, "g", 0));
}

}  // namespace

case_list cases_of_renames() {
  return {{"rename_pairs", all_pairs},         {"rename_paths", paths},
          {"rename_itself", into_itself},      {"rename_over_open", over_an_open_file},
          {"rename_counts", counts_and_times}, {"rename_elsewhere", other_filesystem}};
}

}  // namespace conformance
