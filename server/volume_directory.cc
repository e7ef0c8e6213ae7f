#include "server/volume_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
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
                                std::uint64_t now_ns, const root_owner& owner) {
  std::error_code e;
  std::filesystem::create_directories(directory, e);
  if (e) return failure{trouble(directory, e.message(), "choose a directory you may write to")};
  if (const outcome<bool> empty = check_empty(directory); !empty)
    return failure{empty.error()};
  const std::string lock = lock_path(directory, 0);
  const unique_fd made(::open(lock.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!made || ::mkdir(objects_path(directory).c_str(), 0700) != 0 ||
      ::mkdir(metadata_path(directory).c_str(), 0700) != 0)
    return failure{trouble(directory, std::strerror(errno), "is it another user's, or full?")};
  {
    outcome<std::unique_ptr<kv_store>> kv = open_rocks_kv(metadata_path(directory), true);
    if (!kv) return failure{kv.error()};
    const error_code f =
        volume::format(**kv, owner.uid, owner.gid, static_cast<std::int64_t>(now_ns));
    if (f != error_code::ok)
      return failure{trouble(metadata_path(directory), row_of(f).text, "is the disk full?")};
  }
  superblock s;
  s.volume_id = random_id();
  s.incompatible = superblock_feature::protection;
  s.created_ns = now_ns;
  s.name = name;
  if (const outcome<bool> written = write_superblock(directory, s); !written)
    return failure{written.error()};
  return s;
}

}  // namespace tangelo
