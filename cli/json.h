// json_text: writes one JSON value, with escaping; what a caller nests wrongly comes out wrongly.
//
// Command line only. Text from other processes goes through text(): bytes that are not printable
// ASCII come out as \u00XX, so the result is JSON whatever they wrote.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tangelo {

class json_text {
 public:
  json_text& open_object() { return open('{'); }
  json_text& close_object() { return close('}'); }
  json_text& open_list() { return open('['); }
  json_text& close_list() { return close(']'); }
  json_text& key(std::string_view name);
  json_text& text(std::string_view value);
  json_text& number(std::uint64_t value) { return raw(std::to_string(value)); }
  json_text& digits(std::string_view value) { return raw(value); }  // a number as it is written
  json_text& boolean(bool value) { return raw(value ? "true" : "false"); }
  const std::string& str() const noexcept { return out_; }

 private:
  json_text& open(char bracket);
  json_text& close(char bracket);
  json_text& raw(std::string_view value);
  void separate();
  void quote(std::string_view value);

  std::string out_;
  bool first_ = true;  // nothing stands behind the last bracket or key yet
};

}  // namespace tangelo
