// ACLs as values: what is accepted, what they allow, and how they and the mode say the same.
#include "server/acl.h"

#include <gtest/gtest.h>

namespace tangelo {
namespace {

using list = std::vector<acl_entry>;
constexpr std::uint32_t no_id = UINT32_MAX;

std::string value_of(const list& entries, std::uint32_t version = 2) {
  std::string value;
  const auto put = [&value](std::uint64_t n, int size) {
    for (int i = 0; i < size; ++i) value.push_back(static_cast<char>(n >> (8 * i)));
  };
  put(version, 4);
  for (const acl_entry& e : entries)
    put(static_cast<std::uint16_t>(e.tag), 2), put(e.permission, 2), put(e.id, 4);
  return value;
}
acl made(const list& entries) { return acl::parse(value_of(entries)).value(); }

using enum acl_tag;
const list plain = {{owner, 7, no_id}, {owning_group, 5, no_id}, {other, 4, no_id}};
const list named = {{owner, 7, no_id},        {user, 6, 10},  {owning_group, 5, no_id},
                    {group, 3, 20},           {mask, 6, no_id}, {other, 1, no_id}};

TEST(Acl, IsAcceptedAsTheKernelAcceptsIt) {
  EXPECT_TRUE(acl::parse(value_of(plain)));
  EXPECT_TRUE(acl::parse(value_of(named)));
  EXPECT_EQ(made(named).packed(), value_of(named));
  EXPECT_FALSE(acl::parse(value_of(plain, 1)));
  EXPECT_FALSE(acl::parse(""));
  EXPECT_FALSE(acl::parse(value_of(plain).substr(1)));
  EXPECT_FALSE(acl::parse(value_of({})));
  for (std::size_t left_out = 0; left_out < plain.size(); ++left_out) {
    list less = plain;
    less.erase(less.begin() + static_cast<std::ptrdiff_t>(left_out));
    EXPECT_FALSE(acl::parse(value_of(less))) << left_out;
  }
  list no_mask = named;
  no_mask.erase(no_mask.begin() + 4);
  EXPECT_FALSE(acl::parse(value_of(no_mask)));
  for (std::size_t i = 0; i + 1 < named.size(); ++i) {
    list moved = named;
    std::swap(moved[i], moved[i + 1]);
    EXPECT_FALSE(acl::parse(value_of(moved))) << i;
    list twice = named;
    twice.insert(twice.begin() + static_cast<std::ptrdiff_t>(i), named[i]);
    const bool is_name = named[i].tag == user || named[i].tag == group;
    EXPECT_EQ(acl::parse(value_of(twice)).has_value(), is_name) << i;
    list strange = named;
    strange[i].permission = 8;
    EXPECT_FALSE(acl::parse(value_of(strange))) << i;
    strange[i].permission = 7;
    strange[i].tag = static_cast<acl_tag>(0x40);
    EXPECT_FALSE(acl::parse(value_of(strange))) << i;
  }
}

TEST(Acl, AllowsByTheFirstEntryThatMeansTheCaller) {
  struct row {
    credential who;
    std::uint32_t rights;
  };
  const auto in = [](std::uint32_t uid, std::uint32_t gid, std::uint32_t more) {
    credential c{uid, gid, 1, 0, {}};
    c.groups[0] = more;
    return c;
  };
  const row rows[] = {
      {in(10, 99, 98), 6},  // named: 6 & 6
      {in(10, 20, 30), 6},  // named before its groups
      {in(11, 30, 98), 4},  // owning group: 5 & 6
      {in(11, 99, 30), 4},
      {in(11, 99, 20), 2},  // named group: 3 & 6
      {in(11, 98, 99), 1},  // other, without the mask
  };
  for (const row& r : rows)
    for (std::uint32_t want = 0; want < 8; ++want)
      EXPECT_EQ(made(named).allows(r.who, 30, want), (r.rights & want) == want)
          << r.who.uid << " " << r.who.gid << " " << want;
  // In two groups of the list: one of them must allow all of it.
  const credential both = in(11, 20, 30);
  EXPECT_TRUE(made(named).allows(both, 30, 4));
  EXPECT_TRUE(made(named).allows(both, 30, 2));
  EXPECT_FALSE(made(named).allows(both, 30, 6));
  EXPECT_FALSE(made(named).allows(both, 30, 1));
}

TEST(Acl, AndModeSayTheSame) {
  EXPECT_EQ(made(plain).mode_bits(), 0754u);
  EXPECT_TRUE(made(plain).is_equivalent_to_mode());
  EXPECT_EQ(made(named).mode_bits(), 0761u);
  EXPECT_FALSE(made(named).is_equivalent_to_mode());
  acl a = made(named);
  a.set_mode(02640);
  EXPECT_EQ(a.packed(), value_of({{owner, 6, no_id}, {user, 6, 10}, {owning_group, 5, no_id},
                                  {group, 3, 20}, {mask, 4, no_id}, {other, 0, no_id}}));
  std::uint32_t mode = 0102755;
  a = made(named);
  a.restrict_to(mode);
  EXPECT_EQ(mode, 0102741u);
  EXPECT_EQ(a.mode_bits(), 0741u);
  mode = 0666;
  a = made(plain);
  a.restrict_to(mode);
  EXPECT_EQ(mode, 0644u);
}

}  // namespace
}  // namespace tangelo
