/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What tests of files need: a folder that goes away, file systems that go away with it, one's own or not. */
#pragma once

#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <unistd.h>
#include <vector>

/* Runs a program to its end; true if it exits with 0. Its words go nowhere. */
inline bool run(const std::vector<std::string> &words)
{
  std::vector<char *> argv;
  int status = -1;

  for (const std::string &word : words)
    argv.push_back(const_cast<char *>(word.c_str()));
  argv.push_back(nullptr);
  return g_spawn_sync(nullptr, argv.data(), nullptr,
                      static_cast<GSpawnFlags>(G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL |
                                               G_SPAWN_STDERR_TO_DEV_NULL),
                      nullptr, nullptr, nullptr, nullptr, &status, nullptr) &&
         g_spawn_check_wait_status(status, nullptr);
}

inline bool have_program(const char *name)
{
  g_autofree char *path = g_find_program_in_path(name);

  return path != nullptr;
}

/* A folder that is emptied and removed with the test. */
class Scratch : public testing::Test
{
protected:
  std::string folder;

  void SetUp() override
  {
    g_autoptr(GError) error = nullptr;
    g_autofree char *made = g_dir_make_tmp("virtdisk-test-XXXXXX", &error);

    ASSERT_NE(made, nullptr) << error->message;
    folder = made;
  }

  void TearDown() override
  {
    for (auto point = mounted.rbegin(); point != mounted.rend(); ++point)
      umount2(point->c_str(), MNT_DETACH);
    if (!folder.empty())
      run({"rm", "-rf", "--one-file-system", folder});
  }

  std::string file(const std::string &name, off_t size = 4096)
  {
    std::string path = folder + "/" + name;
    int fd = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);

    EXPECT_GE(fd, 0) << path;
    EXPECT_EQ(ftruncate(fd, size), 0) << path;
    close(fd);
    return path;
  }

  /*
   * Makes a file system in a file and mounts it at folder/name, in a mount namespace of this process alone
   * and with a loop device that mount(8) sets to clear itself: both vanish with the process, however it ends.
   */
  bool mount_new(const std::string &name, const std::vector<std::string> &mkfs, off_t size)
  {
    std::string image = file(name + ".img", size), point = folder + "/" + name;
    std::vector<std::string> words = mkfs;

    words.push_back(image);
    if (!own_namespace() || !run(words) || mkdir(point.c_str(), 0755) < 0 ||
        !run({"mount", "-o", "loop", image, point}))
      return false;
    mounted.push_back(point);
    return true;
  }

  bool mount_tmpfs(const std::string &name, const char *type = "tmpfs")
  {
    std::string point = folder + "/" + name;

    if (!own_namespace() || mkdir(point.c_str(), 0755) < 0 ||
        mount("none", point.c_str(), type, 0, nullptr) < 0)
      return false;
    mounted.push_back(point);
    return true;
  }

private:
  std::vector<std::string> mounted;

  static bool own_namespace()
  {
    static bool done =
        unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;

    return done;
  }
};
