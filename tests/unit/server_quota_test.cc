// quotas: what is counted, what is refused, and what a crash leaves of both.
#include <gtest/gtest.h>
#include <sys/xattr.h>

#include <algorithm>

#include "base/prng.h"
#include "protocol/data_ops.h"
#include "server/quota_names.h"
#include "tests/sim/dump.h"
#include "tests/unit/server_volume_fixture.h"

namespace tangelo::testing_volume {
namespace {

constexpr std::uint32_t ann = 1000, ben = 1001, crew = 2000;

credential user(std::uint32_t uid, std::uint32_t gid = crew) { return {uid, gid, 0, 0, {}}; }

class Quota : public volume_fixture {
 protected:
  Quota() {
    setattr_call s;
    s.inode = root_inode;
    s.which = set_attr::mode;
    s.mode = 0777;
    EXPECT_EQ(call(opcode::setattr, s)->status, error_code::ok);
  }
  void TearDown() override { expect_right(); }

  // Usage is what a walk finds.
  void expect_right() {
    for (const std::string& fault : sim::usage_faults(kv_)) ADD_FAILURE() << fault;
  }
  error_code set(std::uint64_t inode, std::string_view name, std::string_view value,
                 const credential& who = {}, std::uint32_t flags = 0) {
    return call(opcode::setxattr,
                xattr_call{who, inode, flags, static_cast<std::uint32_t>(value.size()), name},
                value)
        ->status;
  }
  error_code clear(std::uint64_t inode, std::string_view name, const credential& who = {}) {
    return call(opcode::removexattr, xattr_call{who, inode, 0, 0, name})->status;
  }
  // The value, or the name of the error.
  std::string get(std::uint64_t inode, std::string_view name, const credential& who = {}) {
    const call_ptr c =
        call(opcode::getxattr, xattr_call{who, inode, 0, 65'536, name}, {}, 65'536);
    return c->status == error_code::ok ? c->text() : std::string(name_of_error(c->status));
  }
  std::string get_user(std::uint32_t uid) {
    return get(root_inode, "system.tangelo.quota.user." + std::to_string(uid));
  }
  error_code set_user(std::uint32_t uid, std::string_view value) {
    return set(root_inode, "system.tangelo.quota.user." + std::to_string(uid), value);
  }
  error_code set_group(std::uint32_t gid, std::string_view value) {
    return set(root_inode, "system.tangelo.quota.group." + std::to_string(gid), value);
  }
  error_code set_tree(std::uint64_t d, std::string_view value) {
    return set(d, "system.tangelo.quota", value);
  }
  std::string get_tree(std::uint64_t d) { return get(d, "system.tangelo.quota"); }

  call_ptr make(opcode op, std::uint64_t parent, std::string_view name, const credential& who,
                std::string_view in = {}) {
    make_call m = made(parent, name, 0755);
    m.who = who;
    return call(op, m, in);
  }
  std::uint64_t file(std::uint64_t parent, std::string_view name, const credential& who = {}) {
    const call_ptr c = make(opcode::mknod, parent, name, who);
    EXPECT_EQ(c->status, error_code::ok) << name;
    return c->answered<entry_answer>().attr.inode;
  }
  std::uint64_t directory_of(std::uint64_t parent, std::string_view name, const credential& who) {
    const call_ptr c = make(opcode::mkdir, parent, name, who);
    EXPECT_EQ(c->status, error_code::ok) << name;
    return c->answered<entry_answer>().attr.inode;
  }
  error_code put(std::uint64_t f, std::uint64_t offset, std::size_t size,
                 const credential& who = user(ann), std::uint32_t flags = 0) {
    const std::string data(size, 'x');
    return call(opcode::write,
                write_call{who, f, 0, offset, static_cast<std::uint32_t>(size), flags}, data)
        ->status;
  }
  error_code allocate(std::uint64_t f, std::uint64_t offset, std::uint64_t size,
                      std::uint32_t mode = 1) {
    return call(opcode::fallocate, space_call{user(ann), f, 0, offset, size, mode})->status;
  }
  error_code chown(std::uint64_t f, std::uint32_t which, std::uint32_t id,
                   const credential& who) {
    setattr_call s;
    s.who = who;
    s.inode = f;
    s.which = which;
    s.uid = s.gid = id;
    return call(opcode::setattr, s)->status;
  }
  error_code link(std::uint64_t inode, std::uint64_t parent, std::string_view name) {
    return call(opcode::link, link_call{{}, inode, parent, name})->status;
  }
  void let_it_count() {
    for (int i = 0; i < 40; ++i) settle();
  }
  void settle_call(const test_call& c) {
    for (int i = 0; i < 100 && !c.completed; ++i) time_.advance(ns_per_ms);
    EXPECT_TRUE(c.completed);
  }
  void count_below(std::uint64_t inode, std::size_t& count) {
    ++count;
    std::vector<std::uint64_t> below;
    const std::string from = key_of(inode);
    (void)kv_.scan(column::dirents, from, end_of(from), read_mode::blocking,
                   [&below](std::string_view, std::string_view value) {
                     below.push_back(unpacked<dirent_record>(value)->inode);
                     return true;
                   });
    for (const std::uint64_t b : below) count_below(b, count);
  }
};

TEST_F(Quota, UsageIsCountedWithoutAnyLimit) {
  EXPECT_EQ(get_user(0), "bytes=0 inodes=0 used_bytes=4096 used_inodes=1") << "the root";
  EXPECT_EQ(get_user(ann), "bytes=0 inodes=0 used_bytes=0 used_inodes=0");
  const std::uint64_t d = directory_of(root_inode, "d", user(ann));
  const std::uint64_t f = file(d, "f", user(ann));
  EXPECT_EQ(get_user(ann), "bytes=0 inodes=0 used_bytes=4096 used_inodes=2");
  put(f, 0, 10);
  EXPECT_EQ(get_user(ann), "bytes=0 inodes=0 used_bytes=8192 used_inodes=2");
  put(f, 0, 100'000);
  EXPECT_EQ(get_user(ann), "bytes=0 inodes=0 used_bytes=106496 used_inodes=2");
  put(f, 1 << 30, 1);
  EXPECT_EQ(get_user(ann), "bytes=0 inodes=0 used_bytes=110592 used_inodes=2") << "holes are free";
  EXPECT_EQ(allocate(f, 0, 40'960, 3), error_code::ok);
  EXPECT_EQ(get_user(ann), "bytes=0 inodes=0 used_bytes=69632 used_inodes=2") << "punched";
  EXPECT_EQ(chown(f, set_attr::uid, ben, {}), error_code::ok);
  EXPECT_EQ(get_user(ann), "bytes=0 inodes=0 used_bytes=4096 used_inodes=1");
  EXPECT_EQ(get_user(ben), "bytes=0 inodes=0 used_bytes=65536 used_inodes=1");
  EXPECT_EQ(truncate(f, 1), error_code::ok);
  EXPECT_EQ(truncate(f, 0), error_code::ok);
  EXPECT_EQ(get_user(ben), "bytes=0 inodes=0 used_bytes=0 used_inodes=1");
  EXPECT_EQ(open(alice_, f, 7), error_code::ok);
  EXPECT_EQ(unlink(d, "f"), error_code::ok);
  EXPECT_EQ(get_user(ben), "bytes=0 inodes=0 used_bytes=0 used_inodes=1") << "it is open";
  call(opcode::release, open_call{{}, f, 7, 0});
  EXPECT_EQ(get_user(ben), "bytes=0 inodes=0 used_bytes=0 used_inodes=0");
}

TEST_F(Quota, InodesOfAUserEndAtTheLimitWhateverIsMade) {
  EXPECT_EQ(set_user(ann, "inodes=2"), error_code::ok);
  file(root_inode, "a", user(ann));
  file(root_inode, "b", user(ann));
  for (const opcode op : {opcode::mknod, opcode::create, opcode::mkdir, opcode::tmpfile})
    EXPECT_EQ(make(op, root_inode, "c", user(ann))->status, error_code::quota) << name_of(op);
  EXPECT_EQ(make(opcode::symlink, root_inode, "c", user(ann), "to")->status, error_code::quota);
  EXPECT_EQ(find(root_inode, "c"), 0u);
  EXPECT_EQ(link(find(root_inode, "a"), root_inode, "c"), error_code::ok) << "a name is no inode";
  file(root_inode, "of ben", user(ben));
  EXPECT_EQ(unlink(root_inode, "b"), error_code::ok);
  EXPECT_EQ(make(opcode::mknod, root_inode, "d", user(ann))->status, error_code::ok);
  EXPECT_EQ(make(opcode::mknod, root_inode, "e", user(ann))->status, error_code::quota);
  EXPECT_EQ(set_user(ann, "inodes=0"), error_code::ok);
  EXPECT_EQ(make(opcode::mknod, root_inode, "e", user(ann))->status, error_code::ok);
}

TEST_F(Quota, BytesOfAUserEndExactlyAtTheLimit) {
  EXPECT_EQ(set_user(ann, "bytes=40960"), error_code::ok);
  const std::uint64_t f = file(root_inode, "f", user(ann));
  EXPECT_EQ(put(f, 0, 40'960), error_code::ok);
  EXPECT_EQ(put(f, 40'960, 1), error_code::quota);
  EXPECT_EQ(stat(f).size, 40'960u);
  EXPECT_EQ(put(f, 100, 40'000), error_code::ok) << "it has that already";
  EXPECT_EQ(put(f, 40'000, 1000), error_code::quota) << "one page of it is new";
  const std::uint64_t g = file(root_inode, "g", user(ann));
  EXPECT_EQ(put(g, 0, 1), error_code::quota) << "a small one";
  EXPECT_EQ(make(opcode::mkdir, root_inode, "d", user(ann))->status, error_code::quota);
  EXPECT_EQ(allocate(f, 40'960, 1), error_code::quota);
  EXPECT_EQ(allocate(f, 0, 40'960), error_code::ok) << "it has that already";
  EXPECT_EQ(truncate(g, 1 << 30), error_code::ok) << "a hole is free";
  EXPECT_EQ(allocate(f, 0, 4096, 3), error_code::ok);
  EXPECT_EQ(put(g, 1 << 29, 1), error_code::ok);
  EXPECT_EQ(get_user(ann), "bytes=40960 inodes=0 used_bytes=40960 used_inodes=2");
  EXPECT_EQ(truncate(f, 5000), error_code::ok);
  EXPECT_EQ(put(g, 0, 28'672), error_code::ok);
  EXPECT_EQ(put(g, 28'672, 1), error_code::ok);
  EXPECT_EQ(put(g, 32'768, 1), error_code::quota);
}

// The owner of a file pays, not who writes; root writes what it likes, but not with other's pages.
TEST_F(Quota, TheOwnerPaysAndRootIsNotLimited) {
  EXPECT_EQ(set_user(ann, "bytes=8192"), error_code::ok);
  const std::uint64_t f = file(root_inode, "f", user(ann));
  EXPECT_EQ(put(f, 0, 20'000, user(ben)), error_code::quota);
  EXPECT_EQ(put(f, 0, 20'000, {}, write_flag::of_pages), error_code::quota);
  EXPECT_EQ(put(f, 0, 10, {}, write_flag::of_pages), error_code::ok);
  EXPECT_EQ(put(f, 0, 20'000, {}), error_code::ok);
  EXPECT_EQ(put(f, 0, 20'000, user(ann)), error_code::ok) << "nothing new";
  EXPECT_EQ(put(f, 20'480, 1, user(ann)), error_code::quota);
  EXPECT_EQ(put(file(root_inode, "g", user(ann)), 0, 10, {}, write_flag::of_pages),
            error_code::quota);
}

TEST_F(Quota, ANewOwnerMustHaveTheRoom) {
  EXPECT_EQ(set_group(crew + 1, "bytes=8192"), error_code::ok);
  EXPECT_EQ(set_user(ben, "inodes=1"), error_code::ok);
  const std::uint64_t f = file(root_inode, "f", user(ann));
  const std::uint64_t g = file(root_inode, "g", user(ann));
  put(f, 0, 10'000), put(g, 0, 10);
  credential both = user(ann);
  both.group_count = 1, both.groups[0] = crew + 1;
  EXPECT_EQ(chown(f, set_attr::gid, crew + 1, both), error_code::quota);
  EXPECT_EQ(chown(g, set_attr::gid, crew + 1, both), error_code::ok);
  EXPECT_EQ(stat(f).gid, crew);
  credential other = both;
  other.powers = power::chown;
  EXPECT_EQ(chown(f, set_attr::uid, ben, other), error_code::ok);
  EXPECT_EQ(chown(g, set_attr::uid, ben, other), error_code::quota);
  EXPECT_EQ(chown(g, set_attr::uid, ben, {}), error_code::ok) << "by root";
  EXPECT_EQ(chown(g, set_attr::uid, ann, {}), error_code::ok);
}

TEST_F(Quota, CopiesAndZeroesAreAskedFor) {
  EXPECT_EQ(set_user(ann, "bytes=40960"), error_code::ok);
  const std::uint64_t f = file(root_inode, "f", user(ben)), g = file(root_inode, "g", user(ann));
  put(f, 0, 100'000, user(ben));
  const auto copy = [&](std::uint64_t size) {
    return call(opcode::copy_range, copy_call{user(ann), f, 0, 0, g, 0, 0, size})->status;
  };
  EXPECT_EQ(copy(40'961), error_code::quota);
  EXPECT_EQ(stat(g).size, 0u);
  EXPECT_EQ(copy(40'960), error_code::ok);
  EXPECT_EQ(copy(40'960), error_code::ok);
  EXPECT_EQ(allocate(g, 40'960, 4096, 16), error_code::quota);
  EXPECT_EQ(allocate(g, 0, 40'960, 16), error_code::ok);
}

// Room that is allowed and not yet taken counts.
TEST_F(Quota, WritesAtTheSameTimeDoNotPassTheLimitTogether) {
  EXPECT_EQ(set_user(ann, "bytes=131072"), error_code::ok);
  std::vector<call_ptr> calls;
  const std::string data(40'960, 'x');
  for (int i = 0; i < 8; ++i) {
    const std::uint64_t f = file(root_inode, "f" + std::to_string(i), user(ann));
    calls.push_back(prepare(alice_, opcode::write, write_call{user(ann), f, 0, 0, 40'960, 0}, data,
                            0, static_cast<std::uint16_t>(i)));
  }
  for (const call_ptr& c : calls) volume_->execute(*c);
  settle();
  EXPECT_EQ(std::count_if(calls.begin(), calls.end(),
                          [](const call_ptr& c) { return c->status == error_code::ok; }),
            3);
  EXPECT_EQ(get_user(ann), "bytes=131072 inodes=0 used_bytes=122880 used_inodes=8");
  EXPECT_EQ(put(file(root_inode, "g", user(ann)), 0, 8192), error_code::ok) << "all given back";
}

TEST_F(Quota, AWriteThatFailedKeepsNoRoom) {
  EXPECT_EQ(set_user(ann, "bytes=40960"), error_code::ok);
  const std::uint64_t f = file(root_inode, "f", user(ann));
  objects_.fail_writes(error_code::no_space, 1);
  EXPECT_EQ(put(f, 0, 40'960), error_code::no_space);
  EXPECT_EQ(put(f, 0, 40'960), error_code::ok);
}

TEST_F(Quota, ATreeIsWhatIsMadeInIt) {
  const std::uint64_t d = mkdir(root_inode, "d");
  EXPECT_EQ(get_tree(d), "no_data");
  EXPECT_EQ(set_tree(d, "bytes=40960 inodes=4"), error_code::ok);
  const std::string root = " root=" + std::to_string(d);
  EXPECT_EQ(get_tree(d), "bytes=40960 inodes=4 used_bytes=4096 used_inodes=1" + root);
  const std::uint64_t e = mkdir(d, "e");
  const std::uint64_t f = create(e, "f");
  EXPECT_EQ(put(f, 0, 32'768, {}), error_code::ok);
  EXPECT_EQ(get_tree(f), "bytes=40960 inodes=4 used_bytes=40960 used_inodes=3" + root);
  EXPECT_EQ(put(f, 32'768, 1, {}), error_code::quota) << "root, too";
  EXPECT_EQ(make(opcode::symlink, d, "s", {}, "to")->status, error_code::ok);
  EXPECT_EQ(make(opcode::mknod, d, "n", {})->status, error_code::quota);
  EXPECT_EQ(make(opcode::mknod, root_inode, "n", {})->status, error_code::ok);
  EXPECT_EQ(unlink(e, "f"), error_code::ok);
  EXPECT_EQ(get_tree(d), "bytes=40960 inodes=4 used_bytes=8192 used_inodes=3" + root);
  EXPECT_EQ(set_tree(d, "inodes=3"), error_code::ok);
  EXPECT_EQ(get_tree(d), "bytes=40960 inodes=3 used_bytes=8192 used_inodes=3" + root);
  EXPECT_EQ(clear(d, "system.tangelo.quota"), error_code::ok);
  EXPECT_EQ(get_tree(d), "no_data");
  EXPECT_EQ(clear(d, "system.tangelo.quota"), error_code::no_data);
  create(e, "f");
  EXPECT_EQ(set_tree(d, "inodes=9"), error_code::ok);
  let_it_count();
  EXPECT_EQ(get_tree(d), "bytes=0 inodes=9 used_bytes=8192 used_inodes=4" + root);
}

TEST_F(Quota, NamesDoNotCrossATreesBorder) {
  const std::uint64_t d = mkdir(root_inode, "d"), x = mkdir(root_inode, "x");
  EXPECT_EQ(set_tree(d, "inodes=100"), error_code::ok);
  const std::uint64_t e = mkdir(d, "e"), f = create(d, "f"), g = create(root_inode, "g");
  EXPECT_EQ(rename(d, "f", root_inode, "f"), error_code::cross_device);
  EXPECT_EQ(rename(root_inode, "g", d, "g"), error_code::cross_device);
  EXPECT_EQ(rename(root_inode, "x", e, "x"), error_code::cross_device);
  EXPECT_EQ(rename(d, "e", x, "e"), error_code::cross_device);
  EXPECT_EQ(rename(d, "f", root_inode, "g", 2), error_code::cross_device);
  EXPECT_EQ(link(f, root_inode, "h"), error_code::cross_device);
  EXPECT_EQ(link(g, e, "h"), error_code::cross_device);
  EXPECT_EQ(rename(d, "f", e, "f"), error_code::ok);
  EXPECT_EQ(link(f, d, "h"), error_code::ok);
  EXPECT_EQ(rename(root_inode, "g", x, "g"), error_code::ok);
  // The whole of it moves, but not into another one.
  EXPECT_EQ(rename(root_inode, "d", x, "d"), error_code::ok);
  EXPECT_EQ(rename(x, "d", root_inode, "d"), error_code::ok);
  EXPECT_EQ(set_tree(x, "inodes=100"), error_code::ok);
  EXPECT_EQ(rename(root_inode, "d", x, "d"), error_code::cross_device);
}

TEST_F(Quota, TreesAreNotNested) {
  const std::uint64_t a = mkdir(root_inode, "a"), b = mkdir(a, "b"), c = mkdir(b, "c");
  EXPECT_EQ(set_tree(b, "inodes=9"), error_code::ok);
  EXPECT_EQ(set_tree(a, "inodes=9"), error_code::invalid);
  EXPECT_EQ(set_tree(c, "inodes=9"), error_code::invalid) << "also while b is being made";
  let_it_count();
  EXPECT_EQ(set_tree(a, "inodes=9"), error_code::invalid);
  EXPECT_EQ(set_tree(c, "inodes=9"), error_code::invalid);
  EXPECT_EQ(set_tree(root_inode, "inodes=9"), error_code::invalid);
  EXPECT_EQ(clear(b, "system.tangelo.quota"), error_code::ok);
  EXPECT_EQ(set_tree(a, "inodes=9"), error_code::ok);
  EXPECT_EQ(set_tree(create(root_inode, "f"), "inodes=9"), error_code::invalid);
}

TEST_F(Quota, WhatIsInADirectoryBecomesItsTree) {
  const std::uint64_t d = mkdir(root_inode, "d"), e = mkdir(d, "e");
  for (int i = 0; i < 600; ++i) create(i % 2 != 0 ? e : d, "f" + std::to_string(i));
  const std::uint64_t f = find(d, "f0");
  EXPECT_EQ(link(f, root_inode, "also"), error_code::ok);
  const call_ptr made_it = begin(alice_, opcode::setxattr,
                                 xattr_call{{}, d, 0, 8, "system.tangelo.quota"}, "inodes=5");
  committer_->set_delay_ns(2 * ns_per_ms);
  time_.advance(3 * ns_per_ms);
  const call_ptr now = begin(alice_, opcode::getxattr,
                             xattr_call{{}, d, 0, 100, "system.tangelo.quota"}, {}, 100);
  EXPECT_TRUE(now->text().ends_with("state=counting")) << now->text();
  const call_ptr more = begin(alice_, opcode::mknod, made(d, "new", 0644));
  let_it_count();
  EXPECT_EQ(more->status, error_code::ok) << "no limit yet";
  EXPECT_EQ(made_it->status, error_code::ok);
  EXPECT_EQ(get_tree(d), "bytes=0 inodes=5 used_bytes=8192 used_inodes=603 root=" +
                             std::to_string(d));
  EXPECT_EQ(make(opcode::mknod, e, "newer", {})->status, error_code::quota);
  // What has a name elsewhere may be moved there.
  EXPECT_EQ(rename(root_inode, "also", root_inode, "too"), error_code::ok);
  EXPECT_EQ(unlink(d, "f0"), error_code::ok);
}

// With names that move at every step of the count, and power cuts, everything is told in the end.
TEST_F(Quota, WhatMovesWhileATreeIsMadeIsCounted) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    prng random(seed);
    early_ = false;
    const std::string top = "top" + std::to_string(seed);
    const std::uint64_t d = mkdir(root_inode, top);
    std::vector<std::uint64_t> dirs{d};
    for (int i = 0; i < 12; ++i)
      dirs.push_back(mkdir(dirs[random.below(dirs.size())], "d" + std::to_string(i)));
    for (int i = 0; i < 40; ++i)
      create(dirs[random.below(dirs.size())], "f" + std::to_string(i));
    const std::uint64_t outside = mkdir(root_inode, top + "x");
    (void)begin(alice_, opcode::setxattr, xattr_call{{}, d, 0, 10, "system.tangelo.quota"},
                "inodes=500");
    early_ = true;
    committer_->set_delay_ns(2 * ns_per_ms);
    for (int i = 0; i < 60; ++i) {
      const std::uint64_t from = dirs[random.below(dirs.size())];
      const std::uint64_t to = dirs[random.below(dirs.size())];
      const bool directory = random.below(2) == 0;
      const std::string name = (directory ? "d" : "f") +
                               std::to_string(random.below(directory ? 12 : 40));
      const call_ptr c =
          begin(alice_, opcode::rename, rename_call{{}, from, to, 0, name, name});
      time_.advance(random.below(300) * ns_per_us);
      settle_call(*c);
      EXPECT_NE(c->status, error_code::cross_device) << "within the tree, seed " << seed;
      if (random.below(20) != 0) continue;
      power_cut(random.below(4), true);
      committer_->set_delay_ns(2 * ns_per_ms);
      volume_->recovery_ended();
    }
    EXPECT_NE(rename(d, "d0", outside, "d0"), error_code::io);
    let_it_count();
    const std::string text = get_tree(d);
    if (text == "no_data") continue;  // cut away
    std::size_t count = 0;
    count_below(d, count);
    EXPECT_NE(text.find(" used_inodes=" + std::to_string(count) + " "), std::string::npos)
        << text << ", there are " << count << ", seed " << seed;
    expect_right();
  }
}

TEST_F(Quota, ARemovedTopIsForgottenWithItsTree) {
  const std::uint64_t d = mkdir(root_inode, "d");
  EXPECT_EQ(set_tree(d, "inodes=9"), error_code::ok);
  const std::uint64_t f = create(d, "f");
  EXPECT_EQ(open(alice_, f, 7), error_code::ok);
  EXPECT_EQ(unlink(d, "f"), error_code::ok);
  EXPECT_NE(get(root_inode, "system.tangelo.quotas").find("tree "), std::string::npos);
  EXPECT_EQ(unlink(root_inode, "d", opcode::rmdir), error_code::ok);
  EXPECT_EQ(get(root_inode, "system.tangelo.quotas").find("tree "), std::string::npos);
  EXPECT_EQ(put(f, 0, 100'000), error_code::ok);
}

TEST_F(Quota, OnlyRootSetsThemAndTheyAreNotListed) {
  const std::uint64_t d = directory_of(root_inode, "d", user(ann));
  EXPECT_EQ(set(d, "system.tangelo.quota", "inodes=9", user(ann)), error_code::not_permitted);
  EXPECT_EQ(set(root_inode, "system.tangelo.quota.user.1000", "inodes=9", user(ann)),
            error_code::not_permitted);
  EXPECT_EQ(set_tree(d, "inodes=9"), error_code::ok);
  EXPECT_EQ(clear(d, "system.tangelo.quota", user(ann)), error_code::not_permitted);
  EXPECT_NE(get(d, "system.tangelo.quota", user(ben)), "not_permitted");
  EXPECT_NE(get(root_inode, "system.tangelo.quota.user.1000", user(ann)), "not_permitted");
  EXPECT_NE(get(root_inode, "system.tangelo.quota.group.2000", user(ann)), "not_permitted");
  EXPECT_EQ(get(root_inode, "system.tangelo.quota.user.1000", user(ben)), "not_permitted");
  EXPECT_EQ(get(root_inode, "system.tangelo.quota.group.0", user(ben)), "not_permitted");
  EXPECT_EQ(get(root_inode, "system.tangelo.quotas", user(ann)), "not_permitted");
  EXPECT_EQ(call(opcode::listxattr, inode_call{{}, d, 0, 0})->answered<size_answer>().size, 0u);
  EXPECT_EQ(set_user(ann, "inodes=x"), error_code::invalid);
  EXPECT_EQ(set_user(ann, "inodes"), error_code::invalid);
  EXPECT_EQ(set_user(ann, "blocks=1"), error_code::invalid);
  EXPECT_EQ(set_user(ann, ""), error_code::invalid);
  EXPECT_EQ(set(root_inode, "system.tangelo.quota.user.x", "inodes=1"), error_code::not_supported);
  EXPECT_EQ(set(root_inode, "system.tangelo.quotas", "inodes=1"), error_code::not_supported);
  EXPECT_EQ(set(d, "system.tangelo.quota.user.1000", "inodes=1"), error_code::invalid);
  EXPECT_EQ(set(root_inode, "system.tangelo.quota.user.5", "inodes=1", {}, XATTR_REPLACE),
            error_code::no_data);
  EXPECT_EQ(set(root_inode, "system.tangelo.quota.user.5", "inodes=1", {}, XATTR_CREATE),
            error_code::ok);
  EXPECT_EQ(set(root_inode, "system.tangelo.quota.user.5", "inodes=1", {}, XATTR_CREATE),
            error_code::exists);
  EXPECT_EQ(clear(root_inode, "system.tangelo.quota.user.5"), error_code::ok);
  EXPECT_EQ(clear(root_inode, "system.tangelo.quota.user.5"), error_code::no_data);
}

TEST_F(Quota, TheListIsReadInPages) {
  for (std::uint32_t uid = 5000; uid < 5600; ++uid)
    EXPECT_EQ(set_user(uid, "bytes=18446744073709551615 inodes=18446744073709551615"),
              error_code::ok);
  std::string name = "system.tangelo.quotas", all;
  for (int page = 0;; ++page) {
    ASSERT_LT(page, 9);
    const std::string text = get(root_inode, name);
    if (text.empty()) break;
    all += text;
    std::string last = text.substr(text.rfind('\n', text.size() - 2) + 1);
    last = last.substr(0, last.find(' ', last.find(' ') + 1));
    last[last.find(' ')] = '.';
    name = "system.tangelo.quotas." + last;
  }
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 602) << "root and its group, too";
}

TEST_F(Quota, StatfsInATreeShowsItsRoom) {
  const std::uint64_t d = mkdir(root_inode, "d");
  const std::uint64_t blocks = call(opcode::statfs, inode_call{{}, d, 0, 0})
                                   ->answered<statfs_answer>().blocks;
  EXPECT_EQ(set_tree(d, "bytes=409600 inodes=7"), error_code::ok);
  put(create(d, "f"), 0, 10'000, {});
  const auto a = call(opcode::statfs, inode_call{{}, d, 0, 0})->answered<statfs_answer>();
  EXPECT_EQ(a.blocks, 100u);
  EXPECT_EQ(a.blocks_free, 96u);
  EXPECT_EQ(a.blocks_available, 96u);
  EXPECT_EQ(a.files, 7u);
  EXPECT_EQ(a.files_free, 5u);
  EXPECT_EQ(call(opcode::statfs, inode_call{{}, root_inode, 0, 0})
                ->answered<statfs_answer>().blocks, blocks);
}

// What was answered is made again, whatever the limits say to it by then.
TEST_F(Quota, AReplayIsNotRefused) {
  const std::uint64_t f = file(root_inode, "f", user(ann));
  EXPECT_EQ(set_user(ann, "inodes=1 bytes=4096"), error_code::ok);
  early_ = true;
  const std::string data(60'000, 'x');
  const std::vector<call_ptr> told{
      begin(alice_, opcode::mknod, made(root_inode, "b", 0644)),
      begin(alice_, opcode::write, write_call{{}, f, 0, 0, 60'000, 0}, data),
      begin(alice_, opcode::fallocate, space_call{{}, f, 0, 90'000, 10, 1})};
  time_.advance(ns_per_ms);
  for (const call_ptr& c : told) ASSERT_EQ(c->status, error_code::ok);
  power_cut();
  ASSERT_EQ(find(root_inode, "b"), 0u) << "it was durable";
  // Root could do it; now it is asked for by somebody who could not.
  const auto again = [this](test_call& c, auto body) {
    body.who = user(ann);
    EXPECT_EQ(encode(body, c.body_bytes), c.body.size());
    EXPECT_EQ(replay(c)->status, error_code::ok) << name_of(c.op);
  };
  again(*told[0], *decode<make_call>(told[0]->body));
  again(*told[1], *decode<write_call>(told[1]->body));
  again(*told[2], *decode<space_call>(told[2]->body));
  EXPECT_EQ(get_user(ann), "bytes=4096 inodes=1 used_bytes=65536 used_inodes=2");
  volume_->recovery_ended();
  settle();
}

TEST_F(Quota, LimitsAndUsageSurvive) {
  EXPECT_EQ(set_user(ann, "bytes=40960"), error_code::ok);
  const std::uint64_t d = directory_of(root_inode, "d", user(ann));
  EXPECT_EQ(set_tree(d, "bytes=81920"), error_code::ok);
  const std::uint64_t f = file(d, "f", user(ann));
  EXPECT_EQ(put(f, 0, 30'000), error_code::ok) << "and the directory itself";
  const std::string of_ann = get_user(ann), of_tree = get_tree(d);
  const auto limits = [&] {
    EXPECT_EQ(get_user(ann), of_ann);
    EXPECT_EQ(get_tree(d), of_tree);
    EXPECT_EQ(put(f, 0, 45'000), error_code::quota);
  };
  power_cut();
  volume_->recovery_ended();
  limits();
  // A store that an older server has used, or made, is counted at its next start.
  crash();
  kv_batch b;
  b.remove(column::meta, std::string(meta_counted));
  b.put(column::quotas, saved_key({quota_kind::user, ann}),
        packed(saved_quota{.bytes_max = 40'960, .blocks = 7, .inodes = 77}));
  b.remove(column::quotas, saved_key({quota_kind::group, 0}));
  EXPECT_EQ(kv_.write(b), error_code::ok);
  start();
  volume_->recovery_ended();
  limits();
}

// After a power cut at any of many moments usage is what a walk finds.
TEST_F(Quota, UsageIsRightAfterAnyPowerCut) {
  prng random(7);
  const std::uint64_t d = mkdir(root_inode, "d");
  EXPECT_EQ(set_tree(d, "bytes=1000000 inodes=30"), error_code::ok);
  EXPECT_EQ(set_user(ann, "bytes=500000"), error_code::ok);
  early_ = true;
  for (int i = 0; i < 600; ++i) {
    const std::string name = "f" + std::to_string(random.below(12));
    const std::uint64_t parent = random.below(2) == 0 ? d : root_inode;
    const std::uint64_t f = find(parent, name);
    const credential who = user(random.below(2) == 0 ? ann : ben);
    make_call m = made(parent, name, 0666);
    m.who = who;
    const std::uint64_t what = random.below(8);
    const std::string data(1 + random.below(90'000), 'y');
    const std::uint64_t at = random.below(100'000);
    if (f == 0)
      (void)begin(alice_, opcode::mknod, m);
    else if (what == 0)
      (void)begin(alice_, opcode::unlink, name_call{{}, parent, name});
    else if (what < 4)
      (void)begin(alice_, opcode::write,
                  write_call{{}, f, 0, at, static_cast<std::uint32_t>(data.size()), 0}, data);
    else if (what == 4)
      (void)truncate(f, at);
    else if (what == 5)
      (void)chown(f, set_attr::uid, who.uid, {});
    else if (what == 6)
      (void)allocate(f, at, data.size(), random.below(2) == 0 ? 3 : 1);
    else
      (void)rename(parent, name, random.below(2) == 0 ? d : root_inode, "f0");
    time_.advance(random.below(3) * ns_per_ms);
    if (random.below(12) != 0) continue;
    power_cut(random.below(5), random.below(2) == 0);
    expect_right();
    volume_->recovery_ended();
    settle();
    expect_right();
    range(alice_);
  }
}

}  // namespace
}  // namespace tangelo::testing_volume
