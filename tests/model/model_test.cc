// With all rules, every promise holds in every state of every scenario. Without one of them, a
// promise is broken: the test names which, and prints the shortest history that does it.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ostream>
#include <string>

#include "tests/model/checker.h"
#include "tests/model/recovery_model.h"
#include "tests/model/scenarios.h"

namespace tangelo::model {
namespace {

std::uint64_t setting(const char* name, std::uint64_t usual) {
  const char* text = std::getenv(name);
  return text == nullptr ? usual : std::strtoull(text, nullptr, 10);
}

constexpr std::size_t step_kind_count = static_cast<std::size_t>(step_kind::give_up) + 1;
using step_counts = std::array<std::uint64_t, step_kind_count>;

// Counts how often each kind of step was taken: a promise about crashes says nothing if none came.
class counted_model : public recovery_model {
 public:
  counted_model(const scenario& s, const rules& r, step_counts& counts)
      : recovery_model(s, r), counts_(counts) {}

  template <class F>
  void each_step(const state& from, F&& f) const {
    recovery_model::each_step(from, [&](const step& did, const state& next, bool natural) {
      ++counts_[static_cast<std::size_t>(did.kind)];
      f(did, next, natural);
    });
  }

 private:
  step_counts& counts_;
};

verdict walk(scenario s, const rules& r, step_counts& counts) {
  const std::uint64_t more = setting("TANGELO_MODEL_MORE", 0);
  s.limit.crashes = static_cast<std::uint8_t>(s.limit.crashes + more);
  s.limit.breaks = static_cast<std::uint8_t>(s.limit.breaks + more);
  const counted_model m(s, r, counts);
  const std::uint64_t max = setting("TANGELO_MODEL_STATES_MAX", 20'000'000);
  const verdict v = checker<counted_model>(m, max).run();
  std::printf("%-12s crashes %d, lost connections %d, cores %d, evictions %d, late %d, deaths %d, "
              "give-ups %d: "
              "%llu states, %llu steps, depth %u, %llu finished\n",
              std::string(s.name).c_str(), s.limit.crashes, s.limit.breaks, s.limit.cores,
              s.limit.evictions, s.limit.lates, s.limit.deaths, s.limit.give_ups,
              static_cast<unsigned long long>(v.state_count),
              static_cast<unsigned long long>(v.step_count), v.depth,
              static_cast<unsigned long long>(v.finished_count));
  return v;
}

std::string told(const verdict& v) {
  std::string text = v.broken + ", in " + std::to_string(v.history.size()) + " steps:\n";
  for (const std::string& line : v.history) text += "  " + line + "\n";
  return text;
}

class AllRules : public testing::TestWithParam<std::string_view> {
 protected:
  static void SetUpTestSuite() {
    walked_ = 0;
    counts_ = {};
  }
  static void TearDownTestSuite() {
    if (walked_ < scenario_names().size()) return;  // a filter left some out
    for (std::size_t i = 0; i < step_kind_count; ++i) {
      EXPECT_GT(counts_[i], 0U) << "in no scenario:" << name_of(static_cast<step_kind>(i));
    }
  }

  static inline std::size_t walked_ = 0;
  static inline step_counts counts_{};
};

TEST_P(AllRules, KeepEveryPromiseInEveryState) {
  const verdict v = walk(scenario_named(GetParam()), rules{}, counts_);
  ++walked_;
  EXPECT_TRUE(v.broken.empty()) << told(v);
  EXPECT_TRUE(v.exhausted) << "TANGELO_MODEL_STATES_MAX is too small";
  EXPECT_GT(v.finished_count, 0U);
}

std::string identifier(std::string_view name) {
  std::string text(name);
  std::replace(text.begin(), text.end(), ' ', '_');
  return text;
}

INSTANTIATE_TEST_SUITE_P(Scenarios, AllRules, testing::ValuesIn(scenario_names()),
                         [](const auto& i) { return identifier(i.param); });

struct dropped_rule {
  const char* name;
  bool rules::*rule;
  std::string_view where;  // the scenario that shows it
  std::string_view broken;
};

void PrintTo(const dropped_rule& r, std::ostream* out) { *out << r.name; }

constexpr dropped_rule dropped_rules[] = {
    {"reply_records", &rules::reply_records, "one client", name_of(promise::once)},
    {"slot_sequences", &rules::slot_sequences, "one client", name_of(promise::once)},
    {"epoch_fence", &rules::epoch_fence, "eviction", name_of(promise::old_claims_dead)},
    {"overlap_rule", &rules::overlap_rule, "one client", name_of(promise::order_kept)},
    {"cursor_by_boot", &rules::cursor_by_boot, "one client", name_of(promise::acknowledged_kept)},
    {"replay_in_order", &rules::replay_in_order, "two replays",
     name_of(promise::acknowledged_kept)},
    {"transno_before_sequence", &rules::transno_before_sequence, "two replays", no_way_out},
    {"judge_before_window", &rules::judge_before_window, "two replays",
     name_of(promise::cause_for_eviction)},
    {"low_water", &rules::low_water, "two replays", name_of(promise::acknowledged_kept)},
    {"commit_on_share", &rules::commit_on_share, "shared key", name_of(promise::seen_kept)},
    {"barrier_kept", &rules::barrier_kept, "given up", name_of(promise::order_kept)},
    {"given_up_replayed", &rules::given_up_replayed, "given up",
     name_of(promise::foundation_kept)},
    {"durable_tombstones", &rules::durable_tombstones, "eviction",
     name_of(promise::old_claims_dead)},
    {"window_waits_for_all", &rules::window_waits_for_all, "locks",
     name_of(promise::cause_for_eviction)},
    {"quiet_window", &rules::quiet_window, "locks", name_of(promise::one_holder)},
    {"session_end_commits", &rules::session_end_commits, "eviction",
     name_of(promise::foundation_kept)},
    {"lease_nests", &rules::lease_nests, "locks", name_of(promise::one_holder)},
    {"evicted_lock_waits", &rules::evicted_lock_waits, "locks", name_of(promise::one_holder)},
    {"lease_outlives_crash", &rules::lease_outlives_crash, "locks", name_of(promise::one_holder)},
    {"awaited_while_volatile", &rules::awaited_while_volatile, "one client",
     name_of(promise::cause_for_eviction)},
    {"trims_first", &rules::trims_first, "one client", name_of(promise::cause_for_eviction)},
    {"unknown_boot_forgiven", &rules::unknown_boot_forgiven, "one client",
     name_of(promise::cause_for_eviction)},
    {"claimless_starts_afresh", &rules::claimless_starts_afresh, "locks", no_way_out},
    {"losses_reported", &rules::losses_reported, "shared key", name_of(promise::losses_told)},
    {"awaited_first", &rules::awaited_first, "one client", name_of(promise::cause_for_eviction)},
    {"evicted_forgets", &rules::evicted_forgets, "eviction", name_of(promise::old_claims_dead)},
    {"locks_reclaimed", &rules::locks_reclaimed, "locks", name_of(promise::one_holder)},
    {"fsync_commits", &rules::fsync_commits, "shared key", name_of(promise::synced_kept)},
    {"orphans_kept", &rules::orphans_kept, "orphan", name_of(promise::open_file_kept)},
    {"removal_after_commit", &rules::removal_after_commit, "orphan",
     name_of(promise::linked_file_kept)},
};

class DroppedRule : public testing::TestWithParam<dropped_rule> {};

TEST_P(DroppedRule, BreaksItsPromise) {
  rules r;
  r.*GetParam().rule = false;
  step_counts counts{};
  const verdict v = walk(scenario_named(GetParam().where), r, counts);
  EXPECT_EQ(v.broken, GetParam().broken) << told(v);
  EXPECT_FALSE(v.history.empty());
  std::printf("without %s: %s", GetParam().name, told(v).c_str());
}

INSTANTIATE_TEST_SUITE_P(Rules, DroppedRule, testing::ValuesIn(dropped_rules),
                         [](const auto& i) { return std::string(i.param.name); });

}  // namespace
}  // namespace tangelo::model
