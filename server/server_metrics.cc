#include "server/server_metrics.h"

#include <sys/statvfs.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>

#include "base/log.h"
#include "protocol/metric_text.h"

namespace tangelo {

namespace {

constexpr std::chrono::seconds answer_wait{2};
constexpr auto counts_up = metric_kind::counter;
constexpr auto is_gauge = metric_kind::gauge;

std::uint64_t look_at(const atomic_u64& counter) {
  return counter.load(std::memory_order_relaxed);
}

void put_calls(metric_text& t, const op_metrics& calls) {
  struct column {
    std::string_view name;
    std::string_view help;
    atomic_u64 op_counts::*value;
  };
  constexpr column columns[] = {
      {"tangelo_server_calls_started_total", "Calls whose execution began.", &op_counts::started},
      {"tangelo_server_calls_answered_total", "Calls that were executed.", &op_counts::answered},
      {"tangelo_server_calls_failed_total",
       "Calls answered with an error, ENOENT of a lookup included.", &op_counts::failed}};
  for (const column& c : columns) {
    t.family(c.name, counts_up, c.help);
    for (std::size_t i = 1; i < opcode_count; ++i)
      t.sample({{"op", name_of(static_cast<opcode>(i))}}, look_at(calls.ops[i].*c.value));
  }
  t.family("tangelo_server_bytes_total", counts_up, "Bytes that were read and written.");
  for (const opcode op : {opcode::read, opcode::write})
    t.sample({{"op", name_of(op)}}, look_at(calls.ops[static_cast<std::size_t>(op)].bytes));
  t.family("tangelo_server_io_errors_total", counts_up, "Calls answered EIO.");
  t.sample({}, look_at(calls.io_errors));
  t.family("tangelo_server_call_seconds", metric_kind::histogram,
           "Time of execution, the wait for its commit included, by class of operations.");
  for (std::size_t i = 0; i < op_class_count; ++i) {
    std::array<std::uint64_t, latency_bucket_count> counts{};
    for (std::size_t k = 0; k < counts.size(); ++k)
      counts[k] = look_at(calls.latencies[i].buckets[k]);
    t.latency({{"class", name_of(static_cast<op_class>(i))}}, counts,
              look_at(calls.latencies[i].sum_ns));
  }
}

void put_volumes(metric_text& t, const server_figures& f) {
  t.family("tangelo_server_volume_serving", is_gauge,
           "1: served here; 0: standby, another server has it.");
  for (const volume_figures& v : f.volumes) t.sample({{"volume", v.name}}, v.serving ? 1 : 0);
  const auto each = [&](std::string_view name, metric_kind kind, std::string_view help,
                        auto value) {
    t.family(name, kind, help);
    for (const volume_figures& v : f.volumes)
      if (v.serving) t.sample({{"volume", v.name}}, value(v));
  };
  using row = const volume_figures&;
  each("tangelo_server_volume_boot_generation", is_gauge, "Starts of the volume.",
       [](row v) { return v.boot_generation; });
  each("tangelo_server_volume_changes_total", counts_up, "Changes that were written.",
       [](row v) { return v.status.executed; });
  each("tangelo_server_volume_commits_total", counts_up, "Group commits.",
       [](row v) { return v.status.commits; });
  each("tangelo_server_volume_checkpoints_total", counts_up, "Checkpoints.",
       [](row v) { return v.status.checkpoints; });
  each("tangelo_server_volume_protection_rereads_total", counts_up,
       "Blocks that did not fit their guard and were read again.",
       [](row v) { return v.status.protection_rereads; });
  each("tangelo_server_volume_protection_faults_total", counts_up,
       "Blocks that did not fit their guard in the end.",
       [](row v) { return v.status.protection_faults; });
  each("tangelo_server_volume_mended_regions_total", counts_up,
       "Regions of files whose guards were made anew.",
       [](row v) { return v.status.mended_regions; });
  each("tangelo_server_volume_warmed_total", counts_up,
       "Attempts that were repeated because a read needed the disk.",
       [](row v) { return v.status.warmed; });
  each("tangelo_server_volume_held_answers_total", counts_up,
       "Answers that waited for another client's change to be durable.",
       [](row v) { return v.status.held_answers; });
  each("tangelo_server_volume_running", is_gauge, "Operations under way.",
       [](row v) { return v.status.running; });
  each("tangelo_server_volume_open_handles", is_gauge, "Open files of clients.",
       [](row v) { return v.status.open_handles; });
  each("tangelo_server_volume_redo_bytes", is_gauge, "Size of the redo records.",
       [](row v) { return v.status.redo_size; });
  each("tangelo_server_volume_last_committed", is_gauge, "Last transaction that is durable.",
       [](row v) { return v.status.last_committed; });
}

// Of the filesystems that the volumes lie on.
void put_space(metric_text& t, const server_figures& f) {
  const auto each = [&](std::string_view name, std::string_view help, auto value) {
    t.family(name, is_gauge, help);
    for (const volume_figures& v : f.volumes) {
      struct statvfs s{};
      if (v.serving && ::statvfs(v.directory.c_str(), &s) == 0)
        t.sample({{"volume", v.name}}, value(s));
    }
  };
  each("tangelo_server_volume_store_size_bytes", "Size of the filesystem the volume lies on.",
       [](const struct statvfs& s) { return std::uint64_t{s.f_blocks} * s.f_frsize; });
  each("tangelo_server_volume_store_free_bytes", "What is free there.",
       [](const struct statvfs& s) { return std::uint64_t{s.f_bavail} * s.f_frsize; });
}

void put_clients(metric_text& t, const server_figures& f) {
  t.family("tangelo_server_recovering", is_gauge, "1: a recovery window is open.");
  t.sample({}, f.recovering ? 1 : 0);
  t.family("tangelo_server_client_info", is_gauge, "A client's address and state; always 1.");
  for (const export_status& c : f.clients)
    t.sample({{"volume", c.volume},
              {"client", hex_of(c.client.client_id)},
              {"incarnation", std::to_string(c.client.incarnation)},
              {"address", c.address},
              {"state", name_of(c.phase)}},
             1);
  const auto each = [&](std::string_view name, metric_kind kind, std::string_view help,
                        auto value) {
    t.family(name, kind, help);
    for (const export_status& c : f.clients)
      t.sample({{"volume", c.volume},
                {"client", hex_of(c.client.client_id)},
                {"incarnation", std::to_string(c.client.incarnation)}},
               value(c));
  };
  using row = const export_status&;
  each("tangelo_server_client_calls_total", counts_up, "Calls of this client.",
       [](row c) { return c.calls; });
  each("tangelo_server_client_resent_total", counts_up, "Calls that it sent again.",
       [](row c) { return c.resent; });
  each("tangelo_server_client_running", is_gauge, "Calls of it that execute.",
       [](row c) { return std::uint64_t{c.running}; });
  each("tangelo_server_client_connected", is_gauge, "1: it is connected.",
       [](row c) { return std::uint64_t{c.address.empty() ? 0u : 1u}; });
  t.family("tangelo_server_client_silent_seconds", is_gauge, "Since it was heard last.");
  for (const export_status& c : f.clients)
    t.seconds({{"volume", c.volume},
               {"client", hex_of(c.client.client_id)},
               {"incarnation", std::to_string(c.client.incarnation)}},
              c.silent_ms * ns_per_ms);
}

}  // namespace

std::string metrics_of_server(const server_figures* figures, const op_metrics& calls) {
  metric_text t;
  t.family("tangelo_server_up", is_gauge, "1: the server's loop answers.");
  t.sample({}, figures != nullptr ? 1 : 0);
  put_calls(t, calls);
  if (figures == nullptr) return t.str();
  put_volumes(t, *figures);
  put_space(t, *figures);
  put_clients(t, *figures);
  return t.str();
}

// One that nobody waits for any more is answered into the void.
struct server_metrics::question {
  std::mutex m;
  std::condition_variable told;
  std::optional<server_figures> answer;  // guarded by m
};

outcome<std::unique_ptr<server_metrics>> server_metrics::open(
    const std::string& where, loop& home, const op_metrics& calls,
    std::function<server_figures()> look) {
  outcome<text_endpoint> endpoint = text_endpoint::open(where);
  if (!endpoint) return failure{endpoint.error()};
  log_notice("metrics: http://{}:{}/metrics", where.substr(0, where.rfind(':')),
             endpoint->port());
  return std::unique_ptr<server_metrics>(
      new server_metrics(*std::move(endpoint), home, calls, std::move(look)));
}

server_metrics::server_metrics(text_endpoint endpoint, loop& home, const op_metrics& calls,
                               std::function<server_figures()> look)
    : endpoint_(std::move(endpoint)),
      home_(home),
      calls_(calls),
      look_(std::move(look)),
      thread_([this] { endpoint_.run([this] { return text(); }); }) {}

server_metrics::~server_metrics() {
  endpoint_.stop();
  thread_.join();
}

std::string server_metrics::text() {
  const auto asked = std::make_shared<question>();
  home_.post_from_thread([this, asked] {
    server_figures f = look_();
    const std::lock_guard<std::mutex> lock(asked->m);
    asked->answer = std::move(f);
    asked->told.notify_one();
  });
  std::unique_lock<std::mutex> lock(asked->m);
  (void)asked->told.wait_for(lock, answer_wait, [&asked] { return asked->answer.has_value(); });
  std::optional<server_figures> f = std::move(asked->answer);
  lock.unlock();
  return metrics_of_server(f ? &*f : nullptr, calls_);
}

}  // namespace tangelo
