#include "tests/model/recovery_model.h"

namespace tangelo::model {
namespace {

std::string_view name_of(op_kind k) noexcept {
  switch (k) {
    using enum op_kind;
    case none: return "nothing";
    case change: return "change";
    case sync_change: return "synchronous change";
    case unlink: return "unlink";
    case look: return "look";
    case fsync: return "fsync";
    case lock: return "lock";
    case unlock: return "unlock";
    case open: return "open";
    case close: return "close";
  }
  return {};
}

bool is_the_servers(step_kind k) {
  return k == step_kind::commit || k == step_kind::close_window || k == step_kind::crash ||
         k == step_kind::remove_file;
}

}  // namespace

std::string_view name_of(step_kind k) noexcept {
  switch (k) {
    using enum step_kind;
    case issue: return " issues ";
    case call: return ": server gets ";
    case reply: return " gets the answer to ";
    case late: return ": server gets a late copy of ";
    case connect: return " connects";
    case connect_answer: return " gets the verdict";
    case reclaim: return " claims what it holds";
    case replay: return ": server gets the replay of ";
    case replayed: return " gets the answer to the replay of ";
    case done: return " says: replay completed";
    case done_answer: return " is let in";
    case learn_committed: return " learns last_committed";
    case commit: return "server commits";
    case close_window: return "server closes the window";
    case lease_ends: return "'s lease ends";
    case evict: return " is evicted";
    case evict_by_command: return " is evicted by command";
    case release_lock: return ": server releases its lock";
    case forget: return " gives its session up";
    case expire: return " is evicted with the end of the window";
    case clear_awaited: return " is not awaited any more";
    case remove_file: return "server removes the file's bytes";
    case crash: return "server crashes";
    case lose_connection: return " loses its connection";
    case lose_connection_late: return " loses its connection, late on its way: ";
    case core_dies: return "'s core dies";
    case client_dies: return " dies";
    case give_up: return "'s caller gives up its ";
  }
  return {};
}

std::string recovery_model::name(const step& did) const {
  if (is_the_servers(did.kind)) return std::string(name_of(did.kind));
  std::string text(did.client == 0 ? "A" : "B");
  text += name_of(did.kind);
  if (text.back() != ' ') return text;
  const std::size_t i = did.op % op_count_max;
  const op_spec& spec = scenario_.programs[did.client][i];
  text += name_of(spec.kind);
  text += " " + std::to_string(i);
  return text;
}

}  // namespace tangelo::model
