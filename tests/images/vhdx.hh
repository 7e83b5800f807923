// SPDX-License-Identifier: LGPL-2.1-or-later
// VHDX: every structure from its fields, valid by default; checksums are right unless they are given. Built
// from the specification alone, so that it can judge the parsers.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "images/image.hh"

namespace images
{

constexpr uint64_t kVhdxMiB = 1 << 20;

using Guid = std::array<uint8_t, 16>; // as on disk

inline uint32_t crc32c(const Bytes &bytes)
{
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> of;

    for (uint32_t i = 0; i < 256; i++) {
      of[i] = i;
      for (int bit = 0; bit < 8; bit++)
        of[i] = of[i] >> 1 ^ (of[i] & 1 ? 0x82f63b78 : 0);
    }
    return of;
  }();
  uint32_t crc = 0xffffffff;

  for (uint8_t byte : bytes)
    crc = crc >> 8 ^ table[(crc ^ byte) & 0xff];
  return ~crc;
}

inline void put_bytes(Bytes &bytes, size_t at, const uint8_t *from, size_t length)
{
  for (size_t i = 0; i < length; i++)
    bytes.at(at + i) = from[i];
}

inline Bytes utf16le(const std::string &ascii)
{
  Bytes bytes;

  for (char c : ascii) {
    bytes.push_back(static_cast<uint8_t>(c));
    bytes.push_back(0);
  }
  return bytes;
}

inline Guid guid_of(uint8_t byte)
{
  Guid guid;

  guid.fill(byte);
  return guid;
}

constexpr Guid kBatRegion = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
                             0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
constexpr Guid kMetadataRegion = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                  0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
constexpr Guid kFileParameters = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                                  0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
constexpr Guid kDiskSize = {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
                            0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};
constexpr Guid kDiskId = {0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45,
                          0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46};
constexpr Guid kLogicalSector = {0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47,
                                 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f};
constexpr Guid kPhysicalSector = {0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44,
                                  0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56};
constexpr Guid kParentLocator = {0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45,
                                 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c};
constexpr Guid kIncompleteFile = {0xf0, 0x85, 0xcc, 0x71, 0x69, 0x1b, 0x28, 0x4e,
                                  0x95, 0x58, 0xc3, 0xbf, 0x83, 0xae, 0x75, 0xd3};
constexpr Guid kVhdxLocator = {0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a,
                               0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13};

struct VhdxHeader {
  std::string signature = "head";
  uint64_t sequence = 1;
  Guid file_write_guid = guid_of(0xf1);
  Guid data_write_guid = {0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7,
                          0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf};
  Guid log_guid = {};
  uint16_t log_version = 0;
  uint16_t version = 1;
  uint32_t log_length = kVhdxMiB;
  uint64_t log_offset = kVhdxMiB;
  std::optional<uint32_t> checksum;

  Bytes build() const
  {
    Bytes bytes(4096);

    put_text(bytes, 0, signature);
    put_le(bytes, 8, sequence, 8);
    put_bytes(bytes, 16, file_write_guid.data(), 16);
    put_bytes(bytes, 32, data_write_guid.data(), 16);
    put_bytes(bytes, 48, log_guid.data(), 16);
    put_le(bytes, 64, log_version, 2);
    put_le(bytes, 66, version, 2);
    put_le(bytes, 68, log_length, 4);
    put_le(bytes, 72, log_offset, 8);
    put_le(bytes, 4, checksum.value_or(crc32c(bytes)), 4);
    return bytes;
  }
};

struct VhdxRegion {
  Guid guid;
  uint64_t offset = 0, length = 0;
  uint32_t flags = 1;
};

struct VhdxRegionTable {
  std::string signature = "regi";
  std::vector<VhdxRegion> entries;
  std::optional<uint32_t> count, checksum;

  Bytes build() const
  {
    Bytes bytes(65536);

    put_text(bytes, 0, signature);
    put_le(bytes, 8, count.value_or(static_cast<uint32_t>(entries.size())), 4);
    for (size_t i = 0; i < entries.size(); i++) {
      put_bytes(bytes, 16 + i * 32, entries[i].guid.data(), 16);
      put_le(bytes, 16 + i * 32 + 16, entries[i].offset, 8);
      put_le(bytes, 16 + i * 32 + 24, entries[i].length, 4);
      put_le(bytes, 16 + i * 32 + 28, entries[i].flags, 4);
    }
    put_le(bytes, 4, checksum.value_or(crc32c(bytes)), 4);
    return bytes;
  }
};

struct VhdxItem {
  Guid id;
  uint32_t offset = 0; // in the region
  uint32_t flags = 6;
  Bytes value;
  std::optional<uint32_t> length; // else the value's
};

inline Bytes le_bytes(uint64_t value, size_t length)
{
  Bytes bytes(length);

  put_le(bytes, 0, value, length);
  return bytes;
}

struct VhdxLocatorPair {
  std::string key, value;
  std::optional<uint32_t> key_offset, value_offset;
  std::optional<uint16_t> key_length, value_length;
  std::optional<Bytes> raw_value; // UTF-16 as it is
};

struct VhdxLocator {
  Guid type = kVhdxLocator;
  std::vector<VhdxLocatorPair> pairs = {
      {"parent_linkage", "{a3a2a1a0-a5a4-a7a6-a8a9-aaabacadaeaf}", {}, {}, {}, {}, {}},
      {"relative_path", ".\\parent.vhdx", {}, {}, {}, {}, {}},
      {"absolute_win32_path", "C:\\disks\\parent.vhdx", {}, {}, {}, {}, {}}};
  std::optional<uint16_t> count;

  Bytes build() const
  {
    Bytes bytes(20 + pairs.size() * 12);

    put_bytes(bytes, 0, type.data(), 16);
    put_le(bytes, 18, count.value_or(static_cast<uint16_t>(pairs.size())), 2);
    for (size_t i = 0; i < pairs.size(); i++) {
      const VhdxLocatorPair &pair = pairs[i];
      Bytes key = utf16le(pair.key), value = pair.raw_value.value_or(utf16le(pair.value));
      size_t at = 20 + i * 12;

      put_le(bytes, at, pair.key_offset.value_or(static_cast<uint32_t>(bytes.size())), 4);
      bytes = joined(bytes, key);
      put_le(bytes, at + 4, pair.value_offset.value_or(static_cast<uint32_t>(bytes.size())), 4);
      bytes = joined(bytes, value);
      put_le(bytes, at + 8, pair.key_length.value_or(static_cast<uint16_t>(key.size())), 2);
      put_le(bytes, at + 10, pair.value_length.value_or(static_cast<uint16_t>(value.size())), 2);
    }
    return bytes;
  }
};

struct VhdxDescriptor {
  uint64_t offset = 0;
  std::optional<Bytes> page;  // a data descriptor; else zeros
  uint64_t length = 4096;     // of zeros
  std::string signature = ""; // else the right one
  std::optional<uint64_t> sequence;
  uint32_t reserved = 0;
};

struct VhdxLogEntry {
  uint32_t position = 0; // in the log
  std::string signature = "loge";
  uint32_t tail = 0;
  uint64_t sequence = 1;
  Guid log_guid = guid_of(0x10);
  uint64_t flushed = 0, last = 0;
  std::vector<VhdxDescriptor> descriptors;
  std::optional<uint32_t> length, count, checksum;
  std::optional<uint64_t> data_sequence;
  std::string data_signature = "data";

  Bytes build() const
  {
    size_t head = (64 + 32 * descriptors.size() + 4095) / 4096 * 4096;
    Bytes bytes(head);

    put_text(bytes, 0, signature);
    put_le(bytes, 12, tail, 4);
    put_le(bytes, 16, sequence, 8);
    put_le(bytes, 24, count.value_or(static_cast<uint32_t>(descriptors.size())), 4);
    put_bytes(bytes, 32, log_guid.data(), 16);
    put_le(bytes, 48, flushed, 8);
    put_le(bytes, 56, last, 8);
    for (size_t i = 0; i < descriptors.size(); i++)
      put_descriptor(bytes, 64 + i * 32, descriptors[i]);
    put_le(bytes, 8, length.value_or(static_cast<uint32_t>(bytes.size())), 4);
    put_le(bytes, 4, checksum.value_or(crc32c(bytes)), 4);
    return bytes;
  }

private:
  void put_descriptor(Bytes &bytes, size_t at, const VhdxDescriptor &descriptor) const
  {
    put_le(bytes, at + 16, descriptor.offset, 8);
    put_le(bytes, at + 24, descriptor.sequence.value_or(sequence), 8);
    if (!descriptor.page) {
      put_text(bytes, at, descriptor.signature.empty() ? "zero" : descriptor.signature);
      put_le(bytes, at + 4, descriptor.reserved, 4);
      put_le(bytes, at + 8, descriptor.length, 8);
      return;
    }
    put_text(bytes, at, descriptor.signature.empty() ? "desc" : descriptor.signature);
    put_bytes(bytes, at + 4, descriptor.page->data() + 4092, 4);
    put_bytes(bytes, at + 8, descriptor.page->data(), 8);
    Bytes sector(4096);
    uint64_t number = data_sequence.value_or(sequence);
    put_text(sector, 0, data_signature);
    put_le(sector, 4, number >> 32, 4);
    put_bytes(sector, 8, descriptor.page->data() + 8, 4084);
    put_le(sector, 4092, number & 0xffffffff, 4);
    bytes = joined(bytes, sector);
  }
};

constexpr uint64_t bat_entry(uint64_t mib, unsigned state)
{
  return mib << 20 | state;
}

// A dynamic disk of 8 MiB in blocks of 1 MiB, of which the first is there: log, metadata, BAT, one block.
struct Vhdx {
  std::string file_signature = "vhdxfile";
  VhdxHeader headers[2];
  VhdxRegionTable regions[2];
  std::string metadata_signature = "metadata";
  std::vector<VhdxItem> items;
  std::optional<uint16_t> item_count;
  std::map<uint64_t, uint64_t> bat = {{0, bat_entry(4, 6)}};
  std::vector<VhdxLogEntry> log;
  uint64_t file_size = 5 * kVhdxMiB;
  // The last word, over anything that the fields can say.
  std::map<uint64_t, Bytes> patches;

  Vhdx()
  {
    headers[1].sequence = 2;
    for (VhdxRegionTable &table : regions)
      table.entries = {{kMetadataRegion, 2 * kVhdxMiB, kVhdxMiB, 1}, {kBatRegion, 3 * kVhdxMiB, kVhdxMiB, 1}};
    items = {{kFileParameters, 65536, 4, joined(le_bytes(kVhdxMiB, 4), le_bytes(0, 4)), {}},
             {kDiskSize, 65536 + 8, 6, le_bytes(8 * kVhdxMiB, 8), {}},
             {kLogicalSector, 65536 + 16, 6, le_bytes(512, 4), {}},
             {kPhysicalSector, 65536 + 20, 6, le_bytes(4096, 4), {}},
             {kDiskId, 65536 + 24, 6, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {}}};
  }

  VhdxItem &item(const Guid &id)
  {
    for (VhdxItem &one : items)
      if (one.id == id)
        return one;
    abort();
  }
  void set_size(uint64_t size)
  {
    item(kDiskSize).value = le_bytes(size, 8);
  }
  void set_parameters(uint32_t block_size, uint32_t flags)
  {
    item(kFileParameters).value = joined(le_bytes(block_size, 4), le_bytes(flags, 4));
  }
  void set_sectors(uint32_t logical, uint32_t physical)
  {
    item(kLogicalSector).value = le_bytes(logical, 4);
    item(kPhysicalSector).value = le_bytes(physical, 4);
  }
  void set_parent(const VhdxLocator &locator = {}, uint32_t block_size = kVhdxMiB)
  {
    set_parameters(block_size, 2);
    items.push_back({kParentLocator, 65536 + 40, 4, locator.build(), {}});
  }
  void for_both_headers(const std::function<void(VhdxHeader &)> &change)
  {
    change(headers[0]);
    change(headers[1]);
  }
  void for_both_tables(const std::function<void(VhdxRegionTable &)> &change)
  {
    change(regions[0]);
    change(regions[1]);
  }
  // The log is in use.
  void set_log(const std::vector<VhdxLogEntry> &entries)
  {
    log = entries;
    for_both_headers([](VhdxHeader &header) { header.log_guid = guid_of(0x10); });
  }

  uint64_t bat_offset() const
  {
    return regions[0].entries.at(1).offset;
  }
  uint64_t metadata_offset() const
  {
    return regions[0].entries.at(0).offset;
  }

  Bytes metadata() const
  {
    Bytes bytes(kVhdxMiB);

    put_text(bytes, 0, metadata_signature);
    put_le(bytes, 10, item_count.value_or(static_cast<uint16_t>(items.size())), 2);
    for (size_t i = 0; i < items.size() && i < 2047; i++) {
      const VhdxItem &one = items[i];

      put_bytes(bytes, 32 + i * 32, one.id.data(), 16);
      put_le(bytes, 32 + i * 32 + 16, one.offset, 4);
      put_le(bytes, 32 + i * 32 + 20, one.length.value_or(static_cast<uint32_t>(one.value.size())), 4);
      put_le(bytes, 32 + i * 32 + 24, one.flags, 4);
      if (one.offset >= 65536 && one.offset + one.value.size() <= bytes.size())
        put_bytes(bytes, one.offset, one.value.data(), one.value.size());
    }
    return bytes;
  }

  std::unique_ptr<File> make() const
  {
    auto file = std::make_unique<File>(Bytes(), file_size);
    Bytes signature(8);

    put_text(signature, 0, file_signature);
    put(*file, 0, signature);
    put(*file, 64 << 10, headers[0].build());
    put(*file, 128 << 10, headers[1].build());
    put(*file, 192 << 10, regions[0].build());
    put(*file, 256 << 10, regions[1].build());
    put(*file, 2 * kVhdxMiB, metadata());
    for (const auto &[index, entry] : bat)
      put(*file, 3 * kVhdxMiB + index * 8, le_bytes(entry, 8));
    for (const VhdxLogEntry &entry : log)
      put_entry(*file, entry);
    for (const auto &[offset, bytes] : patches)
      put(*file, offset, bytes);
    return file;
  }

private:
  // What lies behind the file's end is not there.
  void put(File &file, uint64_t offset, Bytes bytes) const
  {
    if (offset >= file_size)
      return;
    bytes.resize(std::min<uint64_t>(bytes.size(), file_size - offset));
    file.put(offset, bytes);
  }
  void put_entry(File &file, const VhdxLogEntry &entry) const
  {
    Bytes bytes = entry.build();

    for (size_t at = 0; at < bytes.size(); at += 4096)
      put(file, headers[1].log_offset + (entry.position + at) % headers[1].log_length,
          Bytes(bytes.begin() + static_cast<long>(at), bytes.begin() + static_cast<long>(at) + 4096));
  }
};

} // namespace images
