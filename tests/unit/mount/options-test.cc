// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

extern "C" {
#include "exit.h"
#include "mount/options.h"
}

#include <string>

namespace
{

// What is left for the file system, or the error.
std::string rest(const char *text)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(VdMountOptions) options = vd_mount_options_parse(text, &error);
  return options != NULL ? options->rest : std::string("error: ") + error->message;
}

TEST(MountOptions, WhatFstabAloneKnowsIsSwallowed)
{
  EXPECT_EQ(rest(NULL), "rw");
  EXPECT_EQ(rest("defaults"), "rw");
  EXPECT_EQ(rest("rw,nofail,noauto,auto,_netdev,comment=x,comment,nouser,x-systemd.requires=a.service,X-"
                 "mount.mkdir"),
            "rw");
  EXPECT_EQ(rest("noatime,,uid=5,nofail,errors=remount-ro,"), "rw,noatime,uid=5,errors=remount-ro");
  EXPECT_EQ(rest("helper=other,uhelper=other,sync"), "rw,sync");
}

TEST(MountOptions, ACommaInQuotesIsNone)
{
  EXPECT_EQ(rest("context=\"a:b:c0,c1\",noatime"), "rw,context=\"a:b:c0,c1\",noatime");
}

TEST(MountOptions, WhatOthersImplyStandsBeforeWhatTakesItBack)
{
  EXPECT_EQ(rest("user,exec"), "rw,nosuid,nodev,noexec,exec");
  EXPECT_EQ(rest("user=somebody"), "rw,nosuid,nodev,noexec");
  EXPECT_EQ(rest("owner"), "rw,nosuid,nodev");
}

TEST(MountOptions, OursAreTaken)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(VdMountOptions) options = vd_mount_options_parse(
      "rw,partition=3,fstype=ext4,route=fuse,format=vhd,sector-size=4096,cached-io,nofail,noatime", &error);
  ASSERT_NE(options, nullptr) << error->message;
  EXPECT_STREQ(options->partition, "3");
  EXPECT_STREQ(options->fstype, "ext4");
  EXPECT_STREQ(options->route, "fuse");
  EXPECT_EQ(options->device_id, VIRTDISK_DEVICE_VHD);
  EXPECT_EQ(options->sector_size, 4096u);
  EXPECT_TRUE(options->cached);
  EXPECT_TRUE(options->nofail);
  EXPECT_STREQ(options->rest, "rw,noatime");
}

TEST(MountOptions, ReadOnly)
{
  EXPECT_EQ(rest("ro,rw"), "rw");
  EXPECT_EQ(rest("rw,ro"), "ro");
  // mount(8) says rw where nobody did.
  EXPECT_EQ(rest("rw,access=ro"), "ro");
  EXPECT_EQ(rest("ro,access=rw"), "ro");
}

TEST(MountOptions, BadValuesAreNamed)
{
  for (const char *text :
       {"access=w", "access=", "partition=", "partition=x", "partition=-1", "partition=LABEL=", "route=nbd",
        "format=vdi", "sector-size=513", "sector-size=", "sector-size=8192"})
    EXPECT_EQ(rest(text).substr(0, 6), "error:") << text;
}

constexpr const char *TWO =
    "[{'partition': <uint32 1>, 'usage': <'filesystem'>, 'type': <'vfat'>, 'label': <'EFI'>, 'uuid': "
    "<'12AB-34CD'>,"
    "  'device': <'/dev/loop3p1'>, 'part-name': <'boot'>},"
    " {'partition': <uint32 2>, 'usage': <'filesystem'>, 'type': <'ext4'>, 'label': <'DATA'>, 'device': "
    "<'/dev/loop3p2'>, 'part-name': <'boot'>, 'part-uuid': <'0b9f1d54-6f0a-4d1e-8c55-010203040506'>}]";

// The node, or "error".
std::string choose(const char *partition)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(GVariant) value = g_variant_parse(G_VARIANT_TYPE("aa{sv}"), TWO, NULL, NULL, &error);
  g_autofree char *node = vd_mount_choose(value, "/dev/loop3", partition, &error);
  return node != NULL ? node : "error";
}

TEST(MountOptions, APartitionByNumberAndByWhatItIsCalled)
{
  EXPECT_EQ(choose("2"), "/dev/loop3p2");
  EXPECT_EQ(choose("LABEL=EFI"), "/dev/loop3p1");
  EXPECT_EQ(choose("UUID=12ab-34cd"), "/dev/loop3p1");
  EXPECT_EQ(choose("PARTUUID=0B9F1D54-6F0A-4D1E-8C55-010203040506"), "/dev/loop3p2");
}

TEST(MountOptions, WhatIsNotThereOrNotClearIsRefused)
{
  EXPECT_EQ(choose(NULL), "error");
  EXPECT_EQ(choose("3"), "error");
  EXPECT_EQ(choose("LABEL=efi"), "error");
  EXPECT_EQ(choose("PARTLABEL=boot"), "error");
}

} // namespace
