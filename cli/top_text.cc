#include "cli/top_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "cli/control.h"
#include "cli/json.h"
#include "cli/quota_text.h"
#include "cli/render.h"

namespace tangelo {

namespace {

struct class_rate {
  op_class what{};
  double per_second = 0;
  std::uint64_t mean_ns = 0;
  std::uint64_t half_ns = 0;
  std::uint64_t slowest_ns = 0;  // 99 of 100 are faster
};

// Whoever asks whether there is something gets "no" as an answer: that is no trouble.
constexpr bool asks(opcode op) noexcept { return op == opcode::lookup || op == opcode::getxattr; }

struct mount_rates {
  double answered = 0;  // each for one second
  double failed = 0;    // but for those that ask whether there is something
  double io_errors = 0;
  double bytes_read = 0;
  double bytes_written = 0;
  std::vector<class_rate> classes;  // the busiest first
};

mount_rates rates_of(const mount_sample& earlier, const mount_sample& later) {
  const op_figures d = difference(later.figures, earlier.figures);
  const std::uint64_t took = later.taken_ns - earlier.taken_ns;
  const auto rate = [took](std::uint64_t n) {
    return took == 0 ? 0.0 : static_cast<double>(n) * ns_per_s / static_cast<double>(took);
  };
  mount_rates r;
  for (std::size_t i = 0; i < d.ops.size(); ++i) {
    r.answered += rate(d.ops[i].answered);
    if (!asks(static_cast<opcode>(i))) r.failed += rate(d.ops[i].failed);
  }
  r.io_errors = rate(d.io_errors);
  r.bytes_read = rate(d.ops[static_cast<std::size_t>(opcode::read)].bytes);
  r.bytes_written = rate(d.ops[static_cast<std::size_t>(opcode::write)].bytes);
  for (std::size_t i = 0; i < op_class_count; ++i) {
    const latency_row& row = d.latencies[i];
    const std::uint64_t n = count_of(row);
    if (n == 0) continue;
    r.classes.push_back({static_cast<op_class>(i), rate(n), row.sum_ns / n, quantile_ns(row, 0.5),
                         quantile_ns(row, 0.99)});
  }
  std::stable_sort(r.classes.begin(), r.classes.end(), [](const auto& a, const auto& b) {
    return a.per_second > b.per_second;
  });
  return r;
}

const mount_sample* same_mount(const std::vector<mount_sample>& in, const mount_sample& m) {
  for (const mount_sample& other : in)
    if (other.view.mount.mount_point == m.view.mount.mount_point && other.view.known &&
        other.view.incarnation == m.view.incarnation)
      return &other;
  return nullptr;
}

std::uint64_t pending(const op_summary& s) {
  std::uint64_t n = 0;
  for (const std::uint64_t of_state : s.by_state) n += of_state;
  return n;
}

std::string mount_text(const mount_sample& earlier, const mount_sample& m) {
  const mount_rates r = rates_of(earlier, m);
  std::string out = fmt::format(
      "  {:.0f} ops/s, {:.0f} errors/s ({:.0f} EIO), read {}/s, written {}/s\n", r.answered,
      r.failed, r.io_errors, size_text(static_cast<std::uint64_t>(r.bytes_read)),
      size_text(static_cast<std::uint64_t>(r.bytes_written)));
  out += fmt::format("  {} pending", pending(m.now));
  for (std::size_t i = 1; i < op_state_count; ++i)
    if (m.now.by_state[i] != 0)
      out += fmt::format(", {} {}", m.now.by_state[i], name_of(static_cast<op_state>(i)));
  if (m.now.oldest_ns != 0) out += ", oldest " + short_time(m.now.oldest_ns);
  const core_view& c = m.view.core;
  out += fmt::format("; server {} {}\n", c.address.empty() ? "-" : c.address, c.import_state);
  if (r.classes.empty()) return out;
  out += fmt::format("  {:<9} {:>9} {:>8} {:>8} {:>8}\n", "OP", "PER S", "MEAN", "HALF", "99%");
  for (const class_rate& k : r.classes)
    out += fmt::format("  {:<9} {:>9.0f} {:>8} {:>8} {:>8}\n", name_of(k.what), k.per_second,
                       short_time(k.mean_ns), short_time(k.half_ns), short_time(k.slowest_ns));
  return out;
}

std::uint64_t rounded(double value) { return static_cast<std::uint64_t>(value + 0.5); }

void mount_json(json_text& j, const mount_sample& earlier, const mount_sample& m) {
  const mount_rates r = rates_of(earlier, m);
  j.key("ops_per_s").number(rounded(r.answered)).key("errors_per_s").number(rounded(r.failed));
  j.key("io_errors_per_s").number(rounded(r.io_errors));
  j.key("bytes_read_per_s").number(rounded(r.bytes_read));
  j.key("bytes_written_per_s").number(rounded(r.bytes_written));
  j.key("pending").open_object();
  for (std::size_t i = 1; i < op_state_count; ++i)
    j.key(name_of(static_cast<op_state>(i))).number(m.now.by_state[i]);
  j.close_object().key("oldest_us").number(m.now.oldest_ns / 1000);
  j.key("import").text(m.view.core.import_state).key("address").text(m.view.core.address);
  j.key("classes").open_list();
  for (const class_rate& k : r.classes) {
    j.open_object().key("class").text(name_of(k.what));
    j.key("ops_per_s").number(rounded(k.per_second)).key("mean_us").number(k.mean_ns / 1000);
    j.key("half_us").number(k.half_ns / 1000).key("p99_us").number(k.slowest_ns / 1000);
    j.close_object();
  }
  j.close_list();
}

}  // namespace

std::string short_time(std::uint64_t ns) {
  const auto t = static_cast<double>(ns);
  if (ns < ns_per_ms) return fmt::format("{:.0f}us", t / 1000);
  if (ns < ns_per_s) return fmt::format("{:.1f}ms", t / ns_per_ms);
  return fmt::format("{:.1f}s", t / ns_per_s);
}

std::string top_text(const std::vector<mount_sample>& earlier,
                     const std::vector<mount_sample>& later) {
  if (later.empty()) return "no Tangelo mounts\n";
  std::string out;
  for (const mount_sample& m : later) {
    out += fmt::format("{}  {}  {}\n", printable(m.view.mount.mount_point),
                       printable(m.view.mount.source), state_of(m.view));
    const mount_sample* before = same_mount(earlier, m);
    if (!m.view.known) out += "  " + m.view.why_not + "\n";
    else if (before != nullptr) out += mount_text(*before, m);
  }
  return out;
}

std::string top_json(const std::vector<mount_sample>& earlier,
                     const std::vector<mount_sample>& later) {
  json_text j;
  j.open_object().key("mounts").open_list();
  for (const mount_sample& m : later) {
    j.open_object().key("name").text(m.view.mount.name);
    j.key("mount_point").text(m.view.mount.mount_point).key("state").text(state_of(m.view));
    const mount_sample* before = same_mount(earlier, m);
    if (m.view.known && before != nullptr) mount_json(j, *before, m);
    j.close_object();
  }
  j.close_list().close_object();
  return j.str() + "\n";
}

}  // namespace tangelo
