#include "tests/model/scenarios.h"

#include "base/check.h"

namespace tangelo::model {
namespace {

constexpr op_kind change = op_kind::change;
constexpr op_kind sync_change = op_kind::sync_change;
constexpr op_kind look = op_kind::look;
constexpr op_kind fsync = op_kind::fsync;
constexpr op_kind lock = op_kind::lock;
constexpr op_kind unlock = op_kind::unlock;
constexpr op_kind open = op_kind::open;
constexpr op_kind close = op_kind::close;
constexpr op_kind unlink = op_kind::unlink;

// Operations are {kind, key, slot}; limits {crashes, breaks, cores, evictions, lates, deaths,
// give-ups}.
constexpr scenario all[] = {
    // Two overlapping changes and a durable one, as in recovery_model.py.
    {"one client",
     {{{{{change, 0, 0}, {change, 0, 1}, {sync_change, 1, 2}}}, {}}},
     {2, 2, 1, 0, 1, 0}},
    // One slot used twice while both its changes wait for their commit; another client's between.
    {"two replays",
     {{{{{change, 0, 0}, {change, 1, 0}}}, {{{change, 2, 0}}}}},
     {2, 2, 1, 0, 0, 0}},
    // Both change one name, and one of them looks at it first.
    {"shared key",
     {{{{{change, 0, 0}, {fsync, 0, 0}}}, {{{look, 0, 0}, {change, 0, 0}}}}},
     {1, 1, 0, 1, 0, 1}},
    // Both want the lock.
    {"locks",
     {{{{{lock, 0, 0}, {change, 0, 0}, {unlock, 0, 0}}},
       {{{lock, 0, 0}, {change, 0, 0}, {unlock, 0, 0}}}}},
     {1, 1, 0, 1, 0, 1}},
    // A client that was written off comes back.
    {"eviction",
     {{{{{change, 0, 0}, {change, 0, 0}}}, {{{change, 0, 0}}}}},
     {1, 1, 0, 1, 1, 0}},
    // A caller is killed while its change is on its way; another goes on under the same name.
    {"given up",
     {{{{{change, 0, 0}, {change, 0, 1}}}, {{{look, 0, 0}}}}},
     {2, 1, 1, 0, 0, 0, 1}},
    // A name goes from hand to hand.
    {"handover",
     {{{{{change, 0, 0}, {change, 0, 0}}}, {{{change, 0, 0}, {look, 0, 0}}}}},
     {2, 1, 0, 0, 0, 0}},
    // An open file loses its name.
    {"orphan",
     {{{{{open, 1, 0}, {close, 1, 0}}}, {{{unlink, 1, 0}}}}},
     {2, 1, 1, 1, 0, 0}},
};

}  // namespace

scenario scenario_named(std::string_view name) {
  for (const scenario& s : all) {
    if (s.name == name) return s;
  }
  CHECK(false);
  return {};
}

std::vector<std::string_view> scenario_names() {
  std::vector<std::string_view> names;
  for (const scenario& s : all) names.push_back(s.name);
  return names;
}

}  // namespace tangelo::model
