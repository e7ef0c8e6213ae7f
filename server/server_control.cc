#include "server/server_control.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/log_level.h"

namespace tangelo {

namespace {

template <std::size_t Size>
std::string text_in(const std::array<char, Size>& bytes) {
  return std::string(bytes.data(), ::strnlen(bytes.data(), Size));
}

}  // namespace

outcome<std::unique_ptr<server_control>> server_control::open(const std::string& path, loop& home,
                                                              export_host& exports,
                                                              volume_rows volumes) {
  const auto failed = [&path](std::string_view why) {
    return failure{problem{exit_code::failed, path + ": " + std::string(why),
                           "choose a shorter --run-dir that this user may write to"}};
  };
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return failed("too long for a socket");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  (void)::unlink(path.c_str());  // of a server before; bind says what is wrong
  if (!fd || ::fchmod(fd.get(), 0600) != 0 ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::chmod(path.c_str(), 0600) != 0 || ::listen(fd.get(), 16) != 0)
    return failed(std::strerror(errno));
  std::unique_ptr<server_control> c(new server_control(home, exports, std::move(volumes)));
  c->server_.open(std::move(fd));
  return c;
}

bool server_control::on_request(byte_span packet, control_ticket ticket) noexcept {
  server_request request;
  if (packet.size() != sizeof request) return false;
  std::memcpy(&request, packet.data(), sizeof request);
  if (request.version != server_control_version) return false;
  switch (request.verb) {
    case server_verb::clients: answer_rows(client_rows(), ticket); return true;
    case server_verb::volumes: answer_rows(volumes_(), ticket); return true;
    case server_verb::evict: evict(request, ticket); return true;
    case server_verb::log: set_log(request, ticket); return true;
  }
  return false;
}

void server_control::evict(const server_request& request, control_ticket ticket) {
  const std::string volume = text_in(request.volume);
  const std::string who = text_in(request.who);
  const outcome<client_key> gone = exports_.evict(volume, who, "evicted by command");
  if (!gone) return server_.answer(ticket, answer_of(ENOENT, gone.error().text));
  const std::string text =
      "volume " + volume + ": client " + hex_of(gone->client_id) + " is evicted";
  log_notice("{}, by command", text);
  server_.answer(ticket, answer_of(0, text));
}

void server_control::set_log(const server_request& request, control_ticket ticket) {
  const std::string name = text_in(request.who);
  const std::optional<log_level> level = log_level_named(name);
  if (!level)
    return server_.answer(ticket, answer_of(EINVAL, "not a level; write " + log_level_names()));
  const std::string text = "log level " + name;
  log_notice("{}, by command", text);
  log_set_level(*level);
  server_.answer(ticket, answer_of(0, text));
}

std::vector<server_client_row> server_control::client_rows() const {
  std::vector<server_client_row> rows;
  for (const export_status& s : exports_.status()) {
    server_client_row& r = rows.emplace_back();
    copy_text(r.volume, s.volume);
    copy_text(r.client_id, hex_of(s.client.client_id));
    copy_text(r.address, s.address);
    copy_text(r.state, name_of(s.phase));
    r.incarnation = s.client.incarnation;
    r.epoch = s.epoch;
    r.silent_ms = s.silent_ms;
    r.lease_left_ms = s.lease_left_ms;
    r.running = s.running;
    r.calls = s.calls;
    r.resent = s.resent;
    r.highest_transno = s.highest_transno;
    r.awaited = s.awaited ? 1 : 0;
    r.has_opens = s.has_opens ? 1 : 0;
    r.uncommitted = s.uncommitted ? 1 : 0;
  }
  return rows;
}

template <class Row>
void server_control::answer_rows(const std::vector<Row>& rows, control_ticket ticket) {
  const unique_fd fd(::memfd_create("tangelo-rows", MFD_CLOEXEC));
  const std::size_t size = rows.size() * sizeof(Row);
  if (!fd || ::pwrite(fd.get(), rows.data(), size, 0) != static_cast<ssize_t>(size))
    return server_.answer(ticket, answer_of(errno != 0 ? errno : EIO, "no memory for the answer"));
  const int number = fd.get();
  server_.answer(ticket, answer_of(0, {}), {&number, 1});
}

}  // namespace tangelo
