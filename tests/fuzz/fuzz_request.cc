// decode_request: any bytes from /dev/fuse.
#include <cstdint>

#include "base/check.h"
#include "fs/request.h"
#include "protocol/ops.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tangelo;
  op_draft draft;
  const request_kind kind =
      decode_request({reinterpret_cast<const std::byte*>(data), size}, draft);
  CHECK(draft.cell.body_size <= op_body_size_max);
  CHECK(draft.claim_count <= claim_count_max);
  const bool wants_handle = kind == request_kind::opening || kind == request_kind::removing;
  if (kind != request_kind::op && !wants_handle) return 0;
  CHECK(is_valid(slot_ref{draft.cell.payload_out.kind, 0, 0, draft.cell.payload_out.size}));
  CHECK(draft.payload.size() <= xattr_value_size_max);
  CHECK(draft.write_size <= wire_payload_size_max);
  if (wants_handle) set_new_handle(draft.cell, 0x0102030405060708);
  if (is_creating(draft.cell.op)) set_new_inode(draft.cell, 0x1112131415161718);
  return 0;
}
