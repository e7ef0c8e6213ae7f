// checker: walks every state of a model, breadth first, and says whether its promises hold.
//
// A model is a value type:
//   using state = ...;                        trivially copyable, no padding, N * 8 bytes
//   using step = ...;                         what happened; only printed
//   state initial() const;
//   void each_step(const state&, F) const;    calls F(step, next state, natural)
//   std::string_view broken(const state&)     the promise that does not hold here; empty: all do
//   bool finished(const state&) const;        a good end
//   state canonical(const state&) const;      one representative of all symmetric states
//   std::string name(const step&) const;
// A step is natural when it happens by itself sooner or later; crashes and lost connections are
// not. From every state a finished one must be reachable by natural steps alone: otherwise it is a
// state without a way out.
//
// One thread. States are kept whole, in the order in which they were met, so that the first
// violation has a shortest history; the history is found again by repeating steps.
//
// Invariants:
//   1. parents_[i] < i, and states_[i] is one step behind states_[parents_[i]].
//   2. Each canonical state stands in states_ once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace tangelo::model {

inline constexpr std::string_view no_way_out = "every operation of a living client can end";

struct verdict {
  std::uint64_t state_count = 0;
  std::uint64_t step_count = 0;  // counting each time that a state was met
  std::uint64_t finished_count = 0;
  std::uint32_t depth = 0;       // the longest of all shortest histories
  bool exhausted = false;        // all states were seen; false also after a violation
  std::string broken;            // the promise; empty: none
  std::vector<std::string> history;

  bool holds() const { return exhausted && broken.empty(); }
};

template <class Model>
class checker {
 public:
  using state = typename Model::state;
  static_assert(std::is_trivially_copyable_v<state> && sizeof(state) % 8 == 0);

  checker(const Model& m, std::uint64_t state_count_max) : model_(m), max_(state_count_max) {}

  verdict run() {
    table_.assign(std::size_t{1} << 16, none);
    const std::uint32_t first = add(model_.canonical(model_.initial()), none).index;
    if (judge(first)) return verdict_;
    for (std::uint32_t i = 0; i < states_.size(); ++i) {
      if (expand(i)) return verdict_;
      if (states_.size() > max_) return counted();
    }
    verdict_.exhausted = true;
    look_for_way_out();
    return counted();
  }

 private:
  static constexpr std::uint32_t none = ~std::uint32_t{0};
  struct place {
    std::uint32_t index;
    bool fresh;
  };
  struct edge {
    std::uint32_t from;
    std::uint32_t to;
  };

  static std::uint64_t hash(const state& s) {
    std::uint64_t words[sizeof(state) / 8];
    std::memcpy(words, &s, sizeof s);
    std::uint64_t h = 0x9e3779b97f4a7c15;
    for (const std::uint64_t w : words) {
      h = (h ^ w) * 0xff51afd7ed558ccd;
      h ^= h >> 32;
    }
    return h * 0xc4ceb9fe1a85ec53 >> 20;
  }
  static bool same(const state& a, const state& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

  // The cell that holds `s`, or the empty one where it belongs.
  std::uint32_t& cell(const state& s) {
    std::size_t i = hash(s) & (table_.size() - 1);
    while (table_[i] != none && !same(states_[table_[i]], s)) i = (i + 1) & (table_.size() - 1);
    return table_[i];
  }

  void grow() {
    table_.assign(table_.size() * 2, none);
    for (std::uint32_t i = 0; i < states_.size(); ++i) cell(states_[i]) = i;
  }

  place add(const state& s, std::uint32_t parent) {
    if (states_.size() * 2 > table_.size()) grow();
    std::uint32_t& c = cell(s);
    if (c != none) return {c, false};
    c = static_cast<std::uint32_t>(states_.size());
    states_.push_back(s);
    parents_.push_back(parent);
    depths_.push_back(parent == none ? 0 : depths_[parent] + 1);
    verdict_.depth = std::max(verdict_.depth, depths_.back());
    return {c, true};
  }

  // True: a promise is broken, and the verdict complete.
  bool expand(std::uint32_t i) {
    std::uint32_t worst = none;
    const state from = states_[i];
    model_.each_step(from, [&](const auto&, const state& next, bool natural) {
      ++verdict_.step_count;
      const place p = add(model_.canonical(next), i);
      if (natural && p.index != i) edges_.push_back({i, p.index});
      if (p.fresh && worst == none && !model_.broken(states_[p.index]).empty()) worst = p.index;
    });
    return worst != none && judge(worst);
  }

  bool judge(std::uint32_t i) {
    const std::string_view promise = model_.broken(states_[i]);
    if (promise.empty()) return false;
    blame(promise, i);
    counted();
    return true;
  }

  void blame(std::string_view promise, std::uint32_t i) {
    verdict_.broken = promise;
    std::vector<std::uint32_t> path;
    for (; i != none; i = parents_[i]) path.push_back(i);
    state here = model_.initial();
    for (auto next = path.rbegin() + 1; next < path.rend(); ++next) here = walk(here, *next);
  }

  // Finds the step from `here`, which need not be canonical, that leads to state `target`.
  state walk(const state& here, std::uint32_t target) {
    state there = here;
    bool found = false;
    model_.each_step(here, [&](const auto& step, const state& next, bool) {
      if (found || !same(model_.canonical(next), states_[target])) return;
      found = true;
      there = next;
      verdict_.history.push_back(model_.name(step));
    });
    return there;
  }

  const verdict& counted() {
    verdict_.state_count = states_.size();
    verdict_.finished_count = 0;
    for (const state& s : states_) verdict_.finished_count += model_.finished(s) ? 1U : 0U;
    return verdict_;
  }

  // Backwards from the finished states over natural steps.
  void look_for_way_out() {
    std::vector<std::uint32_t> begin(states_.size() + 1, 0);
    for (const edge& e : edges_) ++begin[e.to + 1];
    for (std::size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
    std::vector<std::uint32_t> sources(edges_.size());
    std::vector<std::uint32_t> at(begin.begin(), begin.end() - 1);
    for (const edge& e : edges_) sources[at[e.to]++] = e.from;

    std::vector<bool> good(states_.size(), false);
    std::vector<std::uint32_t> todo;
    for (std::uint32_t i = 0; i < states_.size(); ++i) {
      if (!model_.finished(states_[i])) continue;
      good[i] = true;
      todo.push_back(i);
    }
    while (!todo.empty()) {
      const std::uint32_t to = todo.back();
      todo.pop_back();
      for (std::uint32_t k = begin[to]; k < begin[to + 1]; ++k) {
        if (good[sources[k]]) continue;
        good[sources[k]] = true;
        todo.push_back(sources[k]);
      }
    }
    const auto stuck = std::find(good.begin(), good.end(), false);
    if (stuck == good.end()) return;
    blame(no_way_out, static_cast<std::uint32_t>(stuck - good.begin()));
    verdict_.exhausted = false;
  }

  const Model& model_;
  std::uint64_t max_;
  std::vector<state> states_;
  std::vector<std::uint32_t> parents_;
  std::vector<std::uint32_t> depths_;
  std::vector<std::uint32_t> table_;  // open addressing: an index of states_, or none
  std::vector<edge> edges_;           // natural steps only
  verdict verdict_;
};

}  // namespace tangelo::model
