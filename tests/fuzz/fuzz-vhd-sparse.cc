// SPDX-License-Identifier: LGPL-2.1-or-later
// A sparse header by itself: what parses can be built again, and then says the same.
#include "fuzz/fuzz.hh"
#include "images/vhd.hh"

extern "C" {
#include "formats/vhd-bytes.h"
#include "formats/vhd-sparse.h"
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  images::Bytes bytes(data, data + std::min<size_t>(size, VD_VHD_SPARSE_LENGTH));
  static VdVhdSparse sparse, again;
  uint8_t built[VD_VHD_SPARSE_LENGTH];
  VdFormatError error;

  if (bytes.size() == VD_VHD_SPARSE_LENGTH) {
    images::put_be(bytes, 36, 0, 4);
    images::put_be(bytes, 36, vd_vhd_checksum(bytes.data(), bytes.size()), 4);
  }
  VdSpan span = {"VHD sparse header", bytes.data(), bytes.size(), 512};
  if (!vd_vhd_sparse_parse(&span, &sparse, &error))
    return 0;
  must(vd_vhd_bitmap_length(sparse.block_size) % 512 == 0);
  must(vd_vhd_sparse_build(&sparse, built));
  span.data = built;
  span.length = sizeof built;
  must(vd_vhd_sparse_parse(&span, &again, &error));
  must(again.table_offset == sparse.table_offset && again.max_entries == sparse.max_entries &&
       again.block_size == sparse.block_size && strcmp(again.parent_name, sparse.parent_name) == 0 &&
       memcmp(again.parent_id, sparse.parent_id, 16) == 0);
  return 0;
}

Seeds fuzz_seeds()
{
  images::VhdSparse plain, child;

  child.parent_name = u"gr\u00f6\u00dfer.vhd";
  child.locators[2] = {"W2ku", 4096, 30, 0x1000};
  return {{"plain", plain.build()}, {"child", child.build()}};
}
