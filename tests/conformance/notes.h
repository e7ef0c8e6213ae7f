// notes: where a running case writes what it sees: shared memory, so that its children can.
// One case runs in a process at a time, and it waits for its children.
#pragma once

#include <string>
#include <vector>

namespace conformance {

struct noted {
  std::string label, result;
};

// Memory for the notes of one run of one case; made before the fork that runs it.
class notes {
 public:
  notes();
  ~notes();
  notes(const notes&) = delete;
  notes& operator=(const notes&) = delete;
  void use() noexcept;  // notes_add() writes to this from now on
  std::vector<noted> take() const;

 private:
  char* memory_;
};

void notes_add(const std::string& label, const std::string& result);

}  // namespace conformance
