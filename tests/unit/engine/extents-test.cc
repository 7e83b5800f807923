// SPDX-License-Identifier: LGPL-2.1-or-later
// A walk over chains: what it tells of, put together, is what the engine reads; runs are as long as can be.
#include "vhdx-rig.hh"

extern "C" {
#include "engine/extents.h"
}

using namespace vhdx;

namespace
{

constexpr uint64_t mib = 1 << 20;

// Layers without an engine.
struct Layers {
  explicit Layers(const std::vector<Image> &images, vd_sim::Options options = {}) : sim(options)
  {
    for (const Image &image : images)
      sim.add(image, false);
    pages = vd_pages_new(sim.io(), 4096, 64 * 4096);
    for (unsigned i = 0; i < images.size(); i++) {
      VdLayerSource source = sim.source(i, pages, false);
      VdFormatError error = {};

      layers.push_back(vd_vhdx_layer_open(&source, &error));
      EXPECT_NE(layers.back(), nullptr) << error.text;
    }
  }
  ~Layers()
  {
    for (VdLayer *layer : layers)
      vd_layer_free(layer);
    vd_pages_free(pages);
  }
  Layers(const Layers &) = delete;
  VdExtent find(uint64_t offset, uint64_t length, unsigned first, unsigned last)
  {
    VdExtent extent = {};

    EXPECT_EQ(vd_extent_find(sim.io(), layers.data(), first, last, offset, length, &extent), 0);
    return extent;
  }
  std::vector<uint8_t> walk(uint64_t size, const std::vector<Image> &images)
  {
    std::vector<uint8_t> bytes;
    unsigned last = static_cast<unsigned>(images.size()) - 1;

    while (bytes.size() < size) {
      VdExtent extent = find(bytes.size(), size - bytes.size(), 0, last);

      if (extent.length == 0 || extent.length > size - bytes.size()) {
        ADD_FAILURE() << "an extent of " << extent.length << " at " << bytes.size();
        break;
      }
      std::vector<uint8_t> part(extent.length);
      if (extent.kind == VD_RUN_HERE)
        part = images[extent.layer].read(extent.offset, extent.length);
      bytes.insert(bytes.end(), part.begin(), part.end());
    }
    return bytes;
  }

  vd_sim::Io sim;
  VdPages *pages;
  std::vector<VdLayer *> layers;
};

Image written(const Image &image, const std::vector<Image> &parents,
              const std::function<void(Chain &)> &writes)
{
  std::vector<Image> images = {image};

  images.insert(images.end(), parents.begin(), parents.end());
  Chain chain(images, true);
  EXPECT_NE(chain.engine, nullptr) << chain.error.text;
  if (chain.engine) {
    writes(chain);
    EXPECT_EQ(vd_engine_close(chain.engine), 0);
  }
  return chain.sim.image(0);
}

} // namespace

TEST(Extents, AnEmptyDiskIsOneRunOfZeros)
{
  Layers chain({create({})});
  VdExtent extent = chain.find(512, 40 * mib, 0, 0);

  EXPECT_EQ(extent.kind, VD_RUN_ZERO);
  EXPECT_EQ(extent.length, 40 * mib);
}

TEST(Extents, BlocksThatFollowEachOtherAreOneRun)
{
  Image image = written(create({}), {}, [](Chain &chain) {
    for (unsigned i = 4; i < 8; i++)
      chain.fill(i * mib, mib, 1);
    chain.fill(2 * mib, mib, 2);
  });
  Layers chain({image});
  VdExtent extent = chain.find(4 * mib, 40 * mib, 0, 0);

  EXPECT_EQ(extent.kind, VD_RUN_HERE);
  EXPECT_EQ(extent.length, 4 * mib);
  EXPECT_EQ(image.read(extent.offset, 1)[0], 1);
  // Adjacent in the disk, not in the file.
  extent = chain.find(2 * mib, 40 * mib, 0, 0);
  EXPECT_EQ(extent.length, mib);
  EXPECT_EQ(chain.find(8 * mib, 40 * mib, 0, 0).kind, VD_RUN_ZERO);
  EXPECT_EQ(chain.find(8 * mib, 40 * mib, 0, 0).length, 40 * mib);
}

TEST(Extents, ChainsAreWhatTheEngineReads)
{
  Shape child_shape;
  child_shape.subtype = VIRTDISK_SUBTYPE_DIFFERENCING;
  Image root = written(create({}), {}, [](Chain &chain) {
    for (unsigned i = 0; i < 48; i += 3)
      chain.fill(i * mib, 2 * mib, static_cast<uint8_t>(i + 1));
  });
  Image middle = written(create(child_shape, &root), {root}, [](Chain &chain) {
    chain.fill(10 * mib + 512, 3 * mib, 0x70);
    chain.discard(20 * mib, 4 * mib);
  });
  Image leaf = written(create(child_shape, &middle), {middle, root}, [](Chain &chain) {
    for (unsigned i = 0; i < 40; i++)
      chain.fill(i * mib + i * 4096, 1536, static_cast<uint8_t>(0x80 + i));
  });
  std::vector<Image> images = {leaf, middle, root};
  Chain reference(images, false);
  Layers chain(images, {.seed = 3});

  ASSERT_NE(reference.engine, nullptr) << reference.error.text;
  EXPECT_EQ(difference(chain.walk(48 * mib, images), reference.all()), "");
}

TEST(Extents, WhatNoneOfTheLayersHasIsTheParents)
{
  Shape child_shape;
  child_shape.subtype = VIRTDISK_SUBTYPE_DIFFERENCING;
  Image root = written(create({}), {}, [](Chain &chain) { chain.fill(0, 8 * mib, 1); });
  Image leaf =
      written(create(child_shape, &root), {root}, [](Chain &chain) { chain.fill(2 * mib, 4096, 2); });
  Layers chain({leaf, root});

  EXPECT_EQ(chain.find(0, 40 * mib, 0, 0).kind, VD_RUN_PARENT);
  EXPECT_EQ(chain.find(0, 40 * mib, 0, 0).length, 2 * mib);
  VdExtent extent = chain.find(2 * mib, 40 * mib, 0, 0);
  EXPECT_EQ(extent.kind, VD_RUN_HERE);
  EXPECT_EQ(extent.length, 4096u);
  // Only the parent was asked.
  extent = chain.find(2 * mib, 40 * mib, 1, 1);
  EXPECT_EQ(extent.kind, VD_RUN_HERE);
  EXPECT_EQ(extent.layer, 1u);
  EXPECT_EQ(extent.length, 6 * mib);
}

TEST(Extents, TheTableThatCannotBeReadIsAnError)
{
  Image image = written(create({}), {}, [](Chain &chain) { chain.fill(0, mib, 1); });
  Layers chain({image});
  VdExtent extent;

  chain.sim.fail(0, EIO);
  EXPECT_EQ(vd_extent_find(chain.sim.io(), chain.layers.data(), 0, 0, 0, mib, &extent), -EIO);
}

TEST(Extents, BehindTheEndOfAShorterParentAreZeros)
{
  Shape small = {.subtype = VIRTDISK_SUBTYPE_DYNAMIC, .size = 8 << 20};
  Shape child_shape = {.subtype = VIRTDISK_SUBTYPE_DIFFERENCING};
  Image root = create(small);
  Layers chain({create(child_shape, &root), root});
  VdExtent extent = chain.find(4 * mib, 40 * mib, 0, 1);
  uint64_t at = 4 * mib;

  while (at < 44 * mib) {
    EXPECT_EQ(extent.kind, VD_RUN_ZERO);
    at += extent.length;
    if (at < 44 * mib)
      extent = chain.find(at, 44 * mib - at, 0, 1);
  }
}
