// stat, chmod, chown, times, truncation, access.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <ctime>

#include "tests/conformance/harness.h"

namespace conformance {
namespace {

void chmod_changes() {
  for (const std::string kind : {"file", "dir", "fifo", "socket", "char_dev", "to_file"}) {
    for (int mode = 0; mode < 010000; mode += 0111) {
      const context c(kind + " " + octal(mode));
      if (mode == 0) make_kind(kind, "x");
      OK(::chmod("x", static_cast<mode_t>(mode)));
      struct stat st {};
      NUM(::stat("x", &st) == 0 ? static_cast<long>(st.st_mode) : -1);
    }
    empty_here();
  }
  make_file("f");
  TIMES("f", ::chmod("f", 0600));
  TIMES("f", ::chmod("f", 0600));
  OK(::chmod("f", 0170644));
  LSTAT("f");
  OK(::symlink("f", "s"));
  OK(::fchmodat(AT_FDCWD, "s", 0600, AT_SYMLINK_NOFOLLOW));
  OK(::fchmodat(AT_FDCWD, "s", 0600, 0));
  const int fd = ::open("f", O_RDONLY);
  OK(::fchmod(fd, 0));
  NUM(::read(fd, room_of_100(), 100));
  OK(::fchmod(-1, 0600));
  ::close(fd);
  // Who may, and which bits are dropped.
  for (const user& owner : {root, alice, bob})
    for (const gid_t group : {alice.gid, bob.gid, gid_t{73050}, gid_t{0}})
      for (const user& who : {alice, member})
        for (const mode_t mode : {04755, 02755, 06755, 02644, 01777, 0}) {
          const context c(std::string("of ") + owner.name + " group " + std::to_string(group) +
                          " mode " + octal(mode));
          make_file("x");
          give("x", owner, group);
          make_dir("y");
          give("y", owner, group);
          as(who, [mode] {
            OK(::chmod("x", mode));
            OK(::chmod("y", mode));
          });
          LSTAT("x");
          LSTAT("y");
          (void)::unlink("x");
          (void)::rmdir("y");
        }
}

void chown_changes() {
  for (const std::string kind : {"file", "dir", "to_file", "fifo"})
    for (const mode_t mode : {0644, 0755, 04755, 02755, 06755, 02644, 06644, 01755, 06711})
      for (const user& who : {root, alice, member, bob})
        for (const auto& [uid, gid] : std::vector<std::pair<uid_t, gid_t>>{{73001, 73001},
                                                                           {73002, 73001},
                                                                           {-1u, 73050},
                                                                           {73001, 73050},
                                                                           {-1u, -1u},
                                                                           {-1u, 73002},
                                                                           {0, 0},
                                                                           {73001, -1u}}) {
          if (kind == "to_file" && mode != 06755) continue;
          const context c(kind + " mode " + octal(mode) + " to " + std::to_string(int(uid)) + ":" +
                          std::to_string(int(gid)));
          make_kind(kind, "x");
          const char* target = kind == "to_file" ? "x-target" : "x";
          give(target, alice, alice.gid);
          set_mode(target, mode);
          as(who, [uid = uid, gid = gid] { OK(::chown("x", uid, gid)); });
          LSTAT("x");
          LSTAT(target);
          empty_here();
        }
  make_file("f");
  give("f", member, 73003);
  for (const gid_t gid : {73003u, 73050u, 73001u, 73051u, 73002u, 0u})
    as(member, [gid] {
      NUM(gid);
      OK(::chown("f", -1u, gid));
      LSTAT("f");
    });
  TIMES("f", ::chown("f", 1, 1));
  TIMES("f", ::chown("f", 1, 1));
  TIMES("f", ::chown("f", -1u, -1u));
  OK(::symlink("f", "s"));
  OK(::lchown("s", 5, 6));
  LSTAT("s");
  LSTAT("f");
  const int fd = ::open("f", O_RDONLY);
  OK(::fchown(fd, 8, 9));
  LSTAT("f");
  OK(::fchownat(fd, "", 10, 11, AT_EMPTY_PATH));
  LSTAT("f");
  OK(::fchownat(AT_FDCWD, "s", 10, 12, AT_SYMLINK_NOFOLLOW));
  LSTAT("s");
  OK(::fchownat(AT_FDCWD, "s", 10, 12, 0x40000000));
  ::close(fd);
}

void writing_drops_privileges() {
  for (const mode_t mode : {04777, 02777, 06777, 02767, 06666})
    for (const user& who : {root, bob}) {
      const context c("mode " + octal(mode));
      const std::vector<std::pair<const char*, std::function<void()>>> works = {
          {"write",
           [] {
             const int fd = ::open("x", O_WRONLY);
             NUM(::write(fd, "a", 1));
             ::close(fd);
           }},
          {"write nothing",
           [] {
             const int fd = ::open("x", O_WRONLY);
             NUM(::write(fd, "a", 0));
             ::close(fd);
           }},
          {"pwrite far",
           [] {
             const int fd = ::open("x", O_WRONLY);
             NUM(::pwrite(fd, "a", 1, 100000));
             ::close(fd);
           }},
          {"truncate", [] { OK(::truncate("x", 4)); }},
          {"truncate same", [] { OK(::truncate("x", 10)); }},
          {"ftruncate",
           [] {
             const int fd = ::open("x", O_RDWR);
             OK(::ftruncate(fd, 20));
             ::close(fd);
           }},
          {"open trunc", [] { FD(::open("x", O_WRONLY | O_TRUNC)); }},
          {"append",
           [] {
             const int fd = ::open("x", O_WRONLY | O_APPEND);
             NUM(::write(fd, "a", 1));
             ::close(fd);
           }},
          {"fallocate",
           [] {
             const int fd = ::open("x", O_WRONLY);
             OK(::fallocate(fd, 0, 0, 5000));
             ::close(fd);
           }},
          {"read",
           [] {
             const int fd = ::open("x", O_RDONLY);
             NUM(::read(fd, room_of_100(), 5));
             ::close(fd);
           }},
          {"link", [] { OK(::link("x", "d/y")); }},
          {"utimes", [] { OK(::utimensat(AT_FDCWD, "x", nullptr, 0)); }},
      };
      for (const auto& [name, work] : works) {
        const context w(name);
        make_file("x");
        make_dir("d", 0777);
        give("x", alice, alice.gid);
        set_mode("x", mode);
        as(who, work);
        LSTAT("x");
        empty_here();
      }
    }
}

struct time_form {
  const char* name;
  timespec times[2];
  bool null = false;
};

const std::vector<time_form>& time_forms() {
  static const std::vector<time_form> forms = {
      {"null", {}, true},
      {"now now", {{0, UTIME_NOW}, {0, UTIME_NOW}}},
      {"omit omit", {{0, UTIME_OMIT}, {0, UTIME_OMIT}}},
      {"now omit", {{0, UTIME_NOW}, {0, UTIME_OMIT}}},
      {"omit now", {{0, UTIME_OMIT}, {0, UTIME_NOW}}},
      {"set set", {{1000000001, 123456789}, {1500000002, 987654321}}},
      {"set omit", {{1000000003, 999999999}, {0, UTIME_OMIT}}},
      {"omit set", {{0, UTIME_OMIT}, {1000000005, 1}}},
      {"set now", {{1000000003, 0}, {0, UTIME_NOW}}},
      {"now set", {{0, UTIME_NOW}, {1000000005, 1}}},
      {"zero", {{0, 0}, {0, 0}}},
      {"before 1970", {{-100, 5}, {-2000000000, 7}}},
      {"after 2038", {{3000000000, 5}, {4000000000, 7}}},
      {"after 2106", {{5000000000, 5}, {9000000000, 7}}},
      {"after 2262", {{5000000000, 5}, {10000000000, 7}}},
      {"bad ns", {{1, 1000000000}, {1, 0}}},
      {"negative ns", {{1, 0}, {1, -5}}},
      {"bad ns omit", {{0, UTIME_OMIT}, {1, 1000000000}}},
  };
  return forms;
}

std::string time_text(const timespec& t, const timespec& start) {
  if (t.tv_sec > start.tv_sec - 100 && t.tv_sec < start.tv_sec + 100) return "now";
  return std::to_string(t.tv_sec) + "." + std::to_string(t.tv_nsec);
}

std::string times_of(const char* path) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  struct stat st {};
  if (::lstat(path, &st) != 0) return errno_name(errno);
  return time_text(st.st_atim, now) + " " + time_text(st.st_mtim, now) + " " +
         time_text(st.st_ctim, now);
}

void set_times() {
  const timespec old[2] = {{900000000, 5}, {900000001, 6}};
  for (const std::string kind : {"file", "dir", "to_file", "fifo"})
    for (const user& who : {root, alice, member, bob})
      for (const mode_t mode : {0644, 0666, 0444, 0664})
        for (const time_form& form : time_forms()) {
          if (mode != 0644 && (kind != "file" || form.times[0].tv_sec > 1000000003)) continue;
          const context c(kind + " mode " + octal(mode) + " " + form.name);
          make_kind(kind, "x");
          const char* target = kind == "to_file" ? "x-target" : "x";
          give(target, alice, alice.gid);
          set_mode(target, mode);
          (void)!::utimensat(AT_FDCWD, "x", old, 0);
          as(who, [&] {
            const timespec* t = form.null ? nullptr : form.times;
            OK(::utimensat(AT_FDCWD, "x", t, 0));
            note("times", times_of("x"));
            note("times of target", times_of(target));
            OK(::utimensat(AT_FDCWD, "x", t, AT_SYMLINK_NOFOLLOW));
            note("times", times_of("x"));
            const int fd = ::open("x", O_RDONLY | O_NONBLOCK);
            OK(::futimens(fd, t));
            note("times of target", times_of(target));
            ::close(fd);
          });
          empty_here();
        }
  make_file("f");
  TIMES("f", ::utimensat(AT_FDCWD, "f", nullptr, 0));
  TIMES("f", ::utimensat(AT_FDCWD, "f", time_forms()[2].times, 0));
  TIMES("f", ::utimensat(AT_FDCWD, "f", time_forms()[6].times, 0));
  OK(::utimensat(AT_FDCWD, "f", nullptr, 0x40000000));
  OK(::utimensat(-1, "f", nullptr, 0));
  OK(::utimensat(AT_FDCWD, "", nullptr, AT_EMPTY_PATH));
}

void stat_shows() {
  for (const std::string& kind : kinds) {
    const context c(kind);
    make_kind(kind, "x");
    struct stat st {};
    int r = ::stat("x", &st);
    note("stat", stat_text(r, st));
    LSTAT("x");
    r = ::fstatat(AT_FDCWD, "x", &st, AT_NO_AUTOMOUNT);
    note("fstatat", stat_text(r, st));
    struct statx sx {};
    OK(::statx(AT_FDCWD, "x", AT_SYMLINK_NOFOLLOW, STATX_ALL, &sx));
    NUM(sx.stx_mask & STATX_BASIC_STATS);
    NUM((sx.stx_mask & STATX_BTIME) != 0);
    NUM(sx.stx_btime.tv_sec > 1600000000 || kind == "none");
    NUM(sx.stx_mode);
    NUM(sx.stx_nlink);
    NUM(static_cast<long>(sx.stx_attributes & STATX_ATTR_IMMUTABLE));
    NUM(sx.stx_rdev_major);
    OK(::statx(AT_FDCWD, "x", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_ALL, &sx));
    OK(::statx(AT_FDCWD, "x", 0, 0x80000000, &sx));
    OK(::statx(AT_FDCWD, "x", AT_STATX_DONT_SYNC, STATX_SIZE, &sx));
    OK(::statx(AT_FDCWD, "x", AT_STATX_FORCE_SYNC, STATX_SIZE, &sx));
    empty_here();
  }
  make_file("f", std::string(5000, 'x'));
  struct stat a {
  }, b{};
  OK(::stat("f", &a));
  NUM(a.st_blocks > 0);
  NUM(a.st_blksize >= 512);
  NUM(major(a.st_rdev));
  const int fd = ::open("f", O_RDWR);
  OK(::fsync(fd));
  OK(::rename("f", "g"));
  OK(::fstat(fd, &b));
  NUM(a.st_ino == b.st_ino);
  NUM(a.st_dev == b.st_dev);
  NUM(::pwrite(fd, "later", 5, 1000000));
  OK(::fstat(fd, &b));
  NUM(b.st_size);
  NUM(b.st_blocks * 512 < 500000);
  ::close(fd);
  // Birth stays, whatever is done.
  struct statx born {
  }, now{};
  OK(::statx(AT_FDCWD, "g", 0, STATX_BTIME, &born));
  nap();
  OK(::chmod("g", 0600));
  OK(::utimensat(AT_FDCWD, "g", time_forms()[5].times, 0));
  OK(::statx(AT_FDCWD, "g", 0, STATX_BTIME, &now));
  NUM(born.stx_btime.tv_nsec == now.stx_btime.tv_nsec &&
      born.stx_btime.tv_sec == now.stx_btime.tv_sec);
}

void truncation() {
  for (const std::string& kind : kinds)
    for (const off_t size : {off_t{0}, off_t{5}, off_t{10}, off_t{4096}, off_t{-1}}) {
      const context c(kind + " to " + std::to_string(size));
      make_kind(kind, "x");
      OK(::truncate("x", size));
      LSTAT("x");
      if (kind == "file") note("content", file_bytes("x"));
      empty_here();
    }
  for (const off_t from : {0, 1, 100, 4095, 4096, 4097, 65536, 100000, 1200000})
    for (const off_t to : {0, 1, 99, 4095, 4096, 4097, 65535, 70000, 1100000}) {
      const context c(std::to_string(from) + " to " + std::to_string(to));
      make_file("x", std::string(static_cast<std::size_t>(from), 'x'));
      OK(::truncate("x", to));
      note("content", file_bytes("x"));
      OK(::truncate("x", 200000));
      note("and grown", file_bytes("x"));
      (void)::unlink("x");
    }
  make_file("f");
  TIMES("f", ::truncate("f", 5));
  TIMES("f", ::truncate("f", 5));
  TIMES("f", ::truncate("f", 50));
  const int fd = ::open("f", O_RDWR);
  TIMES("f", ::ftruncate(fd, 50));
  TIMES("f", ::ftruncate(fd, 0));
  OK(::ftruncate(fd, 1LL << 40));
  LSTAT("f");
  OK(::ftruncate(fd, 0));
  ::close(fd);
  const int reader = ::open("f", O_RDONLY);
  OK(::ftruncate(reader, 5));
  ::close(reader);
  OK(::ftruncate(-1, 5));
  for (const mode_t mode : {0600, 0400, 0200, 0000}) {
    set_mode("f", mode);
    give("f", alice, alice.gid);
    const context c("mode " + octal(mode));
    as(alice, [] { OK(::truncate("f", 7)); });
    as(bob, [] { OK(::truncate("f", 8)); });
  }
  LSTAT("f");
}

void access_to_kinds() {
  for (const std::string& kind : kinds)
    for (const user& who : {root, alice, bob, member})
      for (const mode_t mode : {0000, 0444, 0111, 0640, 0700, 0070, 0007}) {
        if (kind == "none" || kind == "loop" || kind == "dangle") continue;
        const context c(kind + " mode " + octal(mode));
        make_kind(kind, "x");
        const char* target = kind.starts_with("to_") ? "x-target" : "x";
        give(target, alice, alice.gid);
        set_mode(target, mode);
        as(who, [] {
          for (const int how : {F_OK, R_OK, W_OK, X_OK, R_OK | W_OK, R_OK | W_OK | X_OK}) {
            NUM(how);
            OK(::access("x", how));
            OK(::faccessat(AT_FDCWD, "x", how, AT_EACCESS));
          }
          OK(::faccessat(AT_FDCWD, "x", R_OK, AT_SYMLINK_NOFOLLOW));
          OK(::access("x", 99));
        });
        empty_here();
      }
  // By the real ids.
  make_file("f", "x", 0600);
  in_child([] {
    if (::setresuid(alice.uid, 0, 0) != 0) return;
    OK(::access("f", R_OK));
    OK(::faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
    FD(::open("f", O_RDONLY));
  });
}

}  // namespace

case_list cases_of_attributes() {
  return {{"chmod", chmod_changes},
          {"chown", chown_changes},
          {"setid_dropped", writing_drops_privileges},
          {"utimensat", set_times},
          {"stat", stat_shows},
          {"truncate", truncation},
          {"access", access_to_kinds}};
}

}  // namespace conformance
