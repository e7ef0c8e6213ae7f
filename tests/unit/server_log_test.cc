// The write-ahead log of the metadata: what is torn is cut, what is damaged is refused.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "server/rocks_kv.h"
#include "server/wal_log.h"

namespace tangelo {
namespace {

class Log : public ::testing::Test {
 protected:
  Log() {
    char name[] = "/tmp/tangelo-log-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    EXPECT_TRUE(open_rocks_kv(directory_ + "/kv", true).has_value());
  }
  ~Log() override { std::filesystem::remove_all(directory_); }

  // A server's life that ends by SIGKILL: `count` batches of `size` bytes, a sync after each
  // `group` of them.
  void live(int count, std::size_t size, int group) {
    const pid_t child = ::fork();
    if (child == 0) {
      outcome<std::unique_ptr<kv_store>> mine = open_rocks_kv(directory_ + "/kv", false);
      bool ok = mine.has_value();
      for (int i = 0; ok && i < count; ++i) {
        kv_batch one;
        one.put(column::inodes, key(i), "damage me " + std::string(size, 'x'));
        ok = (*mine)->write(one) == error_code::ok;
        if (ok && (i + 1) % group == 0) ok = (*mine)->sync() == error_code::ok;
      }
      ::_exit(ok ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
  }
  static std::string key(int i) { return {'k', 'e', 'y', ' ', '0', '0', '0', char('a' + i)}; }
  // Damages the record of batch `i`.
  void damage(int i) {
    int damaged = 0;
    for (const auto& e : std::filesystem::directory_iterator(directory_ + "/kv")) {
      if (e.path().extension() != ".log") continue;
      std::ifstream in(e.path(), std::ios::binary);
      const std::string content(std::istreambuf_iterator<char>(in), {});
      const std::size_t at = content.find(key(i));
      if (at == content.npos) continue;
      std::fstream file(e.path(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(at));
      file.put('K');
      ++damaged;
    }
    ASSERT_EQ(damaged, 1);
  }
  log_verdict verdict() { return *inspect_logs(directory_ + "/kv"); }
  outcome<std::unique_ptr<kv_store>> open() { return open_rocks_kv(directory_ + "/kv", false); }
  // How many of the first `count` batches are there; they must be the first ones.
  static int prefix(kv_store& kv, int count) {
    int n = 0;
    std::string value;
    while (n < count &&
           kv.get(column::inodes, key(n), value, read_mode::blocking) == kv_status::found)
      ++n;
    for (int i = n; i < count; ++i)
      EXPECT_EQ(kv.get(column::inodes, key(i), value, read_mode::blocking), kv_status::absent);
    return n;
  }
  std::string directory_;
};

TEST_F(Log, IsWholeAfterAnyDeath) {
  live(10, 100, 1);
  EXPECT_EQ(verdict().state, log_state::whole);
  EXPECT_EQ(prefix(**open(), 10), 10);
}

TEST_F(Log, WithADamagedLastRecordIsTorn) {
  live(10, 100, 1);
  damage(9);
  EXPECT_EQ(verdict().state, log_state::whole);  // nothing is behind it
  EXPECT_EQ(prefix(**open(), 10), 9);
}

// Records of one block, and of more than one.
class LogOfSize : public Log, public ::testing::WithParamInterface<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Sizes, LogOfSize, ::testing::Values(100, 40'000));

// A power cut may keep the end of a flush and lose its beginning: none of it was acknowledged.
TEST_P(LogOfSize, TornInsideOneFlushIsCutToAPrefix) {
  live(6, GetParam(), 3);
  damage(4);
  const log_verdict v = verdict();
  EXPECT_EQ(v.state, log_state::torn);
  EXPECT_EQ(v.records_behind, 1u);
  const outcome<std::unique_ptr<kv_store>> kv = open();
  ASSERT_TRUE(kv.has_value()) << kv.error().text;
  EXPECT_EQ(prefix(**kv, 6), 4);
}

// The same with a whole block of the flush still zero.
TEST_F(Log, WithAHoleInsideOneFlushIsCutToAPrefix) {
  live(4, 40'000, 4);
  for (const auto& e : std::filesystem::directory_iterator(directory_ + "/kv")) {
    if (e.path().extension() != ".log") continue;
    std::fstream file(e.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(32'768);
    file << std::string(65'536, '\0');
  }
  EXPECT_EQ(verdict().state, log_state::torn);
  const outcome<std::unique_ptr<kv_store>> kv = open();
  ASSERT_TRUE(kv.has_value()) << kv.error().text;
  EXPECT_EQ(prefix(**kv, 4), 0);
}

TEST_P(LogOfSize, DamagedBehindWhichSomethingWasFlushedLaterIsRefused) {
  live(9, GetParam(), 3);
  damage(4);
  const log_verdict v = verdict();
  EXPECT_EQ(v.state, log_state::damaged);
  EXPECT_EQ(v.records_behind, 4u);
  EXPECT_EQ(v.inodes_behind.size(), 4u);
  const outcome<std::unique_ptr<kv_store>> refused = open();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, exit_code::store);
  EXPECT_NE(refused.error().text.find("acknowledged changes are lost"), std::string::npos);
  EXPECT_NE(refused.error().hint.find("check DIR --repair"), std::string::npos);
  ASSERT_TRUE(cut_logs(directory_ + "/kv", v).has_value());
  const outcome<std::unique_ptr<kv_store>> kv = open();
  ASSERT_TRUE(kv.has_value()) << kv.error().text;
  EXPECT_EQ(prefix(**kv, 9), 4);
}

TEST_F(Log, DamagedInItsFirstRecordIsRefused) {
  live(3, 100, 1);
  damage(0);
  EXPECT_EQ(verdict().state, log_state::damaged);
  EXPECT_FALSE(open().has_value());
}

}  // namespace
}  // namespace tangelo
