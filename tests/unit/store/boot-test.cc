// SPDX-License-Identifier: LGPL-2.1-or-later
#include <signal.h>
#include <sys/resource.h>

#include "store-folder.h"

extern "C" {
#include "store/boot.h"
#include "util/identity.h"
#include "virtdisk-error.h"
}

namespace
{

const char nasty[] = "/a b /\n[Boot]\r\t\\s\\\\x=\"%41;#\xff\xc3\x28 ä ";

VdBootRecord sample(const char *path = nasty)
{
  VdBootRecord record = {};

  record.path = const_cast<char *>(path);
  record.uid = 1001;
  record.device_id = 100;
  record.open_flags = 0xfff;
  record.attach_flags = 0x7ff;
  record.read_only = TRUE;
  record.detach_on_unmount = FALSE;
  record.ignore_parent_timestamp = TRUE;
  record.route = const_cast<char *>("fuse");
  record.zero_copy = FALSE;
  record.sector_size = 4096;
  record.partition_scan = -1;
  record.restricted_offset = G_MAXUINT64;
  record.restricted_length = 512;
  record.image_uid = 1001;
  record.node_uid = VD_UID_INVALID;
  record.node_gid = 44;
  record.node_mode = 0640;
  return record;
}

void expect_same(const VdBootRecord &a, const VdBootRecord &b)
{
  EXPECT_STREQ(a.path, b.path);
  EXPECT_EQ(a.uid, b.uid);
  EXPECT_EQ(a.device_id, b.device_id);
  EXPECT_EQ(a.open_flags, b.open_flags);
  EXPECT_EQ(a.attach_flags, b.attach_flags);
  EXPECT_EQ(a.read_only, b.read_only);
  EXPECT_EQ(a.detach_on_unmount, b.detach_on_unmount);
  EXPECT_EQ(a.ignore_parent_timestamp, b.ignore_parent_timestamp);
  EXPECT_STREQ(a.route, b.route);
  EXPECT_EQ(a.zero_copy, b.zero_copy);
  EXPECT_EQ(a.sector_size, b.sector_size);
  EXPECT_EQ(a.partition_scan, b.partition_scan);
  EXPECT_EQ(a.restricted_offset, b.restricted_offset);
  EXPECT_EQ(a.restricted_length, b.restricted_length);
  EXPECT_EQ(a.node_uid, b.node_uid);
  EXPECT_EQ(a.image_uid, b.image_uid);
  EXPECT_EQ(a.node_gid, b.node_gid);
  EXPECT_EQ(a.node_mode, b.node_mode);
}

class Boot : public StoreFolder
{
protected:
  void save(const VdBootRecord &record)
  {
    g_autoptr(GError) error = nullptr;

    ASSERT_TRUE(vd_boot_save(base.c_str(), &record, &error)) << error->message;
  }

  std::string only_name()
  {
    std::set<std::string> found = names("boot");

    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? "" : *found.begin();
  }

  guint load_count()
  {
    g_autoptr(GPtrArray) records = vd_boot_load(base.c_str());

    return records->len;
  }

  bool loads(const std::string &text)
  {
    std::string name = only_name();

    put("boot/" + name, text);
    guint count = load_count();
    EXPECT_EQ(only_name(), name) << "a broken record is left for a person to look at";
    return count == 1;
  }
};

TEST_F(Boot, EveryFieldComesBack)
{
  VdBootRecord record = sample();

  if (sizeof(void *) == 8) {
    EXPECT_EQ(sizeof record, 104u) << "a new member needs a key and a line in this test";
  }
  save(record);
  g_autoptr(GPtrArray) records = vd_boot_load(base.c_str());
  ASSERT_EQ(records->len, 1u);
  const VdBootRecord *loaded = static_cast<VdBootRecord *>(records->pdata[0]);
  expect_same(record, *loaded);
  EXPECT_EQ(loaded->id, only_name());
  EXPECT_EQ(mode("boot"), static_cast<mode_t>(S_IFDIR | 0700));
  EXPECT_EQ(mode("boot/" + only_name()), static_cast<mode_t>(S_IFREG | 0600));
}

TEST_F(Boot, OnePathHasOneRecord)
{
  VdBootRecord record = sample();

  save(record);
  record.read_only = FALSE;
  record.detach_on_unmount = TRUE;
  record.ignore_parent_timestamp = FALSE;
  record.route = nullptr;
  record.zero_copy = TRUE;
  record.partition_scan = 1;
  record.node_mode = -1;
  save(record);
  save(sample("/b"));
  g_autoptr(GPtrArray) records = vd_boot_load(base.c_str());
  ASSERT_EQ(records->len, 2u);
  for (guint i = 0; i < records->len; i++) {
    const VdBootRecord *loaded = static_cast<VdBootRecord *>(records->pdata[i]);

    expect_same(g_str_equal(loaded->path, "/b") ? sample("/b") : record, *loaded);
  }
}

TEST_F(Boot, RemovesByPath)
{
  save(sample());
  save(sample("/b"));
  ASSERT_TRUE(vd_boot_remove(base.c_str(), nasty, nullptr));
  EXPECT_EQ(load_count(), 1u);
  EXPECT_TRUE(vd_boot_remove(base.c_str(), nasty, nullptr)) << "not there is fine";
  ASSERT_TRUE(vd_boot_remove(base.c_str(), "/b", nullptr));
  EXPECT_TRUE(names("boot").empty());
}

TEST_F(Boot, LongestPathFits)
{
  std::string path = "/" + std::string(4094, '\xff');

  save(sample(path.c_str()));
  g_autoptr(GPtrArray) records = vd_boot_load(base.c_str());
  ASSERT_EQ(records->len, 1u);
  EXPECT_EQ(static_cast<VdBootRecord *>(records->pdata[0])->path, path);
}

TEST_F(Boot, SavesNothingItWouldNotLoad)
{
  const std::string longer = "/" + std::string(4095, 'a');
  VdBootRecord nobody = sample(), mode_out = sample(), scan_out = sample(), flags_out = sample();

  nobody.uid = VD_UID_INVALID;
  mode_out.node_mode = 01000;
  scan_out.partition_scan = 2;
  flags_out.attach_flags = 0x800;
  for (const VdBootRecord &record :
       {sample("relative"), sample(""), sample(longer.c_str()), nobody, mode_out, scan_out, flags_out}) {
    g_autoptr(GError) error = nullptr;

    EXPECT_FALSE(vd_boot_save(base.c_str(), &record, &error)) << record.path;
    EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL));
  }
  EXPECT_TRUE(names("boot").empty());
}

TEST_F(Boot, BrokenRecordsAreLeftOut)
{
  save(sample("/a"));
  std::string good = contents("boot/" + only_name());
  EXPECT_TRUE(loads(good));
  EXPECT_FALSE(loads(""));
  EXPECT_FALSE(loads(good.substr(0, good.size() / 2)));
  EXPECT_FALSE(loads(good + "#" + std::string(16 * 1024, 'x') + "\n")) << "larger than the ceiling";
  EXPECT_FALSE(loads(with_value(good, "Version", "2")));
  EXPECT_FALSE(loads(with_value(good, "Path", "/b"))) << "the name belongs to another path";
  EXPECT_FALSE(loads(with_value(good, "Path", "a")));
  EXPECT_FALSE(loads(with_value(good, "Uid", "4294967295")));
  EXPECT_FALSE(loads(with_value(good, "OpenFlags", "4096")));
  EXPECT_FALSE(loads(with_value(good, "AttachFlags", "2048")));
  EXPECT_FALSE(loads(with_value(good, "PartitionScan", "-2")));
  EXPECT_FALSE(loads(with_value(good, "NodeMode", "512")));
  EXPECT_FALSE(loads(with_value(good, "RestrictedOffset", "-1")));
  EXPECT_FALSE(loads(with_value(good, "ReadOnly", "1")));
}

TEST_F(Boot, LinksAreNotFollowed)
{
  save(sample("/a"));
  std::string name = only_name(), good = contents("boot/" + name);
  put("elsewhere", good);
  ASSERT_EQ(unlink((base + "/boot/" + name).c_str()), 0);
  ASSERT_EQ(symlink("../elsewhere", (base + "/boot/" + name).c_str()), 0);
  EXPECT_EQ(load_count(), 0u);
  save(sample("/a"));
  EXPECT_EQ(load_count(), 1u);
  EXPECT_TRUE(S_ISREG(mode("boot/" + name)));
  EXPECT_EQ(contents("elsewhere"), good);
}

TEST_F(Boot, ACopyIsOfOneRecordAndLeavesTheOthers)
{
  g_autoptr(GError) error = nullptr;

  save(sample("/a"));
  save(sample("/c"));
  put("boot/.0123.00000001", "what somebody writes now");
  ASSERT_TRUE(vd_boot_copy(base.c_str(), "/a", "/b", 1002, &error)) << error->message;
  EXPECT_EQ(names("boot").count(".0123.00000001"), 1u);
  EXPECT_TRUE(vd_boot_copy(base.c_str(), "/none", "/d", 1002, &error)) << "no record is fine";
  g_autoptr(GPtrArray) records = vd_boot_load(base.c_str());
  std::set<std::string> paths;
  for (guint i = 0; i < records->len; i++) {
    const auto *record = static_cast<VdBootRecord *>(records->pdata[i]);

    paths.insert(record->path);
    EXPECT_EQ(record->image_uid, record->path == std::string("/b") ? 1002u : 1001u);
  }
  EXPECT_EQ(paths, (std::set<std::string>{"/a", "/b", "/c"}));
}

TEST_F(Boot, WhatIsRenamedHasOneName)
{
  g_autoptr(GError) error = nullptr;

  save(sample("/a"));
  ASSERT_TRUE(vd_boot_rename(base.c_str(), "/a", "/b", 1002, &error)) << error->message;
  g_autoptr(GPtrArray) records = vd_boot_load(base.c_str());
  ASSERT_EQ(records->len, 1u);
  EXPECT_STREQ(static_cast<VdBootRecord *>(records->pdata[0])->path, "/b");
}

TEST_F(Boot, StaleTemporaryFilesGo)
{
  save(sample("/a"));
  std::string name = only_name();
  put("boot/." + name + ".00000001", "half");
  EXPECT_EQ(load_count(), 1u);
  EXPECT_EQ(only_name(), name);
}

TEST_F(Boot, AFullDiskLeavesTheOldRecord)
{
  save(sample("/a"));
  std::string before = contents("boot/" + only_name());
  struct rlimit limit, none = {0, 0};
  g_autoptr(GError) error = nullptr;
  VdBootRecord record = sample("/a");
  auto handler = signal(SIGXFSZ, SIG_IGN);

  record.read_only = FALSE;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  none.rlim_max = limit.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
  gboolean ok = vd_boot_save(base.c_str(), &record, &error);
  setrlimit(RLIMIT_FSIZE, &limit);
  signal(SIGXFSZ, handler);
  EXPECT_FALSE(ok);
  EXPECT_EQ(contents("boot/" + only_name()), before) << "and no temporary file stays";
}

} // namespace
