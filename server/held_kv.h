// held_kv: the key-value store of a volume that is served, which flushes only while its server
// holds the volume: a server that was stopped, taken over from and wakes up must not write into
// what another one serves now.
//
// Everything passes through; sync(), on the commit thread, first asks `still_held` and calls
// `lost` instead when the answer is no. `lost` must not return into the store: what it has not
// written yet must not be written any more.
#pragma once

#include <functional>
#include <memory>

#include "server/kv.h"

namespace tangelo {

std::unique_ptr<kv_store> make_held_kv(std::unique_ptr<kv_store> inner,
                                       std::function<bool()> still_held,
                                       std::function<void()> lost);

}  // namespace tangelo
