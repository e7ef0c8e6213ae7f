#include "tests/model/recovery_model.h"

#include <cstring>
#include <utility>

#include "tests/model/recovery_turn.h"

namespace tangelo::model {
namespace {

using turn = recovery_turn;

bool operator==(const op_spec& a, const op_spec& b) {
  return a.kind == b.kind && a.key == b.key && a.slot == b.slot;
}

// The steps that are possible in one state. Each is tried on a copy.
class step_list {
 public:
  step_list(const scenario& plan, const rules& rule, const recovery_state& from,
            std::vector<recovery_model::move>& out)
      : plan_(plan), rule_(rule), from_(from), out_(out), probe_{plan, rule, scratch_} {
    scratch_ = from;
  }

  void list() {
    for (std::size_t id = 0; id < from_.ops.size(); ++id) steps_of_op(id);
    for (std::size_t c = 0; c < client_count; ++c) {
      steps_of_client(c);
      evictions_of(c);
      failures_of(c);
    }
    steps_of_server();
  }

 private:
  template <class F>
  void add(step_kind kind, std::size_t client, std::size_t id, bool natural, F&& act) {
    out_.push_back({{kind, static_cast<std::uint8_t>(client), static_cast<std::uint8_t>(id)},
                    from_, natural});
    turn t{plan_, rule_, out_.back().next};
    act(t);
    t.tidy();
  }

  void steps_of_op(std::size_t id) {
    const op_state& op = from_.ops[id];
    const std::size_t c = turn::owner_of(id);
    if (probe_.can_issue(id)) {
      add(step_kind::issue, c, id, true, [id](turn& t) { t.issue(id); });
    }
    if (op.call && probe_.can_execute(id)) {
      add(step_kind::call, c, id, true, [id](turn& t) {
        t.w.ops[id].call = false;
        t.execute(id);
      });
    }
    if (op.late && (rule_.epoch_fence || probe_.can_execute(id))) {
      add(step_kind::late, c, id, true, [id](turn& t) {
        t.w.ops[id].late = false;
        if (!t.rule.epoch_fence) t.execute(id);
      });
    }
    const bool may_give_up = from_.used.give_ups < plan_.limit.give_ups && probe_.is_change(id);
    if (op.phase == op_phase::sending && may_give_up) {
      add(step_kind::give_up, c, id, false, [id](turn& t) {
        ++t.w.used.give_ups;
        t.w.ops[id].phase = op_phase::given_up;
      });
    }
    if (op.reply) add(step_kind::reply, c, id, true, [id](turn& t) { t.take_reply(id); });
    if (probe_.can_replay(id)) {
      add(step_kind::replay, c, id, true, [id](turn& t) { t.replay(id); });
    }
    if (op.replayed && first_replayed(id)) {
      add(step_kind::replayed, c, id, true, [id](turn& t) { t.take_replayed(id); });
    }
  }

  // Answers to replays come in the order of the replays.
  bool first_replayed(std::size_t id) const {
    const std::size_t c = turn::owner_of(id);
    for (std::size_t other = turn::id_of(c, 0); other < turn::id_of(c + 1, 0); ++other) {
      const op_state& op = from_.ops[other];
      if (op.replayed && op.transno < from_.ops[id].transno) return false;
    }
    return true;
  }

  void steps_of_client(std::size_t c) {
    const client_state& client = from_.clients[c];
    const bool may_connect = client.claims || client.expected || from_.recovering == 0;
    if (client.import == import_phase::discon && !client.dead && may_connect) {
      add(step_kind::connect, c, 0, true, [c](turn& t) { t.connect(c); });
    }
    if (client.answer != connect_answer::none) {
      add(step_kind::connect_answer, c, 0, true, [c](turn& t) { t.take_connect_answer(c); });
    }
    if (client.reclaim) add(step_kind::reclaim, c, 0, true, [c](turn& t) { t.reclaim(c); });
    if (client.done) add(step_kind::done, c, 0, true, [c](turn& t) { t.finish_replay(c); });
    if (client.done_answer) {
      add(step_kind::done_answer, c, 0, true, [c](turn& t) { t.take_done_answer(c); });
    }
    if (client.import == import_phase::full && has_committed(c)) {
      add(step_kind::learn_committed, c, 0, true, [c](turn& t) { t.learn_committed(c); });
    }
    if (probe_.can_clear_awaited(c)) {
      add(step_kind::clear_awaited, c, 0, true, [c](turn& t) {
        t.w.clients[c].awaited = false;
      });
    }
  }

  bool has_committed(std::size_t c) const {
    for (std::size_t id = turn::id_of(c, 0); id < turn::id_of(c + 1, 0); ++id) {
      if (from_.ops[id].listed && from_.ops[id].transno <= from_.low_water) return true;
    }
    return false;
  }

  // A living client is evicted at most so many times; a dead one is, sooner or later.
  void evictions_of(std::size_t c) {
    const client_state& client = from_.clients[c];
    const bool spent = from_.used.evictions >= plan_.limit.evictions;
    const bool silent = client.import == import_phase::discon;
    if (!spent && !client.dead) commands_of(c);
    if (client.lingers && from_.recovering == 0 && !client.trusts) {
      add(step_kind::release_lock, c, 0, true, [c](turn& t) {
        t.w.clients[c].owner = t.w.clients[c].lingers = false;
      });
    }
    if (client.trusts && silent && (!spent || client.tombstone)) {
      add(step_kind::lease_ends, c, 0, true, [c](turn& t) { t.w.clients[c].trusts = false; });
    }
    if (!silent || (spent && !client.dead) || (client.trusts && rule_.lease_nests)) return;
    const bool out_of_window = from_.recovering != 0 && client.expected && !client.finished;
    const bool out_of_service = from_.recovering == 0 && client.exported == export_phase::old;
    if (!out_of_window && !out_of_service) return;
    add(out_of_window ? step_kind::expire : step_kind::evict, c, 0, client.dead, [c](turn& t) {
      if (!t.w.clients[c].dead) ++t.w.used.evictions;
      t.evict(c);
    });
  }

  // An administrator evicts it; or it gives its session up by itself (dev_loss_tmo).
  void commands_of(std::size_t c) {
    const client_state& client = from_.clients[c];
    if (from_.recovering == 0 && client.exported != export_phase::none && client.claims) {
      add(step_kind::evict_by_command, c, 0, false, [c](turn& t) {
        ++t.w.used.evictions;
        t.evict_by_command(c);
      });
    }
    if (client.import == import_phase::discon && client.claims) {
      add(step_kind::forget, c, 0, false, [c](turn& t) {
        ++t.w.used.evictions;
        t.mark_old_claims(c);
        t.w.clients[c].evicted = true;
        t.forget_session(c);
      });
    }
  }

  void failures_of(std::size_t c) {
    const client_state& client = from_.clients[c];
    const bounds& max = plan_.limit;
    if (client.dead) return;
    if (client.import != import_phase::discon && from_.used.breaks < max.breaks) {
      add(step_kind::lose_connection, c, 0, false, [c](turn& t) {
        ++t.w.used.breaks;
        t.drop_connection(c);
      });
      if (from_.used.lates < max.lates) late_copies(c);
    }
    if (from_.used.cores < max.cores) {
      add(step_kind::core_dies, c, 0, false, [c](turn& t) {
        ++t.w.used.cores;
        t.drop_connection(c);
        for (std::size_t i = 0; i < op_count_max; ++i) t.w.ops[turn::id_of(c, i)].covered = false;
      });
    }
    if (from_.used.deaths < max.deaths) {
      add(step_kind::client_dies, c, 0, false, [c](turn& t) {
        ++t.w.used.deaths;
        t.drop_connection(c);
        t.w.clients[c].dead = true;
        t.w.clients[c].trusts = false;
      });
    }
  }

  void late_copies(std::size_t c) {
    for (std::size_t id = turn::id_of(c, 0); id < turn::id_of(c + 1, 0); ++id) {
      if (!from_.ops[id].call) continue;
      add(step_kind::lose_connection_late, c, id, false, [c, id](turn& t) {
        ++t.w.used.breaks;
        ++t.w.used.lates;
        t.drop_connection(c);
        t.w.ops[id].late = true;
      });
    }
  }

  void steps_of_server() {
    if (from_.durable < from_.count) {
      add(step_kind::commit, 0, 0, true, [](turn& t) { t.commit(); });
    }
    if (probe_.can_close_window()) {
      add(step_kind::close_window, 0, 0, true, [](turn& t) { t.close_window(); });
    }
    if (probe_.can_remove_file()) {
      add(step_kind::remove_file, 0, 0, true, [](turn& t) { t.remove_file(); });
    }
    if (from_.used.crashes < plan_.limit.crashes) {
      add(step_kind::crash, 0, 0, false, [](turn& t) {
        ++t.w.used.crashes;
        t.crash();
      });
    }
  }

  const scenario& plan_;
  const rules& rule_;
  const recovery_state& from_;
  std::vector<recovery_model::move>& out_;
  recovery_state scratch_;
  turn probe_;  // asks; changes nothing
};

// The promises that a state itself shows; those that a step breaks are noted in `broken`.
class promise_check {
 public:
  explicit promise_check(const turn& t) : t_(t), w_(t.w) {}

  promise find() const {
    if (w_.broken != promise::none) return w_.broken;
    if (!synced_kept()) return promise::synced_kept;
    if (!acknowledged_kept()) return promise::acknowledged_kept;
    if (!order_kept()) return promise::order_kept;
    if (!foundation_kept()) return promise::foundation_kept;
    if (!seen_kept()) return promise::seen_kept;
    if (holds_and_trusts(0) && holds_and_trusts(1)) return promise::one_holder;
    return files();
  }

 private:
  bool holds_and_trusts(std::size_t c) const {
    return w_.clients[c].holds && w_.clients[c].trusts;
  }

  bool synced_kept() const {
    for (std::size_t id = 0; id < w_.ops.size(); ++id) {
      if (w_.ops[id].synced && t_.find(id) >= w_.durable) return false;
    }
    return true;
  }

  // Durable, or in the replay list; and once the client is in service again, in the log.
  bool acknowledged_kept() const {
    for (std::size_t id = 0; id < w_.ops.size(); ++id) {
      const op_state& op = w_.ops[id];
      const client_state& c = w_.clients[turn::owner_of(id)];
      if (!t_.is_change(id) || op.phase != op_phase::answered || op.lost) continue;
      if (c.evicted || c.dead) continue;
      const std::size_t place = t_.find(id);
      if (place >= w_.durable && !op.listed) return false;
      const bool served = w_.recovering == 0 && c.import == import_phase::full;
      if (served && place >= w_.count) return false;
    }
    return true;
  }

  bool order_kept() const {
    for (std::size_t i = 0; i < w_.count; ++i) {
      for (std::size_t k = i + 1; k < w_.count; ++k) {
        const std::size_t first = w_.log[i];
        const std::size_t second = w_.log[k];
        if (!t_.same_key(first, second)) continue;
        if (w_.ops[first].transno > w_.ops[second].transno) return false;
        if (turn::owner_of(first) == turn::owner_of(second) && first > second) return false;
      }
    }
    return true;
  }

  bool foundation_kept() const {
    if (w_.recovering != 0) return true;
    unsigned there = 0;
    for (std::size_t i = 0; i < w_.count; ++i) there |= 1u << w_.log[i];
    for (std::size_t i = 0; i < w_.count; ++i) {
      if ((w_.ops[w_.log[i]].stands_on & ~there) != 0) return false;
    }
    return true;
  }

  bool seen_kept() const {
    if (w_.recovering != 0) return true;
    for (std::size_t c = 0; c < client_count; ++c) {
      for (std::size_t i = 0; i < op_count_max; ++i) {
        const bool seen = (w_.clients[c].seen >> i & 1) != 0;
        if (seen && !t_.logged(turn::id_of(1 - c, i))) return false;
      }
    }
    return true;
  }

  promise files() const {
    if (w_.gone == 0) return promise::none;
    for (const client_state& c : w_.clients) {
      if (c.opened && !c.evicted && !c.dead) return promise::open_file_kept;
    }
    for (std::size_t i = 0; i < w_.count; ++i) {
      if (t_.spec(w_.log[i]).kind == op_kind::unlink) return promise::none;
    }
    return promise::linked_file_kept;
  }

  const turn& t_;
  const recovery_state& w_;
};

}  // namespace

recovery_model::recovery_model(const scenario& s, rules r)
    : scenario_(s), rules_(r), symmetric_(true) {
  for (std::size_t i = 0; i < op_count_max; ++i) {
    symmetric_ = symmetric_ && scenario_.programs[0][i] == scenario_.programs[1][i];
  }
}

recovery_state recovery_model::initial() const {
  recovery_state w{};
  for (client_state& c : w.clients) {
    c.import = import_phase::full;
    c.exported = export_phase::current;
    c.trusts = c.claims = c.knows_boot = true;
  }
  return w;
}

void recovery_model::list_steps(const state& from, std::vector<move>& out) const {
  step_list(scenario_, rules_, from, out).list();
}

std::string_view recovery_model::broken(const state& w) const {
  state copy = w;
  return name_of(promise_check(turn{scenario_, rules_, copy}).find());
}

bool recovery_model::finished(const state& w) const {
  if (w.recovering != 0) return false;
  for (std::size_t id = 0; id < w.ops.size(); ++id) {
    const client_state& c = w.clients[turn::owner_of(id)];
    const bool used = scenario_.programs[turn::owner_of(id)][id % op_count_max].kind !=
                      op_kind::none;
    if (c.dead) continue;
    if (c.import != import_phase::full || w.ops[id].call || w.ops[id].reply) return false;
    const op_phase at = w.ops[id].phase;
    if (used && at != op_phase::answered && at != op_phase::failed) return false;
  }
  return true;
}

recovery_state recovery_model::canonical(const state& w) const {
  if (!symmetric_) return w;
  state other = w;
  std::swap(other.clients[0], other.clients[1]);
  for (std::size_t i = 0; i < op_count_max; ++i) {
    std::swap(other.ops[i], other.ops[op_count_max + i]);
  }
  for (op_state& op : other.ops) {
    op.stands_on = static_cast<std::uint8_t>(op.stands_on << op_count_max | op.stands_on >> 4);
  }
  for (std::size_t i = 0; i < w.count; ++i) {
    other.log[i] = static_cast<std::uint8_t>((w.log[i] + op_count_max) % w.ops.size());
  }
  return std::memcmp(&other, &w, sizeof w) < 0 ? other : w;
}

}  // namespace tangelo::model
