// SPDX-License-Identifier: LGPL-2.1-or-later
// The shipped udev rule under the udevd of this machine: put into /run for the time of the test, with the
// test's own directory in place of /run/virtdisk, so that it applies to no device but the test's.
#include "fixture.h"

#include <sys/sysmacros.h>

extern "C" {
#include "attach/settle.h"
}

namespace
{

const char kRulesDir[] = "/run/udev/rules.d";

std::string RunShell(const std::string &command)
{
  std::string out;
  FILE *pipe = popen((command + " 2>&1").c_str(), "r");
  char buffer[4096];
  size_t n;

  while ((n = fread(buffer, 1, sizeof buffer, pipe)) > 0)
    out.append(buffer, n);
  pclose(pipe);
  return out;
}

class UdevRule : public AttachTest
{
protected:
  void SetUp() override
  {
    AttachTest::SetUp();
    if (IsSkipped() || HasFatalFailure())
      return;
    if (!vd_settle_udev_runs())
      GTEST_SKIP() << "needs a running udevd";
    std::ifstream in(VD_UDEV_RULES);
    std::string text(std::istreambuf_iterator<char>(in), {});
    ASSERT_NE(text.find("/run/virtdisk/"), std::string::npos) << VD_UDEV_RULES;
    for (size_t at; (at = text.find("/run/virtdisk/")) != std::string::npos;)
      text.replace(at, strlen("/run/virtdisk"), rundir);
    made_directory = std::filesystem::create_directories(kRulesDir);
    rule = std::string(kRulesDir) + "/90-virtdisk-test-" + std::to_string(getpid()) + ".rules";
    std::ofstream(rule) << text;
    RunShell("udevadm control --reload");
  }
  void TearDown() override
  {
    if (!rule.empty()) {
      std::error_code ignored;
      std::filesystem::remove(rule, ignored);
      if (made_directory)
        std::filesystem::remove(kRulesDir, ignored); // stays if others use it
      RunShell("udevadm control --reload");
    }
    AttachTest::TearDown();
  }
  static std::string Properties(const std::string &node)
  {
    return RunShell("udevadm info --query=property --name=" + node);
  }
  static std::string Owner(const std::string &node)
  {
    struct stat status = {};
    char text[64];

    EXPECT_EQ(stat(node.c_str(), &status), 0) << node;
    g_snprintf(text, sizeof text, "%u:%u %04o", status.st_uid, status.st_gid, status.st_mode & 07777);
    return text;
  }

  std::string rule;
  bool made_directory = false;
};

bool Has(const std::string &text, const std::string &line)
{
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST_F(UdevRule, DiskAndPartitionsGetOwnerAndHints)
{
  const char *env[] = {"UDISKS_NAME=my \"disk\" 1", "UDISKS_AUTO=1", "UDISKS_IGNORE=0",
                       "UDISKS_ICON_NAME=drive-harddisk", nullptr};
  const VdPartitionSpec partition = {1, kMiB, kMiB};
  int fd = open(Image("a.img", 4 * kMiB).c_str(), O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, 4 * kMiB);

  spec.udev_env = env;
  spec.uid = 65534;
  spec.gid = 65533;
  spec.mode = 0640;
  spec.partition_scan = TRUE;
  spec.partitions = &partition;
  spec.n_partitions = 1;
  Attached attached = Attach(spec);
  close(fd);
  ASSERT_NE(attached.device, nullptr) << attached.message;
  EXPECT_TRUE(vd_device_get_info(attached.device)->settled);
  std::string node = vd_device_get_info(attached.device)->path;
  std::string disk = Properties(node), part = Properties(node + "p1");

  EXPECT_TRUE(Has(disk, "VIRTDISK_TAG=5e57ab1e")) << disk;
  EXPECT_TRUE(Has(disk, "UDISKS_NAME=my \"disk\" 1")) << disk;
  EXPECT_TRUE(Has(part, "VIRTDISK_TAG=5e57ab1e")) << part;
  EXPECT_TRUE(Has(part, "UDISKS_AUTO=1")) << part;
  EXPECT_TRUE(Has(part, "UDISKS_IGNORE=0")) << part;
  EXPECT_TRUE(Has(part, "UDISKS_ICON_NAME=drive-harddisk")) << part;
  EXPECT_TRUE(Has(part, "UDISKS_NAME=my \"disk\" 1 (1)")) << part;

  /* A later event must not change anything, though the node was tampered with meanwhile. */
  for (const std::string &each : {node, node + "p1"}) {
    ASSERT_EQ(chown(each.c_str(), 0, 0), 0);
    ASSERT_EQ(chmod(each.c_str(), 0600), 0);
  }
  RunShell("udevadm trigger --settle --action=change " + node + " " + node + "p1");
  EXPECT_EQ(Owner(node), "65534:65533 0640");
  EXPECT_EQ(Owner(node + "p1"), "65534:65533 0640");
  part = Properties(node + "p1");
  EXPECT_TRUE(Has(part, "UDISKS_NAME=my \"disk\" 1 (1)")) << part;

  EXPECT_TRUE(Detach(attached.device).ok);
  vd_device_unref(attached.device);
  RunShell("udevadm settle --timeout=20");
  EXPECT_EQ(Owner(node).rfind("0:", 0), 0u) << Owner(node);
  EXPECT_EQ(Properties(node).find("VIRTDISK_"), std::string::npos);
}

TEST_F(UdevRule, NextUserOfTheNameGetsNothingOfIt)
{
  int fd = open(Image("a.img", kMiB).c_str(), O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, kMiB);

  spec.uid = 65534;
  spec.gid = 65533;
  spec.mode = 0666;
  Attached attached = Attach(spec);
  close(fd);
  ASSERT_NE(attached.device, nullptr) << attached.message;
  std::string node = vd_device_get_info(attached.device)->path;
  int loop = TakeOver(node, Image("b.img", kMiB), "");
  /* The file for udev is still there, since our main loop has not run. */
  EXPECT_EQ(HintFiles(), 1u);
  RunShell("udevadm settle --timeout=20");

  EXPECT_EQ(Properties(node).find("VIRTDISK_"), std::string::npos);
  EXPECT_EQ(Owner(node).rfind("0:", 0), 0u) << Owner(node);
  EXPECT_TRUE(Detach(attached.device).ok);
  vd_device_unref(attached.device);
  EXPECT_EQ(ioctl(loop, LOOP_CLR_FD), 0);
  close(loop);
}

struct Settled {
  VdSettle *settle;
  gboolean settled = FALSE;
  bool ok = false, done = false;
};

void OnSettled(GObject *, GAsyncResult *result, gpointer data)
{
  auto *outcome = static_cast<Settled *>(data);

  outcome->ok = vd_settle_wait_finish(outcome->settle, result, &outcome->settled, nullptr);
  outcome->done = true;
}

TEST_F(UdevRule, NameAloneDoesNotSettle)
{
  int fd = open(Image("a.img", kMiB).c_str(), O_RDWR | O_CLOEXEC);
  Settled wrong = {vd_settle_new(nullptr)}, right = {vd_settle_new(nullptr)};
  Attached attached = Attach(Spec(fd, kMiB));
  const VdDeviceInfo *info = vd_device_get_info(attached.device);

  close(fd);
  vd_settle_wait_async(right.settle, info->name, info->diskseq, nullptr, 5000, nullptr, OnSettled, &right);
  vd_settle_wait_async(wrong.settle, info->name, info->diskseq + 1000, nullptr, 200, nullptr, OnSettled,
                       &wrong);
  RunUntil([&] { return wrong.done && right.done; });
  EXPECT_TRUE(right.ok && right.settled);
  EXPECT_TRUE(wrong.ok);
  EXPECT_FALSE(wrong.settled) << "the event of another sequence number was taken for ours";
  vd_settle_free(wrong.settle);
  vd_settle_free(right.settle);
  EXPECT_TRUE(Detach(attached.device).ok);
  vd_device_unref(attached.device);
}

} // namespace
