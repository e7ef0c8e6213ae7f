#include "base/fusermount.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/packet_socket.h"

extern char** environ;

namespace tangelo {

namespace {

constexpr const char* program_name = "fusermount3";
constexpr int socket_in_child = 3;

struct program_end {
  int error = 0;   // an errno: it could not be started
  int status = 0;  // of waitpid(2)
  std::string said;
};

std::string content_of(int fd) {
  std::array<char, 1024> text{};
  const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
  std::string said(text.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  said.resize(std::min(said.find('\n'), said.size()));
  return said;
}

// `socket`: what it passes the descriptor by; -1: nothing is passed.
program_end run(std::vector<std::string> words, int socket) {
  const unique_fd output(::memfd_create("fusermount3", MFD_CLOEXEC));
  if (!output) return {errno, 0, {}};
  posix_spawn_file_actions_t files;
  posix_spawnattr_t how;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&how);
  posix_spawn_file_actions_adddup2(&files, output.get(), STDERR_FILENO);
  if (socket >= 0) posix_spawn_file_actions_adddup2(&files, socket, socket_in_child);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&how, &none);
  posix_spawnattr_setsigdefault(&how, &all);
  posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  words.insert(words.begin(), program_name);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::string where = "_FUSE_COMMFD=" + std::to_string(socket_in_child);
  std::vector<char*> environment{where.data()};
  for (char** e = environ; *e != nullptr; ++e) environment.push_back(*e);
  environment.push_back(nullptr);
  pid_t pid = 0;
  program_end end;
  end.error = ::posix_spawnp(&pid, program_name, &files, &how, arguments.data(),
                             environment.data());
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&how);
  if (end.error != 0) return end;
  while (::waitpid(pid, &end.status, 0) < 0 && errno == EINTR) {
  }
  end.said = content_of(output.get());
  return end;
}

std::string hint_for(std::string_view said) {
  if (said.find("user_allow_other") != said.npos)
    return "root can put a line user_allow_other into /etc/fuse.conf; without allow_other only "
           "you get into your mount";
  if (said.find("Operation not permitted") != said.npos && said.find("mount failed") != said.npos)
    return ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1
               ? "this shell has no_new_privs, so fusermount3 has no rights here"
               : "fusermount3 has to be setuid root: apt install --reinstall fuse3";
  if (said.find("mountpoint") != said.npos || said.find("mount point") != said.npos)
    return "without root, mount on a directory of your own";
  return {};
}

// fusermount3 never asks for a translation, so its words are these.
int errno_in(std::string_view said) {
  for (const int e : {EBUSY, EPERM, EACCES, ENOENT, EINVAL, ENOTCONN})
    if (said.ends_with(strerrordesc_np(e))) return e;
  return said.find("not found in") != said.npos ? EINVAL : EPERM;
}

// Who waits for an answer gets ECONNABORTED, and /dev/fuse says that it is over.
void abort_connection(const std::string& device) {
  const std::string path =
      "/sys/fs/fuse/connections/" + device.substr(device.find(':') + 1) + "/abort";
  const unique_fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  // Where that filesystem is not mounted, the end of the processes does it.
  if (file) (void)!::write(file.get(), "1", 1);
}

}  // namespace

std::string fusermount_value(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ',' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

outcome<unique_fd> mount_by_fusermount(const std::string& mount_point,
                                       const std::string& options) {
  socket_pair pair = make_socket_pair();
  if (!pair.first) return failure{problem{exit_code::failed, std::strerror(errno), {}}};
  const program_end end = run({"-o", options, "--", mount_point}, pair.second.get());
  if (end.error != 0)
    return failure{problem{exit_code::failed,
                           std::string("fusermount3: ") + std::strerror(end.error),
                           "mounting without root needs it: apt install fuse3"}};
  char byte = 0;
  packet_fds fds;
  if (end.status == 0 && receive_object(pair.first.get(), byte, &fds) == packet_status::ok &&
      fds.count == 1)
    return std::move(fds.fds[0]);
  return failure{problem{exit_code::failed,
                         end.said.empty() ? "fusermount3 ended without a word" : end.said,
                         hint_for(end.said)}};
}

int unmount_fuse(const std::string& mount_point, const std::string& device, int flags) {
  if (::geteuid() == 0)
    return ::umount2(mount_point.c_str(), flags | UMOUNT_NOFOLLOW) == 0 ? 0 : errno;
  if ((flags & MNT_FORCE) != 0) abort_connection(device);
  std::vector<std::string> words{"-u"};
  if ((flags & MNT_DETACH) != 0) words.push_back("-z");
  words.insert(words.end(), {"--", mount_point});
  const program_end end = run(std::move(words), -1);
  if (end.error != 0) return end.error;
  return end.status == 0 ? 0 : errno_in(end.said);
}

}  // namespace tangelo
