// two_mounts: what the tests with two mounts on one server have in common.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tests/sim/world.h"

namespace tangelo::sim {

// Short times, so that a mount is late, and written off, within seconds.
inline world_options two_mounts() {
  world_options o;
  o.mounts = 2;
  o.sessions.lease_ms = 2'000;
  o.sessions.evict_ms = 10'000;
  o.sessions.window_soft_ms = 3'000;
  o.sessions.window_hard_ms = 8'000;
  return o;
}

// Of a parameterised test.
inline std::string victim_name(const testing::TestParamInfo<victim>& info) {
  std::string name(name_of(info.param));
  std::erase(name, ' ');
  return name;
}

}  // namespace tangelo::sim
