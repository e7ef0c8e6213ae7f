// tangelo metrics: every mount of this machine for Prometheus, once or for whoever asks.
#include <cstdio>

#include "base/log.h"
#include "cli/at_once.h"
#include "cli/commands.h"
#include "cli/metrics_json.h"
#include "cli/mount_metrics.h"
#include "protocol/text_endpoint.h"

namespace tangelo {

namespace {

constexpr int answer_wait_ms = 1000;

std::string metrics_of(const std::vector<mount_ref>& mounts) {
  return metrics_of_mounts(
      at_once(mounts, [](const mount_ref& m) { return sample_of(m, answer_wait_ms); }));
}

}  // namespace

outcome<void> run_metrics(const metrics_arguments& words) {
  const outcome<std::vector<mount_ref>> chosen = mounts_to_look_into(words.mount, "metrics");
  if (!chosen) return failure{chosen.error()};
  if (words.listen.empty()) {
    const std::string metrics = metrics_of(*chosen);
    const std::string text = words.json ? metrics_json(metrics) : metrics;
    std::fwrite(text.data(), 1, text.size(), stdout);
    if (chosen->empty()) std::fputs(no_mounts_text().c_str(), stderr);
    return {};
  }
  outcome<text_endpoint> endpoint = text_endpoint::open(words.listen);
  if (!endpoint) return failure{endpoint.error()};
  log_start("metrics", log_level::info);
  const std::string told = "http://" + words.listen.substr(0, words.listen.rfind(':')) + ":" +
                           std::to_string(endpoint->port()) + "/metrics";
  log_notice("ready: {}", told);
  endpoint->run([&words] {
    const outcome<std::vector<mount_ref>> now = mounts_to_look_into(words.mount, "metrics");
    return metrics_of(now ? *now : std::vector<mount_ref>{});
  });
  return {};
}

}  // namespace tangelo
