// tangelo-server: makes volumes and serves them.
#include <fmt/format.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdio>

#include "base/clock.h"
#include "base/log.h"
#include "base/standard_fds.h"
#include "server/command_line.h"
#include "server/offline_commands.h"
#include "server/passed_socket.h"
#include "server/server.h"
#include "server/volume_directory.h"
#include "server/volume_owner.h"

namespace {

using namespace tangelo;

int init(const server_command& c) {
  const root_owner root;  // before we become the owner of the files
  const outcome<void> owned = become_volume_owner(c.directory, c.config.user);
  if (!owned) return say_problem("tangelo-server", owned.error());
  const outcome<superblock> made =
      make_volume(c.directory, c.volume_name, system_clock().wall_ns(), root);
  if (!made) return say_problem("tangelo-server", made.error());
  (void)std::fputs(fmt::format("{}: an empty volume\n", c.directory).c_str(), stdout);
  return 0;
}

int run(const server_command& c) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  (void)sigprocmask(SIG_BLOCK, &set, nullptr);  // they come through the loop
  (void)std::signal(SIGPIPE, SIG_IGN);
  outcome<unique_fd> passed = take_passed_socket();
  if (!passed) return say_problem("tangelo-server", passed.error());
  outcome<std::unique_ptr<server>> s = server::make(c.config, *std::move(passed));
  if (!s) return say_problem("tangelo-server", s.error());
  (*s)->run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_fds();
  const outcome<server_command> c = parse_server_command(argc, argv, false);
  if (!c) return say_problem("tangelo-server", c.error());
  log_start("server", c->verbose ? log_level::debug : log_level::info);
  switch (c->what) {
    case server_command::kind::none:
    case server_command::kind::audit_report: return 0;
    case server_command::kind::init: return init(*c);
    case server_command::kind::run: return run(*c);
    case server_command::kind::check: return run_check(*c);
    case server_command::kind::scrub: return run_scrub(*c);
    case server_command::kind::takeover: return run_takeover(*c);
  }
  return 0;
}
