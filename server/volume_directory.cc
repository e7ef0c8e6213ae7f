#include "server/volume_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/prng.h"
#include "server/rocks_kv.h"
#include "server/volume.h"

namespace tangelo {

namespace {

problem trouble(const std::string& path, std::string_view what, std::string hint) {
  return problem{exit_code::store, fmt::format("{}: {}", path, what), std::move(hint)};
}

// Whether there is nothing in it but what mkfs makes.
outcome<bool> check_empty(const std::string& directory) {
  std::error_code e;
  if (std::filesystem::exists(superblock_path(directory), e))
    return failure{trouble(directory, "is a Tangelo volume already",
                           "choose another directory, or remove the volume first")};
  std::filesystem::directory_iterator at(directory, e);
  if (e) return failure{trouble(directory, e.message(), "choose a directory you may write to")};
  for (; at != std::filesystem::directory_iterator(); at.increment(e)) {
    if (e) return failure{trouble(directory, e.message(), {})};
    const std::string name = at->path().filename().string();
    if (name == "lost+found") continue;
    return failure{trouble(directory, "not empty, and not a Tangelo volume",
                           "choose an empty or a new directory")};
  }
  return true;
}

id128 random_id() {
  id128 id{};
  const std::uint64_t halves[2] = {random_u64_or_die(), random_u64_or_die()};
  std::memcpy(id.data(), halves, sizeof halves);
  return id;
}

}  // namespace

std::string metadata_path(const std::string& directory) { return directory + "/metadata"; }
std::string objects_path(const std::string& directory) { return directory + "/objects"; }

outcome<superblock> make_volume(const std::string& directory, const std::string& name,
                                std::uint64_t now_ns) {
  std::error_code e;
  std::filesystem::create_directories(directory, e);
  if (e) return failure{trouble(directory, e.message(), "choose a directory you may write to")};
  if (const outcome<bool> empty = check_empty(directory); !empty)
    return failure{empty.error()};
  const std::string lock = directory + "/lock";
  const unique_fd made(::open(lock.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!made || ::mkdir(objects_path(directory).c_str(), 0700) != 0 ||
      ::mkdir(metadata_path(directory).c_str(), 0700) != 0)
    return failure{trouble(directory, std::strerror(errno), "is it another user's, or full?")};
  {
    outcome<std::unique_ptr<kv_store>> kv = open_rocks_kv(metadata_path(directory), true);
    if (!kv) return failure{kv.error()};
    const error_code f =
        volume::format(**kv, ::geteuid(), ::getegid(), static_cast<std::int64_t>(now_ns));
    if (f != error_code::ok)
      return failure{trouble(metadata_path(directory), row_of(f).text, "is the disk full?")};
  }
  superblock s;
  s.volume_id = random_id();
  s.created_ns = now_ns;
  s.name = name;
  if (const outcome<bool> written = write_superblock(directory, s); !written)
    return failure{written.error()};
  return s;
}

outcome<volume_hold> hold_volume(const std::string& directory) {
  struct stat st{};
  if (::stat(directory.c_str(), &st) != 0 || !S_ISDIR(st.st_mode))
    return failure{trouble(directory, "no such directory",
                           "make a volume with: tangelo-server init " + directory)};
  outcome<superblock> block = read_superblock(directory);
  if (!block) return failure{block.error()};
  const std::string path = directory + "/lock";
  volume_hold hold{unique_fd(::open(path.c_str(), O_RDWR | O_CLOEXEC)), *block};
  if (!hold.lock)
    return failure{trouble(path, std::strerror(errno),
                           "run the server as the user who owns the volume")};
  if (::flock(hold.lock.get(), LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = {};
    const ssize_t n = ::pread(hold.lock.get(), holder, sizeof holder - 1, 0);
    const std::string pid(holder, static_cast<std::size_t>(n > 0 ? n : 0));
    return failure{trouble(directory, fmt::format("held by another server, process {}",
                                                  pid.empty() ? "unknown" : pid),
                           "stop that server first; one volume has one holder")};
  }
  const std::string pid = fmt::format("{}", ::getpid());
  if (::ftruncate(hold.lock.get(), 0) != 0 ||
      ::pwrite(hold.lock.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size()))
    return failure{trouble(path, std::strerror(errno), "is the disk full?")};
  return hold;
}

}  // namespace tangelo
