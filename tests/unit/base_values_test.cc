// result, state_table, crc32c and prng: the values everything else is made of.
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "base/prng.h"
#include "base/result.h"
#include "base/state_table.h"

namespace tangelo {
namespace {

enum class lamp : std::uint8_t { off, on };
enum class push : std::uint8_t { short_, long_ };
enum class deed : std::uint8_t { none, click };

constexpr std::string_view name_of(lamp s) noexcept {
  switch (s) {
    case lamp::off: return "off";
    case lamp::on: return "on";
  }
  return {};
}
constexpr std::string_view name_of(push e) noexcept {
  switch (e) {
    case push::short_: return "short";
    case push::long_: return "long";
  }
  return {};
}

using lamp_table = state_table<lamp, push, deed>;
constexpr lamp_table lamps({
    // in state  on event       goes to    and does; deliberately not in the order of the pairs
    {lamp::on, push::short_, lamp::off, deed::click},
    {lamp::off, push::long_, lamp::off, deed::none},
    {lamp::off, push::short_, lamp::on, deed::click},
    {lamp::on, push::long_, lamp::on, deed::none},
});

TEST(StateTable, FindsTheRowOfEveryPairWhateverTheOrderItWasWrittenIn) {
  static_assert(lamp_table::size == 4);
  for (const auto& row : lamps.rows()) {
    EXPECT_EQ(lamps.at(row.from, row.on).to, row.to);
    EXPECT_EQ(lamps.at(row.from, row.on).from, row.from);
  }
  EXPECT_EQ(lamps.at(lamp::off, push::short_).to, lamp::on);
  EXPECT_EQ(lamps.at(lamp::off, push::long_).act, deed::none);
}

TEST(StateTable, CountsTheEnumeratorsFromTheirNames) {
  static_assert(count_of<lamp> == 2 && count_of<push> == 2);
  EXPECT_EQ(ordinal(lamp::on), 1u);
}

TEST(Result, HoldsEitherValueOrError) {
  const result<std::string, int> good = std::string("yes");
  const result<std::string, int> bad = failure{5};
  ASSERT_TRUE(good);
  EXPECT_EQ(*good, "yes");
  EXPECT_EQ(good->size(), 3u);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error(), 5);
}

TEST(Result, MovesAValueThatCannotBeCopied) {
  result<std::unique_ptr<int>, int> r = std::make_unique<int>(7);
  const std::unique_ptr<int> taken = *std::move(r);
  EXPECT_EQ(*taken, 7);
}

TEST(Result, OfVoidIsGoodUntilToldOtherwise) {
  const result<void, int> good;
  const result<void, int> bad = failure{3};
  EXPECT_TRUE(good.has_value());
  EXPECT_FALSE(bad.has_value());
  EXPECT_EQ(bad.error(), 3);
}

TEST(ResultDeathTest, StopsTheProcessWhenTheWrongSideIsRead) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  result<int, int> bad = failure{1};
  result<int, int> good = 1;
  EXPECT_DEATH((void)*bad, "");
  EXPECT_DEATH((void)good.error(), "");
}

TEST(Crc32c, GivesThePublishedVectors) {
  EXPECT_EQ(crc32c(bytes_of("")), 0u);
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xe3069283u);
  // RFC 3720, B.4
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\0'))), 0x8a9136aau);
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\xff'))), 0x62a8ab43u);
  std::string up, down;
  for (int i = 0; i < 32; ++i) {
    up += static_cast<char>(i);
    down += static_cast<char>(31 - i);
  }
  EXPECT_EQ(crc32c(bytes_of(up)), 0x46dd794eu);
  EXPECT_EQ(crc32c(bytes_of(down)), 0x113fdb5cu);
}

TEST(Crc32c, IsTheSameInOnePieceAndInAnyTwo) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += static_cast<char>(i * 37);
  const std::uint32_t whole = crc32c(bytes_of(text));
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    const std::string_view all(text);
    const std::uint32_t first = crc32c(bytes_of(all.substr(0, cut)));
    EXPECT_EQ(crc32c(bytes_of(all.substr(cut)), first), whole) << "cut at " << cut;
  }
}

TEST(Prng, RepeatsItselfFromItsSeedAndStaysBelowItsBound) {
  prng a(42), b(42), c(43);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t v = a.next();
    EXPECT_EQ(v, b.next());
    EXPECT_NE(v, c.next());
    seen.insert(v);
    EXPECT_LT(a.below(7), 7u);
    (void)b.below(7);
  }
  EXPECT_EQ(seen.size(), 100u);
  EXPECT_EQ(a.below(0), 0u);
}

}  // namespace
}  // namespace tangelo
