// SPDX-License-Identifier: LGPL-2.1-or-later
// Detaching: idle, held by every kind of holder, forced, later, by others, and never somebody else's device.
#include "fixture.h"

#include <sched.h>
#include <sys/mman.h>

extern "C" {
#include "attach/inuse.h"
#include "attach/mounts.h"
}

namespace
{

class DetachTest : public AttachTest
{
protected:
  void SetUp() override
  {
    AttachTest::SetUp();
    if (IsSkipped() || HasFatalFailure())
      return;
    image = Ext4("ext4.img");
    if (image.empty())
      GTEST_SKIP() << "needs mkfs.ext4";
    device = AttachFile(image, 16 * kMiB);
    ASSERT_NE(device, nullptr);
    info = vd_device_get_info(device);
    point = (dir / "mnt").string();
    std::filesystem::create_directory(point);
  }
  void TearDown() override
  {
    if (device != nullptr) {
      vd_device_set_owned(device, FALSE);
      vd_device_unref(device);
    }
    AttachTest::TearDown();
  }
  void Mount(const std::string &at)
  {
    ASSERT_EQ(mount(info->path, at.c_str(), "ext4", MS_NOSUID | MS_NODEV, nullptr), 0) << g_strerror(errno);
  }
  void ExpectBusyNaming(const Detached &outcome, const std::vector<std::string> &names)
  {
    EXPECT_FALSE(outcome.ok);
    EXPECT_EQ(outcome.code, VIRTDISK_ERROR_BUSY) << outcome.message;
    for (const std::string &name : names)
      EXPECT_NE(outcome.message.find(name), std::string::npos)
          << outcome.message << " does not name " << name;
    EXPECT_EQ(LoopFlags(info->path) & LO_FLAGS_AUTOCLEAR, 0u) << "autoclear is left armed";
    EXPECT_EQ(HintFiles(), 1u);
  }

  std::string image, point;
  VdDevice *device = nullptr;
  const VdDeviceInfo *info = nullptr;
};

TEST_F(DetachTest, IdleIsGoneAtOnceAndTwiceIsNoError)
{
  EXPECT_TRUE(Detach(device).ok);
  EXPECT_TRUE(Loops().empty());
  EXPECT_TRUE(Detach(device).ok);
}

TEST_F(DetachTest, MountedIsBusyAndNamed)
{
  Mount(point);
  EXPECT_EQ(vd_device_count_mounts(device), 1u);
  ExpectBusyNaming(Detach(device), {std::string(info->path) + " is mounted on " + point});
  ASSERT_EQ(umount(point.c_str()), 0);
  EXPECT_EQ(vd_device_count_mounts(device), 0u);
  EXPECT_TRUE(Detach(device).ok);
}

TEST_F(DetachTest, ProcessWithTheNodeOpenIsNamed)
{
  Holder holder([&] { return open(info->path, O_RDONLY | O_CLOEXEC) >= 0; });

  ASSERT_TRUE(holder.holds());
  ExpectBusyNaming(Detach(device), {"pid " + holder.pid(), "is open in"});
  holder.Release();
  EXPECT_TRUE(Detach(device).ok);
}

TEST_F(DetachTest, ProcessInTheMountIsNamed)
{
  Mount(point);
  Holder holder([&] { return chdir(point.c_str()) == 0; });

  ASSERT_TRUE(holder.holds());
  ExpectBusyNaming(Detach(device), {point + " is in use by", "pid " + holder.pid()});
  /* Force does not go over a process: its files are not taken away from it. */
  ExpectBusyNaming(Detach(device, VD_DETACH_FORCE), {"pid " + holder.pid()});
  holder.Release();
  EXPECT_TRUE(Detach(device, VD_DETACH_FORCE).ok);
}

TEST_F(DetachTest, LoopOnTopIsNamed)
{
  int fd = open(info->path, O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, 16 * kMiB);

  spec.tag = "5e57ab1f";
  Attached inner = Attach(spec);
  close(fd);
  ASSERT_NE(inner.device, nullptr) << inner.message;
  std::string upper = vd_device_get_info(inner.device)->path;
  Detached busy = Detach(device);
  EXPECT_EQ(busy.code, VIRTDISK_ERROR_BUSY);
  EXPECT_NE(busy.message.find(upper + " has its backing file on " + info->path), std::string::npos)
      << busy.message;
  EXPECT_TRUE(Detach(inner.device).ok);
  vd_device_unref(inner.device);
  EXPECT_TRUE(Detach(device).ok);
}

TEST_F(DetachTest, ImageInsideTheMountedImageIsNamed)
{
  Mount(point);
  std::string inner_path = point + "/inner.img";
  int fd = open(inner_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_EQ(ftruncate(fd, kMiB), 0);
  VdAttachSpec spec = Spec(fd, kMiB);
  spec.tag = "5e57ab1f";
  Attached inner = Attach(spec);
  close(fd);
  ASSERT_NE(inner.device, nullptr) << inner.message;
  std::string upper = vd_device_get_info(inner.device)->path;
  Detached busy = Detach(device, VD_DETACH_FORCE);
  EXPECT_EQ(busy.code, VIRTDISK_ERROR_BUSY);
  EXPECT_NE(busy.message.find(upper + " has its backing file on " + info->path), std::string::npos)
      << busy.message;
  EXPECT_TRUE(Detach(inner.device).ok);
  vd_device_unref(inner.device);
  EXPECT_TRUE(Detach(device, VD_DETACH_FORCE).ok);
}

TEST_F(DetachTest, DeviceMapperOnTopIsNamed)
{
  std::string name = "virtdisk-test-" + std::to_string(getpid());
  std::string create =
      "dmsetup create " + name + " --table '0 1024 linear " + info->path + " 0' >/dev/null 2>&1";

  if (system(create.c_str()) != 0) {
    EXPECT_TRUE(Detach(device).ok);
    GTEST_SKIP() << "needs device mapper: dmsetup create fails";
  }
  Detached busy = Detach(device);
  EXPECT_EQ(system(("dmsetup remove --retry " + name).c_str()), 0);
  ExpectBusyNaming(busy, {"/dev/dm-", name});
  EXPECT_TRUE(Detach(device).ok);
}

TEST_F(DetachTest, ForceUnmountsEverythingDeepestFirst)
{
  Mount(point);
  ASSERT_EQ(mkdir((point + "/below").c_str(), 0700), 0);
  ASSERT_EQ(mount((point + "/lost+found").c_str(), (point + "/below").c_str(), nullptr, MS_BIND, nullptr), 0);
  EXPECT_EQ(vd_device_count_mounts(device), 2u);
  Detached outcome = Detach(device, VD_DETACH_FORCE);
  EXPECT_TRUE(outcome.ok) << outcome.message;
  EXPECT_EQ(vd_device_count_mounts(device), 0u);
}

TEST_F(DetachTest, MountOfAnotherNamespaceIsNamedAndForced)
{
  Holder holder([&] {
    return unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
           mount(info->path, point.c_str(), "ext4", 0, nullptr) == 0;
  });

  ASSERT_TRUE(holder.holds());
  EXPECT_EQ(vd_device_count_mounts(device), 0u) << "the mount is in this namespace";
  ExpectBusyNaming(Detach(device), {"is mounted on " + point});
  Detached outcome = Detach(device, VD_DETACH_FORCE);
  EXPECT_TRUE(outcome.ok) << outcome.message;
}

struct Gone {
  int calls = 0;
};

void OnGone(VdDevice *, gpointer data)
{
  static_cast<Gone *>(data)->calls++;
}

TEST_F(DetachTest, WhenIdleNowIsNow)
{
  Gone gone;

  vd_device_set_gone_func(device, OnGone, &gone);
  Detached outcome = Detach(device, VD_DETACH_WHEN_IDLE);
  EXPECT_TRUE(outcome.ok) << outcome.message;
  EXPECT_FALSE(outcome.pending);
  EXPECT_EQ(gone.calls, 1);
}

TEST_F(DetachTest, WhenIdleWaitsForTheMount)
{
  Gone gone;

  vd_device_set_gone_func(device, OnGone, &gone);
  Mount(point);
  Detached outcome = Detach(device, VD_DETACH_WHEN_IDLE);
  EXPECT_TRUE(outcome.ok) << outcome.message;
  EXPECT_TRUE(outcome.pending);
  EXPECT_EQ(gone.calls, 0);
  ASSERT_EQ(umount(point.c_str()), 0);
  RunUntil([&] { return gone.calls > 0; });
  EXPECT_EQ(gone.calls, 1);
  EXPECT_TRUE(Loops().empty());
  RunUntil([&] { return HintFiles() == 0; });
}

TEST_F(DetachTest, WhenIdleWaitsForTheProcess)
{
  Gone gone;
  Holder holder([&] { return open(info->path, O_RDONLY | O_CLOEXEC) >= 0; });

  vd_device_set_gone_func(device, OnGone, &gone);
  Detached outcome = Detach(device, VD_DETACH_WHEN_IDLE);
  EXPECT_TRUE(outcome.pending);
  holder.Release();
  RunUntil([&] { return gone.calls > 0; });
  EXPECT_EQ(gone.calls, 1);
}

TEST_F(DetachTest, DetachedByLosetupIsNoticed)
{
  Gone gone;

  vd_device_set_gone_func(device, OnGone, &gone);
  if (system((std::string("losetup -d ") + info->path).c_str()) != 0)
    GTEST_SKIP() << "needs losetup";
  RunUntil([&] { return gone.calls > 0; });
  EXPECT_EQ(gone.calls, 1);
  RunUntil([&] { return HintFiles() == 0; });
}

TEST_F(DetachTest, WhoComesLateIsToldToo)
{
  Gone gone;

  if (system((std::string("losetup -d ") + info->path).c_str()) != 0)
    GTEST_SKIP() << "needs losetup";
  RunUntil([&] { return HintFiles() == 0; });
  vd_device_set_gone_func(device, OnGone, &gone);
  RunUntil([&] { return gone.calls > 0; });
  EXPECT_EQ(gone.calls, 1);
}

TEST_F(DetachTest, NextUserOfTheNameIsNeverTouched)
{
  int node = TakeOver(info->path, Image("other.img", kMiB), "virtdisk1/5e57ab1e");

  for (VdDetachMode mode : {VD_DETACH_IF_IDLE, VD_DETACH_FORCE, VD_DETACH_WHEN_IDLE})
    EXPECT_TRUE(Detach(device, mode).ok);
  EXPECT_EQ(Loops(), std::vector<std::string>{info->name}) << "the other's device was detached";
  EXPECT_EQ(LoopFlags(info->path) & LO_FLAGS_AUTOCLEAR, 0u);
  ASSERT_EQ(ioctl(node, LOOP_CLR_FD), 0);
  close(node);
}

TEST_F(DetachTest, LastReferenceDetaches)
{
  vd_device_unref(device);
  device = nullptr;
  RunUntil([&] { return Loops().empty() && HintFiles() == 0; });
}

TEST_F(DetachTest, LastReferenceOfABusyOneDetachesLater)
{
  Mount(point);
  vd_device_unref(device);
  device = nullptr;
  RunUntil([&] { return (LoopFlags(("/dev/" + Loops().at(0)).c_str()) & LO_FLAGS_AUTOCLEAR) != 0; });
  ASSERT_EQ(umount(point.c_str()), 0);
  RunUntil([&] { return Loops().empty() && HintFiles() == 0; });
}

TEST_F(DetachTest, RelinquishedStaysAndIsFoundAgain)
{
  std::string name = info->name;
  guint64 diskseq = info->diskseq;
  struct stat status = {};
  VdDevice *found = nullptr;

  ASSERT_EQ(stat(image.c_str(), &status), 0);
  vd_device_set_owned(device, FALSE);
  vd_device_unref(device);
  device = nullptr;
  ASSERT_EQ(Loops(), std::vector<std::string>{name});
  std::ofstream(std::filesystem::path(rundir) / "udev" / "loop999.1") << "VIRTDISK_TAG=\"ff\"\n";

  GPtrArray *devices = vd_device_scan(rundir.c_str());
  for (guint i = 0; i < devices->len; i++)
    if (g_str_equal(vd_device_get_info(static_cast<VdDevice *>(devices->pdata[i]))->tag, "5e57ab1e") &&
        vd_device_get_info(static_cast<VdDevice *>(devices->pdata[i]))->name == name)
      found = vd_device_ref(static_cast<VdDevice *>(devices->pdata[i]));
  g_ptr_array_unref(devices);
  ASSERT_NE(found, nullptr);
  device = found;
  info = vd_device_get_info(found);
  EXPECT_EQ(info->diskseq, diskseq);
  EXPECT_EQ(info->size, 16 * kMiB);
  EXPECT_EQ(info->image_dev, status.st_dev);
  EXPECT_EQ(info->image_ino, status.st_ino);
  EXPECT_FALSE(info->read_only);
  EXPECT_EQ(HintFiles(), 1u) << "a file of a device that is no more is swept away";
  EXPECT_TRUE(Detach(found).ok);
}

TEST_F(DetachTest, WatchSeesMountAndUnmount)
{
  int calls = 0;
  VdMountWatch *watch =
      vd_mount_watch_new([](gpointer data) { ++*static_cast<int *>(data); }, &calls, nullptr);

  ASSERT_NE(watch, nullptr);
  Mount(point);
  RunUntil([&] { return calls > 0; });
  calls = 0;
  ASSERT_EQ(umount(point.c_str()), 0);
  RunUntil([&] { return calls > 0; });
  vd_mount_watch_free(watch);
  EXPECT_TRUE(Detach(device).ok);
}

TEST_F(DetachTest, MappedFileOfTheMountIsNamed)
{
  Mount(point);
  std::string file = point + "/mapped";
  Holder holder([&] {
    int fd = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, 4096) != 0)
      return false;
    void *map = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    return map != MAP_FAILED;
  });

  ASSERT_TRUE(holder.holds());
  ExpectBusyNaming(Detach(device), {"pid " + holder.pid()});
  holder.Release();
  EXPECT_TRUE(Detach(device, VD_DETACH_FORCE).ok);
}

} // namespace
