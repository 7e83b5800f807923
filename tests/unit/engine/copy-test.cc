// SPDX-License-Identifier: LGPL-2.1-or-later
// Chains into new images of every kind, through a real ring; and two that differ.
#include "vhdx-rig.hh"

#include <liburing.h>
#include <sys/stat.h>

extern "C" {
#include "engine/copy.h"
#include "engine/ring.h"
}

using namespace vhdx;

namespace
{

constexpr uint64_t mib = 1 << 20;

// Files on a ring: 0 is the new image, those that follow the source.
struct Files {
  explicit Files(const std::vector<Image> &images)
  {
    layers.reserve(16); // walks point into it
    fds.push_back(memfd_create("new", MFD_CLOEXEC));
    for (const Image &image : images)
      fds.push_back(image.to_memfd());
    open_ring();
  }
  ~Files()
  {
    close_ring();
    for (int fd : fds)
      close(fd);
  }
  Files(const Files &) = delete;
  void open_ring()
  {
    unsigned n = static_cast<unsigned>(fds.size());

    ring = vd_ring_new(64, n);
    if (ring)
      io = vd_ring_io_new(ring, fds.data(), n, 0, 1, 0, false);
    pages = io ? vd_pages_new(io, 4096, 64 * 4096) : nullptr;
  }
  void close_ring()
  {
    for (VdLayer *layer : layers)
      vd_layer_free(layer);
    layers.clear();
    vd_pages_free(pages);
    if (io)
      vd_ring_io_free(io);
    vd_ring_free(ring);
  }
  VdLayer *open_layer(unsigned file, uint32_t device_id)
  {
    VdLayerSource source = {};
    VdFormatError failure = {};

    source.io = io;
    source.file = file;
    source.fd = fds[file];
    source.pages = pages;
    VdLayer *layer = vd_layer_open(&source, device_id, &failure);
    EXPECT_NE(layer, nullptr) << failure.text;
    layers.push_back(layer);
    return layer;
  }
  VdWalk source()
  {
    VdWalk walk;

    for (unsigned i = 1; i < fds.size(); i++)
      open_layer(i, VIRTDISK_DEVICE_VHDX);
    vd_walk_init(&walk, io, layers.data(), static_cast<unsigned>(layers.size()), fds.data());
    return walk;
  }
  Image made() const
  {
    return Image::from_fd(fds[0]);
  }

  std::vector<int> fds;
  VdRing *ring = nullptr;
  VdIo *io = nullptr;
  VdPages *pages = nullptr;
  std::vector<VdLayer *> layers;
};

struct Course {
  uint64_t steps = 0, last = 0, stop_at = UINT64_MAX;
  bool backwards = false;
  VdCopySteps to_pass = {[](void *user, uint64_t done, VdFormatError *error) {
                           Course *self = static_cast<Course *>(user);

                           self->backwards |= done < self->last;
                           self->last = done;
                           return ++self->steps < self->stop_at ||
                                  vd_format_error_set(error, VIRTDISK_ERROR_OPERATION_ABORTED, 0, "",
                                                      "ended");
                         },
                         this};
};

VdCreateSpec spec_of(uint32_t device_id, uint32_t subtype, uint64_t size = 48 * mib)
{
  VdCreateSpec spec = {};

  spec.device_id = device_id;
  spec.subtype = subtype;
  spec.size = size;
  if (device_id == VIRTDISK_DEVICE_VHDX)
    spec.block_size = 1 << 20;
  memset(spec.identifier, 3, 16);
  memset(spec.guids, 4, sizeof spec.guids);
  return spec;
}

bool copy(Files &files, VdWalk &walk, const VdCreateSpec &spec, Course &course, uint64_t *ret_copied,
          VdFormatError *error)
{
  VdBuilder *builder = vd_builder_new(files.fds[0], &spec, error);
  VdCopy order = {&walk, builder, 0};
  bool good =
      builder && vd_copy_run(&order, &course.to_pass, ret_copied, error) && vd_builder_finish(builder, error);

  vd_builder_free(builder);
  return good;
}

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

// A root, and a child with small pieces everywhere.
std::vector<Image> chain_of_two()
{
  Shape child_shape;
  child_shape.subtype = VIRTDISK_SUBTYPE_DIFFERENCING;
  Image root = written(create({}), {}, [](Chain &chain) {
    for (unsigned i = 0; i < 40; i += 3)
      chain.fill(i * mib, 2 * mib, static_cast<uint8_t>(i + 1));
    chain.fill(45 * mib, mib, 0);
  });
  Image leaf = written(create(child_shape, &root), {root}, [](Chain &chain) {
    for (unsigned i = 0; i < 150; i++)
      chain.fill(10 * mib + i * 2048, 512, static_cast<uint8_t>(0x80 + i % 64));
    chain.discard(21 * mib, 2 * mib);
  });

  return {leaf, root};
}

std::vector<uint8_t> content_of(const std::vector<Image> &images)
{
  Chain chain(images, false);

  EXPECT_NE(chain.engine, nullptr) << chain.error.text;
  return chain.engine ? chain.all() : std::vector<uint8_t>();
}

#define REQUIRE_RING(files)                                                                                  \
  if (!(files).io)                                                                                           \
  GTEST_SKIP() << "io_uring cannot be had here"

} // namespace

TEST(Copy, AChainBecomesOneImageOfEachKind)
{
  std::vector<Image> images = chain_of_two();
  std::vector<uint8_t> content = content_of(images);
  struct {
    uint32_t device_id, subtype;
  } rows[] = {
      {VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC}, {VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_FIXED},
      {VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_DYNAMIC},  {VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_FIXED},
      {VIRTDISK_DEVICE_RAW, VIRTDISK_SUBTYPE_DYNAMIC},  {VIRTDISK_DEVICE_RAW, VIRTDISK_SUBTYPE_FIXED}};

  for (const auto &row : rows) {
    SCOPED_TRACE(std::to_string(row.device_id) + " " + std::to_string(row.subtype));
    Files files(images);
    REQUIRE_RING(files);
    VdWalk walk = files.source();
    Course course;
    VdFormatError error = {};
    uint64_t copied = 0;

    ASSERT_TRUE(copy(files, walk, spec_of(row.device_id, row.subtype), course, &copied, &error))
        << error.text;
    EXPECT_FALSE(course.backwards);
    EXPECT_GT(copied, 20 * mib);
    // Read back with all that is new: its own ring, its own layers.
    Files again({files.made()});
    VdLayer *layer = again.open_layer(1, row.device_id);
    ASSERT_NE(layer, nullptr);
    VdWalk back;
    vd_walk_init(&back, again.io, again.layers.data(), 1, again.fds.data());
    std::vector<uint8_t> read(48 * mib);
    for (uint64_t at = 0; at < read.size();) {
      VdWalkPiece piece;

      ASSERT_TRUE(vd_walk_look(&back, at, &piece, &error)) << error.text;
      if (piece.data) {
        ASSERT_EQ(pread(again.fds[1], &read[at], piece.length, static_cast<off_t>(piece.offset)),
                  static_cast<ssize_t>(piece.length));
      }
      at += piece.length;
    }
    EXPECT_EQ(difference(read, content), "");
  }
}

TEST(Copy, ZerosTakeNoBlock)
{
  Image image = written(create({}), {}, [](Chain &chain) {
    chain.fill(4 * mib, 8 * mib, 0);
    chain.fill(6 * mib + 4096, 512, 1);
  });
  Files files({image});
  REQUIRE_RING(files);
  VdWalk walk = files.source();
  Course course;
  VdFormatError error = {};
  uint64_t copied = 0;

  ASSERT_TRUE(
      copy(files, walk, spec_of(VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC), course, &copied, &error))
      << error.text;
  EXPECT_EQ(faults(files.made()), "");
  // Head and one block.
  EXPECT_EQ(files.made().size(), 5 * mib);
  EXPECT_EQ(copied, mib / 2);
}

TEST(Copy, IsComparedAndADifferenceIsFound)
{
  std::vector<Image> images = chain_of_two();
  Files files(images);
  REQUIRE_RING(files);
  VdWalk walk = files.source();
  Course course;
  VdFormatError error = {};
  uint64_t copied = 0;
  uint8_t other = 0x55, right = 0;

  ASSERT_TRUE(copy(files, walk, spec_of(VIRTDISK_DEVICE_RAW, VIRTDISK_SUBTYPE_DYNAMIC, 50 * mib), course,
                   &copied, &error))
      << error.text;
  for (off_t wrong : {off_t(-1), off_t(33 * mib), off_t(46 * mib), off_t(50 * mib - 1)}) {
    if (wrong >= 0) {
      ASSERT_EQ(pread(files.fds[0], &right, 1, wrong), 1);
      ASSERT_EQ(pwrite(files.fds[0], &other, 1, wrong), 1);
    }
    files.io->files[0].size = 50 * mib;
    VdLayer *layer = files.open_layer(0, VIRTDISK_DEVICE_RAW);
    VdWalk back;
    vd_walk_init(&back, files.io, &layer, 1, files.fds.data());
    EXPECT_EQ(vd_copy_compare(&walk, &back, &course.to_pass, &error), wrong < 0);
    if (wrong >= 0) {
      EXPECT_EQ(error.code, VIRTDISK_ERROR_IO);
      ASSERT_EQ(pwrite(files.fds[0], &right, 1, wrong), 1);
    }
  }
}

TEST(Copy, ASourceThatShrinksIsAnError)
{
  Image image = written(create({}), {}, [](Chain &chain) { chain.fill(0, 20 * mib, 9); });
  Files files({image});
  REQUIRE_RING(files);
  VdWalk walk = files.source();
  Course course;
  VdFormatError error = {};
  uint64_t copied = 0;

  ASSERT_EQ(ftruncate(files.fds[1], 12 * mib), 0);
  EXPECT_FALSE(
      copy(files, walk, spec_of(VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC), course, &copied, &error));
  EXPECT_EQ(error.code, VIRTDISK_ERROR_FILE_CHANGED) << error.text;
}

TEST(Copy, EndsWhenItIsTold)
{
  Image image = written(create({}), {}, [](Chain &chain) { chain.fill(0, 20 * mib, 9); });
  Files files({image});
  REQUIRE_RING(files);
  VdWalk walk = files.source();
  Course course;
  VdFormatError error = {};
  uint64_t copied = 0;

  course.stop_at = 5;
  EXPECT_FALSE(
      copy(files, walk, spec_of(VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC), course, &copied, &error));
  EXPECT_EQ(error.code, VIRTDISK_ERROR_OPERATION_ABORTED);
  EXPECT_LT(copied, 5 * mib);
}
