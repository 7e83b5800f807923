// SPDX-License-Identifier: LGPL-2.1-or-later
// A worker serves a raw image through FUSE and loop: what the kernel shows, what a killed worker costs, what
// the next service finds.
#include "served.h"

#include <linux/fs.h>
#include <atomic>
#include <memory>
#include <thread>

extern "C" {
#include "attach/fuse-mount.h"
}

namespace
{

class Fuse : public ServedTest
{
protected:
  VdDevice *AttachImage(const std::string &path, uint64_t size)
  {
    int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    Attached outcome = Attach(Served(fd, size, "fuse"));

    close(fd);
    EXPECT_NE(outcome.device, nullptr) << outcome.message;
    return outcome.device;
  }

  // Others on this machine may have devices too.
  VdDevice *Pick(GPtrArray *found) const
  {
    VdDevice *ours = nullptr;

    for (guint i = 0; i < found->len; i++) {
      auto *device = static_cast<VdDevice *>(g_ptr_array_index(found, i));
      if (tag == vd_device_get_info(device)->tag) {
        EXPECT_EQ(ours, nullptr) << "it was found twice";
        ours = device;
      }
    }
    return ours;
  }

  void Release(VdDevice *device)
  {
    Detached detached = Detach(device);

    EXPECT_TRUE(detached.ok) << detached.message;
    EXPECT_FALSE(detached.pending);
    vd_device_unref(device);
  }
};

std::string ReadAt(const std::string &path, off_t offset, size_t length)
{
  std::string bytes(length, '\0');
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);

  EXPECT_EQ(pread(fd, &bytes[0], length, offset), static_cast<ssize_t>(length)) << path;
  close(fd);
  return bytes;
}

bool WriteAt(const std::string &path, off_t offset, const std::string &bytes)
{
  int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  bool written =
      pwrite(fd, bytes.data(), bytes.size(), offset) == static_cast<ssize_t>(bytes.size()) && fsync(fd) == 0;

  if (!written)
    perror(path.c_str());

  close(fd);
  return written;
}

TEST_F(Fuse, ShowsTheImageAndGoesWithTheDevice)
{
  std::string path = Image("a.img", 4 * kMiB);
  struct stat st;

  ASSERT_TRUE(WriteAt(path, 8192, "payload"));
  ASSERT_EQ(stat(path.c_str(), &st), 0);
  VdDevice *device = AttachImage(path, 4 * kMiB);
  ASSERT_NE(device, nullptr);
  const VdDeviceInfo *info = vd_device_get_info(device);
  pid_t worker = vd_device_worker_pid(device);

  EXPECT_STREQ(info->route, "fuse");
  EXPECT_NE(strstr(info->reason, "as was asked for"), nullptr) << info->reason;
  EXPECT_TRUE(info->served);
  EXPECT_TRUE(info->direct_io);
  EXPECT_NE(LoopFlags(info->path) & LO_FLAGS_DIRECT_IO, 0u);
  EXPECT_EQ(info->size, 4 * kMiB);
  EXPECT_EQ(info->image_dev, st.st_dev);
  EXPECT_EQ(info->image_ino, st.st_ino);
  EXPECT_TRUE(Runs(worker));
  EXPECT_EQ(getsid(worker), worker) << "signals to our group would reach it";
  EXPECT_EQ(ReadAt(info->path, 8192, 7), "payload");
  EXPECT_TRUE(WriteAt(info->path, kMiB, "written through the device"));
  EXPECT_EQ(ReadAt(path, kMiB, 7), "written");
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line;
  while (std::getline(mounts, line))
    EXPECT_EQ(line.find("fuse virtdisk"), std::string::npos) << line;
  Release(device);
  EXPECT_TRUE(Ends(worker));
}

TEST_F(Fuse, ReadOnlyCannotBeWritten)
{
  std::string path = Image("a.img", kMiB);
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC), read_only = 0;
  VdAttachSpec spec = Served(fd, kMiB, "fuse");

  spec.read_only = TRUE;
  Attached attached = Attach(spec);
  close(fd);
  ASSERT_NE(attached.device, nullptr) << attached.message;
  int node = open(vd_device_get_info(attached.device)->path, O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(ioctl(node, BLKROGET, &read_only), 0);
  EXPECT_EQ(read_only, 1);
  close(node);
  Release(attached.device);
}

TEST_F(Fuse, ShowsAPartOfTheDisk)
{
  std::string path = Image("a.img", 4 * kMiB);
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);

  ASSERT_TRUE(WriteAt(path, kMiB, "inner"));
  VdAttachSpec spec = Served(fd, kMiB, "fuse");
  spec.served.skip = kMiB;
  Attached attached = Attach(spec);
  close(fd);
  ASSERT_NE(attached.device, nullptr) << attached.message;
  EXPECT_EQ(ReadAt(vd_device_get_info(attached.device)->path, 0, 5), "inner");
  Release(attached.device);
}

TEST_F(Fuse, DetachingABusyDiskNamesTheHolder)
{
  VdDevice *device = AttachImage(Image("a.img", kMiB), kMiB);

  ASSERT_NE(device, nullptr);
  std::string node = vd_device_get_info(device)->path;
  Holder holder([&] { return open(node.c_str(), O_RDONLY | O_CLOEXEC) >= 0; });
  ASSERT_TRUE(holder.holds());
  Detached busy = Detach(device);
  EXPECT_EQ(busy.code, VIRTDISK_ERROR_BUSY);
  EXPECT_NE(busy.message.find(holder.pid()), std::string::npos) << busy.message;
  EXPECT_EQ(ReadAt(node, 0, 4), std::string(4, '\0'));
  holder.Release();
  Release(device);
}

TEST_F(Fuse, WhenIdleEndsWithTheLastHolder)
{
  VdDevice *device = AttachImage(Image("a.img", kMiB), kMiB);
  bool gone = false;

  ASSERT_NE(device, nullptr);
  pid_t worker = vd_device_worker_pid(device);
  std::string node = vd_device_get_info(device)->path;
  Holder holder([&] { return open(node.c_str(), O_RDONLY | O_CLOEXEC) >= 0; });
  vd_device_set_gone_func(
      device, [](VdDevice *, gpointer flag) { *static_cast<bool *>(flag) = true; }, &gone);
  Detached detached = Detach(device, VD_DETACH_WHEN_IDLE);
  EXPECT_TRUE(detached.ok) << detached.message;
  EXPECT_TRUE(detached.pending);
  EXPECT_FALSE(gone);
  holder.Release();
  RunUntil([&] { return gone; });
  EXPECT_TRUE(WorkerFiles().empty()) << "it is told that the disk is gone before the image is closed";
  EXPECT_TRUE(Ends(worker));
  vd_device_unref(device);
}

TEST_F(Fuse, AKilledWorkerIsReplacedAndNothingIsLost)
{
  std::string path = Image("a.img", 4 * kMiB);
  VdDevice *device = AttachImage(path, 4 * kMiB);

  ASSERT_NE(device, nullptr);
  std::string node = vd_device_get_info(device)->path;
  ASSERT_TRUE(WriteAt(node, 4096, "before"));
  Replace(device);
  EXPECT_EQ(ReadAt(node, 4096, 6), "before");
  EXPECT_TRUE(WriteAt(node, 8192, "after"));
  EXPECT_EQ(ReadAt(path, 8192, 5), "after");
  Release(device);
}

// Direct, so that each request goes to the worker; every block is checked afterwards.
bool WriteBlocks(const std::string &node, unsigned blocks, const std::function<void(unsigned)> &progress)
{
  int fd = open(node.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
  unsigned char *buffer = static_cast<unsigned char *>(aligned_alloc(4096, 4096));
  bool good = fd >= 0;

  for (unsigned i = 0; good && i < blocks; i++) {
    memset(buffer, static_cast<int>(i % 251 + 1), 4096);
    good = pwrite(fd, buffer, 4096, static_cast<off_t>(i) * 4096) == 4096;
    progress(i);
  }
  for (unsigned i = 0; good && i < blocks; i++)
    good = pread(fd, buffer, 4096, static_cast<off_t>(i) * 4096) == 4096 && buffer[17] == i % 251 + 1;
  free(buffer);
  close(fd);
  return good;
}

TEST_F(Fuse, WhoWritesWhileWorkersAreKilledSeesNoError)
{
  if (!vd_fuse_can_resend())
    GTEST_SKIP() << "needs Linux 6.9: before it FUSE does not send unanswered requests again";
  static constexpr unsigned kBlocks = 2048;
  std::string path = Image("a.img", kBlocks * 4096);
  VdDevice *device = AttachImage(path, kBlocks * 4096);
  std::atomic<unsigned> at{0};
  std::atomic<bool> over{false}, good{false};

  ASSERT_NE(device, nullptr);
  std::string node = vd_device_get_info(device)->path;
  std::thread writer([&] {
    good = WriteBlocks(node, kBlocks, [&](unsigned i) { at = i; });
    over = true;
    g_main_context_wakeup(nullptr);
  });
  for (int i = 0; i < 2 && !over; i++) {
    unsigned before = at;
    while (at < before + 50 && !over)
      g_main_context_iteration(nullptr, FALSE);
    Replace(device);
  }
  RunUntil([&] { return over.load(); });
  writer.join();
  EXPECT_TRUE(good) << "a write failed or was lost";
  Release(device);
}

struct Exchanged {
  VdDevice *device;
  VdExchangeFunc between;
  bool done = false, ok = false;
  int code = -1, freed = 0;
  static void OnDone(GObject *, GAsyncResult *result, gpointer data)
  {
    Exchanged *self = static_cast<Exchanged *>(data);
    g_autoptr(GError) error = nullptr;

    self->ok = vd_device_exchange_finish(self->device, result, &error);
    self->code = error != nullptr ? error->code : -1;
    self->done = true;
  }
  void Start()
  {
    vd_device_exchange_async(
        device, between, this, [](gpointer data) { static_cast<Exchanged *>(data)->freed++; }, OnDone, this);
  }
};

gboolean nobody_serves(VdServing *serving, gpointer data, GError **error)
{
  VdDevice *device = static_cast<Exchanged *>(data)->device;

  if (kill(vd_device_worker_pid(device), 0) != 0)
    return TRUE;
  g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL, "the worker is still there");
  return FALSE;
}

gboolean fail_between(VdServing *, gpointer, GError **error)
{
  g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_DISK_FULL, "no");
  return FALSE;
}

TEST_F(Fuse, AnExchangeOfWorkersIsSeenByNobodyWhoWrites)
{
  if (!vd_fuse_can_resend())
    GTEST_SKIP() << "needs Linux 6.9: before it FUSE does not send unanswered requests again";
  static constexpr unsigned kBlocks = 2048;
  std::string path = Image("a.img", kBlocks * 4096);
  VdDevice *device = AttachImage(path, kBlocks * 4096);
  std::atomic<unsigned> at{0};
  std::atomic<bool> over{false}, good{false};

  ASSERT_NE(device, nullptr);
  std::string node = vd_device_get_info(device)->path;
  std::thread writer([&] {
    good = WriteBlocks(node, kBlocks, [&](unsigned i) { at = i; });
    over = true;
    g_main_context_wakeup(nullptr);
  });
  for (VdExchangeFunc between : {nobody_serves, fail_between}) {
    unsigned before = at;
    pid_t old = vd_device_worker_pid(device);
    Exchanged exchange = {device, between};

    while (at < before + 50 && !over)
      g_main_context_iteration(nullptr, FALSE);
    exchange.Start();
    RunUntil([&] { return exchange.done; });
    EXPECT_EQ(exchange.ok, between == nobody_serves);
    EXPECT_EQ(exchange.code, between == nobody_serves ? -1 : VIRTDISK_ERROR_DISK_FULL);
    EXPECT_EQ(exchange.freed, 1);
    EXPECT_NE(vd_device_worker_pid(device), old);
  }
  RunUntil([&] { return over.load(); });
  writer.join();
  EXPECT_TRUE(good) << "a write failed or was lost";
  Release(device);
}

gboolean grow_between(VdServing *serving, gpointer, GError **)
{
  serving->setup.size *= 2;
  return ftruncate(serving->images[0].fd, static_cast<off_t>(serving->setup.size)) == 0;
}

struct Resized {
  VdDevice *device;
  bool done = false;
  std::string message;
  static void OnDone(GObject *, GAsyncResult *result, gpointer data)
  {
    Resized *self = static_cast<Resized *>(data);
    g_autoptr(GError) error = nullptr;

    if (!vd_device_resize_finish(self->device, result, &error))
      self->message = error->message;
    self->done = true;
  }
};

/* Reads the first block again and again: what the kernel learns of the file while others use it. */
class Reader
{
public:
  explicit Reader(const std::string &node) : thread([this, node] { Read(node); }) {}
  ~Reader()
  {
    over = true;
    thread.join();
  }

private:
  void Read(const std::string &node)
  {
    int fd = open(node.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    void *block = aligned_alloc(4096, 4096);

    while (!over && pread(fd, block, 4096, 0) == 4096)
      continue;
    EXPECT_TRUE(over) << "a read failed: " << strerror(errno);
    free(block);
    close(fd);
  }
  std::atomic<bool> over{false};
  std::thread thread;
};

TEST_F(Fuse, ADiskGrowsWhileItIsInUse)
{
  if (!vd_fuse_can_resend())
    GTEST_SKIP() << "needs Linux 6.9: before it FUSE does not send unanswered requests again";
  std::string path = Image("a.img", 4 * kMiB);
  VdDevice *device = AttachImage(path, 4 * kMiB);
  Exchanged exchange = {device, grow_between};
  Resized resized = {device};

  ASSERT_NE(device, nullptr);
  std::string node = vd_device_get_info(device)->path;
  ASSERT_TRUE(WriteAt(node, 4 * kMiB - 6, "before"));
  int held = open(node.c_str(), O_RDWR | O_CLOEXEC);
  auto reader = std::make_unique<Reader>(node);
  exchange.Start();
  RunUntil([&] { return exchange.done; });
  ASSERT_TRUE(exchange.ok);
  vd_device_resize_async(device, 8 * kMiB, nullptr, Resized::OnDone, &resized);
  RunUntil([&] { return resized.done; });
  reader.reset();
  if (resized.message.find("keeps the size") != std::string::npos) {
    close(held);
    Release(device);
    GTEST_SKIP() << "this kernel's loop driver does not ask a FUSE file for its size";
  }
  EXPECT_EQ(resized.message, "");
  EXPECT_EQ(lseek(held, 0, SEEK_END), static_cast<off_t>(8 * kMiB));
  EXPECT_EQ(vd_device_get_info(device)->size, 8 * kMiB);
  EXPECT_TRUE(WriteAt(node, 8 * kMiB - 5, "after"));
  EXPECT_EQ(ReadAt(path, 8 * kMiB - 5, 5), "after");
  EXPECT_EQ(ReadAt(node, 4 * kMiB - 6, 6), "before");
  close(held);
  Release(device);
}

TEST_F(Fuse, OneExchangeAtATimeAndOneThatWaits)
{
  if (!vd_fuse_can_resend())
    GTEST_SKIP() << "needs Linux 6.9: before it FUSE does not send unanswered requests again";
  std::string path = Image("a.img", 4 * kMiB);
  VdDevice *device = AttachImage(path, 4 * kMiB);

  ASSERT_NE(device, nullptr);
  Exchanged first = {device, nobody_serves}, second = {device, nobody_serves},
            third = {device, nobody_serves};
  first.Start();
  second.Start();
  third.Start();
  RunUntil([&] { return first.done && third.done; });
  EXPECT_TRUE(first.ok);
  EXPECT_EQ(third.code, VIRTDISK_ERROR_BUSY);
  EXPECT_EQ(third.freed, 1);
  pid_t worker = vd_device_worker_pid(device);
  RunUntil([&] { return second.done; });
  EXPECT_TRUE(second.ok);
  EXPECT_EQ(second.freed, 1);
  EXPECT_NE(vd_device_worker_pid(device), worker);
  Release(device);
}

TEST_F(Fuse, WorkersThatKeepFailingEndInErrorsNotInWaiting)
{
  std::string copy = (dir / "worker").string();
  std::error_code failed;
  ASSERT_TRUE(std::filesystem::copy_file(VD_WORKER, copy, failed));
  program = copy;
  VdDevice *device = AttachImage(Image("a.img", kMiB), kMiB);

  ASSERT_NE(device, nullptr);
  std::string node = vd_device_get_info(device)->path;
  // The next ones cannot even start.
  std::filesystem::remove(copy);
  kill(vd_device_worker_pid(device), SIGKILL);
  std::atomic<bool> answered{false};
  std::thread reader([&] {
    // Direct: what others have read before is in the page cache.
    void *block = aligned_alloc(4096, 4096);
    int fd = open(node.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    EXPECT_LT(pread(fd, block, 4096, 65536), 0);
    close(fd);
    free(block);
    answered = true;
    g_main_context_wakeup(nullptr);
  });
  RunUntil([&] { return answered && vd_device_get_info(device)->failed; });
  reader.join();
  RunUntil([&] { return Ours().empty(); });
  vd_device_unref(device);
}

TEST_F(Fuse, TheNextServiceFindsDeviceAndWorker)
{
  std::string path = Image("a.img", 4 * kMiB);
  VdDevice *first = AttachImage(path, 4 * kMiB);

  ASSERT_NE(first, nullptr);
  VdDeviceInfo known = *vd_device_get_info(first);
  std::string node = known.path;
  pid_t worker = vd_device_worker_pid(first);
  vd_device_set_owned(first, FALSE);
  vd_device_unref(first);
  g_autoptr(GPtrArray) found = vd_device_scan(rundir.c_str());
  VdDevice *device = Pick(found);
  ASSERT_NE(device, nullptr);
  const VdDeviceInfo *info = vd_device_get_info(device);
  EXPECT_STREQ(info->route, "fuse");
  EXPECT_EQ(std::string(info->tag), tag);
  EXPECT_EQ(info->diskseq, known.diskseq);
  EXPECT_EQ(info->image_dev, known.image_dev);
  EXPECT_EQ(info->image_ino, known.image_ino);
  EXPECT_EQ(vd_device_worker_pid(device), worker);
  EXPECT_TRUE(WriteAt(node, 4096, "adopted"));
  // It has all that the worker's successor needs.
  Replace(device);
  EXPECT_EQ(ReadAt(node, 4096, 7), "adopted");
  Detached detached = Detach(device);
  EXPECT_TRUE(detached.ok) << detached.message;
}

TEST_F(Fuse, BothKilledLeavesErrorsAndThenNothing)
{
  VdDevice *first = AttachImage(Image("a.img", kMiB), kMiB);

  ASSERT_NE(first, nullptr);
  pid_t worker = vd_device_worker_pid(first);
  vd_device_set_owned(first, FALSE);
  vd_device_unref(first);
  kill(worker, SIGKILL);
  EXPECT_TRUE(Ends(worker));
  g_autoptr(GPtrArray) found = vd_device_scan(rundir.c_str());
  VdDevice *device = Pick(found);
  ASSERT_NE(device, nullptr);
  RunUntil([&] { return vd_device_get_info(device)->failed && Ours().empty(); });
}

TEST_F(Fuse, AWorkerThatCannotServeLeavesNothing)
{
  std::string path = Image("a.img", kMiB);
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  VdAttachSpec spec = Served(fd, 2 * kMiB, "fuse"); // more than there is

  Attached attached = Attach(spec);
  EXPECT_EQ(attached.device, nullptr);
  EXPECT_NE(attached.message, "");
  program = "/nonexistent/worker";
  spec = Served(fd, kMiB, "fuse");
  attached = Attach(spec);
  EXPECT_EQ(attached.device, nullptr);
  EXPECT_EQ(attached.code, VIRTDISK_ERROR_INTERNAL) << attached.message;
  close(fd);
}

TEST_F(Fuse, ALoopStepThatFailsLeavesNoWorker)
{
  std::string path = Image("a.img", kMiB);
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);

  vd_loop_step_hook = [](VdLoopStep step, const char *) -> gboolean { return step != VD_LOOP_STEP_NODE; };
  Attached attached = Attach(Served(fd, kMiB, "fuse"));
  EXPECT_EQ(attached.device, nullptr);
  EXPECT_EQ(attached.code, VIRTDISK_ERROR_IO) << attached.message;
  close(fd);
}

} // namespace
