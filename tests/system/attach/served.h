// SPDX-License-Identifier: LGPL-2.1-or-later
// Devices that a real worker serves.
#pragma once

#include "fixture.h"

#include <csignal>
#include <poll.h>
#include <sys/syscall.h>

extern "C" {
#include "virtdisk-enums.h"
}

class ServedTest : public AttachTest
{
protected:
  void SetUp() override
  {
    AttachTest::SetUp();
    if (IsSkipped())
      return;
    if (access("/dev/fuse", R_OK | W_OK) != 0)
      GTEST_SKIP() << "needs FUSE: /dev/fuse is missing";
    g_autofree char *random = g_strdup_printf("%08x%08x", g_random_int(), g_random_int());
    tag = random;
  }

  void TearDown() override
  {
    if (!tag.empty()) {
      RunUntil([&] { return Ours().empty() && WorkerFiles().empty(); });
      EXPECT_EQ(Ours(), std::vector<std::string>()) << "loop devices are left behind";
      EXPECT_EQ(WorkerFiles(), std::vector<std::string>()) << "records or sockets are left behind";
      for (const std::string &loop : Ours()) {
        int fd = open(("/dev/" + loop).c_str(), O_RDONLY | O_CLOEXEC);
        ioctl(fd, LOOP_CLR_FD);
        close(fd);
      }
    }
    AttachTest::TearDown();
  }

  VdAttachSpec Served(int fd, uint64_t size, const char *route)
  {
    VdAttachSpec spec = Spec(fd, size);

    image = fd;
    spec.tag = tag.c_str();
    spec.direct_io = TRUE;
    spec.route = route;
    spec.served.program = program.c_str();
    spec.served.user_argument = "65534:65534";
    spec.served.device_id = VIRTDISK_DEVICE_RAW;
    spec.served.images = &image;
    spec.served.n_images = 1;
    return spec;
  }

  // Loop devices with our tag.
  std::vector<std::string> Ours() const
  {
    std::vector<std::string> found;
    for (const auto &entry : std::filesystem::directory_iterator("/sys/block")) {
      std::string name = entry.path().filename();
      struct loop_info64 info = {};
      if (name.rfind("loop", 0) != 0 || !std::filesystem::exists(entry.path() / "loop/backing_file"))
        continue;
      int fd = open(("/dev/" + name).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
      if (ioctl(fd, LOOP_GET_STATUS64, &info) == 0 &&
          VD_LOOP_TAG_PREFIX + tag == reinterpret_cast<char *>(info.lo_file_name))
        found.push_back(name);
      close(fd);
    }
    return found;
  }

  std::vector<std::string> WorkerFiles() const
  {
    std::vector<std::string> found;
    std::error_code none;
    for (auto it = std::filesystem::directory_iterator(std::filesystem::path(rundir) / "workers", none);
         !none && it != std::filesystem::directory_iterator(); ++it)
      found.push_back(it->path().filename());
    return found;
  }

  static bool Runs(pid_t pid)
  {
    return pid > 0 && kill(pid, 0) == 0;
  }

  static bool Ends(pid_t pid)
  {
    int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    struct pollfd end = {fd, POLLIN, 0};
    bool ended = fd < 0 || poll(&end, 1, kWatchdogSeconds * 1000) == 1;

    close(fd);
    return ended;
  }

  // Kills the worker and waits until another one has taken over.
  static void Replace(VdDevice *device)
  {
    pid_t old = vd_device_worker_pid(device);

    ASSERT_GT(old, 0);
    ASSERT_EQ(kill(old, SIGKILL), 0);
    RunUntil([&] { return vd_device_worker_pid(device) != old || vd_device_get_info(device)->failed; });
    EXPECT_FALSE(vd_device_get_info(device)->failed);
    EXPECT_NE(vd_device_worker_pid(device), old);
  }

  std::string tag;
  std::string program = VD_WORKER;
  int image = -1;
};
