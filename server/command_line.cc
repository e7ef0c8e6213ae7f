#include "server/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <optional>
#include <vector>

#include "protocol/volume_name.h"

namespace tangelo {

namespace {

struct raw_command {
  std::string directory, name, config, listen, fabric, secret_file, metrics, run_dir, user;
  std::vector<std::string> volumes;
  std::string fence;
  bool repair = false, protect = false, json = false;
  bool standby = false, check = false;
  server_times times;
  std::optional<std::uint32_t> busy_poll_us;
  bool verbose = false;
  bool audit = false, no_reply_records = false, no_flush = false;
  std::uint64_t slow_us = 0;
};

problem usage(std::string text) {
  return problem{exit_code::usage, std::move(text), "see tangelo-server --help"};
}

outcome<bool> add_volumes(const std::vector<std::string>& volumes, server_config& to) {
  for (const std::string& v : volumes) {
    const std::size_t equals = v.find('=');
    if (equals == v.npos || equals == 0 || equals + 1 == v.size())
      return failure{usage(fmt::format("--volume {}: write NAME=DIR", v))};
    to.volumes.push_back({v.substr(0, equals), v.substr(equals + 1)});
  }
  return true;
}

outcome<server_command> run_command(const raw_command& raw) {
  server_command c;
  c.what = server_command::kind::run;
  if (!raw.config.empty()) {
    outcome<server_config> read = read_server_config(raw.config);
    if (!read) return failure{read.error()};
    c.config = *read;
  }
  if (const outcome<bool> added = add_volumes(raw.volumes, c.config); !added)
    return failure{added.error()};
  if (!raw.listen.empty()) {
    c.config.listen = raw.listen;
    c.config.places.erase("listen");
  }
  if (!raw.fabric.empty()) {
    const std::optional<fabric_choice> fabric = fabric_named(raw.fabric);
    if (!fabric)
      return failure{usage(fmt::format("--fabric {}: write auto, verbs or tcp", raw.fabric))};
    c.config.fabric = *fabric;
  }
  if (raw.busy_poll_us) c.config.busy_poll_us = *raw.busy_poll_us;
  if (!raw.secret_file.empty()) c.config.secret_file = raw.secret_file;
  if (!raw.metrics.empty()) {
    c.config.metrics = raw.metrics;
    c.config.places.erase("metrics");
  }
  c.config.standby = c.config.standby || raw.standby;
  for (const auto& [key, t] : {std::pair{"lease_seconds", &server_times::lease_seconds},
                               {"evict_seconds", &server_times::evict_seconds},
                               {"window_soft_seconds", &server_times::window_soft_seconds},
                               {"window_hard_seconds", &server_times::window_hard_seconds},
                               {"commit_interval_ms", &server_times::commit_interval_ms}}) {
    if (raw.times.*t == 0) continue;
    c.config.times.*t = raw.times.*t;
    c.config.places.erase(key);
  }
  c.config.run_dir = raw.run_dir;
  c.config.user = raw.user;
  c.config.audit = raw.audit;
  c.config.keep_reply_records = !raw.no_reply_records;
  c.config.flush = !raw.no_flush;
  c.config.slow_us = raw.slow_us;
  c.verbose = raw.verbose;
  if (const outcome<bool> checked = check_config(c.config); !checked)
    return failure{checked.error()};
  if (!raw.check) return c;
  (void)std::fputs(fmt::format("{}: nothing is wrong\n", raw.config).c_str(), stdout);
  return server_command{};
}

void add_run(CLI::App& run, raw_command& raw, bool for_tests) {
  CLI::Option* config = run.add_option("--config", raw.config,
                                       "a file with listen and [[volume]] (docs/OPERATIONS.md)");
  run.add_flag("--check", raw.check, "only say whether that file is right, and what is not, where")
      ->needs(config);
  run.add_option("--volume", raw.volumes, "NAME=DIR, may be repeated");
  run.add_option("--listen", raw.listen, "ADDRESS:PORT (127.0.0.1:7471; port 0: any free one)");
  run.add_option("--fabric", raw.fabric, "auto, verbs or tcp");
  run.add_option("--busy-poll-us", raw.busy_poll_us, "0; so long after an event it does not sleep")
      ->check(CLI::Range(0U, busy_poll_us_max));
  run.add_option("--secret-file", raw.secret_file, "clients must know what is in it, too");
  run.add_option("--metrics", raw.metrics, "127.0.0.1:9472: tells metrics to who asks there");
  run.add_option("--run-dir", raw.run_dir, "server.json and control.sock go there");
  run.add_option("--user", raw.user, "become this user");
  run.add_flag("--standby", raw.standby, "wait for each volume until nobody else holds it");
  run.add_option("--lease-seconds", raw.times.lease_seconds, "30; the others follow it")
      ->check(CLI::PositiveNumber);
  run.add_option("--evict-seconds", raw.times.evict_seconds, "5 leases")
      ->check(CLI::PositiveNumber);
  run.add_option("--window-soft-seconds", raw.times.window_soft_seconds, "1.5 leases")
      ->check(CLI::PositiveNumber);
  run.add_option("--window-hard-seconds", raw.times.window_hard_seconds, "4 leases")
      ->check(CLI::PositiveNumber);
  run.add_option("--commit-interval-ms", raw.times.commit_interval_ms, "50")
      ->check(CLI::PositiveNumber);
  run.add_flag("-v,--verbose", raw.verbose, "say more");
  if (!for_tests) return;
  run.add_flag("--audit", raw.audit, "record every effect");
  run.add_flag("--no-reply-records", raw.no_reply_records, "negative control");
  run.add_flag("--no-flush", raw.no_flush, "negative control");
  run.add_option("--slow-us", raw.slow_us, "added to each commit");
}

constexpr const char* check_notes =
    "For a volume that nobody serves. Exit codes: 0 nothing wrong (or all of it mended), 1 found\n"
    "and not mended, 3 it cannot be checked: served, no volume, or its metadata\n"
    "cannot be opened.\n";
constexpr const char* scrub_notes =
    "Reads every byte from the disk. Exit codes: 0 all blocks fit their guards, 1 some do not, or\n"
    "the disk fails, 3 it cannot be looked at: served, no volume, or its metadata cannot be\n"
    "opened.\n";
constexpr const char* takeover_notes =
    "COMMAND (sh -c) must make sure that the holder writes nothing any more, and exit with 0. It\n"
    "finds TANGELO_HOLDER_PID, TANGELO_HOLDER_HOST and TANGELO_VOLUME_DIR in its environment.\n";

outcome<server_command> parse(CLI::App& app, int argc, char** argv, bool for_tests) {
  raw_command raw;
  app.set_version_flag("--version", "tangelo-server " TANGELO_VERSION);
  app.require_subcommand(1);
  CLI::App* init = app.add_subcommand("init", "make an empty volume");
  init->add_option("DIR", raw.directory, "an empty or new directory")->required();
  init->add_option("--name", raw.name, "a name to remember it by");
  init->add_option("--user", raw.user,
                   "whose files it is made of, so that a server can write them; as root: who owns "
                   "DIR, or the directory around it");
  CLI::App* run = app.add_subcommand("run", "serve volumes");
  add_run(*run, raw, for_tests);
  CLI::App* check = app.add_subcommand("check", "verify a volume that is not served");
  check->add_option("DIR", raw.directory, "the volume")->required();
  check->add_flag("--repair", raw.repair, "mend what can be mended");
  check->add_flag("--json", raw.json, "for programs");
  check->footer(check_notes);
  CLI::App* scrub =
      app.add_subcommand("scrub", "compare the data of a volume, not served, with its guards");
  scrub->add_option("DIR", raw.directory, "the volume")->required();
  scrub->add_flag("--protect", raw.protect,
                  "blocks without a guard get one when the server runs again");
  scrub->add_flag("--json", raw.json, "for programs");
  scrub->footer(scrub_notes);
  CLI::App* takeover = app.add_subcommand("takeover", "take a volume from a server that is stuck");
  takeover->add_option("DIR", raw.directory, "the volume")->required();
  takeover->add_option("--fence", raw.fence, "COMMAND: ends the holder for certain");
  takeover->footer(takeover_notes);
  CLI::App* report = nullptr;
  if (for_tests) {
    report = app.add_subcommand("audit-report", "count effects and duplicates");
    report->add_option("DIR", raw.directory, "a volume that is not served")->required();
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    (void)app.exit(e);  // help and version print themselves
    return server_command{};
  } catch (const CLI::ParseError& e) {
    return failure{usage(e.what())};
  }
  if (run->parsed()) return run_command(raw);
  if (takeover->parsed() && raw.fence.empty())
    return failure{problem{exit_code::usage, "takeover: no --fence COMMAND, no takeover",
                           "a holder that only seems dead would write into what another serves: "
                           "give a command that ends it for certain, see takeover --help"}};
  if (init->parsed() && !raw.name.empty() && !is_volume_name(raw.name))
    return failure{problem{exit_code::usage, fmt::format("init: --name \"{}\"", raw.name),
                           std::string(volume_name_rule)}};
  server_command c;
  c.what = report != nullptr && report->parsed() ? server_command::kind::audit_report
           : check->parsed()                     ? server_command::kind::check
           : scrub->parsed()                     ? server_command::kind::scrub
           : takeover->parsed()                  ? server_command::kind::takeover
                                                 : server_command::kind::init;
  c.directory = raw.directory;
  c.volume_name = raw.name;
  c.config.user = raw.user;
  c.fence = raw.fence;
  c.repair = raw.repair;
  c.protect = raw.protect;
  c.json = raw.json;
  return c;
}

}  // namespace

outcome<server_command> parse_server_command(int argc, char** argv, bool for_tests) {
  CLI::App app("Tangelo server: exports volumes", "tangelo-server");
  return parse(app, argc, argv, for_tests);
}

int say_problem(std::string_view program, const problem& p) {
  const std::string text =
      p.hint.empty() ? fmt::format("{}: {}\n", program, p.text)
                     : fmt::format("{}: {}\n{}: {}\n", program, p.text, program, p.hint);
  (void)std::fputs(text.c_str(), stderr);  // nobody to tell otherwise
  return static_cast<int>(p.code);
}

}  // namespace tangelo
