#include "fs/held_requests.h"

#include <cstring>
#include <utility>

#include "base/check.h"

namespace tangelo {

void held_requests::add(byte_span head, byte_span tail) {
  CHECK(head.size() >= sizeof(fuse_in_header));
  request r;
  std::memcpy(&r.header, head.data(), sizeof r.header);
  r.bytes.assign(head.begin(), head.end());
  r.bytes.insert(r.bytes.end(), tail.begin(), tail.end());
  requests_.push_back(std::move(r));
}

held_requests::request held_requests::take() noexcept {
  CHECK(!requests_.empty());
  request r = std::move(requests_.front());
  requests_.pop_front();
  return r;
}

bool held_requests::interrupt(std::uint64_t unique) noexcept {
  for (request& r : requests_) {
    if (r.header.unique != unique) continue;
    r.interrupted = true;
    return true;
  }
  return false;
}

}  // namespace tangelo
