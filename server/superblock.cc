#include "server/superblock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/crc32c.h"
#include "base/fd.h"
#include "protocol/codec.h"

namespace tangelo {

namespace {

constexpr std::uint64_t superblock_magic = 0x314f4c4f56474e54;  // "TNGVOLO1"
constexpr std::size_t superblock_size = 4096;

using block = std::array<std::byte, superblock_size>;

// Format final. The CRC is over the block with `crc` zero.
struct saved_superblock {
  std::uint64_t magic = superblock_magic;
  std::uint32_t version = 0;
  std::uint32_t crc = 0;
  std::uint64_t compatible = 0;
  std::uint64_t incompatible = 0;
  id128 volume_id{};
  std::uint64_t created_ns = 0;
  std::string_view name;
  std::uint64_t lock_generation = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.magic), v(s.version), v(s.crc), v(s.compatible), v(s.incompatible), v(s.volume_id);
    v(s.created_ns), v.text(s.name), v(s.lock_generation);
  }
};
constexpr std::size_t crc_offset = 12;

problem refused(exit_code code, std::string text, std::string hint) {
  return problem{code, std::move(text), std::move(hint)};
}

std::uint32_t crc_of(block b) {
  for (std::size_t i = 0; i < sizeof(std::uint32_t); ++i) b[crc_offset + i] = std::byte{0};
  return crc32c(b);
}

}  // namespace

std::string superblock_path(const std::string& directory) { return directory + "/superblock"; }

outcome<superblock> read_superblock(const std::string& directory) {
  const std::string path = superblock_path(directory);
  const unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT)
    return failure{refused(exit_code::store, directory + ": not a Tangelo volume (no superblock)",
                           "make one with: tangelo-server init " + directory)};
  if (!fd)
    return failure{refused(exit_code::store, path + ": " + std::strerror(errno),
                           "run the server as the user who owns the volume")};
  block b{};
  const ssize_t n = ::pread(fd.get(), b.data(), b.size(), 0);
  const auto s = decode<saved_superblock>(b);
  if (n < 16 || !s || s->magic != superblock_magic)
    return failure{refused(exit_code::store, path + ": not the superblock of a Tangelo volume",
                           "is this the right directory?")};
  if (s->version > format_version)
    return failure{refused(exit_code::version,
                           fmt::format("{}: format version {}, this server knows up to {}", path,
                                       s->version, format_version),
                           "use the newer tangelo-server that made or upgraded this volume")};
  if (n != static_cast<ssize_t>(b.size()) || crc_of(b) != s->crc)
    return failure{refused(exit_code::store, path + ": damaged (its checksum does not match)",
                           "restore this file, or the volume, from a backup")};
  if ((s->incompatible & ~superblock_feature::known_incompatible) != 0)
    return failure{refused(exit_code::version,
                           fmt::format("{}: needs features {:#x} that this server lacks", path,
                                       s->incompatible),
                           "use a newer tangelo-server")};
  return superblock{s->version,   s->compatible, s->incompatible,
                    s->volume_id, s->created_ns, std::string(s->name), s->lock_generation};
}

outcome<bool> write_superblock(const std::string& directory, const superblock& s) {
  saved_superblock saved;
  saved.version = s.version;
  saved.compatible = s.compatible;
  saved.incompatible = s.incompatible;
  saved.volume_id = s.volume_id;
  saved.created_ns = s.created_ns;
  saved.name = s.name;
  saved.lock_generation = s.lock_generation;
  block b{};
  const bool fits = encode(saved, b).has_value();
  saved.crc = crc_of(b);
  const std::string path = superblock_path(directory);
  const std::string fresh = path + ".new";
  const unique_fd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  const unique_fd dir(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const bool good = fits && fd && dir && encode(saved, b).has_value() &&
                    ::write(fd.get(), b.data(), b.size()) == static_cast<ssize_t>(b.size()) &&
                    ::fsync(fd.get()) == 0 && ::rename(fresh.c_str(), path.c_str()) == 0 &&
                    ::fsync(dir.get()) == 0;
  if (!good)
    return failure{refused(exit_code::store, path + ": " + std::strerror(errno),
                           "is the disk full, or is the directory another user's?")};
  return true;
}

}  // namespace tangelo
