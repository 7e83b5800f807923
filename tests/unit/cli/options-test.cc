// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

extern "C" {
#include "attach.h"
#include "exit.h"
#include "options.h"
}

#include <algorithm>
#include <string>
#include <vector>

namespace
{

struct Result {
  VdCli cli = {};
  VdCommand command = {};
  GError *error = nullptr;
  bool ok = false;
  ~Result()
  {
    vd_command_clear(&command);
    g_clear_error(&error);
  }
};

void parse(Result &result, std::vector<const char *> argv)
{
  argv.insert(argv.begin(), "virtdisk");
  argv.push_back(nullptr);
  result.ok = vd_options_parse(&result.cli, argv.data(), &result.command, &result.error);
}

TEST(Options, CommonOnesStandBeforeAndBehindTheVerb)
{
  for (std::vector<const char *> argv : {std::vector<const char *>{"--json", "list"}, {"list", "--json"}}) {
    Result r;
    parse(r, argv);
    ASSERT_TRUE(r.ok) << r.error->message;
    EXPECT_EQ(r.command.verb, &vd_verb_list);
    EXPECT_TRUE(r.cli.json);
    EXPECT_FALSE(r.cli.quiet);
  }
}

TEST(Options, ArgumentsKeepTheirBytes)
{
  Result r;
  parse(r, {"detach", "-q", "--no-ask-password", "--", "-\xff\xfe.img"});
  ASSERT_TRUE(r.ok) << r.error->message;
  EXPECT_EQ(r.command.result, VD_OPTIONS_RUN);
  EXPECT_STREQ(r.command.arguments[0], "-\xff\xfe.img");
  EXPECT_EQ(r.command.arguments[1], nullptr);
  EXPECT_TRUE(r.cli.quiet);
  EXPECT_TRUE(r.cli.no_ask_password);
}

TEST(Options, HelpAndVersionNeedNoArguments)
{
  for (const VdVerb *const *verb = vd_options_get_verbs(); *verb != nullptr; verb++) {
    Result help, version;
    parse(help, {(*verb)->name, "--help"});
    EXPECT_TRUE(help.ok);
    EXPECT_EQ(help.command.result, VD_OPTIONS_HELP);
    EXPECT_EQ(help.command.verb, *verb);
    parse(version, {(*verb)->name, "--version"});
    EXPECT_TRUE(version.ok);
    EXPECT_EQ(version.command.result, VD_OPTIONS_VERSION);
  }
}

class Usage : public testing::TestWithParam<std::vector<const char *>>
{
};

TEST_P(Usage, IsRefusedWithExitCode2)
{
  Result r;
  parse(r, GetParam());
  ASSERT_FALSE(r.ok);
  EXPECT_EQ(vd_exit_from_error(r.error), VD_EXIT_USAGE) << r.error->message;
}
INSTANTIATE_TEST_SUITE_P(All, Usage,
                         testing::Values(std::vector<const char *>{}, std::vector<const char *>{"nosuch"},
                                         std::vector<const char *>{"--nosuch", "list"},
                                         std::vector<const char *>{"list", "--nosuch"},
                                         std::vector<const char *>{"list", "x"},
                                         std::vector<const char *>{"attach"},
                                         std::vector<const char *>{"attach", "a", "b"},
                                         std::vector<const char *>{"attach", ""},
                                         std::vector<const char *>{"detach", "a", "--read-only"},
                                         std::vector<const char *>{"attach", "a", "--sector-size=x"},
                                         std::vector<const char *>{"mount", "a", "b", "c"}));

std::string parameters_of(const VdAttachOptions &options, std::string *ret_error = nullptr)
{
  VdAttachRange range;
  g_autoptr(GError) error = NULL;
  if (vd_attach_parse_range(&options, &range, &error)) {
    g_autoptr(VirtdiskAttachParameters) parameters = vd_attach_make_parameters(&options, &range, &error);
    if (parameters != NULL) {
      g_autoptr(GVariant) value = g_variant_ref_sink(virtdisk_attach_parameters_to_variant(parameters));
      std::string text;
      std::vector<std::string> keys;
      GVariantIter iter;
      const char *key;
      GVariant *child;
      g_variant_iter_init(&iter, value);
      while (g_variant_iter_next(&iter, "{&sv}", &key, &child)) {
        g_autofree char *printed = g_variant_print(child, FALSE);
        keys.push_back(std::string(key) + "=" + printed);
        g_variant_unref(child);
      }
      std::sort(keys.begin(), keys.end());
      for (const std::string &each : keys)
        text += (text.empty() ? "" : " ") + each;
      return text;
    }
  }
  if (ret_error != nullptr)
    *ret_error = error->message;
  EXPECT_EQ(vd_exit_from_error(error), VD_EXIT_USAGE);
  return "refused";
}

TEST(Attach, SaysNothingThatWasNotAsked)
{
  EXPECT_EQ(parameters_of({}), "");
}

TEST(Attach, SaysWhatWasAsked)
{
  VdAttachOptions o = {};
  o.read_only = TRUE;
  o.detach_on_unmount = TRUE;
  o.no_automount = TRUE;
  o.lifetime = (char *)"boot";
  o.format = (char *)"vhd";
  o.sector_size = 4096;
  o.scan = VD_SCAN_NO;
  o.owner = (char *)"12";
  o.group = (char *)"13";
  o.mode = (char *)"0640";
  o.offset = (char *)"1M";
  o.size = (char *)"2M";
  EXPECT_EQ(parameters_of(o),
            "detach-on-unmount=true device-id=2 flags=130 lifetime='boot' mode=416 owner-gid=13 "
            "owner-uid=12 partition-scan=false read-only=true restricted-length=2097152 "
            "restricted-offset=1048576 sector-size=4096 "
            "vendor-id='ec984aec-a0f9-47e9-901f-71415a66345b'");
}

TEST(Attach, RangeWithoutSizeIsLeftToTheImage)
{
  VdAttachOptions o = {};
  VdAttachRange range;
  o.offset = (char *)"4K";
  ASSERT_TRUE(vd_attach_parse_range(&o, &range, NULL));
  EXPECT_TRUE(range.given);
  EXPECT_TRUE(range.to_the_end);
  EXPECT_EQ(range.offset, 4096u);
  EXPECT_EQ(parameters_of(o), "flags=128");
}

TEST(Attach, RefusesValuesItDoesNotKnow)
{
  std::string error;
  VdAttachOptions o = {};
  o.lifetime = (char *)"handle";
  EXPECT_EQ(parameters_of(o, &error), "refused");
  EXPECT_NE(error.find("--lifetime"), std::string::npos);
  o = {};
  o.sector_size = 513;
  EXPECT_EQ(parameters_of(o), "refused");
  o = {};
  o.offset = (char *)"-1";
  EXPECT_EQ(parameters_of(o), "refused");
}

} // namespace
