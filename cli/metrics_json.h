// metrics_json: a text of metrics (protocol/metric_text.h) as JSON: each sample with its name, its
// labels and its value. Pure; for what metric_text has written, nothing else.
#pragma once

#include <string>
#include <string_view>

namespace tangelo {

std::string metrics_json(std::string_view text);

}  // namespace tangelo
