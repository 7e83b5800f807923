// SPDX-License-Identifier: LGPL-2.1-or-later
// VHD: footer and sparse header from their fields; fixed, dynamic and differencing images from those.
#pragma once

#include <array>
#include <optional>

#include "images/image.hh"

namespace images
{

struct VhdFooter {
  std::string cookie = "conectix";
  uint32_t features = 2;
  uint32_t version = 0x00010000;
  uint64_t data_offset = UINT64_MAX;
  uint32_t timestamp = 0x2b000000;
  std::string creator = "test";
  uint32_t creator_version = 0x00010000;
  std::string creator_os = "Wi2k";
  uint64_t original_size = 1 << 20;
  uint64_t current_size = 1 << 20;
  uint16_t cylinders = 30; // 30 * 4 * 17 sectors: less than the disk, as it nearly always is
  uint8_t heads = 4;
  uint8_t sectors = 17;
  uint32_t type = 2;
  std::optional<uint32_t> checksum; // else the right one
  std::array<uint8_t, 16> unique_id = {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
                                       0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f};
  uint8_t saved_state = 0;
  uint8_t hidden = 0; // XenServer's, in the reserved bytes

  Bytes build() const
  {
    Bytes bytes(512);
    uint32_t sum = 0;

    put_text(bytes, 0, cookie);
    put_be(bytes, 8, features, 4);
    put_be(bytes, 12, version, 4);
    put_be(bytes, 16, data_offset, 8);
    put_be(bytes, 24, timestamp, 4);
    put_text(bytes, 28, creator);
    put_be(bytes, 32, creator_version, 4);
    put_text(bytes, 36, creator_os);
    put_be(bytes, 40, original_size, 8);
    put_be(bytes, 48, current_size, 8);
    put_be(bytes, 56, cylinders, 2);
    put_be(bytes, 58, heads, 1);
    put_be(bytes, 59, sectors, 1);
    put_be(bytes, 60, type, 4);
    std::copy(unique_id.begin(), unique_id.end(), bytes.begin() + 68);
    bytes[84] = saved_state;
    bytes[85] = hidden;
    for (uint8_t byte : bytes)
      sum += byte;
    put_be(bytes, 64, checksum.value_or(~sum), 4);
    return bytes;
  }

  // The trailer of writers before 2004.
  Bytes build_short() const
  {
    Bytes bytes = build();

    bytes.pop_back();
    return bytes;
  }
};

inline Bytes fixed_vhd(const Bytes &payload, VhdFooter footer = {})
{
  footer.original_size = footer.current_size = payload.size();
  return joined(payload, footer.build());
}

inline Bytes utf16(const std::u16string &text, bool big)
{
  Bytes bytes(2 * text.size());

  for (size_t i = 0; i < text.size(); i++)
    big ? put_be(bytes, 2 * i, text[i], 2) : put_le(bytes, 2 * i, text[i], 2);
  return bytes;
}

struct VhdLocator {
  std::string code; // four characters; empty: an unused slot
  uint32_t space = 512;
  uint32_t length = 0;
  uint64_t offset = 0;
};

struct VhdSparse {
  std::string cookie = "cxsparse";
  uint64_t data_offset = UINT64_MAX;
  uint64_t table_offset = 0x600;
  uint32_t version = 0x00010000;
  uint32_t max_entries = 2;
  uint32_t block_size = 512 << 10;
  std::optional<uint32_t> checksum; // else the right one
  std::array<uint8_t, 16> parent_id = {};
  uint32_t parent_timestamp = 0;
  std::u16string parent_name;
  std::array<VhdLocator, 8> locators = {};

  Bytes build() const
  {
    Bytes bytes(1024);
    uint32_t sum = 0;

    put_text(bytes, 0, cookie);
    put_be(bytes, 8, data_offset, 8);
    put_be(bytes, 16, table_offset, 8);
    put_be(bytes, 24, version, 4);
    put_be(bytes, 28, max_entries, 4);
    put_be(bytes, 32, block_size, 4);
    std::copy(parent_id.begin(), parent_id.end(), bytes.begin() + 40);
    put_be(bytes, 56, parent_timestamp, 4);
    Bytes name = utf16(parent_name, true);
    std::copy(name.begin(), name.end(), bytes.begin() + 64);
    for (size_t i = 0; i < locators.size(); i++) {
      put_text(bytes, 576 + 24 * i, locators[i].code);
      put_be(bytes, 576 + 24 * i + 4, locators[i].space, 4);
      put_be(bytes, 576 + 24 * i + 8, locators[i].length, 4);
      put_be(bytes, 576 + 24 * i + 16, locators[i].offset, 8);
    }
    for (uint8_t byte : bytes)
      sum += byte;
    put_be(bytes, 36, checksum.value_or(~sum), 4);
    return bytes;
  }
};

// A dynamic or differencing image, piece by piece; what is not set up otherwise is good and empty: a disk of
// 1 MiB in blocks of 512 KiB, the table at 0x600.
struct SparseVhd {
  VhdFooter footer;
  std::optional<VhdFooter> front;   // else like footer
  std::optional<VhdFooter> trailer; // else like footer
  enum { WHOLE, SHORT, MISSING } end = WHOLE;
  VhdSparse header;
  std::vector<uint32_t> table = {UINT32_MAX, UINT32_MAX}; // sectors
  std::vector<std::pair<uint64_t, Bytes>> pieces;         // written last but for the trailer
  uint64_t trailer_offset = 0xe00;

  explicit SparseVhd(uint32_t type = 3)
  {
    footer.type = type;
    footer.data_offset = 512;
    footer.timestamp = 0x2c000000;
  }

  Bytes build() const
  {
    Bytes bytes(trailer_offset);
    auto put = [&bytes](uint64_t at, const Bytes &piece) {
      if (bytes.size() < at + piece.size())
        bytes.resize(at + piece.size());
      std::copy(piece.begin(), piece.end(), bytes.begin() + static_cast<long>(at));
    };
    Bytes entries((table.size() * 4 + 511) / 512 * 512, 0xff);

    for (size_t i = 0; i < table.size(); i++)
      put_be(entries, 4 * i, table[i], 4);
    if (header.table_offset <= 1 << 20)
      put(header.table_offset, entries);
    if (footer.data_offset <= 1 << 20)
      put(footer.data_offset, header.build());
    put(0, front.value_or(footer).build());
    for (const auto &[at, piece] : pieces)
      put(at, piece);
    if (end == SHORT)
      put(trailer_offset, trailer.value_or(footer).build_short());
    else if (end == WHOLE)
      put(trailer_offset, trailer.value_or(footer).build());
    return bytes;
  }
};

} // namespace images
