// resident: what keeps a process that applications wait for from waiting for its own memory.
#pragma once

namespace tangelo {

// Locks every page that is mapped now, as soon as it is first used, into memory: a page that had to
// be read back from a swap file on our own mount would never come. Best effort; a refusal is
// logged for debugging. For after start, when everything is mapped.
void keep_resident() noexcept;

}  // namespace tangelo
