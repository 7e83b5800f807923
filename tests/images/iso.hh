// SPDX-License-Identifier: LGPL-2.1-or-later
// ISO: a volume recognition sequence, and a volume that libblkid names.
#pragma once

#include "images/image.hh"

namespace images
{

struct IsoDescriptor {
  std::string id = "CD001";
  uint8_t type = 1;
  std::string label = "";
};

struct Iso {
  std::vector<IsoDescriptor> descriptors = {{"CD001", 1, "LABEL"}, {"CD001", 255, ""}};
  uint64_t stride = 2048;
  uint64_t size = 40 * 2048; // bytes; 0: right behind the last descriptor

  Bytes build() const
  {
    Bytes bytes(std::max<uint64_t>(size, 32768 + descriptors.size() * stride));

    for (size_t i = 0; i < descriptors.size(); i++)
      put_descriptor(bytes, 32768 + i * stride, descriptors[i]);
    if (size != 0)
      bytes.resize(size);
    return bytes;
  }

private:
  void put_descriptor(Bytes &bytes, size_t at, const IsoDescriptor &descriptor) const
  {
    bool high_sierra = descriptor.id == "CDROM";
    size_t head = high_sierra ? at + 8 : at;

    bytes.at(head) = descriptor.type;
    put_text(bytes, head + 1, descriptor.id);
    bytes.at(head + 6) = 1;
    if (descriptor.id != "CD001" || descriptor.type != 1)
      return;
    put_text(bytes, at + 40, (descriptor.label + std::string(32, ' ')).substr(0, 32));
    put_le(bytes, at + 80, bytes.size() / 2048, 4); // volume space, both byte orders
    put_be(bytes, at + 84, bytes.size() / 2048, 4);
    put_le(bytes, at + 128, 2048, 2);
    put_be(bytes, at + 130, 2048, 2);
    put_root(bytes, at);
  }

  // The root directory: its own first entry, as newer readers insist on.
  void put_root(Bytes &bytes, size_t at) const
  {
    const uint64_t root = 16 + (descriptors.size() + 1) * stride / 2048;
    Bytes record(34);

    record[0] = 34;
    put_le(record, 2, root, 4);
    put_be(record, 6, root, 4);
    put_le(record, 10, 2048, 4);
    put_be(record, 14, 2048, 4);
    record[25] = 2;
    put_le(record, 28, 1, 2);
    put_be(record, 30, 1, 2);
    record[32] = 1;
    std::copy(record.begin(), record.end(), bytes.begin() + static_cast<long>(at) + 156);
    if (bytes.size() >= root * 2048 + record.size())
      std::copy(record.begin(), record.end(), bytes.begin() + static_cast<long>(root * 2048));
  }
};

} // namespace images
