// What the watchdog and its children say to each other, and what the command line asks them.
//
// Front end: one SEQPACKET connection, fixed-size messages. The watchdog makes it as a pair, or an
// adopter (below) by connecting to fs.sock:
//
//   watchdog                                   front end
//                                         <-   ready        serving; the watchdog may start a core
//   core_started + fd of a SEQPACKET pair ->                the new core has the other end for
//                                                           the attach dialogue (device.h)
//   core_ended                            ->                its pidfd is readable: all it could
//                                                           still write to memory has been written
//   drain                                 ->                offer and read nothing more, so that a
//                                                           process can be replaced at rest
//                                         <-   drained      no core has an op any more
//   resume                                ->                undoes drain; a new core does, too
//   abort                                 ->                answer every waiting caller EIO
//   policy_changed                        ->                look at policy_record again
//                                         <-   kill_core    it broke the device protocol
//                                         <-   unmounted    /dev/fuse says so; nothing is left
//
// A core is started only after the one before it has ended, and a front end only after the one
// before it (SIGKILL fences memory). A front end that ends takes its core along: the next front
// end gets a new one.
//
// Asking. control.sock (watchdog), fs.sock (front end) and core.sock (core; none under systemd,
// which keeps descriptors itself) in the mount's run directory, mode 0600, SEQPACKET: one
// control_request, then one control_answer, and the connection is closed.
//
//   verb      control.sock  fs.sock  core.sock   descriptors in the answer
//   arenas         x           x                 both arenas, read-only: front end's, shared
//   unmount        x
//   detach         x
//   force          x
//   abort          x           x
//   set            x
//   upgrade        x
//   adopt                      x         x       /dev/fuse, front end's arena, shared arena
//
// Adoption. A watchdog that has taken the lock of the run directory asks fs.sock to `adopt`; after
// the answer that connection is the front end's link to its watchdog, as above, and begins with
// `ready`. When no front end answers it asks core.sock: a core whose front end is gone hands over
// its descriptors and is killed by the adopter. Only a peer of the same user as the socket's owner,
// or root, is heard.
#pragma once

#include <array>
#include <cstdint>

namespace tangelo {

enum class supervise_message : std::uint32_t {
  ready = 1,
  core_started = 2,
  core_ended = 3,
  drain = 4,
  kill_core = 5,
  unmounted = 6,
  drained = 7,
  resume = 8,
  abort = 9,
  policy_changed = 10,
};

struct supervise_packet {
  supervise_message type{};
  std::uint32_t pid = 0;
};

enum class control_verb : std::uint32_t {
  arenas = 1,   // look
  unmount = 2,  // end the mount as umount(2) does; fails with EBUSY while it is in use
  detach = 3,   // the same, lazily: MNT_DETACH
  force = 4,    // answer every waiting caller EIO, then end the mount whoever uses it
  abort = 5,    // answer every waiting caller EIO; the mount goes on
  set = 6,      // change the policy; `policy` says to what
  upgrade = 7,  // replace core, front end, watchdog by the programs now installed
  adopt = 8,
};

inline constexpr std::uint32_t control_version = 3;

// Values of a policy (policy.h): seconds, policy_off, or policy_unchanged.
inline constexpr std::uint32_t policy_off = 0xffffffff;
inline constexpr std::uint32_t policy_unchanged = 0xfffffffe;
struct policy_change {
  std::uint32_t reconnect_delay = policy_unchanged;
  std::uint32_t fast_io_fail_tmo = policy_unchanged;
  std::uint32_t dev_loss_tmo = policy_unchanged;
  std::uint32_t commit = policy_unchanged;  // or a commit_mode (policy.h)
  std::uint32_t log = policy_unchanged;     // or a log_level (base/log.h)
};

struct control_request {
  std::uint32_t version = control_version;
  control_verb verb{};
  policy_change policy;
};

struct control_answer {
  std::uint32_t version = control_version;
  std::int32_t errno_value = 0;  // 0: done
  std::array<char, 504> text{};  // zero-terminated, for a person
};

}  // namespace tangelo
