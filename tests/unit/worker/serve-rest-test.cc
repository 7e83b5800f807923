// SPDX-License-Identifier: LGPL-2.1-or-later
// A worker that is told to end, by SIGTERM: at once where nobody has used its disk; else it serves on, and
// its image is clean whenever nobody writes.
#include "serve-fixture.h"

#include <chrono>
#include <sys/inotify.h>

#include "images/image.hh"

extern "C" {
#include "formats/create.h"
#include "formats/vhdx.h"
}

namespace
{

using serving::Fd;
using serving::Message;
using serving::Mount;
using serving::Worker;

constexpr uint64_t kSize = 64 << 20;
constexpr size_t kPiece = 64 << 10;

struct Format {
  const char *name;
  uint32_t device_id;
};

struct Piece {
  alignas(4096) uint8_t bytes[kPiece];
};

// What a program that knows the format only finds in the file.
std::string fault_of_vhdx(int fd)
{
  VdReader reader;
  VdFormatError error = {};
  VdVhdx vhdx = {};
  std::string text;

  if (!vd_reader_init(&reader, fd, &error) || !vd_vhdx_read(&reader, &vhdx, &error))
    return error.text;
  if (!vd_vhdx_guid_is_zero(vhdx.header.log_guid))
    text = "there is a log";
  else if (!vd_vhdx_check_bat(&reader, &vhdx, nullptr, nullptr, nullptr, &error))
    text = error.text;
  vd_vhdx_clear(&vhdx);
  return text;
}

// The space that was made ready is given back when it is closed: 2 MiB for each block, and less than one
// besides.
std::string fault_of_vhd(int fd, unsigned n_blocks)
{
  char cookie[8] = {};
  struct stat st;

  if (fstat(fd, &st) != 0 || pread(fd, cookie, sizeof cookie, st.st_size - 512) != sizeof cookie ||
      memcmp(cookie, "conectix", sizeof cookie) != 0)
    return "there is no trailer at the end";
  return st.st_size < static_cast<off_t>(n_blocks + 1) << 21 ? "" : "the file has space that nobody needs";
}

class ServeRest : public testing::TestWithParam<Format>
{
protected:
  ServeRest() : image_({})
  {
    VdFormatError error = {};
    VdCreateSpec spec = {};

    spec.device_id = GetParam().device_id;
    spec.subtype = VIRTDISK_SUBTYPE_DYNAMIC;
    spec.size = kSize;
    spec.identifier[0] = spec.guids[0][0] = spec.guids[1][0] = 1;
    EXPECT_TRUE(vd_create(image_.fd(), &spec, &error)) << error.text;
    changes_.reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    EXPECT_GE(inotify_add_watch(changes_.get(), path().c_str(), IN_MODIFY), 0);
  }
  VdServeSetup setup(uint32_t flags = 0) const
  {
    VdServeSetup setup = serving::setup_of(kSize, VD_SERVE_WRITABLE | flags);

    setup.device_id = GetParam().device_id;
    return setup;
  }
  void start(Worker &worker, uint32_t flags = 0)
  {
    ASSERT_TRUE(mount_.good()) << strerror(errno);
    ASSERT_TRUE(worker.order(setup(flags), mount_.fuse(), {image_.fd()}));
    Message ready = serving::receive(worker.line());
    ASSERT_EQ(ready.kind(), VD_SERVE_READY) << ready.report.error.text;
  }
  std::string fault() const
  {
    return GetParam().device_id == VIRTDISK_DEVICE_VHDX ? fault_of_vhdx(image_.fd())
                                                        : fault_of_vhd(image_.fd(), n_blocks_);
  }
  // In a block of its own.
  void write(const Fd &disk, unsigned number)
  {
    static Piece piece;

    memset(piece.bytes, static_cast<int>('a' + number), kPiece);
    ASSERT_EQ(pwrite(disk.get(), piece.bytes, kPiece, offset_of(number)), static_cast<ssize_t>(kPiece));
    n_blocks_++;
  }
  void expect_content(const Fd &disk, unsigned number)
  {
    static Piece piece;

    ASSERT_EQ(pread(disk.get(), piece.bytes, kPiece, offset_of(number)), static_cast<ssize_t>(kPiece));
    EXPECT_EQ(piece.bytes[0], 'a' + number);
    EXPECT_EQ(memcmp(piece.bytes, piece.bytes + 1, kPiece - 1), 0);
  }
  // Each time the image changes, then() is called.
  template <typename Then> void wait_until_clean(Then then)
  {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(serving::kDeadlineMs);
    std::string fault;

    while (!(fault = this->fault()).empty() && std::chrono::steady_clock::now() < deadline) {
      pollfd waiting = {changes_.get(), POLLIN, 0};
      char events[4096];

      if (poll(&waiting, 1, 100) > 0 && read(changes_.get(), events, sizeof events) > 0)
        then();
    }
    EXPECT_EQ(fault, "");
  }
  void wait_until_clean()
  {
    wait_until_clean([] {});
  }

  images::File image_;
  Mount mount_;

private:
  std::string path() const
  {
    return "/proc/self/fd/" + std::to_string(image_.fd());
  }
  static off_t offset_of(unsigned number)
  {
    return static_cast<off_t>(number) << 21;
  }

  Fd changes_;
  unsigned n_blocks_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Formats, ServeRest,
                         testing::Values(Format{"vhd", VIRTDISK_DEVICE_VHD},
                                         Format{"vhdx", VIRTDISK_DEVICE_VHDX}),
                         [](const auto &info) { return std::string(info.param.name); });

} // namespace

TEST_P(ServeRest, ADiskThatNobodyUsesEnds)
{
  REQUIRE_FUSE();
  Worker worker;

  start(worker);
  EXPECT_EQ(kill(worker.pid(), SIGTERM), 0);
  Message closed = serving::receive(worker.line());
  EXPECT_EQ(closed.kind(), VD_SERVE_CLOSED);
  EXPECT_EQ(closed.report.error.code, -1) << closed.report.error.text;
  EXPECT_EQ(worker.wait(), 0);
}

TEST_P(ServeRest, ADiskInUseIsServedOnAndItsImageCleanWhenNobodyWrites)
{
  REQUIRE_FUSE();
  Worker worker, next;

  start(worker);
  Fd disk = mount_.open_disk(O_RDWR | O_DIRECT);
  write(disk, 0);
  EXPECT_NE(fault(), "");
  EXPECT_EQ(kill(worker.pid(), SIGTERM), 0);
  wait_until_clean();
  for (unsigned i = 1; i < 6; i++) {
    write(disk, i);
    wait_until_clean();
  }
  worker.kill();
  EXPECT_EQ(fault(), "");
  start(next, VD_SERVE_TAKEOVER);
  for (unsigned i = 0; i < 6; i++)
    expect_content(disk, i);
}

// While the image is being closed, and while it is opened again.
TEST_P(ServeRest, WhatIsAskedMeanwhileIsAnswered)
{
  REQUIRE_FUSE();
  Worker worker;
  unsigned n = 1;

  start(worker);
  Fd disk = mount_.open_disk(O_RDWR | O_DIRECT);
  write(disk, 0);
  EXPECT_EQ(kill(worker.pid(), SIGTERM), 0);
  wait_until_clean([&] {
    expect_content(disk, n - 1);
    if (n < 12)
      write(disk, n++);
  });
  for (unsigned i = 0; i < n; i++)
    expect_content(disk, i);
  disk.reset();
  mount_.close_mount();
  Message closed = serving::receive(worker.line());
  EXPECT_EQ(closed.kind(), VD_SERVE_CLOSED);
  EXPECT_EQ(closed.report.error.code, -1) << closed.report.error.text;
  EXPECT_EQ(worker.wait(), 0);
  EXPECT_EQ(fault(), "");
}
