// import: the client's walk from NEW to FULL and back (placeholder until rdma is written).
#pragma once
#include <cstdint>
namespace tangelo {
enum class import_state : std::uint8_t { new_, discon };
}
