#include "protocol/policy.h"

#include <gtest/gtest.h>

#include <array>

#include "base/log_level.h"

namespace tangelo {
namespace {

policy_change change_of(std::string_view word) {
  policy_change change;
  const std::optional<outcome<void>> taken = parse_policy_word(word, change);
  EXPECT_TRUE(taken && *taken) << word;
  return change;
}

TEST(PolicyWord, SetsTheValueItNamesAndLeavesTheOthers) {
  const policy_change change = change_of("fast_io_fail_tmo=15");
  EXPECT_EQ(change.fast_io_fail_tmo, 15u);
  EXPECT_EQ(change.dev_loss_tmo, policy_unchanged);
  EXPECT_EQ(change.reconnect_delay, policy_unchanged);
  EXPECT_EQ(change_of("dev_loss_tmo=off").dev_loss_tmo, policy_off);
  EXPECT_EQ(change_of("reconnect_delay=3").reconnect_delay, 3u);
}

TEST(PolicyWord, IsLeftToOthersWhenItNamesNoneOfTheThree) {
  policy_change change;
  for (const char* word : {"ro", "dev_loss_tmo", "loss=1", "=1", ""})
    EXPECT_FALSE(parse_policy_word(word, change)) << word;
}

TEST(PolicyWord, IsRefusedWhenItsValueIsNoNumberOfSeconds) {
  constexpr std::array values{"",   "x",   "-1",         "1s",        " 1",
                              "1.5", "4294967294", "4294967295", "2592001"};
  for (const char* value : values) {
    policy_change change;
    const std::optional<outcome<void>> taken =
        parse_policy_word(std::string("dev_loss_tmo=") + value, change);
    ASSERT_TRUE(taken) << value;
    ASSERT_FALSE(*taken) << value;
    EXPECT_EQ(taken->error().code, exit_code::usage);
    EXPECT_EQ(change.dev_loss_tmo, policy_unchanged) << value;
  }
}

TEST(Policy, KeepsTheRulesOfSrp) {
  constexpr std::uint32_t off = policy_off;
  struct row {
    mount_policy policy;
    bool sound;
  };
  constexpr std::array<row, 15> rows{{
      {{off, off, off}, true},
      {{10, 15, 600}, true},
      {{1, 1, 2}, true},
      {{off, 0, off}, true},   // fails at once
      {{0, off, off}, false},  // no pause at all
      {{off, 600, off}, true},
      {{off, 601, off}, false},
      {{off, off, 600}, true},
      {{off, off, 601}, false},  // would block for longer than is allowed
      {{off, 15, 6000}, true},
      {{off, 15, 15}, false},
      {{off, 15, 14}, false},
      {{16, 15, off}, false},  // nothing would be tried before operations fail
      {{16, off, 20}, true},
      {{15, 15, off}, true},
  }};
  for (const row& r : rows)
    EXPECT_EQ(check_policy(r.policy).has_value(), r.sound)
        << policy_text(r.policy.reconnect_delay) << ' ' << policy_text(r.policy.fast_io_fail_tmo)
        << ' ' << policy_text(r.policy.dev_loss_tmo);
}

TEST(Policy, ComesBackFromTheArenaAndIsOffWhereNobodyHasWritten) {
  policy_record record;
  EXPECT_EQ(read_policy(record), mount_policy{});
  for (const std::uint32_t value : {0u, 1u, 600u, policy_off}) {
    const mount_policy policy{value, value, value};
    write_policy(record, policy);
    EXPECT_EQ(read_policy(record), policy);
  }
}

TEST(Policy, OfCachesComesFromItsWordsAndBackFromTheArena) {
  policy_record record;
  EXPECT_EQ(read_cache_policy(record), cache_policy{});
  cache_policy policy;
  for (const char* word :
       {"ac=0", "ac=30", "direct_io", "nodirect_io", "writeback_cache", "noac",
        "protection=off", "protection=on"}) {
    ASSERT_TRUE(parse_cache_word(word, policy).value()) << word;
    write_cache_policy(record, policy);
    EXPECT_EQ(read_cache_policy(record), policy) << word;
  }
  EXPECT_EQ(policy, (cache_policy{0, false, true}));
  for (bool cache_policy::* const what : {&cache_policy::noatime, &cache_policy::nodiratime}) {
    policy.*what = true;
    write_cache_policy(record, policy);
    EXPECT_EQ(read_cache_policy(record), policy);
  }
  EXPECT_TRUE(check_cache_policy(policy));
  policy.direct_io = true;
  EXPECT_FALSE(check_cache_policy(policy)) << "there is nothing to write back";
  for (const char* word :
       {"ac=", "ac=31", "ac=1s", "ac=-1", "ac=off", "protection=", "protection=1"})
    EXPECT_FALSE(parse_cache_word(word, policy).value()) << word;
  for (const char* word : {"ac", "direct", "writeback", "commit=sync"})
    EXPECT_FALSE(parse_cache_word(word, policy)) << word;
}

TEST(Policy, ChangesOnlyWhatAChangeNames) {
  const mount_policy before{1, 2, 3};
  EXPECT_EQ(changed(before, {}), before);
  policy_change change;
  change.dev_loss_tmo = policy_off;
  EXPECT_EQ(changed(before, change), (mount_policy{1, 2, policy_off}));
}

TEST(Policy, HasTheLogLevelThatAWordNames) {
  EXPECT_EQ(change_of("log=debug").commit, policy_unchanged);
  mount_policy policy{1, 2, 3};
  policy_record record;
  for (const log_level level : {log_level::error, log_level::warning, log_level::notice,
                                log_level::info, log_level::debug}) {
    policy = changed(policy, change_of("log=" + std::string(name_of(level))));
    EXPECT_EQ(policy.log, level);
    write_policy(record, policy);
    EXPECT_EQ(read_policy(record), policy);
    obey_log_policy(record);
    EXPECT_TRUE(log_enabled(level)) << name_of(level);
    EXPECT_EQ(log_enabled(log_level::debug), level == log_level::debug) << name_of(level);
  }
  EXPECT_EQ(changed(policy, change_of("dev_loss_tmo=9")).log, policy.log);
  policy_change change;
  for (const char* word : {"log=", "log=7", "log=loud", "log=debug "})
    EXPECT_FALSE(parse_policy_word(word, change).value()) << word;
}

TEST(Policy, WithoutALogLevelOrWithADamagedOneLeavesItAsItIs) {
  log_set_level(log_level::notice);
  policy_record record;
  write_policy(record, {});
  obey_log_policy(record);
  record.log.store(99, std::memory_order_relaxed);
  obey_log_policy(record);
  EXPECT_FALSE(read_policy(record).log);
  EXPECT_TRUE(log_enabled(log_level::notice));
  EXPECT_FALSE(log_enabled(log_level::info));
  log_set_level(log_level::info);
}

}  // namespace
}  // namespace tangelo
