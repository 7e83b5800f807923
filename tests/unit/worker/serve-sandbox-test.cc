// SPDX-License-Identifier: LGPL-2.1-or-later
// The sandbox of a serving worker from inside: each call, and each operation of the ring, that must not work
// is tried by a child of its own. And a real one from outside.
#include "serve-fixture.h"

#include <algorithm>
#include <dirent.h>
#include <fstream>
#include <functional>
#include <linux/fs.h>
#include <liburing.h>
#include <sched.h>
#include <set>
#include <sstream>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <string>

extern "C" {
#include "worker/serve.h"
}

namespace
{

using serving::Fd;

constexpr int kLine = 3;
constexpr int kNotEntered = 99;
constexpr uid_t kNobody = 65534;
constexpr size_t kImageSize = 1 << 20;

#ifdef VD_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

VdServer server;

VdSandboxPlan plan_of(VdSandboxPurpose purpose, VdSandboxFiles files)
{
  VdSandboxPlan plan = {};

  plan.level = geteuid() == 0 && !kSanitized ? VD_SANDBOX_FULL : VD_SANDBOX_UNPRIVILEGED;
  plan.uid = plan.gid = kNobody;
  plan.first_fd = kLine;
  plan.last_fd = 15;
  plan.purpose = purpose;
  plan.files = files;
  plan.memory = UINT64_C(1) << 30;
  plan.spare_fds = VD_SERVE_MAX_LINES;
  plan.listen_fd = server.order.listen_fd;
  plan.control_fd = server.lines.control_fd;
  return plan;
}

// As serve.c has it: files, a ring that is narrowed, then the sandbox.
[[noreturn]] void become(VdSandboxPurpose purpose, VdSandboxFiles files, int line,
                         const std::function<int()> &act)
{
  int high = fcntl(line, F_DUPFD, 30);
  VdFormatError error;

  dup2(high, kLine);
  syscall(SYS_close_range, 4, ~0U, 0);
  server.order.listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  server.order.transport_fd = eventfd(0, EFD_CLOEXEC);
  server.order.images[0] = memfd_create("image", MFD_CLOEXEC);
  server.order.n_images = 1;
  server.order.setup.sector_size = 512;
  server.order.setup.flags = files == VD_SANDBOX_FILES_WRITTEN ? VD_SERVE_WRITABLE : 0;
  server.transport = &vd_serve_fuse;
  server.lines.control_fd = epoll_create1(EPOLL_CLOEXEC);
  if (ftruncate(server.order.images[0], kImageSize) != 0 || !vd_serve_make_ring(&server, &error))
    _exit(kNotEntered);
  VdSandboxPlan plan = plan_of(purpose, files);
  if (vd_sandbox_enter(&plan) != nullptr)
    _exit(kNotEntered);
  syscall(SYS_exit_group, act());
  __builtin_unreachable();
}

// A process in the sandbox that runs act and exits with what it returns.
class Inside
{
public:
  Inside(VdSandboxPurpose purpose, VdSandboxFiles files, const std::function<int()> &act)
  {
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
      abort();
    line_.reset(ends[0]);
    pid_ = fork();
    if (pid_ == 0)
      become(purpose, files, ends[1], act);
    close(ends[1]);
  }
  ~Inside()
  {
    line_.reset();
    wait();
  }
  int line() const
  {
    return line_.get();
  }
  pid_t pid() const
  {
    return pid_;
  }
  int wait()
  {
    if (pid_ > 0)
      waitpid(pid_, &status_, 0);
    pid_ = -1;
    return status_;
  }

private:
  Fd line_;
  pid_t pid_ = -1;
  int status_ = -1;
};

bool killed_by_filter(int status)
{
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

int result_of(long value)
{
  return value < 0 ? 1 : 0;
}

int failed(void *mapping)
{
  return mapping == MAP_FAILED ? 1 : 0;
}

int image()
{
  return server.order.images[0];
}

char *const kNoStrings[] = {nullptr};

struct Forbidden {
  const char *name;
  int (*act)();
  bool sanitizers_need_it;
};

// Returns what it came to, if it may be tried.
int share_space()
{
  struct file_clone_range range = {};

  range.src_fd = -1;
  return ioctl(server.order.images[0], FICLONERANGE, &range) < 0 ? errno : 0;
}

const Forbidden kForbidden[] = {
    {"share_space", [] { return share_space() == EBADF ? 0 : 1; }, false},
    {"open", [] { return result_of(open("/etc/passwd", O_RDONLY)); }, true},
    {"openat2", [] { return result_of(syscall(SYS_openat2, -1, "/", nullptr, 0)); }, false},
    {"stat",
     [] {
       struct stat st;
       return result_of(stat("/", &st));
     },
     false},
    {"socket", [] { return result_of(socket(AF_UNIX, SOCK_STREAM, 0)); }, false},
    {"connect", [] { return result_of(connect(kLine, nullptr, 0)); }, false},
    {"execve", [] { return result_of(execve("/bin/true", kNoStrings, kNoStrings)); }, false},
    {"fork", [] { return result_of(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }, false},
    {"clone3", [] { return result_of(syscall(SYS_clone3, nullptr, 0)); }, false},
    {"write_image", [] { return result_of(write(image(), "x", 1)); }, false},
    {"pwrite_image", [] { return result_of(pwrite(image(), "x", 1, 0)); }, false},
    {"truncate_image", [] { return result_of(ftruncate(image(), 0)); }, false},
    {"punch_image", [] { return result_of(fallocate(image(), 3, 0, 4096)); }, false},
    {"read_line", [] { return result_of(read(kLine, nullptr, 0)); }, false},
    {"map_image", [] { return failed(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, image(), 0)); }, false},
    {"map_code",
     [] { return failed(mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); },
     false},
    {"protect_code",
     [] {
       static char page[1];
       return result_of(syscall(SYS_mprotect, page, 1, PROT_EXEC));
     },
     false},
    {"ptrace", [] { return result_of(ptrace(PTRACE_TRACEME, 0, 0, 0)); }, false},
    {"read_memory_of_another",
     [] { return result_of(syscall(SYS_process_vm_readv, 1, nullptr, 0, nullptr, 0, 0)); }, false},
    {"kill_another", [] { return result_of(kill(1, 0)); }, false},
    {"pidfd", [] { return result_of(syscall(SYS_pidfd_open, 1, 0)); }, false},
    {"another_ring",
     [] {
       io_uring_params p = {};
       return result_of(syscall(SYS_io_uring_setup, 1, &p));
     },
     false},
    {"register_with_ring", [] { return result_of(syscall(SYS_io_uring_register, 0, 0, nullptr, 0)); }, false},
    {"another_epoll", [] { return result_of(epoll_create1(0)); }, false},
    {"epoll_elsewhere", [] { return result_of(epoll_ctl(kLine, EPOLL_CTL_DEL, image(), nullptr)); }, false},
    {"accept_elsewhere", [] { return result_of(accept4(kLine, nullptr, nullptr, 0)); }, false},
    {"socket_option",
     [] {
       int value;
       socklen_t size = sizeof value;
       return result_of(getsockopt(kLine, SOL_SOCKET, SO_SNDBUF, &value, &size));
     },
     false},
    {"duplicate", [] { return result_of(fcntl(image(), F_DUPFD, 0)); }, false},
    {"lock",
     [] {
       struct flock l = {};
       return result_of(fcntl(image(), F_SETLK, &l));
     },
     false},
    {"ioctl", [] { return result_of(ioctl(image(), 0x1268)); }, false},
    {"memfd", [] { return result_of(memfd_create("x", 0)); }, false},
    {"mount", [] { return result_of(mount("none", "/", "tmpfs", 0, nullptr)); }, false},
    {"unshare", [] { return result_of(unshare(CLONE_NEWUSER)); }, false},
    {"setuid", [] { return result_of(syscall(SYS_setuid, 0)); }, false},
    {"set_limit",
     [] {
       struct rlimit limit = {1, 1};
       return result_of(syscall(SYS_setrlimit, RLIMIT_CORE, &limit));
     },
     false},
    {"dumpable", [] { return result_of(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)); }, true},
    {"bpf", [] { return result_of(syscall(SYS_bpf, 0, nullptr, 0)); }, false},
    {"userfaultfd", [] { return result_of(syscall(SYS_userfaultfd, 0)); }, false},
    {"keyring", [] { return result_of(syscall(SYS_add_key, "user", "a", "b", 1, -3)); }, false},
};

class ServeSandboxForbids : public testing::TestWithParam<Forbidden>
{
};

TEST_P(ServeSandboxForbids, WhileServing)
{
  if (kSanitized && GetParam().sanitizers_need_it)
    GTEST_SKIP() << "sanitizers need this call";
  Inside inside(VD_SANDBOX_SERVE, VD_SANDBOX_FILES_READ, GetParam().act);
  int status = inside.wait();

  EXPECT_TRUE(killed_by_filter(status)) << "wait status " << status;
}

INSTANTIATE_TEST_SUITE_P(Calls, ServeSandboxForbids, testing::ValuesIn(kForbidden),
                         [](const auto &info) { return std::string(info.param.name); });

struct Operation {
  VdRingOp op;
  bool done;
  int result;
};

void on_done(VdRingOp *op, int result, uint32_t flags)
{
  Operation *self = reinterpret_cast<Operation *>(op);

  (void)flags;
  self->done = true;
  self->result = result;
}

// What the ring makes of one submission. Not for operations that wait.
int submit(uint8_t operation, unsigned flags, int fd, void *buffer, unsigned length)
{
  Operation self = {{on_done}, false, 0};
  io_uring_sqe *sqe = vd_ring_sqe(server.ring, &self.op);

  sqe->opcode = operation;
  sqe->flags = static_cast<uint8_t>(flags);
  sqe->fd = fd;
  sqe->addr = reinterpret_cast<uintptr_t>(buffer);
  sqe->len = length;
  while (!self.done)
    if (vd_ring_wait(server.ring) < 0)
      return -EDOM;
  return self.result;
}

const std::set<unsigned> kAllowedOperations = {IORING_OP_NOP,   IORING_OP_READ,      IORING_OP_WRITE,
                                               IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_POLL_ADD};

int use_what_is_allowed()
{
  char page[4096] = "virtdisk";
  struct stat st;
  ucred peer;
  socklen_t size = sizeof peer;
  epoll_event event = {};
  char byte;
  sigset_t signals;
  iovec part = {&byte, 1};
  msghdr header = {};

  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (submit(IORING_OP_WRITE, IOSQE_FIXED_FILE, VD_SLOT_IMAGES, page, sizeof page) != sizeof page)
    return 1;
  memset(page, 0, sizeof page);
  if (submit(IORING_OP_READ, IOSQE_FIXED_FILE | IOSQE_ASYNC, VD_SLOT_IMAGES, page, sizeof page) !=
          sizeof page ||
      strcmp(page, "virtdisk") != 0)
    return 2;
  if (submit(IORING_OP_FSYNC, IOSQE_FIXED_FILE, VD_SLOT_IMAGES, nullptr, 0) != 0)
    return 3;
  if (pwrite(image(), page, 512, 0) != 512 || fdatasync(image()) != 0)
    return 12;
  if (pread(image(), page, 512, 0) != 512 || fstat(image(), &st) != 0 || lseek(image(), 0, SEEK_DATA) != 0)
    return 4;
  if (ftruncate(image(), 2 * kImageSize) != 0)
    return 5;
  if (epoll_ctl(server.lines.control_fd, EPOLL_CTL_ADD, kLine, &event) != 0 ||
      epoll_wait(server.lines.control_fd, &event, 1, 0) != 0)
    return 6;
  if (recvmsg(kLine, &header, MSG_DONTWAIT) != -1 || errno != EAGAIN ||
      accept4(server.order.listen_fd, nullptr, nullptr, SOCK_CLOEXEC) != -1)
    return 7;
  if (getsockopt(kLine, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return 8;
  if (fcntl(image(), F_SETFL, fcntl(image(), F_GETFL)) != 0)
    return 9;
  if (getrandom(&byte, 1, 0) != 1 || pthread_sigmask(SIG_BLOCK, nullptr, &signals) != 0)
    return 13; // newer versions of glibc do the one within the other
  void *large = malloc(8 << 20);
  if (large == nullptr)
    return 10;
  memset(large, 1, 8 << 20);
  free(large);
  byte = 'x';
  return sendmsg(kLine, &header, MSG_NOSIGNAL) == 1 ? 0 : 11;
}

std::string status_of(pid_t pid, const std::string &name)
{
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  std::string line;

  while (std::getline(file, line))
    if (line.rfind(name + ":", 0) == 0) {
      std::istringstream words(line.substr(name.size() + 1));
      std::string word, value;

      while (words >> word)
        value += value.empty() ? word : " " + word;
      return value;
    }
  return "absent";
}

// The hard limit, as /proc/PID/limits has it; none: the largest number.
unsigned long limit_of(pid_t pid, const std::string &name)
{
  std::ifstream file("/proc/" + std::to_string(pid) + "/limits");
  std::string line, soft, hard;

  while (std::getline(file, line))
    if (line.rfind(name, 0) == 0) {
      std::istringstream words(line.substr(name.size()));

      words >> soft >> hard;
      return hard == "unlimited" ? ~0UL : std::stoul(hard);
    }
  return ~0UL;
}

std::string link_of(const std::string &path)
{
  char target[256] = {};

  return readlink(path.c_str(), target, sizeof target - 1) > 0 ? target : "unreadable";
}

unsigned count_in(const std::string &path)
{
  unsigned n = 0;
  DIR *directory = opendir(path.c_str());

  if (directory == nullptr)
    return ~0U;
  while (const dirent *entry = readdir(directory))
    n += entry->d_name[0] != '.';
  closedir(directory);
  return n;
}

} // namespace

TEST(ServeSandbox, AllowsWhatServingNeeds)
{
  Inside inside(VD_SANDBOX_SERVE, VD_SANDBOX_FILES_WRITTEN, use_what_is_allowed);

  EXPECT_EQ(inside.wait(), 0);
}

TEST(ServeSandbox, RingRefusesEveryOtherOperation)
{
  for (unsigned operation = 0; operation < IORING_OP_LAST; operation++) {
    if (kAllowedOperations.count(operation) != 0)
      continue;
    Inside inside(VD_SANDBOX_SERVE, VD_SANDBOX_FILES_WRITTEN, [operation] {
      return submit(static_cast<uint8_t>(operation), IOSQE_FIXED_FILE, VD_SLOT_IMAGES, nullptr, 0) == -EACCES
                 ? 0
                 : 1;
    });

    EXPECT_EQ(inside.wait(), 0) << "operation " << operation;
  }
}

TEST(ServeSandbox, AConnectionNeedsNoOperationOfItsOwn)
{
  EXPECT_EQ(vd_serve_nbd.n_operations, 0u);
}

TEST(ServeSandbox, RingTakesNoDescriptorButThoseInItsTable)
{
  for (uint8_t operation : {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_FSYNC}) {
    Inside inside(VD_SANDBOX_SERVE, VD_SANDBOX_FILES_WRITTEN, [operation] {
      char page[512];
      return submit(operation, 0, image(), page, sizeof page) == -EACCES ? 0 : 1;
    });

    EXPECT_EQ(inside.wait(), 0) << "operation " << operation;
  }
}

TEST(ServeSandbox, AFileThatIsNotWrittenDoesNotGrow)
{
  Inside inside(VD_SANDBOX_SERVE, VD_SANDBOX_FILES_READ, [] {
    char page[4096] = {};
    return submit(IORING_OP_WRITE, IOSQE_FIXED_FILE, VD_SLOT_IMAGES, page, sizeof page) < 0 ? 0 : 1;
  });
  int status = inside.wait();

  // The kernel also sends a signal.
  EXPECT_TRUE(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)) << status;
}

TEST(ServeSandbox, ATaskWritesAndHearsNothingButThatItIsToEnd)
{
  Inside writes(VD_SANDBOX_TASK, VD_SANDBOX_FILES_WRITTEN, [] {
    return pwrite(image(), "x", 1, 0) == 1 && fdatasync(image()) == 0 && ftruncate(image(), 4096) == 0 &&
                   fallocate(image(), 0, 0, 8192) == 0
               ? 0
               : 1;
  });
  Inside hears(VD_SANDBOX_TASK, VD_SANDBOX_FILES_WRITTEN, [] {
    msghdr header = {};
    return result_of(recvmsg(kLine, &header, MSG_DONTWAIT));
  });
  Inside is_told(VD_SANDBOX_TASK, VD_SANDBOX_FILES_WRITTEN, [] {
    char byte;
    return recv(kLine, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN ? 0 : 1;
  });
  Inside is_told_by_others(VD_SANDBOX_TASK, VD_SANDBOX_FILES_WRITTEN, [] {
    char byte;
    return result_of(recv(server.order.listen_fd, &byte, 1, MSG_DONTWAIT));
  });
  Inside copies(VD_SANDBOX_TASK, VD_SANDBOX_FILES_WRITTEN, [] {
    return share_space() == EBADF && posix_fadvise(image(), 0, 0, POSIX_FADV_DONTNEED) == 0 ? 0 : 1;
  });
  Inside opens(VD_SANDBOX_TASK, VD_SANDBOX_FILES_WRITTEN,
               [] { return result_of(syscall(SYS_openat2, -1, "/", nullptr, 0)); });

  EXPECT_EQ(writes.wait(), 0);
  EXPECT_EQ(is_told.wait(), 0);
  EXPECT_EQ(copies.wait(), 0);
  EXPECT_TRUE(killed_by_filter(hears.wait()));
  EXPECT_TRUE(killed_by_filter(is_told_by_others.wait()));
  EXPECT_TRUE(killed_by_filter(opens.wait()));
}

TEST(ServeSandbox, SeenFromOutside)
{
  REQUIRE_FUSE();
  if (kSanitized)
    GTEST_SKIP() << "sanitizers need the root they were started in";
  Fd memory(memfd_create("image", MFD_CLOEXEC));
  serving::Mount mount;
  serving::Worker worker;
  std::string proc = "/proc/" + std::to_string(worker.pid());

  ASSERT_EQ(ftruncate(memory.get(), kImageSize), 0);
  ASSERT_TRUE(worker.order(serving::setup_of(kImageSize, 0), mount.fuse(), {memory.get()}));
  ASSERT_EQ(serving::receive(worker.line()).kind(), VD_SERVE_READY);
  EXPECT_EQ(status_of(worker.pid(), "Uid"), "65534 65534 65534 65534");
  EXPECT_EQ(status_of(worker.pid(), "Gid"), "65534 65534 65534 65534");
  EXPECT_EQ(status_of(worker.pid(), "Groups"), "");
  for (const char *set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
    EXPECT_EQ(status_of(worker.pid(), set), "0000000000000000") << set;
  EXPECT_EQ(status_of(worker.pid(), "NoNewPrivs"), "1");
  EXPECT_EQ(status_of(worker.pid(), "Seccomp"), "2");
  EXPECT_EQ(count_in(proc + "/root"), 0u);
  // The line, the connection, the image, epoll, SIGTERM and the ring.
  EXPECT_EQ(count_in(proc + "/fd"), 6u);
  for (const char *space : {"mnt", "net"})
    EXPECT_NE(link_of(proc + "/ns/" + space), link_of(std::string("/proc/self/ns/") + space)) << space;
  EXPECT_LE(limit_of(worker.pid(), "Max address space"), 512U << 20);
  EXPECT_LE(limit_of(worker.pid(), "Max open files"), 32u);
  EXPECT_EQ(limit_of(worker.pid(), "Max file size"), 0u);
  EXPECT_EQ(limit_of(worker.pid(), "Max core file size"), 0u);
  struct stat st;
  ASSERT_EQ(stat((proc + "/maps").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 0u) << "a dumpable process has its files owned by its account";
}
