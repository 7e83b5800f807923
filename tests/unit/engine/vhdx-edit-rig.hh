// SPDX-License-Identifier: LGPL-2.1-or-later
// Images that are changed, what they say in one line of text, and the changes whose power is cut.
#pragma once

#include <functional>

#include "vhdx-rig.hh"

extern "C" {
#include "engine/edit.h"
#include "formats/check.h"
}

namespace vhdx_edit
{

constexpr uint64_t KiB = 1024, MiB = 1024 * KiB, GiB = 1024 * MiB;

inline std::array<uint8_t, 16> guid(unsigned n)
{
  std::array<uint8_t, 16> bytes = {};

  for (unsigned i = 0; i < 16; i++)
    bytes[i] = static_cast<uint8_t>(n >> (i % 2 * 8)) ^ static_cast<uint8_t>(i * 17);
  return bytes;
}

// With data in its first block, and over its end.
inline vhdx::Image filled(const vhdx::Shape &shape)
{
  vhdx::Chain chain({vhdx::create(shape)}, true);

  EXPECT_EQ(chain.fill(0, 256 * KiB, 0x11), 0);
  EXPECT_EQ(chain.fill(shape.size - 256 * KiB, 256 * KiB, 0x22), 0);
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  return chain.sim.image(0);
}

inline vhdx::Image child_of(const vhdx::Image &parent)
{
  vhdx::Shape shape;

  shape.subtype = VIRTDISK_SUBTYPE_DIFFERENCING;
  return vhdx::create(shape, &parent);
}

// An image whose last block is not whole, and has something behind the disk's end.
inline vhdx::Image with_something_behind(const vhdx::Shape &shape)
{
  vhdx::Image image = filled(shape);
  VdVhdx vhdx = vhdx::read_structure(image);
  uint64_t block = shape.size / shape.block_size;
  uint64_t at = vhdx.bat.offset + 8 * vd_vhdx_bat_payload_index(&vhdx.shape, block);
  std::vector<uint8_t> entry = image.read(at, 8);
  uint64_t value;

  memcpy(&value, entry.data(), 8);
  std::vector<uint8_t> junk(shape.block_size - shape.size % shape.block_size, 0xEE);
  image.write(vd_vhdx_bat_offset(le64toh(value)) + shape.size % shape.block_size, junk.data(), junk.size());
  return image;
}

struct Bed {
  explicit Bed(const vhdx::Image &image) : source(sim.source(sim.add(image, true), nullptr, true)) {}
  vhdx::Image image() const
  {
    return sim.image(0);
  }

  vd_sim::Io sim;
  VdLayerSource source;
  VdFormatError error = {};
};

struct Facts {
  VdVhdx vhdx = {};
  std::string text; // all that a reader sees, but for the FileWriteGuid
  std::string head; // the same without the disk itself
};

inline std::string hex(const uint8_t *bytes, size_t length)
{
  std::string text;
  char digits[3];

  for (size_t i = 0; i < length; i++) {
    snprintf(digits, sizeof digits, "%02x", bytes[i]);
    text += digits;
  }
  return text;
}

inline uint64_t sum(const std::vector<uint8_t> &bytes)
{
  uint64_t value = 14695981039346656037ULL;

  for (uint8_t byte : bytes)
    value = (value ^ byte) * 1099511628211ULL;
  return value;
}

inline std::string items_of(int fd)
{
  static uint8_t ids[VD_METADATA_MAX_ITEMS][16], data[VD_METADATA_MAX_ITEM];
  VdLayerSource source = {};
  VdFormatError error = {};
  unsigned n = 0;
  std::string text;

  source.fd = fd;
  EXPECT_TRUE(vd_metadata_enumerate(&source, VIRTDISK_DEVICE_VHDX, ids, &n, &error)) << error.text;
  for (unsigned i = 0; i < n; i++) {
    uint32_t length = 0;

    EXPECT_TRUE(vd_metadata_get(&source, VIRTDISK_DEVICE_VHDX, ids[i], data, &length, &error)) << error.text;
    text += " " + hex(ids[i], 4) + ":" + std::to_string(length) + ":" +
            std::to_string(sum(std::vector<uint8_t>(data, data + length)));
  }
  return text;
}

// What the disk holds at its ends, and where other sizes have theirs.
inline std::string content_of(const vhdx::Image &image, const VdVhdx &vhdx)
{
  vhdx::Chain chain({image}, false);
  std::string text;

  if (vhdx.has_parent)
    return "";
  if (!chain.engine) {
    ADD_FAILURE() << chain.error.text;
    return "";
  }
  for (uint64_t at : {uint64_t(0), 5 * MiB, 7 * MiB + 512 * KiB, 8 * MiB, 48 * MiB - 256 * KiB, 48 * MiB,
                      vhdx.virtual_size - 64 * KiB})
    if (at + 64 * KiB <= vhdx.virtual_size)
      text += " " + std::to_string(sum(chain.read(at, 64 * KiB)) % 1000003);
  return text;
}

inline Facts head_of(const vhdx::Image &image)
{
  vhdx::File file(image.to_memfd());
  VdReader reader;
  VdFormatError error = {};
  Facts facts;

  EXPECT_TRUE(vd_reader_init(&reader, file.fd(), &error) && vd_vhdx_read(&reader, &facts.vhdx, &error))
      << error.text;
  vd_vhdx_clear(&facts.vhdx);
  facts.head = std::to_string(facts.vhdx.virtual_size) + " " +
               std::to_string(facts.vhdx.physical_sector_size) + " " + hex(facts.vhdx.disk_id, 16) + " " +
               hex(facts.vhdx.header.data_write_guid, 16) + " " + hex(facts.vhdx.locator.linkage, 16) + " " +
               hex(facts.vhdx.locator.linkage2, 16) + " " + facts.vhdx.locator.relative_path + " " +
               facts.vhdx.locator.absolute_path + items_of(file.fd());
  return facts;
}

inline Facts facts_of(const vhdx::Image &image)
{
  Facts facts = head_of(image);

  facts.text = facts.head + content_of(image, facts.vhdx);
  return facts;
}

// What our checker says of these kinds (bits).
inline std::string checked(const vhdx::Image &image, unsigned kinds)
{
  struct Said {
    unsigned kinds;
    std::string text;
  } said = {kinds, ""};
  vhdx::File file(image.to_memfd());
  VdReader reader;
  VdCheckSummary summary = {};
  VdFormatError error = {};
  auto sink = [](void *user, const VdFault *fault) {
    auto *to = static_cast<Said *>(user);

    if (to->kinds >> fault->kind & 1)
      to->text += std::string(fault->error.text) + "; ";
  };

  if (!vd_reader_init(&reader, file.fd(), &error) ||
      !vd_check(&reader, VIRTDISK_DEVICE_VHDX, sink, &said, &summary, &error))
    said.text += error.text;
  return said.text;
}

// Opened for writing, and closed.
inline vhdx::Image reopened(const vhdx::Image &image)
{
  vd_sim::Io sim;
  VdPages *pages = vd_pages_new(sim.io(), 4096, 64 * 4096);
  VdLayerSource source = sim.source(sim.add(image, true), pages, true);
  VdFormatError error = {};
  VdLayer *layer = vd_vhdx_layer_open(&source, &error);

  EXPECT_TRUE(layer) << error.text;
  if (layer)
    vd_layer_free(layer);
  vd_pages_free(pages);
  return sim.image(0);
}

inline bool set_item(Bed &bed, unsigned number, uint32_t length)
{
  std::vector<uint8_t> data(length, static_cast<uint8_t>(number + 1));

  return vd_metadata_set(&bed.source, VIRTDISK_DEVICE_VHDX, guid(number).data(), data.data(), length,
                         &bed.error);
}

inline vhdx::Image with_items(std::initializer_list<uint32_t> lengths)
{
  Bed bed(filled({}));
  unsigned number = 100;

  for (uint32_t length : lengths)
    EXPECT_TRUE(set_item(bed, number++, length)) << bed.error.text;
  return bed.image();
}

struct Change {
  std::string name;
  std::function<vhdx::Image()> make;
  std::function<bool(Bed &)> run;
};

inline void PrintTo(const Change &change, std::ostream *out)
{
  *out << change.name;
}

inline std::function<bool(Bed &)> to_size(uint64_t size)
{
  return [size](Bed &bed) { return vd_edit_size(&bed.source, VIRTDISK_DEVICE_VHDX, size, &bed.error); };
}

inline vhdx::Shape shape_of(uint32_t subtype, uint64_t size, uint32_t block_size)
{
  vhdx::Shape shape;

  shape.subtype = subtype;
  shape.size = size;
  shape.block_size = block_size;
  return shape;
}

inline std::vector<Change> changes()
{
  const uint32_t dynamic = VIRTDISK_SUBTYPE_DYNAMIC, fixed = VIRTDISK_SUBTYPE_FIXED;
  auto plain = [] { return filled({}); };
  auto partial = [] {
    return with_something_behind(shape_of(VIRTDISK_SUBTYPE_DYNAMIC, 7 * MiB + 512 * KiB, 1 << 20));
  };

  return {
      {"identifier", plain,
       [](Bed &bed) {
         return vd_edit_identifier(&bed.source, VIRTDISK_DEVICE_VHDX, guid(9).data(), &bed.error);
       }},
      {"physical_sector_size", plain,
       [](Bed &bed) {
         return vd_edit_physical_sector_size(&bed.source, VIRTDISK_DEVICE_VHDX, 512, &bed.error);
       }},
      {"virtual_disk_id", plain,
       [](Bed &bed) {
         return vd_edit_virtual_disk_id(&bed.source, VIRTDISK_DEVICE_VHDX, guid(77).data(), &bed.error);
       }},
      {"parent", [] { return child_of(filled({})); },
       [](Bed &bed) {
         VdEditParent parent = {};

         memcpy(parent.linkage, guid(8).data(), 16);
         parent.relative = "elsewhere/far/away/parent.vhdx";
         return vd_edit_parent(&bed.source, VIRTDISK_DEVICE_VHDX, &parent, &bed.error);
       }},
      {"linkage", [] { return child_of(filled({})); },
       [](Bed &bed) {
         return vd_edit_linkage(&bed.source, VIRTDISK_DEVICE_VHDX, guid(5).data(), guid(6).data(),
                                &bed.error);
       }},
      {"grow_dynamic", plain, to_size(60 * MiB)},
      {"grow_dynamic_partial", partial, to_size(11 * MiB)},
      {"grow_dynamic_bat_moves", plain, to_size(300 * GiB)},
      {"grow_fixed", [=] { return filled(shape_of(fixed, 5 * MiB, 1 << 20)); }, to_size(9 * MiB)},
      {"grow_fixed_partial",
       [=] { return with_something_behind(shape_of(fixed, 7 * MiB + 512 * KiB, 1 << 20)); },
       to_size(16 * MiB)},
      {"shrink_dynamic", plain, to_size(8 * MiB)},
      {"shrink_dynamic_partial", plain, to_size(7 * MiB + 512 * KiB)},
      {"shrink_fixed", [=] { return filled(shape_of(fixed, 9 * MiB, 1 << 20)); }, to_size(5 * MiB)},
      {"shrink_many_entries", [=] { return filled(shape_of(dynamic, 6 * GiB, 1 << 20)); }, to_size(48 * MiB)},
      {"set_small", plain, [](Bed &bed) { return set_item(bed, 1, 100); }},
      {"set_large", plain, [](Bed &bed) { return set_item(bed, 1, 700 * 1024 + 5); }},
      {"set_empty", plain, [](Bed &bed) { return set_item(bed, 1, 0); }},
      {"set_moves_region",
       [] {
         return with_items({500 * 1024, 10});
       },
       [](Bed &bed) { return set_item(bed, 1, 1 << 20); }},
      {"replace",
       [] {
         return with_items({5000, 300, 9000});
       },
       [](Bed &bed) { return set_item(bed, 101, 6000); }},
      {"remove",
       [] {
         return with_items({5000, 300, 9000});
       },
       [](Bed &bed) {
         return vd_metadata_delete(&bed.source, VIRTDISK_DEVICE_VHDX, guid(101).data(), &bed.error);
       }},
  };
}

} // namespace vhdx_edit
