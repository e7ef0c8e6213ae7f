// error_code: every way in which an operation or a message can fail, in one table with the errno
// that the application sees and the text that a person sees.
//
// Codes travel on the wire (call status) and in downcall records: never renumber; a retired code
// keeps its row. Codes below 100 are answers of the filesystem, those from 100 on belong to the
// session and never reach an application as such (their errno is what it gets if it has to).
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace tangelo {

enum class error_code : std::uint16_t {
  ok = 0,
  not_permitted = 1,
  no_entry = 2,
  io = 5,
  no_device_address = 6,
  too_big = 7,
  bad_handle = 9,
  again = 11,
  no_memory = 12,
  access_denied = 13,
  busy = 16,
  exists = 17,
  cross_device = 18,
  not_directory = 20,
  is_directory = 21,
  invalid = 22,
  file_too_big = 27,
  no_space = 28,
  read_only = 30,
  too_many_links = 31,
  range = 34,
  deadlock = 35,
  name_too_long = 36,
  no_locks = 37,
  not_implemented = 38,
  not_empty = 39,
  loop_of_links = 40,
  no_data = 61,
  overflow = 75,
  not_supported = 95,
  stale = 96,
  quota = 97,
  interrupted = 98,

  not_connected = 100,   // connection or cookie not valid: reconnect, then call again
  again_later = 101,     // not executed and not accepted; the same slot sequence may be sent again
  message_too_big = 102, // does not fit the negotiated limits: permanent
  timed_out = 103,
  evicted = 104,         // the server has forgotten us; the fate of the call is unknown
  protocol = 105,        // a message that breaks the protocol: close
  integrity = 106,       // protection information does not match
  slot_busy = 107,       // a newer sequence on a slot whose older call still runs
  stale_replay = 108,    // a REPLAY outside recovery: connect again and obey the verdict
  bad_version = 109,
  denied = 110,
  not_reserved = 111,    // an inode number that is not (any more) reserved for this client
  queued = 112,          // the lock is taken: the wait for it has begun, a CALLBACK ends it
};

struct error_row {
  error_code code;
  int errno_value;
  std::string_view name;
  std::string_view text;
  bool retryable;  // the session may send the same call again
};

// The row of `code`; the row of `io` for a number that is not in the table.
const error_row& row_of(error_code code) noexcept;
int errno_of(error_code code) noexcept;
std::string_view name_of_error(error_code code) noexcept;
// The code for an errno of the store's operating system; `io` for one we do not name.
error_code error_of_errno(int errno_value) noexcept;
// The number as it came from a peer: unknown numbers become `io`.
error_code error_of_wire(std::uint16_t number) noexcept;

template <class T>
using op_result = result<T, error_code>;

}  // namespace tangelo
