// SPDX-License-Identifier: LGPL-2.1-or-later
// VHDs in memory, opened as chains and served by the engine.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "images/vhd.hh"
#include "sim-io.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "engine/engine.h"
#include "engine/pages.h"
#include "formats/create.h"
#include "formats/vhd-bat.h"
}

namespace vhd
{

using images::Bytes;
using vd_sim::Image;

constexpr uint64_t mib = 1 << 20;

// A new image as virtdisk makes it; its unique id is 16 times id, its parent's 16 times parent.
inline Image create(uint32_t subtype, uint64_t size, uint32_t block_size = 512 << 10, uint8_t id = 7,
                    uint8_t parent = 8)
{
  images::File file({});
  VdCreateSpec spec = {};
  VdFormatError error = {};

  spec.device_id = VIRTDISK_DEVICE_VHD;
  spec.subtype = subtype;
  spec.size = size;
  spec.block_size = subtype == VIRTDISK_SUBTYPE_FIXED ? 0 : block_size;
  memset(spec.identifier, id, 16);
  memset(spec.parent_linkage, parent, 16);
  strcpy(spec.parent_relative, "parent.vhd");
  EXPECT_TRUE(vd_vhd_create(file.fd(), &spec, &error)) << error.text;
  return Image::from_fd(file.fd());
}

// What the structures of an image say; a test fails where they are wrong.
struct Structure {
  VdVhdFooters footers = {};
  VdVhdSparse sparse = {};
  VdVhdBatShape shape = {};
  VdVhdBatUse use = {};
  std::vector<uint8_t> table;
  VdFormatError error = {};
  bool good = false;

  explicit Structure(const Image &image)
  {
    int fd = image.to_memfd();
    VdReader reader;

    good = vd_reader_init(&reader, fd, &error) && vd_vhd_footers_read(&reader, &footers, &error) &&
           (footers.footer.type == VD_VHD_FIXED || read_table(reader));
    close(fd);
  }
  uint32_t entry(uint32_t block) const
  {
    return vd_vhd_bat_entry(table.data(), block);
  }
  bool clean() const
  {
    return good && footers.trailer == VD_VHD_TRAILER_GOOD && !footers.front_stale;
  }

private:
  bool read_table(const VdReader &reader)
  {
    if (!vd_vhd_sparse_read(&reader, &footers, &sparse, &error))
      return false;
    shape = vd_vhd_bat_shape(&footers, &sparse);
    table.resize(vd_vhd_table_length(shape.blocks));
    std::vector<uint32_t> scratch(shape.blocks);
    return vd_vhd_bat_read(&reader, &shape, table.data(), &error) &&
           vd_vhd_bat_check(table.data(), &shape, scratch.data(), &use, &error);
  }
};

class Chain
{
public:
  // files[0] is the leaf.
  Chain(const std::vector<Image> &files, bool writable, const vd_sim::Options &options = {}) : sim(options)
  {
    std::vector<VdLayer *> layers;
    VdEngineOptions engine_options = {};

    for (const Image &image : files)
      sim.add(image, writable && layers.empty() && sim.io()->n_files == 0);
    pages = vd_pages_new(sim.io(), 4096, 64 * 4096);
    for (unsigned i = 0; i < files.size(); i++) {
      VdLayerSource source = sim.source(i, pages, writable && i == 0);
      VdLayer *layer = vd_vhd_layer_open(&source, &error);

      if (layer == nullptr) {
        for (VdLayer *opened : layers)
          vd_layer_free(opened);
        return;
      }
      layers.push_back(layer);
    }
    leaf = layers[0];
    if (!vd_layers_check_chain(layers.data(), static_cast<unsigned>(layers.size()), &error)) {
      for (VdLayer *opened : layers)
        vd_layer_free(opened);
      return;
    }
    engine_options.read_only = !writable;
    engine_options.pages = pages;
    engine = vd_engine_new(sim.io(), layers.data(), static_cast<unsigned>(layers.size()), &engine_options);
  }
  ~Chain()
  {
    vd_engine_free(engine);
    vd_pages_free(pages);
  }
  Chain(const Chain &) = delete;

  struct Request {
    VdRequest request = {};
    uint8_t *memory;
    bool finished = false;
    int result = -1;

    Request(VdOp op, uint64_t offset, uint64_t length, uint32_t flags = 0)
        : memory(static_cast<uint8_t *>(aligned_alloc(4096, (length + 4096) / 4096 * 4096)))
    {
      request.op = op;
      request.flags = flags;
      request.offset = offset;
      request.length = length;
      request.buffer = memory;
      request.user = this;
      request.done = [](VdRequest *one, int outcome) {
        auto *self = static_cast<Request *>(one->user);

        self->finished = true;
        self->result = outcome;
      };
    }
    ~Request()
    {
      free(memory);
    }
    Request(const Request &) = delete;
  };

  void submit(Request &request)
  {
    vd_engine_submit(engine, &request.request);
  }
  int wait(Request &request)
  {
    sim.run_until([&request] { return request.finished; });
    EXPECT_TRUE(request.finished) << "the request hangs";
    return request.finished ? request.result : -ETIMEDOUT;
  }
  int run(VdOp op, uint64_t offset, uint64_t length, uint8_t byte = 0, uint32_t flags = 0)
  {
    Request request(op, offset, length, flags);

    memset(request.memory, byte, length);
    submit(request);
    return wait(request);
  }
  int write(uint64_t offset, uint64_t length, uint8_t byte)
  {
    return run(VD_OP_WRITE, offset, length, byte);
  }
  int flush()
  {
    return run(VD_OP_FLUSH, 0, 0);
  }
  Bytes read(uint64_t offset, uint64_t length)
  {
    Request request(VD_OP_READ, offset, length);

    submit(request);
    EXPECT_EQ(wait(request), 0) << "read at " << offset;
    return Bytes(request.memory, request.memory + length);
  }
  // All of these bytes are that one.
  bool holds(uint64_t offset, uint64_t length, uint8_t byte)
  {
    return read(offset, length) == Bytes(length, byte);
  }
  Bytes all()
  {
    Bytes bytes;

    for (uint64_t at = 0; at < vd_engine_size(engine); at += mib) {
      Bytes part = read(at, std::min(mib, vd_engine_size(engine) - at));

      bytes.insert(bytes.end(), part.begin(), part.end());
    }
    return bytes;
  }
  Image image()
  {
    return sim.image(0);
  }

  vd_sim::Io sim;
  VdPages *pages = nullptr;
  VdLayer *leaf = nullptr;
  VdEngine *engine = nullptr;
  VdFormatError error = {};
};

} // namespace vhd
