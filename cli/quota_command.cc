// `tangelo quota`: quotas by their extended attributes, so through the mount and as whoever calls.
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "cli/commands.h"
#include "cli/json.h"
#include "cli/quota_text.h"

namespace tangelo {

namespace {

constexpr std::size_t value_size_max = 65536;
constexpr int try_count_max = 5;

problem failed(std::string text, std::string hint) {
  return problem{exit_code::failed, std::move(text), std::move(hint)};
}

outcome<std::string> real_path(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                         &std::free);
  if (real == nullptr)
    return failure{
        failed(path + ": " + std::strerror(errno), "name a file or directory of a mount")};
  return std::string(real.get());
}

// The mount's top: the last directory above `path` on the same device.
outcome<std::string> top_of(const std::string& path) {
  outcome<std::string> at = real_path(path);
  if (!at) return at;
  struct stat here{};
  if (::lstat(at->c_str(), &here) != 0)
    return failure{failed(*at + ": " + std::strerror(errno), {})};
  for (std::string top = *at; top != "/";) {
    const std::size_t slash = top.rfind('/');
    const std::string above = slash == 0 ? "/" : top.substr(0, slash);
    struct stat st{};
    if (::lstat(above.c_str(), &st) != 0 || st.st_dev != here.st_dev) return top;
    top = above;
  }
  return std::string("/");
}

// What is asked for: an attribute of a file.
struct place {
  std::string path;
  std::string attribute;
  quota_view view;  // kind, name and id
};

outcome<std::uint64_t> id_of(const std::string& text, bool is_user) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size() && number != UINT32_MAX)
    return std::uint64_t{number};
  if (is_user)
    if (const passwd* p = ::getpwnam(text.c_str()); p != nullptr) return std::uint64_t{p->pw_uid};
  if (!is_user)
    if (const group* g = ::getgrnam(text.c_str()); g != nullptr) return std::uint64_t{g->gr_gid};
  return failure{problem{exit_code::usage,
                         "'" + text + "': no such " + (is_user ? "user" : "group"),
                         "name one that this machine knows, or give its number"}};
}

void add_name(quota_view& q) {
  const auto id = static_cast<std::uint32_t>(q.id);
  if (q.kind == "user")
    if (const passwd* p = ::getpwuid(id); p != nullptr) q.name = p->pw_name;
  if (q.kind == "group")
    if (const group* g = ::getgrgid(id); g != nullptr) q.name = g->gr_name;
}

outcome<place> place_of(const quota_arguments& words) {
  place p;
  const bool is_user = !words.user.empty();
  if (!is_user && words.group.empty()) {
    outcome<std::string> path = real_path(words.path);
    if (!path) return failure{path.error()};
    p.path = *path;
    p.attribute = "system.tangelo.quota";
    p.view.kind = "tree";
    return p;
  }
  outcome<std::string> top = top_of(words.path);
  if (!top) return failure{top.error()};
  outcome<std::uint64_t> id = id_of(is_user ? words.user : words.group, is_user);
  if (!id) return failure{id.error()};
  p.path = *top;
  p.view.kind = is_user ? "user" : "group";
  p.view.id = *id;
  p.attribute = "system.tangelo.quota." + p.view.kind + "." + std::to_string(*id);
  add_name(p.view);
  return p;
}

problem refused(const place& p, int error) {
  const bool is_tree = p.view.kind == "tree";
  switch (error) {
    case ENODATA:
      return failed(p.path + (is_tree ? ": is in no tree with a quota" : ": no such limit is set"),
                    is_tree ? "tangelo quota set " + p.path + " --bytes 10G makes it one" : "");
    case EOPNOTSUPP:
    case EINVAL:
      if (error == EINVAL && is_tree)
        return failed(p.path + ": cannot be the top of a tree",
                      "it must be a directory, and neither below nor above another one with a "
                      "quota: see tangelo quota list");
      return failed(p.path + ": no quotas there",
                    "is it on a mounted Tangelo volume, and its server new enough?");
    case EPERM:
      return failed(p.path + ": this needs root, also as the server sees it (no squash)",
                    "everybody may read what is his: his user, his groups, a directory's tree");
    case EROFS: return failed(p.path + ": the volume is exported read-only", {});
    default: return failed(p.path + ": " + std::strerror(error), {});
  }
}

outcome<std::string> read_value(const place& p) {
  std::string value(value_size_max, '\0');
  ssize_t n = -1;
  for (int i = 0; i < try_count_max && n < 0; ++i) {
    n = ::getxattr(p.path.c_str(), p.attribute.c_str(), value.data(), value.size());
    if (n < 0 && errno != ERANGE) break;
  }
  if (n < 0) return failure{refused(p, errno)};
  value.resize(static_cast<std::size_t>(n));
  return value;
}

problem not_understood(const place& p) {
  return problem{exit_code::version, p.path + ": an answer that makes no sense",
                 "the server is newer than this tangelo: install the newer one"};
}

outcome<quota_view> read_quota(const place& p) {
  outcome<std::string> value = read_value(p);
  if (!value) return failure{value.error()};
  std::optional<quota_view> q = parse_quota(*value);
  if (!q) return failure{not_understood(p)};
  q->kind = p.view.kind, q->name = p.view.name, q->id = p.view.id;
  if (q->kind != "tree") return *q;
  struct stat st{};
  if (::stat(p.path.c_str(), &st) == 0 && st.st_ino == q->root) q->name = p.path;
  return *q;
}

outcome<void> show(const quota_arguments& words, const place& p) {
  const outcome<quota_view> q = read_quota(p);
  if (!q) return failure{q.error()};
  std::fputs((words.json ? quota_json(*q) : quota_line(*q)).c_str(), stdout);
  return {};
}

outcome<void> set(const quota_arguments& words, const place& p) {
  std::string value;
  if (!words.bytes.empty()) {
    const std::optional<std::uint64_t> n = parse_size(words.bytes);
    if (!n)
      return failure{problem{exit_code::usage, "'" + words.bytes + "': no size",
                             "for example 500M, 1.5T, a number of bytes, or none"}};
    value = "bytes=" + std::to_string(*n);
  }
  if (!words.inodes.empty()) {
    const std::optional<std::uint64_t> n = parse_size(words.inodes);
    if (!n)
      return failure{problem{exit_code::usage, "'" + words.inodes + "': no number of inodes",
                             "for example 100000, 100K, or none"}};
    value += (value.empty() ? "inodes=" : " inodes=") + std::to_string(*n);
  }
  if (value.empty())
    return failure{problem{exit_code::usage, "nothing to set",
                           "give --bytes, --inodes or both; see tangelo quota set --help"}};
  if (::setxattr(p.path.c_str(), p.attribute.c_str(), value.data(), value.size(), 0) != 0)
    return failure{refused(p, errno)};
  return show(words, p);
}

outcome<void> clear(const quota_arguments& words, const place& p) {
  if (::removexattr(p.path.c_str(), p.attribute.c_str()) != 0) return failure{refused(p, errno)};
  if (!words.json) return {};
  json_text j;
  j.open_object().key("kind").text(p.view.kind).key("done").text("no limit any more");
  std::fputs((j.close_object().str() + "\n").c_str(), stdout);
  return {};
}

outcome<void> list(const quota_arguments& words) {
  outcome<std::string> top = top_of(words.path);
  if (!top) return failure{top.error()};
  place p{*top, "system.tangelo.quotas", {}};
  std::vector<quota_view> all;
  for (;;) {
    outcome<std::string> value = read_value(p);
    if (!value) return failure{value.error()};
    std::optional<std::vector<quota_view>> some = parse_quota_list(*value);
    if (!some) return failure{not_understood(p)};
    if (some->empty()) break;
    for (quota_view& q : *some) {
      add_name(q);
      all.push_back(std::move(q));
    }
    p.attribute = "system.tangelo.quotas." + all.back().kind + "." + std::to_string(all.back().id);
  }
  std::fputs((words.json ? quota_list_json(all) : quota_table_text(all)).c_str(), stdout);
  return {};
}

}  // namespace

outcome<void> run_quota(const quota_arguments& words) {
  if (words.what == quota_arguments::verb::list) return list(words);
  const outcome<place> p = place_of(words);
  if (!p) return failure{p.error()};
  switch (words.what) {
    case quota_arguments::verb::show: return show(words, *p);
    case quota_arguments::verb::set: return set(words, *p);
    case quota_arguments::verb::clear: return clear(words, *p);
    case quota_arguments::verb::list: break;
  }
  return {};
}

}  // namespace tangelo
