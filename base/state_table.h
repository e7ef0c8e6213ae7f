// state_table: a state machine written as one table of rows.
//
// Each row answers one question: in this state, on this event, where do we go
// and what do we do. The constructor refuses, at compile time, a table in
// which some (state, event) pair has no row or has two.
//
// State, Event and Action are enum classes counted from zero, each with a
// name_of() whose switch has no default. The number of enumerators is counted
// from it, so there is no separate count to forget.
#pragma once

#include <array>
#include <cstddef>
#include <type_traits>

namespace tangelo {

template <class Enum>
constexpr std::size_t ordinal(Enum e) noexcept {
  return static_cast<std::size_t>(static_cast<std::underlying_type_t<Enum>>(e));
}

template <class Enum>
inline constexpr std::size_t count_of = [] {
  std::size_t n = 0;
  while (!name_of(static_cast<Enum>(n)).empty()) ++n;
  return n;
}();

template <class State, class Event, class Action>
struct transition {
  State from;
  Event on;
  State to;
  Action act;
};

template <class State, class Event, class Action>
class state_table {
 public:
  using row = transition<State, Event, Action>;
  static constexpr std::size_t size = count_of<State> * count_of<Event>;

  template <std::size_t N>
  consteval explicit state_table(const row (&rows)[N]) {
    static_assert(N == size, "each (state, event) pair needs exactly one row");
    std::array<bool, size> seen{};
    for (const row& r : rows) {
      const std::size_t i = index(r.from, r.on);
      if (seen[i]) throw "two rows for one (state, event) pair";
      seen[i] = true;
      rows_[i] = r;
    }
  }

  constexpr const row& at(State s, Event e) const noexcept { return rows_[index(s, e)]; }
  constexpr const std::array<row, size>& rows() const noexcept { return rows_; }

 private:
  static constexpr std::size_t index(State s, Event e) noexcept {
    return ordinal(s) * count_of<Event> + ordinal(e);
  }

  std::array<row, size> rows_{};
};

}  // namespace tangelo
