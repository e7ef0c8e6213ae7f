// Properties of the whole op table, over every state and event rather than chosen examples.
#include "fs/op_transitions.h"

#include <gtest/gtest.h>

#include <queue>
#include <set>

namespace tangelo {
namespace {

bool is_reply(op_action a) {
  return a == op_action::reply || a == op_action::reply_eintr || a == op_action::abandon;
}
// The caller waits for an answer.
bool waits(op_state s) {
  return s == op_state::waiting || s == op_state::in_progress || s == op_state::purged;
}
bool is_answered(op_state s) { return s == op_state::serviced || s == op_state::given_up; }

TEST(OpTransitions, ReplyExactlyOnRowsThatLeaveTheStatesInWhichTheCallerWaits) {
  for (const auto& r : op_transitions.rows())
    EXPECT_EQ(is_reply(r.act), waits(r.from) && is_answered(r.to))
        << name_of(r.from) << " on " << name_of(r.on);
}

TEST(OpTransitions, NeverLetAWaitingCallerGoWithoutAnAnswer) {
  for (const auto& r : op_transitions.rows())
    if (waits(r.from)) {
      EXPECT_TRUE(waits(r.to) || is_answered(r.to)) << name_of(r.from) << " on " << name_of(r.on);
    }
}

TEST(OpTransitions, StayWhereTheyAreOnNeverNoneAndDrop) {
  for (const auto& r : op_transitions.rows())
    if (r.act == op_action::never || r.act == op_action::none || r.act == op_action::drop) {
      EXPECT_EQ(r.from, r.to) << name_of(r.from) << " on " << name_of(r.on);
    }
}

TEST(OpTransitions, TellEintrOnlyOfWhatWasNeverOfferedChangesNothingOrIsBeingKilled) {
  for (const auto& r : op_transitions.rows()) {
    if (r.act == op_action::reply_eintr) {
      EXPECT_EQ(r.from, op_state::waiting);
    }
    if (r.act == op_action::abandon) {
      EXPECT_TRUE(r.on == op_event::interrupted || r.on == op_event::caller_killed);
    }
  }
}

TEST(OpTransitions, HandOverAnOpExactlyWhenItIsOfferedAndRequeueItExactlyWhenItsCoreIsLost) {
  for (const auto& r : op_transitions.rows()) {
    if (r.act == op_action::hand_over) {
      EXPECT_EQ(r.on, op_event::offered);
    }
    const bool with_core = r.from == op_state::in_progress || r.from == op_state::given_up;
    EXPECT_EQ(r.act == op_action::requeue, r.on == op_event::core_lost && with_core);
  }
}

TEST(OpTransitions, KeepAnOpWithoutACallerUntilItsFateIsKnown) {
  for (const auto& r : op_transitions.rows())
    if (r.from == op_state::given_up) {
      EXPECT_EQ(r.to != op_state::given_up, r.on == op_event::downcall) << name_of(r.on);
    }
}

TEST(OpTransitions, ReachEveryStateAndFromEveryStateTheEnd) {
  const auto reach = [](op_state from) {
    std::set<op_state> reached{from};
    std::queue<op_state> todo({from});
    while (!todo.empty()) {
      const op_state s = todo.front();
      todo.pop();
      for (const auto& r : op_transitions.rows())
        if (r.from == s && r.act != op_action::never && reached.insert(r.to).second)
          todo.push(r.to);
    }
    return reached;
  };
  EXPECT_EQ(reach(op_state::unknown).size(), count_of<op_state>);
  for (std::size_t s = 0; s < count_of<op_state>; ++s)
    EXPECT_TRUE(reach(static_cast<op_state>(s)).contains(op_state::unknown));
}

struct history {
  op_state state;
  int replies;  // to the op that is in the slot
  int depth;
};

void walk(history h, std::size_t& count) {
  ++count;
  ASSERT_LE(h.replies, 1);
  ASSERT_EQ(h.replies == 1, is_answered(h.state)) << name_of(h.state);
  if (h.depth == 8) return;
  for (std::size_t e = 0; e < count_of<op_event>; ++e) {
    const auto& r = op_transitions.at(h.state, static_cast<op_event>(e));
    if (r.act == op_action::never) continue;
    int replies = h.replies + (is_reply(r.act) ? 1 : 0);
    if (r.act == op_action::free_slot) {
      ASSERT_EQ(replies, 1);  // nothing ends without its answer
      replies = 0;
    }
    walk({r.to, replies, h.depth + 1}, count);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(OpTransitions, AnswerOnceInEveryHistoryOfEightEvents) {
  std::size_t count = 0;
  walk({op_state::unknown, 0, 0}, count);
  RecordProperty("histories", static_cast<int>(count));
  EXPECT_GT(count, 100'000u);
}

}  // namespace
}  // namespace tangelo
