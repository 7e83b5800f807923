// SPDX-License-Identifier: LGPL-2.1-or-later
// Hard disks: MBR with logical drives, GPT, and things inside that libblkid names (swap, for it is small).
#pragma once

#include "images/image.hh"

namespace images
{

constexpr uint64_t kSector = 512;

inline uint32_t crc32(const uint8_t *bytes, size_t length)
{
  uint32_t crc = 0xffffffff;

  for (size_t i = 0; i < length; i++) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; bit++)
      crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc;
}

struct MbrEntry {
  uint8_t type = 0x83;
  uint32_t start = 0; // sectors
  uint32_t count = 0;
};

inline void put_mbr(Bytes &disk, uint64_t sector, const std::vector<MbrEntry> &entries, uint32_t disk_id = 0)
{
  size_t at = sector * kSector;

  put_le(disk, at + 440, disk_id, 4);
  for (size_t i = 0; i < entries.size(); i++) {
    disk.at(at + 446 + i * 16 + 4) = entries[i].type;
    put_le(disk, at + 446 + i * 16 + 8, entries[i].start, 4);
    put_le(disk, at + 446 + i * 16 + 12, entries[i].count, 4);
  }
  put_le(disk, at + 510, 0xaa55, 2);
}

struct GptEntry {
  uint64_t first = 0; // sectors, both included
  uint64_t last = 0;
  std::string name = "";
};

struct Gpt {
  std::vector<GptEntry> entries;
  uint32_t table_size = 128;
  bool backup = true;

  void put(Bytes &disk) const
  {
    uint64_t last = disk.size() / kSector - 1;
    Bytes table(table_size * 128);

    for (size_t i = 0; i < entries.size(); i++)
      put_entry(table, i);
    put_mbr(disk, 0, {{0xee, 1, static_cast<uint32_t>(last)}});
    std::copy(table.begin(), table.end(), disk.begin() + 2 * kSector);
    put_header(disk, table, 1, last, 2);
    if (!backup)
      return;
    std::copy(table.begin(), table.end(),
              disk.begin() + static_cast<long>(disk.size() - kSector - table.size()));
    put_header(disk, table, last, 1, last - table.size() / kSector);
  }

private:
  void put_entry(Bytes &table, size_t i) const
  {
    const uint8_t linux_data[] = {0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47,
                                  0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4};

    std::copy(linux_data, linux_data + 16, table.begin() + static_cast<long>(i) * 128);
    put_le(table, i * 128 + 16, 0x1122334455660000 + i, 8);
    put_le(table, i * 128 + 32, entries[i].first, 8);
    put_le(table, i * 128 + 40, entries[i].last, 8);
    for (size_t c = 0; c < entries[i].name.size() && c < 36; c++)
      table.at(i * 128 + 56 + c * 2) = static_cast<uint8_t>(entries[i].name[c]);
  }

  void put_header(Bytes &disk, const Bytes &table, uint64_t here, uint64_t other, uint64_t table_sector) const
  {
    Bytes header(92);
    uint64_t table_sectors = table.size() / kSector;

    put_text(header, 0, "EFI PART");
    put_le(header, 8, 0x00010000, 4);
    put_le(header, 12, 92, 4);
    put_le(header, 24, here, 8);
    put_le(header, 32, other, 8);
    put_le(header, 40, 2 + table_sectors, 8);
    put_le(header, 48, disk.size() / kSector - 2 - table_sectors, 8);
    put_le(header, 56, 0x0123456789abcdef, 8);
    put_le(header, 72, table_sector, 8);
    put_le(header, 80, table_size, 4);
    put_le(header, 84, 128, 4);
    put_le(header, 88, crc32(table.data(), table.size()), 4);
    put_le(header, 16, crc32(header.data(), header.size()), 4);
    std::copy(header.begin(), header.end(), disk.begin() + static_cast<long>(here * kSector));
  }
};

// A swap area of 4096-byte pages: version, last page and label; libblkid wants some ten pages of room.
inline void put_swap(Bytes &disk, uint64_t offset, const std::string &label)
{
  put_le(disk, offset + 1024, 1, 4);
  put_le(disk, offset + 1028, 15, 4);
  disk.at(offset + 1036) = 0x42; // UUID
  put_text(disk, offset + 1052, label.substr(0, 16));
  put_text(disk, offset + 4096 - 10, "SWAPSPACE2");
}

} // namespace images
