// result<T, E>: a value, or the error that stood in its way.
//
// For every failure the caller is expected to handle: a peer that went away, a missing file, a
// full queue. A broken invariant is not an error; see base/check.h. The member names follow
// std::expected, so that the day our compilers all carry it this file becomes one alias.
//
// Reading the value of a failed result, or the error of a good one, stops the process.
#pragma once

#include <cstdlib>
#include <utility>
#include <variant>

namespace tangelo {

template <class E>
struct failure {
  E error;
};
template <class E>
failure(E) -> failure<E>;

template <class T, class E>
class [[nodiscard]] result {
 public:
  result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  result(failure<E> f) : state_(std::in_place_index<1>, std::move(f.error)) {}

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  T& operator*() & noexcept { return *value_or_die(); }
  const T& operator*() const& noexcept { return *value_or_die(); }
  T&& operator*() && noexcept { return std::move(*value_or_die()); }
  T* operator->() noexcept { return value_or_die(); }
  const T* operator->() const noexcept { return value_or_die(); }

  const E& error() const noexcept {
    const E* e = std::get_if<1>(&state_);
    if (e == nullptr) std::abort();
    return *e;
  }

 private:
  T* value_or_die() noexcept {
    T* v = std::get_if<0>(&state_);
    if (v == nullptr) std::abort();
    return v;
  }
  const T* value_or_die() const noexcept {
    const T* v = std::get_if<0>(&state_);
    if (v == nullptr) std::abort();
    return v;
  }

  std::variant<T, E> state_;
};

template <class E>
class [[nodiscard]] result<void, E> {
 public:
  result() = default;
  result(failure<E> f) : error_(std::move(f.error)), failed_(true) {}

  bool has_value() const noexcept { return !failed_; }
  explicit operator bool() const noexcept { return has_value(); }
  const E& error() const noexcept {
    if (!failed_) std::abort();
    return error_;
  }

 private:
  E error_{};
  bool failed_ = false;
};

}  // namespace tangelo
