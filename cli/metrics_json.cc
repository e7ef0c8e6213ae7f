#include "cli/metrics_json.h"

#include <algorithm>

#include "cli/json.h"

namespace tangelo {

namespace {

// Takes `name="value"` and the comma behind it from the front of `text`.
void take_label(json_text& j, std::string_view& text) {
  const std::size_t equals = text.find('=');
  std::string value;
  std::size_t at = equals + 2;
  for (; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\' && at + 1 < text.size()) ++at;
    value += text[at];
  }
  j.key(text.substr(0, equals)).text(value);
  text.remove_prefix(std::min(at + 2, text.size()));
}

void add_sample(json_text& j, std::string_view line) {
  const std::size_t blank = line.rfind(' ');
  std::string_view series = line.substr(0, blank);
  const std::size_t brace = series.find('{');
  j.open_object().key("name").text(series.substr(0, brace)).key("labels").open_object();
  if (brace != series.npos) {
    series.remove_suffix(1);
    for (series.remove_prefix(brace + 1); series.find('=') != series.npos;) take_label(j, series);
  }
  j.close_object().key("value").digits(line.substr(blank + 1)).close_object();
}

}  // namespace

std::string metrics_json(std::string_view text) {
  json_text j;
  j.open_object().key("metrics").open_list();
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (!line.empty() && line.front() != '#') add_sample(j, line);
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return j.close_list().close_object().str() + "\n";
}

}  // namespace tangelo
