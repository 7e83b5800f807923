// SPDX-License-Identifier: LGPL-2.1-or-later
// What the daemon and a serving worker say to each other: orders that do not hold, lines that come and go,
// tasks, and what a descriptor of ublk asks for.
#include "serve-fixture.h"

#include <functional>
#include <liburing.h>
#include <sys/mman.h>
#include <sys/un.h>

#include "images/image.hh"

extern "C" {
#include "virtdisk-error.h"
#include "worker/serve-ublk.h"
}

namespace
{

using serving::Fd;
using serving::Message;
using serving::Mount;
using serving::Worker;

constexpr uint64_t kSize = 4 << 20;

struct BadSetup {
  const char *field;
  std::function<void(VdServeSetup &)> spoil;
};

const BadSetup kBadSetups[] = {
    {"transport", [](VdServeSetup &s) { s.transport = VD_TRANSPORT_LAST + 1; }},
    {"task", [](VdServeSetup &s) { s.task = VD_TASK_BEGIN; }},
    {"task", [](VdServeSetup &s) { s.transport = VD_TRANSPORT_NONE; }},
    {"flags", [](VdServeSetup &s) { s.flags |= 1U << 31; }},
    {"depth", [](VdServeSetup &s) { s.depth = 0; }},
    {"depth", [](VdServeSetup &s) { s.depth = VD_SERVE_MAX_DEPTH + 1; }},
    {"max_io", [](VdServeSetup &s) { s.max_io = 4096; }},
    {"max_io", [](VdServeSetup &s) { s.max_io = 12345; }},
    {"max_io", [](VdServeSetup &s) { s.max_io = VD_SERVE_MAX_IO + 4096; }},
    {"sector_size", [](VdServeSetup &s) { s.sector_size = 520; }},
    {"sector_size", [](VdServeSetup &s) { s.sector_size = 8192; }},
    {"size", [](VdServeSetup &s) { s.size = 0; }},
    {"size", [](VdServeSetup &s) { s.size = 1000; }},
    {"size", [](VdServeSetup &s) { s.size = UINT64_MAX & ~UINT64_C(511); }},
    {"offset", [](VdServeSetup &s) { s.offset = 100; }},
    {"cache_size", [](VdServeSetup &s) { s.cache_size = UINT64_C(1) << 40; }},
};

class ServeRefuses : public testing::TestWithParam<BadSetup>
{
};

TEST_P(ServeRefuses, SetupThatDoesNotHold)
{
  images::File image({}, kSize);
  Fd transport(memfd_create("transport", MFD_CLOEXEC));
  Worker worker;
  VdServeSetup setup = serving::setup_of(kSize);

  GetParam().spoil(setup);
  worker.order(setup, transport.get(), {image.fd()});
  Message message = serving::receive(worker.line());
  ASSERT_EQ(message.kind(), VD_SERVE_FAILED);
  EXPECT_EQ(message.report.error.code, VIRTDISK_ERROR_INTERNAL);
  EXPECT_STREQ(message.report.error.field, GetParam().field) << message.report.error.text;
  EXPECT_EQ(WEXITSTATUS(worker.wait()), 4);
}

INSTANTIATE_TEST_SUITE_P(Fields, ServeRefuses, testing::ValuesIn(kBadSetups), [](const auto &info) {
  return std::string(info.param.field) + "_" + std::to_string(info.index);
});

std::string failure_of(Worker &worker)
{
  Message message = serving::receive(worker.line());

  worker.wait();
  return message.kind() == VD_SERVE_FAILED ? message.report.error.text : "it did not fail";
}

class ServeLines : public testing::Test
{
protected:
  ServeLines() : image_({}, kSize)
  {
    EXPECT_NE(mkdtemp(folder_), nullptr);
    path_ = std::string(folder_) + "/line";
    listen_.reset(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address = address_of();
    EXPECT_EQ(bind(listen_.get(), reinterpret_cast<sockaddr *>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listen_.get(), 8), 0);
  }
  ~ServeLines() override
  {
    unlink(path_.c_str());
    rmdir(folder_);
  }
  void start()
  {
    ASSERT_TRUE(mount_.good());
    ASSERT_TRUE(worker_.order(serving::setup_of(kSize), mount_.fuse(), {image_.fd()}, listen_.get()));
    Message ready = serving::receive(worker_.line());
    ASSERT_EQ(ready.kind(), VD_SERVE_READY) << ready.report.error.text;
  }
  Fd connect_to_it()
  {
    Fd line(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address = address_of();

    EXPECT_EQ(connect(line.get(), reinterpret_cast<sockaddr *>(&address), sizeof address), 0);
    return line;
  }
  static uint32_t ask(const Fd &line, VdServeHeader question)
  {
    serving::send_message(line.get(), &question, sizeof question);
    return serving::receive(line.get()).kind();
  }
  static bool is_alive(const Fd &line)
  {
    return ask(line, serving::header(VD_SERVE_STATUS, sizeof(VdServeHeader))) == VD_SERVE_STATUS_REPLY;
  }

  images::File image_;
  Mount mount_;
  Worker worker_;

private:
  sockaddr_un address_of() const
  {
    sockaddr_un address = {};

    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
    return address;
  }

  char folder_[32] = "/tmp/virtdisk-test-XXXXXX";
  std::string path_;
  Fd listen_;
};

} // namespace

TEST(ServeOrder, WithoutDescriptorsIsNone)
{
  Worker worker;
  VdServeSetup setup = serving::setup_of(kSize);

  setup.header = serving::header(VD_SERVE_SETUP, sizeof setup);
  setup.n_files = 1;
  ASSERT_TRUE(serving::send_message(worker.line(), &setup, sizeof setup));
  VdServeFile file = {serving::header(VD_SERVE_FILE, sizeof file), VD_ROLE_IMAGE, 0};
  ASSERT_TRUE(serving::send_message(worker.line(), &file, sizeof file));
  EXPECT_NE(failure_of(worker).find("no descriptor"), std::string::npos);
}

TEST(ServeOrder, ImagesHaveNoGapsAndNoneComesTwice)
{
  images::File image({}, kSize);
  Fd transport(memfd_create("transport", MFD_CLOEXEC));

  for (uint32_t index : {0U, 2U, static_cast<uint32_t>(VD_IO_MAX_FILES)}) {
    Worker worker;
    VdServeSetup setup = serving::setup_of(kSize);

    setup.header = serving::header(VD_SERVE_SETUP, sizeof setup);
    setup.n_files = 3;
    serving::send_message(worker.line(), &setup, sizeof setup);
    worker.give(VD_ROLE_TRANSPORT, 0, transport.get());
    worker.give(VD_ROLE_IMAGE, 0, image.fd());
    worker.give(VD_ROLE_IMAGE, index, image.fd());
    EXPECT_NE(failure_of(worker).find("the order to the worker"), std::string::npos) << index;
  }
}

TEST(ServeOrder, OfAnotherVersionIsNone)
{
  Worker worker;
  VdServeSetup setup = serving::setup_of(kSize);

  setup.header = serving::header(VD_SERVE_SETUP, sizeof setup);
  setup.header.version++;
  serving::send_message(worker.line(), &setup, sizeof setup);
  EXPECT_NE(failure_of(worker).find("no set-up"), std::string::npos);
}

TEST(ServeOrder, WithoutADaemonEnds)
{
  Worker worker;

  worker.hang_up();
  EXPECT_EQ(WEXITSTATUS(worker.wait()), 3);
}

TEST(ServeImages, ThatChangedMeanwhileAreRefused)
{
  REQUIRE_FUSE();
  images::File image({}, kSize / 2);
  Mount mount;
  Worker worker;

  ASSERT_TRUE(worker.order(serving::setup_of(kSize), mount.fuse(), {image.fd()}));
  Message message = serving::receive(worker.line());
  ASSERT_EQ(message.kind(), VD_SERVE_FAILED);
  EXPECT_EQ(message.report.error.code, VIRTDISK_ERROR_FILE_CHANGED) << message.report.error.text;
}

TEST(ServeImages, OfTheWrongFormatAreRefusedWithTheFormatsWords)
{
  REQUIRE_FUSE();
  images::File image({}, kSize);
  Mount mount;
  Worker worker;
  VdServeSetup setup = serving::setup_of(kSize);

  setup.device_id = VIRTDISK_DEVICE_VHDX;
  ASSERT_TRUE(worker.order(setup, mount.fuse(), {image.fd()}));
  Message message = serving::receive(worker.line());
  ASSERT_EQ(message.kind(), VD_SERVE_FAILED);
  EXPECT_NE(message.report.error.code, VIRTDISK_ERROR_INTERNAL) << message.report.error.text;
  EXPECT_STRNE(message.report.error.text, "");
}

// Something that is no ublk device refuses the first command; nothing hangs.
TEST(ServeUblk, WithoutUblkFails)
{
  images::File image({}, kSize), transport({}, 1 << 20);
  Worker worker;
  VdServeSetup setup = serving::setup_of(kSize);

  setup.transport = VD_TRANSPORT_UBLK;
  ASSERT_TRUE(worker.order(setup, transport.fd(), {image.fd()}));
  EXPECT_NE(failure_of(worker).find("ublk"), std::string::npos);
}

TEST_F(ServeLines, AServiceThatComesBackIsAnswered)
{
  REQUIRE_FUSE();
  start();
  worker_.hang_up();
  for (int i = 0; i < 3; i++)
    EXPECT_TRUE(is_alive(connect_to_it()));
}

TEST_F(ServeLines, AMessageThatDoesNotHoldClosesThatLineOnly)
{
  REQUIRE_FUSE();
  start();
  Fd good = connect_to_it();
  VdServeHeader header = serving::header(VD_SERVE_STATUS, sizeof header);
  const std::function<void(VdServeHeader &)> spoils[] = {
      [](VdServeHeader &h) { h.magic++; },
      [](VdServeHeader &h) { h.version++; },
      [](VdServeHeader &h) { h.kind = VD_SERVE_READY; },
      [](VdServeHeader &h) { h.kind = 999; },
      [](VdServeHeader &h) { h.size++; },
  };

  for (const auto &spoil : spoils) {
    Fd bad = connect_to_it();
    VdServeHeader spoilt = header;

    spoil(spoilt);
    EXPECT_EQ(ask(bad, spoilt), 0u);
    EXPECT_TRUE(is_alive(good));
  }
  Fd with_descriptor = connect_to_it();
  ASSERT_TRUE(serving::send_message(with_descriptor.get(), &header, sizeof header, image_.fd()));
  EXPECT_EQ(serving::receive(with_descriptor.get()).length, 0);
  Fd too_short = connect_to_it();
  ASSERT_TRUE(serving::send_message(too_short.get(), "x", 1));
  EXPECT_EQ(serving::receive(too_short.get()).length, 0);
  EXPECT_TRUE(is_alive(good));
}

TEST_F(ServeLines, OneTooManyIsTurnedAway)
{
  REQUIRE_FUSE();
  start();
  Fd lines[3] = {connect_to_it(), connect_to_it(), connect_to_it()};

  for (const Fd &line : lines)
    EXPECT_TRUE(is_alive(line));
  Fd fifth = connect_to_it();
  EXPECT_EQ(serving::receive(fifth.get()).length, 0);
  lines[0].reset();
  EXPECT_TRUE(is_alive(lines[1]));
  EXPECT_TRUE(is_alive(connect_to_it()));
}

TEST_F(ServeLines, StopEndsOneThatNobodyUsed)
{
  REQUIRE_FUSE();
  start();
  VdServeHeader stop = serving::header(VD_SERVE_STOP, sizeof stop);

  stop.version += 7;
  Fd line = connect_to_it();
  ASSERT_TRUE(serving::send_message(line.get(), &stop, sizeof stop));
  EXPECT_EQ(serving::receive(line.get()).kind(), VD_SERVE_CLOSED);
  EXPECT_EQ(worker_.wait(), 0);
}

TEST_F(ServeLines, StopWaitsForTheTransport)
{
  REQUIRE_FUSE();
  start();
  Fd disk = mount_.open_disk(O_RDONLY);
  char byte;

  ASSERT_TRUE(worker_.send(VD_SERVE_STOP));
  EXPECT_TRUE(is_alive(connect_to_it()));
  EXPECT_EQ(pread(disk.get(), &byte, 1, 0), 1);
  disk.reset();
  mount_.close_mount();
  EXPECT_EQ(serving::receive(worker_.line()).kind(), VD_SERVE_CLOSED);
  EXPECT_EQ(worker_.wait(), 0);
}

TEST(ServeTask, CreatesAnImage)
{
  for (uint32_t device : {VIRTDISK_DEVICE_VHD, VIRTDISK_DEVICE_VHDX}) {
    images::File image({});
    Worker worker;
    VdServeSetup setup = {};
    char magic[8] = {};

    setup.task = VD_TASK_CREATE;
    setup.flags = VD_SERVE_WRITABLE;
    setup.device_id = device;
    setup.create.device_id = device;
    setup.create.subtype = VIRTDISK_SUBTYPE_DYNAMIC;
    setup.create.size = 64 << 20;
    for (uint8_t i = 0; i < 16; i++) {
      setup.create.identifier[i] = static_cast<uint8_t>(i + 1);
      setup.create.guids[0][i] = static_cast<uint8_t>(i + 20);
      setup.create.guids[1][i] = static_cast<uint8_t>(i + 40);
    }
    ASSERT_TRUE(worker.order(setup, -1, {image.fd()}));
    Message ready = serving::receive(worker.line());
    ASSERT_EQ(ready.kind(), VD_SERVE_READY) << ready.report.error.text;
    EXPECT_EQ(serving::receive(worker.line()).kind(), VD_SERVE_CLOSED);
    EXPECT_EQ(worker.wait(), 0);
    ASSERT_EQ(pread(image.fd(), magic, 8, 0), 8);
    EXPECT_EQ(std::string(magic, 8), device == VIRTDISK_DEVICE_VHD ? "conectix" : "vhdxfile");
  }
}

TEST(ServeTask, SaysWhatIsWrong)
{
  images::File image({});
  Worker worker;
  VdServeSetup setup = {};

  setup.task = VD_TASK_CREATE;
  setup.create.device_id = VIRTDISK_DEVICE_VHDX;
  setup.create.subtype = VIRTDISK_SUBTYPE_DYNAMIC;
  setup.create.size = 1;
  ASSERT_TRUE(worker.order(setup, -1, {image.fd()}));
  Message failed = serving::receive(worker.line());
  ASSERT_EQ(failed.kind(), VD_SERVE_FAILED);
  EXPECT_NE(failed.report.error.code, VIRTDISK_ERROR_INTERNAL) << failed.report.error.text;
}

namespace
{

struct Asked {
  const char *name;
  VdUblkDescriptor descriptor;
  bool good;
  VdOp op;
  uint32_t flags;
  uint64_t offset, length;
  int32_t result;
};

// A disk of 4 MiB from 1 MiB on, requests of 64 KiB at most.
const Asked kAsked[] = {
    {"read", {0, 8, 16, 0}, true, VD_OP_READ, 0, (1 << 20) + 8192, 4096, 4096},
    {"write_last", {1, 1, 8191, 0}, true, VD_OP_WRITE, 0, (5 << 20) - 512, 512, 512},
    {"write_fua", {1 | 1U << 13, 128, 0, 0}, true, VD_OP_WRITE, VD_REQUEST_FUA, 1 << 20, 65536, 65536},
    {"flush", {2, 0, 0, 0}, true, VD_OP_FLUSH, 0, 0, 0, 0},
    {"flush_whatever", {2, 77, UINT64_MAX, 0}, true, VD_OP_FLUSH, 0, 0, 0, 0},
    {"discard_all", {3, 8192, 0, 0}, true, VD_OP_DISCARD, 0, 1 << 20, 4 << 20, 0},
    {"zero", {5, 256, 0, 0}, true, VD_OP_WRITE_ZEROES, 0, 1 << 20, 131072, 0},
    {"zero_in_place",
     {5 | 1U << 15, 256, 0, 0},
     true,
     VD_OP_WRITE_ZEROES,
     VD_REQUEST_NO_UNMAP,
     1 << 20,
     131072,
     0},
    {"unknown_operation", {4, 8, 0, 0}, false, VD_OP_READ, 0, 0, 0, -EOPNOTSUPP},
    {"high_operation", {200, 8, 0, 0}, false, VD_OP_READ, 0, 0, 0, -EOPNOTSUPP},
    {"behind_the_end", {0, 1, 8192, 0}, false, VD_OP_READ, 0, 0, 0, -EINVAL},
    {"across_the_end", {1, 2, 8191, 0}, false, VD_OP_READ, 0, 0, 0, -EINVAL},
    {"wraps", {1, 8, UINT64_MAX / 512, 0}, false, VD_OP_READ, 0, 0, 0, -EINVAL},
    {"overflows", {1, 8, UINT64_MAX - 4, 0}, false, VD_OP_READ, 0, 0, 0, -EINVAL},
    {"longer_than_the_buffer", {0, 129, 0, 0}, false, VD_OP_READ, 0, 0, 0, -EINVAL},
    {"longest", {1, UINT32_MAX, 0, 0}, false, VD_OP_READ, 0, 0, 0, -EINVAL},
    {"nothing", {1, 0, 0, 0}, false, VD_OP_READ, 0, 0, 0, -EINVAL},
};

class UblkDescriptor : public testing::TestWithParam<Asked>
{
};

TEST_P(UblkDescriptor, IsChecked)
{
  const Asked &asked = GetParam();
  VdServeSetup setup = {};
  VdRequest request = {};
  int32_t result = 77;

  setup.size = 4 << 20;
  setup.offset = 1 << 20;
  setup.sector_size = 512;
  setup.max_io = 64 << 10;
  EXPECT_EQ(vd_ublk_fill_request(&asked.descriptor, &setup, &request, &result), asked.good);
  EXPECT_EQ(result, asked.result);
  if (!asked.good)
    return;
  EXPECT_EQ(request.op, asked.op);
  EXPECT_EQ(request.flags, asked.flags);
  EXPECT_EQ(request.offset, asked.offset);
  EXPECT_EQ(request.length, asked.length);
}

INSTANTIATE_TEST_SUITE_P(Descriptors, UblkDescriptor, testing::ValuesIn(kAsked),
                         [](const auto &info) { return std::string(info.param.name); });

} // namespace

TEST(UblkDescriptorOf4KSectors, MustBeAligned)
{
  VdServeSetup setup = {};
  VdRequest request = {};
  VdUblkDescriptor descriptor = {0, 8, 1, 0};
  int32_t result;

  setup.size = 4 << 20;
  setup.sector_size = 4096;
  setup.max_io = 64 << 10;
  EXPECT_FALSE(vd_ublk_fill_request(&descriptor, &setup, &request, &result));
  EXPECT_EQ(result, -EINVAL);
  descriptor.start_sector = 8;
  EXPECT_TRUE(vd_ublk_fill_request(&descriptor, &setup, &request, &result));
}
