// What the watchdog and its children say to each other, and what the command line asks it.
//
// Front end: one SEQPACKET pair, made by the watchdog, fixed-size messages:
//
//   watchdog                                   front end
//                                         <-   ready        serving; the watchdog may start a core
//   core_started + fd of a SEQPACKET pair ->                the new core has the other end for
//                                                           the attach dialogue (device.h)
//   core_ended                            ->                its pidfd is readable: all it could
//                                                           still write to memory has been written
//   quiesce                               ->                unmounting: finish what is left
//                                         <-   kill_core    it broke the device protocol
//                                         <-   unmounted    /dev/fuse says so; nothing is left
//
// A core is started only after the one before it has ended (SIGKILL fences memory).
//
// Command line: control.sock, SEQPACKET, one request packet and one answer packet per connection.
// Request: a control_request. Answer: a control_answer, for `arenas` with two read-only
// descriptors: the front end's arena and the shared arena.
#pragma once

#include <array>
#include <cstdint>

namespace tangelo {

enum class supervise_message : std::uint32_t {
  ready = 1,
  core_started = 2,
  core_ended = 3,
  quiesce = 4,
  kill_core = 5,
  unmounted = 6,
};

struct supervise_packet {
  supervise_message type{};
  std::uint32_t pid = 0;
};

enum class control_verb : std::uint32_t {
  arenas = 1,     // look: descriptors of both arenas
  unmount = 2,    // end the mount as umount(2) does; fails with EBUSY while it is in use
  detach = 3,     // the same, lazily: MNT_DETACH
};

inline constexpr std::uint32_t control_version = 1;

struct control_request {
  std::uint32_t version = control_version;
  control_verb verb{};
};

struct control_answer {
  std::uint32_t version = control_version;
  std::int32_t errno_value = 0;  // 0: done
  std::array<char, 248> text{};  // zero-terminated, for a person
};

}  // namespace tangelo
