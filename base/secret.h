// secret: what both ends of a connection know and nobody else, and what it signs.
//
// Read once from a file that only its owner may read; never logged, never written anywhere. One
// holder each: the server, and each client core. Signing is HMAC-SHA-256 (FIPS 198-1), from
// OpenSSL.
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/problem.h"

namespace tangelo {

inline constexpr std::size_t secret_size_min = 16;
inline constexpr std::size_t secret_size_max = 4096;

using mac256 = std::array<std::byte, 32>;

// Empty: there is none. Its memory is wiped when it goes.
class secret {
 public:
  secret() = default;
  explicit secret(byte_span bytes) : bytes_(bytes.begin(), bytes.end()) {}
  secret(const secret&) = default;
  secret(secret&&) noexcept = default;
  secret& operator=(const secret&) = default;
  secret& operator=(secret&&) noexcept = default;
  ~secret();

  bool empty() const noexcept { return bytes_.empty(); }
  // Over the parts one behind the other; their borders are the caller's to mark.
  mac256 sign(std::initializer_list<byte_span> parts) const noexcept;

 private:
  std::vector<std::byte> bytes_;
};

// In a time that says nothing of where they differ.
bool same_mac(const mac256& a, const mac256& b) noexcept;

// The file, opened and checked: a regular one of root or of this user (root: of anybody), closed to
// everybody else, of a size that a secret may have.
outcome<unique_fd> open_secret(const std::string& path);
// What is in it, without line ends at its end; `path` is for the text of a problem.
outcome<secret> read_secret(int fd, const std::string& path);
outcome<secret> read_secret(const std::string& path);

}  // namespace tangelo
