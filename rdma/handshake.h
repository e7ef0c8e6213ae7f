// handshake: who knows the secret proves it over HELLO and HELLO_ACK.
//
// Pure. The server signs what both have said, in HELLO_ACK; the client checks that before it says
// anything more, and signs the same with the server's proof in it, in AUTH. A fresh nonce of either
// side is in what is signed, so a recorded proof proves nothing to anybody else; so are versions,
// features and the volume, so nobody in between can talk them down; and a word for the side, so
// that no proof is good for its sender.
#pragma once

#include "base/secret.h"
#include "protocol/session.h"

namespace tangelo {

inline constexpr std::uint16_t auth_none = 0;
inline constexpr std::uint16_t auth_hmac_sha256 = 1;

nonce256 new_nonce();
// `hello`: the body of HELLO as it travelled.
mac256 server_proof(const secret& s, byte_span hello, hello_ack_body ack);
mac256 client_proof(const secret& s, byte_span hello, const hello_ack_body& ack);

}  // namespace tangelo
