// op_classes: the operations that the crash-point table is gone through with: each with what has to
// be there before it and what an application looks at after it.
//
// scene: one world, one application, one class, step by step: prepare, begin, fail in some way,
// finish, and compare with a scene in which nothing failed.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "tests/sim/stage.h"

namespace tangelo::sim {

struct op_class {
  std::string name;
  opcode op{};
  std::vector<app_op> before;
  app_op tried;
  std::vector<app_op> after;
};
std::vector<op_class> op_classes();
inline void PrintTo(const op_class& c, std::ostream* out) { *out << c.name; }

class scene : public stage {
 public:
  explicit scene(const op_class& c, world_options o = {}) : stage(o), a(add(0, {})), class_(c) {}

  // What comes before the op is answered, durable, and in no log any more.
  void prepare();
  // The op is on its way.
  void begin();
  // True: it is answered. Not longer than `limit_ns`: its answer may have to wait for a commit.
  bool await_answer(std::uint64_t limit_ns = 2 * ns_per_s);
  // The op is answered, what comes after it is done, everything is at rest.
  void finish();
  // What is not as in a scene without failures; empty: nothing.
  std::string difference();

  app& a;

 private:
  void play_on(std::vector<app_op> ops);
  const op_class& class_;
};

}  // namespace tangelo::sim
