// policy: how long callers wait while a mount cannot reach its server. Pure values and their check.
//
// The three times and the rules between them are those of the SRP transport class:
//   reconnect_delay    the longest pause between two rounds of connecting
//   fast_io_fail_tmo   from the loss of the path until operations that have certainly not been
//                      executed, or change nothing, are answered EIO
//   dev_loss_tmo       until all are, whatever became of them
// Each is a number of seconds or off. By default all are off: the mount waits for ever (callers can
// be killed), and the pauses between rounds grow from 0.2 s to 5 s.
//
// The commit mode says when a change is answered: as soon as the server has made it (async, the
// default: fsync and O_SYNC wait until it is durable), or when it is durable (sync). With names,
// changes of names (dirsync) are answered when they are durable, data as in async.
//
// The log level is that of all three processes of the mount.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/log.h"
#include "base/problem.h"
#include "protocol/device.h"
#include "protocol/supervise.h"

namespace tangelo {

enum class commit_mode : std::uint8_t { async = 0, sync = 1, names = 2 };
constexpr std::string_view name_of(commit_mode m) noexcept {
  switch (m) {
    using enum commit_mode;
    case async: return "async";
    case sync: return "sync";
    case names: return "names";
  }
  return {};
}

struct mount_policy {
  std::uint32_t reconnect_delay = policy_off;
  std::uint32_t fast_io_fail_tmo = policy_off;
  std::uint32_t dev_loss_tmo = policy_off;
  commit_mode commit = commit_mode::async;
  std::optional<log_level> log;  // nothing: as each process was started
  bool operator==(const mount_policy&) const = default;
};

// What the kernel may cache, and what is checked; chosen when the mount is made.
struct cache_policy {
  std::uint32_t ac = policy_off;  // seconds that names and attributes are valid; off: as the server
                                  // says
  bool direct_io = false;         // no pages of files are cached
  bool writeback = false;         // what is written stays in the kernel for a while
  bool noatime = false;           // reading changes no times
  bool nodiratime = false;        // the same for directories
  bool protection = true;         // data has guards on its way (protection.h)
  bool operator==(const cache_policy&) const = default;
};
inline constexpr std::uint32_t cache_seconds_max = 30;

inline constexpr std::uint32_t policy_seconds_max = 600;  // of fast_io_fail_tmo, as in SRP
inline constexpr std::uint32_t policy_dev_loss_max = 30 * 24 * 3600;

// Sets the value named by `word` ("dev_loss_tmo=60", "commit=sync", "log=debug"). Nothing: the word
// is none of them; a problem: it cannot have that value.
std::optional<outcome<void>> parse_policy_word(std::string_view word, policy_change& change);
// The same for "ac=3", "direct_io", "writeback_cache" and their opposites, "protection=off".
std::optional<outcome<void>> parse_cache_word(std::string_view word, cache_policy& policy);
mount_policy changed(mount_policy policy, const policy_change& change) noexcept;
// A problem that names the rule which the values break.
outcome<void> check_policy(const mount_policy& policy);
outcome<void> check_cache_policy(const cache_policy& policy);

mount_policy read_policy(const policy_record& record) noexcept;
void write_policy(policy_record& record, const mount_policy& policy) noexcept;
// Each of the three processes: from here on it logs what the policy says.
void obey_log_policy(const policy_record& record) noexcept;
cache_policy read_cache_policy(const policy_record& record) noexcept;
void write_cache_policy(policy_record& record, const cache_policy& policy) noexcept;
// "off" or "15".
std::string policy_text(std::uint32_t value);

}  // namespace tangelo
