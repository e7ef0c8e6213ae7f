#include "server/audit.h"

#include "server/records.h"
#include "server/rocks_kv.h"
#include "server/volume_directory.h"

namespace tangelo {

// A duplicate has the key of the first effect with its own transno behind it (volume.cc).
outcome<audit_counts> read_audit(const std::string& directory) {
  constexpr std::size_t first_key_size = sizeof(id128) + 8 + 2 + 4;
  const outcome<volume_hold> hold = hold_volume(directory);
  if (!hold) return failure{hold.error()};
  outcome<std::unique_ptr<kv_store>> kv = open_rocks_kv(metadata_path(directory), false);
  if (!kv) return failure{kv.error()};
  audit_counts counts;
  const kv_status s = (*kv)->scan(column::audit, {}, {}, read_mode::blocking,
                                  [&counts](std::string_view key, std::string_view) {
                                    ++counts.effects;
                                    if (key.size() > first_key_size) ++counts.duplicates;
                                    return true;
                                  });
  if (s != kv_status::found)
    return failure{problem{exit_code::store, directory + ": the audit cannot be read", {}}};
  return counts;
}

}  // namespace tangelo
