#include "server/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <vector>

namespace tangelo {

namespace {

struct raw_command {
  std::string directory, name, config, listen, run_dir, user;
  std::vector<std::string> volumes;
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
  if (!raw.listen.empty()) c.config.listen = raw.listen;
  c.config.run_dir = raw.run_dir;
  c.config.user = raw.user;
  c.config.audit = raw.audit;
  c.config.keep_reply_records = !raw.no_reply_records;
  c.config.flush = !raw.no_flush;
  c.config.slow_us = raw.slow_us;
  if (const outcome<bool> checked = check_config(c.config); !checked)
    return failure{checked.error()};
  return c;
}

outcome<server_command> parse(CLI::App& app, int argc, char** argv, bool for_tests) {
  raw_command raw;
  app.set_version_flag("--version", "tangelo-server " TANGELO_VERSION);
  app.require_subcommand(1);
  CLI::App* init = app.add_subcommand("init", "make an empty volume");
  init->add_option("DIR", raw.directory, "an empty or new directory")->required();
  init->add_option("--name", raw.name, "a name to remember it by");
  CLI::App* run = app.add_subcommand("run", "serve volumes");
  run->add_option("--config", raw.config, "a file with listen and [[volume]] (docs/OPERATIONS.md)");
  run->add_option("--volume", raw.volumes, "NAME=DIR, may be repeated");
  run->add_option("--listen", raw.listen, "ADDRESS:PORT (127.0.0.1:7471; port 0: any free one)");
  run->add_option("--run-dir", raw.run_dir, "write server.json there when ready");
  run->add_option("--user", raw.user, "become this user");
  run->add_flag("-v,--verbose", raw.verbose, "say more");
  CLI::App* report = nullptr;
  if (for_tests) {
    run->add_flag("--audit", raw.audit, "record every effect");
    run->add_flag("--no-reply-records", raw.no_reply_records, "negative control");
    run->add_flag("--no-flush", raw.no_flush, "negative control");
    run->add_option("--slow-us", raw.slow_us, "added to each commit");
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
  if (run->parsed()) {
    outcome<server_command> c = run_command(raw);
    if (c) c->verbose = raw.verbose;
    return c;
  }
  server_command c;
  c.what = report != nullptr && report->parsed() ? server_command::kind::audit_report
                                                 : server_command::kind::init;
  c.directory = raw.directory;
  c.volume_name = raw.name;
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
