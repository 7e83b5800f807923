// SPDX-License-Identifier: LGPL-2.1-or-later
// VHD: a footer from its fields, and a fixed disk from payload and footer.
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

} // namespace images
