#include "base/prng.h"
#include "tests/unit/server_volume_fixture.h"

namespace tangelo::testing_volume {
namespace {

class Data : public volume_fixture {};

std::string pattern(std::size_t size, char first = 'a') {
  std::string s(size, first);
  for (std::size_t i = 0; i < size; ++i)
    s[i] = static_cast<char>('a' + (i * 7 + static_cast<std::size_t>(first)) % 26);
  return s;
}

TEST_F(Data, SmallFilesStayInTheStore) {
  const std::uint64_t f = create(root_inode, "f");
  EXPECT_EQ(stat(f).blocks, 0u);
  EXPECT_EQ(read(f, 0, 100), "");
  EXPECT_EQ(write(f, 0, "hello")->answered<write_answer>().attr.size, 5u);
  EXPECT_EQ(write(f, 10, "world")->status, error_code::ok);
  EXPECT_EQ(read(f, 0, 100), std::string("hello\0\0\0\0\0world", 15));
  EXPECT_EQ(read(f, 12, 2), "rl");
  EXPECT_EQ(read(f, 15, 2), "");
  EXPECT_EQ(stat(f).blocks, 8u);
  EXPECT_EQ(objects_.count(), 0u);
  EXPECT_EQ(truncate(f, 3), error_code::ok);
  EXPECT_EQ(truncate(f, 6), error_code::ok);
  EXPECT_EQ(read(f, 0, 100), std::string("hel\0\0\0", 6));
}

TEST_F(Data, GrowingMovesItIntoAnObject) {
  const std::uint64_t f = create(root_inode, "f");
  write(f, 0, "head");
  const std::string tail = pattern(5000);
  EXPECT_EQ(write(f, 6, tail)->status, error_code::ok);
  EXPECT_EQ(objects_.count(), 1u);
  EXPECT_EQ(read(f, 0, 10000), std::string("head\0\0", 6) + tail);
  EXPECT_EQ(stat(f).blocks, 16u);
  EXPECT_EQ(write(f, 1, "EA")->status, error_code::ok);
  EXPECT_EQ(read(f, 0, 4), "hEAd");
  EXPECT_EQ(unlink(root_inode, "f"), error_code::ok);
  EXPECT_EQ(objects_.count(), 0u);
}

TEST_F(Data, AppendsChooseTheirOffsetInTurn) {
  const std::uint64_t f = create(root_inode, "f");
  objects_.set_delay_ns(5 * ns_per_ms);
  const std::string one = pattern(5000, 'p'), two = pattern(6000, 'q');
  const call_ptr a = begin(alice_, opcode::write,
                           write_call{{}, f, 0, 0, 5000, write_flag::append}, one);
  const call_ptr b = begin(alice_, opcode::write,
                           write_call{{}, f, 0, 0, 6000, write_flag::append}, two);
  time_.advance(ns_per_s);
  EXPECT_EQ(a->answered<write_answer>().offset, 0u);
  EXPECT_EQ(b->answered<write_answer>().offset, 5000u);
  EXPECT_EQ(read(f, 0, 11000), one + two);
}

TEST_F(Data, StaleBytesBehindTheEndAreNeverSeen) {
  const std::uint64_t f = create(root_inode, "f");
  write(f, 0, pattern(8000));
  EXPECT_EQ(truncate(f, 100), error_code::ok);
  EXPECT_EQ(truncate(f, 5000), error_code::ok);
  EXPECT_EQ(read(f, 0, 9000), pattern(8000).substr(0, 100) + std::string(4900, '\0'));
  // A failed write leaves bytes behind the end, and they are given back.
  objects_.fail_writes(error_code::no_space, 1);
  EXPECT_EQ(write(f, 5000, pattern(3000))->status, error_code::no_space);
  EXPECT_EQ(stat(f).size, 5000u);
  EXPECT_EQ(write(f, 9000, "x")->status, error_code::ok);
  EXPECT_EQ(read(f, 5000, 9000), std::string(4000, '\0') + "x");
}

TEST_F(Data, SizesHaveLimits) {
  const std::uint64_t f = create(root_inode, "f");
  EXPECT_EQ(truncate(f, INT64_MAX), error_code::ok);
  EXPECT_EQ(truncate(f, static_cast<std::uint64_t>(INT64_MAX) + 1), error_code::file_too_big);
  EXPECT_EQ(write(f, INT64_MAX, "x")->status, error_code::file_too_big);
  EXPECT_EQ(read(f, 1000, 4), std::string(4, '\0'));
  EXPECT_EQ(truncate(root_inode, 0), error_code::is_directory);
  EXPECT_EQ(write(root_inode, 0, "x")->status, error_code::is_directory);
  const call_ptr c = call(opcode::read, read_call{{}, root_inode, 0, 0, 4, 0}, {}, 4);
  EXPECT_EQ(c->status, error_code::is_directory);
  EXPECT_EQ(write(424242, 0, "x")->status, error_code::stale);
}

TEST_F(Data, FullStoreRefusesButLetsUnlink) {
  const std::uint64_t f = create(root_inode, "f");
  time_.advance(ns_per_s);
  objects_.set_space({4096, 1 << 20, 10, 10, 100, 100});
  EXPECT_EQ(write(f, 0, pattern(100'000))->status, error_code::no_space);
  EXPECT_EQ(write(f, 0, "x")->status, error_code::no_space);
  EXPECT_EQ(call(opcode::mkdir, made(root_inode, "d", 0755))->status, error_code::no_space);
  EXPECT_EQ(stat(f).size, 0u);
  EXPECT_EQ(unlink(root_inode, "f"), error_code::ok);
  EXPECT_EQ(call(opcode::statfs, inode_call{})->answered<statfs_answer>().blocks_free, 0u);
}

TEST_F(Data, FailedStoreWriteChangesNothing) {
  const std::uint64_t f = create(root_inode, "f");
  kv_.fail_writes(error_code::io);
  const call_ptr c = write(f, 0, "x");
  EXPECT_EQ(c->status, error_code::io);
  EXPECT_EQ(c->answered_transno, 0u);
  kv_.fail_writes(error_code::ok);
  EXPECT_EQ(stat(f).size, 0u);
}

TEST_F(Data, AttributesFollowTheRules) {
  const std::uint64_t f = create(root_inode, "f");
  const attributes born = stat(f);
  EXPECT_EQ(born.btime_ns, born.mtime_ns);
  time_.advance(ns_per_s);
  write(f, 0, "x");
  const attributes wrote = stat(f);
  EXPECT_GT(wrote.mtime_ns, born.mtime_ns);
  EXPECT_EQ(wrote.mtime_ns, wrote.ctime_ns);
  EXPECT_GT(wrote.change, born.change);
  time_.advance(ns_per_s);
  setattr_call s;
  s.inode = f;
  s.which = set_attr::mode | set_attr::uid | set_attr::mtime | set_attr::atime_now;
  s.mode = 06777;
  s.uid = 5;
  s.mtime_ns = -7;
  const attributes set = call(opcode::setattr, s)->answered<attr_answer>().attr;
  EXPECT_EQ(set.mode, static_cast<unsigned>(S_IFREG | 06777));
  EXPECT_EQ(set.uid, 5u);
  EXPECT_EQ(set.mtime_ns, -7);
  EXPECT_GT(set.atime_ns, wrote.atime_ns);
  EXPECT_GT(set.ctime_ns, wrote.ctime_ns);
  const call_ptr c = write(f, 0, "y", write_flag::kill_setid);
  EXPECT_EQ(c->answered<write_answer>().attr.mode, static_cast<unsigned>(S_IFREG | 0777));
}

TEST_F(Data, XattrsAreKeptListedAndRemoved) {
  const std::uint64_t f = create(root_inode, "f");
  const std::string big(65536, 'v');
  const auto set = [&](std::string_view name, std::string_view value, std::uint32_t flags) {
    return call(opcode::setxattr, xattr_call{{}, f, flags, 0, name}, value)->status;
  };
  const auto get = [&](std::string_view name, std::uint32_t size) {
    return call(opcode::getxattr, xattr_call{{}, f, 0, size, name}, {}, size);
  };
  EXPECT_EQ(get("user.a", 10)->status, error_code::no_data);
  EXPECT_EQ(set("user.a", "1", 2), error_code::no_data);
  EXPECT_EQ(set("user.a", "1", 1), error_code::ok);
  EXPECT_EQ(set("user.a", "1", 1), error_code::exists);
  EXPECT_EQ(set("user.a", "one", 2), error_code::ok);
  EXPECT_EQ(set("user.b", big, 0), error_code::ok);
  EXPECT_EQ(set("user.c", big + "x", 0), error_code::too_big);
  EXPECT_EQ(set("system.nfs4_acl", "x", 0), error_code::not_supported);
  EXPECT_EQ(set("user.empty", "", 0), error_code::ok);
  EXPECT_EQ(get("user.a", 10)->text(), "one");
  EXPECT_EQ(get("user.a", 2)->status, error_code::range);
  EXPECT_EQ(get("user.a", 0)->answered<size_answer>().size, 3u);
  EXPECT_EQ(get("user.b", 65536)->text(), big);
  EXPECT_EQ(get("user.empty", 5)->status, error_code::ok);
  const call_ptr l = call(opcode::listxattr, inode_call{{}, f, 0, 100}, {}, 100);
  EXPECT_EQ(l->text(), std::string("user.a\0user.b\0user.empty\0", 25));
  EXPECT_EQ(call(opcode::listxattr, inode_call{{}, f, 0, 5}, {}, 5)->status, error_code::range);
  EXPECT_EQ(call(opcode::removexattr, xattr_call{{}, f, 0, 0, "user.a"})->status, error_code::ok);
  EXPECT_EQ(call(opcode::removexattr, xattr_call{{}, f, 0, 0, "user.a"})->status,
            error_code::no_data);
  EXPECT_EQ(unlink(root_inode, "f"), error_code::ok);
}

// A random walk over one file, with crashes in between, against a model in a string.
TEST_F(Data, RandomWritesAndTruncatesMatchAModel) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    prng random(seed);
    const std::string name = "walk" + std::to_string(seed);
    const std::uint64_t f = create(root_inode, name);
    std::string model;
    for (int step = 0; step < 150; ++step) {
      const std::size_t offset = random.below(model.size() + random.below(20'000) + 1);
      const std::size_t size = random.below(4) == 0 ? random.below(200'000) : random.below(6000);
      switch (random.below(6)) {
        case 0: {
          const std::size_t to = random.below(2) == 0 ? offset : random.below(5000);
          ASSERT_EQ(truncate(f, to), error_code::ok);
          model.resize(to, '\0');
          break;
        }
        case 1:
          power_cut(random.below(3), random.below(2) == 0);
          break;
        case 2:
          time_.advance(6 * ns_per_s);  // a checkpoint
          EXPECT_EQ(volume_->status().redo_size, 0u);
          break;
        default: {
          const std::string data = pattern(size, static_cast<char>('a' + random.below(26)));
          ASSERT_EQ(write(f, offset, data)->status, error_code::ok);
          if (size != 0 && model.size() < offset + size) model.resize(offset + size, '\0');
          model.replace(offset, size, data);
        }
      }
      ASSERT_EQ(stat(f).size, model.size()) << "seed " << seed << " step " << step;
      ASSERT_TRUE(read(f, 0, static_cast<std::uint32_t>(model.size())) == model)
          << "seed " << seed << " step " << step;
    }
  }
}

TEST_F(Data, ReadsThatNeedTheDiskComeLater) {
  const std::uint64_t f = create(root_inode, "f");
  const std::string data = pattern(20'000);
  write(f, 0, data);
  objects_.set_cached(false);
  objects_.set_delay_ns(10 * ns_per_ms);
  const call_ptr c = begin(alice_, opcode::read, read_call{{}, f, 0, 100, 30'000, 0}, {}, 30'000);
  EXPECT_FALSE(c->completed);
  settle();
  EXPECT_EQ(c->text(), data.substr(100));
}

}  // namespace
}  // namespace tangelo::testing_volume
