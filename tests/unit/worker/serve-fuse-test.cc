// SPDX-License-Identifier: LGPL-2.1-or-later
// A real FUSE connection served by the real worker: the file from near, a loop device with a file system on
// it, a worker that is killed and followed by another.
#include "serve-fixture.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <memory>
#include <random>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <thread>

#include "images/image.hh"

extern char **environ;

namespace
{

using serving::Fd;
using serving::Loop;
using serving::Message;
using serving::Mount;
using serving::Worker;

constexpr uint64_t kSize = 32 << 20;

// Memory that direct I/O takes.
class Buffer
{
public:
  explicit Buffer(size_t size) : size_(size), data_(static_cast<uint8_t *>(aligned_alloc(4096, size)))
  {
    memset(data_, 0, size);
  }
  ~Buffer()
  {
    free(data_);
  }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  uint8_t *data()
  {
    return data_;
  }
  size_t size() const
  {
    return size_;
  }
  void fill(unsigned seed)
  {
    std::mt19937 random(seed);

    for (size_t i = 0; i < size_; i += 4) {
      uint32_t word = static_cast<uint32_t>(random());
      memcpy(data_ + i, &word, 4);
    }
  }
  bool operator==(const Buffer &other) const
  {
    return size_ == other.size_ && memcmp(data_, other.data_, size_) == 0;
  }

private:
  size_t size_;
  uint8_t *data_;
};

bool run_program(std::vector<const char *> arguments)
{
  posix_spawn_file_actions_t actions;
  pid_t pid;
  int status = -1;

  arguments.push_back(nullptr);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  int result = posix_spawnp(&pid, arguments[0], &actions, nullptr,
                            const_cast<char *const *>(arguments.data()), environ);
  posix_spawn_file_actions_destroy(&actions);
  return result == 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

bool kernel_is_at_least(unsigned major, unsigned minor)
{
  utsname name;
  unsigned a = 0, b = 0;

  uname(&name);
  return sscanf(name.release, "%u.%u", &a, &b) == 2 && (a > major || (a == major && b >= minor));
}

class ServeFuse : public testing::Test
{
protected:
  ServeFuse() : image_({}, kSize) {}
  void start(uint32_t flags = VD_SERVE_WRITABLE)
  {
    start(serving::setup_of(kSize, flags));
  }
  void start(const VdServeSetup &setup)
  {
    ASSERT_TRUE(mount_.good()) << strerror(errno);
    ASSERT_TRUE(worker_.order(setup, mount_.fuse(), {image_.fd()}));
    Message ready = serving::receive(worker_.line());
    ASSERT_EQ(ready.kind(), VD_SERVE_READY) << ready.report.error.text;
    EXPECT_EQ(ready.report.size, kSize);
  }
  // What the file itself holds.
  void expect_in_image(const Buffer &expected, uint64_t offset)
  {
    Buffer found(expected.size());

    ASSERT_EQ(pread(image_.fd(), found.data(), found.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(found.size()));
    EXPECT_TRUE(found == expected);
  }
  // The connection ends, the worker closes the image and goes.
  void expect_clean_end()
  {
    mount_.close_mount();
    Message closed = serving::receive(worker_.line());
    EXPECT_EQ(closed.kind(), VD_SERVE_CLOSED);
    EXPECT_EQ(closed.report.error.code, -1) << closed.report.error.text;
    EXPECT_EQ(worker_.wait(), 0);
  }

  images::File image_;
  Mount mount_;
  Worker worker_;
};

// Reads in flight whose sender does not wait for them one by one.
class Reads
{
public:
  Reads()
  {
    syscall(SYS_io_setup, 64, &context_);
  }
  ~Reads()
  {
    syscall(SYS_io_destroy, context_);
  }
  Reads(const Reads &) = delete;
  Reads &operator=(const Reads &) = delete;
  // Returns when the request is with the kernel.
  bool send(int disk, Buffer *into, uint64_t offset)
  {
    iocb block = {}, *list = &block;

    block.aio_lio_opcode = IOCB_CMD_PREAD;
    block.aio_fildes = static_cast<uint32_t>(disk);
    block.aio_buf = reinterpret_cast<uintptr_t>(into->data());
    block.aio_nbytes = into->size();
    block.aio_offset = static_cast<int64_t>(offset);
    return syscall(SYS_io_submit, context_, 1, &list) == 1;
  }
  // How many of n ended, whole.
  size_t wait(size_t n)
  {
    std::vector<io_event> events(n);
    timespec deadline = {serving::kDeadlineMs / 1000, 0};
    long got = syscall(SYS_io_getevents, context_, n, n, events.data(), &deadline);
    size_t whole = 0;

    for (long i = 0; i < got; i++)
      whole += events[static_cast<size_t>(i)].res > 0;
    return whole;
  }

private:
  aio_context_t context_ = 0;
};

} // namespace

TEST_F(ServeFuse, ReadsAndWritesThroughToTheImage)
{
  REQUIRE_FUSE();
  start();
  Fd disk = mount_.open_disk(O_RDWR | O_DIRECT);
  Buffer written(1 << 20), read(1 << 20);
  struct stat st;

  ASSERT_GE(disk.get(), 0) << strerror(errno);
  ASSERT_EQ(fstat(disk.get(), &st), 0);
  EXPECT_EQ(st.st_size, static_cast<off_t>(kSize));
  EXPECT_EQ(st.st_mode, static_cast<mode_t>(S_IFREG | 0600));
  written.fill(1);
  ASSERT_EQ(pwrite(disk.get(), written.data(), written.size(), 512), static_cast<ssize_t>(written.size()));
  ASSERT_EQ(fsync(disk.get()), 0);
  expect_in_image(written, 512);
  ASSERT_EQ(pread(disk.get(), read.data(), read.size(), 512), static_cast<ssize_t>(read.size()));
  EXPECT_TRUE(read == written);
  disk.reset();
  expect_clean_end();
}

// All are there when the worker looks: it takes several at a time.
TEST_F(ServeFuse, AnswersEachOfManyThatCameAtOnce)
{
  REQUIRE_FUSE();
  start();
  Fd disk = mount_.open_disk(O_RDWR | O_DIRECT);
  Buffer content(8 << 20);
  std::vector<std::unique_ptr<Buffer>> found;
  Reads reads;
  int status;

  content.fill(4);
  ASSERT_EQ(pwrite(image_.fd(), content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
  ASSERT_EQ(kill(worker_.pid(), SIGSTOP), 0);
  ASSERT_EQ(waitpid(worker_.pid(), &status, WUNTRACED), worker_.pid());
  for (size_t i = 0; i < 20; i++) {
    found.push_back(std::make_unique<Buffer>(i % 7 == 3 ? 256 << 10 : 4096));
    EXPECT_TRUE(reads.send(disk.get(), found[i].get(), i * 300 << 10)) << i;
  }
  ASSERT_EQ(kill(worker_.pid(), SIGCONT), 0);
  size_t answered = reads.wait(found.size());
  EXPECT_EQ(answered, found.size());
  if (answered < found.size()) {
    worker_.kill();
    mount_.close_fuse();
    return;
  }
  for (size_t i = 0; i < found.size(); i++)
    EXPECT_EQ(memcmp(found[i]->data(), content.data() + (i * 300 << 10), found[i]->size()), 0) << i;
  disk.reset();
  expect_clean_end();
}

TEST_F(ServeFuse, EndsWhereTheDiskEnds)
{
  REQUIRE_FUSE();
  start();
  Fd disk = mount_.open_disk(O_RDWR | O_DIRECT);
  Buffer buffer(8192);

  EXPECT_EQ(pread(disk.get(), buffer.data(), 8192, kSize - 4096), 4096);
  EXPECT_EQ(pread(disk.get(), buffer.data(), 8192, kSize), 0);
  EXPECT_EQ(pwrite(disk.get(), buffer.data(), 4096, kSize), -1);
  EXPECT_EQ(errno, EFBIG);
  EXPECT_EQ(pwrite(disk.get(), buffer.data(), 4096, kSize - 4096), 4096);
}

TEST_F(ServeFuse, ReadsWhatIsNotAlignedAndRefusesToWriteIt)
{
  REQUIRE_FUSE();
  start();
  Fd disk = mount_.open_disk(O_RDWR);
  Buffer content(64 << 10), read(64 << 10);
  const size_t lengths[] = {1, 511, 513, 4095, 4097, 40000};

  content.fill(3);
  ASSERT_EQ(pwrite(image_.fd(), content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
  for (size_t offset : {0, 1, 511, 512, 4000, 9999})
    for (size_t length : lengths) {
      ASSERT_EQ(pread(disk.get(), read.data(), length, static_cast<off_t>(offset)),
                static_cast<ssize_t>(length));
      EXPECT_EQ(memcmp(read.data(), content.data() + offset, length), 0) << offset << " " << length;
    }
  EXPECT_EQ(pwrite(disk.get(), content.data(), 100, 0), -1);
  EXPECT_EQ(errno, EINVAL);
  expect_in_image(content, 0);
}

TEST_F(ServeFuse, ZeroesRanges)
{
  REQUIRE_FUSE();
  start();
  Fd disk = mount_.open_disk(O_RDWR);
  Buffer content(1 << 20), zeros(256 << 10);

  content.fill(4);
  for (int mode : {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE}) {
    ASSERT_EQ(pwrite(disk.get(), content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
    ASSERT_EQ(fallocate(disk.get(), mode, 65536, static_cast<off_t>(zeros.size())), 0) << strerror(errno);
    expect_in_image(zeros, 65536);
    ASSERT_EQ(pwrite(disk.get(), content.data() + 65536, zeros.size(), 65536),
              static_cast<ssize_t>(zeros.size()));
    expect_in_image(content, 0);
  }
  EXPECT_EQ(fallocate(disk.get(), 0, 0, 4096), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
  EXPECT_EQ(fallocate(disk.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kSize, 4096), -1);
}

TEST_F(ServeFuse, HasOneFileThatKeepsItsSize)
{
  REQUIRE_FUSE();
  start();
  Fd disk = mount_.open_disk(O_RDWR);
  struct statfs fs;

  EXPECT_EQ(ftruncate(disk.get(), 4096), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(ftruncate(disk.get(), kSize), 0);
  EXPECT_EQ(fstatfs(disk.get(), &fs), 0);
  EXPECT_EQ(fs.f_blocks, kSize / 4096);
  EXPECT_EQ(fgetxattr(disk.get(), "user.x", nullptr, 0), -1);
}

TEST_F(ServeFuse, ReadOnlyIsReadOnly)
{
  REQUIRE_FUSE();
  start(0);
  Fd disk = mount_.open_disk(O_RDWR);
  Buffer buffer(4096);

  EXPECT_EQ(pwrite(disk.get(), buffer.data(), 4096, 0), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_EQ(pread(disk.get(), buffer.data(), 4096, 0), 4096);
  EXPECT_EQ(fsync(disk.get()), 0);
}

TEST_F(ServeFuse, ServesAPartOfTheDisk)
{
  REQUIRE_FUSE();
  VdServeSetup setup = serving::setup_of(1 << 20);
  Buffer written(4096);

  setup.offset = 2 << 20;
  start(setup);
  Fd disk = mount_.open_disk(O_RDWR | O_DIRECT);
  written.fill(5);
  EXPECT_EQ(pwrite(disk.get(), written.data(), 4096, 8192), 4096);
  EXPECT_EQ(pwrite(disk.get(), written.data(), 4096, 1 << 20), -1);
  expect_in_image(written, (2 << 20) + 8192);
}

TEST_F(ServeFuse, CarriesAFileSystemOnLoop)
{
  REQUIRE_LOOP();
  start();
  Fd disk = mount_.open_disk(O_RDWR | O_DIRECT);
  Loop loop(disk.get());
  char folder[] = "/tmp/virtdisk-test-XXXXXX";
  Buffer written(4 << 20), read(4 << 20);

  ASSERT_TRUE(loop.good()) << strerror(errno);
  EXPECT_TRUE(loop.is_direct());
  disk.reset();
  if (!run_program({"mkfs.ext4", "-q", loop.path().c_str()}))
    GTEST_SKIP() << "mkfs.ext4 is not there";
  ASSERT_NE(mkdtemp(folder), nullptr);
  written.fill(6);
  if (mount(loop.path().c_str(), folder, "ext4", 0, nullptr) != 0) {
    rmdir(folder);
    GTEST_SKIP() << "ext4 cannot be mounted here";
  }
  for (int i = 0; i < 4; i++) {
    Fd file(open((std::string(folder) + "/f" + std::to_string(i)).c_str(), O_RDWR | O_CREAT, 0600));
    EXPECT_EQ(write(file.get(), written.data(), written.size()), static_cast<ssize_t>(written.size()));
    EXPECT_EQ(fsync(file.get()), 0);
  }
  EXPECT_EQ(umount2(folder, 0), 0);
  EXPECT_EQ(mount(loop.path().c_str(), folder, "ext4", MS_RDONLY, nullptr), 0);
  for (int i = 0; i < 4; i++) {
    Fd file(open((std::string(folder) + "/f" + std::to_string(i)).c_str(), O_RDONLY));
    EXPECT_EQ(::read(file.get(), read.data(), read.size()), static_cast<ssize_t>(read.size()));
    EXPECT_TRUE(read == written);
  }
  EXPECT_EQ(umount2(folder, 0), 0);
  rmdir(folder);
  EXPECT_TRUE(run_program({"fsck.ext4", "-fn", loop.path().c_str()}));
  loop.close();
  expect_clean_end();
}

// Threads that write and read back all the while. Their requests end with the connection, if nothing else
// ends them.
class Users
{
public:
  Users(int disk, unsigned n)
  {
    for (unsigned user = 0; user < n; user++)
      threads_.emplace_back([this, disk, user] { run(disk, user); });
  }
  void join()
  {
    stop_ = true;
    for (std::thread &thread : threads_)
      thread.join();
    threads_.clear();
  }
  // False: nothing moves.
  bool do_some_work()
  {
    const unsigned before = rounds_;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(serving::kDeadlineMs);

    while (rounds_ < before + 20 && std::chrono::steady_clock::now() < deadline)
      std::this_thread::yield();
    return rounds_ >= before + 20;
  }
  unsigned faults() const
  {
    return faults_;
  }
  const char *last_error() const
  {
    return strerror(last_error_);
  }

private:
  void run(int disk, unsigned user)
  {
    Buffer written(128 << 10), read(128 << 10);
    const off_t offset = static_cast<off_t>(user) << 20;

    for (unsigned i = 0; !stop_; i++) {
      errno = 0;
      written.fill(user * 1000 + i);
      if (pwrite(disk, written.data(), written.size(), offset) != static_cast<ssize_t>(written.size()) ||
          (i % 16 == 0 && fsync(disk) != 0) ||
          pread(disk, read.data(), read.size(), offset) != static_cast<ssize_t>(read.size()) ||
          !(read == written)) {
        last_error_ = errno;
        faults_++;
      }
      rounds_++;
    }
  }

  std::atomic<bool> stop_{false};
  std::atomic<unsigned> rounds_{0}, faults_{0};
  std::atomic<int> last_error_{0};
  std::vector<std::thread> threads_;
};

// The connection is kept here; whoever serves it is killed, over and over. Every request that the dead had
// taken comes again to the next.
TEST_F(ServeFuse, SuccessorTakesOver)
{
  REQUIRE_FUSE();
  if (!kernel_is_at_least(6, 9))
    GTEST_SKIP() << "before Linux 6.9 requests that a dead server had taken are lost";
  start();
  Fd disk = mount_.open_disk(O_RDWR | O_DIRECT);
  Users users(disk.get(), 4);
  std::unique_ptr<Worker> next;
  bool works = users.do_some_work();

  worker_.kill();
  for (int i = 0; i < 10 && works; i++) {
    next = std::make_unique<Worker>();
    EXPECT_TRUE(next->order(serving::setup_of(kSize, VD_SERVE_WRITABLE | VD_SERVE_TAKEOVER | VD_SERVE_RESEND),
                            mount_.fuse(), {image_.fd()}));
    Message ready = serving::receive(next->line());
    EXPECT_EQ(ready.kind(), VD_SERVE_READY) << ready.report.error.text;
    works = users.do_some_work();
    if (i < 9)
      next->kill();
  }
  EXPECT_TRUE(works);
  if (!works) {
    next.reset();
    mount_.close_fuse();
  }
  users.join();
  EXPECT_EQ(users.faults(), 0u) << users.last_error();
  disk.reset();
  mount_.close_mount();
  ASSERT_TRUE(works);
  EXPECT_EQ(serving::receive(next->line()).kind(), VD_SERVE_CLOSED);
  EXPECT_EQ(next->wait(), 0);
}

// As a service that was restarted gets them: from the worker, to give them to its successor.
TEST_F(ServeFuse, GivesItsFilesAway)
{
  REQUIRE_FUSE();
  start();
  struct stat given, ours;
  Fd fuse, image;

  ASSERT_TRUE(worker_.send(VD_SERVE_STATUS));
  Message status = serving::receive(worker_.line());
  ASSERT_EQ(status.kind(), VD_SERVE_STATUS_REPLY);
  ASSERT_EQ(status.report.n_files, 2u);
  EXPECT_EQ(status.report.pid, worker_.pid());
  ASSERT_TRUE(worker_.send(VD_SERVE_GIVE));
  for (int i = 0; i < 2; i++) {
    Message message = serving::receive(worker_.line());
    ASSERT_EQ(message.kind(), VD_SERVE_GIVEN);
    ASSERT_EQ(message.file.index, 0u);
    (message.file.role == VD_ROLE_TRANSPORT ? fuse : image) = std::move(message.fd);
  }
  mount_.close_fuse();
  ASSERT_EQ(fstat(image.get(), &given), 0);
  ASSERT_EQ(fstat(image_.fd(), &ours), 0);
  EXPECT_EQ(given.st_ino, ours.st_ino);
  worker_.kill();
  Worker next;
  ASSERT_TRUE(
      next.order(serving::setup_of(kSize, VD_SERVE_WRITABLE | VD_SERVE_TAKEOVER), fuse.get(), {image.get()}));
  ASSERT_EQ(serving::receive(next.line()).kind(), VD_SERVE_READY);
  Fd disk = mount_.open_disk(O_RDWR | O_DIRECT);
  Buffer buffer(4096);
  EXPECT_EQ(pread(disk.get(), buffer.data(), 4096, 0), 4096);
}

TEST_F(ServeFuse, NoSignalButKillEndsIt)
{
  REQUIRE_FUSE();
  start();
  Buffer buffer(4096);

  Fd disk = mount_.open_disk(O_RDWR | O_DIRECT);
  for (int number : {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGUSR1})
    EXPECT_EQ(kill(worker_.pid(), number), 0);
  worker_.hang_up();
  EXPECT_EQ(pread(disk.get(), buffer.data(), 4096, 0), 4096);
}
