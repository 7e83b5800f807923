/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <string>
#include <thread>
#include <unistd.h>

extern "C" {
#include "util/host-network.h"
}

namespace
{

std::string network_of(const char *process)
{
  char target[64];
  std::string path = std::string("/proc/") + process + "/ns/net";
  ssize_t length = readlink(path.c_str(), target, sizeof target);

  return length < 0 ? "" : std::string(target, length);
}

TEST(HostNetwork, NothingToDoWhereWeAreAlready)
{
  if (network_of("thread-self") != network_of("1"))
    GTEST_SKIP() << "this process has a network of its own, or may not see that of process 1";
  EXPECT_EQ(vd_host_network_enter(), -1);
}

TEST(HostNetwork, ThereAndBack)
{
  std::string before, during, after;
  bool unshared = false;

  /* The thread ends with its network. */
  std::thread([&] {
    unshared = unshare(CLONE_NEWNET) == 0;
    before = network_of("thread-self");
    {
      vd_in_host_network back = vd_host_network_enter();
      during = network_of("thread-self");
    }
    after = network_of("thread-self");
  }).join();
  if (network_of("1").empty())
    GTEST_SKIP() << "may not look at process 1 (CAP_SYS_PTRACE)";
  if (!unshared)
    GTEST_SKIP() << "needs the right to make a network namespace (root)";
  EXPECT_NE(before, during);
  EXPECT_EQ(during, network_of("1"));
  EXPECT_EQ(after, before);
}

} // namespace
