// Long random runs: random files, random faults, one model of what must be there. To repeat one:
//   TANGELO_SIM_SEED=N build/.../sim_test --gtest_filter='SimRandom.*'
// and to run many: TANGELO_SIM_RUNS=N likewise.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <memory>

#include "base/crc32c.h"
#include "base/prng.h"
#include "tests/sim/run.h"

namespace tangelo::sim {
namespace {

// What one application's files must be. A name is at most at one file, so there are no links.
struct model {
  explicit model(std::uint64_t seed, std::string p) : random(seed), prefix(std::move(p)) {}
  prng random;
  std::string prefix;
  std::map<std::string, std::string> files;
  std::string problem;
  std::size_t ops_left = 500;

  std::string random_name() { return prefix + static_cast<char>('0' + random.below(5)); }
};

void expect(model& m, const std::string& what, int got, int want) {
  if (got != want && m.problem.empty())
    m.problem = fmt::format("{}: error {} instead of {}", what, got, want);
}

// An op whose error the model knows; `then` changes the model when it succeeds.
app_op checked(std::shared_ptr<model> m, app_op op, int want,
               std::function<void(app&, const fake_kernel::answer&)> then) {
  const std::string what = op.what;
  op.what = fmt::format("want {} {}", want, what);
  op.note = [m, what, want, then](app& a, const fake_kernel::answer& r) {
    expect(*m, what, 0, want);
    if (then) then(a, r);
    return std::string("ok");
  };
  return op;
}

std::optional<app_op> random_op(const std::shared_ptr<model>& m, app& a) {
  // The notes say what came of the op before: an error is checked here, a success in its note.
  if (!a.notes().empty()) {
    const std::string& last = a.notes().back();
    int want = 0;
    if (std::sscanf(last.c_str(), "want %d", &want) == 1) {
      const std::size_t at = last.rfind(": error ");
      const int got = at == std::string::npos ? 0 : std::atoi(last.c_str() + at + 8);
      expect(*m, last, got, want);
    }
  }
  if (m->ops_left-- == 0 || !m->problem.empty()) return std::nullopt;
  const std::string name = m->random_name();
  const bool there = m->files.contains(name);
  const auto node_op = [&a, &name] { return a.node(name); };
  switch (m->random.below(7)) {
    case 0:
      return checked(m, ops::mknod("/", name, S_IFREG | 0644), there ? EEXIST : 0,
                     [m, name](app& x, const fake_kernel::answer& r) {
                       x.nodes[name] = r.as<fuse_entry_out>().nodeid;
                       m->files[name] = "";
                     });
    case 1:
      return checked(m, ops::unlink("/", name), there ? 0 : ENOENT,
                     [m, name](app&, const fake_kernel::answer&) { m->files.erase(name); });
    case 2: {
      const std::string to = m->random_name();
      return checked(m, ops::rename("/", name, "/", to), there ? 0 : ENOENT,
                     [m, name, to](app& x, const fake_kernel::answer&) {
                       if (name == to) return;
                       x.nodes[to] = x.nodes[name];
                       m->files[to] = m->files[name];
                       m->files.erase(name);
                     });
    }
    case 3: {
      if (!there) break;
      const std::uint64_t offset = m->random.below(6000);
      const std::size_t size = m->random.below(8) == 0 ? 1 + m->random.below(200'000)
                                                        : 1 + m->random.below(9000);
      const std::string data(size, static_cast<char>('a' + m->random.below(26)));
      app_op op{fmt::format("write {} {} {}", name, offset, size),
                [node = node_op(), offset, data](app&, std::uint64_t u) {
                  return fuse_request::write(node, u, 0, offset, bytes_of(data));
                },
                nullptr};
      return checked(m, std::move(op), 0, [=](app&, const fake_kernel::answer& r) {
        std::string& f = m->files[name];
        if (f.size() < offset + size) f.resize(offset + size);
        f.replace(offset, size, data);
        if (r.as<fuse_write_out>().size != size) m->problem = "a short write";
      });
    }
    case 4: {
      if (!there) break;
      const std::uint64_t size = m->random.below(20'000);
      return checked(m, ops::set_size(name, size), 0, [=](app&, const fake_kernel::answer&) {
        m->files[name].resize(size);
      });
    }
    case 5:
      return checked(m, ops::lookup("/", name), there ? 0 : ENOENT,
                     [m, name](app&, const fake_kernel::answer& r) {
                       const auto e = r.as<fuse_entry_out>();
                       if (e.attr.size != m->files[name].size())
                         m->problem = fmt::format("{} has {} bytes instead of {}", name,
                                                  e.attr.size, m->files[name].size());
                     });
    default: break;
  }
  if (!there) return checked(m, ops::lookup("/", name), ENOENT, nullptr);
  app_op op{"read " + name,
            [node = node_op()](app&, std::uint64_t u) {
              return fuse_request::read(node, u, 0, 0, 1 << 20);
            },
            nullptr};
  return checked(m, std::move(op), 0, [m, name](app&, const fake_kernel::answer& r) {
    if (text_of(r.body) != m->files[name]) m->problem = "wrong bytes in " + name;
  });
}

void random_fault(prng& random, world& w) {
  const std::size_t i = random.below(w.mount_count());
  switch (random.below(1200)) {
    case 0:
    case 1: w.kill(victim::core, i); break;
    case 2: w.kill(victim::connection, i); break;
    case 3: {
      loop_network& net = w.at(i).network();
      net.swallow_at(net.delivered() + 1 + random.below(5));
      break;
    }
    case 4:
      if (w.has_server()) w.power_cut(random.below(3), random.below(2) == 0);
      break;
    case 5: w.kill(victim::server); break;
    case 6: w.kill(victim::front_end, i); break;
    case 7: w.kill(victim::watchdog, i); break;
    case 8:
      w.server().set_extra_at_tap(random.below(3));
      w.server().set_judge(at_nth(1 + random.below(40), fate::die,
                                  [](const event&) { return true; }));
      break;
    default: break;
  }
}

// What the models say is there, as far as the dump of the store says it.
std::string store_difference(const std::vector<std::shared_ptr<model>>& models,
                             const std::vector<std::string>& store) {
  std::size_t files = 0;
  for (const auto& m : models) {
    files += m->files.size();
    for (const auto& [name, contents] : m->files) {
      const std::string bytes = fmt::format(" size {} bytes {:08x}", contents.size(),
                                            crc32c(bytes_of(contents)));
      bool there = false;
      for (const std::string& line : store)
        there = there || (line.starts_with("/" + name + " ") &&
                          line.find(bytes) != std::string::npos);
      if (!there) return name + " is not as it was left";
    }
  }
  const std::size_t lines = store.size() - 1;  // without the root
  return lines == files ? "" : fmt::format("{} files instead of {}", lines, files);
}

// Steps that were made.
std::uint64_t random_run(std::uint64_t seed) {
  SCOPED_TRACE(fmt::format("repeat with TANGELO_SIM_SEED={}", seed));
  std::vector<std::shared_ptr<model>> models;
  std::vector<app_script> scripts;
  const std::size_t mounts = 1 + seed % 2;
  for (const char* prefix : {"x", "y", "v", "z"}) {
    if (models.size() == 2 * mounts) break;
    models.push_back(std::make_shared<model>(seed * 4 + scripts.size(), prefix));
    scripts.push_back([m = models.back()](app& a) { return random_op(m, a); });
  }
  auto faults = std::make_shared<prng>(seed ^ 0xfau);
  const run_result r = run(
      {.seed = seed, .mounts = mounts}, scripts,
      [faults](world& w, auto&, std::uint64_t) { random_fault(*faults, w); }, 400'000);
  for (const auto& m : models) EXPECT_EQ(m->problem, "");
  EXPECT_EQ(harm(r), "");
  EXPECT_EQ(store_difference(models, r.store), "");
  return r.steps;
}

TEST(SimRandom, RandomFilesSurviveRandomFaults) {
  if (const char* fixed = std::getenv("TANGELO_SIM_SEED")) {
    (void)random_run(std::strtoull(fixed, nullptr, 10));
    return;
  }
  std::uint64_t count = 120;
  if (const char* n = std::getenv("TANGELO_SIM_RUNS")) count = std::strtoull(n, nullptr, 10);
  std::uint64_t steps = 0;
  for (std::uint64_t seed = 1; seed <= count && !testing::Test::HasFailure(); ++seed)
    steps += random_run(seed);
  RecordProperty("steps", std::to_string(steps));
  std::printf("%llu runs, %llu steps\n", static_cast<unsigned long long>(count),
              static_cast<unsigned long long>(steps));
}

}  // namespace
}  // namespace tangelo::sim
