// The checker itself, on models small enough to be seen through.
#include "tests/model/checker.h"

#include <gtest/gtest.h>

namespace tangelo::model {
namespace {

// Two counters from 0 to `top`; each step adds 1 to one of them. What is forbidden, where it ends
// and which step is natural are the test's choice.
struct counters {
  struct state {
    std::uint32_t a;
    std::uint32_t b;
  };
  using step = char;

  std::uint32_t top = 3;
  std::uint32_t forbidden_sum = 100;
  std::uint32_t pit = 100;  // with a at this, nothing goes on
  bool b_is_natural = true;
  bool alike = false;

  state initial() const { return {0, 0}; }
  template <class F>
  void each_step(const state& s, F&& f) const {
    if (s.a == pit) return;
    if (s.a < top) f('a', state{s.a + 1, s.b}, true);
    if (s.b < top) f('b', state{s.a, s.b + 1}, b_is_natural);
  }
  std::string_view broken(const state& s) const {
    return s.a + s.b >= forbidden_sum ? "the sum is small" : "";
  }
  bool finished(const state& s) const { return s.a == top && s.b == top; }
  state canonical(const state& s) const {
    return alike && s.a < s.b ? state{s.b, s.a} : s;
  }
  std::string name(char did) const { return std::string(1, did); }
};

TEST(Checker, VisitsEachStateOnce) {
  const counters m;
  const verdict v = checker<counters>(m, 1000).run();
  EXPECT_TRUE(v.holds());
  EXPECT_EQ(v.state_count, 16U);
  EXPECT_EQ(v.step_count, 24U);
  EXPECT_EQ(v.finished_count, 1U);
  EXPECT_EQ(v.depth, 6U);
}

TEST(Checker, CountsSymmetricStatesOnce) {
  counters m;
  m.alike = true;
  const verdict v = checker<counters>(m, 1000).run();
  EXPECT_TRUE(v.holds());
  EXPECT_EQ(v.state_count, 10U);
}

TEST(Checker, TellsAShortestHistoryOfABrokenPromise) {
  counters m;
  m.forbidden_sum = 3;
  m.alike = true;
  const verdict v = checker<counters>(m, 1000).run();
  EXPECT_EQ(v.broken, "the sum is small");
  EXPECT_EQ(v.history.size(), 3U);
  EXPECT_FALSE(v.exhausted);
}

TEST(Checker, FindsAStateWithoutAWayOut) {
  counters m;
  m.pit = 2;
  const verdict v = checker<counters>(m, 1000).run();
  EXPECT_EQ(v.broken, no_way_out);
}

TEST(Checker, DoesNotTakeAnAccidentForAWayOut) {
  counters m;
  m.b_is_natural = false;
  const verdict v = checker<counters>(m, 1000).run();
  EXPECT_EQ(v.broken, no_way_out);
  EXPECT_TRUE(v.history.empty());  // the first state is one already
}

TEST(Checker, SaysThatItDidNotSeeAll) {
  const counters m;
  const verdict v = checker<counters>(m, 5).run();
  EXPECT_FALSE(v.exhausted);
  EXPECT_FALSE(v.holds());
  EXPECT_TRUE(v.broken.empty());
}

}  // namespace
}  // namespace tangelo::model
