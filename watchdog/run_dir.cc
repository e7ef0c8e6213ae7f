#include "watchdog/run_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/private_directory.h"
#include "watchdog/files.h"

namespace tangelo {

namespace {

constexpr std::array<const char*, 5> own_files{"mount.toml", "mount.toml.new", "control.sock",
                                               "fs.sock", "core.sock"};

enum class lock_answer { taken, held, vanished, failed };

// The directory may be removed by its last owner between our open and our lock.
lock_answer try_lock(const std::string& path, unique_fd& fd) {
  fd.reset(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return errno == ENOENT ? lock_answer::vanished : lock_answer::failed;
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
    return errno == EWOULDBLOCK ? lock_answer::held : lock_answer::failed;
  struct stat mine {};
  struct stat named {};
  if (::fstat(fd.get(), &mine) != 0 || ::stat(path.c_str(), &named) != 0)
    return lock_answer::vanished;
  return mine.st_ino == named.st_ino && mine.st_dev == named.st_dev ? lock_answer::taken
                                                                    : lock_answer::vanished;
}

}  // namespace

outcome<run_dir> run_dir::take(const std::string& run_root, const std::string& name,
                               unsigned wait_ms, const std::function<bool()>& stays) {
  constexpr unsigned step_ms = 50;
  const std::string mounts = run_root + "/mounts";
  const std::string path = mounts + "/" + name;
  if (::geteuid() != 0) {
    outcome<void> own = make_private_directory(run_root);
    if (!own) return failure{own.error()};
  }
  for (unsigned waited = 0;; waited += step_ms) {
    outcome<void> made = make_directories(path);
    if (!made) return failure{made.error()};
    unique_fd fd;
    const lock_answer answer = try_lock(path, fd);
    if (answer == lock_answer::taken) return run_dir(path, std::move(fd));
    if (answer == lock_answer::failed)
      return failure{problem{exit_code::failed, path + ": " + std::strerror(errno), {}}};
    if (waited >= wait_ms || (stays && stays()))
      return failure{problem{exit_code::failed, path + ": another tangelo-watchdog serves it",
                             "see `tangelo status`; end it with `tangelo umount` (after `umount "
                             "-l` it ends when nothing uses the mount any more), or if it does not "
                             "answer kill -9 it (watchdog_pid in " + path + "/mount.toml)"}};
    ::usleep(step_ms * 1000);
  }
}

run_dir run_dir::inherited(const std::string& run_root, const std::string& name, unique_fd lock) {
  return {run_root + "/mounts/" + name, std::move(lock)};
}

outcome<void> run_dir::write_mount_file(const std::string& content) const {
  return replace_file(path_ + "/mount.toml", content, 0644, durability::none);
}

outcome<std::string> run_dir::read_mount_file() const {
  return read_small_file(path_ + "/mount.toml");
}

// A socket's path is short, a NAME may be long: go through the directory's descriptor.
sockaddr_un run_dir::address_of(const char* socket_name) const {
  const std::string path = "/proc/self/fd/" + std::to_string(lock_.get()) + "/" + socket_name;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

unique_fd run_dir::connect_to(const char* socket_name) const {
  const sockaddr_un address = address_of(socket_name);
  unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd && ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fd.reset();
  return fd;
}

outcome<unique_fd> run_dir::listen_at(const char* socket_name) const {
  const std::string whole = path_ + "/" + socket_name;
  const sockaddr_un address = address_of(socket_name);
  ::unlinkat(lock_.get(), socket_name, 0);
  unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const mode_t before = ::umask(0177);
  const bool bound = fd && ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                                  sizeof address) == 0;
  const int error_number = errno;
  ::umask(before);
  errno = error_number;
  if (!bound || ::listen(fd.get(), 16) != 0)
    return failure{problem{exit_code::failed, whole + ": " + std::strerror(errno), {}}};
  return fd;
}

bool run_dir::has(const char* socket_name) const noexcept {
  struct stat mine {};
  struct stat named {};
  return ::fstat(lock_.get(), &mine) == 0 && ::stat(path_.c_str(), &named) == 0 &&
         mine.st_ino == named.st_ino && mine.st_dev == named.st_dev &&
         ::faccessat(lock_.get(), socket_name, F_OK, 0) == 0;
}

void run_dir::remove() noexcept {
  for (const char* name : own_files) ::unlinkat(lock_.get(), name, 0);
  ::rmdir(path_.c_str());
}

}  // namespace tangelo
