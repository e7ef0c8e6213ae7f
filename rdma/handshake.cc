#include "rdma/handshake.h"

#include <cstring>

#include "base/prng.h"

namespace tangelo {

namespace {

// The body of an HELLO_ACK is of one size, so what stands behind it begins at one place.
mac256 sign(const secret& s, std::string_view side, const hello_ack_body& ack, byte_span hello) {
  std::array<std::byte, 256> bytes;
  const std::size_t size = encode(ack, bytes).value_or(0);
  return s.sign({bytes_of(side), byte_span(bytes).first(size), hello});
}

}  // namespace

nonce256 new_nonce() {
  nonce256 nonce;
  for (std::size_t at = 0; at < nonce.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t word = random_u64_or_die();
    std::memcpy(nonce.data() + at, &word, sizeof word);
  }
  return nonce;
}

mac256 server_proof(const secret& s, byte_span hello, hello_ack_body ack) {
  ack.proof = {};
  return sign(s, "tangelo server 1", ack, hello);
}

mac256 client_proof(const secret& s, byte_span hello, const hello_ack_body& ack) {
  return sign(s, "tangelo client 1", ack, hello);
}

}  // namespace tangelo
