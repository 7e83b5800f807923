/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starting processes, without a copy of our descriptors. A fork(2) of ours would inherit descriptors of files
 * that a user's FUSE process answers for; their close on exec(2) asks that process, and whoever waits for the
 * exec waits for as long as it likes. So a small process, made before there is any such descriptor, does the
 * forking. What it starts are children of ours all the same. Any thread.
 */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

/* Where a process finds the descriptor that it was given. */
#define VD_SPAWN_FD 3
/* The spawner opens nothing and waits for nobody. One that does not answer by then, in milliseconds, is lost.
 */
#define VD_SPAWN_DEADLINE_MS 5000
/* Ceiling: bytes of all arguments together. */
#define VD_SPAWN_MAX_TEXT 12288
#define VD_SPAWN_MAX_ARGUMENTS 15
/* How a process ends that could not become the program. */
#define VD_SPAWN_FAILED 127

typedef struct VdChild VdChild;

/*
 * Makes the spawner: main() does so before anything else, with the umask and the rights that processes are to
 * have. Elsewhere (tests) the first vd_spawn() does. It ends with us. Errors: VIRTDISK_ERROR NO_RESOURCES.
 */
gboolean vd_spawn_prepare(GError **error);
/* For who counts our children; 0: there is none yet. */
pid_t vd_spawn_pid(void);
/* Called once on the main loop when the spawner has ended: from then on nothing can be started. */
void vd_spawn_on_lost(void (*lost)(gpointer user_data), gpointer user_data);

typedef enum {
  VD_SPAWN_IN_SESSION,
  VD_SPAWN_NEW_SESSION, /* signals to our process group are not for it, and neither is the terminal */
} VdSpawnSession;

/*
 * arguments: NULL-terminated, the first is the program's absolute path. fd: taken (also on failure), or -1;
 * it becomes VD_SPAWN_FD, and beside /dev/null at 0, 1 and 2 it is all that the process has. No environment
 * but LC_ALL=C, "/" as its folder, all signals as they are by default. Errors: VIRTDISK_ERROR INTERNAL (there
 * is no such program), NO_RESOURCES.
 */
VdChild *vd_spawn(const char *const *arguments, int fd, VdSpawnSession session, GError **error);

VdChild *vd_child_ref(VdChild *self);
/* A process whose last reference goes runs on, and is waited for. */
void vd_child_unref(VdChild *self);
pid_t vd_child_pid(VdChild *self);
/* A descriptor of its own for poll(2) and signals, or -1. */
int vd_child_dup_pidfd(VdChild *self);
void vd_child_kill(VdChild *self);
/* Called once, when the process has been waited for, in the main context of the thread that started it. Set
 * in that thread, before it runs that context again. */
void vd_child_on_end(VdChild *self, void (*ended)(VdChild *self, gpointer user_data), gpointer user_data);
/* Blocks, in a thread. Whether it has ended by then. */
gboolean vd_child_wait(VdChild *self, guint deadline_ms);
/* Of one that has ended, as text: "was killed by signal 9 (Killed)", "ended with status 1". */
char *vd_child_describe_end(VdChild *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdChild, vd_child_unref)
