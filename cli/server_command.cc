// tangelo server: asks servers of this machine over their control.sock (protocol/server_control.h).
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/log_level.h"
#include "base/packet_socket.h"
#include "base/places.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/json.h"
#include "protocol/server_control.h"

namespace tangelo {

namespace {

constexpr int answer_wait_ms = 5000;

std::string servers_dir() { return run_dirs_of(0).front() + "/servers"; }

// A name of a server of this machine, or a directory given to `tangelo-server run --run-dir`.
std::string socket_of(const std::string& name) {
  const std::string directory =
      name.find('/') != name.npos ? name : servers_dir() + "/" + name;
  return directory + "/control.sock";
}

outcome<std::vector<std::string>> chosen_servers(const std::string& name) {
  if (!name.empty()) return std::vector<std::string>{name};
  std::vector<std::string> names;
  std::error_code e;
  for (std::filesystem::directory_iterator at(servers_dir(), e);
       !e && at != std::filesystem::directory_iterator(); at.increment(e))
    if (::access((at->path() / "control.sock").c_str(), F_OK) == 0)
      names.push_back(at->path().filename().string());
  std::sort(names.begin(), names.end());
  if (!names.empty()) return names;
  return failure{problem{exit_code::unreachable, "no server in " + servers_dir(),
                         "was it started without --run-dir? Else name it, or its run directory"}};
}

struct server_reply {
  control_answer answer;
  packet_fds fds;
};

outcome<server_reply> ask_server(const std::string& name, const server_request& request) {
  const std::string path = socket_of(name);
  const auto nobody = [&](std::string_view why) {
    return failure{problem{exit_code::unreachable,
                           "server " + name + ": " + path + ": " + std::string(why),
                           "is it running, and are you root or its user?"}};
  };
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return nobody("too long");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  const timeval limit{answer_wait_ms / 1000, 0};
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (!fd ||
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return nobody(std::strerror(errno));
  if (send_packet(fd.get(), request) != packet_status::ok) return nobody("it does not listen");
  pollfd p{fd.get(), POLLIN, 0};
  if (::poll(&p, 1, answer_wait_ms) != 1) return nobody("it takes too long to answer");
  server_reply reply;
  if (receive_object(fd.get(), reply.answer, &reply.fds) != packet_status::ok)
    return nobody("it refuses: another user's, or of another version");
  return reply;
}

template <class Row>
outcome<std::vector<Row>> rows_of(const std::string& name, server_verb verb) {
  server_request request;
  request.verb = verb;
  outcome<server_reply> reply = ask_server(name, request);
  if (!reply) return failure{reply.error()};
  struct stat st{};
  const int fd = reply->fds.count == 1 ? reply->fds.fds[0].get() : -1;
  constexpr off_t size_max = 256 << 20;
  if (reply->answer.errno_value != 0 || fd < 0 || ::fstat(fd, &st) != 0 ||
      st.st_size > size_max || st.st_size % static_cast<off_t>(sizeof(Row)) != 0)
    return failure{problem{exit_code::failed, "server " + name + ": no sensible answer", {}}};
  std::vector<Row> rows(static_cast<std::size_t>(st.st_size) / sizeof(Row));
  if (::pread(fd, rows.data(), static_cast<std::size_t>(st.st_size), 0) != st.st_size)
    return failure{problem{exit_code::failed, "server " + name + ": its answer is cut off", {}}};
  return rows;
}

template <std::size_t Size>
std::string text_in(const std::array<char, Size>& bytes) {
  return printable(std::string_view(bytes.data(), ::strnlen(bytes.data(), Size)));
}

void put_json(json_text& j, const server_client_row& r) {
  j.open_object().key("volume").text(text_in(r.volume)).key("client").text(text_in(r.client_id));
  j.key("state").text(text_in(r.state)).key("address").text(text_in(r.address));
  j.key("incarnation").number(r.incarnation).key("epoch").number(r.epoch);
  j.key("silent_ms").number(r.silent_ms).key("lease_left_ms").number(r.lease_left_ms);
  j.key("awaited").boolean(r.awaited != 0).key("opens").boolean(r.has_opens != 0);
  j.key("uncommitted").boolean(r.uncommitted != 0).key("running").number(r.running);
  j.key("calls").number(r.calls).key("resent").number(r.resent);
  j.key("highest_transno").number(r.highest_transno).close_object();
}

void put_json(json_text& j, const server_volume_row& r) {
  j.open_object().key("volume").text(text_in(r.name)).key("state").text(text_in(r.state));
  j.key("directory").text(text_in(r.directory)).key("holder").text(text_in(r.holder));
  j.key("boot_generation").number(r.boot_generation).key("committed").number(r.last_committed);
  j.key("executed").number(r.executed).key("commits").number(r.commits);
  j.key("running").number(r.running).key("open_handles").number(r.open_handles);
  j.key("redo_size").number(r.redo_size).close_object();
}

std::string line_of(const server_client_row& r) {
  std::string held = r.has_opens != 0 ? "files open" : "no files open";
  if (r.uncommitted != 0) held += ", uncommitted changes";
  const std::string address = text_in(r.address);
  return "  " + text_in(r.volume) + "  " + text_in(r.client_id) + "  " + text_in(r.state) + "  " +
         (address.empty() ? "not connected" : address) + ", silent for " +
         std::to_string(r.silent_ms / 1000) + " s, lease left " +
         std::to_string(r.lease_left_ms / 1000) + " s, " + held + ", " +
         std::to_string(r.running) + " running, " + std::to_string(r.calls) + " calls\n";
}

std::string line_of(const server_volume_row& r) {
  const std::string state = text_in(r.state);
  std::string out = "  " + text_in(r.name) + "  " + state + "  " + text_in(r.directory);
  if (state != "serving") return out + ", held by " + text_in(r.holder) + "\n";
  return out + ", boot " + std::to_string(r.boot_generation) + ", committed " +
         std::to_string(r.last_committed) + ", " + std::to_string(r.open_handles) +
         " files open, " + std::to_string(r.running) + " running\n";
}

template <class Row>
outcome<void> show(const server_arguments& words, server_verb verb, std::string_view title) {
  outcome<std::vector<std::string>> names = chosen_servers(words.server);
  if (!names) return failure{names.error()};
  json_text j;
  std::string text;
  j.open_object().key("servers").open_list();
  for (const std::string& name : *names) {
    const outcome<std::vector<Row>> rows = rows_of<Row>(name, verb);
    if (!rows && names->size() == 1) return failure{rows.error()};
    if (!rows) {  // it has ended, and left its place in the directory; the others have not
      std::fprintf(stderr, "tangelo: %s\n", rows.error().text.c_str());
      continue;
    }
    text += name + (rows->empty() ? ": no " + std::string(title) : "") + "\n";
    j.open_object().key("server").text(name).key(title).open_list();
    for (const Row& r : *rows) {
      put_json(j, r);
      text += line_of(r);
    }
    j.close_list().close_object();
  }
  j.close_list().close_object();
  std::fputs((words.json ? j.str() + "\n" : text).c_str(), stdout);
  return {};
}

// Of the one server that is meant; `usage` names it.
outcome<void> command(const server_arguments& words, const server_request& request,
                      const char* usage, const char* hint) {
  outcome<std::vector<std::string>> names = chosen_servers(words.server);
  if (!names) return failure{names.error()};
  if (names->size() != 1)
    return failure{problem{exit_code::usage, "there are several servers here",
                           std::string("name one: ") + usage}};
  const outcome<server_reply> reply = ask_server(names->front(), request);
  if (!reply) return failure{reply.error()};
  const std::string text = text_in(reply->answer.text);
  if (reply->answer.errno_value != 0) return failure{problem{exit_code::failed, text, hint}};
  std::string out = text + "\n";
  if (words.json) {
    json_text j;
    out = j.open_object().key("done").text(text).close_object().str() + "\n";
  }
  std::fputs(out.c_str(), stdout);
  return {};
}

outcome<void> evict(const server_arguments& words) {
  server_request request;
  request.verb = server_verb::evict;
  if (words.volume.size() >= request.volume.size() || words.client.size() >= request.who.size())
    return failure{problem{exit_code::usage, "no volume or client has so long a name", {}}};
  words.volume.copy(request.volume.data(), words.volume.size());
  words.client.copy(request.who.data(), words.client.size());
  return command(words, request, "tangelo server evict NAME VOLUME CLIENT",
                 "`tangelo server list` shows the clients");
}

outcome<void> set_log(const server_arguments& words) {
  if (!log_level_named(words.level))
    return failure{problem{exit_code::usage, "'" + words.level + "': not a level",
                           "write " + log_level_names()}};
  server_request request;
  request.verb = server_verb::log;
  words.level.copy(request.who.data(), request.who.size() - 1);
  return command(words, request, "tangelo server log NAME LEVEL", "");
}

}  // namespace

outcome<void> run_server(const server_arguments& words) {
  switch (words.what) {
    case server_arguments::verb::list:
      return show<server_client_row>(words, server_verb::clients, "clients");
    case server_arguments::verb::volumes:
      return show<server_volume_row>(words, server_verb::volumes, "volumes");
    case server_arguments::verb::evict: return evict(words);
    case server_arguments::verb::log: return set_log(words);
  }
  return {};
}

}  // namespace tangelo
