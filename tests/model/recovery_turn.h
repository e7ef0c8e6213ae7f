// recovery_turn: what one step does to a state: the server's and the client's halves.
//
// Made by recovery_model for one step and then forgotten. `can_x` says whether a step is possible
// now, `x` does it. Neither knows how it came to be chosen.
#pragma once

#include "tests/model/recovery_model.h"

namespace tangelo::model {

struct recovery_turn {
  const scenario& plan;
  const rules& rule;
  recovery_state& w;

  static constexpr std::size_t id_of(std::size_t client, std::size_t i) {
    return client * op_count_max + i;
  }
  static constexpr std::size_t owner_of(std::size_t id) { return id / op_count_max; }
  const op_spec& spec(std::size_t id) const {
    return plan.programs[owner_of(id)][id % op_count_max];
  }
  bool is_change(std::size_t id) const {
    const op_kind k = spec(id).kind;
    return k == op_kind::change || k == op_kind::sync_change || k == op_kind::unlink;
  }
  bool same_key(std::size_t a, std::size_t b) const { return spec(a).key == spec(b).key; }
  bool ended(std::size_t id) const {
    const op_phase at = w.ops[id].phase;
    return at == op_phase::answered || at == op_phase::failed ||
           (at == op_phase::given_up && !rule.barrier_kept);
  }
  bool under_way(std::size_t id) const {
    return w.ops[id].phase == op_phase::sending || w.ops[id].phase == op_phase::given_up;
  }
  // Where in the log; w.count: nowhere.
  std::size_t find(std::size_t id) const;
  bool logged(std::size_t id) const { return find(id) < w.count; }
  void blame(promise p) {
    if (w.broken == promise::none) w.broken = p;
  }

  // The client's half (recovery_client.cc).
  bool can_issue(std::size_t id) const;
  void issue(std::size_t id);
  void take_reply(std::size_t id);
  void take_connect_answer(std::size_t client);
  void take_replayed(std::size_t id);
  void take_done_answer(std::size_t client);
  void learn_committed(std::size_t client);  // trims the replay list
  void drop_connection(std::size_t client);
  void forget_session(std::size_t client);  // the client has learned that it was evicted
  void send_replays(std::size_t client);
  void claim_locks(std::size_t client);
  void resend(std::size_t client);
  bool can_fail_fsync(std::size_t id) const;
  void tell_losses(std::size_t id);

  // The server's half (recovery_server.cc).
  bool can_execute(std::size_t id) const;
  void execute(std::size_t id);
  void connect(std::size_t client);
  bool can_replay(std::size_t id) const;
  void replay(std::size_t id);
  void reclaim(std::size_t client);
  void finish_replay(std::size_t client);
  void commit();
  bool can_close_window() const;
  void close_window();
  void evict(std::size_t client);
  void evict_by_command(std::size_t client);
  void mark_old_claims(std::size_t client);
  bool can_clear_awaited(std::size_t client) const;
  bool can_remove_file() const;
  void remove_file();
  void crash();

  void execute_change(std::size_t id);
  void share(std::size_t id);
  void append(std::size_t id);
  void stamp(std::size_t id);
  void unstamp(std::size_t id);
  void tidy();
  void await(std::size_t client);
  bool was_executed(std::size_t id) const;
  int newest_in_slot(std::size_t id) const;
  void answer(std::size_t id);
};

}  // namespace tangelo::model
