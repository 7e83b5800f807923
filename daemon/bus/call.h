/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One method call on its way: caller -> rule -> examine (what is it about?) -> gate -> perform -> answer.
 * Everything that the steps find out hangs on the call; whichever way it ends, freeing it releases all.
 */
#pragma once

#include "auth/caller.h"
#include "auth/rules.h"
#include "bus/options.h"
#include "bus/service.h"
#include "manager-operate.h"

typedef struct VdCall VdCall;

/* What a method adds to its rule. */
typedef struct {
  const char *interface;
  const char *method;
  /* Unpacks and checks the arguments, finds what is meant, fills call->ask; ends in vd_call_examined() or
   * vd_call_fail(), now or later. NULL: nothing to examine. */
  void (*examine)(VdCall *call);
  /* The work; ends in vd_call_return() or vd_call_fail(). */
  void (*perform)(VdCall *call);
} VdMethod;

struct VdBusService {
  GDBusConnection *connection;
  VdManager *manager;
  VdOpener *opener;
  VdQuota *quota;
  VdGate *gate;
  GDBusObjectManagerServer *objects;
  GDBusInterfaceSkeleton *manager_skeleton;
  guint handles;     /* number of their registration at the connection */
  GHashTable *peers; /* bus name -> VdPeer* (owned) */
  guint session_watch;
  guint descriptors; /* number of the filter that takes them from messages */
};

struct VdCall {
  VdBusService *service;
  GDBusMethodInvocation *invocation;
  GVariant *parameters;
  const VdRule *rule;
  const VdMethod *method;
  VdIdentity *identity;
  GCancellable *cancellable; /* cancelled when the caller leaves the bus */
  VdCharge *request;
  GPtrArray *arena; /* strings of the arguments */

  VdHandle *handle; /* rule OWNER: the handle called */
  VdJob *job;       /* rule JOB_OWNER: the job called */
  VdDisk *disk;
  VdImage *image;
  VdOpenParams open;
  VdRights rights;
  guint32 device_id;
  VdAttachParams attach;
  VdCreateParams create;
  struct {
    gboolean force, when_idle, read_only, repair, file_systems;
    guint32 provider_flags, version, reserved;
    guint32 sector_size;
  } option;
  struct {
    const char *token;
    gboolean async, detached;
  } job_options; /* bus/operations.h */
  VdOperation operation;
  struct {
    gboolean has_depth, has_source, has_target;
    guint32 depth;
  } merge;
  struct {
    gboolean has_path, has_value, enabled, seal;
    const char *guid;
  } set_info;
  VdDetachMode detach_mode;
  const char *path; /* the path argument */
  char *session;
  VdAsk ask;
};

/* Called with each method call on a gated object; user_data: VdBusService. */
void vd_call_dispatch(VdBusService *service, GDBusMethodInvocation *invocation);
void vd_call_examined(VdCall *call);
/* Takes value (may be NULL) and error; both free the call. */
void vd_call_return(VdCall *call, GVariant *value);
/* The same, and fd (taken) is handle 0 of the reply; -1: there is none. */
void vd_call_return_fd(VdCall *call, GVariant *value, int fd);
void vd_call_fail(VdCall *call, GError *error);

/* One table per interface. */
extern const VdMethod vd_manager_methods[];
/* Of vd_manager_methods, in files of their own (check.c, create.c). */
void vd_call_perform_check(VdCall *call);
void vd_call_examine_create(VdCall *call);
void vd_call_perform_create(VdCall *call);
extern const VdMethod vd_handle_methods[];
extern const VdMethod vd_operation_methods[]; /* of handles too: operations.c */
extern const VdMethod vd_set_info_methods[];  /* and set-info.c */
extern const VdMethod vd_job_methods[];

/* What a caller is told of error, and under which name. (transfer full) */
char *vd_call_describe_error(const GError *error, VirtdiskError *ret_code);

/* service.c */
char *vd_bus_service_disk_path(VdDisk *disk);
/* Cancels the call when its sender goes. */
void vd_bus_service_track(VdBusService *self, VdCall *call);
void vd_bus_service_untrack(VdBusService *self, VdCall *call);

/* common.c: what methods of both interfaces share */
gboolean vd_call_parse_attach_options(VdCall *call, GVariant *options, gboolean for_image, GError **error);
gboolean vd_call_parse_detach_options(VdCall *call, GVariant *options, gboolean for_handle, GError **error);
void vd_call_ask_attach(VdCall *call, const char *path, const char *origin_url, uid_t file_owner,
                        VdLifetime lifetime, gboolean read_only);
void vd_call_ask_detach(VdCall *call, VdDisk *disk);
/* The login session of the caller into call->session when lifetime asks for one; then next(). */
void vd_call_find_session(VdCall *call, VdLifetime lifetime, void (*next)(VdCall *call));
void vd_call_perform_detach(VdCall *call);
/* The descriptor that a handle argument names; the caller's to close. -1: there is none. */
int vd_call_take_fd(VdCall *call, gint32 index, GError **error);
GVariant *vd_call_attach_results(VdDisk *disk);

/* disk-object.c */
GDBusObjectSkeleton *vd_disk_object_new(VdDisk *disk);
void vd_disk_object_update(GDBusObjectSkeleton *object, VdDisk *disk);
