// identity: who this mount is for the server: client_id for ever, incarnation once per arena.
//
// STATE/client-ids/NAME keeps 128 random bits and the last incarnation; it is replaced whole
// (temporary file, fsync, rename, fsync of the directory) before the numbers are used. client_id
// is the random bits mixed with the machine id, so that a copied disk is another client.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/problem.h"
#include "protocol/wire.h"

namespace tangelo {

struct client_identity {
  id128 client_id{};
  std::uint64_t incarnation = 0;
};

// Reads or makes the identity of mount `name`, with an incarnation above every earlier one.
outcome<client_identity> next_identity(const std::string& state_dir, const std::string& name,
                                       const clock& time);

}  // namespace tangelo
