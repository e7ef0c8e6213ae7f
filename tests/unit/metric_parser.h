// Reads the text format of Prometheus as strictly as it is described, and says all that is wrong.
#pragma once

#include <cctype>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

namespace tangelo {

struct parsed_metrics {
  std::map<std::string, std::string> types;   // by family
  std::map<std::string, double> samples;      // by what stands before the value
  std::string problems;
  double value(const std::string& series) const {
    const auto it = samples.find(series);
    return it == samples.end() ? -1 : it->second;
  }
};

inline bool is_metric_name(std::string_view name) {
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0])) != 0) return false;
  for (const char c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_' && c != ':') return false;
  return true;
}

// {a="b",c="d"}: false if it is anything else.
inline bool are_labels(std::string_view text) {
  if (text.empty()) return true;
  if (text.front() != '{' || text.back() != '}') return false;
  std::size_t at = 1;
  std::set<std::string> names;
  for (;;) {
    const std::size_t equals = text.find("=\"", at);
    if (equals == std::string_view::npos) return false;
    const std::string name(text.substr(at, equals - at));
    if (!is_metric_name(name) || name.find(':') != name.npos || !names.insert(name).second)
      return false;
    for (at = equals + 2; at < text.size() && text[at] != '"'; ++at) {
      if (static_cast<unsigned char>(text[at]) < 0x20) return false;
      if (text[at] != '\\') continue;
      ++at;
      if (at >= text.size() || (text[at] != '\\' && text[at] != '"' && text[at] != 'n'))
        return false;
    }
    if (++at >= text.size()) return false;
    if (text[at] == '}') return at + 1 == text.size();
    if (text[at++] != ',') return false;
  }
}

inline parsed_metrics parse_metrics(const std::string& text) {
  parsed_metrics m;
  const auto wrong = [&m](const std::string& line, const char* why) {
    m.problems += line + ": " + why + "\n";
  };
  if (!text.empty() && text.back() != '\n') wrong("the end", "no newline");
  std::string family, type;
  double below = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      type.clear();
      if (!is_metric_name(family)) wrong(line, "no name");
      if (m.types.contains(family)) wrong(line, "twice");
      continue;
    }
    if (line.starts_with("# TYPE ")) {
      const std::size_t end = line.find(' ', 7);
      type = end == line.npos ? "" : line.substr(end + 1);
      if (line.substr(7, end - 7) != family) wrong(line, "HELP is of another one");
      if (type != "counter" && type != "gauge" && type != "histogram") wrong(line, "no type");
      if ((type == "counter") != family.ends_with("_total")) wrong(line, "_total is for counters");
      m.types[family] = type;
      continue;
    }
    const std::size_t space = line.rfind(' ');
    if (space == line.npos) {
      wrong(line, "no value");
      continue;
    }
    const std::string series = line.substr(0, space);
    const std::string name = series.substr(0, series.find('{'));
    const std::string labels = series.substr(name.size());
    char* end = nullptr;
    const double value = std::strtod(line.c_str() + space + 1, &end);
    if (*end != 0 || end == line.c_str() + space + 1) wrong(line, "no number");
    if (!are_labels(labels)) wrong(line, "labels");
    const bool fits = type == "histogram" ? name == family + "_bucket" ||
                                                name == family + "_sum" || name == family + "_count"
                                          : !type.empty() && name == family;
    if (!fits) wrong(line, "not of the family above");
    if (!m.samples.emplace(series, value).second) wrong(line, "twice");
    if (type == "histogram" && name.ends_with("_bucket")) {
      if (labels.find("le=\"1.6e-05\"") != labels.npos) below = 0;
      if (value < below) wrong(line, "buckets do not grow");
      below = value;
    }
    if (type == "histogram" && name.ends_with("_count") && value != below)
      wrong(line, "count is not the last bucket");
  }
  return m;
}

// The names in the tables of docs/OPERATIONS.md that begin so: what people may rely on.
inline std::set<std::string> metrics_in_manual(const std::string& beginning) {
  std::ifstream file(TANGELO_OPERATIONS_MD);
  std::stringstream manual;
  manual << file.rdbuf();
  const std::string text = manual.str();
  const std::string row = "\n| `" + beginning;
  std::set<std::string> names;
  for (std::size_t at = text.find(row); at != text.npos; at = text.find(row, at + 1)) {
    const std::size_t begin = at + 4;
    const std::string name = text.substr(begin, text.find('`', begin) - begin);
    names.insert(name.substr(0, name.find('{')));
  }
  return names;
}

}  // namespace tangelo
