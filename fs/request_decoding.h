// request_decoding: what the decoders of FUSE requests (request.cc, its siblings) have in common.
//
// Nobody else includes it. A decoder takes the arguments that stand behind the header, checks them,
// and ends in as_op() or refuse().
#pragma once

#include <optional>
#include <string_view>

#include "fs/fuse_abi.h"
#include "fs/request.h"
#include "protocol/ops.h"

namespace tangelo {

// The arguments of a request, taken one after the other.
class arguments {
 public:
  explicit arguments(byte_span bytes) noexcept : rest_(bytes) {}
  template <class T>
  T take() noexcept {
    T value{};
    if (rest_.size() < sizeof value) {
      ok_ = false;
      return value;
    }
    copy_bytes(writable_bytes(value), rest_);
    rest_ = rest_.subspan(sizeof value);
    return value;
  }
  // A zero-terminated name.
  std::string_view name() noexcept {
    const std::string_view all = text_of(rest_);
    const std::size_t end = all.find('\0');
    if (end == std::string_view::npos) {
      ok_ = false;
      return {};
    }
    rest_ = rest_.subspan(end + 1);
    return all.substr(0, end);
  }
  byte_span rest() const noexcept { return rest_; }
  bool ok() const noexcept { return ok_; }

 private:
  byte_span rest_;
  bool ok_ = true;
};

struct decoding {
  const fuse_in_header& header;
  arguments in;
  op_draft& draft;
  credential who;
  const cache_policy& policy;
  credentials* known;  // null: the request was taken before

  // For what the server may do in another way instead of refusing it, by groups and powers.
  void read_caller_anew() noexcept {
    if (known != nullptr)
      who = known->of_now(header.pid, header.uid, header.gid, draft.cell.arrived_ns);
  }
};

inline request_kind refuse(op_draft& draft, error_code error) noexcept {
  draft.error = error;
  return request_kind::answer;
}

template <class Body>
request_kind as_op(decoding& d, opcode op, const Body& body,
                   request_kind kind = request_kind::op) noexcept {
  if (!d.in.ok()) return refuse(d.draft, error_code::io);
  const std::optional<std::size_t> size = encode(body, d.draft.cell.body);
  if (!size) return refuse(d.draft, error_code::name_too_long);
  d.draft.cell.op = op;
  d.draft.cell.body_size = static_cast<std::uint16_t>(*size);
  return kind;
}

inline bool too_long(std::string_view name) noexcept { return name.size() > name_size_max; }

// Requests that are decoded elsewhere.
request_kind decode_space(decoding& d) noexcept;  // request_space.cc

}  // namespace tangelo
