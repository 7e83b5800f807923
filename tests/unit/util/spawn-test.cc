// SPDX-License-Identifier: LGPL-2.1-or-later
// Processes that a small process starts for us: what they have, how they end, and what happens without it.
#include <gtest/gtest.h>
#include <csignal>
#include <fcntl.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>

extern "C" {
#include "util/spawn.h"
#include "virtdisk-error.h"
}

namespace
{

constexpr guint kPatienceMs = 30000;

struct Said {
  int fds[2];

  Said()
  {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  }
  ~Said()
  {
    close(fds[0]);
  }
  // Until all ends but ours are closed.
  std::string text() const
  {
    std::string all;
    char part[4096];
    ssize_t n;

    while ((n = read(fds[0], part, sizeof part)) > 0)
      all.append(part, static_cast<size_t>(n));
    return all;
  }
};

VdChild *shell(const char *script, int fd = -1, VdSpawnSession session = VD_SPAWN_IN_SESSION)
{
  const char *arguments[] = {"/bin/sh", "-c", script, nullptr};
  g_autoptr(GError) error = nullptr;
  VdChild *child = vd_spawn(arguments, fd, session, &error);

  EXPECT_NE(child, nullptr) << error->message;
  return child;
}

std::string end_of(const char *script)
{
  g_autoptr(VdChild) child = shell(script);
  g_autofree char *end = nullptr;

  EXPECT_TRUE(vd_child_wait(child, kPatienceMs));
  end = vd_child_describe_end(child);
  return end;
}

} // namespace

TEST(Spawn, ProcessHasWhatItWasGivenAndNothingElse)
{
  int held = open("/etc/passwd", O_RDONLY); // no O_CLOEXEC
  Said said;
  std::string text;

  setenv("VIRTDISK_TEST_SECRET", "1", 1);
  signal(SIGUSR1, SIG_IGN);
  g_autoptr(VdChild) child = shell(
      "exec >&3; pwd; /usr/bin/env; /bin/grep -E 'SigIgn|SigBlk' /proc/self/status; /bin/ls -l /proc/$$/fd",
      said.fds[1]);
  text = said.text();
  close(held);
  unsetenv("VIRTDISK_TEST_SECRET");
  signal(SIGUSR1, SIG_DFL);
  EXPECT_EQ(text.rfind("/\n", 0), 0u) << text;
  EXPECT_EQ(text.find("VIRTDISK_TEST_SECRET"), std::string::npos) << text;
  EXPECT_NE(text.find("LC_ALL=C"), std::string::npos) << text;
  EXPECT_NE(text.find("SigIgn:\t0000000000000000"), std::string::npos) << text;
  EXPECT_NE(text.find("SigBlk:\t0000000000000000"), std::string::npos) << text;
  EXPECT_EQ(text.find("/etc/passwd"), std::string::npos) << text;
  EXPECT_NE(text.find("0 -> /dev/null"), std::string::npos) << text;
  EXPECT_NE(text.find("3 -> socket:"), std::string::npos) << text;
  EXPECT_EQ(text.find("4 -> "), std::string::npos) << text;
  EXPECT_TRUE(vd_child_wait(child, kPatienceMs));
}

TEST(Spawn, WithoutADescriptorThereIsNone)
{
  EXPECT_EQ(end_of("test ! -e /proc/$$/fd/3"), "ended with status 0");
}

TEST(Spawn, EndsAreTold)
{
  EXPECT_EQ(end_of("exit 7"), "ended with status 7");
  EXPECT_EQ(end_of("kill -SEGV $$").rfind("was killed by signal 11", 0), 0u);
}

TEST(Spawn, IsAChildOfOurs)
{
  g_autoptr(VdChild) child = shell("kill -STOP $$");
  siginfo_t info = {};
  int pidfd = vd_child_dup_pidfd(child);

  EXPECT_GE(pidfd, 0);
  EXPECT_EQ(waitid(P_PID, static_cast<id_t>(vd_child_pid(child)), &info, WSTOPPED | __WALL), 0);
  EXPECT_EQ(info.si_pid, vd_child_pid(child));
  vd_child_kill(child);
  EXPECT_TRUE(vd_child_wait(child, kPatienceMs));
  close(pidfd);
}

TEST(Spawn, SessionIsItsOwnWhereItIsTo)
{
  g_autoptr(VdChild) with = shell("kill -STOP $$"),
                     without = shell("kill -STOP $$", -1, VD_SPAWN_NEW_SESSION);

  for (VdChild *child : {with, without})
    EXPECT_EQ(waitid(P_PID, static_cast<id_t>(vd_child_pid(child)), nullptr, WSTOPPED | __WALL), 0);
  EXPECT_EQ(getsid(vd_child_pid(with)), getsid(0));
  EXPECT_EQ(getsid(vd_child_pid(without)), vd_child_pid(without));
  for (VdChild *child : {with, without}) {
    vd_child_kill(child);
    EXPECT_TRUE(vd_child_wait(child, kPatienceMs));
  }
}

TEST(Spawn, LoopIsToldAndNobodyIsLeftUnburied)
{
  VdChild *dropped = shell("exit 0");
  g_autoptr(VdChild) child = shell("exit 0");
  pid_t pid = vd_child_pid(dropped);
  bool ended = false;

  vd_child_on_end(
      child, [](VdChild *, gpointer flag) { *static_cast<bool *>(flag) = true; }, &ended);
  vd_child_unref(dropped);
  while (!ended || kill(pid, 0) == 0)
    g_main_context_iteration(nullptr, TRUE);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Spawn, WhatIsNoProgramIsNamed)
{
  const char *absent[] = {"/nonexistent/program", nullptr};
  const char *no_program[] = {"/proc/self/exe/none", nullptr};
  g_autoptr(GError) error = nullptr, other = nullptr;

  EXPECT_EQ(vd_spawn(absent, -1, VD_SPAWN_IN_SESSION, &error), nullptr);
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL));
  EXPECT_NE(strstr(error->message, absent[0]), nullptr) << error->message;
  EXPECT_EQ(vd_spawn(no_program, -1, VD_SPAWN_IN_SESSION, &other), nullptr);
}

TEST(Spawn, CeilingOfTheArguments)
{
  std::string most(VD_SPAWN_MAX_TEXT - strlen("/bin/true") - 2, 'x');
  const char *arguments[] = {"/bin/true", most.c_str(), nullptr};
  g_autoptr(VdChild) child = vd_spawn(arguments, -1, VD_SPAWN_IN_SESSION, nullptr);

  ASSERT_NE(child, nullptr);
  EXPECT_TRUE(vd_child_wait(child, kPatienceMs));
  most += 'x';
  arguments[1] = most.c_str();
  EXPECT_EQ(vd_spawn(arguments, -1, VD_SPAWN_IN_SESSION, nullptr), nullptr);
}

TEST(Spawn, ManyAtOnce)
{
  g_autoptr(GPtrArray) threads = g_ptr_array_new();

  for (int i = 0; i < 8; i++)
    g_ptr_array_add(threads, g_thread_new(
                                 "many",
                                 [](gpointer) -> gpointer {
                                   for (int j = 0; j < 20; j++)
                                     EXPECT_EQ(end_of(("exit " + std::to_string(j)).c_str()),
                                               "ended with status " + std::to_string(j));
                                   return nullptr;
                                 },
                                 nullptr));
  for (guint i = 0; i < threads->len; i++)
    g_thread_join(static_cast<GThread *>(g_ptr_array_index(threads, i)));
}

// The last: there is none afterwards.
TEST(SpawnLost, IsToldAndStartsNothing)
{
  const char *arguments[] = {"/bin/true", nullptr};
  g_autoptr(GError) error = nullptr;
  bool lost = false;

  ASSERT_TRUE(vd_spawn_prepare(nullptr));
  ASSERT_GT(vd_spawn_pid(), 0);
  vd_spawn_on_lost([](gpointer flag) { *static_cast<bool *>(flag) = true; }, &lost);
  kill(vd_spawn_pid(), SIGKILL);
  while (!lost)
    g_main_context_iteration(nullptr, TRUE);
  EXPECT_EQ(vd_spawn(arguments, -1, VD_SPAWN_IN_SESSION, &error), nullptr);
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES));
}
