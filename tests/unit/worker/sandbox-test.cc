// SPDX-License-Identifier: LGPL-2.1-or-later
// The sandbox from inside (each call that must not work is tried by a child of its own) and from outside.
#include <gtest/gtest.h>
#include <algorithm>
#include <csignal>
#include <dirent.h>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <set>
#include <sstream>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "images/image.hh"

extern "C" {
#include "worker/sandbox.h"
}

namespace
{

constexpr int kLine = 3, kImage = 4;
constexpr uid_t kNobody = 65534;
constexpr int kNotEntered = 99;

#ifdef VD_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

VdSandboxPlan plan_of(VdSandboxLevel level)
{
  return {level, kNobody, kNobody, kLine, kImage};
}

// A process in the sandbox that runs act and exits with what it returns.
class Inside
{
public:
  Inside(const VdSandboxPlan &plan, const std::function<int()> &act) : image_(images::Bytes(8192, 7))
  {
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
      abort();
    line_ = ends[0];
    pid_ = fork();
    if (pid_ == 0)
      child(plan, act, ends[1]);
    close(ends[1]);
  }
  ~Inside()
  {
    hang_up();
    if (pid_ > 0)
      wait();
    close(line_);
  }

  pid_t pid() const
  {
    return pid_;
  }
  int line() const
  {
    return line_;
  }
  int wait()
  {
    int status = 0;

    waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }
  void hang_up()
  {
    shutdown(line_, SHUT_RDWR);
  }

private:
  [[noreturn]] void child(const VdSandboxPlan &plan, const std::function<int()> &act, int line)
  {
    int high_line = fcntl(line, F_DUPFD, 10), high_image = fcntl(image_.fd(), F_DUPFD, 10);

    dup2(high_line, kLine);
    dup2(high_image, kImage);
    if (const char *step = vd_sandbox_enter(&plan)) {
      // Not in the filter yet.
      dprintf(kLine, "%s", step);
      _exit(kNotEntered);
    }
    syscall(SYS_exit_group, act());
    __builtin_unreachable();
  }

  images::File image_;
  int line_ = -1;
  pid_t pid_ = -1;
};

bool killed_by_filter(int status)
{
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

std::string slurp(const std::string &path)
{
  std::ifstream file(path);
  std::stringstream text;

  text << file.rdbuf();
  return text.str();
}

// "Name:\tvalue" of /proc/PID/status, spaces squeezed.
std::string status_of(pid_t pid, const std::string &name)
{
  std::istringstream lines(slurp("/proc/" + std::to_string(pid) + "/status"));
  std::string line;

  while (std::getline(lines, line))
    if (line.rfind(name + ":", 0) == 0) {
      std::istringstream words(line.substr(name.size() + 1));
      std::string word, value;

      while (words >> word)
        value += value.empty() ? word : " " + word;
      return value;
    }
  return "absent";
}

std::set<std::string> names_in(const std::string &path)
{
  std::set<std::string> names;
  DIR *directory = opendir(path.c_str());

  if (directory == nullptr)
    return {"unreadable"};
  while (const dirent *entry = readdir(directory))
    if (std::string(entry->d_name) != "." && std::string(entry->d_name) != "..")
      names.insert(entry->d_name);
  closedir(directory);
  return names;
}

std::string link_of(const std::string &path)
{
  char target[256] = {};

  return readlink(path.c_str(), target, sizeof target - 1) > 0 ? target : "unreadable";
}

int message(int fd)
{
  char byte = 'r';
  iovec part = {&byte, 1};
  msghdr header = {};

  header.msg_iov = &part;
  header.msg_iovlen = 1;
  return sendmsg(fd, &header, MSG_NOSIGNAL) == 1 ? 0 : 1;
}

int say_ready_and_wait()
{
  char byte;

  if (message(kLine) != 0)
    return 1;
  return read(kLine, &byte, 1) == 0 ? 0 : 2;
}

#define REQUIRE_ROOT()                                                                                       \
  if (geteuid() != 0)                                                                                        \
  GTEST_SKIP() << "the real sandbox needs root"

struct Forbidden {
  const char *name;
  int (*act)();
  bool sanitizers_need_it;
};

int result_of(long value)
{
  return value < 0 ? 1 : 0;
}

int failed(void *mapping)
{
  return mapping == MAP_FAILED ? 1 : 0;
}

char *const kNoStrings[] = {nullptr};

const Forbidden kForbidden[] = {
    {"open", [] { return result_of(open("/etc/passwd", O_RDONLY)); }, true},
    {"openat2", [] { return result_of(syscall(SYS_openat2, -1, "/", nullptr, 0)); }, false},
    {"stat",
     [] {
       struct stat st;
       return result_of(stat("/", &st));
     },
     false},
    {"socket", [] { return result_of(socket(AF_UNIX, SOCK_STREAM, 0)); }, false},
    {"execve", [] { return result_of(execve("/bin/true", kNoStrings, kNoStrings)); }, false},
    {"fork", [] { return result_of(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }, false},
    {"clone3", [] { return result_of(syscall(SYS_clone3, nullptr, 0)); }, false},
    {"write_image", [] { return result_of(write(kImage, "x", 1)); }, false},
    {"write_line", [] { return result_of(write(kLine, "x", 1)); }, false},
    {"pwrite_image", [] { return result_of(pwrite(kImage, "x", 1, 0)); }, false},
    {"truncate_image", [] { return result_of(ftruncate(kImage, 0)); }, false},
    {"punch_image", [] { return result_of(fallocate(kImage, 3, 0, 4096)); }, false},
    {"map_image", [] { return failed(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, kImage, 0)); }, false},
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
    {"io_uring",
     [] {
       io_uring_params p = {};
       return result_of(syscall(SYS_io_uring_setup, 1, &p));
     },
     false},
    {"receive",
     [] {
       msghdr m = {};
       return result_of(recvmsg(kLine, &m, MSG_DONTWAIT));
     },
     false},
    {"send_elsewhere", [] { return message(kImage); }, false},
    {"duplicate", [] { return result_of(fcntl(kImage, F_DUPFD, 0)); }, false},
    {"lock",
     [] {
       struct flock l = {};
       return result_of(fcntl(kImage, F_SETLK, &l));
     },
     false},
    {"memfd", [] { return result_of(memfd_create("x", 0)); }, false},
    {"mount", [] { return result_of(mount("none", "/", "tmpfs", 0, nullptr)); }, false},
    {"unshare", [] { return result_of(unshare(CLONE_NEWUSER)); }, false},
    {"setuid", [] { return result_of(syscall(SYS_setuid, 0)); }, false},
    {"dumpable", [] { return result_of(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)); }, true},
    {"bpf", [] { return result_of(syscall(SYS_bpf, 0, nullptr, 0)); }, false},
    {"userfaultfd", [] { return result_of(syscall(SYS_userfaultfd, 0)); }, false},
    {"keyring", [] { return result_of(syscall(SYS_add_key, "user", "a", "b", 1, -3)); }, false},
};

class SandboxForbids : public testing::TestWithParam<Forbidden>
{
};

TEST_P(SandboxForbids, AsRoot)
{
  REQUIRE_ROOT();
  if (kSanitized && GetParam().sanitizers_need_it)
    GTEST_SKIP() << "sanitizers need this call";
  Inside inside(plan_of(VD_SANDBOX_FULL), GetParam().act);
  int status = inside.wait();

  EXPECT_TRUE(killed_by_filter(status)) << "wait status " << status;
}

INSTANTIATE_TEST_SUITE_P(Calls, SandboxForbids, testing::ValuesIn(kForbidden),
                         [](const auto &info) { return std::string(info.param.name); });

int use_what_is_allowed()
{
  char byte;
  struct stat st;
  sigset_t signals;

  if (pread(kImage, &byte, 1, 4096) != 1 || byte != 7)
    return 1;
  if (fstat(kImage, &st) != 0 || st.st_size != 8192)
    return 2;
  if (lseek(kImage, 10, SEEK_SET) != 10 || read(kImage, &byte, 1) != 1)
    return 3;
  if (ioctl(kImage, 0x1268) != -1 || errno != ENOTTY)
    return 4;
  if (posix_fadvise(kImage, 0, 0, POSIX_FADV_RANDOM) != 0)
    return 5;
  void *large = malloc(8 << 20);
  if (large == nullptr)
    return 6;
  memset(large, 1, 8 << 20);
  free(large);
  if (getrandom(&byte, 1, 0) != 1 || pthread_sigmask(SIG_BLOCK, nullptr, &signals) != 0)
    return 7; // newer versions of glibc do the one within the other
  return message(kLine);
}

} // namespace

TEST(Sandbox, AllowsWhatProbingNeeds)
{
  REQUIRE_ROOT();
  Inside inside(plan_of(VD_SANDBOX_FULL), use_what_is_allowed);

  EXPECT_EQ(inside.wait(), 0);
}

// Of a device its size alone may be asked for. Without a descriptor the kernel answers EBADF, the filter does
// not come so far.
TEST(Sandbox, ADeviceIsAskedForItsSizeAndNothingElse)
{
  for (VdSandboxObject object : {VD_SANDBOX_OF_FILE, VD_SANDBOX_OF_DEVICE}) {
    VdSandboxPlan plan = plan_of(VD_SANDBOX_UNPRIVILEGED);

    plan.object = object;
    Inside inside(plan, [object] {
      uint64_t size;

      if (ioctl(-1, BLKGETSIZE64, &size) != -1 || errno != (object == VD_SANDBOX_OF_DEVICE ? EBADF : ENOTTY))
        return 1;
      return ioctl(-1, BLKSSZGET, &size) == -1 && errno == ENOTTY ? 0 : 2;
    });

    EXPECT_EQ(inside.wait(), 0) << object;
  }
}

TEST(Sandbox, UnprivilegedStillFilters)
{
  Inside good(plan_of(VD_SANDBOX_UNPRIVILEGED), use_what_is_allowed);
  Inside bad(plan_of(VD_SANDBOX_UNPRIVILEGED), [] { return result_of(socket(AF_UNIX, SOCK_STREAM, 0)); });

  EXPECT_EQ(good.wait(), 0);
  EXPECT_TRUE(killed_by_filter(bad.wait()));
}

TEST(Sandbox, MemoryHasACeiling)
{
  if (kSanitized)
    GTEST_SKIP() << "sanitizers reserve terabytes";
  Inside inside(plan_of(VD_SANDBOX_UNPRIVILEGED), [] {
    return mmap(nullptr, 300 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
               ? 0
               : 1;
  });

  EXPECT_EQ(inside.wait(), 0);
}

TEST(Sandbox, RootIsNoAccountForIt)
{
  REQUIRE_ROOT();
  for (int which : {0, 1}) {
    VdSandboxPlan plan = plan_of(VD_SANDBOX_FULL);
    char step[64] = {};

    (which == 0 ? plan.uid : plan.gid) = 0;
    Inside inside(plan, [] { return 0; });
    int status = inside.wait();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == kNotEntered) << status;
    ASSERT_GT(recv(inside.line(), step, sizeof step - 1, MSG_DONTWAIT), 0);
    EXPECT_STREQ(step, "account");
  }
}

// Without the rights that the full sandbox needs it must not be entered half.
TEST(Sandbox, FullWithoutPrivilegeFails)
{
  Inside inside(plan_of(VD_SANDBOX_UNPRIVILEGED), [] { return 0; });

  ASSERT_EQ(inside.wait(), 0);
  pid_t pid = fork();
  if (pid == 0) {
    VdSandboxPlan plan = plan_of(VD_SANDBOX_FULL);

    if (geteuid() == 0 && (setgid(kNobody) != 0 || setuid(kNobody) != 0))
      _exit(2);
    _exit(vd_sandbox_enter(&plan) != nullptr ? 0 : 1);
  }
  int status;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Sandbox, SeenFromOutside)
{
  REQUIRE_ROOT();
  Inside inside(plan_of(VD_SANDBOX_FULL), say_ready_and_wait);
  std::string proc = "/proc/" + std::to_string(inside.pid());
  char byte;

  ASSERT_EQ(recv(inside.line(), &byte, 1, 0), 1);
  EXPECT_EQ(status_of(inside.pid(), "Uid"), "65534 65534 65534 65534");
  EXPECT_EQ(status_of(inside.pid(), "Gid"), "65534 65534 65534 65534");
  EXPECT_EQ(status_of(inside.pid(), "Groups"), "");
  for (const char *set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
    EXPECT_EQ(status_of(inside.pid(), set), "0000000000000000") << set;
  EXPECT_EQ(status_of(inside.pid(), "NoNewPrivs"), "1");
  EXPECT_EQ(status_of(inside.pid(), "Seccomp"), "2");
  EXPECT_EQ(names_in(proc + "/root"), std::set<std::string>{});
  for (const char *space : {"mnt", "net"})
    EXPECT_NE(link_of(proc + "/ns/" + space), link_of(std::string("/proc/self/ns/") + space)) << space;
  std::set<std::string> expected = {"3", "4"};
  if (kSanitized)
    expected.insert({"0", "1", "2"});
  EXPECT_EQ(names_in(proc + "/fd"), expected);
  std::string mounts = slurp(proc + "/mountinfo");
  EXPECT_EQ(std::count(mounts.begin(), mounts.end(), '\n'), 1) << mounts;
  EXPECT_NE(mounts.find(" ro,nosuid,nodev,noexec"), std::string::npos) << mounts;
  struct stat st;
  ASSERT_EQ(stat((proc + "/maps").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 0u) << "a dumpable process has its files owned by its account";
  inside.hang_up();
  EXPECT_EQ(inside.wait(), 0);
}

TEST(Sandbox, LimitsSeenFromOutside)
{
  Inside inside(plan_of(VD_SANDBOX_UNPRIVILEGED), say_ready_and_wait);
  char byte;

  ASSERT_EQ(recv(inside.line(), &byte, 1, 0), 1);
  const struct {
    __rlimit_resource resource;
    rlim_t most;
  } limits[] = {{RLIMIT_AS, kSanitized ? RLIM_INFINITY : 256 << 20},
                {RLIMIT_CPU, 4},
                {RLIMIT_NOFILE, 5},
                {RLIMIT_FSIZE, 0},
                {RLIMIT_CORE, 0},
                {RLIMIT_NPROC, 0},
                {RLIMIT_MEMLOCK, 0},
                {RLIMIT_MSGQUEUE, 0}};
  for (const auto &limit : limits) {
    struct rlimit seen;

    if (geteuid() != 0)
      GTEST_SKIP() << "reading the limits of a process that is not dumpable needs root";
    ASSERT_EQ(prlimit(inside.pid(), limit.resource, nullptr, &seen), 0);
    EXPECT_EQ(seen.rlim_cur, limit.most) << limit.resource;
    EXPECT_EQ(seen.rlim_max, limit.most) << limit.resource;
  }
  inside.hang_up();
  EXPECT_EQ(inside.wait(), 0);
}
