#include "watchdog/mount_options.h"

#include <sys/mount.h>

#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <utility>


namespace tangelo {

namespace {

struct option_row {
  std::string_view word;
  unsigned long set = 0;
  unsigned long clear = 0;
};

constexpr std::array<option_row, 29> option_rows{{
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"suid", 0, MS_NOSUID},
    {"nosuid", MS_NOSUID, 0},
    {"dev", 0, MS_NODEV},
    {"nodev", MS_NODEV, 0},
    {"exec", 0, MS_NOEXEC},
    {"noexec", MS_NOEXEC, 0},
    {"atime", 0, MS_NOATIME},
    {"noatime", MS_NOATIME, 0},
    {"relatime", MS_RELATIME, MS_NOATIME},
    {"norelatime", 0, MS_RELATIME},
    {"strictatime", MS_STRICTATIME, MS_NOATIME},
    {"diratime", 0, MS_NODIRATIME},
    {"nodiratime", MS_NODIRATIME, 0},
    {"dirsync", MS_DIRSYNC, 0},
    {"sync", MS_SYNCHRONOUS, 0},
    {"async", 0, MS_SYNCHRONOUS},
    {"silent", MS_SILENT, 0},
    {"defaults", 0, 0},
    {"auto", 0, 0},
    {"noauto", 0, 0},
    {"nofail", 0, 0},
    {"nouser", 0, 0},
    {"_netdev", 0, 0},
    {"allow_other", 0, 0},          // what every mount of root's is
    {"default_permissions", 0, 0},  // what every Tangelo mount is
    {"hard", 0, 0},                 // wait for ever
    {"intr", 0, 0},
}};

constexpr std::uint32_t busy_poll_us_max = 10'000;

failure<problem> bad_option(const std::string& word, const char* why, std::string hint) {
  return failure{problem{exit_code::usage, "mount option '" + word + "'" + why, std::move(hint)}};
}

// Takes an option that is the core's.
std::optional<outcome<void>> parse_core_word(const std::string& word, core_options& core) {
  const std::size_t equals = word.find('=');
  if (equals == word.npos) return std::nullopt;
  const std::string_view key = std::string_view(word).substr(0, equals);
  const std::string_view value = std::string_view(word).substr(equals + 1);
  if (key == "fabric") {
    if (value != "auto" && value != "verbs" && value != "tcp")
      return bad_option(word, "", "write fabric=auto, fabric=verbs or fabric=tcp");
    core.fabric = value;
  } else if (key == "busy_poll") {
    const char* end = value.data() + value.size();
    const auto [at, error] = std::from_chars(value.data(), end, core.busy_poll_us);
    if (error != std::errc{} || at != end || core.busy_poll_us > busy_poll_us_max)
      return bad_option(word, ": not a number of microseconds (at most 10000)",
                        "write busy_poll=50, for example");
  } else if (key == "secret_file") {
    core.secret_file = value;
    if (!value.starts_with('/'))
      return bad_option(word, ": not a full path", "write secret_file=/PATH");
  } else {
    return std::nullopt;
  }
  return outcome<void>{};
}

bool belongs_to_mount8(std::string_view word) {
  return word.starts_with("x-") || word.starts_with("X-") || word.starts_with("comment=");
}

const option_row* find_row(std::string_view word) {
  for (const option_row& row : option_rows)
    if (row.word == word) return &row;
  return nullptr;
}

// What -o sync and -o dirsync ask for, unless commit= says otherwise.
commit_mode commit_by_flags(unsigned long flags) {
  if ((flags & MS_SYNCHRONOUS) != 0) return commit_mode::sync;
  return (flags & MS_DIRSYNC) != 0 ? commit_mode::names : commit_mode::async;
}

}  // namespace

outcome<mount_options> parse_mount_options(const std::vector<std::string>& words) {
  mount_options options;
  options.flags = MS_NOSUID | MS_NODEV;
  policy_change change;
  for (const std::string& word : words) {
    if (word.empty()) continue;
    options.words.push_back(word);
    if (belongs_to_mount8(word)) continue;
    if (word == "lock" || word == "nolock") {
      options.locks = word == "lock";
      continue;
    }
    if (std::optional<outcome<void>> taken = parse_core_word(word, options.core)) {
      if (!*taken) return failure{taken->error()};
      continue;
    }
    if (std::optional<outcome<void>> taken = parse_policy_word(word, change)) {
      if (!*taken) return failure{taken->error()};
      continue;
    }
    if (std::optional<outcome<void>> taken = parse_cache_word(word, options.caching)) {
      if (!*taken) return failure{taken->error()};
      continue;
    }
    const option_row* row = find_row(word);
    if (row == nullptr)
      return failure{problem{exit_code::usage, "mount option '" + word + "' is unknown",
                             "known are ro, suid, dev, noexec, noatime, sync, lock and their "
                             "opposites, allow_other, ac=, direct_io, writeback_cache, "
                             "protection=, commit=, secret_file=, fabric=, busy_poll=, log=, "
                             "reconnect_delay=, fast_io_fail_tmo=, dev_loss_tmo="}};
    options.flags = (options.flags & ~row->clear) | row->set;
    if (word == "allow_other") options.allow_other = true;
  }
  if (change.commit == policy_unchanged)
    change.commit = static_cast<std::uint32_t>(commit_by_flags(options.flags));
  options.policy = changed({}, change);
  if (outcome<void> sound = check_policy(options.policy); !sound) return failure{sound.error()};
  // The kernel leaves times to the filesystem.
  options.caching.noatime = (options.flags & MS_NOATIME) != 0;
  options.caching.nodiratime = (options.flags & MS_NODIRATIME) != 0;
  if (outcome<void> sound = check_cache_policy(options.caching); !sound)
    return failure{sound.error()};
  return options;
}

}  // namespace tangelo
