// Power failures on the real stores: RocksDB, its log files and the object files, on a disk that
// loses and tears what was not synced, at every event of a workload (power_disk.h).
//
// TANGELO_POWER_EVERY=1 cuts at every event (20: at every 20th, as usual), TANGELO_POWER_SEED
// chooses other pages to be torn.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/loop.h"
#include "protocol/data_ops.h"
#include "server/rocks_kv.h"
#include "server/thread_workers.h"
#include "server/uring_objects.h"
#include "server/volume_directory.h"
#include "tests/unit/power_disk.h"
#include "tests/unit/server_volume_fixture.h"

// What was on its way to the disk when the power failed never comes back to the one who asked.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:uring_objects\n"; }

namespace tangelo::testing_volume {
namespace {

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// One life of a server without its sessions; client 1 calls it, one call after the other.
class server_life {
 public:
  // `problem` is empty when it has opened.
  server_life(const std::string& directory, const volume_options& options) {
    open(directory, options);
  }
  ~server_life() {
    committer_.reset();
    pool_.reset();
  }
  server_life(const server_life&) = delete;
  server_life& operator=(const server_life&) = delete;

  void remember() {
    bool done = false;
    files_->remember_client(client_named(1), [&done](error_code) { done = true; });
    while (!done) home_->run_once();
    files_->set_awaited(client_named(1), true, [&done](error_code) { done = false; });
    while (done) home_->run_once();
  }
  template <class Body>
  call_ptr call(opcode op, const Body& body, std::string_view in = {}, std::size_t room = 0,
                bool early = false) {
    auto c = std::make_shared<test_call>();
    c->client = client_named(1);
    c->op = op;
    c->slot_seq = ++sequence;
    c->xid = sequence;
    c->early_answer = early;
    c->body_bytes.resize(op_body_size_max);
    c->body = byte_span(c->body_bytes).first(*encode(body, c->body_bytes));
    c->in.assign(bytes_of(in).begin(), bytes_of(in).end());
    c->payload_in = c->in;
    c->out.resize(room);
    c->payload_out = c->out;
    files_->execute(*c);
    while (!c->completed) home_->run_once();
    return c;
  }
  void stop() {
    bool stopped = false;
    files_->stop([&stopped] { stopped = true; });
    while (!stopped) home_->run_once();
  }
  volume& files() { return *files_; }
  const std::vector<client_record>& clients() const { return clients_; }

  std::string problem;
  std::uint32_t sequence = 0;

 private:
  void open(const std::string& directory, const volume_options& options) {
    home_ = *loop::make(256);
    pool_ = std::make_unique<thread_workers>(*home_, "store", 2);
    committer_ = std::make_unique<thread_workers>(*home_, "commit", 1);
    outcome<volume_hold> hold = hold_volume(directory);
    if (!hold) return fail(hold.error());
    hold_ = std::move(*hold);
    outcome<std::unique_ptr<kv_store>> kv = open_rocks_kv(metadata_path(directory), false);
    if (!kv) return fail(kv.error());
    kv_ = std::move(*kv);
    outcome<std::unique_ptr<object_store>> objects =
        open_uring_objects(objects_path(directory), *home_, *pool_);
    if (!objects) return fail(objects.error());
    objects_ = std::move(*objects);
    outcome<std::unique_ptr<volume>> files =
        volume::open(options, {*home_, *kv_, *objects_, *pool_, *committer_});
    if (!files) return fail(files.error());
    files_ = std::move(*files);
    clients_ = files_->load_clients();
    files_->recovery_ended();
  }
  void fail(const tangelo::problem& p) { problem = p.text; }

  std::unique_ptr<loop> home_;
  std::unique_ptr<thread_workers> pool_, committer_;
  volume_hold hold_;
  std::unique_ptr<kv_store> kv_;
  std::unique_ptr<object_store> objects_;
  std::unique_ptr<volume> files_;
  std::vector<client_record> clients_;
};

// Everything that a client can see.
struct seen_file {
  std::uint32_t mode = 0, links = 0;
  std::int64_t mtime_ns = 0;
  std::string content;  // or a link's target
};
using tree = std::map<std::string, seen_file>;

void look(server_life& s, std::uint64_t inode, const std::string& path, tree& into) {
  const attributes a =
      s.call(opcode::getattr, inode_call{{}, inode, 0, 0})->answered<attr_answer>().attr;
  seen_file f{a.mode, a.link_count, a.mtime_ns, {}};
  if (S_ISREG(a.mode)) {
    constexpr std::uint32_t room = 2 << 20;
    f.content = s.call(opcode::read, read_call{{}, inode, 0, 0, room, 0}, {}, room)->text();
    if (f.content.size() != a.size) f.content += " and its size is another";
  }
  if (S_ISLNK(a.mode))
    f.content = s.call(opcode::readlink, read_call{{}, inode}, {}, 8192)->text();
  into[path] = f;
  if (!S_ISDIR(a.mode)) return;
  const call_ptr c = s.call(opcode::readdir, read_call{{}, inode, 0, 2, 65536, 0}, {}, 65536);
  byte_span left = byte_span(c->out).first(c->payload);
  while (const auto e = next_entry(left))
    look(s, e->inode, path + "/" + std::string(e->name), into);
}
tree look(server_life& s) {
  tree t;
  look(s, root_inode, "", t);
  return t;
}

// One change of the workload.
struct step {
  std::size_t begin = 0, end = 0;  // events recorded before and after it
  std::uint64_t transno = 0;
  std::size_t durable = 0;  // how many steps are durable when it has ended, for all we were told
  tree after;
};

class Power : public ::testing::Test {
 protected:
  Power() {
    char name[] = "/tmp/tangelo-power-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    options_.redo_size_max = 300'000;
  }
  ~Power() override { std::filesystem::remove_all(directory_); }

  // The workload on a recorded disk, by a server and, if there is anything left, another one.
  void record() {
    const std::string v = directory_ + "/v";
    power::record_disk(v);
    ASSERT_TRUE(make_volume(v, "v", 1).has_value());
    {
      server_life s(v, options_);
      ASSERT_EQ(s.problem, "");
      s.remember();
      next_inode_ = s.call(opcode::inode_range, inode_range_call{{}, 1000})
                        ->answered<inode_range_answer>()
                        .first;
      life_ = &s;
      steps_.push_back({0, power::recorded(), 0, 0, look(s)});
      names_and_sizes();
      many_files();
    }
    if (!options_.flush) return power::stop_recording();
    server_life s(v, options_);
    ASSERT_EQ(s.problem, "");
    s.sequence = 10'000;
    life_ = &s;
    // What the first server answered early and did not commit is gone with it.
    while (steps_.back().transno > last_change(s)) steps_.pop_back();
    overwrites();
    room_and_copies();
    s.stop();
    power::stop_recording();
  }

  // Of the only client, by its reply records.
  static std::uint64_t last_change(server_life& s) {
    std::uint64_t recorded = 0;
    for (const reply_record& r : s.clients()[0].replies) recorded = std::max(recorded, r.transno);
    return recorded;
  }

  // "" or what is wrong after power failed at `cut`.
  std::string cut(std::size_t at, power::fate f, power::lie l = power::lie::none) {
    const std::string v = directory_ + "/cut";
    std::filesystem::remove_all(v);
    std::filesystem::create_directory(v);
    power::make_image(at, f, seed_ + at, l, v);
    server_life s(v, volume_options{});
    if (!s.problem.empty()) return "does not open: " + s.problem;
    const std::string found = compare(s, at);
    if (!found.empty()) return found;
    s.sequence = 20'000;
    make_call m;
    m.parent = root_inode, m.inode = next_inode_ + 100, m.name = "after", m.mode = 0644;
    if (s.call(opcode::mknod, m)->status != error_code::ok) return "nothing can be made";
    return "";
  }
  // How many cuts went wrong; what the first was about.
  std::size_t cut_everywhere(power::lie l, std::string& first) {
    const std::uint64_t every = std::max<std::uint64_t>(1, number_from("TANGELO_POWER_EVERY", 20));
    std::size_t wrong = 0, cuts = 0;
    for (std::size_t at = steps_.front().end; at <= power::recorded(); at += every) {
      for (const power::fate f : {power::fate::lost, power::fate::mixed, power::fate::mixed}) {
        ++cuts;
        seed_ += 1'000'003;
        const std::string what = cut(at, f, l);
        if (what.empty()) continue;
        if (++wrong == 1)
          first = "power fails before event " + std::to_string(at) + " (" + power::describe(at) +
                  "), seed " + std::to_string(seed_) + ": " + what;
        if (l != power::lie::none) return wrong;
      }
    }
    std::printf("%zu events, %zu steps, %zu cuts, %zu wrong\n", power::recorded(), steps_.size(),
                cuts, wrong);
    return wrong;
  }

  std::string directory_;
  volume_options options_;
  std::uint64_t seed_ = number_from("TANGELO_POWER_SEED", 1);

 private:
  template <class Body>
  std::uint64_t change(opcode op, const Body& body, std::string_view in = {}) {
    step s;
    s.begin = power::recorded();
    const bool early = steps_.size() % 4 != 0 && op != opcode::fsync;
    const call_ptr c = life_->call(op, body, in, 0, early);
    EXPECT_EQ(c->status, error_code::ok) << name_of(op);
    s.transno = std::max(c->answered_transno, steps_.back().transno);
    s.durable = early ? steps_.back().durable : steps_.size();
    for (std::size_t i = steps_.size(); i > s.durable; --i) {
      const std::uint64_t transno = i == steps_.size() ? s.transno : steps_[i].transno;
      if (transno <= life_->files().last_committed()) s.durable = i;
    }
    s.end = power::recorded();
    s.after = look(*life_);
    steps_.push_back(std::move(s));
    return next_inode_ - 1;
  }
  std::uint64_t make(opcode op, std::uint64_t parent, std::string_view name,
                     std::string_view in = {}) {
    make_call m;
    m.parent = parent, m.inode = next_inode_++, m.name = name;
    m.mode = op == opcode::mkdir ? 0755 : 0644;
    return change(op, m, in);
  }
  void write(std::uint64_t f, std::uint64_t offset, std::size_t size, char with) {
    const std::string data(size, with);
    change(opcode::write, write_call{{}, f, 0, offset, static_cast<std::uint32_t>(size), 0}, data);
  }
  void fsync(std::uint64_t f) { change(opcode::fsync, fsync_call{{}, f, 0, 0}); }
  void resize(std::uint64_t f, std::uint64_t size) {
    setattr_call c;
    c.inode = f, c.which = set_attr::size, c.size = size;
    change(opcode::setattr, c);
  }

  void names_and_sizes() {
    const std::uint64_t d = make(opcode::mkdir, root_inode, "d");
    const std::uint64_t f = make(opcode::mknod, root_inode, "f");
    write(f, 0, 100, 'a');
    write(f, 50, 10'000, 'b');
    write(f, 10'000, 200'000, 'c');
    fsync(f);
    change(opcode::rename, rename_call{{}, root_inode, d, 0, "f", "g"});
    const std::uint64_t h = make(opcode::mknod, root_inode, "h");
    write(h, 0, 300'000, 'd');
    change(opcode::rename, rename_call{{}, root_inode, d, 0, "h", "g"});  // f is no more
    resize(h, 5'000);
    write(h, 200'000, 70'000, 'e');  // a hole before it
    fsync(h);
    change(opcode::link, link_call{{}, h, root_inode, "l"});
    change(opcode::unlink, name_call{{}, d, "g"});
    make(opcode::symlink, root_inode, "s", "where/it/points");
    make(opcode::mkdir, d, "e");
    change(opcode::rmdir, name_call{{}, d, "e"});
    change(opcode::unlink, name_call{{}, root_inode, "l"});
  }
  void many_files() {  // more redo records than may be: a checkpoint
    for (int i = 0; i < 12; ++i) {
      const std::string name = "m" + std::to_string(i);
      const std::uint64_t f = make(opcode::mknod, root_inode, name);
      write(f, 0, 40'000, static_cast<char>('A' + i));
      if (i % 3 == 0) change(opcode::unlink, name_call{{}, root_inode, name});
      if (i % 5 == 2) fsync(f);
    }
  }
  void overwrites() {
    const std::uint64_t f = make(opcode::mknod, root_inode, "o");
    write(f, 0, 500'000, '0');
    fsync(f);
    for (char i = '1'; i <= '6'; ++i) {
      write(f, 65'536 * static_cast<std::uint64_t>(i - '0') + 100, 70'000, i);
      if (i == '3') resize(f, 250'000);
      if (i == '5') fsync(f);
    }
  }

  void room_and_copies() {
    const std::uint64_t f = make(opcode::mknod, root_inode, "r");
    const auto space = [this, f](std::uint64_t offset, std::uint64_t size, std::uint32_t mode) {
      change(opcode::fallocate, space_call{{}, f, 0, offset, size, mode});
    };
    write(f, 0, 3000, 'r');
    space(0, 100'000, space_mode::keep_size);
    write(f, 2000, 80'000, 's');
    fsync(f);
    space(1000, 50'000, space_mode::keep_size | space_mode::punch_hole);
    write(f, 20'000, 10'000, 't');
    space(25'000, 200'000, space_mode::zero_range);
    const std::uint64_t g = make(opcode::mknod, root_inode, "copy");
    write(g, 0, 2000, 'g');
    change(opcode::copy_range, copy_call{{}, f, 0, 15'000, g, 0, 1000, 100'000});
    write(f, 0, 90'000, 'u');
    resize(f, 30'000);
    space(0, 60'000, 0);
    fsync(g);
  }

  // Is it the tree after one of the steps that may have survived?
  std::string compare(server_life& s, std::size_t at) {
    std::size_t durable = 0, begun = 0;
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      if (steps_[i].end <= at) durable = std::max(durable, steps_[i].durable);
      if (steps_[i].begin < at || steps_[i].end <= at) begun = i;
    }
    if (s.clients().size() != 1) return "the client is not known";
    const std::uint64_t recorded = last_change(s);
    const tree now = look(s);
    std::string closest = "no step has this transno: " + std::to_string(recorded);
    for (std::size_t i = durable; i <= begun; ++i) {
      if (steps_[i].transno != recorded && i != 0) continue;
      closest = difference(now, i, begun);
      if (closest.empty()) return "";
    }
    return "steps durable " + std::to_string(durable) + ", begun " + std::to_string(begun) + ": " +
           closest;
  }
  std::string difference(const tree& now, std::size_t i, std::size_t begun) const {
    const tree& then = steps_[i].after;
    for (const auto& [path, f] : then)
      if (!now.contains(path)) return path + " is missing";
    for (const auto& [path, f] : now) {
      const auto old = then.find(path);
      if (old == then.end()) return path + " should not be there";
      if (f.mode != old->second.mode || f.links != old->second.links ||
          f.mtime_ns != old->second.mtime_ns)
        return path + " has other attributes";
      if (f.content.size() != old->second.content.size()) return path + " has another size";
      for (std::size_t b = 0; b < f.content.size(); ++b)
        if (f.content[b] != old->second.content[b] && !comes(path, b, f.content[b], i, begun))
          return path + " has another byte at " + std::to_string(b);
    }
    return "";
  }
  // Bytes that are overwritten and not synced may be the new ones already.
  bool comes(const std::string& path, std::size_t b, char c, std::size_t i,
             std::size_t begun) const {
    for (std::size_t later = i + 1; later <= begun; ++later) {
      const auto f = steps_[later].after.find(path);
      if (f != steps_[later].after.end() && b < f->second.content.size() &&
          f->second.content[b] == c)
        return true;
    }
    return false;
  }

  std::vector<step> steps_;  // the first is the empty volume
  server_life* life_ = nullptr;
  std::uint64_t next_inode_ = 0;
};

TEST_F(Power, AStoreIsAPrefixWithAllThatWasPromisedAfterACutAnywhere) {
  record();
  std::string first;
  EXPECT_EQ(cut_everywhere(power::lie::none, first), 0u) << first;
}

TEST_F(Power, WithoutFlushesTheSameTestFindsTheLoss) {
  options_.flush = false;
  record();
  std::string first;
  EXPECT_NE(cut_everywhere(power::lie::object_syncs, first), 0u) << "negative control";
}

class PowerOfLiars : public Power, public ::testing::WithParamInterface<power::lie> {};

TEST_P(PowerOfLiars, ADiskThatDoesNotSyncIsFoundOut) {
  record();
  std::string first;
  EXPECT_NE(cut_everywhere(GetParam(), first), 0u) << "negative control";
  std::printf("%s\n", first.c_str());
}

INSTANTIATE_TEST_SUITE_P(Each, PowerOfLiars,
                         ::testing::Values(power::lie::object_syncs, power::lie::log_syncs,
                                           power::lie::table_syncs, power::lie::table_names,
                                           power::lie::object_names));

}  // namespace
}  // namespace tangelo::testing_volume
