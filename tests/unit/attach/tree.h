// SPDX-License-Identifier: LGPL-2.1-or-later
// A directory with files of our own making in place of /proc and /sys; gone with the object.
#pragma once

#include <filesystem>
#include <fstream>
#include <glib.h>
#include <string>

class Tree
{
public:
  Tree() : root_(Make()) {}
  ~Tree()
  {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  Tree(const Tree &) = delete;
  Tree &operator=(const Tree &) = delete;

  void File(const std::string &path, const std::string &text) const
  {
    std::filesystem::create_directories(At(path).parent_path());
    std::ofstream(At(path)) << text;
  }
  void Link(const std::string &path, const std::string &target) const
  {
    std::filesystem::create_directories(At(path).parent_path());
    std::filesystem::create_symlink(target, At(path));
  }
  void Directory(const std::string &path) const
  {
    std::filesystem::create_directories(At(path));
  }
  std::filesystem::path At(const std::string &path) const
  {
    return root_ / path;
  }
  std::string Read(const std::string &path) const
  {
    std::ifstream in(At(path));
    return std::string(std::istreambuf_iterator<char>(in), {});
  }
  bool Has(const std::string &path) const
  {
    return std::filesystem::exists(At(path));
  }

private:
  static std::filesystem::path Make()
  {
    char *made = g_dir_make_tmp("virtdisk-test-XXXXXX", nullptr);
    std::filesystem::path path(made);

    g_free(made);
    return path;
  }
  std::filesystem::path root_;
};
