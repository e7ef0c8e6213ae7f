// Locks of processes (fcntl), of open files (OFD) and flock, on one mount.
#include <sys/file.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>

#include "tests/conformance/harness.h"

namespace conformance {
namespace {

struct flock range(short type, off_t start, off_t length, short whence = SEEK_SET) {
  struct flock l {};
  l.l_type = type;
  l.l_whence = whence;
  l.l_start = start;
  l.l_len = length;
  return l;
}

int set(int fd, int command, short type, off_t start, off_t length, short whence = SEEK_SET) {
  struct flock l = range(type, start, length, whence);
  return ::fcntl(fd, command, &l);
}

// Whose lock it is, is a note of its own.
void note_who_blocks(const std::string& label, int fd, int command, short type, off_t start,
                     off_t length) {
  struct flock l = range(type, start, length);
  if (::fcntl(fd, command, &l) != 0) return note(label, errno_name(errno));
  if (l.l_type == F_UNLCK) return note(label, "nobody");
  note(label, std::string(l.l_type == F_RDLCK ? "read" : "write") + " " +
                  std::to_string(l.l_start) + "+" + std::to_string(l.l_len) + " whence " +
                  std::to_string(l.l_whence));
  note(label + " pid", l.l_pid == ::getppid() ? "parent" : l.l_pid == -1 ? "-1" : "somebody");
}

// What another process may lock.
void look_from_outside() {
  in_child([] {
    const int fd = ::open("f", O_RDWR);
    for (const off_t at : {0, 5, 10, 15, 20, 30, 50, 99, 100, 150, 1000}) {
      const context c("at " + std::to_string(at));
      OK(set(fd, F_SETLK, F_RDLCK, at, 1));
      OK(set(fd, F_SETLK, F_WRLCK, at, 1));
      note_who_blocks("getlk", fd, F_GETLK, F_WRLCK, at, 1);
      note_who_blocks("ofd getlk", fd, F_OFD_GETLK, F_RDLCK, at, 1);
    }
    note_who_blocks("getlk anywhere", fd, F_GETLK, F_WRLCK, 0, 0);
    note_who_blocks("getlk behind", fd, F_GETLK, F_WRLCK, 12, 0);
    ::close(fd);
  });
}

void record_locks() {
  make_file("f", std::string(200, 'f'));
  const int fd = ::open("f", O_RDWR), reader = ::open("f", O_RDONLY),
            writer = ::open("f", O_WRONLY);
  OK(set(fd, F_SETLK, F_WRLCK, 10, 10));
  look_from_outside();
  OK(set(fd, F_SETLK, F_RDLCK, 15, 50));
  look_from_outside();
  OK(set(fd, F_SETLK, F_UNLCK, 12, 40));
  look_from_outside();
  OK(set(fd, F_SETLK, F_WRLCK, 0, 0));
  look_from_outside();
  OK(set(fd, F_SETLK, F_RDLCK, 20, 10));
  look_from_outside();
  OK(set(fd, F_SETLK, F_UNLCK, 0, 0));
  look_from_outside();
  OK(set(reader, F_SETLK, F_WRLCK, 0, 1));
  OK(set(reader, F_SETLK, F_RDLCK, 0, 1));
  OK(set(writer, F_SETLK, F_RDLCK, 0, 1));
  OK(set(writer, F_SETLK, F_WRLCK, 0, 1));
  OK(set(fd, F_SETLK, F_WRLCK, -1, 1));
  OK(set(fd, F_SETLK, F_WRLCK, 100, -50));
  OK(set(fd, F_SETLK, F_WRLCK, 10, -50));
  OK(set(fd, F_SETLK, 77, 10, 50));
  OK(set(fd, F_SETLK, F_WRLCK, -10, 10, SEEK_END));
  OK(set(fd, F_SETLK, F_WRLCK, 0, 10, SEEK_CUR));
  OK(set(fd, F_SETLK, F_WRLCK, 0, 10, 9));
  OK(set(fd, F_SETLK, F_WRLCK, INT64_MAX, 1));
  OK(set(fd, F_SETLK, F_WRLCK, INT64_MAX, 2));
  look_from_outside();
  ::close(reader);  // drops all locks of this process on the file
  look_from_outside();
  OK(set(fd, F_SETLK, F_WRLCK, 0, 10));
  in_child([] { OK(set(::open("f", O_RDWR), F_SETLK, F_WRLCK, 100, 50)); });  // ends: dropped
  look_from_outside();
  OK(set(-1, F_SETLK, F_WRLCK, 0, 10));
  const int path = ::open("f", O_PATH), dir = ::open(".", O_RDONLY);
  OK(set(path, F_SETLK, F_RDLCK, 0, 10));
  OK(set(dir, F_SETLK, F_RDLCK, 0, 10));
  OK(set(dir, F_SETLK, F_WRLCK, 0, 10));
  for (const int d : {fd, writer, path, dir}) ::close(d);
}

void open_file_locks() {
  make_file("f", std::string(200, 'f'));
  const int a = ::open("f", O_RDWR), b = ::open("f", O_RDWR), c = ::dup(a);
  OK(set(a, F_OFD_SETLK, F_WRLCK, 10, 10));
  OK(set(b, F_OFD_SETLK, F_WRLCK, 15, 10));
  OK(set(c, F_OFD_SETLK, F_RDLCK, 15, 10));
  OK(set(b, F_OFD_SETLK, F_RDLCK, 15, 10));
  note_who_blocks("b getlk", b, F_OFD_GETLK, F_WRLCK, 0, 100);
  note_who_blocks("posix getlk", b, F_GETLK, F_WRLCK, 0, 100);
  look_from_outside();
  OK(set(b, F_SETLK, F_WRLCK, 10, 2));
  ::close(a);
  look_from_outside();
  in_child([c] { OK(set(c, F_OFD_SETLK, F_UNLCK, 0, 0)); });  // inherited: the same lock
  look_from_outside();
  struct flock l = range(F_WRLCK, 0, 1);
  l.l_pid = 5;
  OK(::fcntl(b, F_OFD_SETLK, &l));
  ::close(b);
  ::close(c);
}

void whole_file_locks() {
  make_file("f");
  for (const char* path : {"f", "."}) {
    const context x(path);
    const int a = ::open(path, O_RDONLY), b = ::open(path, O_RDONLY), c = ::dup(a);
    OK(::flock(a, LOCK_SH));
    OK(::flock(b, LOCK_SH | LOCK_NB));
    OK(::flock(b, LOCK_EX | LOCK_NB));
    OK(::flock(a, LOCK_UN));
    OK(::flock(b, LOCK_EX | LOCK_NB));
    OK(::flock(a, LOCK_SH | LOCK_NB));
    OK(::flock(c, LOCK_SH | LOCK_NB));
    OK(::flock(b, LOCK_UN));
    OK(::flock(c, LOCK_EX | LOCK_NB));
    OK(::flock(a, LOCK_EX | LOCK_NB));
    ::close(c);
    OK(::flock(b, LOCK_SH | LOCK_NB));
    in_child([a] { ::close(a); });
    OK(::flock(b, LOCK_SH | LOCK_NB));
    in_child([path] {
      const int mine = ::open(path, O_RDONLY);
      OK(::flock(mine, LOCK_SH | LOCK_NB));
    });
    OK(::flock(a, 99));
    OK(::flock(a, LOCK_NB));
    ::close(a);
    OK(::flock(b, LOCK_EX | LOCK_NB));
    ::close(b);
  }
  OK(::flock(-1, LOCK_SH));
  const int path = ::open("f", O_PATH);
  OK(::flock(path, LOCK_SH));
  ::close(path);
  // flock and record locks do not see each other.
  const int a = ::open("f", O_RDWR);
  OK(::flock(a, LOCK_EX));
  in_child([] { OK(set(::open("f", O_RDWR), F_SETLK, F_WRLCK, 0, 0)); });
  ::close(a);
}

void no_action(int) {}

// What became of a waiting child is its exit code.
std::string end_of(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFSIGNALED(status)        ? "signal " + std::to_string(WTERMSIG(status))
         : WEXITSTATUS(status) == 0 ? "got it"
                                    : errno_name(WEXITSTATUS(status));
}

using wait_for_lock = std::function<int(int)>;

// The child opens the file and waits for its lock; a signal before that is kept for it.
pid_t start_waiter(const wait_for_lock& wait) {
  struct sigaction action {};
  action.sa_handler = no_action;
  ::sigaction(SIGUSR1, &action, nullptr);
  sigset_t kept, before;
  sigemptyset(&kept);
  sigaddset(&kept, SIGUSR1);
  ::sigprocmask(SIG_BLOCK, &kept, &before);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const int fd = ::open("f", O_RDWR);
    ::sigprocmask(SIG_UNBLOCK, &kept, nullptr);
    ::_exit(wait(fd) == 0 ? 0 : errno);
  }
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  return pid;
}

bool has_ended(pid_t pid) {
  siginfo_t info{};
  return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == pid;
}

// A child that cannot have the lock, and what happens to it meanwhile.
std::string waiting_child(const wait_for_lock& wait, const std::function<void(pid_t)>& meanwhile) {
  const pid_t pid = start_waiter(wait);
  for (int i = 0; i < 5; ++i) nap();
  const bool waits = !has_ended(pid);
  meanwhile(pid);
  return std::string(waits ? "waited, " : "did not wait, ") + end_of(pid);
}

// A signal that comes before the child waits does not end the wait: it gets them until it ends.
void interrupt(pid_t pid) {
  while (!has_ended(pid)) {
    ::kill(pid, SIGUSR1);
    nap();
  }
}

void waiting() {
  make_file("f", std::string(200, 'f'));
  const int fd = ::open("f", O_RDWR);
  for (const int command : {F_SETLKW, F_OFD_SETLKW}) {
    const context c(std::to_string(command));
    const auto wait = [command](int mine) { return set(mine, command, F_WRLCK, 10, 10); };
    OK(set(fd, F_SETLK, F_WRLCK, 0, 100));
    note("unlocked", waiting_child(wait, [fd](pid_t) { (void)set(fd, F_SETLK, F_UNLCK, 0, 50); }));
    OK(set(fd, F_SETLK, F_RDLCK, 0, 100));
    note("interrupted", waiting_child(wait, interrupt));
    note("killed", waiting_child(wait, [](pid_t pid) { ::kill(pid, SIGKILL); }));
    note("closed", waiting_child(wait, [](pid_t) { ::close(::open("f", O_RDONLY)); }));
    OK(set(fd, F_SETLK, F_UNLCK, 0, 0));
    note("free", end_of(start_waiter(wait)));
  }
  const auto wait = [](int mine) { return ::flock(mine, LOCK_EX); };
  OK(::flock(fd, LOCK_EX));
  note("flock unlocked", waiting_child(wait, [fd](pid_t) { ::flock(fd, LOCK_UN); }));
  OK(::flock(fd, LOCK_SH));
  note("flock interrupted", waiting_child(wait, interrupt));
  note("flock killed", waiting_child(wait, [](pid_t pid) { ::kill(pid, SIGKILL); }));
  note("flock shared", end_of(start_waiter([](int mine) { return ::flock(mine, LOCK_SH); })));
  ::close(fd);
}

// Each holds what the other waits for: whoever comes second is refused, and the other gets it.
void deadlock() {
  make_file("f", std::string(200, 'f'));
  const int fd = ::open("f", O_RDWR);
  int held[2];
  if (::pipe2(held, O_CLOEXEC) != 0) ::abort();
  OK(set(fd, F_SETLK, F_WRLCK, 0, 10));
  const pid_t pid = ::fork();
  if (pid == 0) {
    const int mine = ::open("f", O_RDWR);
    if (set(mine, F_SETLK, F_WRLCK, 10, 10) != 0) ::_exit(errno);
    ::close(held[1]);
    ::_exit(set(mine, F_SETLKW, F_WRLCK, 0, 10) == 0 ? 0 : errno);
  }
  ::close(held[1]);
  char none;
  (void)!::read(held[0], &none, 1);
  ::close(held[0]);
  const std::string here =
      set(fd, F_SETLKW, F_WRLCK, 10, 10) == 0 ? "got it" : errno_name(errno);
  OK(set(fd, F_SETLK, F_UNLCK, 0, 10));
  const std::string there = end_of(pid);
  note("both", std::min(here, there) + ", " + std::max(here, there));
  ::close(fd);
}

}  // namespace

case_list cases_of_locks() {
  return {{"record_locks", record_locks},
          {"ofd_locks", open_file_locks},
          {"flock", whole_file_locks},
          {"lock_waiting", waiting},
          {"deadlock", deadlock}};
}

}  // namespace conformance
