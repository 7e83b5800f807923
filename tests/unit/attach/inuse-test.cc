// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tree.h"

extern "C" {
#include "attach/inuse.h"
}

namespace
{

using Holders = std::unique_ptr<GPtrArray, decltype(&g_ptr_array_unref)>;

// loop3 with one partition, and nobody who holds it.
class Inuse : public testing::Test
{
protected:
  void SetUp() override
  {
    sys.File("block/loop3/dev", "7:3\n");
    sys.Directory("block/loop3/holders");
    sys.File("block/loop3/loop/backing_file", "/home/a/disk.vhd\n");
    sys.File("block/loop3/loop3p1/dev", "259:1\n");
    sys.File("block/loop3/loop3p1/partition", "1\n");
    sys.Directory("block/loop3/loop3p1/holders");
    sys.File("block/loop30/dev", "7:30\n");
    proc.Link("self/ns/mnt", "mnt:[1]");
    proc.File("self/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n");
    proc.File("swaps", "Filename\tType\tSize\tUsed\tPriority\n");
  }
  void Process(const std::string &pid, const std::string &comm, const std::string &ns = "mnt:[1]")
  {
    proc.File(pid + "/comm", comm + "\n");
    proc.Link(pid + "/ns/mnt", ns);
    proc.Directory(pid + "/fd");
    proc.File(pid + "/maps", "");
  }
  Holders Find()
  {
    return Holders(vd_inuse_find("loop3", proc.At("").c_str(), sys.At("").c_str()), g_ptr_array_unref);
  }
  static std::string Describe(const Holders &holders)
  {
    char *text = vd_inuse_describe(holders.get());
    std::string copy(text);

    g_free(text);
    return copy;
  }
  Tree proc, sys;
};

TEST_F(Inuse, NobodyHoldsAnIdleDevice)
{
  Process("10", "bash");
  proc.Link("10/fd/0", "/dev/null");
  proc.Link("10/fd/1", "/dev/loop30");
  proc.Link("10/fd/2", "socket:[77]");

  EXPECT_EQ(Describe(Find()), "");
}

TEST_F(Inuse, UnknownDeviceHasNoHolders)
{
  Holders none(vd_inuse_find("loop9", proc.At("").c_str(), sys.At("").c_str()), g_ptr_array_unref);

  EXPECT_EQ(none->len, 0u);
}

TEST_F(Inuse, MountOfAPartitionAndWhoUsesIt)
{
  proc.File("self/mountinfo",
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 259:1 / /mnt/my\\040disk rw - ext4 /dev/loop3p1 rw\n");
  Process("10", "bash");
  proc.Link("10/cwd", "/mnt/my disk/docs");
  Process("11", "vim");
  proc.Link("11/fd/4", "/mnt/my disks/other");

  EXPECT_EQ(Describe(Find()),
            "/dev/loop3p1 is mounted on /mnt/my disk; /mnt/my disk is in use by bash (pid 10)");
}

TEST_F(Inuse, MountOfAnotherNamespaceIsFoundOnce)
{
  Process("20", "container", "mnt:[2]");
  Process("21", "container", "mnt:[2]");
  proc.File("20/mountinfo", "5 1 7:3 / /inside rw - ext4 /dev/loop3 rw\n");
  proc.File("21/mountinfo", "5 1 7:3 / /inside rw - ext4 /dev/loop3 rw\n");

  EXPECT_EQ(Describe(Find()), "/dev/loop3 is mounted on /inside");
}

TEST_F(Inuse, FileSystemWithANumberOfItsOwnIsKnownByItsSource)
{
  proc.File("self/mountinfo",
            "2 1 0:44 /@home /home rw - btrfs /dev/loop3p1 rw\n3 1 0:45 / /x rw - btrfs /dev/loop30 rw\n");

  EXPECT_EQ(Describe(Find()), "/dev/loop3p1 is mounted on /home");
}

TEST_F(Inuse, DeviceMapperIsNamed)
{
  sys.Directory("block/loop3/loop3p1/holders/dm-0");
  sys.File("block/dm-0/dm/name", "vg-lv\n");
  sys.Directory("block/loop3/holders/md0");

  EXPECT_EQ(Describe(Find()), "/dev/md0 is built on /dev/loop3; /dev/dm-0 (vg-lv) is built on /dev/loop3p1");
}

TEST_F(Inuse, LoopOnTheNodeAndLoopOnAFileOfOurs)
{
  proc.File("self/mountinfo", "2 1 7:3 / /mnt rw - ext4 /dev/loop3 rw\n");
  sys.File("block/loop5/loop/backing_file", "/dev/loop3p1\n");
  sys.File("block/loop6/loop/backing_file", "/mnt/inner.iso\n");
  sys.File("block/loop7/loop/backing_file", "/mntx/inner.iso\n");
  Holders found = Find();
  std::string text = Describe(found);

  EXPECT_EQ(found->len, 3u);
  EXPECT_NE(text.find("/dev/loop5 has its backing file on /dev/loop3p1"), std::string::npos) << text;
  EXPECT_NE(text.find("/dev/loop6 has its backing file on /dev/loop3"), std::string::npos) << text;
}

TEST_F(Inuse, Swap)
{
  proc.File(
      "swaps",
      "Filename\tType\tSize\tUsed\tPriority\n/dev/loop3p1 partition 1 0 -2\n/dev/loop30 partition 1 0 -2\n");

  EXPECT_EQ(Describe(Find()), "/dev/loop3p1 is used as swap space");
}

TEST_F(Inuse, ProcessWithTheNodeOpenButNotUdev)
{
  Process("30", "dd");
  proc.Link("30/fd/3", "/dev/loop3");
  proc.Link("30/fd/4", "/dev/loop3");
  Process("31", "(udev-worker)");
  proc.Link("31/fd/9", "/dev/loop3");
  Process("32", "systemd-udevd");
  proc.Link("32/fd/9", "/dev/loop3p1");

  EXPECT_EQ(Describe(Find()), "/dev/loop3 is open in dd (pid 30)");
}

TEST_F(Inuse, MappedFile)
{
  proc.File("self/mountinfo", "2 1 259:1 / /mnt rw - ext4 /dev/loop3p1 rw\n");
  Process("40", "server");
  proc.File("40/maps", "7f00-7f01 r-xp 00000000 103:01 12 /mnt/lib.so\n7f02-7f03 rw-p 00000000 00:00 0\n");

  EXPECT_EQ(Describe(Find()), "/dev/loop3p1 is mounted on /mnt; /mnt is in use by server (pid 40)");
}

TEST_F(Inuse, NoMoreHoldersThanAMessageCarries)
{
  for (int pid = 100; pid < 100 + 2 * VD_MAX_HOLDERS; pid++) {
    Process(std::to_string(pid), "cat");
    proc.Link(std::to_string(pid) + "/fd/3", "/dev/loop3");
  }

  EXPECT_EQ(Find()->len, static_cast<guint>(VD_MAX_HOLDERS));
}

TEST_F(Inuse, NamesCannotBreakAMessage)
{
  Process("50", "a\x1b[2J\nb\xff");
  proc.Link("50/fd/3", "/dev/loop3");
  std::string text = Describe(Find());

  EXPECT_TRUE(g_utf8_validate(text.c_str(), -1, nullptr));
  EXPECT_EQ(text.find('\n'), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

} // namespace
