#include "cli/render.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <cstring>

#include "base/clock.h"
#include "base/log_level.h"
#include "cli/control.h"
#include "cli/json.h"

namespace tangelo {

namespace {

std::string status_word(std::uint32_t status) {
  const int s = static_cast<int>(status);
  constexpr int unknown = -1;  // it was adopted, so its end is not told
  if (s == unknown) return "nobody knows what";
  if (WIFEXITED(s)) return fmt::format("exit status {}", WEXITSTATUS(s));
  const char* name = strsignal(WTERMSIG(s));
  return fmt::format("signal {} ({})", WTERMSIG(s), name == nullptr ? "?" : name);
}

std::string process_line(const process_view& p) {
  std::string line = fmt::format("  {:<10} ", p.role);
  if (p.pid != 0) line += fmt::format("pid {}, up {}", p.pid, duration_text(p.uptime_ns));
  else if (p.next_start_in_ns != 0)
    line += fmt::format("not running, starts again in {}", duration_text(p.next_start_in_ns));
  else line += "not running";
  if (p.restarts != 0)
    line += fmt::format(", restarts {}, last ended by {}", p.restarts, status_word(p.last_status));
  if (p.hangs != 0) line += fmt::format(", replaced {} times because it stood still", p.hangs);
  return line + "\n";
}

std::uint64_t counter(const mount_view& m, std::string_view name) {
  for (const counter_view& c : m.counters)
    if (c.name == name) return c.value;
  return 0;
}

// Of the three times those that are set; nothing when the mount waits for ever.
std::string policy_words(const mount_policy& p) {
  std::string out;
  for (const auto& [name, value] : {std::pair{"reconnect_delay", p.reconnect_delay},
                                    std::pair{"fast_io_fail_tmo", p.fast_io_fail_tmo},
                                    std::pair{"dev_loss_tmo", p.dev_loss_tmo}})
    if (value != policy_off) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", name, value);
  return out;
}

std::string_view meaning_of(const path_view& path) {
  if (path.state == name_of(path_state::blocked)) return "operations wait";
  if (path.state == name_of(path_state::fail_fast))
    return "operations fail, but for those that may have been executed";
  if (path.state == name_of(path_state::lost)) return "all operations fail";
  return "?";
}

std::string condition_text(const mount_view& m) {
  std::string out;
  if (m.path.state != name_of(path_state::running))
    out += fmt::format("  {:<10} {} for {}: {}\n", "path", m.path.state,
                       duration_text(m.path.for_ns), meaning_of(m.path));
  if (m.path.draining)
    out += fmt::format("  {:<10} nothing is sent to the server until a process has been replaced\n",
                       "draining");
  if (const std::string words = policy_words(m.policy); !words.empty())
    out += fmt::format("  {:<10} {}\n", "policy", words);
  if (m.policy.log) out += fmt::format("  {:<10} {}\n", "log", name_of(*m.policy.log));
  return out;
}

// What is answered and not durable, and for how long the server stands by what it said.
std::string commit_line(const mount_view& m) {
  std::string out = fmt::format("  {:<10} {}", "commit", name_of(m.policy.commit));
  if (const std::uint64_t n = counter(m, "replays_kept"); n != 0)
    out += fmt::format(", {} changes answered and not yet durable ({} bytes)", n,
                       counter(m, "replay_bytes"));
  if (m.lease_left_ns != 0) out += ", lease left " + duration_text(m.lease_left_ns);
  return out + "\n";
}

std::string losses_text(const mount_view& m) {
  std::string out;
  if (m.core.evictions != 0) {
    out += fmt::format("  {:<10} ", "EVICTED");
    out += m.core.evictions == 1 ? "once" : fmt::format("{} times", m.core.evictions);
    out += fmt::format(" by the server, last: {}\n",
                       m.core.eviction_text.empty() ? "-" : m.core.eviction_text);
  }
  if (const std::uint64_t n = counter(m, "lost_changes"); n != 0)
    out += fmt::format("  {:<10} {} answered changes; the mount's log names them\n", "LOST", n);
  if (const std::uint64_t n = counter(m, "lost_files"); n != 0)
    out += fmt::format("  {:<10} {} open files and directories, {} of them told by fsync or "
                       "close\n",
                       "", n, counter(m, "losses_told"));
  return out;
}

std::string ops_line(const mount_view& m) {
  std::string out = fmt::format(
      "  {:<10} {} pending, {} requests, {} replies, {} core losses, {} purged, {} given up", "ops",
      m.pending_ops, counter(m, "requests"), counter(m, "replies"), counter(m, "core_losses"),
      counter(m, "purged"), counter(m, "given_up"));
  if (const std::uint64_t n = counter(m, "resent"); n != 0) out += fmt::format(", {} resent", n);
  if (const std::uint64_t n = counter(m, "refused"); n != 0) out += fmt::format(", {} refused", n);
  return out + "\n";
}

// Nothing as long as all fitted.
std::string protection_line(const core_view& c) {
  if (c.mismatch_text.empty()) return {};
  return fmt::format("  {:<10} {} healed, {} failed; last: {}\n", "protection", c.mismatches_healed,
                     c.mismatches_reported, c.mismatch_text);
}

std::string mount_text(const mount_view& m) {
  std::string out = fmt::format("{}  {}  {}\n", printable(m.mount.mount_point),
                                printable(m.mount.source), state_of(m));
  if (!m.supervised) out += "  " + m.why_not + "\n";
  if (m.mount.user != 0)
    out += fmt::format("  {:<10} all of it runs as user {}: what the front end knows is kept from "
                       "accidents of the core, not from malice\n",
                       "unprivileged", m.mount.user);
  if (!m.known) return out;
  const core_view& c = m.core;
  out += fmt::format("  {:<10} {} {}, boot {}, committed {}, connections {}\n", "server",
                     c.address.empty() ? "-" : c.address, c.import_state, c.boot_generation,
                     c.last_committed, c.connection_count);
  // Else what was said before no longer holds.
  if (!is_reachable(c) && (!c.last_text.empty() || c.last_down_reason != "none"))
    out += fmt::format("  {:<10} {}{}{}\n", "last said", c.last_down_reason,
                       c.last_text.empty() ? "" : ": ", c.last_text);
  out += condition_text(m);
  for (const process_view& p : m.processes) out += process_line(p);
  out += ops_line(m);
  out += commit_line(m);
  out += protection_line(m.core);
  return out + losses_text(m);
}

void process_json(json_text& j, const process_view& p) {
  j.open_object().key("role").text(p.role).key("pid").number(p.pid);
  j.key("generation").number(p.generation).key("restarts").number(p.restarts);
  j.key("uptime_ms").number(p.uptime_ns / ns_per_ms);
  j.key("next_start_in_ms").number(p.next_start_in_ns / ns_per_ms);
  j.key("last_status").number(p.last_status).key("hangs").number(p.hangs).close_object();
}

void core_json(json_text& j, const core_view& c) {
  j.open_object().key("state").text(c.import_state).key("address").text(c.address);
  j.key("boot_generation").number(c.boot_generation);
  j.key("last_committed").number(c.last_committed);
  j.key("connection_count").number(c.connection_count);
  j.key("sending").number(c.sending).key("delayed").number(c.delayed);
  j.key("last_down_reason").text(c.last_down_reason).key("last_text").text(c.last_text);
  j.key("evictions").number(c.evictions).key("eviction_text").text(c.eviction_text);
  j.key("protection_healed").number(c.mismatches_healed);
  j.key("protection_errors").number(c.mismatches_reported);
  j.key("protection_last").text(c.mismatch_text);
  j.close_object();
}

// A number of seconds, or "off".
void put_policy(json_text& j, const mount_policy& p) {
  j.open_object();
  for (const auto& [name, value] : {std::pair{"reconnect_delay", p.reconnect_delay},
                                    std::pair{"fast_io_fail_tmo", p.fast_io_fail_tmo},
                                    std::pair{"dev_loss_tmo", p.dev_loss_tmo}}) {
    j.key(name);
    if (value == policy_off) j.text("off");
    else j.number(value);
  }
  j.key("commit").text(name_of(p.commit));
  j.key("log").text(p.log ? name_of(*p.log) : "default").close_object();
}

void path_json(json_text& j, const path_view& p) {
  j.open_object().key("state").text(p.state).key("for_ms").number(p.for_ns / ns_per_ms);
  j.key("draining").boolean(p.draining).close_object();
}

void mount_json(json_text& j, const mount_view& m) {
  j.open_object().key("name").text(m.mount.name).key("mount_point").text(m.mount.mount_point);
  j.key("source").text(m.mount.source).key("state").text(state_of(m));
  j.key("supervised").boolean(m.supervised);
  if (!m.supervised) j.key("why").text(m.why_not);
  j.key("unprivileged").boolean(m.mount.user != 0).key("user").number(m.mount.user);
  if (m.known) {
    j.key("client_id").text(m.client_id).key("incarnation").number(m.incarnation);
    j.key("core_generation").number(m.core_generation);
    j.key("core_attached").boolean(m.core_attached).key("pending_ops").number(m.pending_ops);
    j.key("processes").open_list();
    for (const process_view& p : m.processes) process_json(j, p);
    j.close_list().key("import");
    core_json(j, m.core);
    j.key("path");
    path_json(j, m.path);
    j.key("policy");
    put_policy(j, m.policy);
    j.key("lease_left_ms").number(m.lease_left_ns / ns_per_ms);
    j.key("counters").open_object();
    for (const counter_view& c : m.counters) j.key(c.name).number(c.value);
    j.close_object();
  }
  j.close_object();
}

}  // namespace

std::string_view state_of(const mount_view& m) {
  if (!m.supervised) return "UNSUPERVISED";
  if (m.path.state == name_of(path_state::fail_fast) || m.path.state == name_of(path_state::lost))
    return "FAILING";
  return m.core_attached && is_reachable(m.core) ? "SERVING" : "WAITING";
}

bool is_reachable(const core_view& core) {
  return core.import_state == "FULL" || core.import_state == "IDLE";
}

std::string duration_text(std::uint64_t ns) {
  const std::uint64_t s = ns / ns_per_s;
  if (ns < ns_per_s) return fmt::format("{}ms", ns / ns_per_ms);
  if (s < 60) return fmt::format("{}.{}s", s, ns % ns_per_s / (100 * ns_per_ms));
  if (s < 3600) return fmt::format("{}m{}s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}h{}m", s / 3600, s % 3600 / 60);
  return fmt::format("{}d{}h", s / 86400, s % 86400 / 3600);
}

std::string policy_line(const mount_policy& policy) {
  const std::string words = policy_words(policy);
  return (words.empty() ? "all off: operations wait for ever" : words) +
         fmt::format(", commit {}", name_of(policy.commit)) +
         (policy.log ? fmt::format(", log {}", name_of(*policy.log)) : "");
}

std::string done_json(const mount_ref& mount, std::string_view done) {
  json_text j;
  j.open_object().key("name").text(mount.name).key("mount_point").text(mount.mount_point);
  j.key("source").text(mount.source).key("done").text(done).close_object();
  return j.str() + "\n";
}

std::string policy_json(const mount_ref& mount, const mount_policy& policy) {
  json_text j;
  j.open_object().key("name").text(mount.name).key("mount_point").text(mount.mount_point);
  j.key("policy");
  put_policy(j, policy);
  return j.close_object().str() + "\n";
}

std::string status_text(const std::vector<mount_view>& mounts) {
  if (mounts.empty()) return "no Tangelo mounts\n";
  std::string out;
  for (const mount_view& m : mounts) out += mount_text(m);
  return out;
}

std::string status_json(const std::vector<mount_view>& mounts) {
  json_text j;
  j.open_object().key("mounts").open_list();
  for (const mount_view& m : mounts) mount_json(j, m);
  j.close_list().close_object();
  return j.str() + "\n";
}

// "/mnt/dir/name", ".../name" when the directory's path is not known, "-" when nothing is.
std::string path_text(const op_view& o) {
  if (o.name.empty()) return o.path.empty() ? "-" : o.path;
  return (o.path.empty() ? "..." : o.path) + "/" + o.name;
}

std::string ops_text(const std::vector<mount_ops>& mounts) {
  std::string out;
  for (const mount_ops& m : mounts) {
    if (mounts.size() > 1) out += printable(m.mount.mount_point) + ":\n";
    if (m.ops.empty()) {
      out += "no pending operations\n";
      continue;
    }
    out += fmt::format("{:>8}  {:<12} {:>12}  {:<11} {:>8}  {:>8} {:<15}  {}\n", "AGE", "OP",
                       "INODE", "STATE", "ATTEMPTS", "PID", "COMMAND", "PATH");
    for (const op_view& o : m.ops)
      out += fmt::format("{:>8}  {:<12} {:>12}  {:<11} {:>8}  {:>8} {:<15}  {}\n",
                         duration_text(o.age_ns), o.op, o.inode, o.state, o.attempts, o.pid,
                         o.command.empty() ? "-" : o.command, path_text(o));
  }
  return out;
}

std::string ops_json(const std::vector<mount_ops>& mounts) {
  json_text j;
  j.open_object().key("mounts").open_list();
  for (const mount_ops& m : mounts) {
    j.open_object().key("name").text(m.mount.name).key("mount_point").text(m.mount.mount_point);
    j.key("ops").open_list();
    for (const op_view& o : m.ops) {
      j.open_object().key("slot").number(o.index).key("xid").number(o.xid).key("op").text(o.op);
      j.key("state").text(o.state).key("inode").number(o.inode).key("offset").number(o.offset);
      j.key("size").number(o.size).key("age_ms").number(o.age_ns / ns_per_ms);
      j.key("attempts").number(o.attempts).key("core_losses").number(o.core_losses);
      j.key("pid").number(o.pid).key("command").text(o.command);
      j.key("path").text(path_text(o)).close_object();
    }
    j.close_list().close_object();
  }
  j.close_list().close_object();
  return j.str() + "\n";
}

}  // namespace tangelo
