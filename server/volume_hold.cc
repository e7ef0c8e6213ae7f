#include "server/volume_hold.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/clock.h"

namespace tangelo {

namespace {

// How long a holder that has been killed is given to end, and how often it is looked at.
constexpr int ending_wait_ms = 5000;
constexpr int ending_look_ms = 10;

problem trouble(const std::string& path, std::string_view what, std::string hint) {
  return problem{exit_code::store, fmt::format("{}: {}", path, what), std::move(hint)};
}

bool take(std::string_view& text, std::uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

outcome<bool> write_holder(const volume_hold& hold, const std::string& path) {
  const std::string record =
      fmt::format("{} {} {}\n", ::getpid(), this_host(), system_clock().wall_ns());
  if (::ftruncate(hold.lock.get(), 0) != 0 ||
      ::pwrite(hold.lock.get(), record.data(), record.size(), 0) !=
          static_cast<ssize_t>(record.size()))
    return failure{trouble(path, std::strerror(errno), "is the disk full?")};
  return true;
}

// Its memory is gone, its files are about to be closed: killed a moment ago.
bool is_ending(const std::optional<volume_holder>& holder) {
  if (!holder || holder->host != this_host()) return false;
  char target[8];
  return ::readlink(fmt::format("/proc/{}/exe", holder->pid).c_str(), target, sizeof target) < 0 &&
         errno == ENOENT;
}

}  // namespace

std::string this_host() {
  utsname u{};
  return ::uname(&u) == 0 && u.nodename[0] != 0 ? u.nodename : "unknown";
}

std::string lock_path(const std::string& directory, std::uint64_t generation) {
  return generation == 0 ? directory + "/lock" : fmt::format("{}/lock.{}", directory, generation);
}

std::optional<volume_holder> read_holder(const std::string& directory, std::uint64_t generation) {
  const unique_fd fd(::open(lock_path(directory, generation).c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 512> bytes{};
  const ssize_t n = fd ? ::pread(fd.get(), bytes.data(), bytes.size(), 0) : -1;
  std::string_view text(bytes.data(), static_cast<std::size_t>(n > 0 ? n : 0));
  volume_holder h;
  if (!take(text, h.pid) || !text.starts_with(' ')) return std::nullopt;
  text.remove_prefix(1);
  const std::size_t blank = text.find(' ');
  if (blank == text.npos) return std::nullopt;
  h.host = text.substr(0, blank);
  text.remove_prefix(blank + 1);
  if (!take(text, h.since_ns) || text != "\n") return std::nullopt;  // half written
  return h;
}

std::string text_of_holder(const std::optional<volume_holder>& holder) {
  if (!holder) return "an unknown process";
  return fmt::format("process {} on {}", holder->pid, holder->host);
}

bool volume_hold::still_held() const {
  struct stat st{};
  if (::fstat(block_file.get(), &st) == 0 && st.st_nlink != 0) return true;
  const outcome<superblock> now = read_superblock(directory);
  return now && now->lock_generation == block.lock_generation;
}

outcome<std::optional<volume_hold>> try_hold_volume(const std::string& directory) {
  struct stat st{};
  if (::stat(directory.c_str(), &st) != 0 || !S_ISDIR(st.st_mode))
    return failure{trouble(directory, "no such directory",
                           "make a volume with: tangelo-server init " + directory)};
  for (int patience = ending_wait_ms / ending_look_ms;;) {
    volume_hold hold;
    hold.directory = directory;
    const outcome<superblock> before = read_superblock(directory);
    if (!before) return failure{before.error()};
    const std::string path = lock_path(directory, before->lock_generation);
    const int create = before->lock_generation == 0 ? 0 : O_CREAT;
    hold.lock.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC | create, 0600));
    if (!hold.lock)
      return failure{trouble(path, std::strerror(errno),
                             "run the server as the user who owns the volume")};
    if (::flock(hold.lock.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK && patience-- > 0 &&
          is_ending(read_holder(directory, before->lock_generation))) {
        std::this_thread::sleep_for(std::chrono::milliseconds(ending_look_ms));
        continue;
      }
      if (errno == EWOULDBLOCK || errno == EINTR) return std::optional<volume_hold>();
      return failure{trouble(path, std::strerror(errno),
                             "the volume's filesystem must support flock(2)")};
    }
    hold.block_file.reset(::open(superblock_path(directory).c_str(), O_RDONLY | O_CLOEXEC));
    outcome<superblock> block = read_superblock(directory);
    if (!block) return failure{block.error()};
    // Taken over meanwhile: this was the lock of the generation before.
    if (block->lock_generation != before->lock_generation) continue;
    hold.block = std::move(*block);
    if (const outcome<bool> written = write_holder(hold, path); !written)
      return failure{written.error()};
    return std::optional<volume_hold>(std::move(hold));
  }
}

problem held_by_another(const std::string& directory) {
  const outcome<superblock> block = read_superblock(directory);
  const std::uint64_t generation = block ? block->lock_generation : 0;
  return trouble(directory,
                 "held by another server, " + text_of_holder(read_holder(directory, generation)),
                 "stop that server first, or start this one as a standby (--standby); one volume "
                 "has one holder");
}

outcome<volume_hold> hold_volume(const std::string& directory) {
  outcome<std::optional<volume_hold>> hold = try_hold_volume(directory);
  if (!hold) return failure{hold.error()};
  if (*hold) return std::move(**hold);
  return failure{held_by_another(directory)};
}

}  // namespace tangelo
