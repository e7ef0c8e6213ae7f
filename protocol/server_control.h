// What the command line asks a server, over RUN/servers/NAME/control.sock (mode 0600, SEQPACKET):
// one server_request, then one control_answer (supervise.h), and the connection is closed. Only the
// server's own user and root are heard.
//
//   verb      answer's text                  descriptor in the answer
//   clients   -                              a memfd: server_client_row...
//   volumes   -                              a memfd: server_volume_row...
//   evict     what was done, or why not      -
//   log       what is logged from now on     -
#pragma once

#include <array>
#include <cstdint>

namespace tangelo {

inline constexpr std::uint32_t server_control_version = 1;

enum class server_verb : std::uint32_t { clients = 1, volumes = 2, evict = 3, log = 4 };

// Texts are zero-terminated.
struct server_request {
  std::uint32_t version = server_control_version;
  server_verb verb{};
  std::array<char, 256> volume{};  // evict
  std::array<char, 256> who{};     // evict: a client's id, or its address; log: a level
};

struct server_client_row {
  std::array<char, 256> volume{};
  std::array<char, 64> client_id{};  // hexadecimal
  std::array<char, 64> address{};    // empty: not connected
  std::array<char, 16> state{};
  std::uint64_t incarnation = 0;
  std::uint64_t epoch = 0;
  std::uint64_t silent_ms = 0;
  std::uint64_t lease_left_ms = 0;
  std::uint64_t running = 0;
  std::uint64_t calls = 0;
  std::uint64_t resent = 0;
  std::uint64_t highest_transno = 0;
  std::uint8_t awaited = 0;
  std::uint8_t has_opens = 0;
  std::uint8_t uncommitted = 0;
  std::array<std::uint8_t, 5> reserved{};
};

struct server_volume_row {
  std::array<char, 256> name{};
  std::array<char, 1024> directory{};
  std::array<char, 16> state{};   // serving, standby
  std::array<char, 280> holder{};  // who holds it, for people
  std::uint64_t boot_generation = 0;
  std::uint64_t last_committed = 0;
  std::uint64_t executed = 0;
  std::uint64_t commits = 0;
  std::uint64_t running = 0;
  std::uint64_t open_handles = 0;
  std::uint64_t redo_size = 0;
  std::uint64_t reserved = 0;
};

}  // namespace tangelo
