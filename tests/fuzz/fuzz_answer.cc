// answer_builder: any downcall for any op; the answer is never longer than the kernel has room for.
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "base/check.h"
#include "fs/answer.h"

namespace tangelo {
namespace {

struct input {
  std::uint16_t op;
  std::uint16_t status;
  std::uint16_t body_size;
  std::uint16_t kernel_opcode;
  std::uint32_t room;
  std::uint64_t inode;
};

void build(byte_span raw) {
  static answer_builder builder;
  static cache_hints hints;
  input in{};
  if (raw.size() < sizeof in) return;
  std::memcpy(&in, raw.data(), sizeof in);
  raw = raw.subspan(sizeof in);
  const auto op = std::make_unique<op_cell>();
  const auto down = std::make_unique<downcall_cell>();
  op->op = static_cast<opcode>(in.op % (opcode_count + 1));
  op->kernel_opcode = in.kernel_opcode % 64;
  op->inode = in.inode;
  op->room = in.room;
  op->payload_in = {slot_class::write_small, 0, 0, 1000};
  down->status = in.status % 4 == 0 ? in.status : std::uint16_t{0};
  down->body_size = static_cast<std::uint16_t>(
      copy_bytes({down->body, in.body_size % (answer_size_max + 1)}, raw));
  // The front end has bounded the payload by the slot, and the slot by the room.
  std::vector<std::byte> payload(raw.begin() + down->body_size, raw.end());
  (void)builder.build(*op, *down, payload, hints);
  fuse_out_header header;
  std::memcpy(&header, builder.parts()[0].iov_base, sizeof header);
  std::size_t size = 0;
  for (int i = 0; i < builder.part_count(); ++i) size += builder.parts()[i].iov_len;
  CHECK(header.len == size);
  CHECK(header.error <= 0 && header.error > -512);
  CHECK(header.error == 0 || size == sizeof header);
  if (op->op == opcode::readdir) CHECK(size - sizeof header <= in.room);
}

}  // namespace
}  // namespace tangelo

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tangelo::build({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
