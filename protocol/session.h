// Bodies of the session messages: HELLO, CONNECT and the rest of a connection's life.
//
// CONNECT is where the server decides what became of a session; the client obeys the verdict after
// checking it against what it knows itself. See docs/PROTOCOL.md for the dialogue and
// rdma/import.h for the states that the verdicts lead to.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "protocol/codec.h"
#include "protocol/wire.h"

namespace tangelo {

namespace feature {
inline constexpr std::uint64_t eager_payload = 1;  // payload in may follow a CALL unasked
inline constexpr std::uint64_t async_commit = 2;   // changes may be answered before their commit
inline constexpr std::uint64_t protection = 4;     // trailers are understood (protection.h)
inline constexpr std::uint64_t known = eager_payload | async_commit | protection;
}  // namespace feature

using nonce256 = std::array<std::byte, 32>;

// Versions are ranges so that a newer side can still speak an older one's.
struct hello_body {
  std::uint8_t version_min = wire_version;
  std::uint8_t version_max = wire_version;
  std::uint16_t auth_kind = 0;  // 0 none, 1 HMAC-SHA256 over the transcript
  std::uint64_t features = feature::known;
  id128 client_id{};
  nonce256 nonce{};
  std::string_view volume;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.version_min), v(s.version_max), v(s.auth_kind), v(s.features), v(s.client_id);
    v(s.nonce), v.text(s.volume);
  }
};

struct hello_ack_body {
  std::uint8_t version = wire_version;
  std::uint8_t reserved = 0;
  std::uint16_t auth_kind = 0;
  std::uint64_t features = 0;  // a subset of what was asked
  id128 target_id{};           // the volume, for ever
  nonce256 nonce{};
  nonce256 proof{};  // of the secret; all zero without authentication
  std::uint16_t credits = 0;
  std::uint32_t eager_payload_max = 0;  // larger payloads wait for pull_request

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.version), v(s.reserved), v(s.auth_kind), v(s.features), v(s.target_id), v(s.nonce);
    v(s.proof), v(s.credits), v(s.eager_payload_max);
  }
};

// AUTH: the client's answer to HELLO_ACK, if HELLO named an auth_kind (rdma/handshake.h). CONNECT
// follows at once.
struct auth_body {
  nonce256 proof{};

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.proof);
  }
};

namespace held_state {
inline constexpr std::uint32_t opens = 1;
inline constexpr std::uint32_t locks = 2;
inline constexpr std::uint32_t uncommitted = 4;
}  // namespace held_state

struct connect_body {
  id128 client_id{};
  std::uint64_t incarnation = 0;
  std::uint64_t last_boot_generation = 0;  // 0: never connected
  std::uint64_t last_committed = 0;        // highest seen
  std::uint64_t replay_from = 0;           // lowest transno we can replay; 0: none
  std::uint64_t last_cookie = 0;
  std::uint32_t held = 0;  // held_state bits
  std::uint32_t slots = 0;
  std::uint64_t features = feature::known;
  std::uint32_t reason = 0;  // why the last connection ended (down_reason)

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.client_id), v(s.incarnation), v(s.last_boot_generation), v(s.last_committed);
    v(s.replay_from), v(s.last_cookie), v(s.held), v(s.slots), v(s.features), v(s.reason);
  }
};

// What the server says became of the session (recovery.md §7.7).
enum class connect_verdict : std::uint16_t {
  fresh = 1,                // no export, no record: a new session
  resumed = 2,              // export alive, same incarnation, same boot
  resumed_new_boot = 3,     // durable record, nothing held, window closed
  recovering_new_boot = 4,  // durable record, window open: replay
  recovering_resumed = 5,   // already rejoined in this boot, window still open
  evicted = 6,
  busy = 7,       // same address, after retry_ms
  try_other = 8,  // not here: next address now
  wait = 9,       // starting, or a window is open for others: same address, after retry_ms
  denied = 10,
};

constexpr std::string_view name_of(connect_verdict v) noexcept {
  switch (v) {
    using enum connect_verdict;
    case fresh: return "fresh";
    case resumed: return "resumed";
    case resumed_new_boot: return "resumed_new_boot";
    case recovering_new_boot: return "recovering_new_boot";
    case recovering_resumed: return "recovering_resumed";
    case evicted: return "evicted";
    case busy: return "busy";
    case try_other: return "try_other";
    case wait: return "wait";
    case denied: return "denied";
  }
  return {};
}

struct connect_ack_body {
  connect_verdict verdict{};
  std::uint16_t credits = 0;
  std::uint32_t retry_ms = 0;
  std::uint64_t cookie = 0;
  std::uint64_t boot_generation = 0;
  std::uint64_t last_committed = 0;
  std::uint64_t features = 0;
  std::uint32_t slots = 0;
  std::uint32_t lease_ms = 0;
  std::uint32_t window_left_ms = 0;
  std::string_view text;  // for a person, when denied
  // evicted: this client's changes up to this transno are in the store for good; 0: none that the
  // server knows of
  std::uint64_t kept_through = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.verdict), v(s.credits), v(s.retry_ms), v(s.cookie), v(s.boot_generation);
    v(s.last_committed), v(s.features), v(s.slots), v(s.lease_ms), v(s.window_left_ms);
    v.text(s.text), v(s.kept_through);
  }
};

// ADVICE: the volume that was asked for in HELLO is served here from now on.
struct advice_body {
  std::uint64_t boot_generation = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.boot_generation);
  }
};

// ERROR and GOODBYE: why the sender closes.
struct close_body {
  std::uint16_t code = 0;         // an error_code
  std::uint16_t resume_ok = 0;    // goodbye: 1 keeps the session, 0 forgets the client
  std::string_view text;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.code), v(s.resume_ok), v.text(s.text);
  }
};

}  // namespace tangelo
