#include "watchdog/mount_file.h"

#include <unistd.h>

#include <cstdio>

#include "base/log_level.h"

namespace tangelo {

namespace {

std::vector<std::string> policy_words(const mount_policy& p) {
  std::vector<std::string> words;
  const auto add = [&words](const char* name, std::uint32_t value) {
    if (value != policy_off) words.push_back(std::string(name) + "=" + policy_text(value));
  };
  add("reconnect_delay", p.reconnect_delay);
  add("fast_io_fail_tmo", p.fast_io_fail_tmo);
  add("dev_loss_tmo", p.dev_loss_tmo);
  if (p.log) words.push_back("log=" + std::string(name_of(*p.log)));
  return words;
}

// What the words say without commit=: `sync` asks for commit=sync.
commit_mode commit_of(const std::vector<std::string>& words) {
  const outcome<mount_options> options = parse_mount_options(words);
  return options ? options->policy.commit : commit_mode::async;
}

bool is_policy_word(std::string_view word) {
  policy_change unused;
  return parse_policy_word(word, unused).has_value();
}

}  // namespace

std::string mount_file_text(const watchdog_settings& s, const mount_policy& policy) {
  std::vector<std::string> words;
  for (const std::string& word : s.options.words)
    if (!is_policy_word(word)) words.push_back(word);
  if (policy.commit != commit_of(words))
    words.push_back("commit=" + std::string(name_of(policy.commit)));
  for (std::string& word : policy_words(policy)) words.push_back(std::move(word));
  std::string text = "version = 1\nname = " + toml_text(s.name) + "\nsource = " +
                     toml_text(s.source) + "\nmount_point = " + toml_text(s.mount_point) +
                     "\nwatchdog_pid = " + std::to_string(::getpid()) + "\noptions = [";
  for (std::size_t i = 0; i < words.size(); ++i) text += (i == 0 ? "" : ", ") + toml_text(words[i]);
  return text + "]\n";
}

std::string toml_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      out += escape;
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace tangelo
