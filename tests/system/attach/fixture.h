// SPDX-License-Identifier: LGPL-2.1-or-later
// A directory with images, loop devices made on them, and the promise that none is left behind.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <linux/loop.h>
#include <set>
#include <signal.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

extern "C" {
#include "attach/device.h"
#include "attach/loop.h"
#include "attach/uevents.h"
#include "util/identity.h"
#include "virtdisk-error.h"
}

// A process that holds something until told to go.
class Holder
{
public:
  explicit Holder(const std::function<bool()> &take)
  {
    int ready[2], go[2];

    if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(go, O_CLOEXEC) != 0)
      abort();
    pid_ = fork();
    if (pid_ == 0) {
      char byte = take() ? 'y' : 'n';
      close(go[1]);
      if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) < 0)
        _exit(1);
      _exit(0);
    }
    close(ready[1]);
    close(go[0]);
    char answer = 'n';
    holds_ = read(ready[0], &answer, 1) == 1 && answer == 'y';
    close(ready[0]);
    go_ = go[1];
  }
  ~Holder()
  {
    Release();
  }
  void Release()
  {
    if (pid_ < 0)
      return;
    close(go_);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
    holds_ = false;
  }
  bool holds() const
  {
    return holds_;
  }
  std::string pid() const
  {
    return std::to_string(pid_);
  }

private:
  pid_t pid_ = -1;
  int go_ = -1;
  bool holds_ = false;
};

class AttachTest : public testing::Test
{
protected:
  static constexpr uint64_t kMiB = 1 << 20;
  // No wait of a test is longer; each ends with its event.
  static constexpr guint kWatchdogSeconds = 30;

  void SetUp() override
  {
    if (geteuid() != 0)
      GTEST_SKIP() << "needs root: loop devices are made";
    if (access("/dev/loop-control", R_OK | W_OK) != 0)
      GTEST_SKIP() << "needs the loop driver: /dev/loop-control is missing";
    char *made = g_dir_make_tmp("virtdisk-test-XXXXXX", nullptr);
    ASSERT_NE(made, nullptr);
    dir = made;
    g_free(made);
    rundir = (dir / "run").string();
  }

  void TearDown() override
  {
    vd_loop_step_hook = nullptr;
    if (dir.empty())
      return;
    // A device that ended by other hands is cleaned up after in a thread.
    RunUntil([&] { return Loops().empty() && HintFiles() == 0; });
    EXPECT_EQ(Loops(), std::vector<std::string>()) << "loop devices are left behind";
    EXPECT_EQ(HintFiles(), 0u) << "files for udev are left behind";
    Clean();
    std::error_code ignored;
    std::filesystem::remove_all(dir, ignored);
  }

  // After a failed test.
  void Clean()
  {
    std::ifstream table("/proc/self/mounts");
    std::vector<std::string> points;
    std::string source, point, rest;
    while (table >> source >> point && std::getline(table, rest))
      if (point.rfind(dir.string() + "/", 0) == 0)
        points.push_back(point);
    for (auto it = points.rbegin(); it != points.rend(); ++it)
      umount2(it->c_str(), MNT_DETACH);
    for (const std::string &loop : Loops()) {
      int fd = open(("/dev/" + loop).c_str(), O_RDONLY | O_CLOEXEC);
      ioctl(fd, LOOP_CLR_FD);
      close(fd);
    }
  }

  // Kernel names of the loop devices on files of this test.
  std::vector<std::string> Loops() const
  {
    std::vector<std::string> found;
    for (const auto &entry : std::filesystem::directory_iterator("/sys/block")) {
      std::ifstream in(entry.path() / "loop/backing_file");
      std::string backing;
      if (std::getline(in, backing) && backing.rfind(dir.string() + "/", 0) == 0)
        found.push_back(entry.path().filename());
    }
    return found;
  }

  size_t HintFiles() const
  {
    std::error_code none;
    size_t n = 0;
    for (auto it = std::filesystem::directory_iterator(std::filesystem::path(rundir) / "udev", none);
         !none && it != std::filesystem::directory_iterator(); ++it)
      n++;
    return n;
  }

  std::string Image(const std::string &name, uint64_t size) const
  {
    std::string path = (dir / name).string();
    int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    EXPECT_EQ(ftruncate(fd, static_cast<off_t>(size)), 0);
    close(fd);
    return path;
  }

  // An image with a file system, or "" where mkfs is missing.
  std::string Ext4(const std::string &name) const
  {
    std::string path = Image(name, 16 * kMiB);
    return system(("mkfs.ext4 -q -F " + path + " >/dev/null 2>&1").c_str()) == 0 ? path : "";
  }

  VdAttachSpec Spec(int fd, uint64_t size) const
  {
    VdAttachSpec spec = {};
    spec.tag = "5e57ab1e";
    spec.fd = fd;
    spec.size = size;
    spec.sector_size = 512;
    spec.uid = VD_UID_INVALID;
    spec.rundir = rundir.c_str();
    return spec;
  }

  static void RunUntil(const std::function<bool()> &done)
  {
    bool expired = false;
    // What is waited for may be the kernel's doing alone: its events turn the loop too.
    g_autoptr(VdUevents) events = vd_uevents_new(VD_UEVENTS_KERNEL, nullptr);
    guint watchdog = g_timeout_add_seconds(
        kWatchdogSeconds,
        [](gpointer flag) -> gboolean { return *static_cast<bool *>(flag) = true, G_SOURCE_REMOVE; },
        &expired);

    vd_uevents_attach(
        events, [](const VdUevent *, gpointer) {}, nullptr);
    while (!done() && !expired)
      g_main_context_iteration(nullptr, TRUE);
    if (!expired)
      g_source_remove(watchdog);
    EXPECT_FALSE(expired) << "nothing happened";
  }

  struct Attached {
    VdDevice *device = nullptr;
    int code = -1; // of VIRTDISK_ERROR
    std::string message;
    bool done = false;
  };

  static void OnAttached(GObject *, GAsyncResult *result, gpointer data)
  {
    auto *outcome = static_cast<Attached *>(data);
    GError *error = nullptr;

    outcome->device = vd_device_attach_finish(result, &error);
    if (error != nullptr) {
      EXPECT_EQ(error->domain, VIRTDISK_ERROR);
      outcome->code = error->code;
      outcome->message = error->message;
      g_error_free(error);
    }
    outcome->done = true;
  }

  static Attached Attach(const VdAttachSpec &spec, GCancellable *cancellable = nullptr)
  {
    Attached outcome;

    vd_device_attach_async(&spec, cancellable, OnAttached, &outcome);
    RunUntil([&] { return outcome.done; });
    return outcome;
  }

  struct Detached {
    VdDevice *device;
    bool ok = false, pending = false, done = false;
    int code = -1;
    std::string message;
  };

  static void OnDetached(GObject *, GAsyncResult *result, gpointer data)
  {
    auto *outcome = static_cast<Detached *>(data);
    gboolean pending = FALSE;
    GError *error = nullptr;

    outcome->ok = vd_device_detach_finish(outcome->device, result, &pending, &error);
    outcome->pending = pending;
    if (error != nullptr) {
      EXPECT_EQ(error->domain, VIRTDISK_ERROR);
      outcome->code = error->code;
      outcome->message = error->message;
      g_error_free(error);
    }
    outcome->done = true;
  }

  static Detached Detach(VdDevice *device, VdDetachMode mode = VD_DETACH_IF_IDLE)
  {
    Detached outcome = {};

    outcome.device = device;
    outcome.code = -1;
    vd_device_detach_async(device, mode, nullptr, OnDetached, &outcome);
    RunUntil([&] { return outcome.done; });
    return outcome;
  }

  // Attaches an image read-write and without ado.
  VdDevice *AttachFile(const std::string &path, uint64_t size)
  {
    int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    Attached outcome = Attach(Spec(fd, size));

    close(fd);
    EXPECT_NE(outcome.device, nullptr) << outcome.message;
    return outcome.device;
  }

  struct Rebind {
    std::string node;
    struct loop_config config;
    int fd;
  };

  static gboolean TryRebind(gconstpointer data)
  {
    auto *rebind = static_cast<Rebind *>(const_cast<void *>(data));

    rebind->fd = open(rebind->node.c_str(), O_RDWR | O_CLOEXEC);
    if (rebind->fd >= 0 && ioctl(rebind->fd, LOOP_CONFIGURE, &rebind->config) == 0)
      return TRUE;
    close(rebind->fd);
    return FALSE;
  }

  // Detaches the device as another program would, and attaches an image under the same name, before our main
  // loop hears of it. Returns the node, open.
  int TakeOver(const std::string &node, const std::string &image, const char *file_name)
  {
    Rebind rebind = {node, {}, open(node.c_str(), O_RDONLY | O_CLOEXEC)};
    VdUevents *events = vd_uevents_new(VD_UEVENTS_KERNEL, nullptr);
    int fd = open(image.c_str(), O_RDWR | O_CLOEXEC);

    EXPECT_EQ(ioctl(rebind.fd, LOOP_CLR_FD), 0);
    close(rebind.fd);
    rebind.config.fd = static_cast<guint32>(fd);
    g_strlcpy(reinterpret_cast<char *>(rebind.config.info.lo_file_name), file_name, LO_NAME_SIZE);
    EXPECT_TRUE(vd_uevents_wait(events, TryRebind, &rebind, kWatchdogSeconds * 1000, nullptr));
    close(fd);
    vd_uevents_free(events);
    return rebind.fd;
  }

  static uint32_t LoopFlags(const char *path)
  {
    struct loop_info64 info = {};
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    EXPECT_EQ(ioctl(fd, LOOP_GET_STATUS64, &info), 0);
    close(fd);
    return info.lo_flags;
  }

  std::filesystem::path dir;
  std::string rundir;
};
