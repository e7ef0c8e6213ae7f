// tangelo-server-test: the server with the switches of the tests (audit, negative controls), and
// the report of what the audit found. Never installed.
#include <fmt/format.h>

#include <csignal>
#include <cstdio>

#include "base/log.h"
#include "server/audit.h"
#include "server/command_line.h"
#include "server/offline_commands.h"
#include "server/server.h"
#include "server/volume_directory.h"

namespace {

using namespace tangelo;

int report(const std::string& directory) {
  const outcome<audit_counts> counts = read_audit(directory);
  if (!counts) return say_problem("tangelo-server-test", counts.error());
  (void)std::fputs(
      fmt::format("effects {}\nduplicates {}\n", counts->effects, counts->duplicates).c_str(),
      stdout);
  return counts->duplicates == 0 ? 0 : 1;
}

int init(const server_command& c) {
  const outcome<superblock> made =
      make_volume(c.directory, c.volume_name, system_clock().wall_ns());
  return made ? 0 : say_problem("tangelo-server-test", made.error());
}

int run(const server_command& c) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  (void)sigprocmask(SIG_BLOCK, &set, nullptr);  // they come through the loop
  (void)std::signal(SIGPIPE, SIG_IGN);
  outcome<std::unique_ptr<server>> s = server::make(c.config);
  if (!s) return say_problem("tangelo-server-test", s.error());
  (*s)->run();
  std::uint64_t duplicates = 0;
  for (std::size_t i = 0; i < (*s)->volume_count(); ++i)
    duplicates += (*s)->status_of(i).duplicate_effects;
  if (duplicates != 0) log_error("AUDIT: {} duplicate effects", duplicates);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const outcome<server_command> c = parse_server_command(argc, argv, true);
  if (!c) return say_problem("tangelo-server-test", c.error());
  log_start("server", c->verbose ? log_level::debug : log_level::info);
  switch (c->what) {
    case server_command::kind::none: return 0;
    case server_command::kind::init: return init(*c);
    case server_command::kind::run: return run(*c);
    case server_command::kind::check: return run_check(*c);
    case server_command::kind::scrub: return run_scrub(*c);
    case server_command::kind::takeover: return run_takeover(*c);
    case server_command::kind::audit_report: return report(c->directory);
  }
  return 0;
}
