// held_requests: what a successor's sweep has read and found no room for in the arena.
//
// In the process's own memory: should this front end die, the kernel repeats them to the next one.
// They are taken into the arena, the oldest first, as soon as there is room. Front end's loop
// thread only; allocates only in add().
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "base/bytes.h"
#include "fs/fuse_abi.h"

namespace tangelo {

class held_requests {
 public:
  struct request {
    fuse_in_header header{};
    std::vector<std::byte> bytes;
    bool interrupted = false;
  };

  bool empty() const noexcept { return requests_.empty(); }
  void add(byte_span head, byte_span tail);
  // The oldest; there must be one.
  request take() noexcept;
  // Its caller was sent a signal; false: it is none of these.
  bool interrupt(std::uint64_t unique) noexcept;
  // Drops each of which f(header) says so.
  template <class F>
  void drop_if(F f) noexcept {
    std::erase_if(requests_, [&f](const request& r) noexcept { return f(r.header); });
  }

 private:
  std::deque<request> requests_;
};

}  // namespace tangelo
