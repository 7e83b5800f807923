// SPDX-License-Identifier: LGPL-2.1-or-later
// VHDX images in memory, opened as chains and served by the engine, beside a byte array that says what they
// must hold.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim-io.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "engine/engine.h"
#include "engine/pages.h"
#include "formats/create.h"
#include "formats/vhdx.h"
}

namespace vhdx
{

using vd_sim::Image;

struct Shape {
  uint32_t subtype = VIRTDISK_SUBTYPE_DYNAMIC;
  uint64_t size = 48 << 20;
  uint32_t block_size = 1 << 20;
  uint32_t sector_size = 512;
};

class File
{
public:
  explicit File(int fd) : fd_(fd) {}
  ~File()
  {
    if (fd_ >= 0)
      close(fd_);
  }
  File(const File &) = delete;
  int fd() const
  {
    return fd_;
  }

private:
  int fd_;
};

inline VdVhdx read_structure(const Image &image)
{
  File file(image.to_memfd());
  VdReader reader;
  VdFormatError error = {};
  VdVhdx vhdx = {};

  EXPECT_TRUE(vd_reader_init(&reader, file.fd(), &error) && vd_vhdx_read(&reader, &vhdx, &error))
      << error.text;
  vd_vhdx_clear(&vhdx);
  return vhdx;
}

// parent: its DataWriteGuid is what the new image names.
inline Image create(const Shape &shape, const Image *parent = nullptr)
{
  File file(memfd_create("vhdx", MFD_CLOEXEC));
  VdFormatError error = {};
  VdCreateSpec spec = {};

  spec.device_id = VIRTDISK_DEVICE_VHDX;
  spec.subtype = shape.subtype;
  spec.size = shape.size;
  spec.block_size = shape.block_size;
  spec.sector_size = shape.sector_size;
  spec.physical_sector_size = 4096;
  for (uint8_t i = 0; i < 16; i++) {
    spec.identifier[i] = static_cast<uint8_t>(i + 1);
    spec.guids[0][i] = static_cast<uint8_t>(i + 33);
    spec.guids[1][i] = static_cast<uint8_t>(i + 65);
  }
  if (parent) {
    VdVhdx vhdx = read_structure(*parent);

    memcpy(spec.parent_linkage, vhdx.header.data_write_guid, 16);
    strcpy(spec.parent_relative, "parent.vhdx");
  }
  EXPECT_TRUE(vd_vhdx_create(file.fd(), &spec, &error)) << error.text;
  return Image::from_fd(file.fd());
}

// Says what is wrong with an image; empty: nothing. The log must be empty unless dirty is allowed.
inline std::string faults(const Image &image, bool may_be_dirty = false)
{
  File file(image.to_memfd());
  VdReader reader;
  VdFormatError error = {};
  VdVhdx vhdx = {};
  std::string text;

  if (!vd_reader_init(&reader, file.fd(), &error) || !vd_vhdx_read(&reader, &vhdx, &error))
    return error.text;
  if (!may_be_dirty && !vd_vhdx_guid_is_zero(vhdx.header.log_guid))
    text = "the log was left";
  else if (!vd_vhdx_check_bat(&reader, &vhdx, nullptr, nullptr, nullptr, &error))
    text = error.text;
  else if (!may_be_dirty && image.size() % VD_VHDX_MIB != 0)
    text = "the file's size is no multiple of 1 MiB";
  vd_vhdx_clear(&vhdx);
  return text;
}

struct Aligned {
  explicit Aligned(size_t length)
      : data(static_cast<uint8_t *>(aligned_alloc(4096, (length + 4095) / 4096 * 4096)))
  {
  }
  ~Aligned()
  {
    free(data);
  }
  Aligned(const Aligned &) = delete;
  uint8_t *data;
};

// One request in flight.
struct Pending {
  VdRequest request = {};
  Aligned memory;
  bool finished = false;
  int result = 0;

  Pending(VdOp op, uint64_t offset, uint64_t length, uint32_t flags = 0)
      : memory(op == VD_OP_READ || op == VD_OP_WRITE ? length : 1)
  {
    request.op = op;
    request.flags = flags;
    request.offset = offset;
    request.length = length;
    request.buffer = memory.data;
    request.user = this;
    request.done = [](VdRequest *one, int outcome) {
      auto *self = static_cast<Pending *>(one->user);

      self->finished = true;
      self->result = outcome;
    };
  }
};

class Chain
{
public:
  // images[0] is the leaf.
  Chain(const std::vector<Image> &images, bool writable, vd_sim::Options options = {}) : sim(options)
  {
    VdLayer *layers[8] = {};
    VdEngineOptions engine_options = {};

    for (const Image &image : images)
      sim.add(image, writable && &image == &images[0]);
    pages = vd_pages_new(sim.io(), 4096, 64 * 4096);
    for (unsigned i = 0; i < images.size(); i++) {
      VdLayerSource source = sim.source(i, pages, writable && i == 0);

      layers[i] = vd_vhdx_layer_open(&source, &error);
      if (!layers[i]) {
        for (unsigned j = 0; j < i; j++)
          vd_layer_free(layers[j]);
        return;
      }
    }
    engine_options.read_only = !writable;
    engine_options.pages = pages;
    leaf = layers[0];
    engine = vd_engine_new(sim.io(), layers, static_cast<unsigned>(images.size()), &engine_options);
  }
  ~Chain()
  {
    vd_engine_free(engine);
    vd_pages_free(pages);
  }
  Chain(const Chain &) = delete;

  int wait(Pending &pending)
  {
    sim.run_until([&] { return pending.finished; });
    EXPECT_TRUE(pending.finished) << "the request hangs";
    return pending.finished ? pending.result : -ETIMEDOUT;
  }
  int run(Pending &pending)
  {
    vd_engine_submit(engine, &pending.request);
    return wait(pending);
  }
  int write(uint64_t offset, const std::vector<uint8_t> &bytes, uint32_t flags = 0)
  {
    Pending pending(VD_OP_WRITE, offset, bytes.size(), flags);

    memcpy(pending.memory.data, bytes.data(), bytes.size());
    return run(pending);
  }
  int fill(uint64_t offset, uint64_t length, uint8_t byte)
  {
    return write(offset, std::vector<uint8_t>(length, byte));
  }
  std::vector<uint8_t> read(uint64_t offset, uint64_t length, int *ret_result = nullptr)
  {
    Pending pending(VD_OP_READ, offset, length);
    int result = run(pending);

    if (ret_result)
      *ret_result = result;
    else
      EXPECT_EQ(result, 0) << "read at " << offset;
    return std::vector<uint8_t>(pending.memory.data, pending.memory.data + length);
  }
  int flush()
  {
    Pending pending(VD_OP_FLUSH, 0, 0);

    return run(pending);
  }
  int discard(uint64_t offset, uint64_t length)
  {
    Pending pending(VD_OP_DISCARD, offset, length);

    return run(pending);
  }
  int zeroes(uint64_t offset, uint64_t length, uint32_t flags = 0)
  {
    Pending pending(VD_OP_WRITE_ZEROES, offset, length, flags);

    return run(pending);
  }
  std::vector<uint8_t> all()
  {
    std::vector<uint8_t> bytes;
    uint64_t size = vd_engine_size(engine), piece = 1 << 20;

    for (uint64_t at = 0; at < size; at += piece) {
      std::vector<uint8_t> part = read(at, std::min(piece, size - at));

      bytes.insert(bytes.end(), part.begin(), part.end());
    }
    return bytes;
  }

  vd_sim::Io sim;
  VdPages *pages = nullptr;
  VdLayer *leaf = nullptr;
  VdEngine *engine = nullptr;
  VdFormatError error = {};
};

// Where two byte arrays differ first; empty: nowhere.
inline std::string difference(const std::vector<uint8_t> &is, const std::vector<uint8_t> &should)
{
  if (is.size() != should.size())
    return "sizes differ: " + std::to_string(is.size()) + " and " + std::to_string(should.size());
  if (is == should)
    return "";
  for (size_t i = 0; i < is.size(); i++)
    if (is[i] != should[i])
      return "byte " + std::to_string(i) + " is " + std::to_string(is[i]) + ", not " +
             std::to_string(should[i]);
  return "";
}

} // namespace vhdx
