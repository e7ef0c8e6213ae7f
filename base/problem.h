// problem: a failure that a person has to act on: what went wrong and where, what to do, and the
// exit code that it ends a process with.
//
// Used while a process starts and by the command line (configuration, store, mount). A failure of
// a running operation is an error_code (protocol/errors.h) and travels to the application instead.
#pragma once

#include <string>

#include "base/result.h"

namespace tangelo {

// Exit codes of every Tangelo program; documented in docs/OPERATIONS.md. Never renumber.
enum class exit_code : int {
  ok = 0,
  failed = 1,         // the operation was tried and did not succeed
  usage = 2,          // the command line or a config file is wrong
  store = 3,          // the volume is missing, foreign, damaged, or held by another server
  version = 4,        // a peer, store or arena of another version
  unreachable = 5,    // no such mount, or nobody answers
};

struct problem {
  exit_code code = exit_code::failed;
  std::string text;  // "PLACE: what is wrong"
  std::string hint;  // what to do; may be empty
};

template <class T>
using outcome = result<T, problem>;

}  // namespace tangelo
