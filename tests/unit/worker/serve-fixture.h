// SPDX-License-Identifier: LGPL-2.1-or-later
// A serving worker as the daemon sees it, and the things of the kernel that go with it: a detached FUSE
// mount, a loop device on its file. Everything ends with its object, also when a test fails.
#pragma once

#include <gtest/gtest.h>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/mount.h>
#include <poll.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

extern "C" {
#include "virtdisk-enums.h"
#include "worker/serve-protocol.h"
}

namespace serving
{

constexpr int kDeadlineMs = 20000;

class Fd
{
public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd &&other) noexcept : fd_(other.release()) {}
  Fd &operator=(Fd &&other) noexcept
  {
    reset(other.release());
    return *this;
  }
  ~Fd()
  {
    reset();
  }
  int get() const
  {
    return fd_;
  }
  int release()
  {
    int fd = fd_;

    fd_ = -1;
    return fd;
  }
  void reset(int fd = -1)
  {
    if (fd_ >= 0)
      close(fd_);
    fd_ = fd;
  }

private:
  int fd_;
};

inline VdServeHeader header(uint32_t kind, size_t size)
{
  return {VD_SERVE_MAGIC, VD_SERVE_VERSION, kind, static_cast<uint32_t>(size)};
}

inline bool send_message(int line, const void *message, size_t size, int fd = -1)
{
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part = {const_cast<void *>(message), size};
  msghdr outer = {};

  outer.msg_iov = &part;
  outer.msg_iovlen = 1;
  if (fd >= 0) {
    outer.msg_control = control;
    outer.msg_controllen = sizeof control;
    cmsghdr *c = CMSG_FIRSTHDR(&outer);
    c->cmsg_len = CMSG_LEN(sizeof fd);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
  }
  return sendmsg(line, &outer, MSG_NOSIGNAL) == static_cast<ssize_t>(size);
}

struct Message {
  ssize_t length = -1; // 0: the line was closed, -1: nothing came in time
  union {
    VdServeHeader header;
    VdServeReport report;
    VdServeFile file;
    VdServeFault fault;
    VdServeChecked checked;
  };
  Fd fd;

  Message() : report{} {}
  uint32_t kind() const
  {
    return length >= static_cast<ssize_t>(sizeof header) ? header.kind : 0;
  }
};

inline Message receive(int line, int deadline_ms = kDeadlineMs)
{
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  pollfd waiting = {line, POLLIN, 0};
  Message message;
  iovec part = {&message.report, sizeof message.report};
  msghdr outer = {};
  int fd;

  outer.msg_iov = &part;
  outer.msg_iovlen = 1;
  outer.msg_control = control;
  outer.msg_controllen = sizeof control;
  if (poll(&waiting, 1, deadline_ms) <= 0)
    return message;
  message.length = recvmsg(line, &outer, MSG_CMSG_CLOEXEC);
  if (message.length < 0 && errno == ECONNRESET)
    message.length = 0;
  if (const cmsghdr *c = CMSG_FIRSTHDR(&outer)) {
    memcpy(&fd, CMSG_DATA(c), sizeof fd);
    message.fd.reset(fd);
  }
  return message;
}

// A worker's process and the first line to it. Killed with the object if it still lives.
class Worker
{
public:
  Worker()
  {
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
      abort();
    line_.reset(ends[0]);
    pid_ = fork();
    if (pid_ == 0)
      become_worker(ends[1]);
    close(ends[1]);
  }
  ~Worker()
  {
    kill();
  }
  Worker(const Worker &) = delete;
  Worker &operator=(const Worker &) = delete;

  int line() const
  {
    return line_.get();
  }
  pid_t pid() const
  {
    return pid_;
  }
  void hang_up()
  {
    line_.reset();
  }
  void kill()
  {
    if (pid_ > 0)
      ::kill(pid_, SIGKILL);
    wait();
  }
  // Its wait status; -1: it did not end in time.
  int wait()
  {
    int status = -1;

    if (pid_ <= 0)
      return status_;
    Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
    pollfd waiting = {pidfd.get(), POLLIN, 0};
    if (poll(&waiting, 1, kDeadlineMs) <= 0)
      return -1;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return status_ = status;
  }
  bool send(uint32_t kind)
  {
    VdServeHeader message = header(kind, sizeof message);

    return send_message(line(), &message, sizeof message);
  }
  bool give(uint32_t role, uint32_t index, int fd)
  {
    VdServeFile message = {header(VD_SERVE_FILE, sizeof message), role, index};

    return send_message(line(), &message, sizeof message, fd);
  }
  bool order(VdServeSetup setup, int transport, const std::vector<int> &images, int listen = -1)
  {
    setup.header = header(VD_SERVE_SETUP, sizeof setup);
    setup.n_files = static_cast<uint32_t>(images.size()) + (transport >= 0) + (listen >= 0);
    bool good = send_message(line(), &setup, sizeof setup);
    if (listen >= 0)
      good = good && give(VD_ROLE_LISTEN, 0, listen);
    if (transport >= 0)
      good = good && give(VD_ROLE_TRANSPORT, 0, transport);
    for (uint32_t i = 0; i < images.size(); i++)
      good = good && give(VD_ROLE_IMAGE, i, images[i]);
    return good;
  }

private:
  [[noreturn]] static void become_worker(int line)
  {
    int high = fcntl(line, F_DUPFD, 10);

    dup2(high, 3);
    syscall(SYS_close_range, 4, ~0U, 0);
#ifdef VD_SANITIZED
    execl(REAL_WORKER, REAL_WORKER, "--unprivileged-test", "--serve", nullptr);
#else
    if (geteuid() == 0)
      execl(REAL_WORKER, REAL_WORKER, "--user", "65534:65534", "--serve", nullptr);
    else
      execl(REAL_WORKER, REAL_WORKER, "--unprivileged-test", "--serve", nullptr);
#endif
    _exit(127);
  }

  Fd line_;
  pid_t pid_ = -1;
  int status_ = -1;
};

inline VdServeSetup setup_of(uint64_t size, uint32_t flags = VD_SERVE_WRITABLE)
{
  VdServeSetup setup = {};

  setup.transport = VD_TRANSPORT_FUSE;
  setup.flags = flags;
  setup.device_id = VIRTDISK_DEVICE_RAW;
  setup.depth = 32;
  setup.max_io = VD_SERVE_DEFAULT_IO_FUSE;
  setup.sector_size = 512;
  setup.size = size;
  return setup;
}

// A FUSE connection, and the mount that no path leads to.
class Mount
{
public:
  Mount() : fuse_(open("/dev/fuse", O_RDWR | O_CLOEXEC))
  {
    Fd context(static_cast<int>(syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC)));
    const std::string fd = std::to_string(fuse_.get());
    const char *const options[][2] = {{"source", "virtdisk"},
                                      {"fd", fd.c_str()},
                                      {"rootmode", "40000"},
                                      {"user_id", "0"},
                                      {"group_id", "0"}};

    for (const auto &option : options)
      if (syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, option[0], option[1], 0) != 0)
        return;
    if (syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0)
      mount_.reset(static_cast<int>(syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC,
                                            MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)));
  }
  bool good() const
  {
    return mount_.get() >= 0;
  }
  int fuse() const
  {
    return fuse_.get();
  }
  void close_fuse()
  {
    fuse_.reset();
  }
  // The connection ends when the files are closed too.
  void close_mount()
  {
    mount_.reset();
  }
  Fd open_disk(int flags)
  {
    return Fd(openat(mount_.get(), "disk", flags | O_CLOEXEC));
  }

private:
  Fd fuse_, mount_;
};

// A loop device with direct I/O; detached with the object.
class Loop
{
public:
  explicit Loop(int file)
  {
    Fd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));

    for (int tries = 0; tries < 32 && fd_.get() < 0; tries++) {
      path_ = "/dev/loop" + std::to_string(ioctl(control.get(), LOOP_CTL_GET_FREE));
      fd_.reset(open(path_.c_str(), O_RDWR | O_CLOEXEC));
      loop_config config = {};
      config.fd = static_cast<__u32>(file);
      config.block_size = 512;
      config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
      if (ioctl(fd_.get(), LOOP_CONFIGURE, &config) != 0)
        fd_.reset();
    }
  }
  bool good() const
  {
    return fd_.get() >= 0;
  }
  bool is_direct() const
  {
    loop_info64 info = {};

    return ioctl(fd_.get(), LOOP_GET_STATUS64, &info) == 0 && (info.lo_flags & LO_FLAGS_DIRECT_IO) != 0;
  }
  int fd() const
  {
    return fd_.get();
  }
  const std::string &path() const
  {
    return path_;
  }
  void close()
  {
    fd_.reset();
  }

private:
  Fd fd_;
  std::string path_;
};

inline std::string why_no_fuse()
{
  if (geteuid() != 0)
    return "a FUSE mount needs root";
  if (access("/dev/fuse", R_OK | W_OK) != 0)
    return "this machine has no /dev/fuse";
  return "";
}

inline std::string why_no_loop()
{
  return access("/dev/loop-control", R_OK | W_OK) != 0 ? "this machine has no loop devices" : "";
}

#define REQUIRE_FUSE()                                                                                       \
  if (std::string why = serving::why_no_fuse(); !why.empty())                                                \
  GTEST_SKIP() << why
#define REQUIRE_LOOP()                                                                                       \
  if (std::string why = serving::why_no_fuse() + serving::why_no_loop(); !why.empty())                       \
  GTEST_SKIP() << why

} // namespace serving
