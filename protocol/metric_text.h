// metric_text: writes metrics as Prometheus reads them (text exposition format 0.0.4).
//
// Any process. All samples of a family stand together behind its family(); a label's value may be
// any bytes: what is not printable ASCII comes out as %XX, so the text is text whatever they were.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace tangelo {

enum class metric_kind : std::uint8_t { counter, gauge, histogram };

struct metric_label {
  std::string_view name;
  std::string_view value;
};

class metric_text {
 public:
  using labels = std::initializer_list<metric_label>;

  void family(std::string_view name, metric_kind kind, std::string_view help);
  void sample(labels l, std::uint64_t value);
  void seconds(labels l, std::uint64_t ns);
  // `counts`: of the buckets of op_metrics.h, each for itself.
  void latency(labels l, std::span<const std::uint64_t> counts, std::uint64_t sum_ns);
  const std::string& str() const noexcept { return out_; }

 private:
  void line(std::string_view suffix, labels l, std::string_view bound, std::string_view value);

  std::string out_;
  std::string name_;  // of the present family
};

}  // namespace tangelo
