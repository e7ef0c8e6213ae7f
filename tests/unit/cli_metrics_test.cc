// What the command line makes of the metrics in an arena: figures, text for Prometheus, top, trace.
#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cctype>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "base/clock.h"
#include "cli/metrics_json.h"
#include "cli/mount_metrics.h"
#include "cli/op_paths.h"
#include "cli/op_watch.h"
#include "cli/top_text.h"
#include "protocol/metric_text.h"
#include "protocol/records.h"
#include "protocol/text_endpoint.h"
#include "tests/unit/arena_fixture.h"
#include "tests/unit/metric_parser.h"

namespace tangelo {
namespace {

mount_sample sample(const std::string& point) {
  mount_sample s;
  s.view.mount = {"n", point, "h:/v"};
  s.view.supervised = s.view.known = s.view.core_attached = true;
  s.view.core.import_state = "FULL";
  s.view.path.state = name_of(path_state::running);
  for (std::size_t i = 0; i < process_role_count; ++i)
    s.view.processes[i].role = name_of(static_cast<process_role>(i));
  return s;
}

TEST(MetricText, IsWhatPrometheusReads) {
  metric_text t;
  t.family("a_total", metric_kind::counter, "Things.");
  t.sample({{"mount", "/a\"b\\c\n\xc3\xa4"}}, 3);
  t.family("b_seconds", metric_kind::histogram, "Times.");
  std::array<std::uint64_t, latency_bucket_count> counts{};
  counts[0] = 2;
  counts[latency_bucket_count - 1] = 1;
  t.latency({}, counts, 1'500'000'000);
  const parsed_metrics m = parse_metrics(t.str());
  EXPECT_EQ(m.problems, "");
  EXPECT_EQ(m.value("a_total{mount=\"/a\\\"b\\\\c%0A%C3%A4\"}"), 3);
  EXPECT_EQ(m.value("b_seconds_bucket{le=\"1.6e-05\"}"), 2);
  EXPECT_EQ(m.value("b_seconds_bucket{le=\"4.194304\"}"), 2);
  EXPECT_EQ(m.value("b_seconds_bucket{le=\"+Inf\"}"), 3);
  EXPECT_EQ(m.value("b_seconds_sum"), 1.5);
  EXPECT_EQ(m.value("b_seconds_count"), 3);
}

TEST(MetricsJson, HasEachSampleWithItsLabels) {
  metric_text t;
  EXPECT_EQ(metrics_json(t.str()), "{\"metrics\":[]}\n");
  t.family("a_total", metric_kind::counter, "Things.");
  t.sample({{"mount", "/a\"b\\c,d=e"}, {"op", "read"}}, 3);
  t.family("up", metric_kind::gauge, "It is.");
  t.seconds({}, 1'500'000'000);
  EXPECT_EQ(metrics_json(t.str()),
            "{\"metrics\":[{\"name\":\"a_total\",\"labels\":{\"mount\":\"/a\\\"b\\\\c,d=e\","
            "\"op\":\"read\"},\"value\":3},{\"name\":\"up\",\"labels\":{},\"value\":1.5}]}\n");
}

TEST(MetricParser, SeesWhatIsWrong) {
  EXPECT_NE(parse_metrics("x 1\n").problems, "");
  EXPECT_NE(parse_metrics("# HELP x y\n# TYPE x counter\nx 1\n").problems, "");  // not _total
  EXPECT_NE(parse_metrics("# HELP x y\n# TYPE x gauge\nx 1\nx 2\n").problems, "");
  EXPECT_NE(parse_metrics("# HELP x y\n# TYPE x gauge\nx{a=1} 1\n").problems, "");
  EXPECT_NE(parse_metrics("# HELP x y\n# TYPE x gauge\nx 1").problems, "");
  EXPECT_EQ(parse_metrics("# HELP x y\n# TYPE x gauge\nx 1\n").problems, "");
}

TEST(MountMetrics, AreSoundWithNoMountOneManyAndOneThatDoesNotAnswer) {
  mount_sample silent;
  silent.view.mount = {"s", "/silent", "h:/v"};
  const std::vector<std::vector<mount_sample>> all{
      {}, {sample("/a")}, {sample("/a"), silent, sample("/b")}, {silent}};
  for (const auto& mounts : all)
    EXPECT_EQ(parse_metrics(metrics_of_mounts(mounts)).problems, "") << mounts.size();
  const parsed_metrics m = parse_metrics(metrics_of_mounts(all[2]));
  EXPECT_EQ(m.value("tangelo_up{mount=\"/silent\"}"), 0);
  EXPECT_EQ(m.value("tangelo_up{mount=\"/a\"}"), 1);
  EXPECT_EQ(m.value("tangelo_mount_state{mount=\"/silent\",state=\"UNSUPERVISED\"}"), 1);
}

TEST(MountMetrics, OfTwoMountsOnOnePathAreTheTopmostOnes) {
  mount_sample below = sample("/a");
  below.view.supervised = false;
  const parsed_metrics m = parse_metrics(metrics_of_mounts({below, sample("/b"), sample("/a")}));
  EXPECT_EQ(m.problems, "");
  EXPECT_EQ(m.value("tangelo_up{mount=\"/a\"}"), 1);
}

TEST(MountMetrics, TellEveryCounterAndFigure) {
  mount_sample s = sample("/a");
  s.figures.ops[static_cast<std::size_t>(opcode::read)] = {7, 6, 5, 4096};
  s.figures.latencies[static_cast<std::size_t>(op_class::read)].buckets[3] = 6;
  s.figures.io_errors = 2;
  s.now.by_state[static_cast<std::size_t>(op_state::waiting)] = 9;
  s.now.oldest_ns = 2 * ns_per_s;
  s.view.counters[0] = {"requests", 11};
  const parsed_metrics m = parse_metrics(metrics_of_mounts({s}));
  EXPECT_EQ(m.problems, "");
  EXPECT_EQ(m.value("tangelo_ops_started_total{mount=\"/a\",op=\"read\"}"), 7);
  EXPECT_EQ(m.value("tangelo_ops_answered_total{mount=\"/a\",op=\"read\"}"), 6);
  EXPECT_EQ(m.value("tangelo_ops_failed_total{mount=\"/a\",op=\"read\"}"), 5);
  EXPECT_EQ(m.value("tangelo_op_bytes_total{mount=\"/a\",op=\"read\"}"), 4096);
  EXPECT_EQ(m.value("tangelo_op_seconds_count{mount=\"/a\",class=\"read\"}"), 6);
  EXPECT_EQ(m.value("tangelo_op_io_errors_total{mount=\"/a\"}"), 2);
  EXPECT_EQ(m.value("tangelo_ops_pending{mount=\"/a\",state=\"waiting\"}"), 9);
  EXPECT_EQ(m.value("tangelo_op_oldest_seconds{mount=\"/a\"}"), 2);
  EXPECT_EQ(m.value("tangelo_requests_total{mount=\"/a\"}"), 11);
}

// The tables of docs/OPERATIONS.md are the list of names that people may rely on.
TEST(MountMetrics, AreThoseOfTheManual) {
  std::set<std::string> documented = metrics_in_manual("tangelo_");
  std::erase_if(documented, [](const std::string& n) { return n.starts_with("tangelo_server_"); });
  ASSERT_FALSE(documented.empty());
  std::set<std::string> told;
  for (const auto& [name, type] : parse_metrics(metrics_of_mounts({sample("/a")})).types)
    told.insert(name);
  EXPECT_EQ(documented, told);
}

TEST(Figures, OfTwoLooksAreWhatHappenedBetween) {
  op_figures a, b;
  a.ops[3].answered = 10;
  b.ops[3].answered = 17;
  a.latencies[2].sum_ns = 50;  // another mount came: nothing negative
  EXPECT_EQ(difference(b, a).ops[3].answered, 7u);
  EXPECT_EQ(difference(b, a).latencies[2].sum_ns, 0u);
}

TEST(Figures, QuantilesLieInTheirBucket) {
  latency_row r;
  EXPECT_EQ(quantile_ns(r, 0.99), 0u);
  r.buckets[0] = 98;
  r.buckets[5] = 2;
  EXPECT_LE(quantile_ns(r, 0.5), latency_limit_us(0) * 1000);
  EXPECT_GT(quantile_ns(r, 0.99), latency_limit_us(4) * 1000);
  EXPECT_LE(quantile_ns(r, 0.99), latency_limit_us(5) * 1000);
  r.buckets[latency_bucket_count - 1] = 1000;
  EXPECT_EQ(quantile_ns(r, 0.99), latency_limit_us(latency_bucket_count - 2) * 1000);
}

TEST(Top, ShowsRatesOfTheMountsThatAreInBothLooks) {
  mount_sample a = sample("/a"), b = sample("/a");
  b.taken_ns = 2 * ns_per_s;
  const auto read = static_cast<std::size_t>(opcode::read);
  b.figures.ops[read] = {200, 200, 20, 1 << 20};
  b.figures.latencies[static_cast<std::size_t>(op_class::read)].buckets[2] = 200;
  b.figures.latencies[static_cast<std::size_t>(op_class::read)].sum_ns = 200 * 50'000;
  // Lookups that find nothing are answered, and no errors.
  b.figures.ops[static_cast<std::size_t>(opcode::lookup)] = {40, 40, 40, 0};
  const std::string text = top_text({a}, {b, sample("/new")});
  EXPECT_NE(text.find("120 ops/s, 10 errors/s"), std::string::npos) << text;
  EXPECT_NE(text.find("50us"), std::string::npos) << text;
  EXPECT_NE(text.find("/new"), std::string::npos);
  const std::string json = top_json({a}, {b});
  EXPECT_NE(json.find("\"class\":\"read\",\"ops_per_s\":100,\"mean_us\":50"), std::string::npos)
      << json;
}

// ---- ops as they pass ---------------------------------------------------------------------------

struct watched_arena {
  mapped_arenas arenas = mapped_arenas::make();
  void set(std::uint32_t index, std::uint64_t xid, op_state state, std::uint64_t arrived_ns = 0) {
    op_cell cell;
    cell.index = index;
    cell.xid = xid;
    cell.op = opcode::read;
    cell.arrived_ns = arrived_ns;
    publish(arenas.fs->ops[index], cell, static_cast<std::uint8_t>(state), 1,
            static_cast<std::uint32_t>(xid));
    arenas.fs->next_xid.store(std::max(arenas.fs->next_xid.load(), xid));
    arenas.fs->ops_used_end.store(std::max(arenas.fs->ops_used_end.load(), index + 1));
  }
};

TEST(OpWatch, TellsAnOpWhenItHasEndedOnceAndHowLongItTook) {
  watched_arena w;
  w.set(0, 1, op_state::unknown);
  op_watch watch(*w.arenas.fs);
  EXPECT_TRUE(watch.look(10, ns_per_s).empty());
  w.set(0, 2, op_state::in_progress, 100);
  EXPECT_TRUE(watch.look(200, ns_per_s).empty());
  set_state(w.arenas.fs->ops[0], 0, 1);
  const auto seen = watch.look(400, ns_per_s);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].cell.xid, 2u);
  EXPECT_TRUE(seen[0].was_live);
  EXPECT_EQ(seen[0].age_ns, 300u);
  EXPECT_TRUE(watch.look(500, ns_per_s).empty());
  EXPECT_EQ(watch.passed_count(), 1u);
  EXPECT_EQ(watch.unseen_count(), 0u);
}

TEST(OpWatch, SeesTheLastOfThoseThatPassedBetweenTwoLooksAndCountsTheOthers) {
  watched_arena w;
  op_watch watch(*w.arenas.fs);
  for (std::uint64_t xid = 1; xid <= 5; ++xid) w.set(0, xid, op_state::unknown);
  const auto seen = watch.look(10, ns_per_s);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].cell.xid, 5u);
  EXPECT_FALSE(seen[0].was_live);
  EXPECT_EQ(watch.passed_count(), 5u);
  EXPECT_EQ(watch.unseen_count(), 4u);
}

TEST(OpWatch, TellsAnOpThatLastsLongWhileItLastsOnce) {
  watched_arena w;
  op_watch watch(*w.arenas.fs);
  w.set(0, 1, op_state::waiting, 0);
  EXPECT_TRUE(watch.look(ns_per_s - 1, ns_per_s).empty());
  ASSERT_EQ(watch.look(ns_per_s, ns_per_s).size(), 1u);
  EXPECT_TRUE(watch.look(2 * ns_per_s, ns_per_s).empty());
  set_state(w.arenas.fs->ops[0], 0, 1);
  EXPECT_EQ(watch.look(3 * ns_per_s, ns_per_s).size(), 1u);
}

TEST(OpSummary, CountsByStateAndKnowsTheOldest) {
  watched_arena w;
  w.set(0, 1, op_state::waiting, 300);
  w.set(1, 2, op_state::in_progress, 100);
  w.set(2, 3, op_state::unknown, 1);
  w.arenas.fs->ops_used_end.store(~0u);  // hostile, or damaged
  const op_summary s = summary_of(*w.arenas.fs, 1000);
  EXPECT_EQ(s.by_state[static_cast<std::size_t>(op_state::waiting)], 1u);
  EXPECT_EQ(s.by_state[static_cast<std::size_t>(op_state::in_progress)], 1u);
  EXPECT_EQ(s.oldest_ns, 900u);
}

TEST(ParseTime, KnowsItsUnits) {
  EXPECT_EQ(parse_time("250us"), 250'000u);
  EXPECT_EQ(parse_time("10ms"), 10'000'000u);
  EXPECT_EQ(parse_time("1.5s"), 1'500'000'000u);
  EXPECT_EQ(parse_time("2s"), 2'000'000'000u);
  EXPECT_EQ(parse_time("0"), 0u);
  for (const char* bad : {"", "x", "2", "10m", "-1s", "1e300s"})
    EXPECT_FALSE(parse_time(bad)) << bad;
}

TEST(OpPaths, TheRootIsTheMountPointAndNamesComeFromTheCall) {
  EXPECT_EQ(path_of({"n", "/mnt", "h:/v"}, 0, root_inode), "/mnt");
  EXPECT_EQ(path_of({"n", "/no/such/mount", "h:/v"}, 1, 77), "");
  op_cell cell;
  cell.op = opcode::lookup;
  cell.body_size = static_cast<std::uint16_t>(
      encode(name_call{{}, 1, "file\n"}, cell.body).value());
  EXPECT_EQ(name_in_directory(cell).substr(0, 4), "file");
  EXPECT_EQ(name_in_directory(cell).find('\n'), std::string::npos);
  cell.body_size = 65535;  // damaged
  (void)name_in_directory(cell);
}

// ---- the endpoint -------------------------------------------------------------------------------

std::string ask(std::uint16_t port, const std::string& request) {
  const unique_fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  EXPECT_EQ(::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(request.size()));
  std::string all;
  char bytes[4096];
  for (ssize_t n; (n = ::recv(fd.get(), bytes, sizeof bytes, 0)) > 0;)
    all.append(bytes, static_cast<std::size_t>(n));
  return all;
}

TEST(TextEndpoint, AnswersGetAndNothingElseAndEndsWhenToldTo) {
  outcome<text_endpoint> e = text_endpoint::open("127.0.0.1:0");
  ASSERT_TRUE(e);
  const std::string large(1 << 20, 'x');
  std::thread thread([&] { e->run([&large] { return large; }); });
  const std::string got = ask(e->port(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(got.starts_with("HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4"));
  EXPECT_TRUE(got.ends_with("\r\n\r\n" + large));
  EXPECT_TRUE(ask(e->port(), "GET /etc/passwd HTTP/1.1\r\n\r\n").starts_with("HTTP/1.0 404"));
  EXPECT_TRUE(ask(e->port(), "POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.0 405"));
  EXPECT_TRUE(ask(e->port(), "HEAD /metrics HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
  EXPECT_EQ(ask(e->port(), std::string(5000, 'y')), "");  // too long: closed
  EXPECT_TRUE(ask(e->port(), "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.0 200"));
  e->stop();
  thread.join();
}

TEST(TextEndpoint, WhoSaysNothingIsLeftAfterTwoSecondsAndTheNextIsServed) {
  outcome<text_endpoint> e = text_endpoint::open("127.0.0.1:0");
  ASSERT_TRUE(e);
  std::thread thread([&] { e->run([] { return std::string("t"); }); });
  std::string silent;
  std::thread slow([&] { silent = ask(e->port(), "GET /met"); });
  const std::uint64_t begin = system_clock().now_ns();
  slow.join();
  EXPECT_EQ(silent, "");
  EXPECT_LT(system_clock().now_ns() - begin, 20 * ns_per_s);
  EXPECT_TRUE(ask(e->port(), "GET / HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nt"));
  e->stop();
  thread.join();
}

TEST(TextEndpoint, ListensToThisMachineOnly) {
  for (const char* abroad : {"0.0.0.0:0", "10.1.2.3:9471", "[::]:9471", "[2001:db8::1]:9471"}) {
    const outcome<text_endpoint> e = text_endpoint::open(abroad);
    ASSERT_FALSE(e) << abroad;
    EXPECT_EQ(e.error().code, exit_code::usage);
    EXPECT_NE(e.error().hint.find("127.0.0.1"), std::string::npos);
  }
  for (const char* odd : {"", "9471", "x:1", "127.0.0.1:", "127.0.0.1:99999", "::1:5"})
    EXPECT_FALSE(text_endpoint::open(odd)) << odd;
  EXPECT_TRUE(text_endpoint::open("localhost:0"));
}

}  // namespace
}  // namespace tangelo
