// SPDX-License-Identifier: LGPL-2.1-or-later
// What tests of free space share: a folder, programs that make file systems, and what is said to be free.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "images/partitions.hh"

extern "C" {
#include "formats/free-space.h"
}

namespace free_space
{

constexpr uint64_t MiB = 1 << 20;

using Ranges = std::vector<std::pair<uint64_t, uint64_t>>; // offset, length

struct Found {
  Ranges ranges;
  VdFreeSpaceReport report = {};
  bool whole = false;
  uint64_t bytes = 0;
};

class FreeSpace : public testing::Test
{
protected:
  void SetUp() override
  {
    char path[] = "/tmp/virtdisk-free.XXXXXX";

    ASSERT_NE(mkdtemp(path), nullptr);
    folder_ = path;
  }

  void TearDown() override
  {
    for (const char *name : {"image", "file", "back", "other"})
      unlink(path(name).c_str());
    rmdir(folder_.c_str());
  }

  std::string path(const std::string &name) const
  {
    return folder_ + "/" + name;
  }

  // The exit status; 127: there is no such program.
  int run(const std::string &command) const
  {
    int status =
        system(("PATH=$PATH:/usr/sbin:/sbin; cd " + folder_ + "; " + command + " >other 2>&1").c_str());

    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  std::vector<uint8_t> load(const std::string &name) const
  {
    std::ifstream in(path(name), std::ios::binary | std::ios::ate);
    std::vector<uint8_t> bytes(in ? static_cast<size_t>(in.tellg()) : 0);

    in.seekg(0);
    in.read(reinterpret_cast<char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return bytes;
  }

  // Zeros stay a hole.
  void store(const std::string &name, const std::vector<uint8_t> &bytes) const
  {
    constexpr size_t kPiece = 65536;
    int fd = open(path(name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ASSERT_GE(fd, 0);
    EXPECT_EQ(ftruncate(fd, static_cast<off_t>(bytes.size())), 0);
    for (size_t at = 0; at < bytes.size(); at += kPiece) {
      size_t n = std::min(kPiece, bytes.size() - at);

      bool is_hole = bytes[at] == 0 && memcmp(&bytes[at], &bytes[at] + 1, n - 1) == 0;

      ASSERT_TRUE(is_hole || pwrite(fd, &bytes[at], n, static_cast<off_t>(at)) == static_cast<ssize_t>(n));
    }
    close(fd);
  }

  // One file of random bytes, to be put into the file system.
  void make_file(size_t length) const
  {
    std::vector<uint8_t> bytes(length);
    std::mt19937 random(7);

    for (uint8_t &byte : bytes)
      byte = static_cast<uint8_t>(random() | 1);
    store("file", bytes);
  }

  static Found ask(const std::vector<uint8_t> &disk, uint32_t sector_size = 512)
  {
    struct State {
      const std::vector<uint8_t> &disk;
      Found found;
      Ranges pending;
    } state = {disk, {}, {}};
    VdFreeSpaceDisk how = {};

    how.user = &state;
    how.scratch = memfd_create("scratch", MFD_CLOEXEC);
    EXPECT_GE(how.scratch, 0);
    how.size = disk.size();
    how.sector_size = sector_size;
    how.read = [](void *user, uint64_t offset, void *to, size_t length) {
      const std::vector<uint8_t> &bytes = static_cast<State *>(user)->disk;

      EXPECT_TRUE(offset <= bytes.size() && length <= bytes.size() - offset);
      memcpy(to, bytes.data() + offset, length);
      return true;
    };
    how.found = [](void *user, uint64_t offset, uint64_t length) {
      State *self = static_cast<State *>(user);

      EXPECT_TRUE(length > 0 && offset <= self->disk.size() && length <= self->disk.size() - offset);
      self->pending.emplace_back(offset, length);
      return true;
    };
    how.settle = [](void *user, VdFreeSpaceVerdict verdict) {
      State *self = static_cast<State *>(user);

      for (auto range : self->pending)
        if (verdict == VD_FREE_SPACE_KEEP) {
          self->found.ranges.push_back(range);
          self->found.bytes += range.second;
        }
      self->pending.clear();
    };
    state.found.whole = vd_free_space_find(&how, &state.found.report);
    EXPECT_TRUE(state.pending.empty());
    close(how.scratch);
    return state.found;
  }

  // Both ends of each range, and some of what is between them.
  static void overwrite(std::vector<uint8_t> &disk, const Found &found)
  {
    constexpr uint64_t kPiece = 65536;

    for (auto [offset, length] : found.ranges)
      for (uint64_t at = 0; at < length; at += at == 0 ? kPiece : MiB) {
        memset(&disk[offset + at], 0xA5, std::min(kPiece, length - at));
        memset(&disk[offset + length - std::min(kPiece, length)], 0xA5, std::min(kPiece, length));
      }
  }

  std::vector<uint8_t> make(const std::string &mkfs, uint64_t size) const
  {
    EXPECT_EQ(run("truncate -s " + std::to_string(size) + " image"), 0);
    int code = run(mkfs);
    if (code == 127)
      return {};
    EXPECT_EQ(code, 0) << mkfs;
    return load("image");
  }

private:
  std::string folder_;
};

inline std::vector<uint8_t> in_partition(const std::vector<uint8_t> &volume, uint64_t start)
{
  std::vector<uint8_t> disk(start + volume.size() + MiB);
  uint32_t first = static_cast<uint32_t>(start / 512), count = static_cast<uint32_t>(volume.size() / 512);

  memcpy(disk.data() + start, volume.data(), volume.size());
  disk[446 + 4] = 0x83;
  memcpy(&disk[446 + 8], &first, 4);
  memcpy(&disk[446 + 12], &count, 4);
  disk[510] = 0x55;
  disk[511] = 0xAA;
  return disk;
}

inline std::vector<uint8_t> with_table(uint64_t size, const std::vector<images::MbrEntry> &entries)
{
  std::vector<uint8_t> disk(size);

  images::put_mbr(disk, 0, entries);
  return disk;
}

} // namespace free_space
