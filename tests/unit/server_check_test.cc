// check: a store broken in each way is found, mended, and clean afterwards.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "server/block_guards.h"
#include "server/check.h"
#include "server/mem_kv.h"
#include "server/object_files.h"
#include "server/quotas.h"
#include "server/records.h"
#include "server/volume.h"

namespace tangelo {
namespace {

// /d (2) with /d/e (3) in it, the files /f (4: small) and /d/g (5: an object), /f again as /d/h.
class Check : public ::testing::Test {
 protected:
  Check() {
    char name[] = "/tmp/tangelo-check-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    EXPECT_EQ(volume::format(kv_, 0, 0, 1), error_code::ok);
    inode(1, S_IFDIR | 0755, 3, 1);
    inode(2, S_IFDIR | 0755, 3, 1);
    inode(3, S_IFDIR | 0755, 2, 2);
    inode(4, S_IFREG | 0644, 2, 0, 5);
    inode(5, S_IFREG | 0644, 1, 0, 100'000, inode_flag::object, 200);
    put(column::inline_data, key_of(4), "small");
    object(5, 100'000);
    entry(1, "d", 2, 4), entry(1, "f", 4, 8), entry(2, "e", 3, 4), entry(2, "g", 5, 8);
    entry(2, "h", 4, 8);
    put(column::meta, std::string(meta_boot), key_of(1));
    put(column::meta, std::string(meta_next_inode), key_of(10));
    put(column::clients, std::string(16, 'c'), packed(saved_client{1, 1, 7}));
    put(column::clients, std::string(16, 'c') + key_of(4), packed(saved_range{1, 7, 6}));
  }
  ~Check() override { std::filesystem::remove_all(directory_); }

  void put(column c, std::string key, std::string value) {
    kv_batch b;
    b.put(c, std::move(key), std::move(value));
    ASSERT_EQ(kv_.write(b), error_code::ok);
  }
  void remove(column c, std::string key) {
    kv_batch b;
    b.remove(c, std::move(key));
    ASSERT_EQ(kv_.write(b), error_code::ok);
  }
  void inode(std::uint64_t n, std::uint32_t mode, std::uint32_t links, std::uint64_t parent,
             std::uint64_t size = 4096, std::uint32_t flags = 0, std::uint64_t blocks = 8) {
    inode_record r;
    r.mode = mode, r.link_count = links, r.parent = parent, r.size = size;
    r.flags = flags, r.blocks = blocks, r.change = (1ull << 32) + n;
    put(column::inodes, key_of(n), packed(r));
  }
  void entry(std::uint64_t parent, std::string_view name, std::uint64_t n, std::uint8_t type) {
    const std::uint64_t cookie = (1ull << 32) + ++cookies_;
    put(column::dirents, key_of(parent, name), packed(dirent_record{1, type, n, cookie}));
    put(column::cookies, key_of(parent, cookie), packed(cookie_record{1, type, n, name}));
  }
  std::string path(std::uint64_t n) { return directory_ + "/" + object_files::path_of(n); }
  void object(std::uint64_t n, std::size_t size) {
    std::filesystem::create_directories(directory_ + "/" + object_files::directory_of(n));
    std::ofstream(path(n), std::ios::binary) << std::string(size, 'x');
  }
  check_report check(bool repair) {
    check_options o;
    o.metadata = "metadata", o.objects = directory_, o.repair = repair;
    o.progress = [this](const volume_progress& p) { progress_.push_back(p); };
    const outcome<check_report> r = check_store(kv_, o);
    EXPECT_TRUE(r.has_value()) << r.error().text;
    return *r;
  }
  // It is found as `kind`, mended, and then there is nothing any more.
  void expect(finding_kind kind, finding_level level = finding_level::damage) {
    const check_report before = check(false);
    EXPECT_TRUE(std::any_of(before.findings.begin(), before.findings.end(),
                            [&](const finding& f) { return f.kind == kind && f.level == level; }))
        << name_of(kind) << "\n" << check_text("v", before, false);
    const check_report mended = check(true);
    EXPECT_EQ(mended.not_mended, 0u) << check_text("v", mended, true);
    const check_report after = check(false);
    EXPECT_EQ(after.damages + after.leftovers, 0u) << check_text("v", after, false);
  }
  std::uint64_t target(std::uint64_t parent, std::string_view name) {
    std::string raw;
    if (kv_.get(column::dirents, key_of(parent, name), raw, read_mode::blocking) !=
        kv_status::found)
      return 0;
    return unpacked<dirent_record>(raw)->inode;
  }

  mem_kv kv_;
  std::string directory_;
  std::uint64_t cookies_ = 0;
  std::vector<volume_progress> progress_;
};

TEST_F(Check, SaysHowFarItIsOfItsParts) {
  for (std::uint64_t n = 0; n < 3000; ++n)
    put(column::xattrs, key_of(5, "user." + std::to_string(n)), "x");
  (void)check(false);
  ASSERT_GE(progress_.size(), 3u);
  std::uint64_t before = 0;
  for (const volume_progress& p : progress_) {
    EXPECT_GE(p.done, before);
    EXPECT_LT(p.done, p.total);
    before = p.done;
  }
  EXPECT_EQ(before + 1, progress_.back().total);
  EXPECT_TRUE(progress_[0].what.starts_with("xattrs, 1024 records")) << progress_[0].what;
}

TEST_F(Check, FindsNothingInAWholeStore) {
  const check_report r = check(false);
  EXPECT_EQ(r.damages + r.leftovers, 0u) << check_text("v", r, false);
  EXPECT_EQ(r.inodes, 5u);
  EXPECT_EQ(r.entries, 5u);
  EXPECT_EQ(r.objects, 1u);
  const std::uint64_t written = kv_.written();
  (void)check(true);
  EXPECT_EQ(kv_.written(), written);
}

TEST_F(Check, ChangesNothingWithoutRepair) {
  inode(4, S_IFREG | 0644, 9, 0, 5);
  remove(column::dirents, key_of(2, "e"));
  const std::uint64_t written = kv_.written();
  EXPECT_GE(check(false).damages, 2u);
  EXPECT_EQ(kv_.written(), written);
}

// As a server leaves it: counted in its boot.
TEST_F(Check, UsageThatIsCountedWrongly) {
  put(column::meta, std::string(meta_counted), key_of(1));
  put(column::quotas, saved_key({quota_kind::user, 0}),
      packed(saved_quota{.bytes_max = 1 << 20, .blocks = 232, .inodes = 5}));
  put(column::quotas, saved_key({quota_kind::group, 0}),
      packed(saved_quota{.blocks = 232, .inodes = 5}));
  EXPECT_EQ(check(false).damages, 0u) << check_text("v", check(false), false);
  put(column::quotas, saved_key({quota_kind::user, 0}),
      packed(saved_quota{.bytes_max = 1 << 20, .blocks = 240, .inodes = 5}));
  put(column::quotas, saved_key({quota_kind::user, 9}), packed(saved_quota{.inodes = 1}));
  EXPECT_EQ(check(false).damages, 2u);
  expect(finding_kind::quota);
  quota_table now;
  ASSERT_TRUE(now.load(kv_));
  const saved_quota* q = now.find({quota_kind::user, 0});
  ASSERT_NE(q, nullptr);
  EXPECT_EQ(q->blocks, 232u);
  EXPECT_EQ(q->bytes_max, 1u << 20) << "the limit stays";
}
TEST_F(Check, QuotaRecordThatMakesNoSense) {
  put(column::quotas, "\x01short", "x");
  expect(finding_kind::quota);
}
TEST_F(Check, TreeWithoutItsTop) {
  put(column::quotas, saved_key({quota_kind::tree, 77}), packed(saved_quota{.root = 5}));
  expect(finding_kind::quota);
}

TEST_F(Check, LinkCount) {
  inode(4, S_IFREG | 0644, 1, 0, 5);
  expect(finding_kind::link_count);
}
TEST_F(Check, LinkCountOfADirectory) {
  inode(2, S_IFDIR | 0755, 2, 1);
  expect(finding_kind::link_count);
}
TEST_F(Check, LinkCountOfTheRoot) {
  inode(1, S_IFDIR | 0755, 7, 1);
  expect(finding_kind::link_count);
}
TEST_F(Check, Parent) {
  inode(3, S_IFDIR | 0755, 2, 1);
  expect(finding_kind::parent);
}
TEST_F(Check, InodeThatCannotBeReadKeepsItsData) {
  put(column::inodes, key_of(5), "\x09nonsense");
  expect(finding_kind::inode);
  EXPECT_EQ(target(2, "g"), 5u);
  std::string raw;
  ASSERT_EQ(kv_.get(column::inodes, key_of(5), raw, read_mode::blocking), kv_status::found);
  EXPECT_EQ(unpacked<inode_record>(raw)->size, 100'000u);
}
TEST_F(Check, DirectoryThatCannotBeReadKeepsItsNames) {
  put(column::inodes, key_of(2), "");
  expect(finding_kind::inode);
  EXPECT_EQ(target(2, "g"), 5u);
}
TEST_F(Check, MissingInode) {
  remove(column::inodes, key_of(3));
  expect(finding_kind::entry);
  EXPECT_EQ(target(2, "e"), 0u);
}
TEST_F(Check, MissingRoot) {
  remove(column::inodes, key_of(1));
  expect(finding_kind::inode);
  EXPECT_EQ(target(1, "d"), 2u);
}
TEST_F(Check, EntryThatCannotBeReadIsRestored) {
  put(column::dirents, key_of(1, "d"), "x");
  expect(finding_kind::entry);
  EXPECT_EQ(target(1, "d"), 2u);
}
TEST_F(Check, MissingEntryIsRestored) {
  remove(column::dirents, key_of(2, "g"));
  expect(finding_kind::listing);
  EXPECT_EQ(target(2, "g"), 5u);
}
TEST_F(Check, MissingInTheListing) {
  remove(column::cookies, key_of(1, (1ull << 32) + 1));
  expect(finding_kind::listing);
}
TEST_F(Check, ListedUnderAnotherName) {
  put(column::cookies, key_of(1, (1ull << 32) + 1), packed(cookie_record{1, 4, 2, "other"}));
  expect(finding_kind::listing);
}
TEST_F(Check, UnreachableFileIsFound) {
  inode(6, S_IFREG | 0644, 1, 0, 0);
  expect(finding_kind::unreachable);
  EXPECT_EQ(target(target(1, "lost+found"), "#6"), 6u);
}
TEST_F(Check, UnreachableDirectoryIsFoundWithAllInIt) {
  remove(column::dirents, key_of(1, "d"));
  remove(column::cookies, key_of(1, (1ull << 32) + 1));
  expect(finding_kind::unreachable);
  EXPECT_EQ(target(target(1, "lost+found"), "#2"), 2u);
  EXPECT_EQ(target(2, "g"), 5u);
}
TEST_F(Check, RingOfDirectories) {
  inode(6, S_IFDIR | 0755, 3, 7);
  inode(7, S_IFDIR | 0755, 3, 6);
  entry(6, "a", 7, 4), entry(7, "b", 6, 4);
  expect(finding_kind::unreachable);
}
TEST_F(Check, SecondNameOfADirectory) {
  entry(1, "again", 3, 4);
  expect(finding_kind::entry);
}
TEST_F(Check, TypeOfAnEntry) {
  entry(1, "f", 4, 10);
  expect(finding_kind::entry);
}
TEST_F(Check, Orphans) {
  inode(6, S_IFREG | 0644, 0, 0, 0);
  put(column::orphans, key_of(6), "");
  EXPECT_EQ(check(false).damages, 0u);
  remove(column::orphans, key_of(6));
  expect(finding_kind::orphan);
  put(column::orphans, key_of(99), "");
  expect(finding_kind::orphan);
  put(column::orphans, key_of(4), "");
  expect(finding_kind::orphan);
}
TEST_F(Check, Attributes) {
  put(column::xattrs, key_of(99, "user.a"), "1");
  expect(finding_kind::xattr);
  put(column::xattrs, key_of(4, "user.a"), "1");
  expect(finding_kind::xattr);
}
TEST_F(Check, SmallData) {
  put(column::inline_data, key_of(4), "too long");
  expect(finding_kind::small_data);
  put(column::inline_data, key_of(99), "of nobody");
  expect(finding_kind::small_data);
  put(column::inline_data, key_of(5), "old");
  expect(finding_kind::small_data);
}
TEST_F(Check, LinkWithoutTarget) {
  inode(6, S_IFLNK | 0777, 1, 0, 3);
  entry(1, "l", 6, 10);
  expect(finding_kind::small_data);
}
TEST_F(Check, MissingObject) {
  std::filesystem::remove(path(5));
  expect(finding_kind::data_missing);
}
// Of a block of inode 5, or another.
std::string guard_record(std::uint64_t inode, std::uint64_t block) {
  guard_group g;
  g.application = application_tag_of(inode);
  g.reference = reference_tag_of(block / guard_group_blocks * guard_group_blocks * 4096);
  g.present = std::uint64_t{1} << block % guard_group_blocks;
  g.guards[block % guard_group_blocks] = 4711;
  return packed(g);
}
TEST_F(Check, MissingObjectTakesItsGuardsAlong) {
  put(column::protection, guard_key(5, 3), guard_record(5, 3));
  std::filesystem::remove(path(5));
  expect(finding_kind::data_missing);
  std::string value;
  EXPECT_EQ(kv_.get(column::protection, guard_key(5, 3), value, read_mode::blocking),
            kv_status::absent) << "it reads as zeros, as was said";
}
TEST_F(Check, AnObjectThatIsCutIsDamageThatNothingMends) {
  put(column::protection, guard_key(5, 3), guard_record(5, 3));
  EXPECT_EQ(check(false).damages, 0u);
  std::filesystem::resize_file(path(5), 3 * 4096);
  EXPECT_EQ(check(false).damages, 1u);
  EXPECT_EQ(check(true).not_mended, 1u);
  EXPECT_EQ(check(false).damages, 1u);
}
TEST_F(Check, GuardsOfNoBlockAreALeftover) {
  put(column::protection, guard_key(5, 64), guard_record(5, 64));  // behind its end
  expect(finding_kind::guard, finding_level::leftover);
  put(column::protection, guard_key(99, 0), guard_record(99, 0));
  expect(finding_kind::guard, finding_level::leftover);
  put(column::protection, guard_key(5, 0), guard_record(4, 0));
  expect(finding_kind::guard, finding_level::leftover);
}
TEST_F(Check, StrayObjectIsALeftover) {
  object(77, 10);
  expect(finding_kind::stray_object, finding_level::leftover);
  EXPECT_FALSE(std::filesystem::exists(path(77)));
  EXPECT_TRUE(std::filesystem::exists(path(5)));
}
TEST_F(Check, BlocksAreALeftover) {
  inode(5, S_IFREG | 0644, 1, 0, 100'000, inode_flag::object, 20'000);
  expect(finding_kind::blocks, finding_level::leftover);
}
TEST_F(Check, WhatRedoWillDoCountsAsDone) {
  object(77, 10);
  put(column::redo, redo_key((1ull << 32) + 9, 0), packed(redo_record{1, redo_kind::remove, 9, 0}));
  std::filesystem::remove(path(5));
  put(column::redo, redo_key((1ull << 32) + 8, 0), packed(redo_record{1, redo_kind::write, 5, 0}));
  const check_report r = check(true);
  EXPECT_EQ(r.damages, 0u) << check_text("v", r, true);
}
TEST_F(Check, Redo) {
  put(column::redo, redo_key((1ull << 32) + 9, 0), "x");
  expect(finding_kind::redo);
}
TEST_F(Check, NextInode) {
  put(column::meta, std::string(meta_next_inode), key_of(3));
  expect(finding_kind::meta);
}
TEST_F(Check, MissingNumbers) {
  for (const std::string_view name : {meta_boot, meta_transno, meta_next_inode})
    remove(column::meta, std::string(name));
  expect(finding_kind::meta);
}
TEST_F(Check, BootGenerationOlderThanATransaction) {
  entry(1, "new", 4, 8);
  inode(4, S_IFREG | 0644, 3, 0, 5);
  put(column::meta, std::string(meta_boot), key_of(0));
  expect(finding_kind::meta);
}
TEST_F(Check, Clients) {
  put(column::clients, std::string(16, 'd'), "x");
  expect(finding_kind::client);
  put(column::clients, std::string(16, 'd') + key_of(50), packed(saved_range{1, 7, 6}));
  expect(finding_kind::client);
  put(column::clients, std::string(16, 'c') + key_of(5), packed(saved_range{1, 7, 6}));
  expect(finding_kind::client);
}
TEST_F(Check, Replies) {
  const saved_reply good{1, 7, 1, 1, static_cast<std::uint16_t>(opcode::mkdir), 0, 1ull << 32, {}};
  put(column::replies, std::string(16, 'c') + std::string("\0\1", 2), packed(good));
  EXPECT_EQ(check(false).damages, 0u);
  put(column::replies, std::string(16, 'c') + std::string("\0\2", 2), "x");
  expect(finding_kind::reply);
  put(column::replies, std::string(16, 'e') + std::string("\0\1", 2), packed(good));
  expect(finding_kind::reply);
}

}  // namespace
}  // namespace tangelo
