/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtdisk-worker --serve: serves one disk until its transport ends, or does one task. What needs privilege
 * comes first (memory, ring, the first commands to ublk), then the sandbox closes, and only then a byte of an
 * image is read. It outlives the daemon, and no polite signal ends it while its disk is in use.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker/protocol.h"
#include "worker/serve.h"

enum { EXIT_LINE = 3, EXIT_REFUSED = 4, EXIT_UNCLEAN = 5 };

/* Memory beside buffers and metadata pages: the engine's requests, tables of the images, the heap. Bytes. */
#define WORKING_MEMORY (UINT64_C(96) << 20)
#define STACK_SIZE (512U << 10)
/* Bytes; of most machines. Elsewhere it is an alignment like any other. */
#define HUGE_PAGE ((size_t)2 << 20)
/* Missing in older headers. */
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* In huge pages where there are any: a few faults and not thousands, now and whenever the kernel copies. */
void *vd_serve_memory(size_t size)
{
  char *memory = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  size_t before = (size_t)(-(uintptr_t)memory % HUGE_PAGE);

  if (memory == MAP_FAILED)
    return NULL;
  if (before > 0)
    munmap(memory, before);
  memory += before;
  munmap(memory + size, HUGE_PAGE - before);
  madvise(memory, size, MADV_HUGEPAGE);
  if (madvise(memory, size, MADV_POPULATE_WRITE) < 0)
    return NULL;
#ifndef VD_SANITIZED
  (void)!mlock(memory, size);
#endif
  return memory;
}

/* While the images are not open `next` is nobody's. */
static void hold(VdServer *server, VdRequest *request)
{
  request->next = server->held;
  server->held = request;
}

void vd_server_forward(VdServer *server, VdRequest *request)
{
  if (server->engine && !server->mirror.breaking)
    vd_serve_mirror_submit(server, request);
  else
    hold(server, request);
}

void vd_server_submit(VdServer *server, VdRequest *request)
{
  server->busy++;
  server->changed = server->changed || (request->op != VD_OP_READ && request->op != VD_OP_FLUSH);
  if (server->engine && !server->mirror.breaking)
    vd_serve_changes_submit(server, request);
  else
    hold(server, request);
}

void vd_server_request_done(VdServer *server)
{
  server->busy--;
}

void vd_server_end(VdServer *server)
{
  server->ended = true;
}

void vd_server_dismiss(VdServer *server)
{
  if (!server->ended && server->transport->is_untouched(server))
    vd_server_end(server);
}

void vd_server_stop(VdServer *server)
{
  if (server->transport->stopping == VD_SERVE_STOPS)
    vd_server_end(server);
  else
    vd_server_dismiss(server);
}

static void fill_counters(const VdEngine *engine, VdServeReport *report)
{
  VdEngineCounters counters = vd_engine_counters(engine);

  report->reads = counters.reads;
  report->writes = counters.writes;
  report->flushes = counters.flushes;
  report->commits = counters.commits;
  report->size = vd_engine_size(engine);
  report->sector_size = vd_engine_sector_size(engine);
  report->block_size = vd_engine_block_size(engine);
  report->discard_granularity = vd_engine_discard_granularity(engine);
}

void vd_serve_report(const VdServer *server, VdServeKind kind, const VdFormatError *error,
                     VdServeReport *ret_report)
{
  *ret_report = (VdServeReport){.header = {VD_SERVE_MAGIC, VD_SERVE_VERSION, kind, sizeof *ret_report},
                                .pid = server->pid,
                                .error.code = -1};
  ret_report->n_files = vd_serve_count_files(server);
  ret_report->locked = server->locked;
  if (server->engine)
    fill_counters(server->engine, ret_report);
  if (error)
    ret_report->error = *error;
}

bool vd_serve_send(const VdServeHeader *message)
{
  struct iovec part = {(void *)message, message->size};
  struct msghdr outer = {.msg_iov = &part, .msg_iovlen = 1};
  ssize_t n;

  do
    n = sendmsg(VD_WORKER_SOCKET_FD, &outer, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n == (ssize_t)message->size;
}

static bool say(const VdServer *server, VdServeKind kind, const VdFormatError *error)
{
  VdServeReport report;

  vd_serve_report(server, kind, error, &report);
  return vd_serve_send(&report.header);
}

static void ignore_signals(void)
{
  static const int polite[] = {SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM};
  sigset_t heard;

  /* Who serves hears of it in its own time (serve-lines.c). */
  sigemptyset(&heard);
  sigaddset(&heard, SIGTERM);
  sigprocmask(SIG_BLOCK, &heard, NULL);
  for (size_t i = 0; i < sizeof polite / sizeof polite[0]; i++)
    signal(polite[i], SIG_IGN);
}

/* Stack that is there already: locked, it could not grow beyond the limit. Not inlined: it has to lie below
 * whoever calls, where the next calls will be. */
static __attribute__((noinline)) void grow_stack(void)
{
  volatile char stack[STACK_SIZE];

  for (size_t i = 0; i < sizeof stack; i += 1024)
    stack[i] = 0;
}

/* Memory is taken without waiting for I/O, perhaps on the disk that is served here; and none of it goes away.
 * What comes later is locked as it is first used, where the limit can be raised (else it could not be had at
 * all). */
static void keep_memory(void)
{
  prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
  grow_stack();
#ifndef VD_SANITIZED
  struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};

  if (mlockall(MCL_CURRENT) == 0 && setrlimit(RLIMIT_MEMLOCK, &all) == 0)
    mlockall(MCL_FUTURE | MCL_ONFAULT);
#endif
}

/* A number of /proc/self/status, in bytes; 0 if it cannot be had. name: with its colon. */
static uint64_t status_number(const char *name)
{
  char line[128];
  uint64_t kib = 0;
  FILE *file = fopen("/proc/self/status", "re");

  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, name, strlen(name)) == 0)
      kib = strtoull(line + strlen(name), NULL, 10);
  if (file)
    fclose(file);
  return kib << 10;
}

static int higher(int a, int b)
{
  return a > b ? a : b;
}

/* The sandbox keeps all numbers up to this one: none other is open. */
static int highest_fd(const VdServer *server)
{
  int last = higher(VD_WORKER_SOCKET_FD, higher(server->order.listen_fd, server->order.transport_fd));

  last = higher(last, higher(server->lines.control_fd, server->lines.signal_fd));
  last = higher(last, higher(server->order.blob_fd, server->order.changes_fd));
  if (server->ring)
    last = higher(last, vd_ring_uring(server->ring)->ring_fd);
  for (unsigned i = 0; i < server->order.n_images; i++)
    last = higher(last, server->order.images[i]);
  return last;
}

static bool shut_in(VdServer *server, const VdSandboxPlan *who, VdFormatError *ret_error)
{
  const VdServeSetup *setup = &server->order.setup;
  uint64_t cache = setup->cache_size != 0 ? setup->cache_size : VD_SERVE_CACHE_SIZE;
  VdSandboxPlan plan = *who;
  const char *failed_step;

  plan.purpose = setup->transport != VD_TRANSPORT_NONE ? VD_SANDBOX_SERVE : VD_SANDBOX_TASK;
  /* What is too long for an answer is written too. */
  plan.files =
      (setup->flags & VD_SERVE_WRITABLE) != 0 || server->order.blob_fd >= 0 || server->order.changes_fd >= 0
          ? VD_SANDBOX_FILES_WRITTEN
          : VD_SANDBOX_FILES_READ;
  plan.first_fd = VD_WORKER_SOCKET_FD;
  plan.last_fd = highest_fd(server);
  plan.spare_fds = plan.purpose == VD_SANDBOX_SERVE ? VD_SERVE_MAX_LINES : 0;
  plan.listen_fd = server->order.listen_fd;
  plan.control_fd = server->lines.control_fd;
  plan.memory = status_number("VmSize:") + cache + WORKING_MEMORY;
  server->locked = status_number("VmLck:") + cache;
  failed_step = vd_sandbox_enter(&plan);
  return !failed_step ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_INTERNAL, 0, "", "the worker's sandbox: %s: %s",
                             failed_step, strerrordesc_np(errno));
}

static const VdServeTransport *transport_of(uint32_t transport)
{
  return transport == VD_TRANSPORT_UBLK   ? &vd_serve_ublk
         : transport == VD_TRANSPORT_FUSE ? &vd_serve_fuse
         : transport == VD_TRANSPORT_NBD  ? &vd_serve_nbd
                                          : NULL;
}

/* A new file is written by plain calls, and one that is looked at is read by them. */
static bool needs_ring(const VdServer *server)
{
  return server->order.setup.task != VD_TASK_CREATE && server->order.setup.task != VD_TASK_CHECK;
}

static bool prepare(VdServer *server, const VdSandboxPlan *who, VdFormatError *ret_error)
{
  server->lines.control_fd = server->lines.signal_fd = -1;
  server->transport = transport_of(server->order.setup.transport);
  keep_memory();
  if (server->transport && !vd_serve_lines_init(&server->lines, server, VD_WORKER_SOCKET_FD))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "the worker's lines: %s",
                               strerrordesc_np(errno));
  if (needs_ring(server) && !vd_serve_make_ring(server, ret_error))
    return false;
  if (server->transport && !server->transport->prepare(server, ret_error))
    return false;
  return shut_in(server, who, ret_error);
}

static int end_cleanly(VdServer *server, int broken)
{
  VdFormatError error;
  VdServeReport report;
  int result = broken;

  vd_serve_mirror_end(server);
  if (result >= 0)
    result = vd_engine_close(server->engine);
  vd_serve_changes_close(server, result);
  if (result < 0)
    vd_format_error_set(&error, VIRTDISK_ERROR_IO, 0, "", "the image could not be closed cleanly: %s",
                        strerrordesc_np(-result));
  vd_serve_report(server, VD_SERVE_CLOSED, result < 0 ? &error : NULL, &report);
  vd_serve_lines_tell(&server->lines, &report.header);
  return result < 0 ? EXIT_UNCLEAN : EXIT_SUCCESS;
}

static int serve(VdServer *server)
{
  int result = 0;

  vd_serve_lines_start(&server->lines);
  vd_serve_mirror_start(server);
  vd_serve_release_held(server);
  if (server->transport->start)
    server->transport->start(server);
  while (result >= 0 && (!server->ended || server->busy > 0)) {
    result = vd_serve_wait(server);
    if (vd_serve_mirror_is_broken(server))
      return EXIT_SUCCESS;
  }
  return end_cleanly(server, result);
}

static int run(VdServer *server, const VdSandboxPlan *who)
{
  VdFormatError error;
  bool good =
      vd_serve_receive_order(VD_WORKER_SOCKET_FD, &server->order, &error) && prepare(server, who, &error);

  if (good)
    good = server->transport ? vd_serve_open_images(server, &error) : vd_serve_do_task(server, &error);
  if (!say(server, good ? VD_SERVE_READY : VD_SERVE_FAILED, good ? NULL : &error))
    return EXIT_LINE;
  if (!good)
    return EXIT_REFUSED;
  return server->transport ? serve(server) : say(server, VD_SERVE_CLOSED, NULL) ? EXIT_SUCCESS : EXIT_LINE;
}

/* What is below the line is closed by the sandbox: no descriptor of ours may land there. */
static bool occupy_standard_fds(void)
{
  for (int fd = 0; fd < VD_WORKER_SOCKET_FD; fd++)
    if (fcntl(fd, F_GETFD) < 0 && dup3(VD_WORKER_SOCKET_FD, fd, O_CLOEXEC) < 0)
      return false;
  return true;
}

int vd_serve_main(const VdSandboxPlan *plan)
{
  static VdServer server;

  server.pid = getpid();
  ignore_signals();
  /* Nothing of the daemon's may come along; from here on every descriptor is ours. */
  if (!occupy_standard_fds() || syscall(SYS_close_range, (unsigned)VD_WORKER_SOCKET_FD + 1, ~0U, 0) < 0)
    return EXIT_LINE;
  return run(&server, plan);
}
