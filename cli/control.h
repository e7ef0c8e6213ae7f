// control: asking the processes of a mount, over the sockets in RUN/mounts/NAME/
// (protocol/supervise.h).
//
// Command line only. One question and one answer per connection; no call waits longer than it was
// told to, also when the one asked stands still. What comes back is not believed: its size and
// version are checked, its text is cut and cleaned.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/problem.h"
#include "cli/mounts.h"
#include "protocol/supervise.h"

namespace tangelo {

// Who is asked: the watchdog at control.sock, the front end at fs.sock.
enum class asked : std::uint8_t { watchdog, front_end };

struct control_reply {
  asked by = asked::watchdog;  // who answered
  int errno_value = 0;         // 0: done
  std::string text;            // for a person; may be empty
  unique_fd fs_arena;          // for control_verb::arenas
  unique_fd shared_arena;
  problem silence{};           // of the watchdog, where the front end answered for it
};

// Fails with exit_code::unreachable when there is nobody, or somebody but the mount's user (who may
// have a socket of root's there, for root to ask), or no answer within `wait_ms`. `meanwhile`, if
// there is one, is called ten times a second while it waits.
outcome<control_reply> ask(asked who, const std::string& run_root, const mount_ref& mount,
                           const control_request& request, int wait_ms,
                           const std::function<void()>& meanwhile = {});
outcome<control_reply> ask_watchdog(const std::string& run_root, const mount_ref& mount,
                                    control_verb verb, int wait_ms);
// The watchdog, or the front end where no watchdog answers; fails with what the watchdog's failure
// was. Waits `wait_ms` for both of them together.
outcome<control_reply> ask_either(const std::string& run_root, const mount_ref& mount,
                                  control_verb verb, int wait_ms);
// The watchdog's pid if it is stopped (SIGSTOP), so that nobody needs to wait for it, else 0.
pid_t stopped_watchdog(const std::string& run_root, const mount_ref& mount);

// What a reply that says no means for the user.
problem refusal(const mount_ref& mount, const control_reply& reply);
// Text of another process, or the name of a file, up to its zero, without control characters.
std::string printable(std::string_view text);

}  // namespace tangelo
