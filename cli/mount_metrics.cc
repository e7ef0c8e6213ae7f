#include "cli/mount_metrics.h"

#include <array>

#include "cli/render.h"
#include "protocol/metric_text.h"

namespace tangelo {

namespace {

using mounts_t = std::vector<mount_sample>;

// Those of the front end's counters, by the name they have in `tangelo status --json`.
struct counter_metric {
  std::string_view counter;
  std::string_view name;
  metric_kind kind;
  std::string_view help;
};
constexpr auto counts_up = metric_kind::counter;
constexpr auto is_gauge = metric_kind::gauge;
constexpr std::array counter_metrics{
    counter_metric{"requests", "tangelo_requests_total", counts_up,
                   "Requests of the kernel, those included that need no server."},
    counter_metric{"replies", "tangelo_replies_total", counts_up, "Answers to the kernel."},
    counter_metric{"upcalls", "tangelo_upcalls_total", counts_up,
                   "Hand-overs of operations to a core, repeats included."},
    counter_metric{"downcalls", "tangelo_downcalls_total", counts_up, "Answers from cores."},
    counter_metric{"downcalls_dropped", "tangelo_downcalls_dropped_total", counts_up,
                   "Answers from cores that came too late."},
    counter_metric{"downcalls_damaged", "tangelo_downcalls_damaged_total", counts_up,
                   "Answers from cores that made no sense; the core was replaced."},
    counter_metric{"interrupts", "tangelo_interrupts_total", counts_up,
                   "Signals for callers that waited."},
    counter_metric{"given_up", "tangelo_ops_given_up_total", counts_up,
                   "Callers that were let go before their operation's end."},
    counter_metric{"core_losses", "tangelo_core_losses_total", counts_up, "Cores that ended."},
    counter_metric{"core_losses_waiting", "tangelo_core_losses_waiting_total", counts_up,
                   "Cores that ended while operations waited."},
    counter_metric{"core_losses_in_progress", "tangelo_core_losses_in_progress_total", counts_up,
                   "Cores that ended while they had operations."},
    counter_metric{"core_losses_serviced", "tangelo_core_losses_serviced_total", counts_up,
                   "Cores that ended with answers not taken yet."},
    counter_metric{"purged", "tangelo_ops_purged_total", counts_up,
                   "Operations that a core's end sent back, to be repeated."},
    counter_metric{"in_progress_max", "tangelo_ops_in_progress_max", is_gauge,
                   "Most operations that a core had at a time."},
    counter_metric{"deaf_periods", "tangelo_deaf_periods_total", counts_up,
                   "Times without room for another request."},
    counter_metric{"lost_files", "tangelo_lost_files_total", counts_up,
                   "Open files and directories that lost changes belonged to."},
    counter_metric{"locks_held", "tangelo_locks_held", is_gauge, "Locks that are held."},
    counter_metric{"locks_waiting", "tangelo_locks_waiting", is_gauge, "Waits for locks."},
    counter_metric{"lost_locks", "tangelo_lost_locks_total", counts_up,
                   "Locks that were held, and are gone."},
    counter_metric{"resent", "tangelo_requests_resent_total", counts_up,
                   "Requests that the kernel repeated to a new front end."},
    counter_metric{"callers_lost", "tangelo_callers_lost_total", counts_up,
                   "Operations whose caller was gone when a new front end came."},
    counter_metric{"refused", "tangelo_ops_refused_total", counts_up,
                   "Operations answered EIO by the mount's policy or tangelo abort."},
    counter_metric{"lost_changes", "tangelo_lost_changes_total", counts_up,
                   "Changes that were answered, were not durable, and are lost."},
    counter_metric{"losses_told", "tangelo_losses_told_total", counts_up,
                   "Losses that fsync or close has told."},
    counter_metric{"replays_kept", "tangelo_replays_kept", is_gauge,
                   "Changes that are answered and not durable yet."},
    counter_metric{"replay_bytes", "tangelo_replay_bytes", is_gauge,
                   "Bytes that those changes write."},
    counter_metric{"commits_demanded", "tangelo_commits_demanded_total", counts_up,
                   "Calls that waited for their commit because the replay log was half full."},
};
static_assert(counter_metrics.size() == counter_count);

std::string_view point(const mount_sample& m) { return m.view.mount.mount_point; }

template <class F>
void of_known(const mounts_t& mounts, F f) {
  for (const mount_sample& m : mounts)
    if (m.view.known) f(m);
}

void put_mounts(metric_text& t, const mounts_t& mounts) {
  t.family("tangelo_up", is_gauge, "1: the mount's watchdog answers.");
  for (const mount_sample& m : mounts)
    t.sample({{"mount", point(m)}}, m.view.supervised ? 1 : 0);
  t.family("tangelo_mount_info", is_gauge, "What is mounted where; always 1.");
  for (const mount_sample& m : mounts)
    t.sample({{"mount", point(m)}, {"name", m.view.mount.name}, {"source", m.view.mount.source}},
             1);
  t.family("tangelo_mount_state", is_gauge, "1 for the state the mount is in, as tangelo status.");
  for (const mount_sample& m : mounts)
    for (const std::string_view s : {"SERVING", "WAITING", "FAILING", "UNSUPERVISED"})
      t.sample({{"mount", point(m)}, {"state", s}}, state_of(m.view) == s ? 1 : 0);
}

void put_ops(metric_text& t, const mounts_t& mounts) {
  struct column {
    std::string_view name;
    std::string_view help;
    std::uint64_t op_row::*value;
  };
  constexpr column columns[] = {
      {"tangelo_ops_started_total", "Operations that began.", &op_row::started},
      {"tangelo_ops_answered_total", "Operations that were answered.", &op_row::answered},
      {"tangelo_ops_failed_total",
       "Operations answered with an error, ENOENT of a lookup included.", &op_row::failed}};
  for (const column& c : columns) {
    t.family(c.name, counts_up, c.help);
    of_known(mounts, [&](const mount_sample& m) {
      for (std::size_t i = 1; i < opcode_count; ++i)
        t.sample({{"mount", point(m)}, {"op", name_of(static_cast<opcode>(i))}},
                 m.figures.ops[i].*c.value);
    });
  }
  t.family("tangelo_op_bytes_total", counts_up, "Bytes that were read and written.");
  of_known(mounts, [&](const mount_sample& m) {
    for (const opcode op : {opcode::read, opcode::write})
      t.sample({{"mount", point(m)}, {"op", name_of(op)}},
               m.figures.ops[static_cast<std::size_t>(op)].bytes);
  });
  t.family("tangelo_op_io_errors_total", counts_up, "Operations answered EIO.");
  of_known(mounts, [&](const mount_sample& m) {
    t.sample({{"mount", point(m)}}, m.figures.io_errors);
  });
}

void put_times(metric_text& t, const mounts_t& mounts) {
  t.family("tangelo_op_seconds", metric_kind::histogram,
           "Time from a request of the kernel to its answer, by class of operations.");
  of_known(mounts, [&](const mount_sample& m) {
    for (std::size_t i = 0; i < op_class_count; ++i)
      t.latency({{"mount", point(m)}, {"class", name_of(static_cast<op_class>(i))}},
                m.figures.latencies[i].buckets, m.figures.latencies[i].sum_ns);
  });
  t.family("tangelo_ops_pending", is_gauge, "Operations that have not ended, by state.");
  of_known(mounts, [&](const mount_sample& m) {
    for (std::size_t i = 1; i < op_state_count; ++i)
      t.sample({{"mount", point(m)}, {"state", name_of(static_cast<op_state>(i))}},
               m.now.by_state[i]);
  });
  t.family("tangelo_op_oldest_seconds", is_gauge, "Age of the oldest of them; 0: there is none.");
  of_known(mounts,
           [&](const mount_sample& m) { t.seconds({{"mount", point(m)}}, m.now.oldest_ns); });
}

void put_processes(metric_text& t, const mounts_t& mounts) {
  const auto each = [&](auto f) {
    of_known(mounts, [&](const mount_sample& m) {
      for (const process_view& p : m.view.processes) f(m, p);
    });
  };
  t.family("tangelo_process_up", is_gauge, "1: this process of the mount runs.");
  each([&](const mount_sample& m, const process_view& p) {
    t.sample({{"mount", point(m)}, {"role", p.role}}, p.pid != 0 ? 1 : 0);
  });
  t.family("tangelo_process_restarts_total", counts_up, "Times that it was started again.");
  each([&](const mount_sample& m, const process_view& p) {
    t.sample({{"mount", point(m)}, {"role", p.role}}, p.restarts);
  });
  t.family("tangelo_process_hangs_total", counts_up,
           "Times that it was replaced because it stood still.");
  each([&](const mount_sample& m, const process_view& p) {
    t.sample({{"mount", point(m)}, {"role", p.role}}, p.hangs);
  });
  t.family("tangelo_process_uptime_seconds", is_gauge, "How long it has been running.");
  each([&](const mount_sample& m, const process_view& p) {
    t.seconds({{"mount", point(m)}, {"role", p.role}}, p.uptime_ns);
  });
}

void put_server(metric_text& t, const mounts_t& mounts) {
  const auto one = [&](std::string_view name, metric_kind kind, std::string_view help, auto value) {
    t.family(name, kind, help);
    of_known(mounts,
             [&](const mount_sample& m) { t.sample({{"mount", point(m)}}, value(m.view)); });
  };
  one("tangelo_connected", is_gauge, "1: the server is there, or nothing was to be said to it.",
      [](const mount_view& v) { return v.core_attached && is_reachable(v.core) ? 1u : 0u; });
  t.family("tangelo_import_info", is_gauge, "State of the connection and the server's address; 1.");
  of_known(mounts, [&](const mount_sample& m) {
    t.sample({{"mount", point(m)},
              {"state", m.view.core.import_state},
              {"address", m.view.core.address}},
             1);
  });
  t.family("tangelo_path_down_seconds", is_gauge, "Since the server is away; 0: it is not.");
  of_known(mounts, [&](const mount_sample& m) {
    const bool down = m.view.path.state != name_of(path_state::running);
    t.seconds({{"mount", point(m)}}, down ? m.view.path.for_ns : 0);
  });
  t.family("tangelo_lease_left_seconds", is_gauge, "How long the server stands by what it said.");
  of_known(mounts,
           [&](const mount_sample& m) { t.seconds({{"mount", point(m)}}, m.view.lease_left_ns); });
  one("tangelo_connection_attempts", is_gauge, "Connections that the present core has tried.",
      [](const mount_view& v) { return v.core.connection_count; });
  one("tangelo_calls_sending", is_gauge, "Calls under way to the server.",
      [](const mount_view& v) { return v.core.sending; });
  one("tangelo_calls_delayed", is_gauge, "Calls that wait for a connection.",
      [](const mount_view& v) { return v.core.delayed; });
  one("tangelo_boot_generation", is_gauge, "Starts of the server's volume.",
      [](const mount_view& v) { return v.core.boot_generation; });
  one("tangelo_last_committed", is_gauge, "Last transaction known to be durable at the server.",
      [](const mount_view& v) { return v.core.last_committed; });
  one("tangelo_evictions_total", counts_up, "Times that the server has forgotten this mount.",
      [](const mount_view& v) { return v.core.evictions; });
}

void put_connection(metric_text& t, const mounts_t& mounts) {
  struct row {
    std::string_view name;
    std::string_view help;
    std::uint64_t core_figures::*value;
  };
  constexpr row rows[] = {
      {"tangelo_connections_lost_total", "Connections to the server that broke.",
       &core_figures::connections_lost},
      {"tangelo_calls_resent_total", "Calls that were sent again on another connection.",
       &core_figures::calls_resent},
      {"tangelo_replays_total", "Changes made again after a restart of the server.",
       &core_figures::replays},
      {"tangelo_replays_refused_total", "Changes that the server then refused: they are lost.",
       &core_figures::replays_refused},
      {"tangelo_stale_replies_total", "Answers of the server that nobody waited for.",
       &core_figures::stale_replies},
      {"tangelo_protection_healed_total",
       "Calls whose data did not fit its guards, and did when it was moved again.",
       &core_figures::mismatches_healed},
      {"tangelo_protection_errors_total", "Calls that failed: their data did not fit its guards.",
       &core_figures::mismatches_reported}};
  for (const row& r : rows) {
    t.family(r.name, counts_up, r.help);
    of_known(mounts,
             [&](const mount_sample& m) { t.sample({{"mount", point(m)}}, m.core.*r.value); });
  }
  t.family("tangelo_log_lines_dropped_total", counts_up,
           "Lines of the log that nobody took in time.");
  of_known(mounts, [&](const mount_sample& m) {
    t.sample({{"mount", point(m)}, {"role", name_of(process_role::front_end)}},
             m.figures.log_lines_dropped);
    t.sample({{"mount", point(m)}, {"role", name_of(process_role::core)}},
             m.core.log_lines_dropped);
  });
}

void put_counters(metric_text& t, const mounts_t& mounts) {
  for (const counter_metric& c : counter_metrics) {
    t.family(c.name, c.kind, c.help);
    of_known(mounts, [&](const mount_sample& m) {
      for (const counter_view& v : m.view.counters)
        if (v.name == c.counter) t.sample({{"mount", point(m)}}, v.value);
    });
  }
}

}  // namespace

std::string metrics_of_mounts(const std::vector<mount_sample>& samples) {
  mounts_t mounts;  // of several on one path the topmost, which is the last: a series is told once
  for (const mount_sample& m : samples) {
    std::erase_if(mounts, [&m](const mount_sample& other) { return point(other) == point(m); });
    mounts.push_back(m);
  }
  metric_text t;
  t.family("tangelo_build_info", is_gauge, "Version of the program that tells this; always 1.");
  t.sample({{"version", TANGELO_VERSION}}, 1);
  put_mounts(t, mounts);
  put_ops(t, mounts);
  put_times(t, mounts);
  put_processes(t, mounts);
  put_server(t, mounts);
  put_connection(t, mounts);
  put_counters(t, mounts);
  return t.str();
}

}  // namespace tangelo
