// Every row of the op table, for every class of ops, and every row of the path table and of the
// import table, but those that say `never`, is reached by the simulator's tests, or is named below
// with the reason why not. Judged when all tests have run; when they run in shards, by the one that
// ends last.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/log.h"
#include "fs/op_transitions.h"
#include "fs/path_state.h"
#include "rdma/import.h"

namespace tangelo::sim {
namespace {

// What an op is, as far as its fate differs.
enum class op_class : std::uint8_t {
  reading,   // changes nothing
  changing,
  opening,   // gives its caller a handle
  own,       // has no caller
};
constexpr std::string_view name_of(op_class c) noexcept {
  switch (c) {
    using enum op_class;
    case reading: return "reading";
    case changing: return "changing";
    case opening: return "opening";
    case own: return "own";
  }
  return {};
}

op_class class_of(const op_cell& op) noexcept {
  if (op.kernel_id == 0) return op_class::own;
  if (op.op == opcode::open || op.op == opcode::create) return op_class::opening;
  return is_mutation(op.op) ? op_class::changing : op_class::reading;
}

template <class State, class Event>
using reached_rows = std::array<std::array<bool, count_of<Event>>, count_of<State>>;

std::array<reached_rows<op_state, op_event>, count_of<op_class>> op_rows_reached;
reached_rows<path_state, path_event> path_rows_reached;
reached_rows<import_state, import_event> import_rows_reached;

// All rows, one letter each.
template <class F>
void for_each_row(F f) {
  for (auto& of_class : op_rows_reached)
    for (auto& of_state : of_class)
      for (bool& row : of_state) f(row);
  for (auto& of_state : path_rows_reached)
    for (bool& row : of_state) f(row);
  for (auto& of_state : import_rows_reached)
    for (bool& row : of_state) f(row);
}
std::string rows_as_text() {
  std::string text;
  for_each_row([&text](bool& row) { text += row ? '1' : '0'; });
  return text;
}
void add_rows(const std::string& text) {
  std::size_t at = 0;
  for_each_row([&](bool& row) {
    row = row || (at < text.size() && text[at] == '1');
    ++at;
  });
}

// This very program: another build has other rows.
std::string this_program() {
  struct stat st {};
  if (::stat("/proc/self/exe", &st) != 0) return {};
  return std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec);
}

// Shard `index` of `total` has run: adds what the others have left in the file. False: one of them
// has still to come, and finds there what we have reached.
bool is_last_shard(const std::string& path, const std::string& index, std::size_t total) {
  const unique_fd lock(::open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock || ::flock(lock.get(), LOCK_EX) != 0) return false;
  std::map<std::string, std::string> rows_of;
  std::ifstream in(path);
  std::string program, shard, rows;
  if (in >> program && program == this_program())
    while (in >> shard >> rows) rows_of[shard] = rows;
  in.close();
  rows_of[index] = rows_as_text();
  if (rows_of.size() < total) {
    std::ofstream out(path);
    out << this_program() << '\n';
    for (const auto& [s, r] : rows_of) out << s << ' ' << r << '\n';
    return false;
  }
  for (const auto& [s, r] : rows_of) add_rows(r);
  (void)::unlink(path.c_str());  // the next run begins anew
  return true;
}

// Have all tests run, here or in the other shards, and at all the moments that there are?
bool all_have_run() {
  if (GTEST_FLAG_GET(filter) != "*" || std::getenv("TANGELO_SIM_STRIDE") != nullptr) return false;
  const char* const total = std::getenv("GTEST_TOTAL_SHARDS");
  const char* const index = std::getenv("GTEST_SHARD_INDEX");
  if (total == nullptr || index == nullptr) return true;
  const char* const path = std::getenv("TANGELO_SIM_ROWS");
  return path != nullptr && is_last_shard(path, index, std::strtoull(total, nullptr, 10));
}

// Rows that no run of the simulator reaches, and why. "*" stands for the rest.
struct gap {
  std::string_view state, event, reason, of_class = "*";
};

constexpr gap op_gaps[] = {
    {"in_progress", "renewed", "nobody changes his groups: fs_front_end_credentials_test"},
    {"unknown", "*", "events go to ops found by kernel id or by what was offered, not to a slot"},
    {"*", "downcall", "dropped before the table, not offered: fs_front_end_hostile_test"},
    {"serviced", "*", "serviced lasts for one call: nothing but its end can come in between"},
    {"*", "interrupted", "an op of our own has no caller", "own"},
    {"*", "caller_killed", "an op of our own has no caller", "own"},
    {"*", "caller_lost", "an op of our own has no caller", "own"},
    {"*", "refused", "an op of our own has no caller", "own"},
    {"given_up", "*", "an op of our own has no caller", "own"},
    {"*", "evicted", "stepped only for what no core has: fs_front_end_async_test"},
    {"given_up", "interrupted", "the kernel does not interrupt what it has an answer to"},
    {"given_up", "caller_killed", "the kernel does not interrupt what it has an answer to"},
};

constexpr gap path_gaps[] = {
    {"running", "up", "what changes nothing is not stepped"},
    {"blocked", "down", "what changes nothing is not stepped"},
    {"fail_fast", "down", "what changes nothing is not stepped"},
    {"lost", "down", "what changes nothing is not stepped"},
    {"running", "fast_io_fail_due", "the times run out only while the path is down"},
    {"running", "dev_loss_due", "the times run out only while the path is down"},
    {"fail_fast", "fast_io_fail_due", "it runs out once"},
    {"lost", "fast_io_fail_due", "dev_loss_tmo is the longer one"},
    {"lost", "dev_loss_due", "it runs out once"},
};

constexpr gap import_gaps[] = {
    {"IDLE", "*", "nobody is idle for a minute here: rdma_session_rules_test"},
    {"*", "nothing_to_do", "nobody is idle for a minute here: rdma_session_rules_test"},
    {"*", "work", "stepped only in IDLE"},
    {"*", "start", "a core starts its session once, right after making it"},
    {"NEW", "stop", "a core starts its session once, right after making it"},
    {"*", "retry_due", "the retry timer lives in DISCON"},
    {"RECOVER", "*", "left in the call that enters it"},
    {"REPLAY", "verdict_evicted", "a refused change of names: rdma_session_recovery_test"},
    {"REPLAY_LOCKS", "verdict_evicted", "the next CONNECT says it"},
    {"REPLAY_WAIT", "verdict_evicted", "the next CONNECT says it"},
    {"FULL", "verdict_evicted", "the next CONNECT says it"},
    {"EVICTED", "link_down", "its connection was closed by us"},
    {"EVICTED", "verdict_evicted", "its connection was closed by us"},
    {"EVICTED", "stop", "for a moment only: rdma_import_test"},
    {"CLOSED", "*", "a closed session has no connection and no timer left"},
};

template <std::size_t N>
const gap* find_gap(const gap (&gaps)[N], std::string_view state, std::string_view event,
                    std::string_view of_class) {
  const auto fits = [](std::string_view pattern, std::string_view name) {
    return pattern == "*" || pattern == name;
  };
  for (const gap& g : gaps)
    if (fits(g.state, state) && fits(g.event, event) && fits(g.of_class, of_class)) return &g;
  return nullptr;
}

template <class Table, class Reached, std::size_t N, class Never>
void judge(const Table& table, const Reached& reached, const gap (&gaps)[N], Never is_never,
           std::string_view of_class = "") {
  for (const auto& row : table.rows()) {
    if (is_never(row)) continue;
    const std::string_view state = name_of(row.from), event = name_of(row.on);
    const bool seen = reached[ordinal(row.from)][ordinal(row.on)];
    const gap* g = find_gap(gaps, state, event, of_class);
    const bool is_exact = g != nullptr && g->state == state && g->event == event &&
                          (of_class.empty() || g->of_class == of_class);
    EXPECT_TRUE(seen || g != nullptr)
        << "row " << state << " " << event << " " << of_class
        << " is reached by no test, and no reason is given";
    EXPECT_FALSE(seen && is_exact)
        << "row " << state << " " << event << " " << of_class
        << " is reached now: take it off the list of gaps";
  }
}

class coverage final : public testing::Environment {
 public:
  void SetUp() override {
    // Of all tests only what goes wrong; of those that somebody has chosen, everything.
    if (GTEST_FLAG_GET(filter) == "*") log_start("sim", log_level::error);
    observe_op = [](op_state s, op_event e, const op_cell& op) noexcept {
      op_rows_reached[ordinal(class_of(op))][ordinal(s)][ordinal(e)] = true;
    };
    observe_path = [](path_state s, path_event e) noexcept {
      path_rows_reached[ordinal(s)][ordinal(e)] = true;
    };
    observe_import = [](import_state s, import_event e) noexcept {
      import_rows_reached[ordinal(s)][ordinal(e)] = true;
    };
  }
  void TearDown() override {
    observe_op = nullptr;
    observe_path = nullptr;
    observe_import = nullptr;
    if (!all_have_run()) return;
    for (std::size_t c = 0; c < count_of<op_class>; ++c)
      judge(op_transitions, op_rows_reached[c], op_gaps,
            [](const op_transition_table::row& r) { return r.act == op_action::never; },
            name_of(static_cast<op_class>(c)));
    judge(path_transitions, path_rows_reached, path_gaps,
          [](const path_transition_table::row&) { return false; });
    judge(import_rows(), import_rows_reached, import_gaps,
          [](const import_table::row& r) { return r.act == import_action::never; });
  }
};

[[maybe_unused]] const testing::Environment* const registered =
    testing::AddGlobalTestEnvironment(new coverage);

}  // namespace
}  // namespace tangelo::sim
