/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A folder of its own for each test, and a look into it. */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <gio/gio.h>
#include <gtest/gtest.h>
#include <set>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

class StoreFolder : public testing::Test
{
protected:
  std::string base;

  void SetUp() override
  {
    g_autofree char *made = g_dir_make_tmp("virtdisk-store-XXXXXX", nullptr);

    ASSERT_NE(made, nullptr);
    base = made;
  }

  void TearDown() override
  {
    nftw(
        base.c_str(), [](const char *path, const struct stat *, int, struct FTW *) { return remove(path); },
        8, FTW_DEPTH | FTW_PHYS);
  }

  std::set<std::string> names(const std::string &folder)
  {
    std::set<std::string> found;
    DIR *dir = opendir((base + "/" + folder).c_str());

    while (struct dirent *entry = dir ? readdir(dir) : nullptr)
      if (std::string(entry->d_name) != "." && std::string(entry->d_name) != "..")
        found.insert(entry->d_name);
    if (dir)
      closedir(dir);
    return found;
  }

  std::string contents(const std::string &name)
  {
    g_autofree char *text = nullptr;
    gsize length = 0;

    EXPECT_TRUE(g_file_get_contents((base + "/" + name).c_str(), &text, &length, nullptr)) << name;
    return std::string(text ? text : "", length);
  }

  void put(const std::string &name, const std::string &text)
  {
    int fd = open((base + "/" + name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    EXPECT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    close(fd);
  }

  mode_t mode(const std::string &name)
  {
    struct stat st = {};

    EXPECT_EQ(lstat((base + "/" + name).c_str(), &st), 0) << name;
    return st.st_mode;
  }
};

/* text with one key's value replaced; fails if the key is not there. */
inline std::string with_value(std::string text, const std::string &key, const std::string &value)
{
  size_t start = text.find("\n" + key + "=");

  EXPECT_NE(start, std::string::npos) << key;
  if (start == std::string::npos)
    return text;
  start += key.size() + 2;
  return text.replace(start, text.find('\n', start) - start, value);
}
