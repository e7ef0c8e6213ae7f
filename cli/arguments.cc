#include "cli/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>

namespace tangelo {

namespace {

constexpr const char* examples =
    "Examples:\n"
    "  tangelo mount 127.0.0.1:7471:/quickstart /mnt/tangelo\n"
    "  tangelo mount -o ro server1,server2:/home /home\n"
    "  tangelo status                 every mount of this machine\n"
    "  tangelo status /mnt/tangelo --json\n"
    "  tangelo ops /mnt/tangelo       what is waiting, for how long, for whom\n"
    "  tangelo umount /mnt/tangelo    (-l: even while it is in use)\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 store, 4 version, 5 unreachable.\n";

struct parsed_words {
  mount_arguments mount;
  std::vector<std::string> mount_options;
  umount_arguments umount;
  look_arguments look;
};

bool has_subcommand(const CLI::App& app, const std::string& name) {
  const auto all = app.get_subcommands([](const CLI::App*) { return true; });
  return std::any_of(all.begin(), all.end(),
                     [&name](const CLI::App* s) { return s->check_name(name); });
}

}  // namespace

std::vector<std::string> split_options(const std::vector<std::string>& given) {
  std::vector<std::string> words;
  for (const std::string& list : given) {
    std::size_t begin = 0;
    while (begin <= list.size()) {
      const std::size_t end = std::min(list.find(',', begin), list.size());
      if (end > begin) words.push_back(list.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  return words;
}

outcome<arguments> parse_arguments(int argc, char** argv) {
  parsed_words w;
  CLI::App app("tangelo: mounts that do not die", "tangelo");
  app.set_version_flag("--version", "tangelo " TANGELO_VERSION);
  app.footer(examples);
  app.require_subcommand(1);
  CLI::App* mount = app.add_subcommand("mount", "mount a volume on a directory");
  mount->add_option("source", w.mount.source, "HOST[:PORT][,HOST...]:/VOLUME")->required();
  mount->add_option("directory", w.mount.directory, "where")->required();
  mount->add_option("-o", w.mount_options, "mount options: ro,noatime,...")->take_all();
  mount->add_flag("-v,--verbose", w.mount.verbose, "let the watchdog log more");
  CLI::App* umount = app.add_subcommand("umount", "end a mount");
  umount->alias("unmount");
  umount->add_option("directory", w.umount.directory, "the mount point or NAME")->required();
  umount->add_flag("-l,--lazy", w.umount.lazy, "also while it is in use");
  CLI::App* status = app.add_subcommand("status", "processes, server and counters of mounts");
  CLI::App* ops = app.add_subcommand("ops", "operations that have not ended");
  for (CLI::App* look : {status, ops}) {
    look->add_option("mount", w.look.what, "mount point or NAME; every mount if missing");
    look->add_flag("--json", w.look.json, "for programs");
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return arguments(said_arguments{app.help()});  // that of the subcommand, if there is one
  } catch (const CLI::CallForVersion& version) {
    return arguments(said_arguments{std::string(version.what()) + "\n"});
  } catch (const CLI::Error& error) {
    if (argc > 1 && argv[1][0] != '-' && !has_subcommand(app, argv[1]))
      return failure{problem{exit_code::usage, "'" + std::string(argv[1]) + "': no such subcommand",
                             "see tangelo --help"}};
    return failure{problem{exit_code::usage, error.what(), "see tangelo --help"}};
  }
  if (mount->parsed()) {
    w.mount.options = split_options(w.mount_options);
    return arguments(w.mount);
  }
  if (umount->parsed()) return arguments(w.umount);
  w.look.ops = ops->parsed();
  return arguments(w.look);
}

}  // namespace tangelo
