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
    "  tangelo top                    operations per second, and how long they take\n"
    "  tangelo trace /mnt/tangelo --slower 10ms\n"
    "  tangelo metrics --listen 127.0.0.1:9471\n"
    "  tangelo umount /mnt/tangelo    (-l: even while it is in use; -f: and nobody waits)\n"
    "  tangelo set /mnt/tangelo fast_io_fail_tmo=15 dev_loss_tmo=120\n"
    "  tangelo abort /mnt/tangelo     who waits now gets EIO; the mount goes on\n"
    "  tangelo upgrade /mnt/tangelo   to the programs now installed, without unmounting\n"
    "  tangelo watchdog --adopt /mnt/tangelo\n"
    "  tangelo server list            clients of this machine's servers; volumes, evict\n"
    "  tangelo quota set /mnt/tangelo --user ann --bytes 10G --inodes 100000\n"
    "  tangelo quota set /mnt/tangelo/project --bytes 1T\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 store, 4 version, 5 unreachable.\n";

bool has_subcommand(const CLI::App& app, const std::string& name) {
  const auto all = app.get_subcommands([](const CLI::App*) { return true; });
  return std::any_of(all.begin(), all.end(),
                     [&name](const CLI::App* s) { return s->check_name(name); });
}

constexpr const char* set_notes =
    "Times are seconds, or off (the default of all three: operations wait for ever).\n"
    "  reconnect_delay=N    the longest pause between two rounds of connecting\n"
    "  fast_io_fail_tmo=N   after N s without a server, operations that have certainly not been\n"
    "                       executed, or change nothing, fail with EIO\n"
    "  dev_loss_tmo=N       ... all operations fail\n"
    "reconnect_delay <= fast_io_fail_tmo < dev_loss_tmo.\n"
    "  commit=async         changes are answered when the server has made them; fsync, O_SYNC and\n"
    "                       O_DSYNC wait until they are durable (the default)\n"
    "  commit=sync          all changes wait until they are durable\n"
    "  commit=names         changes of names do (create, rename, unlink and their like)\n"
    "  log=LEVEL            what watchdog, front end and core log from now on: error, warning,\n"
    "                       notice, info (the default) or debug\n"
    "`tangelo mount -o` takes all of them, too.\n"
    "Without words: shows what is set.\n";

constexpr const char* mount_notes =
    "Options: ro, noexec, noatime, nodiratime, sync, dirsync, suid, dev and their opposites\n"
    "(nosuid,nodev unless told otherwise), words of fstab, how long operations wait for a\n"
    "server (reconnect_delay=, fast_io_fail_tmo=, dev_loss_tmo=), when changes are answered\n"
    "(commit=; sync means commit=sync, dirsync commit=names) and what is logged (log=): see\n"
    "tangelo set --help.\n";

constexpr const char* upgrade_notes =
    "Install the new programs over the old ones before. What does not come up is rolled back to\n"
    "what ran; the mount goes on in any case.\n";

constexpr const char* quota_notes =
    "Bytes are those that files occupy (du), so holes are free. Without --user or --group the\n"
    "limit is that of the directory and all below it; what is in it already is counted first.\n"
    "Who would exceed a limit gets EDQUOT (Disk quota exceeded). Root is not limited by limits of\n"
    "users and groups, but by those of directories.\n";

// NAME: systemd-escape --path MOUNTPOINT, the name of the mount's run directory.
constexpr const char* mount_point_text = "mount point, or its name in the run directory";

constexpr const char* every_mount_text = "mount point, or its name; every mount if missing";

constexpr const char* for_programs = "for programs";

constexpr const char* trace_notes =
    "It looks every millisecond at what the mount has recorded, and costs the mount nothing. Of\n"
    "operations that follow each other faster in one slot it sees the last; how many it did not\n"
    "see is told at the end. ^C ends it.\n";

constexpr const char* server_name_text = "its name in /run/tangelo/servers, or its run directory";

// The grammar, and the values that parsing fills in.
class command_line {
 public:
  command_line() {
    app.set_version_flag("--version", "tangelo " TANGELO_VERSION);
    app.require_subcommand(1);
    add_mounting();
    add_looking();
    add_measuring();
    add_fabric();
    add_changing();
    add_servers();
    add_quotas();
    app.footer(examples);  // last: a subcommand takes over the footer that it finds
  }
  command_line(const command_line&) = delete;
  command_line& operator=(const command_line&) = delete;

  // What was asked for; valid after app.parse().
  arguments chosen() {
    mount_.options = split_options(options_);
    if (app.got_subcommand("mount")) return mount_;
    if (app.got_subcommand("umount")) return umount_;
    if (app.got_subcommand("set")) return set_;
    if (app.got_subcommand("abort")) return abort_;
    if (app.got_subcommand("upgrade")) return upgrade_;
    if (app.got_subcommand("watchdog")) return adopt_;
    if (app.got_subcommand("server")) return chosen_server();
    if (app.got_subcommand("quota")) return chosen_quota();
    if (app.got_subcommand("metrics")) return metrics_;
    if (app.got_subcommand("ping")) return ping_;
    if (app.got_subcommand("top")) return top_;
    if (app.got_subcommand("trace")) return trace_;
    if (app.got_subcommand("fabric")) return fabric_;
    look_.ops = app.got_subcommand("ops");
    return look_;
  }

  CLI::App app{"tangelo: mounts that do not die", "tangelo"};

 private:
  void add_mounting() {
    CLI::App* mount = app.add_subcommand("mount", "mount a volume on a directory");
    mount->add_option("source", mount_.source, "HOST[:PORT][,HOST...]:/VOLUME")->required();
    mount->add_option("directory", mount_.directory, "where")->required();
    mount->add_option("-o", options_, "mount options: ro,noatime,dev_loss_tmo=60,...")->take_all();
    mount->add_flag("-v,--verbose", mount_.verbose, "let the watchdog log more");
    mount->add_flag("--json", mount_.json, for_programs);
    mount->footer(mount_notes);
    CLI::App* umount = app.add_subcommand("umount", "end a mount");
    umount->alias("unmount");
    umount->add_option("directory", umount_.directory, mount_point_text)->required();
    CLI::Option* lazy = umount->add_flag("-l,--lazy", umount_.lazy,
                                         "also while it is in use; what uses it goes on");
    umount
        ->add_flag("-f,--force", umount_.force,
                   "also while it is in use; what waits or uses it gets errors")
        ->excludes(lazy);
    umount->add_flag("--json", umount_.json, for_programs);
  }
  void add_looking() {
    CLI::App* status = app.add_subcommand("status", "processes, server and counters of mounts");
    CLI::App* ops = app.add_subcommand("ops", "operations that have not ended");
    for (CLI::App* look : {status, ops}) {
      look->add_option("mount", look_.what, every_mount_text);
      look->add_flag("--json", look_.json, for_programs);
    }
  }
  void add_measuring() {
    CLI::App* metrics = app.add_subcommand("metrics", "counters and times, for Prometheus");
    metrics->add_option("mount", metrics_.mount, every_mount_text);
    CLI::Option* listen = metrics->add_option("--listen", metrics_.listen,
                                              "127.0.0.1:9471: tell them to who asks there");
    metrics->add_flag("--json", metrics_.json, for_programs)->excludes(listen);
    CLI::App* ping = app.add_subcommand("ping", "is a server there, and how far away?");
    ping->add_option("server", ping_.server, "HOST[:PORT]")->required();
    ping->add_option("-c,--count", ping_.count, "so many times, one each second (4)");
    ping->add_option("--size", ping_.size, "move so many bytes with each, there and back: 10M");
    ping->add_option("--fabric", ping_.fabric, "tcp or verbs (each there is)");
    ping->add_flag("--json", ping_.json, "a line of JSON for each, for programs");
    CLI::App* top = app.add_subcommand("top", "operations per second and their times, on and on");
    top->add_option("mount", top_.mount, every_mount_text);
    top->add_flag("--json", top_.json, "one look, for programs");
    top->footer("q ends it. When standard output is no terminal it looks once, for a second.\n");
    CLI::App* trace = app.add_subcommand("trace", "follow operations as they pass");
    trace->add_option("mount", trace_.mount, mount_point_text)->required();
    trace->add_option("--op", trace_.ops, "only these: read,write,...")->delimiter(',');
    trace->add_option("--pid", trace_.pid, "only this process (thread)");
    trace->add_option("--slower", trace_.slower, "only what takes longer than 10ms, 1s, ...");
    trace->add_flag("--json", trace_.json, "a line of JSON for each, for programs");
    trace->footer(trace_notes);
  }
  void add_fabric() {
    CLI::App* fabric = app.add_subcommand("fabric", "RDMA devices, and what leads to a server");
    fabric->add_option("address", fabric_.address, "HOST:PORT: would it be verbs or tcp, and why");
    fabric->add_flag("--json", fabric_.json, for_programs);
  }
  void add_changing() {
    CLI::App* set = app.add_subcommand(
        "set", "change how long operations wait, when changes are answered, what is logged");
    set->add_option("mount", set_.mount, mount_point_text)->required();
    set->add_option("words", set_.words, "KEY=VALUE...");
    set->add_flag("--json", set_.json, for_programs);
    set->footer(set_notes);
    CLI::App* abort = app.add_subcommand("abort", "let every operation that waits fail with EIO");
    abort->add_option("mount", abort_.mount, mount_point_text)->required();
    abort->add_flag("--json", abort_.json, for_programs);
    CLI::App* upgrade =
        app.add_subcommand("upgrade", "replace a mount's programs by those now installed");
    upgrade->add_option("mount", upgrade_.mount, mount_point_text)->required();
    upgrade->add_flag("--json", upgrade_.json, for_programs);
    upgrade->footer(upgrade_notes);
    CLI::App* watchdog = app.add_subcommand("watchdog", "give an UNSUPERVISED mount a watchdog");
    watchdog->add_option("--adopt", adopt_.mount, mount_point_text)->required();
    watchdog->add_flag("--json", adopt_.json, for_programs);
  }

  void add_servers() {
    CLI::App* server = app.add_subcommand("server", "ask the servers of this machine");
    server->require_subcommand(1);
    CLI::App* list = server->add_subcommand("list", "their clients");
    CLI::App* volumes = server->add_subcommand("volumes", "what they serve, or wait for");
    for (CLI::App* look : {list, volumes})
      look->add_option("name", server_.server, server_name_text);
    CLI::App* evict = server->add_subcommand("evict", "write a client off: what it holds is lost");
    evict->add_option("words", server_words_, "[NAME] VOLUME CLIENT (its id, or its address)")
        ->required()
        ->expected(2, 3);
    CLI::App* log = server->add_subcommand("log", "change what it logs, until it ends");
    log->add_option("words", server_words_, "[NAME] error|warning|notice|info|debug")
        ->required()
        ->expected(1, 2);
    for (CLI::App* any : {list, volumes, evict, log})
      any->add_flag("--json", server_.json, for_programs);
  }
  void add_quotas() {
    CLI::App* quota = app.add_subcommand("quota", "what users, groups and directories may have");
    quota->require_subcommand(1);
    CLI::App* show = quota->add_subcommand("show", "a limit, and what is in use");
    CLI::App* set = quota->add_subcommand("set", "set or change a limit");
    CLI::App* clear = quota->add_subcommand("clear", "no limit any more");
    CLI::App* list = quota->add_subcommand("list", "every user, group and directory that is known");
    for (CLI::App* any : {show, set, clear, list})
      any->add_option("path", quota_.path, "of the mount; a directory's own limit without -u, -g")
          ->required();
    // An unset variable of a script must not turn a user's limit into a directory's.
    const CLI::Validator said(
        [](const std::string& text) { return std::string(text.empty() ? "is empty" : ""); }, "");
    for (CLI::App* one : {show, set, clear}) {
      CLI::Option* user = one->add_option("-u,--user", quota_.user, "name or number")->check(said);
      one->add_option("-g,--group", quota_.group, "name or number")->check(said)->excludes(user);
    }
    set->add_option("--bytes", quota_.bytes, "500M, 10G, 1.5T, ... or none");
    set->add_option("--inodes", quota_.inodes, "files and directories: 100000, 100K, ... or none");
    set->footer(quota_notes);
    for (CLI::App* any : {show, set, clear, list})
      any->add_flag("--json", quota_.json, for_programs);
  }
  quota_arguments chosen_quota() {
    const CLI::App* quota = app.get_subcommand("quota");
    using verb = quota_arguments::verb;
    if (quota->got_subcommand("set")) quota_.what = verb::set;
    if (quota->got_subcommand("clear")) quota_.what = verb::clear;
    if (quota->got_subcommand("list")) quota_.what = verb::list;
    return quota_;
  }
  server_arguments chosen_server() {
    const CLI::App* server = app.get_subcommand("server");
    if (server->got_subcommand("volumes")) server_.what = server_arguments::verb::volumes;
    if (server->got_subcommand("log")) {
      server_.what = server_arguments::verb::log;
      server_.level = server_words_.back();
      if (server_words_.size() == 2) server_.server = server_words_.front();
    }
    if (!server->got_subcommand("evict")) return server_;
    server_.what = server_arguments::verb::evict;
    server_.client = server_words_.back();
    server_.volume = server_words_[server_words_.size() - 2];
    if (server_words_.size() == 3) server_.server = server_words_.front();
    return server_;
  }

  mount_arguments mount_;
  std::vector<std::string> options_;  // as given; mount_.options are the words in them
  umount_arguments umount_;
  look_arguments look_;
  set_arguments set_;
  abort_arguments abort_;
  upgrade_arguments upgrade_;
  adopt_arguments adopt_;
  server_arguments server_;
  quota_arguments quota_;
  metrics_arguments metrics_;
  ping_arguments ping_;
  top_arguments top_;
  trace_arguments trace_;
  fabric_arguments fabric_;
  std::vector<std::string> server_words_;  // of evict and log
};

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
  command_line line;
  CLI::App& app = line.app;
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return arguments(said_arguments{app.help()});  // that of the subcommand, if there is one
  } catch (const CLI::CallForVersion& version) {
    return arguments(said_arguments{std::string(version.what()) + "\n"});
  } catch (const CLI::Error& error) {
    if (argc > 1 && !has_subcommand(app, argv[1]))
      return failure{problem{exit_code::usage,
                             "'" + std::string(argv[1]) + "': no such " +
                                 (argv[1][0] == '-' ? "option" : "subcommand"),
                             "see tangelo --help"}};
    return failure{problem{exit_code::usage, error.what(), "see tangelo --help"}};
  }
  return line.chosen();
}

}  // namespace tangelo
