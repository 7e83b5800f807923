// SPDX-License-Identifier: LGPL-2.1-or-later
// Pages, completions and help say the same, both ways.
#include <gtest/gtest.h>

extern "C" {
#include "exit.h"
#include "names.h"
#include "options.h"
#include "virtdisk-error.h"
}

#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>

namespace
{

using Words = std::set<std::string>;

std::string read_source(const std::string &path)
{
  std::ifstream file(std::string(VD_SOURCE_ROOT "/") + path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_GT(text.str().size(), 0u) << path;
  return text.str();
}

// The groups of every match.
std::vector<std::vector<std::string>> match_all(const std::string &text, const char *pattern)
{
  g_autoptr(GRegex) expression = g_regex_new(pattern, G_REGEX_DEFAULT, G_REGEX_MATCH_DEFAULT, NULL);
  g_autoptr(GMatchInfo) match = NULL;
  std::vector<std::vector<std::string>> all;
  g_regex_match(expression, text.c_str(), G_REGEX_MATCH_DEFAULT, &match);
  for (; g_match_info_matches(match); g_match_info_next(match, NULL)) {
    g_auto(GStrv) groups = g_match_info_fetch_all(match);
    all.emplace_back(groups, groups + g_strv_length(groups));
  }
  return all;
}

Words find_all(const std::string &text, const char *pattern)
{
  Words words;
  for (const auto &groups : match_all(text, pattern))
    words.insert(groups[1]);
  return words;
}

std::string replace_all(const std::string &text, const char *pattern, const char *replacement)
{
  g_autoptr(GRegex) expression = g_regex_new(pattern, G_REGEX_DEFAULT, G_REGEX_MATCH_DEFAULT, NULL);
  g_autofree char *replaced =
      g_regex_replace(expression, text.c_str(), -1, 0, replacement, G_REGEX_MATCH_DEFAULT, NULL);
  return replaced;
}

// What lies behind begin, up to end.
std::string between(const std::string &text, const std::string &begin, const std::string &end)
{
  size_t at = text.find(begin);
  if (at == std::string::npos)
    return "";
  at += begin.size();
  size_t stop = text.find(end, at);
  return text.substr(at, stop == std::string::npos ? stop : stop - at);
}

const Words COMMON = {"--help", "--version", "--quiet", "--json", "--no-ask-password", "-h", "-q"};

Words without_common(Words words)
{
  for (const std::string &word : COMMON)
    words.erase(word);
  return words;
}

Words only_long(const Words &words)
{
  Words result;
  for (const std::string &word : words)
    if (word.compare(0, 2, "--") == 0)
      result.insert(word);
  return result;
}

Words options_in_help(const VdVerb *verb)
{
  g_autofree char *help = vd_options_get_help(verb);
  Words words = find_all(help, "\n  (?:-[a-z], )?(--[a-z-]+)");
  for (const std::string &word : find_all(help, "\n  (-[a-z]), "))
    words.insert(word);
  for (const std::string &word : COMMON)
    EXPECT_TRUE(words.count(word)) << verb->name << " " << word;
  return without_common(words);
}

Words options_in_page(const std::string &section)
{
  Words words = find_all(section, "\n(?:\\*-[a-z]\\*, )?\\*(--[a-z-]+)\\*");
  for (const std::string &word : find_all(section, "\n\\*(-[a-z])\\*, "))
    words.insert(word);
  return words;
}

class Verb : public testing::TestWithParam<const VdVerb *>
{
};

TEST_P(Verb, HelpAndPageAgree)
{
  std::string page = read_source("data/man/virtdisk.1.scd");
  std::string section =
      between(between(page, "\n# VERBS\n", "\n# "), std::string("\n## ") + GetParam()->name + "\n", "\n## ");
  ASSERT_NE(section, "") << "the page has no section for the verb";
  EXPECT_EQ(options_in_help(GetParam()), options_in_page(section));
}

TEST_P(Verb, HelpAndPageNameTheSameArguments)
{
  std::string page = read_source("data/man/virtdisk.1.scd");
  std::string usage = std::string("*virtdisk* ") + GetParam()->name + " [_OPTION_...]";
  if (GetParam()->arguments != nullptr)
    usage += " " + replace_all(GetParam()->arguments, "([A-Z]+)", "_\\1_");
  EXPECT_NE(between(page, "# SYNOPSIS", "\n# ").find(usage), std::string::npos) << usage;
  EXPECT_NE(between(page, "# VERBS", "\n# ").find(usage + "\n"), std::string::npos) << usage;
}

TEST_P(Verb, HelpAndBashAgree)
{
  std::string script = read_source("data/completions/virtdisk.bash");
  std::string line = between(script, std::string("\n    ") + GetParam()->name + ") options='", "'");
  EXPECT_EQ(only_long(options_in_help(GetParam())), find_all(line, "(--[a-z-]+)"));
}

TEST_P(Verb, HelpAndZshAgree)
{
  std::string script = read_source("data/completions/_virtdisk");
  std::string section = between(script, std::string("\n    ") + GetParam()->name + ")\n", ";;");
  ASSERT_NE(section, "");
  // Options stand at the beginning of a quoted specification or in braces; those in brackets exclude others.
  std::string specs = replace_all(section, "'\\([^)]*\\)", "'");
  Words words = find_all(specs, "'(--[a-z-]+)=?\\[");
  for (const std::string &word : find_all(specs, "''\\{-[a-z],(--[a-z-]+)=?\\}"))
    words.insert(word);
  for (const std::string &word : find_all(specs, "''\\{(-[a-z]),"))
    words.insert(word);
  EXPECT_EQ(options_in_help(GetParam()), words);
}

std::vector<const VdVerb *> all_verbs()
{
  std::vector<const VdVerb *> verbs;
  for (const VdVerb *const *verb = vd_options_get_verbs(); *verb != nullptr; verb++)
    verbs.push_back(*verb);
  return verbs;
}
INSTANTIATE_TEST_SUITE_P(All, Verb, testing::ValuesIn(all_verbs()),
                         [](const testing::TestParamInfo<const VdVerb *> &info) {
                           return replace_all(info.param->name, "-", "_");
                         });

Words verb_names()
{
  Words names;
  for (const VdVerb *verb : all_verbs())
    names.insert(verb->name);
  return names;
}

TEST(Verbs, AreTheSameEverywhere)
{
  std::string page = read_source("data/man/virtdisk.1.scd");
  std::string bash = read_source("data/completions/virtdisk.bash");
  std::string zsh = read_source("data/completions/_virtdisk");
  EXPECT_EQ(find_all(between(page, "\n# VERBS\n", "\n# "), "\n## ([a-z-]+)\n"), verb_names());
  EXPECT_EQ(find_all(between(bash, "local verbs='", "'"), "([a-z-]+)"), verb_names());
  EXPECT_EQ(find_all(between(zsh, "verbs=(", "\n  )"), "'([a-z-]+):"), verb_names());
}

TEST(CommonOptions, AreTheSameEverywhere)
{
  std::string page = read_source("data/man/virtdisk.1.scd");
  std::string bash = read_source("data/completions/virtdisk.bash");
  std::string zsh = read_source("data/completions/_virtdisk");
  EXPECT_EQ(options_in_page(between(page, "\n# OPTIONS\n", "\n# ")), COMMON);
  EXPECT_EQ(find_all(between(bash, "local common='", "'"), "(--[a-z-]+)"), only_long(COMMON));
  EXPECT_EQ(find_all(between(zsh, "common=(", "\n  )"), "[',{](--[a-z-]+)[\\[}]"), only_long(COMMON));
}

TEST(ExitCodes, TableAndPageAgree)
{
  std::string section = between(read_source("data/man/virtdisk.1.scd"), "\n# EXIT STATUS\n", "\n# ");
  std::map<int, std::string> table, page;
  gsize n;
  const VdExitRow *rows = vd_exit_get_table(&n);
  for (gsize i = 0; i < n; i++)
    table[rows[i].code] = rows[i].meaning;
  for (const auto &i : match_all(section, "\\|  (\\d+)\n:  ([^\n]*)")) {
    int code = std::stoi(i[1]);
    std::string meaning = i[2];
    page[code] = meaning.substr(0, table[code].size());
  }
  EXPECT_EQ(table, page);
}

std::string errno_name(int number)
{
  return strerrorname_np(number);
}

TEST(InterfacePage, HasEveryErrorWithItsNumbers)
{
  std::string section = between(read_source("data/man/org.virtdisk1.5.scd"), "\n# ERRORS\n", "\n# ");
  Words expected;
  for (int i = 0; i < VIRTDISK_N_ERRORS; i++) {
    auto code = static_cast<VirtdiskError>(i);
    guint32 win32 = virtdisk_error_to_win32(code);
    g_autofree char *number =
        win32 < 0x10000 ? g_strdup_printf("%u", win32) : g_strdup_printf("0x%08X", win32);
    expected.insert(std::string("*") + (virtdisk_error_to_dbus_name(code) + strlen(VD_ERROR_PREFIX)) + "* (" +
                    number + ", " + errno_name(virtdisk_error_to_errno(code)) + ")");
  }
  EXPECT_EQ(find_all(section, "\n(\\*[A-Za-z0-9]+\\* \\([^)]*\\))\n"), expected);
}

TEST(InterfacePage, HasEveryAction)
{
  std::string section = between(read_source("data/man/org.virtdisk1.5.scd"), "\n# AUTHORIZATION\n", "\n# ");
  EXPECT_EQ(find_all(section, "\n\\*(org\\.virtdisk1\\.[a-z-]+)\\*"),
            find_all(read_source("client/protocol/names.h"), "\"(org\\.virtdisk1\\.[a-z]+-[a-z-]+)\""));
}

// One interface: methods in the page with the arguments of the XML, properties with their types, keys of
// options.
void compare_interface(const std::string &name)
{
  std::string xml = read_source("data/dbus/org.virtdisk1.xml");
  std::string page = read_source("data/man/org.virtdisk1.5.scd");
  std::string upper = name;
  for (char &c : upper)
    c = static_cast<char>(toupper(c));
  std::string declared = between(xml, "<interface name=\"org.virtdisk1." + name + "\">", "</interface>");
  std::string section = between(page, "\n# ORG.VIRTDISK1." + upper + "\n", "\n# ");
  EXPECT_EQ(find_all(section, "\n\\*([A-Za-z]+)\\*\\("), find_all(declared, "<method name=\"([A-Za-z]+)\">"));
  Words in_page = find_all(section, "\n\\*([A-Za-z]+\\* [a-z{}]+)\n\t");
  for (const std::string &word : find_all(section, "\nProperty \\*([A-Za-z]+\\* [a-z]+):"))
    in_page.insert(word);
  Words in_xml;
  for (const auto &i : match_all(declared, "<property name=\"([A-Za-z]+)\" type=\"([^\"]+)\""))
    in_xml.insert(i[1] + "* " + i[2]);
  EXPECT_EQ(in_page, in_xml);
  // Keys are written "key-name t" in the comments of the XML and "_key-name_ t" in the page.
  Words keys = find_all(declared, "[ :]([a-z]+(?:-[a-z]+)+) (?:[bust])[ ,.(\n]");
  for (const std::string &key : keys)
    EXPECT_NE(section.find("_" + key + "_"), std::string::npos) << name << " " << key;
}

TEST(InterfacePage, HasTheManager)
{
  compare_interface("Manager");
}

TEST(InterfacePage, HasTheHandle)
{
  compare_interface("Handle");
}

TEST(InterfacePage, HasTheJob)
{
  compare_interface("Job");
}

TEST(InterfacePage, HasTheDisk)
{
  compare_interface("Disk");
}

// Numbers of enumerations: NAME in the page with the value of virtdisk-enums.h.
TEST(InterfacePage, HasEveryFlag)
{
  std::string header = read_source("client/include/virtdisk-enums.h");
  std::string section = between(read_source("data/man/org.virtdisk1.5.scd"), "\n# NUMBERS\n", "\n# ");
  int n = 0;
  for (const auto &i :
       match_all(header, "VIRTDISK_(OPEN|CREATE|ATTACH|DEPENDENCY|DEPENDENT|INFO|ACCESS|DEVICE)_([A-"
                         "Z0-9_]+) = (0x[0-9a-f]+|\\d+)")) {
    std::string name = i[2];
    unsigned long value = std::stoul(i[3], nullptr, 0);
    if (name == "ALL_FLAGS" || (name == "NONE" && value == 0))
      continue;
    std::stringstream hex;
    hex << name << " 0x" << std::hex << value;
    bool found = section.find(hex.str()) != std::string::npos ||
                 section.find(name + " " + std::to_string(value)) != std::string::npos;
    EXPECT_TRUE(found) << hex.str();
    n++;
  }
  EXPECT_GT(n, 60);
}

} // namespace
