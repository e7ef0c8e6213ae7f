// Records of the arena: a slot of any bytes yields a record whose sizes are sane, or none. Once as
// it is and once with its checksum repaired.
#include <cstdint>
#include <memory>

#include "base/check.h"
#include "protocol/records.h"

namespace tangelo {
namespace {

template <class Slot, class Cell>
void read_slot(byte_span raw) {
  const auto slot = std::make_unique<Slot>();
  const auto out = std::make_unique<Cell>();
  copy_bytes({reinterpret_cast<std::byte*>(slot.get()), sizeof(Slot)}, raw);
  control_word w;
  for (int repaired = 0; repaired < 2; ++repaired) {
    if (copy_record(*slot, w, *out)) CHECK(has_sane_size(*out));
    Cell& current = slot->cells[control_of(*slot).cell];
    if (has_sane_size(current)) current.crc = crc32c(covered_bytes(current));
  }
}

}  // namespace
}  // namespace tangelo

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tangelo;
  const byte_span raw(reinterpret_cast<const std::byte*>(data), size);
  read_slot<downcall_slot, downcall_cell>(raw);
  read_slot<op_slot, op_cell>(raw);
  read_slot<handle_slot, handle_cell>(raw);
  read_slot<replay_slot, replay_cell>(raw);
  if (size >= sizeof(replay_payload)) {
    replay_payload p;
    std::memcpy(static_cast<void*>(&p), data, sizeof p);
    if (is_valid(p) && p.slot.kind == slot_class::none && p.size != 0)
      CHECK(std::size_t{p.first_page} * replay_page_size + p.size <= sizeof(fs_arena::replay_log));
  }
  if (size >= sizeof(slot_ref)) {
    slot_ref ref;
    std::memcpy(&ref, data, sizeof ref);
    if (is_valid(ref) && ref.kind != slot_class::none)
      CHECK(slot_offset(ref.kind, ref.index) + ref.size <= data_slots_size);
  }
  return 0;
}
