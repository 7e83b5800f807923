// SPDX-License-Identifier: LGPL-2.1-or-later
// A worker that has done its task by the time at which it is told to end.
#include <gio/gio.h>
#include <sys/socket.h>
#include <unistd.h>

extern "C" {
#include "worker/protocol.h"
#include "worker/serve-protocol.h"
}

namespace
{

template <typename Message> bool say(VdServeKind kind, Message message)
{
  message.header = {VD_SERVE_MAGIC, VD_SERVE_VERSION, static_cast<uint32_t>(kind), sizeof message};
  return send(VD_WORKER_SOCKET_FD, &message, sizeof message, MSG_NOSIGNAL) == sizeof message;
}

bool is_told_to_end()
{
  VdServeSetup message;
  ssize_t length;

  do
    length = recv(VD_WORKER_SOCKET_FD, &message, sizeof message, 0);
  while (length > 0 && message.header.kind != VD_SERVE_STOP);
  return length > 0;
}

} // namespace

int main()
{
  VdServeReport good = {};

  good.error.code = -1;
  _exit(is_told_to_end() && say(VD_SERVE_RESULT, VdServeResult{}) && say(VD_SERVE_READY, good) &&
                say(VD_SERVE_CLOSED, good)
            ? 0
            : 1);
}
