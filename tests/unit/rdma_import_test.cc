#include <gtest/gtest.h>

#include <set>

#include "rdma/import.h"

namespace tangelo {
namespace {

std::set<import_state> reachable_from(import_state start) {
  std::set<import_state> seen = {start};
  for (bool grew = true; grew;) {
    grew = false;
    for (const auto& row : import_rows().rows())
      if (seen.contains(row.from) && seen.insert(row.to).second) grew = true;
  }
  return seen;
}

TEST(Import, EveryStateIsReached) {
  EXPECT_EQ(reachable_from(import_state::new_).size(), count_of<import_state>);
}

TEST(Import, FromEveryStateFullCanBeReachedUnlessClosed) {
  for (std::size_t i = 0; i < count_of<import_state>; ++i) {
    const auto state = static_cast<import_state>(i);
    const std::set<import_state> seen = reachable_from(state);
    EXPECT_TRUE(seen.contains(import_state::closed)) << name_of(state);
    EXPECT_EQ(seen.contains(import_state::full), state != import_state::closed) << name_of(state);
  }
}

TEST(Import, RowsThatCannotHappenStay) {
  for (const auto& row : import_rows().rows())
    EXPECT_TRUE(row.act != import_action::never || row.from == row.to) << name_of(row.from);
}

TEST(Import, ClosedStaysClosedAndDoesNothing) {
  for (const auto& row : import_rows().rows()) {
    if (row.from != import_state::closed) continue;
    EXPECT_EQ(row.to, import_state::closed);
    EXPECT_EQ(row.act, import_action::none);
  }
}

TEST(Import, ServiceBeginsOnlyAfterEverythingUnansweredIsOnItsWay) {
  for (const auto& row : import_rows().rows()) {
    if (row.to == import_state::full && row.from != import_state::full) {
      EXPECT_EQ(row.from, import_state::recover);
      EXPECT_EQ(row.on, import_event::resends_queued);
    }
    const bool enters_recover = row.to == import_state::recover && row.from != row.to;
    EXPECT_EQ(enters_recover, row.act == import_action::resend_all);
  }
}

TEST(Import, EveryAttemptBeginsAsConnecting) {
  for (const auto& row : import_rows().rows())
    EXPECT_EQ(row.act == import_action::connect,
              row.to == import_state::connecting && row.from != import_state::connecting)
        << name_of(row.from) << " " << name_of(row.on);
}

TEST(Import, EveryLossOfTheConnectionSchedulesARetry) {
  for (const auto& row : import_rows().rows())
    EXPECT_EQ(row.act == import_action::schedule_retry,
              row.to == import_state::discon && row.from != import_state::discon)
        << name_of(row.from) << " " << name_of(row.on);
}

TEST(Import, ActionsMarkTheStateTheyEnter) {
  for (const auto& row : import_rows().rows()) {
    const bool enters_replay = row.to == import_state::replay && row.from != row.to;
    const bool replays =
        row.act == import_action::start_replay || row.act == import_action::resume_replay;
    EXPECT_EQ(enters_replay, replays);
    EXPECT_EQ(row.act == import_action::invalidate,
              row.to == import_state::evicted && row.from != row.to);
    EXPECT_EQ(row.act == import_action::say_goodbye,
              row.to == import_state::closed && row.from != row.to);
  }
}

TEST(Import, RemembersTheLastStates) {
  import_machine m;
  std::uint64_t now = 1;
  m.apply(import_event::start, now++);
  for (int i = 0; i < 20; ++i) {
    m.apply(import_event::link_down, now++);
    m.apply(import_event::retry_due, now++);
  }
  const import_machine::history_ring h = m.history();
  EXPECT_EQ(h.back().state, import_state::connecting);
  EXPECT_EQ(h.back().at_ns, now - 1);
  for (std::size_t i = 1; i < h.size(); ++i) EXPECT_EQ(h[i].at_ns, h[i - 1].at_ns + 1);
}

}  // namespace
}  // namespace tangelo
