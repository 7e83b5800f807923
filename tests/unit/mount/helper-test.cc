// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

extern "C" {
#include "mount/helper.h"
}

#include <string>
#include <vector>

namespace
{

// "IMAGE DIR -flags -o OPTIONS -t TYPE -N SPACE", or "error".
std::string parse(std::vector<const char *> arguments, const char *letters = "sfnv", guint names = 2)
{
  g_auto(VdHelperLine) line = {};
  g_autoptr(GError) error = NULL;
  arguments.push_back(nullptr);
  if (!vd_helper_parse(const_cast<char **>(arguments.data()), letters, names, &line, &error)) {
    EXPECT_NE(error, nullptr);
    return "error";
  }
  std::string text = line.names[0];
  if (names == 2)
    text += std::string(" ") + line.names[1];
  if (line.flags->len > 0)
    text += std::string(" -") + line.flags->str;
  for (auto [letter, value] :
       {std::pair('o', line.options), std::pair('t', line.type), std::pair('N', line.name_space)})
    if (value != NULL)
      text += std::string(" -") + letter + " " + value;
  return text;
}

TEST(MountHelper, TheCallsOfMount8)
{
  EXPECT_EQ(parse({"a.vhdx", "/mnt", "-o", "rw,noatime"}), "a.vhdx /mnt -o rw,noatime");
  EXPECT_EQ(parse({"a.vhdx", "/mnt", "-v", "-n", "-s", "-o", "ro", "-t", "virtdisk.ext4"}),
            "a.vhdx /mnt -vns -o ro -t virtdisk.ext4");
  EXPECT_EQ(parse({"-svo", "ro", "a.vhdx", "/mnt", "-N", "/proc/1/ns/mnt"}),
            "a.vhdx /mnt -sv -o ro -N /proc/1/ns/mnt");
  EXPECT_EQ(parse({"a.vhdx", "/mnt", "-oro", "-vv"}), "a.vhdx /mnt -v -o ro");
  EXPECT_EQ(parse({"-f", "--", "-a.vhdx", "/mnt"}), "-a.vhdx /mnt -f");
}

TEST(MountHelper, TheCallsOfUmount8)
{
  EXPECT_EQ(parse({"/mnt", "-f", "-l", "-t", "virtdisk"}, "fclnrv", 1), "/mnt -fl -t virtdisk");
}

TEST(MountHelper, WhatIsNotUnderstood)
{
  EXPECT_EQ(parse({}), "error");
  EXPECT_EQ(parse({"a.vhdx"}), "error");
  EXPECT_EQ(parse({"a.vhdx", "/mnt", "more"}), "error");
  EXPECT_EQ(parse({"a.vhdx", "/mnt", "-x"}), "error");
  EXPECT_EQ(parse({"a.vhdx", "/mnt", "-"}), "error");
  EXPECT_EQ(parse({"a.vhdx", "/mnt", "-o"}), "error");
  EXPECT_EQ(parse({"a.vhdx", "/mnt", "--read-only"}), "error");
  EXPECT_EQ(parse({"/mnt", "-s"}, "fclnrv", 1), "error");
}

} // namespace
