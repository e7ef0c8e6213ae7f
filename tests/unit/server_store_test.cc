// The real stores, in a directory of their own: RocksDB, object files, superblock, lock.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/loop.h"
#include "server/config.h"
#include "server/object_files.h"
#include "server/records.h"
#include "server/rocks_kv.h"
#include "server/thread_workers.h"
#include "server/uring_objects.h"
#include "server/volume_directory.h"

namespace tangelo {
namespace {

class Store : public ::testing::Test {
 protected:
  Store() {
    char name[] = "/tmp/tangelo-store-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
  }
  ~Store() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<kv_store> kv(bool create) {
    outcome<std::unique_ptr<kv_store>> opened = open_rocks_kv(directory_ + "/kv", create);
    EXPECT_TRUE(opened.has_value()) << (opened ? "" : opened.error().text);
    return opened ? std::move(*opened) : nullptr;
  }
  // Every file's content below the directory.
  std::map<std::string, std::string> contents() {
    std::map<std::string, std::string> all;
    for (const auto& e : std::filesystem::recursive_directory_iterator(directory_)) {
      if (!e.is_regular_file()) continue;
      std::ifstream in(e.path(), std::ios::binary);
      all[e.path()] = std::string(std::istreambuf_iterator<char>(in), {});
    }
    return all;
  }
  std::size_t table_count() {
    std::size_t n = 0;
    for (const auto& e : std::filesystem::recursive_directory_iterator(directory_))
      if (e.path().extension() == ".sst") ++n;
    return n;
  }
  std::string directory_;
};

TEST_F(Store, KeepsWhatWasSyncedWhenTheProcessDies) {
  kv(true).reset();
  const pid_t child = ::fork();
  if (child == 0) {
    outcome<std::unique_ptr<kv_store>> mine = open_rocks_kv(directory_ + "/kv", false);
    kv_batch one, two;
    one.put(column::inodes, "a", "1");
    one.put(column::dirents, "a", "1");
    two.put(column::inodes, "b", "2");
    const bool ok = mine && (*mine)->write(one) == error_code::ok &&
                    (*mine)->sync() == error_code::ok && (*mine)->write(two) == error_code::ok;
    ::_exit(ok ? 0 : 1);  // without closing: what was not synced was only in memory
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  const std::unique_ptr<kv_store> again = kv(false);
  std::string value;
  EXPECT_EQ(again->get(column::inodes, "a", value, read_mode::blocking), kv_status::found);
  EXPECT_EQ(value, "1");
  EXPECT_EQ(again->get(column::dirents, "a", value, read_mode::blocking), kv_status::found);
  EXPECT_EQ(again->get(column::inodes, "b", value, read_mode::blocking), kv_status::absent);
}

// Neither its size nor its closing makes durable what nobody has synced: it may rely on objects
// that are not flushed.
TEST_F(Store, NothingButSyncMakesAnythingDurable) {
  kv(true).reset();
  const auto fill = [](kv_store& store) {
    bool ok = true;
    for (std::uint64_t i = 0; ok && i < 60; ++i) {
      kv_batch one;
      one.put(column::inline_data, key_of(i), std::string(1 << 20, 'x'));
      ok = store.write(one) == error_code::ok;
    }
    return ok;
  };
  const auto is_there = [this] {
    const std::unique_ptr<kv_store> again = kv(false);
    std::string value;
    return again->get(column::inline_data, key_of(0), value, read_mode::blocking);
  };
  EXPECT_TRUE(fill(*kv(false)));  // and closes it
  EXPECT_EQ(is_there(), kv_status::absent);
  const std::unique_ptr<kv_store> open = kv(false);
  EXPECT_TRUE(fill(*open));
  for (int looks = 0; looks < 20 && table_count() == 0; ++looks) ::usleep(10'000);
  EXPECT_EQ(table_count(), 0u) << "a table is durable by itself";
}

TEST_F(Store, WritesTablesOfWhatItHasSynced) {
  const std::unique_ptr<kv_store> store = kv(true);
  for (std::uint64_t i = 0; i < 60; ++i) {
    kv_batch one;
    one.put(column::inline_data, key_of(i), std::string(1 << 20, 'x'));
    ASSERT_EQ(store->write(one), error_code::ok);
  }
  ASSERT_EQ(store->sync(), error_code::ok);
  for (int looks = 0; looks < 1000 && table_count() == 0; ++looks) ::usleep(10'000);
  EXPECT_GT(table_count(), 0u);
}

TEST_F(Store, ScansInOrderBetweenBounds) {
  const std::unique_ptr<kv_store> store = kv(true);
  kv_batch batch;
  for (const char* key : {"a1", "a2", "a3", "b1"}) batch.put(column::cookies, key, key);
  batch.remove(column::cookies, "a2");
  EXPECT_EQ(store->write(batch), error_code::ok);
  std::string seen;
  EXPECT_EQ(store->scan(column::cookies, "a", end_of("a"), read_mode::cached,
                        [&seen](std::string_view k, std::string_view) {
                          seen.append(k);
                          return true;
                        }),
            kv_status::found);
  EXPECT_EQ(seen, "a1a3");
}

TEST_F(Store, AColdReadSaysWouldBlock) {
  {
    const std::unique_ptr<kv_store> store = kv(true);
    kv_batch batch;
    for (int i = 0; i < 20'000; ++i)
      batch.put(column::inodes, key_of(static_cast<std::uint64_t>(i)), std::string(1000, 'x'));
    EXPECT_EQ(store->write(batch), error_code::ok);
    EXPECT_EQ(store->sync(), error_code::ok);
  }
  const std::unique_ptr<kv_store> store = kv(false);  // the log becomes a table on disk
  std::string value;
  EXPECT_EQ(store->get(column::inodes, key_of(7), value, read_mode::cached),
            kv_status::would_block);
  EXPECT_EQ(store->get(column::inodes, key_of(7), value, read_mode::blocking), kv_status::found);
  EXPECT_EQ(store->get(column::inodes, key_of(7), value, read_mode::cached), kv_status::found);
}

// A table file that is not open (there are more than are kept open) was read as an empty value: a
// small file came back as zeros after some restarts.
TEST_F(Store, ACachedReadOfATableThatIsNotOpenSaysWouldBlock) {
  constexpr std::uint64_t table_count = 12;
  for (std::uint64_t life = 0; life < table_count; ++life) {
    const std::unique_ptr<kv_store> store = kv(life == 0);  // the log of each becomes a table
    kv_batch batch;
    batch.put(column::inline_data, key_of(life), "precious");
    batch.put(column::xattrs, key_of(life, "empty"), "");
    ASSERT_EQ(store->write(batch), error_code::ok);
    ASSERT_EQ(store->sync(), error_code::ok);
  }
  const std::unique_ptr<kv_store> store = kv(false);
  std::size_t unread = 0;
  for (std::uint64_t i = 0; i < table_count; ++i) {
    std::string value = "old";
    const std::string name = key_of(i, "empty");
    const kv_status first = store->get(column::inline_data, key_of(i), value, read_mode::cached);
    if (first == kv_status::would_block) {
      ++unread;
      ASSERT_EQ(store->get(column::inline_data, key_of(i), value, read_mode::blocking),
                kv_status::found);
    } else {
      ASSERT_EQ(first, kv_status::found);
    }
    ASSERT_EQ(value, "precious") << i;
    ASSERT_EQ(store->get(column::xattrs, name, value, read_mode::blocking), kv_status::found);
    ASSERT_EQ(store->get(column::xattrs, name, value, read_mode::cached), kv_status::found);
    ASSERT_EQ(value, "");
  }
  EXPECT_GT(unread, 0u);
}

TEST_F(Store, ObjectsReadBackWhatWasWritten) {
  outcome<std::unique_ptr<loop>> home = loop::make(64);
  ASSERT_TRUE(home.has_value());
  thread_workers pool(**home, "store", 2);
  outcome<std::unique_ptr<object_store>> opened = open_uring_objects(directory_, **home, pool);
  ASSERT_TRUE(opened.has_value());
  object_store& objects = **opened;
  const auto until = [&home](const bool& done) {
    while (!done) (*home)->run_once();
  };
  std::vector<std::byte> data(200'000, std::byte{7}), back(300'000);
  bool done = false;
  objects.write(42, 1000, data, true, [&done](op_result<std::uint64_t> n) {
    EXPECT_TRUE(n.has_value());
    if (n) {
      EXPECT_GE(*n, 200'000u / 512);
    }
    done = true;
  });
  until(done);
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/" + object_files::path_of(42)));
  done = false;
  objects.read(42, 0, back, [&done](op_result<std::uint64_t> n) {
    EXPECT_TRUE(n.has_value());
    if (n) {
      EXPECT_EQ(*n, 201'000u);
    }
    done = true;
  });
  until(done);
  EXPECT_EQ(back[999], std::byte{0});
  EXPECT_EQ(back[1000], std::byte{7});
  EXPECT_TRUE(objects.read_now(42, 5000, mutable_byte_span(back).first(4096)));
  EXPECT_FALSE(objects.read_now(43, 0, mutable_byte_span(back).first(10)));
  done = false;
  objects.read(43, 0, back, [&done](op_result<std::uint64_t> n) {
    EXPECT_TRUE(n.has_value());
    if (n) {
      EXPECT_EQ(*n, 0u);
    }
    done = true;
  });
  until(done);
  int left = 3;
  const auto ok = [&left](error_code e) {
    EXPECT_EQ(e, error_code::ok);
    --left;
  };
  objects.truncate(42, 10, ok);
  objects.truncate(43, 10, ok);
  objects.sync(43, ok);
  while (left > 0) (*home)->run_once();
  EXPECT_EQ(std::filesystem::file_size(directory_ + "/" + object_files::path_of(42)), 10u);
  left = 2;
  objects.remove(42, ok);
  objects.sync(42, ok);
  while (left > 0) (*home)->run_once();
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/" + object_files::path_of(42)));
}

TEST_F(Store, PunchingGivesBackRoomBehindTheObjectsEnd) {
  const object_files files(unique_fd(::open(directory_.c_str(), O_PATH | O_DIRECTORY)));
  constexpr std::uint64_t mib = 1 << 20;
  for (const std::uint64_t from : {0 * mib, 10 * mib}) {
    const op_result<std::uint64_t> n = files.change_space(space_change::allocate, 42, from, mib);
    ASSERT_TRUE(n.has_value());
    EXPECT_GE(*n, (from == 0 ? 1 : 2) * mib / 512);
  }
  const op_result<std::uint64_t> foretold = files.blocks_outside(42, 0, 10 * mib);
  const op_result<std::uint64_t> left = files.change_space(space_change::punch, 42, 0, 10 * mib);
  ASSERT_TRUE(foretold.has_value() && left.has_value());
  EXPECT_EQ(*left, *foretold);
  EXPECT_LT(*left, 2 * mib / 512);
  // Of an object's range that no disk can have there is nothing to punch.
  EXPECT_TRUE(files.change_space(space_change::punch, 42, 0, INT64_MAX).has_value());
}

TEST_F(Store, WhatIsAllocatedIsWritableWithoutANewBlock) {
  const object_files files(unique_fd(::open(directory_.c_str(), O_PATH | O_DIRECTORY)));
  const auto inside = [&files](std::uint64_t offset, std::uint64_t size) {
    const op_result<std::uint64_t> n = files.writable_inside(42, offset, size);
    EXPECT_TRUE(n.has_value());
    return n ? *n : UINT64_MAX;
  };
  constexpr std::uint64_t mib = 1 << 20;
  EXPECT_EQ(inside(0, 10), 0u) << "there is no file";
  const std::vector<std::byte> data(10'000, std::byte{1});
  ASSERT_EQ(files.write(42, 2 * mib, data), error_code::ok);
  EXPECT_EQ(inside(2 * mib - 100, 50), 0u);
  EXPECT_EQ(inside(0, 2 * mib), 0u);
  if (inside(2 * mib, 100) == 0) GTEST_SKIP() << "a filesystem that moves what is changed";
  EXPECT_EQ(inside(2 * mib + 5, 9000), 9000u);
  EXPECT_EQ(inside(2 * mib - 4096, 8192), 4096u);
  if (!files.change_space(space_change::allocate, 42, 4 * mib, mib))
    GTEST_SKIP() << "nothing can be allocated here";
  if (inside(4 * mib, 1) == 0) GTEST_SKIP() << "nor is it known what was";
  EXPECT_EQ(inside(4 * mib, mib), mib);
  EXPECT_EQ(inside(4 * mib + 17, 4711), 4711u);
  EXPECT_EQ(inside(3 * mib, 3 * mib), mib);
  ASSERT_TRUE(files.change_space(space_change::punch, 42, 2 * mib, 4096).has_value());
  EXPECT_EQ(inside(2 * mib, 5000), 5000u - 4096);
}

TEST_F(Store, ManyObjectsShareFewOpenFiles) {
  outcome<std::unique_ptr<loop>> home = loop::make(64);
  ASSERT_TRUE(home.has_value());
  thread_workers pool(**home, "store", 2);
  outcome<std::unique_ptr<object_store>> opened = open_uring_objects(directory_, **home, pool);
  ASSERT_TRUE(opened.has_value());
  const std::vector<std::byte> data(10, std::byte{1});
  int left = 1500;
  for (std::uint64_t i = 0; i < 1500; ++i)
    (*opened)->write(i + 10, 0, data, false, [&left](op_result<std::uint64_t> n) {
      EXPECT_TRUE(n.has_value());
      --left;
    });
  while (left > 0) (*home)->run_once();
  std::size_t fds = 0;
  for (const auto& e : std::filesystem::directory_iterator("/proc/self/fd"))
    if (!e.path().empty()) ++fds;
  EXPECT_LT(fds, 700u);
}

class Superblock : public Store {
 protected:
  std::string volume() { return directory_ + "/v"; }
  void make() {
    const outcome<superblock> made = make_volume(volume(), "name", 5);
    ASSERT_TRUE(made.has_value()) << made.error().text;
  }
  void damage(std::size_t offset) {
    std::fstream f(volume() + "/superblock", std::ios::in | std::ios::out | std::ios::binary);
    const auto at = static_cast<std::streamoff>(offset);
    f.seekg(at);
    const int was = f.get();
    f.seekp(at);
    f.put(static_cast<char>(was ^ 1));
  }
  // That opening is refused with this code and changes nothing.
  void refused(exit_code code, std::string_view word) {
    const auto before = contents();
    const outcome<volume_hold> hold = hold_volume(volume());
    ASSERT_FALSE(hold.has_value());
    EXPECT_EQ(hold.error().code, code) << hold.error().text;
    EXPECT_NE(hold.error().text.find(word), std::string::npos) << hold.error().text;
    EXPECT_NE(hold.error().text.find(volume()), std::string::npos);
    EXPECT_FALSE(hold.error().hint.empty());
    EXPECT_EQ(contents(), before);
  }
};

TEST_F(Superblock, NamesTheVolumeForEver) {
  make();
  const outcome<volume_hold> hold = hold_volume(volume());
  ASSERT_TRUE(hold.has_value()) << hold.error().text;
  EXPECT_EQ(hold->block.name, "name");
  EXPECT_EQ(hold->block.created_ns, 5u);
  EXPECT_NE(hold->block.volume_id, id128{});
}

TEST_F(Superblock, InitRefusesWhatIsNotEmpty) {
  make();
  const auto before = contents();
  outcome<superblock> again = make_volume(volume(), "x", 6);
  ASSERT_FALSE(again.has_value());
  EXPECT_NE(again.error().text.find("already"), std::string::npos);
  std::filesystem::create_directory(directory_ + "/other");
  std::ofstream(directory_ + "/other/file") << "precious";
  again = make_volume(directory_ + "/other", "x", 6);
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, exit_code::store);
  std::filesystem::remove_all(directory_ + "/other");
  EXPECT_EQ(contents(), before);
}

TEST_F(Superblock, RefusesMissingForeignDamagedAndNewer) {
  refused(exit_code::store, "no such directory");
  std::filesystem::create_directory(volume());
  refused(exit_code::store, "not a Tangelo volume");
  std::filesystem::remove(volume());
  make();
  damage(40);
  refused(exit_code::store, "damaged");
  damage(0);
  refused(exit_code::store, "not the superblock");
  superblock s;
  s.version = format_version + 1;
  ASSERT_TRUE(write_superblock(volume(), s).has_value());
  refused(exit_code::version, "format version 2");
  s.version = format_version;
  s.incompatible = 4;
  ASSERT_TRUE(write_superblock(volume(), s).has_value());
  refused(exit_code::version, "features");
}

TEST_F(Superblock, HasOneHolder) {
  make();
  const outcome<volume_hold> first = hold_volume(volume());
  ASSERT_TRUE(first.has_value());
  refused(exit_code::store, std::to_string(::getpid()));
}

TEST(Config, SaysWhereItIsWrong) {
  const std::string path = "/tmp/tangelo-config-" + std::to_string(::getpid()) + ".toml";
  const auto read = [&path](std::string_view text) {
    std::ofstream(path) << text;
    return read_server_config(path);
  };
  const auto wrong = [&](std::string_view text, std::string_view word) {
    const outcome<server_config> c = read(text);
    ASSERT_FALSE(c.has_value()) << text;
    EXPECT_EQ(c.error().code, exit_code::usage);
    EXPECT_NE(c.error().text.find(word), std::string::npos) << c.error().text;
  };
  const outcome<server_config> good =
      read("listen = \"127.0.0.1:1\"\n[[volume]]\nname = \"a\"\npath = \"/p\"\n");
  ASSERT_TRUE(good.has_value()) << good.error().text;
  EXPECT_EQ(good->volumes.size(), 1u);
  EXPECT_TRUE(check_config(*good).has_value());
  wrong("listen = \"127.0.0.1:1\"\nlitsen = 3\n", ":2:1: unknown key \"litsen\"");
  wrong("listen = 3\n", ":1:10: listen must be a text");
  wrong("[[volume]]\nname = \"a\"\n", "needs name and path");
  wrong("[[volume]\n", ":1:");
  wrong("standby = 1\n", "standby must be true or false");
  wrong("lease_seconds = \"30\"\n", ":1:17: lease_seconds must be a whole number");
  wrong("commit_interval_ms = 0\n", "commit_interval_ms must be a whole number from 1");
  wrong("busy_poll_us = 10001\n", "busy_poll_us must be a whole number from 0 to 10000");
  EXPECT_EQ(good->busy_poll_us, 0u);
  EXPECT_EQ(read("busy_poll_us = 50\n")->busy_poll_us, 50u);
  server_config c = *good;
  EXPECT_EQ(times_of(c), (server_times{30, 150, 45, 120, 50}));
  c.times.lease_seconds = 2;
  EXPECT_EQ(times_of(c), (server_times{2, 10, 3, 8, 50}));
  const auto contradicts = [&c](server_times t, std::string_view word) {
    server_config bad = c;
    bad.times = t;
    const outcome<bool> checked = check_config(bad);
    ASSERT_FALSE(checked.has_value()) << word;
    EXPECT_NE(checked.error().text.find(word), std::string::npos) << checked.error().text;
    EXPECT_NE(checked.error().hint.find("write"), std::string::npos) << checked.error().hint;
  };
  contradicts({30, 29, 0, 0, 0}, "evict_seconds = 29: shorter than lease_seconds = 30");
  contradicts({30, 0, 29, 0, 0}, "window_soft_seconds = 29: shorter");
  contradicts({30, 0, 60, 59, 0}, "window_hard_seconds = 59: shorter");
  contradicts({0, 0, 0, 0, 1001}, "commit_interval_ms = 1001: too long");
  c.listen = "0.0.0.0:7471";
  EXPECT_NE(check_config(c).error().hint.find("secret_file"), std::string::npos);
  c.secret_file = "/etc/tangelo/secret";
  EXPECT_TRUE(check_config(c).has_value());
  c.secret_file.clear();
  c.listen = "192.168.1.1:7471";
  EXPECT_FALSE(check_config(c).has_value());
  c.listen = "[::1]:7471";
  EXPECT_TRUE(check_config(c).has_value());
  c.volumes.push_back(c.volumes[0]);
  EXPECT_EQ(check_config(c).error().text, path + ":3:8: volume a: named twice");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace tangelo
