// SPDX-License-Identifier: LGPL-2.1-or-later
// Puts the sums of a VHD right, so that what stands behind them is reached.
#pragma once

#include <sys/stat.h>

#include "fuzz/sparse.hh"
#include "images/vhd.hh"

inline images::Bytes read_vhd(const images::File &file, uint64_t offset, size_t length)
{
  images::Bytes bytes(length);

  if (offset > kMaxFuzzedFile ||
      pread(file.fd(), bytes.data(), length, static_cast<off_t>(offset)) != static_cast<ssize_t>(length))
    return {};
  return bytes;
}

// The structure that begins with this cookie gets the right sum.
inline void mend_vhd_sum(images::File &file, uint64_t offset, const char *cookie, size_t length,
                         size_t at_sum)
{
  images::Bytes bytes = read_vhd(file, offset, length);
  uint32_t sum = 0;

  if (bytes.empty() || memcmp(bytes.data(), cookie, 8) != 0)
    return;
  images::put_be(bytes, at_sum, 0, 4);
  for (uint8_t byte : bytes)
    sum += byte;
  images::put_be(bytes, at_sum, ~sum, 4);
  file.put(offset, bytes);
}

inline void mend_vhd(images::File &file)
{
  struct stat st = {};

  must(fstat(file.fd(), &st) == 0);
  mend_vhd_sum(file, 0, "conectix", 512, 64);
  if (st.st_size >= 512)
    mend_vhd_sum(file, static_cast<uint64_t>(st.st_size) - 512, "conectix", 512, 64);
  images::Bytes front = read_vhd(file, 0, 512);
  if (front.empty())
    return;
  uint64_t header = 0;
  for (unsigned i = 16; i < 24; i++)
    header = header << 8 | front[i];
  mend_vhd_sum(file, header, "cxsparse", 1024, 36);
}

// Good images, each of another kind, and one whose trailer is lost.
inline std::map<std::string, images::Bytes> vhd_images()
{
  images::SparseVhd dynamic(3), child(4), torn(3);

  dynamic.table[1] = 0x800 / 512;
  dynamic.trailer_offset = 0xa00 + (512 << 10);
  torn.end = images::SparseVhd::MISSING;
  child.header.parent_name = u"parent.vhd";
  child.header.locators[0] = {"W2ru", 512, 24, 0x800};
  child.header.locators[3] = {"MacX", 512, 14, 0x900};
  child.header.locators[7] = {"Wi2k", 1, 4, 0xa00};
  child.pieces = {
      {0x800, images::utf16(u".\\parent.vhd", false)},
      {0x900, images::Bytes{'f', 'i', 'l', 'e', ':', '/', '/', '/', '%', '6', '1', '/', 'b', 'c'}},
      {0xa00, images::Bytes{'C', ':', '\\', 0x80}}};
  return {{"dynamic", dynamic.build()},
          {"child", child.build()},
          {"torn", torn.build()},
          {"fixed", images::fixed_vhd(images::Bytes(8192))}};
}
