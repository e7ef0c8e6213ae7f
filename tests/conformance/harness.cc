#include "tests/conformance/harness.h"

#include <grp.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "tests/conformance/notes.h"

namespace conformance {

namespace {

std::string contexts;

[[noreturn]] void give_up(const std::string& what) {
  note("PREPARATION " + what, errno_name(errno));
  ::_exit(3);
}

struct error_text {
  int number;
  const char* name;
};
constexpr error_text error_texts[] = {
#define ROW(e) \
  { e, #e }
    ROW(EPERM),      ROW(ENOENT),       ROW(EINTR),  ROW(EIO),       ROW(ENXIO),  ROW(E2BIG),
    ROW(EBADF),      ROW(ECHILD),       ROW(EAGAIN), ROW(ENOMEM),    ROW(EACCES), ROW(EFAULT),
    ROW(EBUSY),      ROW(EEXIST),       ROW(EXDEV),  ROW(ENODEV),    ROW(EISDIR), ROW(ENOTDIR),
    ROW(EINVAL),     ROW(ENFILE),       ROW(EMFILE), ROW(ENOTTY),    ROW(EFBIG),  ROW(ETXTBSY),
    ROW(ENOSPC),     ROW(ESPIPE),       ROW(EROFS),  ROW(EMLINK),    ROW(EPIPE),  ROW(ERANGE),
    ROW(EDEADLK),    ROW(ENAMETOOLONG), ROW(ENOLCK), ROW(ENOSYS),    ROW(ELOOP),  ROW(ENODATA),
    ROW(EOPNOTSUPP), ROW(ENOTEMPTY),    ROW(ESTALE), ROW(EOVERFLOW), ROW(EDQUOT), ROW(ENOEXEC),
    ROW(ENOTCONN),   ROW(ECONNREFUSED), ROW(EPROTO),
#undef ROW
};

}  // namespace

void note(const std::string& label, const std::string& result) {
  const int kept = errno;
  notes_add(contexts + label, result);
  errno = kept;
}

std::string errno_name(int number) {
  for (const error_text& e : error_texts)
    if (e.number == number) return e.name;
  return "errno " + std::to_string(number);
}

std::string ok_or_errno(long result) { return result == -1 ? errno_name(errno) : "ok"; }

std::string number_or_errno(long result) {
  return result == -1 ? errno_name(errno) : std::to_string(result);
}

std::string fd_or_errno(int fd) {
  if (fd < 0) return errno_name(errno);
  ::close(fd);
  return "ok";
}

context::context(const std::string& text) : size_before_(contexts.size()) {
  contexts += text + ": ";
}
context::~context() { contexts.resize(size_before_); }

void in_child(const std::function<void()>& work) {
  const pid_t pid = ::fork();
  if (pid < 0) give_up("fork");
  if (pid == 0) {
    work();
    ::_exit(0);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) note("child", "ended by signal " + std::to_string(WTERMSIG(status)));
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
    note("child", "exit " + std::to_string(WEXITSTATUS(status)));
}

void as(const user& u, const std::function<void()>& work) {
  const context c(std::string("as ") + u.name);
  in_child([&] {
    if (::setgroups(u.groups.size(), u.groups.data()) != 0) give_up("setgroups");
    if (::setresgid(u.gid, u.gid, u.gid) != 0) give_up("setresgid");
    if (::setresuid(u.uid, u.uid, u.uid) != 0) give_up("setresuid");
    work();
  });
}

void make_file(const std::string& path, const std::string& bytes, mode_t mode) {
  const int fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
  if (fd < 0) give_up("make_file " + path);
  if (::write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    give_up("write " + path);
  if (::fchmod(fd, mode) != 0) give_up("fchmod " + path);
  if (::close(fd) != 0) give_up("close " + path);
}

void make_dir(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), 0700) != 0) give_up("make_dir " + path);
  set_mode(path, mode);
}

void give(const std::string& path, const user& owner, gid_t group) {
  if (::lchown(path.c_str(), owner.uid, group) != 0) give_up("lchown " + path);
}

void set_mode(const std::string& path, mode_t mode) {
  if (::chmod(path.c_str(), mode) != 0) give_up("chmod " + path);
}

namespace {

void remove_below(int dir_fd) {
  DIR* dir = ::fdopendir(dir_fd);
  if (dir == nullptr) give_up("fdopendir");
  std::vector<std::string> names;
  while (const dirent* e = ::readdir(dir)) {
    const std::string name = e->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  for (const std::string& name : names) {
    if (::unlinkat(dir_fd, name.c_str(), 0) == 0) continue;
    if (errno != EISDIR && errno != EPERM) give_up("unlink " + name);
    const int below = ::openat(dir_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (below < 0) give_up("open " + name);
    remove_below(below);
    if (::unlinkat(dir_fd, name.c_str(), AT_REMOVEDIR) != 0) give_up("rmdir " + name);
  }
  ::closedir(dir);
}

}  // namespace

void empty_here() {
  const int fd = ::open(".", O_RDONLY | O_DIRECTORY);
  if (fd < 0) give_up("open .");
  remove_below(fd);
}

void make_kind(const std::string& kind, const std::string& path) {
  const char* p = path.c_str();
  int made = 0;
  if (kind == "none") return;
  if (kind == "file") return make_file(path);
  if (kind == "dir") return make_dir(path);
  if (kind == "full") {
    make_dir(path);
    return make_file(path + "/inside");
  }
  if (kind == "to_file") {
    make_file(path + "-target");
    made = ::symlink((path + "-target").c_str(), p);
  } else if (kind == "to_dir") {
    make_dir(path + "-target");
    made = ::symlink((path + "-target").c_str(), p);
  } else if (kind == "dangle") {
    made = ::symlink((path + "-nowhere").c_str(), p);
  } else if (kind == "loop") {
    made = ::symlink(p, p);
  } else if (kind == "fifo") {
    made = ::mkfifo(p, 0644);
  } else if (kind == "socket") {
    made = ::mknod(p, S_IFSOCK | 0644, 0);
  } else if (kind == "char_dev") {
    made = ::mknod(p, S_IFCHR | 0644, makedev(1, 3));
  } else if (kind == "block_dev") {
    made = ::mknod(p, S_IFBLK | 0644, makedev(240, 77));
  }
  if (made != 0) give_up("make " + kind);
}

std::string file_bytes(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY);
  if (fd < 0) return errno_name(errno);
  std::string all;
  char room[65536];
  for (;;) {
    const ssize_t n = ::read(fd, room, sizeof room);
    if (n < 0) all += errno_name(errno);
    if (n <= 0) break;
    all.append(room, static_cast<std::size_t>(n));
  }
  ::close(fd);
  if (all.size() <= 100) return hex(all);
  std::size_t hash = 14695981039346656037u;
  for (const char c : all) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return std::to_string(all.size()) + " bytes, hash " + std::to_string(hash);
}

std::string hex(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) {
    char room[8];
    const bool plain = c >= ' ' && c < 127 && c != '\\';
    std::snprintf(room, sizeof room, plain ? "%c" : "\\%02x", static_cast<unsigned char>(c));
    text += room;
  }
  return "'" + text + "'";
}

char* room_of_100() {
  static char room[100];
  return room;
}

std::string octal(mode_t mode) {
  char room[20];
  std::snprintf(room, sizeof room, "%04o", mode);
  return room;
}

std::string type_name(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "dir";
    case S_IFLNK: return "link";
    case S_IFIFO: return "fifo";
    case S_IFSOCK: return "socket";
    case S_IFCHR: return "char";
    case S_IFBLK: return "block";
    default: return "type " + std::to_string(mode & S_IFMT);
  }
}

std::string stat_text(int result, const struct stat& st) {
  if (result != 0) return errno_name(errno);
  char room[200];
  std::snprintf(room, sizeof room, "%s mode %04o links %lu uid %u gid %u",
                type_name(st.st_mode).c_str(), st.st_mode & 07777,
                static_cast<unsigned long>(st.st_nlink), st.st_uid, st.st_gid);
  std::string text = room;
  if (!S_ISDIR(st.st_mode)) text += " size " + std::to_string(st.st_size);
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) text += " rdev " + std::to_string(st.st_rdev);
  return text;
}

std::string lstat_of(const std::string& path) {
  struct stat st {};
  const int result = ::lstat(path.c_str(), &st);
  return stat_text(result, st);
}

std::string fstat_of(int fd) {
  struct stat st {};
  const int result = ::fstat(fd, &st);
  return stat_text(result, st);
}

std::string listing(const std::string& path) {
  DIR* dir = ::opendir(path.c_str());
  if (dir == nullptr) return errno_name(errno);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* e = ::readdir(dir))
    names.push_back(hex(e->d_name) + "/" + std::to_string(e->d_type));
  if (errno != 0) names.push_back(errno_name(errno));
  ::closedir(dir);
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names) text += name + " ";
  return text;
}

void nap() {
  const timespec some{0, 12'000'000};
  ::nanosleep(&some, nullptr);
}

std::string time_changes(const std::string& path, const std::function<void()>& work) {
  struct stat before {
  }, after{};
  if (::lstat(path.c_str(), &before) != 0) return errno_name(errno);
  nap();
  work();
  if (::lstat(path.c_str(), &after) != 0) return errno_name(errno);
  const auto sign = [](const timespec& a, const timespec& b) {
    if (a.tv_sec != b.tv_sec) return a.tv_sec < b.tv_sec ? "+" : "-";
    if (a.tv_nsec != b.tv_nsec) return a.tv_nsec < b.tv_nsec ? "+" : "-";
    return "=";
  };
  return std::string("a") + sign(before.st_atim, after.st_atim) + " m" +
         sign(before.st_mtim, after.st_mtim) + " c" + sign(before.st_ctim, after.st_ctim);
}

}  // namespace conformance
