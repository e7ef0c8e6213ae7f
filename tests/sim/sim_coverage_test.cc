// Every row of the op table and of the import table, but those that say `never`, is reached by the
// simulator's tests, or is named below with the reason why not. Judged when all tests have run.
#include <gtest/gtest.h>

#include <array>
#include <string_view>

#include "fs/op_transitions.h"
#include "rdma/import.h"

namespace tangelo::sim {
namespace {

std::array<std::array<bool, count_of<op_event>>, count_of<op_state>> op_rows_reached;
std::array<std::array<bool, count_of<import_event>>, count_of<import_state>> import_rows_reached;

// Rows that no run of the simulator reaches, and why. "*" stands for the rest.
struct gap {
  std::string_view state, event, reason;
};

constexpr gap op_gaps[] = {
    {"unknown", "*", "events go to ops found by kernel id or by what was offered, not to a slot"},
    {"waiting", "downcall", "dropped before the table, not offered: fs_front_end_hostile_test"},
    {"serviced", "downcall", "dropped before the table, not offered: fs_front_end_hostile_test"},
    {"purged", "downcall", "dropped before the table, not offered: fs_front_end_hostile_test"},
    {"waiting", "core_lost", "only ops that were offered hear of a lost core"},
    {"purged", "core_lost", "only ops that were offered hear of a lost core"},
    {"serviced", "*", "serviced lasts for one call: nothing but its end can come in between"},
    {"given_up", "interrupted", "the kernel does not interrupt what it has an answer to"},
    {"given_up", "interrupted_mutation", "the kernel does not interrupt what it has an answer to"},
    {"given_up", "caller_killed", "the kernel does not interrupt what it has an answer to"},
};

constexpr gap import_gaps[] = {
    {"IDLE", "*", "disconnecting when idle is not used yet"},
    {"*", "nothing_to_do", "disconnecting when idle is not used yet"},
    {"*", "work", "stepped only in IDLE"},
    {"*", "start", "a core starts its session once, right after making it"},
    {"NEW", "stop", "a core starts its session once, right after making it"},
    {"*", "retry_due", "the retry timer lives in DISCON"},
    {"DISCON", "link_down", "only the present connection is heard, and there is none"},
    {"CONNECTING", "verdict_later", "the one server here is never busy or elsewhere: rdma tests"},
    {"*", "verdict_evicted", "this server evicts only clients that are away: rdma tests"},
    {"REPLAY", "*", "commit = sync has nothing to replay: left in the call that enters it"},
    {"RECOVER", "*", "left in the call that enters it"},
    {"EVICTED", "*", "left in the call that enters it, unless a connection is dying"},
    {"CLOSED", "*", "a closed session has no connection and no timer left"},
};

template <std::size_t N>
const gap* find_gap(const gap (&gaps)[N], std::string_view state, std::string_view event) {
  for (const gap& g : gaps)
    if ((g.state == "*" || g.state == state) && (g.event == "*" || g.event == event)) return &g;
  return nullptr;
}

template <class Table, class Reached, std::size_t N, class Never>
void judge(const Table& table, const Reached& reached, const gap (&gaps)[N], Never is_never) {
  for (const auto& row : table.rows()) {
    if (is_never(row)) continue;
    const std::string_view state = name_of(row.from), event = name_of(row.on);
    const bool seen = reached[ordinal(row.from)][ordinal(row.on)];
    const gap* g = find_gap(gaps, state, event);
    const bool is_exact = g != nullptr && g->state == state && g->event == event;
    EXPECT_TRUE(seen || g != nullptr)
        << "row " << state << " " << event << " is reached by no test, and no reason is given";
    EXPECT_FALSE(seen && is_exact)
        << "row " << state << " " << event << " is reached now: take it off the list of gaps";
  }
}

class coverage final : public testing::Environment {
 public:
  void SetUp() override {
    observe_op = [](op_state s, op_event e) noexcept {
      op_rows_reached[ordinal(s)][ordinal(e)] = true;
    };
    observe_import = [](import_state s, import_event e) noexcept {
      import_rows_reached[ordinal(s)][ordinal(e)] = true;
    };
  }
  void TearDown() override {
    observe_op = nullptr;
    observe_import = nullptr;
    const bool all = testing::UnitTest::GetInstance()->test_to_run_count() ==
                     testing::UnitTest::GetInstance()->total_test_count();
    if (!all) return;
    judge(op_transitions, op_rows_reached, op_gaps,
          [](const op_transition_table::row& r) { return r.act == op_action::never; });
    judge(import_rows(), import_rows_reached, import_gaps,
          [](const import_table::row& r) { return r.act == import_action::never; });
  }
};

[[maybe_unused]] const testing::Environment* const registered =
    testing::AddGlobalTestEnvironment(new coverage);

}  // namespace
}  // namespace tangelo::sim
