// scrub: what it finds in a store of one file, whose object is a real one.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/fd.h"
#include "server/block_guards.h"
#include "server/dirty_regions.h"
#include "server/mem_kv.h"
#include "server/object_files.h"
#include "server/scrub.h"

namespace tangelo {
namespace {

// One record of it cannot be read.
class damaged_kv final : public kv_store {
 public:
  kv_status get(column where, std::string_view key, std::string& value, read_mode mode) override {
    if (where == bad_in && key == bad_key) return kv_status::failed;
    return good.get(where, key, value, mode);
  }
  kv_status scan(column where, std::string_view from, std::string_view until, read_mode mode,
                 const visitor& visit) override {
    const bool meets = where == bad_in && from <= bad_key && bad_key < until;
    return meets ? kv_status::failed : good.scan(where, from, until, mode, visit);
  }
  error_code write(const kv_batch& batch) override { return good.write(batch); }
  error_code sync() override { return good.sync(); }

  mem_kv good;
  column bad_in{};
  std::string bad_key;
};

class Scrub : public ::testing::Test {
 protected:
  static constexpr std::uint64_t file = 42;
  static constexpr std::uint64_t small = 43;

  Scrub() {
    std::string name = ::testing::TempDir() + "scrub-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    data_.resize(3 * 4096 + 100);
    for (std::size_t i = 0; i < data_.size(); ++i) data_[i] = std::byte(i * 7 + i / 4096);
    EXPECT_EQ(objects().write(file, 0, data_), error_code::ok);
    kv_batch b;
    b.put(column::inodes, key_of(file), packed(record(data_.size(), inode_flag::object)));
    b.put(column::protection, key_of(file, 0), packed(guards_of(data_, file)));
    b.put(column::inodes, key_of(small), packed(record(5, 0)));
    b.put(column::inline_data, key_of(small), "hello");
    b.put(column::protection, key_of(small, 0), packed(guards_of(bytes_of("hello"), small)));
    EXPECT_EQ(kv_.write(b), error_code::ok);
  }
  ~Scrub() override { std::filesystem::remove_all(directory_); }

  object_files objects() const {
    return object_files(unique_fd(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY)));
  }
  static inode_record record(std::uint64_t size, std::uint32_t flags) {
    inode_record r;
    r.mode = S_IFREG | 0644;
    r.size = size;
    r.flags = flags;
    return r;
  }
  static guard_group guards_of(byte_span bytes, std::uint64_t inode) {
    protection_trailer t;
    protect(inode, 0, bytes, t);
    guard_group g;
    g.application = t.application;
    for (std::size_t i = 0; i < t.count; ++i) {
      g.guards[i] = t.guards[i];
      g.present |= std::uint64_t{1} << i;
    }
    return g;
  }
  void put(column where, std::string key, std::string value) {
    kv_batch b;
    b.put(where, std::move(key), std::move(value));
    EXPECT_EQ(kv_.write(b), error_code::ok);
  }
  void flip(std::size_t at) {
    const std::byte changed = data_[at] ^ std::byte{4};
    EXPECT_EQ(objects().write(file, at, {&changed, 1}), error_code::ok);
  }
  scrub_report scrub(bool protects = false) {
    scrub_options o;
    o.objects = directory_;
    o.protect = protects;
    o.progress = [this](const volume_progress& p) { progress_.push_back(p); };
    const outcome<scrub_report> r = scrub_store(kv_, o);
    EXPECT_TRUE(r.has_value());
    return r ? *r : scrub_report{};
  }
  bool has(column where, const std::string& key) {
    std::string value;
    return kv_.get(where, key, value, read_mode::blocking) == kv_status::found;
  }

  std::string directory_;
  std::vector<std::byte> data_;
  damaged_kv kv_;
  std::vector<volume_progress> progress_;
};

TEST_F(Scrub, AWellStoreIsClean) {
  const scrub_report r = scrub();
  EXPECT_TRUE(r.clean());
  EXPECT_EQ(r.files, 2u);
  EXPECT_EQ(r.bytes, data_.size() + 5);
  EXPECT_EQ(r.unguarded_blocks, 0u);
}

TEST_F(Scrub, SaysHowFarItIsOfAllBytes) {
  (void)scrub();
  ASSERT_GE(progress_.size(), 2u);
  std::uint64_t before = 0;
  for (const volume_progress& p : progress_) {
    EXPECT_GE(p.done, before);
    EXPECT_EQ(p.total, data_.size() + 5);
    before = p.done;
  }
  EXPECT_EQ(before, data_.size() + 5);
}

TEST(Progress, IsABarOnATerminalAndAShareElsewhere) {
  EXPECT_EQ(progress_bar({0, 0, "x"}), "[--------------------]   0%  x");
  EXPECT_EQ(progress_bar({3, 10, "3 MiB"}), "[######--------------]  30%  3 MiB");
  EXPECT_EQ(progress_bar({10, 10, "x"}), "[####################] 100%  x");
  EXPECT_EQ(progress_text({11, 10, "x"}), "100%  x");
  EXPECT_EQ(progress_text({UINT64_MAX / 2, UINT64_MAX, "x"}), " 50%  x");
}

TEST_F(Scrub, AFlippedBitIsFoundInWholeAndLastBlocks) {
  flip(4096 + 9);
  flip(3 * 4096 + 50);
  const scrub_report r = scrub();
  ASSERT_EQ(r.faults.size(), 2u);
  EXPECT_EQ(r.faults[0].inode, file);
  EXPECT_EQ(r.faults[0].block, 1u);
  EXPECT_EQ(r.faults[0].expected, guard_of(byte_span(data_).subspan(4096, 4096)));
  EXPECT_EQ(r.faults[1].block, 3u);
}

TEST_F(Scrub, ASmallFileAndTheTagsAreComparedToo) {
  put(column::inline_data, key_of(small), "jello");
  put(column::protection, key_of(file, 0), packed(guards_of(data_, file + 1)));
  const scrub_report r = scrub();
  ASSERT_EQ(r.faults.size(), 2u);
  EXPECT_EQ(r.faults[0].kind, protection_kind::application);
  EXPECT_EQ(r.faults[1].inode, small);
}

TEST_F(Scrub, AnObjectThatIsGoneOrShortIsFound) {
  EXPECT_EQ(objects().truncate(file, 4096), error_code::ok);
  EXPECT_EQ(scrub().bad_blocks, 3u);
  EXPECT_EQ(objects().remove(file), error_code::ok);
  EXPECT_EQ(scrub().bad_blocks, 4u);
}

TEST_F(Scrub, WhatACrashHasLeftIsNotLookedAt) {
  flip(10);
  put(column::redo, redo_key(1, 0),
      packed(redo_record{record_version, redo_kind::write, file, 0}));
  EXPECT_TRUE(scrub().clean());
  EXPECT_EQ(scrub().left_out, 1u);
}

TEST_F(Scrub, BlocksWithoutAGuardAreCountedAndGetOneLater) {
  guard_group g = guards_of(data_, file);
  g.present &= ~std::uint64_t{2};
  put(column::protection, key_of(file, 0), packed(g));
  EXPECT_EQ(scrub().unguarded_blocks, 1u);
  EXPECT_FALSE(has(column::unguarded, key_of(file, 0)));
  EXPECT_EQ(scrub(true).unguarded_blocks, 1u);
  EXPECT_TRUE(has(column::unguarded, key_of(file, 0))) << "the volume makes it";
}

TEST_F(Scrub, ZerosNeedNoGuardAndOtherBytesWithoutOneAreNamed) {
  const std::uint64_t end = data_.size() + 40 * 4096;
  EXPECT_EQ(objects().truncate(file, end), error_code::ok);
  put(column::inodes, key_of(file), packed(record(end, inode_flag::object)));
  EXPECT_EQ(scrub().unguarded_blocks, 0u);
  EXPECT_EQ(objects().write(file, end - 5000, bytes_of("x")), error_code::ok);
  EXPECT_EQ(scrub().unguarded_blocks, 1u);
  EXPECT_EQ(scrub().unguarded, std::vector<std::uint64_t>{file});
}

TEST_F(Scrub, WhatTheStoreCannotReadIsDamage) {
  const std::pair<column, std::string> parts[] = {
      {column::protection, key_of(file, 0)},
      {column::protection, key_of(small, 0)},
      {column::inline_data, key_of(small)},
  };
  for (const auto& [where, key] : parts) {
    kv_.bad_in = where;
    kv_.bad_key = key;
    const scrub_report r = scrub();
    EXPECT_FALSE(r.clean());
    ASSERT_EQ(r.unreadable.size(), 1u);
    EXPECT_EQ(r.unreadable[0].inode, number_at(key, 0));
    EXPECT_EQ(r.unguarded_blocks, 0u);
  }
}

TEST_F(Scrub, ARecordThatIsNoneIsDamage) {
  put(column::inodes, key_of(file), "what is this");
  ASSERT_EQ(scrub().unreadable.size(), 1u);
  EXPECT_EQ(scrub().unreadable[0].inode, file);
}

TEST_F(Scrub, ASmallFileThatHasLostItsDataIsFound) {
  kv_batch b;
  b.remove(column::inline_data, key_of(small));
  EXPECT_EQ(kv_.write(b), error_code::ok);
  EXPECT_EQ(scrub().bad_blocks, 1u);
}

// A file of 4 TiB with data at both ends.
TEST_F(Scrub, HolesCostNothing) {
  const std::uint64_t end = std::uint64_t{1} << 42;
  EXPECT_EQ(objects().write(file, end, bytes_of("end")), error_code::ok);
  put(column::inodes, key_of(file), packed(record(end + 3, inode_flag::object)));
  const scrub_report r = scrub();
  EXPECT_TRUE(r.clean());
  EXPECT_GE(r.unguarded_blocks, 1u);
  EXPECT_LE(r.bytes, 4u << 20);
}

}  // namespace
}  // namespace tangelo
