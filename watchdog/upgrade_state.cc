#include "watchdog/upgrade_state.h"

namespace tangelo {

namespace {

consteval upgrade_table make_upgrade_table() {
  using enum upgrade_state;
  using enum upgrade_event;
  using enum upgrade_action;
  return upgrade_table({
      // in state            on event  goes to              and does
      {idle,                asked,    testing,             test},
      {idle,                passed,   idle,                none},  // late
      {idle,                failed,   idle,                none},  // not ours
      {idle,                drained,  idle,                none},  // late
      {idle,                serving,  idle,                none},
      {idle,                late,     idle,                none},

      {testing,             asked,    testing,             refuse},
      {testing,             passed,   core_draining,       drain},
      {testing,             failed,   idle,                give_up},
      {testing,             drained,  testing,             none},  // late
      {testing,             serving,  testing,             none},
      {testing,             late,     idle,                give_up},

      {core_draining,       asked,    core_draining,       refuse},
      {core_draining,       passed,   core_draining,       none},
      {core_draining,       failed,   core_starting,       replace_core},
      {core_draining,       drained,  core_starting,       replace_core},
      {core_draining,       serving,  core_draining,       none},
      {core_draining,       late,     core_starting,       replace_core},  // its ops are purged

      {core_starting,       asked,    core_starting,       refuse},
      {core_starting,       passed,   core_starting,       none},
      {core_starting,       failed,   idle,                roll_back_core},
      {core_starting,       drained,  core_starting,       none},  // late
      {core_starting,       serving,  front_end_draining,  drain},
      {core_starting,       late,     idle,                roll_back_core},

      {front_end_draining,  asked,    front_end_draining,  refuse},
      {front_end_draining,  passed,   front_end_draining,  none},
      {front_end_draining,  failed,   front_end_starting,  replace_front_end},
      {front_end_draining,  drained,  front_end_starting,  replace_front_end},
      {front_end_draining,  serving,  front_end_draining,  none},
      {front_end_draining,  late,     front_end_starting,  replace_front_end},

      {front_end_starting,  asked,    front_end_starting,  refuse},
      {front_end_starting,  passed,   front_end_starting,  none},
      {front_end_starting,  failed,   idle,                roll_back_front_end},
      {front_end_starting,  drained,  front_end_starting,  none},  // late
      {front_end_starting,  serving,  handing_over,        hand_over},
      {front_end_starting,  late,     idle,                roll_back_front_end},

      {handing_over,        asked,    handing_over,        refuse},
      {handing_over,        passed,   handing_over,        none},
      {handing_over,        failed,   idle,                give_up},
      {handing_over,        drained,  handing_over,        none},
      {handing_over,        serving,  handing_over,        none},
      {handing_over,        late,     handing_over,        none},
  });
}

}  // namespace

constinit const upgrade_table upgrade_transitions = make_upgrade_table();

}  // namespace tangelo
