// SPDX-License-Identifier: LGPL-2.1-or-later
// Bytes of test images, and files without a name that hold them. Images are built from descriptions, good and
// broken; there are no binary blobs.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ftw.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace images
{

using Bytes = std::vector<uint8_t>;

inline void put_be(Bytes &bytes, size_t at, uint64_t value, size_t length)
{
  for (size_t i = 0; i < length; i++)
    bytes.at(at + i) = static_cast<uint8_t>(value >> (8 * (length - 1 - i)));
}

inline void put_le(Bytes &bytes, size_t at, uint64_t value, size_t length)
{
  for (size_t i = 0; i < length; i++)
    bytes.at(at + i) = static_cast<uint8_t>(value >> (8 * i));
}

inline void put_text(Bytes &bytes, size_t at, const std::string &text)
{
  for (size_t i = 0; i < text.size(); i++)
    bytes.at(at + i) = static_cast<uint8_t>(text[i]);
}

inline Bytes joined(Bytes first, const Bytes &second)
{
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

// A regular file in memory; gone with the object.
class File
{
public:
  // size: bytes; more than the bytes given leaves a hole behind them.
  explicit File(const Bytes &bytes, uint64_t size = 0) : fd_(memfd_create("image", MFD_CLOEXEC))
  {
    put(0, bytes);
    if (size > bytes.size())
      resize(size);
  }
  ~File()
  {
    close(fd_);
  }
  File(const File &) = delete;
  File &operator=(const File &) = delete;

  int fd() const
  {
    return fd_;
  }
  void put(uint64_t offset, const Bytes &bytes)
  {
    if (!bytes.empty() && pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset)) !=
                              static_cast<ssize_t>(bytes.size()))
      abort();
  }
  void resize(uint64_t size)
  {
    if (ftruncate(fd_, static_cast<off_t>(size)) != 0)
      abort();
  }

private:
  int fd_;
};

// A directory for files that programs must be told the names of; removed with all in it.
class Directory
{
public:
  Directory() : path_((getenv("TMPDIR") ? std::string(getenv("TMPDIR")) : "/tmp") + "/virtdisk-test-XXXXXX")
  {
    if (mkdtemp(path_.data()) == nullptr)
      abort();
  }
  ~Directory()
  {
    nftw(
        path_.c_str(), [](const char *path, const struct stat *, int, struct FTW *) { return remove(path); },
        8, FTW_DEPTH | FTW_PHYS);
  }
  Directory(const Directory &) = delete;
  Directory &operator=(const Directory &) = delete;

  std::string file(const std::string &name) const
  {
    return path_ + "/" + name;
  }

private:
  std::string path_;
};

} // namespace images
