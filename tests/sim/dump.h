// dump: what a store holds, as text, for comparing the stores of two runs.
//
// Nothing in it may depend on faults: paths, types, modes, owners, link counts, sizes, contents,
// extended attributes; no inode numbers and no times.
#pragma once

#include <string>
#include <vector>

#include "server/mem_kv.h"
#include "server/mem_objects.h"

namespace tangelo::sim {

// One line for each path, then one for each orphan, and one for each thing that is not as it must
// be: an inode without a name, a wrong link count, an entry without an inode.
std::vector<std::string> dump_of(mem_kv& kv, const mem_objects& objects);
// What users, groups and trees have in use by their records, and not by the inodes; and trees that
// are not made. Also in dump_of().
std::vector<std::string> usage_faults(mem_kv& kv);
// The first line in which they differ; empty: none.
std::string first_difference(const std::vector<std::string>& want,
                             const std::vector<std::string>& got);
// Effects that the audit of the volume has noted.
std::size_t audited_effects(mem_kv& kv);

}  // namespace tangelo::sim
