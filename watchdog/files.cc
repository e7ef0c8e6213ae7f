#include "watchdog/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/fd.h"

namespace tangelo {

namespace {

failure<problem> file_failure(const std::string& path) {
  return failure{problem{exit_code::failed, path + ": " + std::strerror(errno), {}}};
}

failure<problem> not_a_file(const std::string& path) {
  return failure{problem{exit_code::failed, path + ": not a regular file", "remove it"}};
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool write_whole(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n <= 0) return false;
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace

outcome<void> make_directories(const std::string& path) {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) return file_failure(part);
    if (end == std::string::npos) break;
  }
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return file_failure(path);
  if (!S_ISDIR(st.st_mode)) errno = ENOTDIR;
  if (!S_ISDIR(st.st_mode)) return file_failure(path);
  return {};
}

outcome<std::string> read_small_file(const std::string& path) {
  constexpr std::size_t size_max = 65536;
  // Not to wait for a pipe's other end.
  const unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) {
    if (errno == ENOENT) return std::string();
    return file_failure(path);
  }
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return file_failure(path);
  if (!S_ISREG(st.st_mode)) return not_a_file(path);
  std::string content(size_max, '\0');
  const ssize_t n = ::read(fd.get(), content.data(), content.size());
  if (n < 0) return file_failure(path);
  content.resize(static_cast<std::size_t>(n));
  return content;
}

outcome<void> replace_file(const std::string& path, std::string_view content, unsigned mode,
                           durability how) {
  const std::string temporary = path + ".new";
  unique_fd fd(::open(temporary.c_str(),
                      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode));
  if (!fd || !write_whole(fd.get(), content)) return file_failure(temporary);
  if (how == durability::disk && ::fsync(fd.get()) != 0) return file_failure(temporary);
  fd.reset();
  if (::rename(temporary.c_str(), path.c_str()) != 0) return file_failure(path);
  if (how == durability::none) return {};
  const unique_fd directory(::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(directory.get()) != 0) return file_failure(directory_of(path));
  return {};
}

}  // namespace tangelo
