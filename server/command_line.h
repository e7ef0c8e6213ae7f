// command_line: what the server's programs are asked to do. The adapter around CLI11.
#pragma once

#include <cstdint>
#include <string>

#include "base/problem.h"
#include "server/config.h"

namespace tangelo {

struct server_command {
  enum class kind : std::uint8_t { none, init, run, check, scrub, takeover, audit_report };
  kind what = kind::none;  // none: all has been said (help, version, run --check)
  std::string directory;    // init, check, scrub, takeover, audit_report
  std::string volume_name;  // init
  std::string fence;        // takeover
  bool repair = false;      // check
  bool protect = false;     // scrub
  bool json = false;        // check, scrub
  bool verbose = false;
  server_config config;    // run
};

// `for_tests` offers the switches and commands of the test program, too.
outcome<server_command> parse_server_command(int argc, char** argv, bool for_tests);
// Says a problem as every Tangelo program does; the exit code.
int say_problem(std::string_view program, const problem& p);

}  // namespace tangelo
