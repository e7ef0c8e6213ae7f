// Every row of the op table and of the import table, but those that say `never`, is reached by the
// simulator's tests, or is named below with the reason why not. Judged when all tests have run.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>

#include "fs/op_transitions.h"
#include "rdma/import.h"

namespace tangelo::sim {
namespace {

std::array<std::array<bool, count_of<op_event>>, count_of<op_state>> op_rows_reached;
std::array<std::array<bool, count_of<import_event>>, count_of<import_state>> import_rows_reached;

using reasons = std::map<std::string, std::string>;

const reasons& known_op_gaps() {
  static const reasons r{};
  return r;
}
const reasons& known_import_gaps() {
  static const reasons r{};
  return r;
}

template <class Table, class Reached>
void judge(const Table& table, const Reached& reached, const reasons& gaps, bool never_only(
    const typename Table::row&)) {
  std::map<std::string, bool> used;
  for (const auto& row : table.rows()) {
    if (never_only(row)) continue;
    const std::string name = std::string(name_of(row.from)) + " " + std::string(name_of(row.on));
    const bool seen = reached[ordinal(row.from)][ordinal(row.on)];
    if (gaps.contains(name)) {
      EXPECT_FALSE(seen) << name << " is reached now: take it off the list of gaps";
    } else {
      EXPECT_TRUE(seen) << "row " << name << " is reached by no test, and no reason is given";
    }
    used[name] = true;
  }
  for (const auto& [name, reason] : gaps)
    EXPECT_TRUE(used.contains(name)) << name << " is no row";
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
    judge(op_transitions, op_rows_reached, known_op_gaps(),
          +[](const op_transition_table::row& r) { return r.act == op_action::never; });
    judge(import_rows(), import_rows_reached, known_import_gaps(),
          +[](const import_table::row& r) { return r.act == import_action::never; });
  }
};

[[maybe_unused]] const testing::Environment* const registered =
    testing::AddGlobalTestEnvironment(new coverage);

}  // namespace
}  // namespace tangelo::sim
