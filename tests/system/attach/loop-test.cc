// SPDX-License-Identifier: LGPL-2.1-or-later
// Attaching: what the kernel shows afterwards, and that nothing is left when a step fails.
#include "fixture.h"

#include <linux/fs.h>
#include <sys/file.h>
#include <sys/sysmacros.h>

namespace
{

class Loop : public AttachTest
{
};

std::string ReadAt(const std::string &path, off_t offset, size_t length)
{
  std::string bytes(length, '\0');
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);

  EXPECT_EQ(pread(fd, &bytes[0], length, offset), static_cast<ssize_t>(length)) << path;
  close(fd);
  return bytes;
}

void WriteAt(const std::string &path, off_t offset, const std::string &bytes)
{
  int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);

  EXPECT_EQ(pwrite(fd, bytes.data(), bytes.size(), offset), static_cast<ssize_t>(bytes.size())) << path;
  EXPECT_EQ(fsync(fd), 0);
  close(fd);
}

TEST_F(Loop, ShowsTheImageAndNothingElse)
{
  std::string path = Image("a.img", 4 * kMiB);
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, 2 * kMiB);
  struct stat image;

  WriteAt(path, static_cast<off_t>(kMiB), "first bytes of the payload");
  ASSERT_EQ(fstat(fd, &image), 0);
  spec.offset = kMiB;
  Attached attached = Attach(spec);
  close(fd);
  ASSERT_NE(attached.device, nullptr) << attached.message;
  const VdDeviceInfo *info = vd_device_get_info(attached.device);

  EXPECT_STREQ(info->route, "loop");
  EXPECT_STREQ(info->tag, "5e57ab1e");
  EXPECT_EQ(std::string(info->path), "/dev/" + std::string(info->name));
  EXPECT_EQ(info->size, 2 * kMiB);
  EXPECT_FALSE(info->read_only);
  EXPECT_TRUE(info->settled);
  EXPECT_EQ(info->image_dev, image.st_dev);
  EXPECT_EQ(info->image_ino, image.st_ino);
  EXPECT_NE(info->diskseq, 0u);
  EXPECT_EQ(ReadAt(info->path, 0, 11), "first bytes");
  EXPECT_EQ(LoopFlags(info->path) & LO_FLAGS_AUTOCLEAR, 0u);
  EXPECT_EQ(Loops(), std::vector<std::string>{info->name});
  EXPECT_EQ(HintFiles(), 1u);
  WriteAt(info->path, 4096, "written through the device");
  EXPECT_EQ(ReadAt(path, static_cast<off_t>(kMiB) + 4096, 7), "written");

  Detached detached = Detach(attached.device);
  EXPECT_TRUE(detached.ok) << detached.message;
  EXPECT_FALSE(detached.pending);
  EXPECT_TRUE(Loops().empty());
  vd_device_unref(attached.device);
}

TEST_F(Loop, ReadOnlyCannotBeWritten)
{
  std::string path = Image("a.img", kMiB);
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC), node, read_only = 0;
  VdAttachSpec spec = Spec(fd, kMiB);

  spec.read_only = TRUE;
  Attached attached = Attach(spec);
  close(fd);
  ASSERT_NE(attached.device, nullptr) << attached.message;
  EXPECT_TRUE(vd_device_get_info(attached.device)->read_only);
  node = open(vd_device_get_info(attached.device)->path, O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(ioctl(node, BLKROGET, &read_only), 0);
  EXPECT_EQ(read_only, 1);
  close(node);
  EXPECT_TRUE(Detach(attached.device).ok);
  vd_device_unref(attached.device);
}

TEST_F(Loop, ReadOnlyDescriptorIsNotPassedOffAsWritable)
{
  std::string path = Image("a.img", kMiB);
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  Attached attached = Attach(Spec(fd, kMiB));

  close(fd);
  EXPECT_EQ(attached.device, nullptr);
  EXPECT_EQ(attached.code, VIRTDISK_ERROR_IO) << attached.message;
}

class LoopSectors : public AttachTest, public testing::WithParamInterface<guint32>
{
};

TEST_P(LoopSectors, AreOfTheSizeAskedFor)
{
  std::string path = Image("a.img", kMiB);
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC), size = 0, node;
  VdAttachSpec spec = Spec(fd, kMiB);

  spec.sector_size = GetParam();
  Attached attached = Attach(spec);
  close(fd);
  ASSERT_NE(attached.device, nullptr) << attached.message;
  node = open(vd_device_get_info(attached.device)->path, O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(ioctl(node, BLKSSZGET, &size), 0);
  EXPECT_EQ(size, static_cast<int>(GetParam()));
  close(node);
  EXPECT_TRUE(Detach(attached.device).ok);
  vd_device_unref(attached.device);
}

INSTANTIATE_TEST_SUITE_P(Sizes, LoopSectors, testing::Values(512u, 1024u, 2048u, 4096u));

TEST_F(Loop, DirectIoIsReportedAsTheKernelGrantsIt)
{
  std::string path = Image("a.img", kMiB);
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, kMiB);

  for (bool wanted : {false, true}) {
    spec.direct_io = wanted;
    Attached attached = Attach(spec);
    ASSERT_NE(attached.device, nullptr) << attached.message;
    const VdDeviceInfo *info = vd_device_get_info(attached.device);
    EXPECT_EQ(info->direct_io != FALSE, (LoopFlags(info->path) & LO_FLAGS_DIRECT_IO) != 0);
    EXPECT_TRUE(wanted || !info->direct_io);
    EXPECT_TRUE(Detach(attached.device).ok);
    vd_device_unref(attached.device);
  }
  close(fd);
}

TEST_F(Loop, PartitionsOfAGptAreThereWithTheirNodes)
{
  std::string path = Image("gpt.img", 64 * kMiB);
  std::string script =
      "printf 'label: gpt\\nstart=2048,size=20480\\nstart=22528,size=20480\\n' | sfdisk -q " + path +
      " 2>/dev/null";
  const VdPartitionSpec partitions[] = {{1, kMiB, 10 * kMiB},
                                        {2, 11 * kMiB, 10 * kMiB},
                                        {3, 63 * kMiB, 2 * kMiB} /* beyond the end */,
                                        {4, 5 * kMiB, kMiB} /* overlaps */};
  int fd;

  if (system(script.c_str()) != 0)
    GTEST_SKIP() << "needs sfdisk";
  WriteAt(path, static_cast<off_t>(11 * kMiB), "second partition");
  fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, 64 * kMiB);
  spec.partition_scan = TRUE;
  spec.partitions = partitions;
  spec.n_partitions = G_N_ELEMENTS(partitions);
  spec.uid = 65534;
  spec.gid = 65533;
  spec.mode = 0640;
  Attached attached = Attach(spec);
  close(fd);
  ASSERT_NE(attached.device, nullptr) << attached.message;
  EXPECT_TRUE(vd_device_get_info(attached.device)->settled);

  for (guint32 number : {1u, 2u}) {
    char *node = vd_device_partition_path(attached.device, number);
    struct stat status = {};

    ASSERT_NE(node, nullptr) << "partition " << number;
    ASSERT_EQ(stat(node, &status), 0);
    EXPECT_EQ(status.st_uid, 65534u);
    EXPECT_EQ(status.st_gid, 65533u);
    EXPECT_EQ(status.st_mode & 07777, 0640u);
    EXPECT_TRUE(vd_device_contains(attached.device, status.st_rdev));
    if (number == 2) {
      EXPECT_EQ(ReadAt(node, 0, 16), "second partition");
    }
    g_free(node);
  }
  EXPECT_EQ(vd_device_partition_path(attached.device, 3), nullptr);
  EXPECT_EQ(vd_device_partition_path(attached.device, 4), nullptr);
  EXPECT_FALSE(vd_device_contains(attached.device, makedev(1, 3)));
  std::string name = vd_device_get_info(attached.device)->name;
  EXPECT_TRUE(Detach(attached.device).ok);
  EXPECT_FALSE(std::filesystem::exists("/sys/block/" + name + "/" + name + "p1"));
  vd_device_unref(attached.device);
}

TEST_F(Loop, NoPartitionsUnlessAskedFor)
{
  std::string path = Image("a.img", 4 * kMiB);
  const VdPartitionSpec partition = {1, kMiB, kMiB};
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, 4 * kMiB);

  spec.partitions = &partition;
  spec.n_partitions = 1;
  Attached attached = Attach(spec);
  close(fd);
  ASSERT_NE(attached.device, nullptr) << attached.message;
  EXPECT_EQ(vd_device_partition_path(attached.device, 1), nullptr);
  EXPECT_TRUE(Detach(attached.device).ok);
  vd_device_unref(attached.device);
}

TEST_F(Loop, NodeGoesToTheOwnerAndBack)
{
  std::string path = Image("a.img", kMiB);
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, kMiB);
  struct stat status = {};

  spec.uid = 65534;
  spec.gid = 65533;
  spec.mode = 0600;
  Attached attached = Attach(spec);
  close(fd);
  ASSERT_NE(attached.device, nullptr) << attached.message;
  std::string node = vd_device_get_info(attached.device)->path;
  ASSERT_EQ(stat(node.c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 65534u);
  EXPECT_EQ(status.st_gid, 65533u);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  EXPECT_TRUE(Detach(attached.device).ok);
  vd_device_unref(attached.device);
  ASSERT_EQ(stat(node.c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 0u);
  EXPECT_NE(status.st_gid, 65533u);
  EXPECT_EQ(status.st_mode & 07, 0u);
}

// Real conditions that make attaching fail.

TEST_F(Loop, FileShorterThanThePayloadIsAnError)
{
  std::string path = Image("a.img", kMiB);
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  Attached attached = Attach(Spec(fd, 2 * kMiB));

  close(fd);
  EXPECT_EQ(attached.device, nullptr);
  EXPECT_EQ(attached.code, VIRTDISK_ERROR_IO) << attached.message;
  EXPECT_NE(attached.message.find("1048576"), std::string::npos) << attached.message;
}

TEST_F(Loop, SectorSizeThatNobodyHasIsAnError)
{
  std::string path = Image("a.img", kMiB);
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, kMiB);

  spec.sector_size = 513;
  Attached attached = Attach(spec);
  close(fd);
  EXPECT_EQ(attached.code, VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE) << attached.message;
}

TEST_F(Loop, ClosedDescriptorIsAnError)
{
  EXPECT_EQ(Attach(Spec(-1, kMiB)).code, VIRTDISK_ERROR_INTERNAL);
}

TEST_F(Loop, DirectoryIsAnError)
{
  int fd = open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, kMiB);

  spec.read_only = TRUE;
  EXPECT_EQ(Attach(spec).code, VIRTDISK_ERROR_IO);
  close(fd);
}

TEST_F(Loop, NoDirectoryForStateIsAnError)
{
  std::string path = Image("a.img", kMiB);
  std::string blocked = Image("file", 512) + "/run";
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, kMiB);

  spec.rundir = blocked.c_str();
  EXPECT_EQ(Attach(spec).code, VIRTDISK_ERROR_IO);
  close(fd);
}

struct Resized {
  bool done = false, ok = false;
  int code = 0;
};

void OnResized(GObject *, GAsyncResult *result, gpointer data)
{
  auto *outcome = static_cast<std::pair<VdDevice *, Resized> *>(data);
  g_autoptr(GError) error = nullptr;

  outcome->second.ok = vd_device_resize_finish(outcome->first, result, &error);
  outcome->second.code = error != nullptr ? error->code : 0;
  outcome->second.done = true;
}

Resized Resize(VdDevice *device, guint64 size)
{
  std::pair<VdDevice *, Resized> outcome(device, {});

  vd_device_resize_async(device, size, nullptr, OnResized, &outcome);
  while (!outcome.second.done)
    g_main_context_iteration(nullptr, TRUE);
  return outcome.second;
}

TEST_F(Loop, GrowsAndShrinksWithItsFile)
{
  std::string path = Image("a.img", 2 * kMiB);
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, 2 * kMiB);
  Attached made = Attach(spec);

  ASSERT_NE(made.device, nullptr) << made.message;
  const VdDeviceInfo *info = vd_device_get_info(made.device);
  int disk = open(info->path, O_RDONLY | O_CLOEXEC);
  guint64 size = 0;
  EXPECT_EQ(Resize(made.device, 3 * kMiB).code, VIRTDISK_ERROR_IO) << "the file is not that long";
  EXPECT_EQ(info->size, 2 * kMiB);
  EXPECT_EQ(ioctl(disk, BLKGETSIZE64, &size), 0);
  EXPECT_EQ(size, 2 * kMiB);
  EXPECT_EQ(Resize(made.device, 777).code, VIRTDISK_ERROR_INVALID_PARAMETER);

  ASSERT_EQ(ftruncate(fd, 3 * kMiB), 0);
  EXPECT_EQ(ioctl(disk, BLKGETSIZE64, &size), 0);
  EXPECT_EQ(size, 2 * kMiB) << "not before it is told";
  EXPECT_TRUE(Resize(made.device, 3 * kMiB).ok);
  EXPECT_EQ(ioctl(disk, BLKGETSIZE64, &size), 0);
  EXPECT_EQ(size, 3 * kMiB);
  EXPECT_EQ(info->size, 3 * kMiB);
  EXPECT_TRUE(Resize(made.device, kMiB).ok);
  EXPECT_EQ(ioctl(disk, BLKGETSIZE64, &size), 0);
  EXPECT_EQ(size, kMiB);

  close(disk);
  EXPECT_TRUE(Detach(made.device).ok);
  EXPECT_EQ(Resize(made.device, 2 * kMiB).code, VIRTDISK_ERROR_NOT_FOUND);
  vd_device_unref(made.device);
  close(fd);
}

TEST_F(Loop, CancelledBeforeAndWhileItRuns)
{
  std::string path = Image("a.img", kMiB);
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, kMiB);
  GCancellable *cancellable = g_cancellable_new();
  Attached outcome;

  g_cancellable_cancel(cancellable);
  EXPECT_EQ(Attach(spec, cancellable).code, VIRTDISK_ERROR_OPERATION_ABORTED);
  g_object_unref(cancellable);

  cancellable = g_cancellable_new();
  vd_device_attach_async(&spec, cancellable, OnAttached, &outcome);
  RunUntil([&] { return outcome.done || !Loops().empty(); });
  g_cancellable_cancel(cancellable);
  RunUntil([&] { return outcome.done; });
  /* Either is right: it was cancelled, or it was done before. */
  if (outcome.device != nullptr) {
    EXPECT_TRUE(Detach(outcome.device).ok);
    vd_device_unref(outcome.device);
  } else {
    EXPECT_EQ(outcome.code, VIRTDISK_ERROR_OPERATION_ABORTED) << outcome.message;
  }
  g_object_unref(cancellable);
  close(fd);
}

// Every step made to fail in turn.

VdLoopStep failing_step;
gint step_reached;
std::string step_device;

class LoopStepFails : public AttachTest, public testing::WithParamInterface<VdLoopStep>
{
};

TEST_P(LoopStepFails, NothingIsLeft)
{
  std::string path = Image("a.img", 8 * kMiB);
  const VdPartitionSpec partition = {1, kMiB, kMiB};
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, 8 * kMiB);
  struct stat status = {};

  failing_step = GetParam();
  step_reached = 0;
  step_device = "";
  spec.partition_scan = TRUE;
  spec.partitions = &partition;
  spec.n_partitions = 1;
  spec.uid = 65534;
  spec.gid = 65534;
  spec.mode = 0600;
  vd_loop_step_hook = [](VdLoopStep step, const char *name) -> gboolean {
    if (step != failing_step)
      return TRUE;
    step_device = std::string("/dev/") + name;
    g_atomic_int_inc(&step_reached);
    return FALSE;
  };
  Attached attached = Attach(spec);
  close(fd);
  EXPECT_EQ(attached.device, nullptr);
  EXPECT_EQ(attached.code, VIRTDISK_ERROR_IO);
  EXPECT_EQ(g_atomic_int_get(&step_reached), 1);
  EXPECT_TRUE(Loops().empty());
  EXPECT_EQ(HintFiles(), 0u);
  ASSERT_EQ(stat(step_device.c_str(), &status), 0);
  EXPECT_NE(status.st_uid, 65534u);
}

INSTANTIATE_TEST_SUITE_P(Steps, LoopStepFails,
                         testing::Values(VD_LOOP_STEP_PREPARE, VD_LOOP_STEP_CONFIGURE, VD_LOOP_STEP_VERIFY,
                                         VD_LOOP_STEP_HINTS, VD_LOOP_STEP_NODE, VD_LOOP_STEP_PARTITIONS));

// Others who want the same device.

std::string thief_image;
std::vector<std::string> stolen;

TEST_F(Loop, DeviceStolenBeforeConfigureIsLeftToTheThief)
{
  std::string path = Image("a.img", kMiB);
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Spec(fd, kMiB);

  thief_image = Image("thief.img", kMiB);
  stolen.clear();
  spec.uid = 65534;
  spec.gid = 65534;
  spec.mode = 0666;
  vd_loop_step_hook = [](VdLoopStep step, const char *name) -> gboolean {
    if (step == VD_LOOP_STEP_PREPARE && stolen.size() < 2) {
      struct loop_config config = {};
      int node = open((std::string("/dev/") + name).c_str(), O_RDWR | O_CLOEXEC);
      int image = open(thief_image.c_str(), O_RDWR | O_CLOEXEC);

      config.fd = static_cast<guint32>(image);
      if (ioctl(node, LOOP_CONFIGURE, &config) == 0)
        stolen.push_back(name);
      close(node);
      close(image);
    }
    return TRUE;
  };
  Attached attached = Attach(spec);
  close(fd);
  ASSERT_NE(attached.device, nullptr) << attached.message;
  ASSERT_EQ(stolen.size(), 2u);
  EXPECT_EQ(HintFiles(), 1u);
  for (const std::string &name : stolen) {
    struct stat status = {};
    EXPECT_STRNE(vd_device_get_info(attached.device)->name, name.c_str());
    ASSERT_EQ(stat(("/dev/" + name).c_str(), &status), 0);
    EXPECT_NE(status.st_uid, 65534u) << "the thief's device got our owner";
    EXPECT_NE(status.st_mode & 07777, 0666u);
    int node = open(("/dev/" + name).c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_EQ(ioctl(node, LOOP_CLR_FD), 0);
    close(node);
  }
  EXPECT_TRUE(Detach(attached.device).ok);
  vd_device_unref(attached.device);
}

TEST_F(Loop, ManyAtOnceAllGetADeviceOfTheirOwn)
{
  constexpr int kMany = 12;
  std::vector<Attached> outcomes(kMany);
  std::vector<int> fds;
  std::vector<std::string> tags;
  std::set<std::string> names;

  for (int i = 0; i < kMany; i++) {
    fds.push_back(open(Image("a" + std::to_string(i), kMiB).c_str(), O_RDWR | O_CLOEXEC));
    tags.push_back("aa" + std::to_string(i));
  }
  for (int i = 0; i < kMany; i++) {
    VdAttachSpec spec = Spec(fds[i], kMiB);
    spec.tag = tags[i].c_str();
    vd_device_attach_async(&spec, nullptr, OnAttached, &outcomes[i]);
  }
  RunUntil([&] {
    return std::all_of(outcomes.begin(), outcomes.end(), [](const Attached &a) { return a.done; });
  });
  for (int i = 0; i < kMany; i++) {
    ASSERT_NE(outcomes[i].device, nullptr) << outcomes[i].message;
    names.insert(vd_device_get_info(outcomes[i].device)->name);
    close(fds[i]);
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(kMany));
  for (const Attached &attached : outcomes) {
    EXPECT_TRUE(Detach(attached.device).ok);
    vd_device_unref(attached.device);
  }
}

// Attaches and detaches five times for each byte it is given: as many events as udev can follow.
void RunRival(const std::string &image_path, int orders)
{
  int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  int image = open(image_path.c_str(), O_RDWR | O_CLOEXEC);
  char byte;

  while (read(orders, &byte, 1) == 1) {
    for (int i = 0; i < 5; i++) {
      struct loop_config config = {};
      char node_path[32];
      snprintf(node_path, sizeof node_path, "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
      int node = open(node_path, O_RDWR | O_CLOEXEC);
      config.fd = static_cast<guint32>(image);
      if (ioctl(node, LOOP_CONFIGURE, &config) == 0)
        ioctl(node, LOOP_CLR_FD);
      close(node);
    }
  }
}

TEST_F(Loop, AnotherProcessTakingDevicesDoesNotDisturb)
{
  std::string path = Image("a.img", kMiB), others = Image("others.img", kMiB);
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  int orders[2];

  ASSERT_EQ(pipe2(orders, O_CLOEXEC), 0);
  pid_t rival = fork();
  if (rival == 0) {
    close(orders[1]);
    RunRival(others, orders[0]);
    _exit(0);
  }
  close(orders[0]);
  for (int i = 0; i < 10; i++) {
    EXPECT_EQ(write(orders[1], "x", 1), 1);
    Attached attached = Attach(Spec(fd, kMiB));
    EXPECT_NE(attached.device, nullptr) << attached.message;
    if (attached.device == nullptr)
      break;
    EXPECT_TRUE(Detach(attached.device).ok);
    vd_device_unref(attached.device);
  }
  close(orders[1]);
  waitpid(rival, nullptr, 0);
  close(fd);
}

std::string locked_name;
gint locked_and_taken;

TEST_F(Loop, LockedByAnotherProgramIsNotTaken)
{
  std::string path = Image("a.img", kMiB);
  int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  locked_name = "loop" + std::to_string(ioctl(control, LOOP_CTL_GET_FREE));
  Holder holder([&] {
    int fd = open(("/dev/" + locked_name).c_str(), O_RDONLY | O_CLOEXEC);
    return fd >= 0 && flock(fd, LOCK_EX) == 0;
  });
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  Attached outcome;
  VdAttachSpec spec = Spec(fd, kMiB);

  close(control);
  ASSERT_TRUE(holder.holds());
  g_atomic_int_set(&locked_and_taken, 0);
  vd_loop_step_hook = [](VdLoopStep, const char *name) -> gboolean {
    if (locked_name == name)
      g_atomic_int_inc(&locked_and_taken);
    return TRUE;
  };
  vd_device_attach_async(&spec, nullptr, OnAttached, &outcome);
  /* The holder goes after some tries; the attachment is made then. */
  g_timeout_add(
      100,
      [](gpointer data) -> gboolean {
        EXPECT_EQ(g_atomic_int_get(&locked_and_taken), 0) << "the lock was not minded";
        static_cast<Holder *>(data)->Release();
        return G_SOURCE_REMOVE;
      },
      &holder);
  RunUntil([&] { return outcome.done && !holder.holds(); });
  close(fd);
  ASSERT_NE(outcome.device, nullptr) << outcome.message;
  EXPECT_TRUE(Detach(outcome.device).ok);
  vd_device_unref(outcome.device);
}

} // namespace
