// volume_answers: what the volume's handlers need to answer: attributes, names, bodies. Pure
// functions; defined beside the handlers they come from.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/check.h"
#include "protocol/ops.h"
#include "server/objects.h"
#include "server/operation.h"
#include "server/records.h"

namespace tangelo {

// What stat(2) shows of a record.
attributes attributes_of(std::uint64_t number, const inode_record& r);
error_code check_name(std::string_view name);
std::optional<space_change> space_change_of(redo_kind kind);
inline std::uint8_t type_of_mode(std::uint32_t mode) {
  return static_cast<std::uint8_t>((mode >> 12) & 15);  // as IFTODT
}
inline constexpr std::uint32_t answer_valid_ms = 1000;

template <class Answer>
void put_answer(operation& o, const Answer& a) {
  std::byte room[answer_size_max];
  const std::optional<std::size_t> size = encode(a, room);
  CHECK(size.has_value());
  o.body.assign(room, room + *size);
}

}  // namespace tangelo
