// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include "tree.h"

extern "C" {
#include "attach/hints.h"
#include "util/identity.h"
#include "virtdisk-error.h"
}

namespace
{

class Hints : public testing::Test
{
protected:
  void SetUp() override
  {
    rundir = tree.At("run").string();
    spec.tag = "ab12";
    spec.rundir = rundir.c_str();
    spec.uid = VD_UID_INVALID;
  }
  Tree tree;
  std::string rundir;
  VdAttachSpec spec = {};
};

TEST_F(Hints, UdevSeesNothingBeforeTheNumberIsKnown)
{
  ASSERT_TRUE(vd_hints_prepare(&spec, "loop3", nullptr));
  EXPECT_TRUE(tree.Has("run/udev/.loop3"));
  ASSERT_TRUE(vd_hints_publish(spec.rundir, "loop3", 27, nullptr));
  EXPECT_FALSE(tree.Has("run/udev/.loop3"));
  EXPECT_EQ(tree.Read("run/udev/loop3.27"), "VIRTDISK_TAG=\"ab12\"\n");
}

TEST_F(Hints, OwnerIsWrittenAndReadBack)
{
  uid_t uid;
  gid_t gid;
  mode_t mode;

  spec.uid = 1000;
  spec.gid = 1001;
  spec.mode = 0640;
  ASSERT_TRUE(vd_hints_prepare(&spec, "loop3", nullptr));
  ASSERT_TRUE(vd_hints_publish(spec.rundir, "loop3", 27, nullptr));
  EXPECT_NE(tree.Read("run/udev/loop3.27").find("VIRTDISK_MODE=\"0640\"\n"), std::string::npos);
  ASSERT_TRUE(vd_hints_read_owner(spec.rundir, "loop3", 27, &uid, &gid, &mode));
  EXPECT_EQ(uid, 1000u);
  EXPECT_EQ(gid, 1001u);
  EXPECT_EQ(mode, 0640u);
  EXPECT_FALSE(vd_hints_read_owner(spec.rundir, "loop3", 28, &uid, &gid, &mode));
}

TEST_F(Hints, FileWithoutOwnerHasNone)
{
  uid_t uid;
  gid_t gid;
  mode_t mode;

  ASSERT_TRUE(vd_hints_prepare(&spec, "loop3", nullptr));
  ASSERT_TRUE(vd_hints_publish(spec.rundir, "loop3", 27, nullptr));
  EXPECT_FALSE(vd_hints_read_owner(spec.rundir, "loop3", 27, &uid, &gid, &mode));
}

TEST_F(Hints, ValueCannotMakeALineOfItsOwn)
{
  const char *env[] = {"UDISKS_NAME=my \"disk\"\nVIRTDISK_UID=0", "UDISKS_AUTO=1", nullptr};

  spec.udev_env = env;
  ASSERT_TRUE(vd_hints_prepare(&spec, "loop3", nullptr));
  EXPECT_EQ(tree.Read("run/udev/.loop3"),
            "VIRTDISK_TAG=\"ab12\"\nUDISKS_NAME=\"my \"disk\"_VIRTDISK_UID=0\"\nUDISKS_AUTO=\"1\"\n");
}

class HintsBadProperty : public Hints, public testing::WithParamInterface<const char *>
{
};

TEST_P(HintsBadProperty, IsRefused)
{
  const char *env[] = {GetParam(), nullptr};
  GError *error = nullptr;

  spec.udev_env = env;
  EXPECT_FALSE(vd_hints_prepare(&spec, "loop3", &error));
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL));
  EXPECT_FALSE(tree.Has("run/udev/.loop3"));
  g_clear_error(&error);
}

INSTANTIATE_TEST_SUITE_P(Lines, HintsBadProperty,
                         testing::Values("", "=x", "UDISKS_NAME", "A B=1", "1A=1", "lower=1", "A\nB=1"));

TEST_F(Hints, HiddenAndShownAgain)
{
  ASSERT_TRUE(vd_hints_prepare(&spec, "loop3", nullptr));
  ASSERT_TRUE(vd_hints_publish(spec.rundir, "loop3", 27, nullptr));
  vd_hints_hide(spec.rundir, "loop3", 27);
  EXPECT_FALSE(tree.Has("run/udev/loop3.27"));
  ASSERT_TRUE(vd_hints_publish(spec.rundir, "loop3", 27, nullptr));
  EXPECT_TRUE(tree.Has("run/udev/loop3.27"));
  vd_hints_remove(spec.rundir, "loop3", 27);
  EXPECT_TRUE(std::filesystem::is_empty(tree.At("run/udev")));
}

TEST_F(Hints, SweepKeepsTheLive)
{
  const char *const live[] = {"loop3.27"};
  GPtrArray *names = g_ptr_array_new();

  g_ptr_array_add(names, const_cast<char *>(live[0]));
  for (const char *file : {"run/udev/loop3.27", "run/udev/loop3.26", "run/udev/loop4.27", "run/udev/.loop3"})
    tree.File(file, "VIRTDISK_TAG=\"ab12\"\n");
  vd_hints_sweep(spec.rundir, names, nullptr);
  g_ptr_array_unref(names);
  EXPECT_TRUE(tree.Has("run/udev/loop3.27"));
  EXPECT_FALSE(tree.Has("run/udev/loop3.26"));
  EXPECT_FALSE(tree.Has("run/udev/loop4.27"));
  EXPECT_FALSE(tree.Has("run/udev/.loop3"));
}

TEST_F(Hints, DirectoryThatCannotBeMadeIsAnError)
{
  GError *error = nullptr;

  tree.File("run", "a file");
  EXPECT_FALSE(vd_hints_prepare(&spec, "loop3", &error));
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO));
  g_clear_error(&error);
}

} // namespace
