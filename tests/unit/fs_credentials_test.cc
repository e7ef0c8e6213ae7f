// Groups and powers of callers: what /proc says, and for how long it is believed.
#include "fs/credentials.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/clock.h"
#include "fs/request.h"
#include "tests/unit/fuse_requests.h"

namespace tangelo {
namespace {

std::string status_of(std::string_view uid, std::string_view gid, std::string_view groups,
                      std::string_view powers) {
  return "Name:\tUid:\t9\nUid:\t1\t2\t3\t" + std::string(uid) + "\nGid:\t1\t2\t3\t" +
         std::string(gid) + "\nGroups:\t" + std::string(groups) + " \nCapEff:\t" +
         std::string(powers) + "\n";
}

TEST(Status, HasGroupsAndPowers) {
  credential who{1000, 2000, 0, 0, {}};
  ASSERT_TRUE(add_groups(status_of("1000", "2000", "5 4000000000 7", "0000000000000009"), who));
  EXPECT_EQ(who.group_count, 3);
  EXPECT_EQ(who.groups[1], 4'000'000'000u);
  EXPECT_EQ(who.powers, power::chown | power::fowner);
  ASSERT_TRUE(add_groups(status_of("1000", "2000", "", "1ffffffffff"), who));
  EXPECT_EQ(who.group_count, 0);
  EXPECT_EQ(who.powers, 0x7f);
}

TEST(Status, ThatIsDamagedOrOfSomebodyElseAddsNothing) {
  const credential who{1000, 2000, 0, 0, {}};
  const std::string whole = status_of("1000", "2000", "5 6", "0");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    credential c = who;
    EXPECT_FALSE(add_groups(std::string_view(whole).substr(0, size), c)) << size;
    EXPECT_EQ(c.group_count, 0);
  }
  std::string many;
  for (std::size_t n = 0; n < group_count_max; ++n) many += "7 ";
  credential c = who;
  EXPECT_TRUE(add_groups(status_of("1000", "2000", many, "0"), c));
  EXPECT_EQ(c.group_count, group_count_max);
  for (const std::string& wrong :
       {status_of("1001", "2000", "5", "0"), status_of("1000", "2001", "5", "0"),
        status_of("1000", "2000", many + "8", "0")}) {
    c = who;
    EXPECT_FALSE(add_groups(wrong, c));
    EXPECT_EQ(c.group_count, 0);
  }
}

class one_caller final : public caller_inspector {
 public:
  bool is_being_killed(std::uint32_t) noexcept override { return false; }
  bool look_up(std::uint32_t, credential& who) noexcept override {
    ++looks;
    who.group_count = 1;
    who.groups[0] = group;
    who.powers = powers;
    return known;
  }
  int looks = 0;
  std::uint8_t powers = 0;
  std::uint32_t group = 5;
  bool known = true;
};

TEST(Credentials, AreReadOnceASecond) {
  one_caller callers;
  credentials all(callers);
  EXPECT_EQ(all.of(7, 0, 0, 0).powers, 0);
  EXPECT_EQ(callers.looks, 0) << "of root nothing has to be known";
  EXPECT_EQ(all.of(7, 1, 2, ns_per_s).groups[0], 5u);
  callers.group = 6;
  EXPECT_EQ(all.of(7, 1, 2, 2 * ns_per_s - 1).groups[0], 5u);
  EXPECT_EQ(callers.looks, 1);
  EXPECT_EQ(all.of(7, 1, 2, 2 * ns_per_s).groups[0], 6u);
  EXPECT_EQ(callers.looks, 2);
  (void)all.of(7, 1, 3, 2 * ns_per_s);  // another gid
  (void)all.of(7 + 1024, 1, 3, 2 * ns_per_s);
  (void)all.of(7, 1, 3, 2 * ns_per_s);
  EXPECT_EQ(callers.looks, 5);
}

TEST(Credentials, AreReadForARequestThatWantsThemAsTheyAre) {
  one_caller callers;
  credentials all(callers);
  EXPECT_EQ(all.of(7, 1, 2, 100).groups[0], 5u);
  callers.group = 6;
  EXPECT_EQ(all.of_now(7, 1, 2, 100).groups[0], 5u) << "they were read for it";
  EXPECT_EQ(all.of_now(7, 1, 2, 101).groups[0], 6u);
  EXPECT_EQ(all.of(7, 1, 2, 102).groups[0], 6u);
  EXPECT_EQ(callers.looks, 2);
  EXPECT_EQ(all.of_now(7, 0, 0, 103).powers, 0);
  EXPECT_EQ(callers.looks, 2) << "of root nothing has to be known";
  callers.known = false;
  EXPECT_EQ(all.of_now(7, 1, 2, 104).powers, power::unknown_groups);
}

TEST(Credentials, AreRenewedWhenTheirCallerHasChangedSinceTheyWereRead) {
  one_caller callers;
  credentials all(callers);
  const credential before = all.of(7, 1, 2, 100);
  credential who = before;
  EXPECT_FALSE(all.renew(7, who, 100, 150)) << "they were read for this request";
  EXPECT_EQ(callers.looks, 1);
  EXPECT_FALSE(all.renew(7, who, 101, 150)) << "it has not changed";
  EXPECT_EQ(callers.looks, 2);
  callers.group = 6;
  EXPECT_TRUE(all.renew(7, who, 200, 250));
  EXPECT_EQ(who.groups[0], 6u);
  who = before;
  EXPECT_TRUE(all.renew(7, who, 220, 260)) << "read meanwhile for another request";
  EXPECT_EQ(callers.looks, 3);
  callers.powers = power::dac_override;
  EXPECT_TRUE(all.renew(7, who, 300, 350));
  EXPECT_EQ(who.powers, power::dac_override);
  callers.known = false;
  EXPECT_FALSE(all.renew(7, who, 400, 450)) << "it is gone";
  EXPECT_EQ(who.powers, power::dac_override);
  callers.known = true;
  credential unknown{1, 2, 0, power::unknown_groups, {}};
  credential root{};
  EXPECT_FALSE(all.renew(7, unknown, 500, 550));
  EXPECT_FALSE(all.renew(7, root, 500, 550));
  EXPECT_FALSE(all.renew(0, who, 500, 550));
}

// What the server does in another way by its caller's groups and powers, and does not refuse.
TEST(Credentials, AreReadAnewForWhatMayTakeSetgidAwayOrIsHidden) {
  one_caller callers;
  const auto is_read_for = [&callers](const fuse_request& r) {
    credentials all(callers);
    (void)all.of_now(4321, 1000, 1001, 1);
    const int before = callers.looks;
    const auto draft = std::make_unique<op_draft>();
    draft->cell.arrived_ns = 2;
    ++callers.group;
    EXPECT_NE(decode_request(r.bytes(), *draft, &all), request_kind::answer);
    const auto who = decode<credential>({draft->cell.body, draft->cell.body_size}).value();
    EXPECT_EQ(who.groups[0] == callers.group, callers.looks != before);
    return callers.looks != before;
  };
  const auto setattr = [](std::uint32_t valid, std::uint32_t mode) {
    fuse_setattr_in in{};
    in.valid = valid;
    in.mode = mode;
    return fuse_request(FUSE_SETATTR, 5, 2).add(in);
  };
  EXPECT_TRUE(is_read_for(setattr(FATTR_MODE, 0102755)));
  EXPECT_FALSE(is_read_for(setattr(FATTR_MODE, 0104755)));
  EXPECT_TRUE(is_read_for(setattr(FATTR_UID, 0)));
  EXPECT_TRUE(is_read_for(setattr(FATTR_GID, 0)));
  EXPECT_TRUE(is_read_for(setattr(0, 0)));
  EXPECT_TRUE(is_read_for(setattr(FATTR_SIZE | FATTR_KILL_SUIDGID, 0)));
  EXPECT_FALSE(is_read_for(setattr(FATTR_ATIME | FATTR_MTIME, 0)));
  EXPECT_TRUE(is_read_for(fuse_request::mkdir(5, 2, "name", 02775)));
  EXPECT_FALSE(is_read_for(fuse_request::mkdir(5, 2, "name", 0775)));
  for (const std::uint32_t op : {std::uint32_t{FUSE_CREATE}, fuse_opcode_tmpfile})
    for (const std::uint32_t mode : {0100775u, 0102775u}) {
      fuse_create_in in{};
      in.mode = mode;
      EXPECT_EQ(is_read_for(fuse_request(op, 5, 2).add(in).name("name")), mode == 0102775u);
    }
  EXPECT_TRUE(is_read_for(fuse_request(FUSE_FALLOCATE, 5, 2).add(fuse_fallocate_in{})));
  EXPECT_TRUE(is_read_for(fuse_request(FUSE_COPY_FILE_RANGE, 5, 2).add(fuse_copy_file_range_in{})));
  for (const std::string_view name : {"system.posix_acl_access", "user.a"}) {
    const std::uint32_t in[2] = {1, 0};
    fuse_request r(FUSE_SETXATTR, 5, 2);
    EXPECT_EQ(is_read_for(r.add(in).name(name).raw(bytes_of("x"))), name != "user.a");
  }
  for (const std::string_view name : {"trusted.a", "system.tangelo.quota", "user.a"}) {
    fuse_request r(FUSE_GETXATTR, 5, 2);
    EXPECT_EQ(is_read_for(r.add(fuse_getxattr_in{}).name(name)), name != "user.a") << name;
  }
  EXPECT_FALSE(is_read_for(fuse_request::open(5, 2, 0)));
}

TEST(Credentials, ThatCannotBeReadAreMarked) {
  one_caller callers;
  credentials all(callers);
  EXPECT_EQ(all.of(0, 1, 2, 0).powers, power::unknown_groups);
  EXPECT_EQ(callers.looks, 0);
  callers.known = false;
  EXPECT_EQ(all.of(9, 1, 2, 0).powers, power::unknown_groups);
  EXPECT_EQ(all.of(9, 1, 2, 0).powers, power::unknown_groups);
  EXPECT_EQ(callers.looks, 2) << "nothing is kept of it";
}

TEST(Credentials, GoIntoTheCallsThatDependOnThem) {
  one_caller callers;
  credentials all(callers);
  const auto who_asks = [&all](const fuse_request& r) {
    const auto draft = std::make_unique<op_draft>();
    EXPECT_NE(decode_request(r.bytes(), *draft, &all), request_kind::answer);
    return decode<credential>({draft->cell.body, draft->cell.body_size}).value();
  };
  EXPECT_EQ(who_asks(fuse_request::getattr(5, 1)).powers, power::unknown_groups);
  EXPECT_EQ(who_asks(fuse_request::read(5, 1, 2, 0, 4096)).group_count, 0);
  EXPECT_EQ(callers.looks, 0);
  for (const std::uint32_t op : {FUSE_LOOKUP, FUSE_UNLINK, FUSE_RMDIR})
    EXPECT_EQ(who_asks(fuse_request::named(op, 5, 1, "name")).groups[0], 5u);
  EXPECT_EQ(who_asks(fuse_request::mkdir(5, 1, "name", 0777)).group_count, 1);
  EXPECT_EQ(callers.looks, 1);
}

// The kernel lets everybody set attributes of the system's: here only an administrator may, and
// root within a container is none.
TEST(Credentials, AttributesOfTheSystemNeedAnAdministrator) {
  one_caller callers;
  credentials all(callers);
  const auto asks = [&all](std::uint32_t op, std::string_view name) {
    const std::uint32_t in[2] = {1, 0};
    fuse_request r(op, 5, 1);
    if (op == FUSE_SETXATTR) r.add(in);
    const fuse_request whole = r.name(name).raw(bytes_of("x")).by_root();
    const auto draft = std::make_unique<op_draft>();
    const request_kind kind = decode_request(whole.bytes(), *draft, &all);
    return kind == request_kind::answer ? draft->error : error_code::ok;
  };
  for (const std::uint32_t op : {FUSE_SETXATTR, FUSE_REMOVEXATTR}) {
    callers.powers = 0;
    EXPECT_EQ(asks(op, "system.tangelo.quota"), error_code::not_permitted);
    EXPECT_EQ(asks(op, "user.tangelo"), error_code::ok);
    callers.powers = power::sys_admin;
    EXPECT_EQ(asks(op, "system.tangelo.quota"), error_code::ok);
    callers.known = false;
    EXPECT_EQ(asks(op, "system.tangelo.quota"), error_code::not_permitted);
    callers.known = true;
  }
}

}  // namespace
}  // namespace tangelo
