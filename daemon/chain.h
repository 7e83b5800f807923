/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chains of differencing images, the part that touches no file: where a parent may lie on this machine, and
 * whether what was found there is it. Any thread. Sources: MS-VHDX 2.6.2.6.3, the VHD specification's parent
 * locators; drive letters and volume GUIDs mean here what the administrator says.
 */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

#include "image.h"
#include "worker/facts.h"

/* Images of one chain, the leaf included. Each costs a descriptor and a message to the worker. */
#define VD_CHAIN_MAX_DEPTH 128
/* Parents that the handles and attachments of one user, who is not root, hold open: each is a descriptor, of
 * which the service has no more than others need too. */
#define VD_CHAIN_MAX_PARENTS_PER_USER 1024
/* Bytes of the file that maps drives, volumes and shares; and entries of it. */
#define VD_PATH_MAP_MAX_SIZE 65536

/* What “C:”, “\\?\Volume{...}” and “\\server\share” of a Windows machine are here. */
typedef struct VdPathMap VdPathMap;

/*
 * file: key file with the groups [drives] (C=/mnt/c), [volumes] (GUID=/mnt/c) and [shares]
 * (server/share=/mnt/share). None there: an empty map. Errors: ACCESS_DENIED (others than root or we could
 * have written it), INVALID_PARAMETER (a line that is wrong), IO. Blocking, short.
 */
VdPathMap *vd_path_map_load(const char *file, GError **error);
VdPathMap *vd_path_map_new(void);
void vd_path_map_free(VdPathMap *self);

/* What path is called on the Windows machine that the drives of the map stand for; NULL: nothing.
 * (transfer full) */
char *vd_path_map_to_windows(const VdPathMap *self, const char *path);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdPathMap, vd_path_map_free)

typedef enum { VD_RELATIVE_USE, VD_RELATIVE_IGNORE } VdRelativePlaces;

/*
 * Absolute paths here at which the parent of child may lie, in the order in which they are to be tried, none
 * twice. child_path: as the kernel names the child's file; relative places count from its folder (if it has
 * one here), and so does, at last, the bare name of the parent. Places that no file of an image can have are
 * left out: devices, streams, control characters, drives and shares that the map does not know.
 * (element char*)
 */
GPtrArray *vd_chain_candidates(const VdFacts *child, const char *child_path, const VdPathMap *map,
                               VdRelativePlaces relative);
/* The places as the image has them, for people; each harmless UTF-8. (element char*) */
GPtrArray *vd_chain_places(const VdFacts *child);

typedef enum { VD_TIMESTAMP_CHECK, VD_TIMESTAMP_IGNORE } VdTimestampCheck;

/*
 * Is parent the one that child was made from? names: for the message. parent_mtime: of the parent's file,
 * seconds since 1970; some writers store that one in the child. Errors: VHD_CHILD_PARENT_ID_MISMATCH,
 * _SIZE_MISMATCH, _TIMESTAMP_MISMATCH, VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT (sector sizes differ).
 */
gboolean vd_chain_match(const VdFacts *child, const VdFacts *parent, gint64 parent_mtime,
                        VdTimestampCheck timestamps, const char *child_name, const char *parent_name,
                        GError **error);

/* A parent as it is remembered when its file is no longer open here. */
typedef struct {
  char *path;    /* bytes */
  char *display; /* UTF-8 */
  dev_t dev;
  ino_t ino;
  gboolean write; /* opened for writing: within the depth that the caller asked for */
} VdParent;

VdParent *vd_parent_new(const char *path, dev_t dev, ino_t ino, gboolean write);
void vd_parent_free(VdParent *self);

/* The parents of one open leaf. */
typedef struct {
  GPtrArray *images; /* element VdImage*: nearest parent first */
  guint n_write;     /* of them, from the nearest, are open for writing */
  gboolean custom;   /* the caller puts it together */
  gboolean has_head;
  VdFacts head; /* facts of the last of images, if has_head */
} VdChain;

VdChain *vd_chain_new(gboolean custom);
/* The same images; the locks are the first one's. */
VdChain *vd_chain_copy(const VdChain *self);
/* Not done by freeing: a device may outlive us and rely on the locks. */
void vd_chain_unlock(VdChain *self);
void vd_chain_free(VdChain *self);
/* The chain ends in an image without a parent. leaf: facts of the leaf. */
gboolean vd_chain_is_complete(const VdChain *self, const VdFacts *leaf);
/* (element VdParent*) */
GPtrArray *vd_chain_parents(const VdChain *self);
