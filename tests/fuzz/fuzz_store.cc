// Records of the server's store: the first byte chooses which. What is read can be written again
// and is then a fixed point.
#include <array>
#include <cstdint>

#include "base/check.h"
#include "server/records.h"

namespace tangelo {
namespace {

template <class Record>
void record(std::string_view in) {
  const std::optional<Record> first = unpacked<Record>(in);
  if (!first) return;
  std::byte room[2048];
  const std::optional<std::size_t> size = encode(*first, room);
  if (!size) return;  // longer than any that was ever written
  const std::string once(text_of({room, *size}));
  const std::optional<Record> second = unpacked<Record>(once);
  CHECK(second.has_value());
  CHECK(encode(*second, room) == size);
  CHECK(once == text_of({room, *size}));
}

constexpr std::array decoders = {
    &record<inode_record>, &record<dirent_record>, &record<cookie_record>, &record<redo_record>,
    &record<saved_client>, &record<saved_range>,   &record<saved_reply>,
};

}  // namespace
}  // namespace tangelo

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view raw(reinterpret_cast<const char*>(data), size);
  tangelo::decoders[data[0] % tangelo::decoders.size()](raw.substr(1));
  (void)tangelo::number_at(raw, size / 2);
  return 0;
}
