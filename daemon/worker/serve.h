/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker that serves: what its parts share. One thread, one ring; the parts are the order it was given
 * (serve-order.c), the images (serve-images.c, serve-check.c), one transport (serve-ublk.c, serve-fuse.c,
 * serve-nbd.c) and the lines to the daemon (serve-lines.c). Nothing is allocated once it serves.
 */
#pragma once

#include "engine/engine-mirror.h"
#include "engine/engine.h"
#include "engine/ring.h"
#include "engine/tracker.h"
#include "worker/sandbox.h"
#include "worker/serve-protocol.h"

/* Places in the ring's table of files. */
enum { VD_SLOT_TRANSPORT, VD_SLOT_CONTROL, VD_SLOT_LISTEN, VD_SLOT_IMAGES };

/* Lines at a time; who comes when all are taken is turned away. */
#define VD_SERVE_MAX_LINES 4

/* Bytes of metadata where the daemon asks for nothing else; with the buffers it stays below 48 MiB. */
#define VD_SERVE_CACHE_SIZE (UINT64_C(10) << 20)

/* What the daemon asked for, every number checked. */
typedef struct {
  VdServeSetup setup;
  int listen_fd;    /* -1: none */
  int transport_fd; /* -1: none */
  int blob_fd;      /* -1: none */
  int changes_fd;   /* -1: none */
  int images[VD_IO_MAX_FILES];
  unsigned n_images;
} VdServeOrder;

/* Blocks until the whole order is here. */
bool vd_serve_receive_order(int line, VdServeOrder *ret_order, VdFormatError *ret_error);

typedef struct VdServer VdServer;

typedef struct {
  int fd; /* -1: free */
  /* Descriptors that are still to be handed out: next of n. */
  unsigned give_next, give_n;
} VdServeLine;

typedef struct {
  VdRingOp poll;
  VdServer *server;
  int control_fd; /* epoll: a ring that was narrowed takes no further files */
  int listen_fd;
  int signal_fd; /* SIGTERM; -1: none */
  uid_t daemon;  /* who gave birth to us; nobody else is answered */
  VdServeLine lines[VD_SERVE_MAX_LINES];
} VdServeLines;

typedef enum { VD_SERVE_BLOCKING, VD_SERVE_NONBLOCKING } VdServeBlocking;
/* What STOP of the daemon does: the end only if nobody has used the disk yet, or in any case. */
typedef enum { VD_SERVE_STAYS, VD_SERVE_STOPS } VdServeStopping;

typedef struct {
  VdServeBlocking blocking; /* how the descriptor is to be set */
  VdServeStopping stopping;
  const uint8_t *operations; /* IORING_OP_*, besides those of the images and the lines */
  unsigned n_operations;
  /* Still privileged, the ring is narrowed, no byte of an image was read. */
  bool (*prepare)(VdServer *server, VdFormatError *ret_error);
  /* The engine is there. NULL: all was done before. */
  void (*start)(VdServer *server);
  /* Nobody has asked anything yet, nor did anybody ask a predecessor. */
  bool (*is_untouched)(const VdServer *server);
} VdServeTransport;

extern const VdServeTransport vd_serve_ublk;
extern const VdServeTransport vd_serve_fuse;
extern const VdServeTransport vd_serve_nbd;

/* serve-mirror.c's own. */
typedef struct {
  VdEngine *engine; /* of the image that is to be like ours; NULL: none is, or any more */
  VdMirror *mirror; /* NULL with it */
  unsigned told;    /* steps */
  bool breaking;    /* no request is begun any more */
} VdServeMirror;

/* serve-changes.c's own. */
typedef struct {
  VdTracker *tracker; /* NULL: none, or it is not to be trusted */
  VdCtlogTie tie;     /* of the image before it was opened */
  bool has_tie;
} VdServeChanges;

struct VdServer {
  VdServeOrder order;
  const VdServeTransport *transport;
  void *transport_state; /* the transport's own */
  /* Zero copy: addresses that stand for the kernel's buffers, depth of max_io bytes; no memory is there. */
  uint8_t *remote;
  VdRing *ring;
  VdIo *io;
  VdPages *pages;
  VdEngine *engine; /* NULL while the images are not open */
  VdServeMirror mirror;
  VdServeChanges changes;
  VdServeLines lines;
  unsigned busy;   /* requests in the engine */
  bool ended;      /* the transport takes no more requests */
  bool dismissed;  /* told to end, while the disk is in use */
  bool changed;    /* since the images were opened */
  VdRequest *held; /* until the images are open; in reverse */
  uint64_t locked; /* bytes */
  int64_t told_ms; /* when a task last told of its progress; 0: never */
  pid_t pid;
};

/* Descriptors that are handed out when asked for. */
unsigned vd_serve_count_files(const VdServer *server);

/* Fills server->ring and server->io, for order, transport and lines. Still privileged. */
bool vd_serve_make_ring(VdServer *server, VdFormatError *ret_error);

/* How file is to be opened as a layer, with the pages of the server. */
VdLayerSource vd_serve_source(const VdServer *server, unsigned file, bool writable);
/* One image whose parents are those from first_parent on. */
bool vd_serve_open_chain_over(VdServer *server, unsigned leaf, unsigned first_parent, bool leaf_writable,
                              uint32_t device_id, VdLayer **ret_layers, unsigned *ret_n,
                              VdFormatError *ret_error);
/* server->pages, as large as the order says. */
bool vd_serve_make_pages(VdServer *server, VdFormatError *ret_error);
/* The images from first to the last, as one chain; pages are made. On failure those that were opened stay in
 * ret_layers: the process ends anyway. */
bool vd_serve_open_chain(VdServer *server, unsigned first, bool leaf_writable, uint32_t device_id,
                         VdLayer **ret_layers, VdFormatError *ret_error);
/* Blocks; closes with the process. Fills server->engine. Only inside the sandbox. */
bool vd_serve_open_images(VdServer *server, VdFormatError *ret_error);
/* size, sector_size and order agree? */
bool vd_serve_check_disk(const VdServeSetup *setup, uint64_t size, uint32_t sector_size,
                         VdFormatError *ret_error);
/* In their clean form, if that can be had: see vd_engine_close(). Blocks. */
void vd_serve_close_images(VdServer *server);
/* The image of a task: done when it returns. */
bool vd_serve_do_task(VdServer *server, VdFormatError *ret_error);
/* The image is opened for writing, which mends what its format lets a writer mend, and closed; without a
 * session: its ids stay. */
bool vd_serve_reopen(VdServer *server, VdFormatError *ret_error);
/* CHECK and REPAIR. */
bool vd_serve_check(VdServer *server, VdFormatError *ret_error);

/* A message of header.size bytes on the line given at birth; blocks. */
bool vd_serve_send(const VdServeHeader *message);

/* One request to the engine, as soon as that is there; counted. done is to call vd_server_request_done()
 * first. */
void vd_server_submit(VdServer *server, VdRequest *request);
void vd_server_request_done(VdServer *server);
/* The same of one that is counted already: to the engine and the mirror. */
void vd_server_forward(VdServer *server, VdRequest *request);
/* Of a transport: nothing comes any more. */
void vd_server_end(VdServer *server);
/* SIGTERM: the end, if nobody has used the disk yet. */
void vd_server_dismiss(VdServer *server);
/* STOP of the daemon: see VdServeStopping. */
void vd_server_stop(VdServer *server);

/* serve-mirror.c */
/* The engine is there, and nobody has asked it anything. What is wrong with the mirror is told, and harms
 * nobody. */
void vd_serve_mirror_start(VdServer *server);
/* To the mirror's engine too. */
void vd_serve_mirror_submit(VdServer *server, VdRequest *request);
/* BREAK was said. */
void vd_serve_mirror_break(VdServer *server);
/* Once around the ring; true: the mirror has taken the image's place, and this worker ends. */
bool vd_serve_mirror_is_broken(VdServer *server);
/* The disk ends, and the mirror with it. Blocks. */
void vd_serve_mirror_end(VdServer *server);

/* serve-changes.c. The log is the file behind the images. */
/* Before a byte of the image may be changed. */
void vd_serve_changes_look(VdServer *server);
void vd_serve_changes_open(VdServer *server, const VdLayer *leaf);
/* To the mirror, or the engine, when its changes are marked. */
void vd_serve_changes_submit(VdServer *server, VdRequest *request);
/* The image is closed; result: how well. Blocks. */
void vd_serve_changes_close(VdServer *server, int result);

/* serve-rest.c */
/* Waits as vd_ring_wait(). From SIGTERM on the images are brought into their clean form whenever nobody has
 * wanted anything for a moment. */
int vd_serve_wait(VdServer *server);
/* The engine is there. */
void vd_serve_release_held(VdServer *server);

/* Anonymous memory, zero, aligned to pages, and really there: whoever is killed while the kernel copies to or
 * from a page that must first be found fails that request for good. NULL: none. Stays until the process ends.
 */
void *vd_serve_memory(size_t size);
void vd_serve_report(const VdServer *server, VdServeKind kind, const VdFormatError *error,
                     VdServeReport *ret_report);

/* first: the line given at birth. Before the sandbox closes. False with errno. */
bool vd_serve_lines_init(VdServeLines *self, VdServer *server, int first);
/* From here on the daemon is heard. */
void vd_serve_lines_start(VdServeLines *self);
/* To whoever is connected. */
void vd_serve_lines_tell(VdServeLines *self, const VdServeHeader *message);

/* plan: level and account. Returns the exit status. */
int vd_serve_main(const VdSandboxPlan *plan);
