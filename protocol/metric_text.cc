#include "protocol/metric_text.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "protocol/op_metrics.h"

namespace tangelo {

namespace {

std::string_view name_of(metric_kind k) noexcept {
  switch (k) {
    case metric_kind::counter: return "counter";
    case metric_kind::gauge: return "gauge";
    case metric_kind::histogram: return "histogram";
  }
  return {};
}

void append_value(std::string& out, std::string_view value) {
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') out += '\\';
    if (byte >= 0x20 && byte < 0x7f) out += c;
    else out += fmt::format("%{:02X}", byte);
  }
}

std::string in_seconds(std::uint64_t ns) {
  return fmt::format("{}", static_cast<double>(ns) / static_cast<double>(ns_per_s));
}

}  // namespace

void metric_text::family(std::string_view name, metric_kind kind, std::string_view help) {
  name_ = name;
  out_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, name_of(kind));
}

void metric_text::line(std::string_view suffix, labels l, std::string_view bound,
                       std::string_view value) {
  out_ += name_;
  out_ += suffix;
  char before = '{';
  const auto add = [this, &before](std::string_view name, std::string_view text) {
    out_ += before;
    out_ += name;
    out_ += "=\"";
    append_value(out_, text);
    out_ += '"';
    before = ',';
  };
  for (const metric_label& label : l) add(label.name, label.value);
  if (!bound.empty()) add("le", bound);
  if (before != '{') out_ += '}';
  out_ += ' ';
  out_ += value;
  out_ += '\n';
}

void metric_text::sample(labels l, std::uint64_t value) { line("", l, "", std::to_string(value)); }

void metric_text::seconds(labels l, std::uint64_t ns) { line("", l, "", in_seconds(ns)); }

void metric_text::latency(labels l, std::span<const std::uint64_t> counts, std::uint64_t sum_ns) {
  std::uint64_t below = 0;
  for (std::size_t k = 0; k < counts.size(); ++k) {
    below += counts[k];
    const bool is_last = k + 1 == counts.size();
    const std::string bound = in_seconds(latency_limit_us(k) * 1000);
    line("_bucket", l, is_last ? "+Inf" : bound, std::to_string(below));
  }
  line("_sum", l, "", in_seconds(sum_ns));
  line("_count", l, "", std::to_string(below));
}

}  // namespace tangelo
