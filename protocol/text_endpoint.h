// text_endpoint: tells one text to whoever asks for /metrics by HTTP, on this machine only.
//
// A thread (or process) of its own runs it, so that nobody who asks, however slowly, holds up
// anything else. One request after the other; each has 2 s, and 4 KiB.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/fd.h"
#include "base/problem.h"

namespace tangelo {

class text_endpoint {
 public:
  // `where`: 127.0.0.1:PORT or [::1]:PORT; port 0: any. What others could reach is refused.
  static outcome<text_endpoint> open(const std::string& where);
  // Whether `where` is such an address.
  static outcome<void> check(const std::string& where);

  // Answers with what `text` says, until stop().
  void run(const std::function<std::string()>& text);
  // From any thread; run() returns within 2 s.
  void stop() noexcept;
  std::uint16_t port() const noexcept { return port_; }

 private:
  text_endpoint(unique_fd listener, unique_fd stopped, std::uint16_t port) noexcept
      : listener_(std::move(listener)), stopped_(std::move(stopped)), port_(port) {}
  void serve(const unique_fd& peer, const std::function<std::string()>& text) const;

  unique_fd listener_;
  unique_fd stopped_;  // an eventfd
  std::uint16_t port_;
};

}  // namespace tangelo
