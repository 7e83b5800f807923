// SPDX-License-Identifier: LGPL-2.1-or-later
// A worker that mirrors the disk that it serves: the kernel's FUSE on one side, the daemon's line on the
// other.
#include "serve-fixture.h"

#include <algorithm>

#include "images/image.hh"

extern "C" {
#include "formats/check.h"
#include "formats/create.h"
}

namespace
{

using serving::Fd;
using serving::Message;
using serving::Mount;
using serving::Worker;

constexpr uint64_t kSize = 64 << 20;
constexpr size_t kPiece = 256 << 10;

struct Piece {
  alignas(4096) uint8_t bytes[kPiece];
};

class ServeMirror : public testing::Test
{
protected:
  static void create(int fd, uint64_t size = kSize)
  {
    VdFormatError error = {};
    VdCreateSpec spec = {};

    spec.device_id = VIRTDISK_DEVICE_VHDX;
    spec.subtype = VIRTDISK_SUBTYPE_DYNAMIC;
    spec.size = size;
    spec.block_size = 1 << 20;
    spec.identifier[0] = spec.guids[0][0] = spec.guids[1][0] = 1;
    ASSERT_TRUE(vd_create(fd, &spec, &error)) << error.text;
  }
  static VdServeSetup setup(uint32_t flags)
  {
    VdServeSetup setup = serving::setup_of(kSize, VD_SERVE_WRITABLE | flags);

    setup.device_id = VIRTDISK_DEVICE_VHDX;
    setup.n_written = (flags & VD_SERVE_MIRROR) != 0 ? 2 : 1;
    return setup;
  }
  void start(Worker &worker, uint32_t flags, const std::vector<int> &images)
  {
    ASSERT_TRUE(mount_.good()) << strerror(errno);
    ASSERT_TRUE(worker.order(setup(flags), mount_.fuse(), images));
    Message ready = serving::receive(worker.line());
    ASSERT_EQ(ready.kind(), VD_SERVE_READY) << ready.report.error.text;
  }
  // What is told of the progress on the way is counted.
  Message await(Worker &worker, uint32_t kind)
  {
    for (;;) {
      Message message = serving::receive(worker.line());

      if (message.kind() != VD_SERVE_PROGRESS) {
        EXPECT_EQ(message.kind(), kind);
        return message;
      }
      n_progress_++;
    }
  }
  static void write(const Fd &disk, unsigned number, uint8_t fill)
  {
    static Piece piece;

    memset(piece.bytes, fill, kPiece);
    ASSERT_EQ(pwrite(disk.get(), piece.bytes, kPiece, static_cast<off_t>(number) * kPiece),
              static_cast<ssize_t>(kPiece));
  }
  static bool holds(const Fd &disk, unsigned number, uint8_t fill)
  {
    static Piece piece;

    return pread(disk.get(), piece.bytes, kPiece, static_cast<off_t>(number) * kPiece) ==
               static_cast<ssize_t>(kPiece) &&
           std::all_of(piece.bytes, piece.bytes + kPiece, [fill](uint8_t byte) { return byte == fill; });
  }
  static std::string fault_of(int fd)
  {
    std::string text;
    VdReader reader;
    VdCheckSummary summary;
    VdFormatError error = {};

    if (!vd_reader_init(&reader, fd, &error) ||
        !vd_check(
            &reader, VIRTDISK_DEVICE_VHDX,
            [](void *user, const VdFault *fault) { *static_cast<std::string *>(user) += fault->error.text; },
            &text, &summary, &error))
      return error.text;
    return text;
  }

  images::File image_{{}}, mirror_{{}};
  Mount mount_;
  unsigned n_progress_ = 0;
};

TEST_F(ServeMirror, TakesTheImagesPlaceWhileItIsWritten)
{
  REQUIRE_FUSE();
  Worker worker, next;

  create(image_.fd());
  create(mirror_.fd());
  start(worker, VD_SERVE_MIRROR, {image_.fd(), mirror_.fd()});
  Fd disk = mount_.open_disk(O_RDWR | O_DIRECT);
  for (unsigned i = 0; i < 200; i += 2)
    write(disk, i, static_cast<uint8_t>(i + 1));
  EXPECT_EQ(await(worker, VD_SERVE_MIRRORED).report.error.code, -1);
  for (unsigned i = 100; i < 250; i += 3)
    write(disk, i, static_cast<uint8_t>(i + 2));
  ASSERT_TRUE(worker.send(VD_SERVE_BREAK));
  EXPECT_EQ(await(worker, VD_SERVE_BROKEN).report.error.code, -1);
  EXPECT_EQ(worker.wait(), 0);
  EXPECT_EQ(fault_of(mirror_.fd()), "");
  EXPECT_EQ(fault_of(image_.fd()), "");

  ASSERT_EQ(ftruncate(image_.fd(), 0), 0); // nobody needs it any more
  start(next, VD_SERVE_TAKEOVER | VD_SERVE_RESEND, {mirror_.fd()});
  for (unsigned i = 0; i < 250; i++) {
    uint8_t fill = i >= 100 && i % 3 == 1 ? i + 2 : i < 200 && i % 2 == 0 ? i + 1 : 0;

    ASSERT_TRUE(holds(disk, i, fill)) << i;
  }
}

TEST_F(ServeMirror, OneThatWasKilledIsBegunAnew)
{
  REQUIRE_FUSE();
  Worker worker, next, last;

  create(image_.fd());
  create(mirror_.fd());
  start(worker, VD_SERVE_MIRROR, {image_.fd(), mirror_.fd()});
  Fd disk = mount_.open_disk(O_RDWR | O_DIRECT);
  for (unsigned i = 0; i < 100; i++)
    write(disk, i, 7);
  worker.kill();
  start(next, VD_SERVE_MIRROR | VD_SERVE_MIRROR_OLD | VD_SERVE_TAKEOVER | VD_SERVE_RESEND,
        {image_.fd(), mirror_.fd()});
  ASSERT_EQ(fallocate(disk.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 << 20), 0);
  EXPECT_EQ(await(next, VD_SERVE_MIRRORED).report.error.code, -1);
  EXPECT_GT(n_progress_, 0u);
  EXPECT_LE(n_progress_, unsigned{VD_SERVE_MIRROR_STEPS});
  ASSERT_TRUE(next.send(VD_SERVE_BREAK));
  EXPECT_EQ(await(next, VD_SERVE_BROKEN).report.error.code, -1);
  EXPECT_EQ(next.wait(), 0);
  start(last, VD_SERVE_TAKEOVER | VD_SERVE_RESEND, {mirror_.fd()});
  for (unsigned i = 0; i < 100; i++)
    ASSERT_TRUE(holds(disk, i, i < 8 ? 0 : 7)) << i;
}

TEST_F(ServeMirror, OneThatCannotBeIsToldOfAndTheDiskGoesOn)
{
  REQUIRE_FUSE();
  Worker worker;

  create(image_.fd());
  create(mirror_.fd(), kSize / 2);
  start(worker, VD_SERVE_MIRROR, {image_.fd(), mirror_.fd()});
  EXPECT_EQ(await(worker, VD_SERVE_MIRRORED).report.error.code, VIRTDISK_ERROR_INVALID_PARAMETER);
  Fd disk = mount_.open_disk(O_RDWR | O_DIRECT);
  write(disk, 0, 9);
  EXPECT_TRUE(holds(disk, 0, 9));
  ASSERT_TRUE(worker.send(VD_SERVE_BREAK));
  EXPECT_EQ(await(worker, VD_SERVE_BROKEN).report.error.code, VIRTDISK_ERROR_OPERATION_ABORTED);
  write(disk, 1, 9);
}

TEST_F(ServeMirror, TheDiskEndsWithItsMirror)
{
  REQUIRE_FUSE();
  Worker worker;

  create(image_.fd());
  create(mirror_.fd());
  start(worker, VD_SERVE_MIRROR, {image_.fd(), mirror_.fd()});
  {
    Fd disk = mount_.open_disk(O_RDWR | O_DIRECT);

    for (unsigned i = 0; i < 100; i++)
      write(disk, i, 5);
  }
  mount_.close_mount();
  for (;;) {
    Message message = serving::receive(worker.line());

    if (message.kind() != VD_SERVE_PROGRESS && message.kind() != VD_SERVE_MIRRORED) {
      EXPECT_EQ(message.kind(), VD_SERVE_CLOSED);
      EXPECT_EQ(message.report.error.code, -1) << message.report.error.text;
      break;
    }
  }
  EXPECT_EQ(worker.wait(), 0);
  EXPECT_EQ(fault_of(image_.fd()), "");
}

TEST_F(ServeMirror, OneThatIsNotWrittenIsRefused)
{
  REQUIRE_FUSE();
  Worker worker;
  VdServeSetup order = setup(VD_SERVE_MIRROR);

  create(image_.fd());
  create(mirror_.fd());
  order.n_written = 1;
  ASSERT_TRUE(worker.order(order, mount_.fuse(), {image_.fd(), mirror_.fd()}));
  EXPECT_EQ(serving::receive(worker.line()).kind(), VD_SERVE_FAILED);
}

} // namespace
