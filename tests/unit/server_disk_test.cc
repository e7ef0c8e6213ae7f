// A volume over the real stores: RocksDB, object files, threads and the loop.
#include <sys/wait.h>

#include <algorithm>
#include <filesystem>

#include "base/loop.h"
#include "server/rocks_kv.h"
#include "server/thread_workers.h"
#include "server/uring_objects.h"
#include "server/volume_directory.h"
#include "tests/unit/server_volume_fixture.h"

namespace tangelo::testing_volume {
namespace {

// One life of a server without its sessions.
struct disk_server {
  explicit disk_server(const std::string& directory)
      : home(*loop::make(256)),
        pool(std::make_unique<thread_workers>(*home, "store", 2)),
        committer(std::make_unique<thread_workers>(*home, "commit", 1)),
        hold(*hold_volume(directory)),
        kv(*open_rocks_kv(metadata_path(directory), false)),
        objects(*open_uring_objects(objects_path(directory), *home, *pool)),
        files(*volume::open({}, {*home, *kv, *objects, *pool, *committer})) {}
  ~disk_server() {
    committer.reset();
    pool.reset();
  }
  disk_server(const disk_server&) = delete;
  disk_server& operator=(const disk_server&) = delete;

  void remember() {
    bool done = false;
    files->remember_client(client_named(1), [&done](error_code e) {
      EXPECT_EQ(e, error_code::ok);
      done = true;
    });
    while (!done) home->run_once();
  }
  template <class Body>
  call_ptr call(opcode op, const Body& body, std::string_view in = {}, std::size_t room = 0) {
    auto c = std::make_shared<test_call>();
    c->client = client_named(1);
    c->op = op;
    c->slot_seq = ++sequence;
    c->body_bytes.resize(op_body_size_max);
    c->body = byte_span(c->body_bytes).first(*encode(body, c->body_bytes));
    c->in.assign(bytes_of(in).begin(), bytes_of(in).end());
    c->payload_in = c->in;
    c->out.resize(room);
    c->payload_out = c->out;
    c->early_answer = early;
    files->execute(*c);
    while (!c->completed) home->run_once();
    return c;
  }

  std::unique_ptr<loop> home;
  std::unique_ptr<thread_workers> pool, committer;
  volume_hold hold;
  std::unique_ptr<kv_store> kv;
  std::unique_ptr<object_store> objects;
  std::unique_ptr<volume> files;
  std::uint32_t sequence = 0;
  bool early = false;
};

class Disk : public ::testing::Test {
 protected:
  Disk() {
    char name[] = "/tmp/tangelo-disk-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    EXPECT_TRUE(make_volume(directory_ + "/v", "v", 1).has_value());
  }
  ~Disk() override { std::filesystem::remove_all(directory_); }

  // Fills the volume; false when something was not answered well.
  static bool fill(disk_server& s) {
    s.remember();
    const auto range = s.call(opcode::inode_range, inode_range_call{{}, 1000});
    const std::uint64_t first = range->answered<inode_range_answer>().first;
    bool good = range->status == error_code::ok;
    for (std::uint64_t i = 0; i < 50; ++i) {
      const std::string name = "f" + std::to_string(i);
      make_call m;
      m.parent = root_inode, m.inode = first + i, m.name = name, m.mode = 0644;
      good = good && s.call(opcode::mknod, m)->status == error_code::ok;
      const std::string data(sizes[i % 4], static_cast<char>('a' + i % 26));
      const write_call w{{}, first + i, 0, 0, static_cast<std::uint32_t>(data.size()), 0};
      good = good && s.call(opcode::write, w, data)->status == error_code::ok;
    }
    return good;
  }
  // A life that ends as by SIGKILL: nothing is closed.
  void live_and_die(bool early) {
    const pid_t child = ::fork();
    if (child == 0) {
      disk_server s(directory_ + "/v");
      s.early = early;
      bool good = fill(s);
      // One fsync is for all that was answered before.
      if (early)
        good = s.call(opcode::fsync, fsync_call{{}, root_inode, 0, 0})->status == error_code::ok &&
               good;
      ::_exit(good ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
  }
  static void expect_all(disk_server& s) {
    for (std::uint64_t i = 0; i < 50; ++i) {
      const std::string name = "f" + std::to_string(i);
      const auto found = s.call(opcode::lookup, name_call{{}, root_inode, name});
      ASSERT_EQ(found->status, error_code::ok) << name;
      const attributes a = found->answered<entry_answer>().attr;
      EXPECT_EQ(a.size, sizes[i % 4]);
      const auto data =
          s.call(opcode::read, read_call{{}, a.inode, 0, 0, 400'000, 0}, {}, 400'000);
      EXPECT_TRUE(data->text() == std::string(sizes[i % 4], static_cast<char>('a' + i % 26)));
    }
  }
  static constexpr std::size_t sizes[] = {100, 4097, 60'000, 300'000};

  std::string directory_;
};

TEST_F(Disk, AnsweredWorkIsThereAfterTheProcessDies) {
  live_and_die(false);
  disk_server s(directory_ + "/v");
  EXPECT_EQ(s.files->boot_generation(), 2u);
  ASSERT_EQ(s.files->load_clients().size(), 1u);
  expect_all(s);
  const auto gone = s.call(opcode::unlink, name_call{{}, root_inode, "f3"});
  EXPECT_EQ(gone->status, error_code::ok);
  bool stopped = false;
  s.files->stop([&stopped] { stopped = true; });
  while (!stopped) s.home->run_once();
  EXPECT_EQ(s.files->status().redo_size, 0u);
  EXPECT_EQ(s.files->status().running, 0u);
}

TEST_F(Disk, SyncedWorkIsThereAfterTheProcessDies) {
  live_and_die(true);
  disk_server s(directory_ + "/v");
  expect_all(s);
}

TEST_F(Disk, SaysHowLongACommitTakes) {
  disk_server s(directory_ + "/v");
  ASSERT_TRUE(fill(s));
  setattr_call c;
  c.inode = root_inode;
  c.which = set_attr::mtime_now;
  std::vector<std::uint64_t> took;
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t begin = s.home->now_ns();
    EXPECT_EQ(s.call(opcode::setattr, c)->status, error_code::ok);
    took.push_back(s.home->now_ns() - begin);
  }
  std::sort(took.begin(), took.end());
  RecordProperty("commit_us", static_cast<int>(took[100] / ns_per_us));
  const std::uint64_t begin = s.home->now_ns();
  for (int i = 0; i < 1000; ++i)
    EXPECT_EQ(s.call(opcode::getattr, inode_call{{}, root_inode, 0, 0})->status, error_code::ok);
  RecordProperty("getattr_ns", static_cast<int>((s.home->now_ns() - begin) / 1000));
  std::printf("commit %lu us, getattr %lu ns\n", static_cast<unsigned long>(took[100] / ns_per_us),
              static_cast<unsigned long>((s.home->now_ns() - begin) / 1000));
}

}  // namespace
}  // namespace tangelo::testing_volume
