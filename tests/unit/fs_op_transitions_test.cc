// Properties of the whole op table, over every state and event rather than chosen examples.
#include "fs/op_transitions.h"

#include <gtest/gtest.h>

#include <queue>
#include <set>

namespace tangelo {
namespace {

bool is_reply(op_action a) {
  return a == op_action::reply || a == op_action::reply_eintr || a == op_action::reply_eio ||
         a == op_action::abandon || a == op_action::abandon_eio;
}
// The caller waits for an answer.
bool waits(op_state s) {
  return s == op_state::waiting || s == op_state::in_progress || s == op_state::purged;
}
bool is_answered(op_state s) { return s == op_state::serviced || s == op_state::given_up; }

// The kernel told a new front end that there is nobody (any more) to be answered.
bool has_no_caller(op_action a) { return a == op_action::orphan || a == op_action::forget; }

TEST(OpTransitions, ReplyExactlyOnRowsThatLeaveTheStatesInWhichTheCallerWaits) {
  for (const auto& r : op_transitions.rows()) {
    // A new front end gives the answer that its predecessor had and did not give.
    const bool is_late = r.on == op_event::came_back_answered && r.from == op_state::serviced;
    const bool lets_go = waits(r.from) && is_answered(r.to) && !has_no_caller(r.act);
    EXPECT_EQ(is_reply(r.act), lets_go || is_late) << name_of(r.from) << " on " << name_of(r.on);
  }
}

TEST(OpTransitions, HaveNobodyToAnswerExactlyWhenTheKernelSaidSo) {
  for (const auto& r : op_transitions.rows())
    if (has_no_caller(r.act) && r.on != op_event::caller_lost) {
      EXPECT_EQ(r.from, op_state::given_up) << name_of(r.on);  // it was told before
    }
}

TEST(OpTransitions, EndOnAnEvictionExactlyWhatMayHaveBeenExecutedAndNoCoreHas) {
  for (const auto& r : op_transitions.rows())
    if (r.on == op_event::evicted) {
      const bool ends = r.from == op_state::purged || r.from == op_state::given_up;
      EXPECT_EQ(r.act != op_action::none, ends) << name_of(r.from);
    }
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

TEST(OpTransitions, TellEintrOnlyToCallersThatAreBeingKilled) {
  for (const auto& r : op_transitions.rows()) {
    if (r.act == op_action::reply_eintr) {
      EXPECT_EQ(r.from, op_state::waiting);
      EXPECT_EQ(r.on, op_event::caller_killed);
    }
    if (r.act == op_action::abandon) {
      EXPECT_EQ(r.on, op_event::caller_killed);
    }
  }
}

TEST(OpTransitions, TellEioOnlyToWhomThePolicyRefusesOrTheServerHasForgotten) {
  for (const auto& r : op_transitions.rows())
    if (r.act == op_action::reply_eio || r.act == op_action::abandon_eio) {
      if (r.on == op_event::evicted) continue;
      EXPECT_EQ(r.on, op_event::refused);
      EXPECT_EQ(r.act == op_action::reply_eio, r.from == op_state::waiting);
    }
}

TEST(OpTransitions, HandOverAnOpExactlyWhenItIsOfferedAndRequeueItExactlyWhenItsCoreIsLost) {
  for (const auto& r : op_transitions.rows()) {
    if (r.act == op_action::hand_over) {
      EXPECT_EQ(r.on, op_event::offered);
    }
    if (r.act == op_action::never) continue;
    // A new front end has no list: it puts on it what it finds.
    const bool is_found = r.on == op_event::came_back ||
                          (r.on == op_event::caller_lost && r.to == op_state::given_up);
    const bool with_core = r.from == op_state::in_progress || r.from == op_state::given_up;
    const bool is_listed = r.act == op_action::requeue || r.act == op_action::orphan;
    EXPECT_EQ(is_listed, is_found || (r.on == op_event::core_lost && with_core))
        << name_of(r.from) << " on " << name_of(r.on);
  }
}

TEST(OpTransitions, NeverForgetWhetherAnOpMayHaveBeenExecuted) {
  for (const auto& r : op_transitions.rows())
    if (r.from != op_state::unknown && r.from != op_state::waiting) {
      // Of what was refused nothing was executed: a new op takes its place.
      const bool is_new = r.on == op_event::renewed && r.from == op_state::in_progress;
      EXPECT_EQ(r.to == op_state::waiting, is_new) << name_of(r.from) << " on " << name_of(r.on);
    }
}

TEST(OpTransitions, PutANewOpInThePlaceOnlyOfOneThatACoreAnswersToACallerWhoWaits) {
  for (const auto& r : op_transitions.rows())
    if (r.on == op_event::renewed) {
      const bool is_answered = r.from == op_state::in_progress;
      EXPECT_EQ(r.act, is_answered ? op_action::enqueue : op_action::never) << name_of(r.from);
    }
}

TEST(OpTransitions, KeepAnOpWithoutACallerUntilItsFateIsKnown) {
  for (const auto& r : op_transitions.rows())
    if (r.from == op_state::given_up && r.to != op_state::given_up) {
      // Or the caller turns out to be there still: he was not told.
      EXPECT_TRUE(r.on == op_event::ended || r.on == op_event::came_back) << name_of(r.on);
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

// What the kernel knows of an op that was answered or not by front ends that may have died since.
struct history {
  op_state state;
  bool is_answered;  // a reply was ordered; whether it was given, a dead front end cannot say
  bool is_gone;      // the kernel said that nobody waits
  int depth;
};

bool is_of_restart(op_event e) {
  return e == op_event::came_back || e == op_event::came_back_answered ||
         e == op_event::caller_lost;
}

// Events that can come: those of a restart come to an op that is with no core, `came_back` only
// while its caller waits or his answer was not given.
bool can_come(const history& h, op_event e) {
  if (!is_of_restart(e)) return true;
  if (h.state == op_state::unknown || h.state == op_state::in_progress) return false;
  return e == op_event::caller_lost || !h.is_gone;
}

void walk(history h, std::size_t& count) {
  ++count;
  if (h.depth == 7) return;
  for (std::size_t n = 0; n < count_of<op_event>; ++n) {
    const auto e = static_cast<op_event>(n);
    const auto& r = op_transitions.at(h.state, e);
    if (r.act == op_action::never || !can_come(h, e)) continue;
    history next{r.to, h.is_answered, h.is_gone, h.depth + 1};
    // That it came back shows that the answer was not given.
    if (e == op_event::came_back || e == op_event::came_back_answered) next.is_answered = false;
    if (has_no_caller(r.act)) next.is_gone = true;
    if (is_reply(r.act)) {
      ASSERT_FALSE(next.is_answered || next.is_gone) << name_of(h.state) << " " << name_of(e);
      next.is_answered = true;
    }
    if (r.act == op_action::free_slot) {
      ASSERT_TRUE(h.is_answered || h.is_gone);  // nothing ends without its answer
      next.is_answered = next.is_gone = false;
    }
    walk(next, count);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(OpTransitions, AnswerOnceInEveryHistoryOfSevenEvents) {
  std::size_t count = 0;
  walk({op_state::unknown, false, false, 0}, count);
  RecordProperty("histories", static_cast<int>(count));
  EXPECT_GT(count, 100'000u);
}

}  // namespace
}  // namespace tangelo
