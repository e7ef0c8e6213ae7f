#include "base/private_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fd.h"

namespace tangelo {

namespace {

failure<problem> refused(const std::string& path, const std::string& why) {
  return failure{problem{exit_code::failed, path + ": " + why,
                         "it has to be a directory of your own with mode 0700; remove it, or set "
                         "XDG_RUNTIME_DIR to one"}};
}

outcome<void> check(const std::string& path, uid_t owner) {
  const unique_fd fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat st {};
  if (!fd || ::fstat(fd.get(), &st) != 0)
    return refused(path, errno == ENOTDIR ? "not a directory, but perhaps a link to one"
                                          : std::strerror(errno));
  if (st.st_uid != owner) return refused(path, "belongs to user " + std::to_string(st.st_uid));
  if ((st.st_mode & 077) != 0) return refused(path, "is open to others");
  return {};
}

}  // namespace

bool is_private_directory(const std::string& path, uid_t owner) {
  return check(path, owner).has_value();
}

outcome<void> make_private_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return refused(path, std::strerror(errno));
  return check(path, ::geteuid());
}

}  // namespace tangelo
