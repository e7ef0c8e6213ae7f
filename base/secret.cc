#include "base/secret.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/check.h"

namespace tangelo {

namespace {

constexpr const char* how_to_make_one =
    "make one: (umask 077; head -c 32 /dev/urandom | base64 > FILE), the same on all machines";

failure<problem> refused(const std::string& path, const std::string& why, std::string hint) {
  return failure{problem{exit_code::usage, "secret_file " + path + ": " + why, std::move(hint)}};
}

std::string octal(mode_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode & 07777));
  return text;
}

}  // namespace

secret::~secret() {
  if (!bytes_.empty()) OPENSSL_cleanse(bytes_.data(), bytes_.size());
}

mac256 secret::sign(std::initializer_list<byte_span> parts) const noexcept {
  std::vector<unsigned char> message;
  for (const byte_span p : parts) {
    const auto* from = reinterpret_cast<const unsigned char*>(p.data());
    message.insert(message.end(), from, from + p.size());
  }
  mac256 mac{};
  unsigned size = 0;
  const unsigned char* made =
      HMAC(EVP_sha256(), bytes_.data(), static_cast<int>(bytes_.size()), message.data(),
           message.size(), reinterpret_cast<unsigned char*>(mac.data()), &size);
  CHECK(made != nullptr && size == mac.size());
  return mac;
}

bool same_mac(const mac256& a, const mac256& b) noexcept {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

outcome<unique_fd> open_secret(const std::string& path) {
  // Not to wait for a pipe's other end.
  unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return refused(path, std::strerror(errno), errno == ENOENT ? how_to_make_one : "");
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return refused(path, std::strerror(errno), "");
  if (!S_ISREG(st.st_mode)) return refused(path, "not a regular file", how_to_make_one);
  if ((st.st_mode & 077) != 0)
    return refused(path, "open to others (mode " + octal(st.st_mode) + ")", "chmod 600 " + path);
  // Root's is fine for everybody who may read it, and root takes anybody's.
  if (st.st_uid != 0 && st.st_uid != ::geteuid() && ::geteuid() != 0)
    return refused(path, "belongs to user " + std::to_string(st.st_uid),
                   "chown it to root, or to the user that reads it");
  if (st.st_size > static_cast<off_t>(secret_size_max))
    return refused(path, "larger than " + std::to_string(secret_size_max) + " bytes",
                   how_to_make_one);
  return fd;
}

outcome<secret> read_secret(int fd, const std::string& path) {
  std::array<std::byte, secret_size_max + 1> bytes;
  const ssize_t n = ::pread(fd, bytes.data(), bytes.size(), 0);
  if (n < 0) return refused(path, std::strerror(errno), "");
  std::size_t size = static_cast<std::size_t>(n);
  while (size > 0 && (bytes[size - 1] == std::byte{'\n'} || bytes[size - 1] == std::byte{'\r'}))
    --size;
  outcome<secret> made = secret(byte_span(bytes).first(size));
  OPENSSL_cleanse(bytes.data(), bytes.size());
  if (size < secret_size_min || size > secret_size_max)
    return refused(path,
                   "a secret has " + std::to_string(secret_size_min) + " to " +
                       std::to_string(secret_size_max) + " bytes, not " + std::to_string(size),
                   how_to_make_one);
  return made;
}

outcome<secret> read_secret(const std::string& path) {
  const outcome<unique_fd> fd = open_secret(path);
  if (!fd) return failure{fd.error()};
  return read_secret(fd->get(), path);
}

}  // namespace tangelo
