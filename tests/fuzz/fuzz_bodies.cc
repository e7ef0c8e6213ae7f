// Every body of ops.h and session.h: the first byte chooses which. What decodes is encoded again
// and is then a fixed point.
#include <array>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "protocol/data_ops.h"
#include "protocol/lock_ops.h"
#include "protocol/ops.h"
#include "protocol/session.h"

namespace tangelo {
namespace {

template <class Body>
void body(byte_span in) {
  const std::optional<Body> first = decode<Body>(in);
  if (!first) return;
  std::vector<std::byte> once(0x30000), twice(0x30000);
  const std::optional<std::size_t> size = encode(*first, once);
  CHECK(size.has_value());
  const std::optional<Body> second = decode<Body>(byte_span(once).first(*size));
  CHECK(second.has_value());
  CHECK(encode(*second, twice) == size);
  CHECK(std::memcmp(once.data(), twice.data(), *size) == 0);
}

void entries(byte_span in) {
  const std::size_t size = in.size();
  std::size_t count = 0;
  while (next_entry(in)) CHECK(++count <= size);
  CHECK(in.size() <= size);
}

constexpr std::array decoders = {
    &body<credential>,     &body<attributes>,       &body<entry_answer>,
    &body<attr_answer>,    &body<name_call>,        &body<inode_call>,
    &body<setattr_call>,   &body<make_call>,        &body<link_call>,
    &body<rename_call>,    &body<open_call>,        &body<read_call>,
    &body<write_call>,     &body<write_answer>,     &body<fsync_call>,
    &body<statfs_answer>,  &body<xattr_call>,       &body<size_answer>,
    &body<inode_range_call>, &body<inode_range_answer>, &body<directory_entry>,
    &body<hello_body>,     &body<hello_ack_body>,   &body<auth_body>,
    &body<connect_body>,
    &body<connect_ack_body>, &body<close_body>,     &body<call_extension>,
    &body<reply_extension>, &entries,             &body<space_call>,
    &body<seek_call>,      &body<seek_answer>,      &body<copy_call>,
    &body<copy_answer>,    &body<remove_call>,      &body<replace_call>,
    &body<removed_answer>, &body<lock_call>,        &body<lock_answer>,
    &body<cancel_lock_call>, &body<cancel_lock_answer>, &body<callback_body>,
    &body<callback_ack_body>,
};

}  // namespace
}  // namespace tangelo

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const tangelo::byte_span raw(reinterpret_cast<const std::byte*>(data), size);
  tangelo::decoders[data[0] % tangelo::decoders.size()](raw.subspan(1));
  return 0;
}
