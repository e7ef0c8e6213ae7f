#include "tests/conformance/notes.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace conformance {

namespace {

constexpr std::size_t memory_size = 64 << 20;  // touched on use
char* current = nullptr;

std::uint64_t& used(char* memory) { return *reinterpret_cast<std::uint64_t*>(memory); }

}  // namespace

notes::notes()
    : memory_(static_cast<char*>(::mmap(nullptr, memory_size, PROT_READ | PROT_WRITE,
                                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
  if (memory_ == MAP_FAILED) std::abort();
  used(memory_) = sizeof(std::uint64_t);
}

notes::~notes() { ::munmap(memory_, memory_size); }

void notes::use() noexcept { current = memory_; }

void notes_add(const std::string& label, const std::string& result) {
  const std::string text = label + '\1' + result + '\2';
  std::uint64_t& at = used(current);
  if (at + text.size() > memory_size) std::abort();
  std::memcpy(current + at, text.data(), text.size());
  at += text.size();
}

// The same label again is another note: "label #2".
std::vector<noted> notes::take() const {
  std::vector<noted> all;
  std::map<std::string, int> count;
  const char* at = memory_ + sizeof(std::uint64_t);
  const char* const end = memory_ + used(memory_);
  while (at < end) {
    const char* middle =
        static_cast<const char*>(std::memchr(at, 1, static_cast<std::size_t>(end - at)));
    const char* last =
        static_cast<const char*>(std::memchr(at, 2, static_cast<std::size_t>(end - at)));
    if (middle == nullptr || last == nullptr) break;
    std::string label(at, middle);
    const int n = ++count[label];
    if (n > 1) label += " #" + std::to_string(n);
    all.push_back({std::move(label), std::string(middle + 1, last)});
    at = last + 1;
  }
  return all;
}

}  // namespace conformance
