// tangelo trace: operations as they pass.
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

#include "base/clock.h"
#include "base/places.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/json.h"
#include "cli/op_paths.h"
#include "cli/op_watch.h"
#include "cli/snapshot.h"
#include "cli/top_text.h"

namespace tangelo {

namespace {

constexpr int look_period_ms = 1;
constexpr std::uint64_t long_ns = ns_per_s;  // what lasts so long is told while it lasts

volatile std::sig_atomic_t asked_to_end = 0;
void on_signal(int) { asked_to_end = 1; }

struct trace_filter {
  std::vector<opcode> ops;
  std::uint32_t pid = 0;
  std::uint64_t slower_ns = 0;

  bool wants(const passed_op& op) const {
    if (!ops.empty() && std::find(ops.begin(), ops.end(), op.cell.op) == ops.end()) return false;
    if (pid != 0 && op.cell.pid != pid) return false;
    // Of what began and ended between two looks nobody knows how long it took: less than a look.
    return op.was_live || op.state != op_state::unknown ? op.age_ns >= slower_ns : slower_ns == 0;
  }
};

outcome<trace_filter> filter_of(const trace_arguments& words) {
  trace_filter f;
  f.pid = words.pid;
  for (const std::string& name : words.ops) {
    std::size_t i = 1;
    while (i < opcode_count && name_of(static_cast<opcode>(i)) != name) ++i;
    if (i == opcode_count)
      return failure{problem{exit_code::usage, "--op " + name + ": no such operation",
                             "lookup, getattr, open, read, write, ...: as tangelo metrics shows"}};
    f.ops.push_back(static_cast<opcode>(i));
  }
  if (words.slower.empty()) return f;
  const std::optional<std::uint64_t> slower = parse_time(words.slower);
  if (!slower)
    return failure{problem{exit_code::usage,
                           "--slower " + words.slower + ": not a time with its unit",
                           "write us, ms or s behind the number: 250us, 10ms or 1.5s"}};
  f.slower_ns = *slower;
  return f;
}

// An op as `tangelo ops` tells it, without its state's details.
std::string file_text(const mount_ref& mount, const passed_op& op) {
  const std::string path = path_of(mount, op.cell.pid, op.cell.inode);
  const std::string name = name_in_directory(op.cell);
  if (name.empty()) return path;
  return (path.empty() ? "..." : path) + "/" + name;
}

std::string line_of(const mount_ref& mount, const passed_op& op, std::uint64_t since_ns) {
  const op_cell& c = op.cell;
  const bool ended = op.state == op_state::unknown;
  const std::string took =
      ended && !op.was_live ? "-" : (ended ? "" : ">") + short_time(op.age_ns);
  const std::string file = file_text(mount, op);
  return fmt::format("{:>9.3f} {:<12} {:>8} {:<11} pid {} {} inode {} offset {} size {} {}\n",
                     static_cast<double>(since_ns) / ns_per_s, name_of(c.op), took,
                     ended ? "ended" : name_of(op.state), c.pid,
                     c.pid == 0 ? "-" : command_of(c.pid), c.inode, c.offset,
                     std::max(c.payload_in.size, c.payload_out.size), file.empty() ? "-" : file);
}

std::string json_of(const mount_ref& mount, const passed_op& op, std::uint64_t since_ns) {
  const op_cell& c = op.cell;
  const bool ended = op.state == op_state::unknown;
  json_text j;
  j.open_object().key("at_ms").number(since_ns / ns_per_ms).key("xid").number(c.xid);
  j.key("op").text(name_of(c.op)).key("state").text(ended ? "ended" : name_of(op.state));
  if (!ended || op.was_live) j.key("took_us").number(op.age_ns / 1000);
  j.key("inode").number(c.inode).key("offset").number(c.offset);
  j.key("size").number(std::max(c.payload_in.size, c.payload_out.size));
  j.key("pid").number(c.pid).key("command").text(command_of(c.pid));
  j.key("path").text(file_text(mount, op)).close_object();
  return j.str() + "\n";
}

}  // namespace

outcome<void> run_trace(const trace_arguments& words) {
  const outcome<trace_filter> filter = filter_of(words);
  if (!filter) return failure{filter.error()};
  outcome<std::vector<mount_ref>> chosen = mounts_to_look_into(words.mount, "trace");
  if (!chosen) return failure{chosen.error()};
  const mount_ref& mount = chosen->front();
  outcome<arena_view> arena = arena_view::open(run_root_of(mount), mount);
  if (!arena) return failure{arena.error()};
  struct sigaction action {};
  action.sa_handler = on_signal;
  (void)::sigaction(SIGINT, &action, nullptr);
  (void)::sigaction(SIGTERM, &action, nullptr);
  const system_clock time;
  const std::uint64_t begin = time.now_ns();
  op_watch watch(arena->front_end());
  std::uint64_t next_check = begin + ns_per_s;
  std::fprintf(stderr, "following operations of %s, ^C ends it\n",
               printable(mount.mount_point).c_str());
  while (asked_to_end == 0) {
    const std::uint64_t now = time.now_ns();
    for (const passed_op& op : watch.look(now, long_ns))
      if (filter->wants(op))
        std::fputs((words.json ? json_of(mount, op, now - begin)
                               : line_of(mount, op, now - begin)).c_str(),
                   stdout);
    if (std::fflush(stdout) != 0) break;  // who read it is gone
    if (now >= next_check) {
      next_check = now + ns_per_s;
      if (!find_mount_at(mount.mount_point)) break;
    }
    (void)::poll(nullptr, 0, look_period_ms);
  }
  std::fputs(fmt::format("{} operations passed, {} of them too fast to be seen\n",
                         watch.passed_count(), watch.unseen_count()).c_str(),
             stderr);
  return {};
}

}  // namespace tangelo
