// What a server tells Prometheus.
#include <gtest/gtest.h>

#include <set>

#include "server/server_metrics.h"
#include "tests/unit/metric_parser.h"

namespace tangelo {
namespace {

server_figures some_figures() {
  server_figures f;
  volume_figures home{"home", "/", true, 7, {}};
  home.status.commits = 12;
  f.volumes = {home, {"other", "", false, 0, {}}};
  export_status a;
  a.volume = "home";
  a.address = "127.0.0.1:9";
  a.calls = 99;
  a.silent_ms = 1500;
  a.client.incarnation = 1;
  export_status b = a;
  b.client.incarnation = 2;  // of the same client
  f.clients = {a, b};
  f.recovering = true;
  return f;
}

TEST(ServerMetrics, AreSoundWithAndWithoutFigures) {
  op_metrics calls;
  counts_of(calls, opcode::write).started = 5;
  add_answered(calls, opcode::write, error_code::ok, 4096, 20'000);
  add_answered(calls, opcode::write, error_code::io, 4096, 20'000);
  const server_figures f = some_figures();
  const parsed_metrics m = parse_metrics(metrics_of_server(&f, calls));
  EXPECT_EQ(m.problems, "");
  EXPECT_EQ(m.value("tangelo_server_up"), 1);
  EXPECT_EQ(m.value("tangelo_server_calls_started_total{op=\"write\"}"), 5);
  EXPECT_EQ(m.value("tangelo_server_calls_answered_total{op=\"write\"}"), 2);
  EXPECT_EQ(m.value("tangelo_server_calls_failed_total{op=\"write\"}"), 1);
  EXPECT_EQ(m.value("tangelo_server_bytes_total{op=\"write\"}"), 4096);
  EXPECT_EQ(m.value("tangelo_server_io_errors_total"), 1);
  EXPECT_EQ(m.value("tangelo_server_call_seconds_count{class=\"write\"}"), 2);
  EXPECT_EQ(m.value("tangelo_server_volume_commits_total{volume=\"home\"}"), 12);
  EXPECT_EQ(m.value("tangelo_server_volume_serving{volume=\"other\"}"), 0);
  EXPECT_GT(m.value("tangelo_server_volume_store_size_bytes{volume=\"home\"}"), 0);
  EXPECT_EQ(m.value("tangelo_server_recovering"), 1);
  const std::string client =
      "{volume=\"home\",client=\"00000000000000000000000000000000\",incarnation=\"1\"}";
  EXPECT_EQ(m.value("tangelo_server_client_calls_total" + client), 99);
  EXPECT_EQ(m.value("tangelo_server_client_silent_seconds" + client), 1.5);
  const parsed_metrics hung = parse_metrics(metrics_of_server(nullptr, calls));
  EXPECT_EQ(hung.problems, "");
  EXPECT_EQ(hung.value("tangelo_server_up"), 0);
  EXPECT_EQ(hung.value("tangelo_server_calls_answered_total{op=\"write\"}"), 2);
}

// The tables of docs/OPERATIONS.md are the list of names that people may rely on.
TEST(ServerMetrics, AreThoseOfTheManual) {
  const std::set<std::string> documented = metrics_in_manual("tangelo_server_");
  ASSERT_FALSE(documented.empty());
  const server_figures f = some_figures();
  std::set<std::string> told;
  for (const auto& [name, type] : parse_metrics(metrics_of_server(&f, op_metrics{})).types)
    told.insert(name);
  EXPECT_EQ(documented, told);
}

}  // namespace
}  // namespace tangelo
