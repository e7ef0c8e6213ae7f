#include "protocol/policy.h"

#include <array>
#include <charconv>

#include "base/log_level.h"

namespace tangelo {

namespace {

struct field {
  std::string_view name;
  std::uint32_t policy_change::* change;
  std::uint32_t mount_policy::* value;
};
constexpr std::array<field, 3> fields{{
    {"reconnect_delay", &policy_change::reconnect_delay, &mount_policy::reconnect_delay},
    {"fast_io_fail_tmo", &policy_change::fast_io_fail_tmo, &mount_policy::fast_io_fail_tmo},
    {"dev_loss_tmo", &policy_change::dev_loss_tmo, &mount_policy::dev_loss_tmo},
}};

failure<problem> broken_rule(std::string text) {
  return failure{problem{exit_code::usage, std::move(text),
                         "reconnect_delay <= fast_io_fail_tmo < dev_loss_tmo, each in seconds or "
                         "off"}};
}

static_assert(policy_off + 1 == 0);
std::uint32_t to_record(std::uint32_t value) noexcept { return value + 1; }
std::uint32_t from_record(const atomic_u32& field) noexcept {
  return field.load(std::memory_order_relaxed) - 1;
}

bool is_on(std::uint32_t value) noexcept { return value != policy_off; }

// What is none of ours, from a newer or a damaged peer, is the safe one.
commit_mode commit_of(std::uint32_t number) noexcept {
  switch (static_cast<commit_mode>(number)) {
    case commit_mode::async: return commit_mode::async;
    case commit_mode::names: return commit_mode::names;
    case commit_mode::sync: break;
  }
  return commit_mode::sync;
}

outcome<void> parse_commit(std::string_view word, policy_change& change) {
  const std::string_view value = word.substr(word.find('=') + 1);
  for (const commit_mode m : {commit_mode::async, commit_mode::sync, commit_mode::names}) {
    if (value != name_of(m)) continue;
    change.commit = static_cast<std::uint32_t>(m);
    return {};
  }
  return failure{problem{exit_code::usage, std::string(word) + ": not a way to commit",
                         "write commit=async, commit=sync or commit=names"}};
}

outcome<void> parse_log(std::string_view word, policy_change& change) {
  const std::optional<log_level> level = log_level_named(word.substr(word.find('=') + 1));
  if (!level)
    return failure{problem{exit_code::usage, std::string(word) + ": not a level",
                           "write log=" + log_level_names()}};
  change.log = static_cast<std::uint32_t>(*level);
  return {};
}

}  // namespace

std::optional<outcome<void>> parse_policy_word(std::string_view word, policy_change& change) {
  const std::size_t equals = word.find('=');
  if (equals == std::string_view::npos) return std::nullopt;
  if (word.substr(0, equals) == "commit") return parse_commit(word, change);
  if (word.substr(0, equals) == "log") return parse_log(word, change);
  for (const field& f : fields) {
    if (word.substr(0, equals) != f.name) continue;
    const std::string_view value = word.substr(equals + 1);
    if (value == "off") {
      change.*f.change = policy_off;
      return outcome<void>{};
    }
    std::uint32_t seconds = 0;
    const char* end = value.data() + value.size();
    const auto [at, error] = std::from_chars(value.data(), end, seconds);
    if (value.empty() || error != std::errc{} || at != end || seconds > policy_dev_loss_max)
      return outcome<void>(failure{problem{
          exit_code::usage,
          std::string(word) + ": not a number of seconds (at most " +
              std::to_string(policy_dev_loss_max) + ") and not 'off'",
          {}}});
    change.*f.change = seconds;
    return outcome<void>{};
  }
  return std::nullopt;
}

mount_policy changed(mount_policy policy, const policy_change& change) noexcept {
  for (const field& f : fields)
    if (change.*f.change != policy_unchanged) policy.*f.value = change.*f.change;
  if (change.commit != policy_unchanged) policy.commit = commit_of(change.commit);
  if (change.log != policy_unchanged) policy.log = log_level_of(change.log);
  return policy;
}

outcome<void> check_policy(const mount_policy& p) {
  if (p.reconnect_delay == 0) return broken_rule("reconnect_delay=0: has to be at least 1 s");
  if (is_on(p.fast_io_fail_tmo) && p.fast_io_fail_tmo > policy_seconds_max)
    return broken_rule("fast_io_fail_tmo=" + policy_text(p.fast_io_fail_tmo) +
                       ": 600 s is the most");
  if (!is_on(p.fast_io_fail_tmo) && is_on(p.dev_loss_tmo) && p.dev_loss_tmo > policy_seconds_max)
    return broken_rule("dev_loss_tmo=" + policy_text(p.dev_loss_tmo) +
                       ": 600 s is the most while fast_io_fail_tmo is off");
  if (is_on(p.fast_io_fail_tmo) && is_on(p.dev_loss_tmo) && p.fast_io_fail_tmo >= p.dev_loss_tmo)
    return broken_rule("fast_io_fail_tmo=" + policy_text(p.fast_io_fail_tmo) +
                       ": has to be less than dev_loss_tmo=" + policy_text(p.dev_loss_tmo));
  if (is_on(p.reconnect_delay) && is_on(p.fast_io_fail_tmo) &&
      p.reconnect_delay > p.fast_io_fail_tmo)
    return broken_rule("reconnect_delay=" + policy_text(p.reconnect_delay) +
                       ": longer than fast_io_fail_tmo=" + policy_text(p.fast_io_fail_tmo) +
                       ", so nothing would be tried before operations fail");
  return {};
}

mount_policy read_policy(const policy_record& r) noexcept {
  return {from_record(r.reconnect_delay), from_record(r.fast_io_fail_tmo),
          from_record(r.dev_loss_tmo),
          commit_of(r.commit.load(std::memory_order_relaxed)),
          log_level_of(r.log.load(std::memory_order_relaxed))};
}

void write_policy(policy_record& r, const mount_policy& p) noexcept {
  r.reconnect_delay.store(to_record(p.reconnect_delay), std::memory_order_relaxed);
  r.fast_io_fail_tmo.store(to_record(p.fast_io_fail_tmo), std::memory_order_relaxed);
  r.dev_loss_tmo.store(to_record(p.dev_loss_tmo), std::memory_order_relaxed);
  r.commit.store(static_cast<std::uint32_t>(p.commit), std::memory_order_relaxed);
  r.log.store(p.log ? static_cast<std::uint32_t>(*p.log) : 0, std::memory_order_relaxed);
}

void obey_log_policy(const policy_record& r) noexcept {
  const std::optional<log_level> level = log_level_of(r.log.load(std::memory_order_relaxed));
  if (level) log_set_level(*level);
}

std::optional<outcome<void>> parse_cache_word(std::string_view word, cache_policy& policy) {
  if (word == "direct_io" || word == "nodirect_io") {
    policy.direct_io = word == "direct_io";
  } else if (word == "writeback_cache" || word == "nowriteback_cache") {
    policy.writeback = word == "writeback_cache";
  } else if (word == "noac") {
    policy.ac = 0;
  } else if (word.starts_with("ac=")) {
    const std::string_view value = word.substr(3);
    const char* end = value.data() + value.size();
    std::uint32_t seconds = 0;
    const auto [at, error] = std::from_chars(value.data(), end, seconds);
    if (value.empty() || error != std::errc{} || at != end || seconds > cache_seconds_max)
      return outcome<void>(
          failure{problem{exit_code::usage,
                          std::string(word) + ": not a number of seconds (at most " +
                              std::to_string(cache_seconds_max) + ")",
                          {}}});
    policy.ac = seconds;
  } else if (word == "protection=on" || word == "protection=off") {
    policy.protection = word == "protection=on";
  } else if (word.starts_with("protection=")) {
    return outcome<void>(failure{
        problem{exit_code::usage, std::string(word) + ": neither on nor off", {}}});
  } else {
    return std::nullopt;
  }
  return outcome<void>{};
}

outcome<void> check_cache_policy(const cache_policy& p) {
  if (p.direct_io && p.writeback)
    return failure{problem{exit_code::usage, "direct_io and writeback_cache exclude each other",
                           "without pages in the kernel there is nothing to write back"}};
  return {};
}

namespace {
constexpr std::uint32_t direct_io_bit = 1;
constexpr std::uint32_t writeback_bit = 2;
constexpr std::uint32_t noatime_bit = 4;
constexpr std::uint32_t nodiratime_bit = 8;
constexpr std::uint32_t unprotected_bit = 16;
}  // namespace

cache_policy read_cache_policy(const policy_record& r) noexcept {
  const std::uint32_t bits = r.caching.load(std::memory_order_relaxed);
  return {from_record(r.ac), (bits & direct_io_bit) != 0, (bits & writeback_bit) != 0,
          (bits & noatime_bit) != 0, (bits & nodiratime_bit) != 0,
          (bits & unprotected_bit) == 0};
}

void write_cache_policy(policy_record& r, const cache_policy& p) noexcept {
  r.ac.store(to_record(p.ac), std::memory_order_relaxed);
  r.caching.store((p.direct_io ? direct_io_bit : 0) | (p.writeback ? writeback_bit : 0) |
                      (p.noatime ? noatime_bit : 0) | (p.nodiratime ? nodiratime_bit : 0) |
                      (p.protection ? 0 : unprotected_bit),
                  std::memory_order_relaxed);
}

std::string policy_text(std::uint32_t value) {
  return value == policy_off ? "off" : std::to_string(value);
}

}  // namespace tangelo
