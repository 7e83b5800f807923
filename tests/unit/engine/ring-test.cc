// SPDX-License-Identifier: LGPL-2.1-or-later
// The ring and files on it, on this machine's file systems.
#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <fcntl.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

extern "C" {
#include "engine/direct-io.h"
#include "engine/ring.h"
}

namespace
{

struct NopOp : VdRingOp {
  int result = 1;
  unsigned dones = 0;
  std::function<void()> then;

  NopOp() : VdRingOp()
  {
    done = [](VdRingOp *op, int result, uint32_t) {
      NopOp *self = static_cast<NopOp *>(op);

      self->result = result;
      self->dones++;
      if (self->then)
        self->then();
    };
  }
};

void nop(VdRing *ring, VdRingOp *op)
{
  io_uring_sqe *sqe = vd_ring_sqe(ring, op);

  io_uring_prep_nop(sqe);
}

// A ring or the reason why there is none.
#define MAKE_RING(name, entries, files)                                                                      \
  std::unique_ptr<VdRing, decltype(&vd_ring_free)> name(vd_ring_new(entries, files), vd_ring_free);          \
  if (!name && errno == EPERM)                                                                               \
    GTEST_SKIP() << "kernel.io_uring_disabled forbids io_uring here";                                        \
  ASSERT_TRUE(name) << strerror(errno)

TEST(Ring, RunsWhatWasSubmitted)
{
  MAKE_RING(ring, 8, 0);
  NopOp ops[3];

  for (NopOp &op : ops)
    nop(ring.get(), &op);
  while (ops[2].dones == 0)
    ASSERT_EQ(vd_ring_wait(ring.get()), 0);
  for (const NopOp &op : ops)
    EXPECT_EQ(op.dones, 1u);
}

TEST(Ring, NothingInFlightIsADeadlock)
{
  MAKE_RING(ring, 8, 0);

  EXPECT_EQ(vd_ring_wait(ring.get()), -EDEADLK);
}

TEST(Ring, ManyMoreThanFitAllComplete)
{
  MAKE_RING(ring, 2, 0); // room for 16 completions: most overflow
  std::vector<NopOp> ops(5000);
  size_t done = 0;

  for (NopOp &op : ops) {
    op.then = [&] { done++; };
    nop(ring.get(), &op);
  }
  EXPECT_EQ(done, 0u) << "completed inside submit";
  while (done < ops.size())
    ASSERT_EQ(vd_ring_wait(ring.get()), 0);
  for (const NopOp &op : ops)
    ASSERT_EQ(op.dones, 1u);
}

TEST(Ring, AnOpMayBeSubmittedFromItsCompletion)
{
  MAKE_RING(ring, 2, 0);
  NopOp op;
  int left = 1000;

  op.then = [&] {
    if (--left > 0)
      nop(ring.get(), &op);
  };
  nop(ring.get(), &op);
  while (left > 0)
    ASSERT_EQ(vd_ring_wait(ring.get()), 0);
}

TEST(Ring, PostedCompletionsComeInTheNextWait)
{
  MAKE_RING(ring, 8, 0);
  NopOp op;

  vd_ring_post(ring.get(), &op, -ENOSPC);
  EXPECT_EQ(op.dones, 0u);
  EXPECT_EQ(vd_ring_wait(ring.get()), 0);
  EXPECT_EQ(op.result, -ENOSPC);
}

TEST(Ring, AWaitMayHaveADeadline)
{
  MAKE_RING(ring, 8, 1);
  int event = eventfd(0, EFD_CLOEXEC);
  NopOp op;
  uint64_t value = 0;

  ASSERT_EQ(vd_ring_set_file(ring.get(), 0, event), 0);
  io_uring_sqe *sqe = vd_ring_sqe(ring.get(), &op);
  io_uring_prep_read(sqe, 0, &value, sizeof value, 0);
  sqe->flags |= IOSQE_FIXED_FILE;
  EXPECT_EQ(vd_ring_wait_for(ring.get(), 20), -ETIME);
  EXPECT_EQ(vd_ring_wait_for(ring.get(), 0), -ETIME);
  EXPECT_EQ(op.dones, 0u);
  EXPECT_EQ(eventfd_write(event, 5), 0);
  while (op.dones == 0)
    ASSERT_EQ(vd_ring_wait_for(ring.get(), 60000), 0);
  EXPECT_EQ(value, 5u);
  close(event);
}

TEST(Ring, ASignalEndsTheWaitEarlyButBreaksNothing)
{
  MAKE_RING(ring, 8, 1);
  int event = eventfd(0, EFD_CLOEXEC);
  NopOp op;
  uint64_t value = 0;
  struct sigaction action = {}, old;
  itimerval timer = {{0, 0}, {0, 20000}};

  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, &old);
  ASSERT_EQ(vd_ring_set_file(ring.get(), 0, event), 0);
  io_uring_sqe *sqe = vd_ring_sqe(ring.get(), &op);
  io_uring_prep_read(sqe, 0, &value, sizeof value, 0);
  sqe->flags |= IOSQE_FIXED_FILE;
  setitimer(ITIMER_REAL, &timer, nullptr);
  EXPECT_EQ(vd_ring_wait(ring.get()), 0);
  EXPECT_EQ(op.dones, 0u);
  EXPECT_EQ(eventfd_write(event, 5), 0);
  while (op.dones == 0)
    ASSERT_EQ(vd_ring_wait(ring.get()), 0);
  EXPECT_EQ(value, 5u);
  sigaction(SIGALRM, &old, nullptr);
  close(event);
}

TEST(Ring, ARestrictedRingDoesNothingElse)
{
  MAKE_RING(ring, 8, 1);
  const uint8_t operations[] = {IORING_OP_READ};
  int file = memfd_create("restricted", MFD_CLOEXEC);
  NopOp read, write, by_number, closing;
  char byte = 1;

  ASSERT_EQ(ftruncate(file, 100), 0);
  ASSERT_EQ(vd_ring_set_file(ring.get(), 0, file), 0);
  ASSERT_EQ(vd_ring_restrict(ring.get(), operations, 1), 0);
  io_uring_sqe *sqe = vd_ring_sqe(ring.get(), &read);
  io_uring_prep_read(sqe, 0, &byte, 1, 0);
  sqe->flags |= IOSQE_FIXED_FILE | IOSQE_ASYNC;
  sqe = vd_ring_sqe(ring.get(), &write);
  io_uring_prep_write(sqe, 0, &byte, 1, 0);
  sqe->flags |= IOSQE_FIXED_FILE;
  sqe = vd_ring_sqe(ring.get(), &by_number);
  io_uring_prep_read(sqe, file, &byte, 1, 0);
  sqe = vd_ring_sqe(ring.get(), &closing);
  io_uring_prep_close(sqe, file);
  while (read.dones + write.dones + by_number.dones + closing.dones < 4)
    ASSERT_EQ(vd_ring_wait(ring.get()), 0);
  EXPECT_EQ(read.result, 1);
  EXPECT_EQ(byte, 0);
  EXPECT_EQ(write.result, -EACCES);
  EXPECT_EQ(by_number.result, -EACCES);
  EXPECT_EQ(closing.result, -EACCES);
  EXPECT_LT(vd_ring_set_file(ring.get(), 0, file), 0) << "nothing can be registered any more";
  close(file);
}

// A file of its own in a folder of its own, gone afterwards.
struct TemporaryFile {
  std::string folder;
  int fd = -1;

  explicit TemporaryFile(const std::string &parent) : folder(parent + "/vd-ring-XXXXXX")
  {
    if (!mkdtemp(folder.data()))
      return;
    fd = open((folder + "/image").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    unlink((folder + "/image").c_str());
    rmdir(folder.c_str());
  }
  ~TemporaryFile()
  {
    if (fd >= 0)
      close(fd);
  }
};

struct Op : VdIoOp {
  std::unique_ptr<uint8_t, decltype(&free)> memory;
  int got = 1;

  Op(VdIoKind what, uint64_t at, size_t n, uint8_t fill = 0)
      : VdIoOp(), memory(static_cast<uint8_t *>(aligned_alloc(4096, (n + 8191) / 4096 * 4096)), free)
  {
    kind = what;
    offset = at;
    length = n;
    buffer = memory.get();
    memset(buffer, fill, n);
    user = this;
    done = [](VdIoOp *op, int result) { static_cast<Op *>(op->user)->got = result; };
  }
  uint8_t at(size_t i) const
  {
    return memory.get()[i];
  }
};

enum class Way { buffered, direct };
struct Place {
  const char *folder;
  Way way;
};

// On the folder for temporary files, which is on a disk, and on one in memory.
class Files : public testing::TestWithParam<Place>
{
protected:
  std::unique_ptr<TemporaryFile> file;
  VdRing *ring = nullptr;
  VdIo *io = nullptr;

  void SetUp() override
  {
    file = std::make_unique<TemporaryFile>(GetParam().folder);
    if (file->fd < 0)
      GTEST_SKIP() << "no file can be made in " << GetParam().folder;
    ring = vd_ring_new(32, 4);
    if (!ring && errno == EPERM)
      GTEST_SKIP() << "kernel.io_uring_disabled forbids io_uring here";
    ASSERT_TRUE(ring);
    ASSERT_EQ(ftruncate(file->fd, 1 << 20), 0);
    io = vd_ring_io_new(ring, &file->fd, 1, 2, 1, 512, GetParam().way == Way::direct);
    ASSERT_TRUE(io);
    if (GetParam().way == Way::direct && !io->files[0].direct)
      GTEST_SKIP() << "no direct I/O of 512 bytes in " << GetParam().folder;
  }
  void TearDown() override
  {
    vd_ring_io_free(io);
    vd_ring_free(ring);
  }
  int run(Op &op)
  {
    return vd_io_run(io, &op);
  }
};

class DirectFiles : public Files
{
};

INSTANTIATE_TEST_SUITE_P(Places, DirectFiles, testing::Values(Place{"/var/tmp", Way::direct}),
                         [](const auto &) { return std::string("var_tmp"); });
INSTANTIATE_TEST_SUITE_P(Places, Files,
                         testing::Values(Place{"/var/tmp", Way::buffered}, Place{"/var/tmp", Way::direct},
                                         Place{"/dev/shm", Way::buffered}),
                         [](const auto &info) {
                           std::string name = info.param.folder + 1;
                           name[name.find('/')] = '_';
                           return name + (info.param.way == Way::direct ? "_direct" : "_buffered");
                         });

TEST_P(Files, WhatIsWrittenIsRead)
{
  Op write(VD_IO_WRITE, 4096, 300 * 1024, 7), flush(VD_IO_FLUSH, 0, 0), read(VD_IO_READ, 0, 512 * 1024);

  EXPECT_EQ(io->files[0].size, 1u << 20);
  EXPECT_TRUE(io->files[0].writable);
  EXPECT_EQ(run(write), 0);
  EXPECT_EQ(run(flush), 0);
  EXPECT_EQ(run(read), 0);
  EXPECT_EQ(read.at(4095), 0);
  EXPECT_EQ(read.at(4096), 7);
  EXPECT_EQ(read.at(4096 + 300 * 1024 - 1), 7);
  EXPECT_EQ(read.at(4096 + 300 * 1024), 0);
}

TEST_P(Files, AWriteMayExtendTheFile)
{
  Op write(VD_IO_WRITE, 1 << 21, 4096, 7);
  struct stat stat;

  EXPECT_EQ(run(write), 0);
  ASSERT_EQ(fstat(file->fd, &stat), 0);
  EXPECT_EQ(stat.st_size, (1 << 21) + 4096);
}

TEST_P(Files, AReadBehindTheEndFailsOrIsPadded)
{
  ASSERT_EQ(ftruncate(file->fd, 4096 + 512 + 100), 0);
  Op read(VD_IO_READ, 4096, 4096, 1), inside(VD_IO_READ, 4096, 512), padded(VD_IO_READ_PADDED, 4096, 4096, 1),
      behind(VD_IO_READ_PADDED, 1 << 20, 4096, 1);

  EXPECT_EQ(run(read), -EIO);
  EXPECT_EQ(run(inside), 0);
  EXPECT_EQ(run(padded), 0);
  EXPECT_EQ(padded.at(700), 0);
  EXPECT_EQ(padded.at(4095), 0);
  EXPECT_EQ(run(behind), 0);
  EXPECT_EQ(behind.at(0), 0);
}

TEST_P(Files, PunchMakesZerosAndKeepsTheSize)
{
  Op write(VD_IO_WRITE, 0, 65536, 7), punch(VD_IO_PUNCH, 4096, 8192), read(VD_IO_READ, 0, 65536);
  struct stat stat;

  ASSERT_EQ(run(write), 0);
  int result = run(punch);
  if (result == -EOPNOTSUPP)
    GTEST_SKIP() << "no holes in " << GetParam().folder;
  EXPECT_EQ(result, 0);
  EXPECT_EQ(run(read), 0);
  EXPECT_EQ(read.at(4095), 7);
  EXPECT_EQ(read.at(4096), 0);
  EXPECT_EQ(read.at(12288), 7);
  ASSERT_EQ(fstat(file->fd, &stat), 0);
  EXPECT_EQ(stat.st_size, 1 << 20);
}

TEST_P(Files, TruncateSetsTheSize)
{
  Op truncate(VD_IO_TRUNCATE, 0, 0);
  struct stat stat;

  truncate.length = 12345;
  EXPECT_EQ(run(truncate), 0);
  ASSERT_EQ(fstat(file->fd, &stat), 0);
  EXPECT_EQ(stat.st_size, 12345);
}

TEST_P(Files, ManyAtOnceInAnyOrder)
{
  std::vector<std::unique_ptr<Op>> ops;
  unsigned left = 0;

  for (unsigned i = 0; i < 200; i++)
    ops.push_back(std::make_unique<Op>(VD_IO_WRITE, i * 4096, 4096, i));
  for (auto &op : ops)
    vd_io_submit(io, op.get());
  do {
    ASSERT_EQ(io->ops->wait(io), 0);
    left = 0;
    for (auto &op : ops)
      left += op->got == 1;
  } while (left > 0);
  for (unsigned i = 0; i < 200; i++) {
    Op read(VD_IO_READ, i * 4096, 4096);

    ASSERT_EQ(ops[i]->got, 0);
    ASSERT_EQ(run(read), 0);
    ASSERT_EQ(read.at(4095), static_cast<uint8_t>(i));
  }
}

// A file system that refuses what it had promised: what is in flight ends, the rest goes on in the page
// cache.
TEST_P(DirectFiles, RefusedGoesOnBuffered)
{
  std::vector<std::unique_ptr<Op>> ops;

  for (unsigned i = 0; i < 20; i++) {
    // Every third is where no direct write can go.
    ops.push_back(std::make_unique<Op>(VD_IO_WRITE, i * 8192 + (i % 3 == 0 ? 100 : 0), 4096, i + 1));
    vd_io_submit(io, ops.back().get());
  }
  for (auto &op : ops)
    while (op->got == 1)
      ASSERT_EQ(io->ops->wait(io), 0);
  EXPECT_FALSE(io->files[0].direct);
  EXPECT_EQ(fcntl(file->fd, F_GETFL) & O_DIRECT, 0);
  for (unsigned i = 0; i < 20; i++) {
    Op read(VD_IO_READ, i * 8192 + (i % 3 == 0 ? 100 : 0), 4096);

    ASSERT_EQ(ops[i]->got, 0);
    ASSERT_EQ(run(read), 0);
    ASSERT_EQ(read.at(0), i + 1);
    ASSERT_EQ(read.at(4095), i + 1);
  }
}

TEST_P(Files, WhatIsPutOffRunsBeforeTheNextBatch)
{
  struct Task : VdIoTask {
    unsigned runs = 0;
  } task = {};

  task.run = [](VdIoTask *self) { static_cast<Task *>(self)->runs++; };
  vd_io_defer(io, &task);
  vd_io_defer(io, &task);
  EXPECT_EQ(task.runs, 0u);
  EXPECT_EQ(vd_ring_wait(ring), 0) << "also for a transport that waits on the ring itself";
  EXPECT_EQ(task.runs, 1u);
  EXPECT_EQ(vd_ring_wait(ring), -EDEADLK);
}

TEST(RingIo, AnErrorOfTheFileReachesTheOp)
{
  MAKE_RING(ring, 8, 1);
  TemporaryFile file("/var/tmp");
  int read_only = open(("/proc/self/fd/" + std::to_string(file.fd)).c_str(), O_RDONLY | O_CLOEXEC);
  VdIo *io = vd_ring_io_new(ring.get(), &read_only, 1, 0, 0, 512, false);
  Op write(VD_IO_WRITE, 0, 512);

  ASSERT_TRUE(io);
  EXPECT_EQ(vd_io_run(io, &write), -EBADF);
  vd_ring_io_free(io);
  close(read_only);
}

TEST(DirectIo, IsLeftAloneWhereItCannotBe)
{
  int event = eventfd(0, EFD_CLOEXEC);

  EXPECT_EQ(vd_direct_io_enable(event, 512), 0u);
  EXPECT_EQ(fcntl(event, F_GETFL) & O_DIRECT, 0);
  close(event);
}

} // namespace
