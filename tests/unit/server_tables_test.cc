// Scans of RocksDB over several table files: none may end before its end and say that it was one.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "server/records.h"
#include "server/rocks_kv.h"

namespace tangelo {
namespace {

constexpr std::uint64_t key_count = 20000;

class Tables : public ::testing::Test {
 protected:
  Tables() {
    char name[] = "/tmp/tangelo-tables-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
  }
  ~Tables() override { std::filesystem::remove_all(directory_); }

  std::string path() const { return directory_ + "/kv"; }
  std::unique_ptr<kv_store> open(bool create) {
    outcome<std::unique_ptr<kv_store>> opened = open_rocks_kv(path(), create);
    EXPECT_TRUE(opened.has_value()) << (opened ? "" : opened.error().text);
    return opened ? std::move(*opened) : nullptr;
  }

  // Keys 0 to key_count of `where` in a dozen files of one level, and what `last` adds.
  void fill(column where, const kv_batch& last) {
    {
      const std::unique_ptr<kv_store> kv = open(true);
      kv_batch batch;
      for (std::uint64_t i = 0; i < key_count; ++i)
        batch.put(where, key_of(1, i), fmt::format("value {:016}", i));
      ASSERT_EQ(kv->write(batch), error_code::ok);
      ASSERT_EQ(kv->sync(), error_code::ok);
    }
    compact(where);
    const std::unique_ptr<kv_store> kv = open(false);
    ASSERT_EQ(kv->write(last), error_code::ok);
    ASSERT_EQ(kv->sync(), error_code::ok);
  }

  // The first key of each table file.
  const std::map<std::uint64_t, std::string>& files() const { return files_; }

 private:
  void compact(column where) {
    rocksdb::ColumnFamilyOptions options;
    options.target_file_size_base = 32 << 10;
    options.level_compaction_dynamic_level_bytes = true;
    options.compression = rocksdb::kNoCompression;
    std::vector<rocksdb::ColumnFamilyDescriptor> columns;
    columns.emplace_back(rocksdb::kDefaultColumnFamilyName, options);
    for (std::size_t i = 0; i < column_count; ++i)
      columns.emplace_back(std::string(name_of(static_cast<column>(i))), options);
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* db = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(rocksdb::DBOptions(), path(), columns, &handles, &db).ok());
    rocksdb::ColumnFamilyHandle* handle = handles[static_cast<std::size_t>(where) + 1];
    rocksdb::CompactRangeOptions anew;
    anew.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
    EXPECT_TRUE(db->CompactRange(anew, handle, nullptr, nullptr).ok());
    std::vector<rocksdb::LiveFileMetaData> live;
    db->GetLiveFilesMetaData(&live);
    for (const rocksdb::LiveFileMetaData& f : live)
      files_[number_at(f.smallestkey, 8)] = f.db_path + f.name;
    for (rocksdb::ColumnFamilyHandle* h : handles)
      EXPECT_TRUE(db->DestroyColumnFamilyHandle(h).ok());
    EXPECT_TRUE(db->Close().ok());
    delete db;
    ASSERT_GT(files_.size(), 5U);
  }

  std::string directory_;
  std::map<std::uint64_t, std::string> files_;
};

TEST_F(Tables, ACachedScanBlocksWhereTheNextFileIsNotInTheCache) {
  kv_batch last;
  last.put(column::cookies, key_of(1, key_count), "in a file of its own, above the others");
  fill(column::cookies, last);
  for (auto f = std::next(files().begin()); f != files().end(); ++f) {
    const std::unique_ptr<kv_store> kv = open(false);
    const std::string key = key_of(1, f->first - 1);
    for (const std::string& warm : {key, key_of(1, key_count)}) {
      std::string value;
      ASSERT_EQ(kv->get(column::cookies, warm, value, read_mode::blocking), kv_status::found);
    }
    std::vector<std::uint64_t> seen;
    EXPECT_EQ(kv->scan(column::cookies, key, key_of(2), read_mode::cached,
                       [&seen](std::string_view k, std::string_view) {
                         seen.push_back(number_at(k, 8));
                         return true;
                       }),
              kv_status::would_block);
    EXPECT_EQ(seen, std::vector<std::uint64_t>{f->first - 1});
  }
}

// Also of a column of which ranges are removed.
class DamagedTables : public Tables, public ::testing::WithParamInterface<column> {};
INSTANTIATE_TEST_SUITE_P(Columns, DamagedTables,
                         ::testing::Values(column::cookies, column::protection),
                         [](const auto& p) { return std::string(name_of(p.param)); });

TEST_P(DamagedTables, AScanSaysThatAFileIsDamagedWhereItBegins) {
  kv_batch last;
  last.put(GetParam(), key_of(1, key_count), "the last");
  fill(GetParam(), last);
  const auto damaged = std::next(files().begin(), 3);
  const int fd = ::open(damaged->second.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_EQ(::pwrite(fd, "damage", 6, 100), 6);
  ASSERT_EQ(::close(fd), 0);
  const std::unique_ptr<kv_store> kv = open(false);
  std::uint64_t n = 0;
  EXPECT_EQ(kv->scan(GetParam(), key_of(1, 0), key_of(2), read_mode::blocking,
                     [&n](std::string_view key, std::string_view) {
                       EXPECT_EQ(number_at(key, 8), n++);
                       return true;
                     }),
            kv_status::failed);
  EXPECT_EQ(n, damaged->first);
}

TEST_F(Tables, ARemovedRangeIsNotSeenInAnyMode) {
  kv_batch last;
  last.remove_range(column::protection, key_of(1, 10), key_of(1, key_count - 10));
  last.put(column::protection, key_of(1, 500), "written again");
  fill(column::protection, last);
  std::vector<std::uint64_t> expected;
  for (std::uint64_t i = 0; i < 10; ++i) expected.push_back(i);
  expected.push_back(500);
  for (std::uint64_t i = key_count - 10; i < key_count; ++i) expected.push_back(i);
  const std::unique_ptr<kv_store> kv = open(false);
  std::vector<std::uint64_t> seen;
  EXPECT_EQ(kv->scan(column::protection, key_of(1, 0), key_of(2), read_mode::blocking,
                     [&seen](std::string_view key, std::string_view) {
                       seen.push_back(number_at(key, 8));
                       return true;
                     }),
            kv_status::found);
  EXPECT_EQ(seen, expected);
}

}  // namespace
}  // namespace tangelo
