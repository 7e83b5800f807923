// SPDX-License-Identifier: LGPL-2.1-or-later
// A whole VHD, as the probe and whoever opens it read it: footers, sparse header, locators, table.
#include "fuzz/sparse.hh"
#include "images/vhd.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/registry.h"
#include "formats/vhd-bat.h"
}

namespace
{

images::Bytes read(const images::File &file, uint64_t offset, size_t length)
{
  images::Bytes bytes(length);

  if (offset > kMaxFuzzedFile ||
      pread(file.fd(), bytes.data(), length, static_cast<off_t>(offset)) != static_cast<ssize_t>(length))
    return {};
  return bytes;
}

// The structure that begins with this cookie gets the right sum.
void mend(images::File &file, uint64_t offset, const char *cookie, size_t length, size_t at_sum)
{
  images::Bytes bytes = read(file, offset, length);
  uint32_t sum = 0;

  if (bytes.empty() || memcmp(bytes.data(), cookie, 8) != 0)
    return;
  images::put_be(bytes, at_sum, 0, 4);
  for (uint8_t byte : bytes)
    sum += byte;
  images::put_be(bytes, at_sum, ~sum, 4);
  file.put(offset, bytes);
}

void mend_image(images::File &file)
{
  struct stat st = {};

  must(fstat(file.fd(), &st) == 0);
  mend(file, 0, "conectix", 512, 64);
  if (st.st_size >= 512)
    mend(file, static_cast<uint64_t>(st.st_size) - 512, "conectix", 512, 64);
  images::Bytes front = read(file, 0, 512);
  if (front.empty())
    return;
  uint64_t header = 0;
  for (unsigned i = 16; i < 24; i++)
    header = header << 8 | front[i];
  mend(file, header, "cxsparse", 1024, 36);
}

void check_table(const VdReader &reader, const VdVhdBatShape &shape)
{
  images::Bytes table(vd_vhd_table_length(shape.blocks));
  std::vector<uint32_t> scratch(shape.blocks);
  VdFormatError error;
  VdVhdBatUse use;

  if (!vd_vhd_bat_read(&reader, &shape, table.data(), &error) ||
      !vd_vhd_bat_check(table.data(), &shape, scratch.data(), &use, &error))
    return;
  must(use.allocated <= shape.blocks && use.lowest <= use.highest);
  must(use.allocated == 0 || use.lowest >= 512);
  must(shape.may_be_short || use.highest <= shape.space_end);
}

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static VdFacts facts;
  Input input(data, size);
  bool right = input.number(1) % 4 != 0;
  auto file = unpack(input);
  VdVhdFooters footers;
  VdVhdSparse sparse;
  VdFormatError error;
  VdReader reader;

  if (right)
    mend_image(*file);
  vd_format_probe(file->fd(), VIRTDISK_DEVICE_VHD, VD_CONTENT_SKIP, &facts, &error);
  must(vd_reader_init(&reader, file->fd(), &error));
  if (!vd_vhd_footers_read(&reader, &footers, &error))
    return 0;
  must(footers.space_end <= reader.size && footers.footer.current_size <= VD_VHD_MAX_SIZE);
  if (footers.footer.type == VD_VHD_FIXED || !vd_vhd_sparse_read(&reader, &footers, &sparse, &error))
    return 0;
  must(sparse.max_entries <= VD_VHD_MAX_TABLE_ENTRIES && sparse.table_offset < footers.space_end);
  check_table(reader, vd_vhd_bat_shape(&footers, &sparse));
  return 0;
}

Seeds fuzz_seeds()
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
  return {{"dynamic", images::joined({1}, pack(images::File(dynamic.build())))},
          {"child", images::joined({1}, pack(images::File(child.build())))},
          {"torn", images::joined({1}, pack(images::File(torn.build())))},
          {"fixed", images::joined({1}, pack(images::File(images::fixed_vhd(images::Bytes(8192)))))}};
}
