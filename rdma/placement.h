// placement: which memory stands behind which transfer tag, at one end of one connection.
//
// Shared by the providers that move bulk in frames of their own (tcp, loop). The client's end
// fills `exposed`; the server's end learns of pull chunks from the messages it delivers
// (`announced`) and is told by read_remote() where their bytes go (`reads`). Pure bookkeeping: it
// touches no memory and does no I/O.
//
// Invariants:
//   1. Bytes from the peer go only where find_target() says: an exposed push or reply chunk, or a
//      read that was announced and asked for; always within its bounds.
//   2. A read takes its bytes once, whole.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "protocol/wire.h"
#include "rdma/provider.h"
#include "rdma/tag_map.h"

namespace tangelo {

inline constexpr std::size_t frame_header_size =
    wire_header_size + wire_extension_size + wire_chunk_size;
inline constexpr std::size_t announced_count_max = 65536;

struct exposed_memory {
  chunk what;
  mutable_byte_span memory;
  bool sent = false;  // its bytes have been queued for the peer
};

// Where the bytes of a DATA frame go.
struct placement_target {
  enum class kind : std::uint8_t { refused, wait, place, drop };
  kind how = kind::refused;
  mutable_byte_span memory;  // place: exactly the frame's bytes
  bool is_read = false;      // finishing it finishes the read of this tag
};

class placement {
 public:
  void expose(const chunk& c, mutable_byte_span memory, bool eager);
  void retract(std::uint64_t tag) noexcept;

  // The chunks whose bytes follow the next message.
  std::size_t eager_count() const noexcept { return eager_count_; }
  exposed_memory* eager(std::size_t i) noexcept { return exposed_.find(eager_[i]); }
  void clear_eager() noexcept { eager_count_ = 0; }
  // The memory behind a PULL_REQUEST; nullptr when the peer may not have it.
  exposed_memory* pulled(const chunk& c) noexcept;

  // Notes the pull chunks of a message about to be delivered; false: it breaks the protocol.
  bool announce(byte_span message);
  enum class read_step : std::uint8_t { refused, await_bytes, ask_peer, nothing_to_do };
  read_step begin_read(const chunk& c, mutable_byte_span into, std::uint64_t cookie);
  // Where a DATA frame goes; a read found this way has begun and is not found again.
  placement_target find_target(const chunk& c) noexcept;
  // A frame of this chunk has to wait for its read_remote.
  bool awaits_read(const chunk& c) noexcept;
  // The cookie of the read that has ended.
  std::uint64_t end_read(std::uint64_t tag) noexcept;

 private:
  struct announced_chunk {
    std::uint32_t size = 0;
    bool eager = false;
  };
  struct pending_read {
    mutable_byte_span into;  // empty: dropped
    std::uint32_t size = 0;
    std::uint64_t cookie = 0;
    bool started = false;
  };

  tag_map<exposed_memory> exposed_;
  tag_map<announced_chunk> announced_;
  tag_map<pending_read> reads_;
  std::array<std::uint64_t, wire_chunk_count_max> eager_{};
  std::size_t eager_count_ = 0;
};

// Builds the frame in front of bulk (DATA) or asking for it (PULL_REQUEST).
std::array<std::byte, frame_header_size> build_frame(message_type type, const chunk& c) noexcept;

}  // namespace tangelo
