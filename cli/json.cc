#include "cli/json.h"

namespace tangelo {

void json_text::separate() {
  if (!first_) out_ += ',';
  first_ = false;
}

void json_text::quote(std::string_view value) {
  static constexpr char digits[] = "0123456789abcdef";
  out_ += '"';
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      out_ += {'\\', c};
    else if (byte < 0x20 || byte > 0x7e)
      out_ += {'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15]};
    else
      out_ += c;
  }
  out_ += '"';
}

json_text& json_text::open(char bracket) {
  separate();
  out_ += bracket;
  first_ = true;
  return *this;
}

json_text& json_text::close(char bracket) {
  out_ += bracket;
  first_ = false;
  return *this;
}

json_text& json_text::key(std::string_view name) {
  separate();
  quote(name);
  out_ += ':';
  first_ = true;
  return *this;
}

json_text& json_text::text(std::string_view value) {
  separate();
  quote(value);
  return *this;
}

json_text& json_text::raw(std::string_view value) {
  separate();
  out_ += value;
  return *this;
}

}  // namespace tangelo
