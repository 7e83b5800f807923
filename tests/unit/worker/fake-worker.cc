// SPDX-License-Identifier: LGPL-2.1-or-later
// Workers that misbehave, chosen by the name that the program is called by.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <map>
#include <string>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

extern "C" {
#include "virtdisk-enums.h"
#include "worker/protocol.h"
}

namespace
{

struct Message {
  VdWorkerReply reply;
  char more[4096];
} message;
size_t length = sizeof(VdWorkerReply);

// Takes the question; the reply then holds what a sound worker says of a raw image.
void prepare()
{
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  VdWorkerRequest request;
  iovec part = {&request, sizeof request};
  msghdr header = {};
  struct stat st;
  int fd;

  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  if (recvmsg(VD_WORKER_SOCKET_FD, &header, 0) != sizeof request || CMSG_FIRSTHDR(&header) == nullptr)
    _exit(50);
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof fd);
  if (fstat(fd, &st) != 0)
    _exit(51);
  message.reply.magic = VD_WORKER_MAGIC;
  message.reply.version = VD_WORKER_VERSION;
  message.reply.size = sizeof message.reply;
  message.reply.facts.device_id = request.device_id;
  message.reply.facts.virtual_size = message.reply.facts.file_size = static_cast<uint64_t>(st.st_size);
  message.reply.facts.linear = message.reply.facts.is_4k_aligned = 1;
  message.reply.facts.sector_size = message.reply.facts.physical_sector_size = 512;
}

void say(bool with_fd = false)
{
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part = {&message, length};
  msghdr header = {};

  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (with_fd) {
    int fd = open("/dev/null", O_RDONLY);

    header.msg_control = control;
    header.msg_controllen = sizeof control;
    CMSG_FIRSTHDR(&header)->cmsg_level = SOL_SOCKET;
    CMSG_FIRSTHDR(&header)->cmsg_type = SCM_RIGHTS;
    CMSG_FIRSTHDR(&header)->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)), &fd, sizeof fd);
  }
  if (sendmsg(VD_WORKER_SOCKET_FD, &header, MSG_NOSIGNAL) != static_cast<ssize_t>(length))
    _exit(52);
}

[[noreturn]] void hang()
{
  for (;;)
    pause();
}

void say_error(int code, const char *text)
{
  message.reply.failed = 1;
  message.reply.error.code = code;
  memcpy(message.reply.error.text, text, std::min(strlen(text) + 1, sizeof message.reply.error.text));
  say();
}

const std::map<std::string, std::function<void()>> kWays = {
    {"good", [] { say(); }},
    {"good-then-hang", [] { say(), hang(); }},
    {"hang", hang},
    {"hang-silent", [] { close(VD_WORKER_SOCKET_FD), hang(); }},
    {"exit-0", [] { _exit(0); }},
    {"exit-7", [] { _exit(7); }},
    {"signal", [] { raise(SIGTERM); }},
    {"empty", [] { length = 0, say(); }},
    {"short", [] { length = 16, say(); }},
    {"long", [] { length += 1, say(); }},
    {"huge", [] { length = sizeof message, say(); }},
    {"garbage", [] { memset(&message, 0xa5, sizeof message), say(); }},
    {"magic", [] { message.reply.magic ^= 1, say(); }},
    {"version", [] { message.reply.version++, say(); }},
    {"size", [] { message.reply.size--, say(); }},
    {"failed-2", [] { message.reply.failed = 2, say(); }},
    {"descriptor", [] { say(true); }},
    {"size-lie", [] { message.reply.facts.virtual_size += 512, say(); }},
    {"file-size-lie", [] { message.reply.facts.virtual_size = message.reply.facts.file_size += 512, say(); }},
    {"device-lie", [] { message.reply.facts.device_id = VIRTDISK_DEVICE_ISO, say(); }},
    {"error-good", [] { say_error(VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING, "no footer at offset 7"); }},
    {"error-denied", [] { say_error(VIRTDISK_ERROR_ACCESS_DENIED, "give me your password"); }},
    {"error-negative", [] { say_error(-1, "text"); }},
    {"error-control", [] { say_error(VIRTDISK_ERROR_IO, "a\x1b[2Jb"); }},
    {"error-silent", [] { say_error(VIRTDISK_ERROR_IO, ""); }},
    {"error-endless", [] { say_error(VIRTDISK_ERROR_IO, std::string(300, 'x').c_str()); }},
};

} // namespace

int main(int, char **argv)
{
  const struct rlimit none = {0, 0};
  const char *name = strrchr(argv[0], '/');

  setrlimit(RLIMIT_CORE, &none);
  prepare();
  kWays.at(name != nullptr ? name + 1 : argv[0])();
  // Not by way of exit(): LeakSanitizer would trace the process, and one that is killed while being traced is
  // a zombie for as long as its tracer likes.
  _exit(0);
}
