// SPDX-License-Identifier: LGPL-2.1-or-later
// Puts the checksums of a VHDX right, so that what stands behind them is reached.
#pragma once

#include <sys/stat.h>

#include "fuzz/fuzz.hh"
#include "images/vhdx.hh"

inline images::Bytes read_at(const images::File &file, uint64_t offset, size_t length)
{
  images::Bytes bytes(length);
  ssize_t n = pread(file.fd(), bytes.data(), length, static_cast<off_t>(offset));

  bytes.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return bytes;
}

inline void mend_sum(images::File &file, uint64_t offset, size_t length)
{
  images::Bytes bytes = read_at(file, offset, length);

  if (bytes.size() != length)
    return;
  images::put_le(bytes, 4, 0, 4);
  images::put_le(bytes, 4, images::crc32c(bytes), 4);
  file.put(offset + 4, images::Bytes(bytes.begin() + 4, bytes.begin() + 8));
}

inline uint64_t le_at(const images::Bytes &bytes, size_t at, size_t length)
{
  uint64_t value = 0;

  for (size_t i = 0; i < length; i++)
    value |= static_cast<uint64_t>(bytes.at(at + i)) << (8 * i);
  return value;
}

// Entries that do not wrap, in a log of at most 16 MiB.
inline void mend_log(images::File &file, uint64_t offset, uint64_t length)
{
  for (uint64_t at = 0; at + 4096 <= length && at < 16 << 20; at += 4096) {
    off_t data = lseek(file.fd(), static_cast<off_t>(offset + at), SEEK_DATA);

    if (data < 0)
      return;
    at = std::max<uint64_t>(at, (static_cast<uint64_t>(data) - offset) / 4096 * 4096);
    images::Bytes head = read_at(file, offset + at, 4096);
    if (head.size() < 4096 || at + 4096 > length)
      return;
    uint64_t entry = le_at(head, 8, 4);
    if (memcmp(head.data(), "loge", 4) == 0 && entry >= 4096 && entry <= 1 << 20 && at + entry <= length)
      mend_sum(file, offset + at, entry);
  }
}

inline void mend_vhdx(images::File &file)
{
  for (uint64_t header : {UINT64_C(64) << 10, UINT64_C(128) << 10}) {
    images::Bytes bytes = read_at(file, header, 4096);

    if (bytes.size() == 4096)
      mend_log(file, le_at(bytes, 72, 8), le_at(bytes, 68, 4));
    mend_sum(file, header, 4096);
  }
  mend_sum(file, UINT64_C(192) << 10, 65536);
  mend_sum(file, UINT64_C(256) << 10, 65536);
}

// Good images, each of another kind.
inline std::map<std::string, images::Vhdx> vhdx_images()
{
  using images::bat_entry;
  std::map<std::string, images::Vhdx> all;
  images::VhdxLogEntry first, second;

  all["dynamic"];
  all["fixed"].set_parameters(1 << 20, 1);
  all["child"].set_parent();
  all["child"].file_size = 6 << 20;
  all["child"].bat = {{0, bat_entry(4, 7)}, {1, bat_entry(0, 3)}, {4096, bat_entry(5, 6)}};
  all["sectors"].set_sectors(4096, 4096);
  first.descriptors.resize(2);
  first.descriptors[0].offset = 3 << 20;
  first.descriptors[1].offset = (3 << 20) + 4096;
  first.descriptors[1].page = images::Bytes(4096);
  second = first;
  second.sequence = 2;
  second.position = 8192;
  second.last = 7 << 20;
  all["log"].set_log({first, second});
  return all;
}
