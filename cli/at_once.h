// at_once: the same question to many mounts, all at a time: one that stands still costs the others
// nothing.
//
// Command line only. `ask` is called on threads of their own, so it shares nothing that changes.
#pragma once

#include <future>
#include <vector>

namespace tangelo {

// What `ask` says of each of `items`, in their order.
template <class Item, class Ask>
auto at_once(const std::vector<Item>& items, const Ask& ask) {
  using answer = decltype(ask(items.front()));
  std::vector<std::future<answer>> coming;
  coming.reserve(items.size());
  // Deferred: where there are no more threads, one after the other.
  for (const Item& item : items)
    coming.push_back(std::async(std::launch::async | std::launch::deferred,
                                [&ask, &item] { return ask(item); }));
  std::vector<answer> answers;
  answers.reserve(items.size());
  for (std::future<answer>& one : coming) answers.push_back(one.get());
  return answers;
}

}  // namespace tangelo
