// Prints docs/STATES.md from the state tables of the product. A test compares the two, so a changed
// row shows in review as a changed line of documentation:
//
//   build/x/tests/docs/states_doc > docs/STATES.md       make it again
//   build/x/tests/docs/states_doc --compare docs/STATES.md
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>

#include "fs/op_transitions.h"
#include "fs/path_state.h"
#include "rdma/import.h"
#include "watchdog/child_state.h"
#include "watchdog/upgrade_state.h"

namespace {

using namespace tangelo;

template <class Table>
void print_table(std::ostream& out, std::string_view title, std::string_view about,
                 const Table& table) {
  out << "\n## " << title << "\n\n" << about << "\n\n";
  out << "| in state | on event | goes to | and does |\n|---|---|---|---|\n";
  for (const auto& row : table.rows())
    out << "| " << name_of(row.from) << " | " << name_of(row.on) << " | " << name_of(row.to)
        << " | " << name_of(row.act) << " |\n";
}

std::string document() {
  std::ostringstream out;
  out << "# State tables\n\nGenerated from the code by `tests/docs/states_doc.cc`; do not edit. "
         "`never` is a row that cannot happen, `none` one that is expected and harmless.\n";
  print_table(out, "Op", "The life of one kernel request (`fs/op_transitions.h`).", op_transitions);
  print_table(out, "Path",
              "Whether operations may hope for the server, and for how long (`fs/path_state.h`).",
              path_transitions);
  print_table(out, "Import", "The client's side of a session (`rdma/import.h`).",
              import_rows());
  print_table(out, "Child process", "A process under the watchdog (`watchdog/child_state.h`).",
              child_transitions);
  print_table(out, "Upgrade", "A live upgrade (`watchdog/upgrade_state.h`).", upgrade_transitions);
  return out.str();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string made = document();
  if (argc < 3 || std::string_view(argv[1]) != "--compare") {
    std::cout << made;
    return 0;
  }
  std::ifstream file(argv[2]);
  std::ostringstream present;
  present << file.rdbuf();
  if (present.str() == made) return 0;
  std::fprintf(stderr, "%s does not match the state tables; make it again with %s > %s\n", argv[2],
               argv[0], argv[2]);
  return 1;
}
