/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/gated.h"

#include "bus/call.h"
#include "config.h"
#include "names.h"
#include "vd-dbus.h"

static GQuark service_quark(void)
{
  return g_quark_from_static_string("virtdisk-service");
}

static void handle_method_call(GDBusConnection *connection, const char *sender, const char *object_path,
                               const char *interface, const char *method, GVariant *parameters,
                               GDBusMethodInvocation *invocation, gpointer user_data)
{
  vd_call_dispatch(g_object_get_qdata(G_OBJECT(user_data), service_quark()), invocation);
}

/* The skeleton's own table has the reader of properties; there is no writer, since no property is writable.
 */
#define DEFINE_GATED(Name, name, PARENT)                                                                     \
  typedef Name##Skeleton VdGated##Name;                                                                      \
  typedef Name##SkeletonClass VdGated##Name##Class;                                                          \
  static GType vd_gated_##name##_get_type(void);                                                             \
  G_DEFINE_FINAL_TYPE(VdGated##Name, vd_gated_##name, PARENT)                                                \
                                                                                                             \
  static GDBusInterfaceVTable *vd_gated_##name##_get_vtable(GDBusInterfaceSkeleton *skeleton)                \
  {                                                                                                          \
    static GDBusInterfaceVTable vtable;                                                                      \
    GDBusInterfaceSkeletonClass *parent = G_DBUS_INTERFACE_SKELETON_CLASS(vd_gated_##name##_parent_class);   \
                                                                                                             \
    vtable.method_call = handle_method_call;                                                                 \
    vtable.get_property = parent->get_vtable(skeleton)->get_property;                                        \
    return &vtable;                                                                                          \
  }                                                                                                          \
  static void vd_gated_##name##_class_init(VdGated##Name##Class *klass)                                      \
  {                                                                                                          \
    G_DBUS_INTERFACE_SKELETON_CLASS(klass)->get_vtable = vd_gated_##name##_get_vtable;                       \
  }                                                                                                          \
  static void vd_gated_##name##_init(VdGated##Name *self) {}                                                 \
  static GDBusInterfaceSkeleton *vd_gated_##name##_create(VdBusService *service)                             \
  {                                                                                                          \
    GDBusInterfaceSkeleton *skeleton = g_object_new(vd_gated_##name##_get_type(), NULL);                     \
                                                                                                             \
    g_object_set_qdata(G_OBJECT(skeleton), service_quark(), service);                                        \
    return skeleton;                                                                                         \
  }

DEFINE_GATED(VdDBusManager, manager, VD_DBUS_TYPE_MANAGER_SKELETON)

GDBusInterfaceSkeleton *vd_gated_manager_new(VdBusService *service)
{
  GDBusInterfaceSkeleton *skeleton = vd_gated_manager_create(service);

  vd_dbus_manager_set_version(VD_DBUS_MANAGER(skeleton), VD_VERSION);
  return skeleton;
}

DEFINE_GATED(VdDBusJob, job, VD_DBUS_TYPE_JOB_SKELETON)

GDBusInterfaceSkeleton *vd_gated_job_new(VdBusService *service)
{
  return vd_gated_job_create(service);
}

/* Handles: whatever name below their path is called, the call is dispatched, so that a handle which was
 * closed and one which is somebody else's are answered alike. Nobody is told which there are. */

static void handle_call_of_handle(GDBusConnection *connection, const char *sender, const char *object_path,
                                  const char *interface, const char *method, GVariant *parameters,
                                  GDBusMethodInvocation *invocation, gpointer user_data)
{
  vd_call_dispatch(user_data, invocation);
}

static char **enumerate_handles(GDBusConnection *connection, const char *sender, const char *object_path,
                                gpointer user_data)
{
  return g_new0(char *, 1);
}

static GDBusInterfaceInfo **introspect_handle(GDBusConnection *connection, const char *sender,
                                              const char *object_path, const char *node, gpointer user_data)
{
  GDBusInterfaceInfo **interfaces;

  if (node == NULL)
    return NULL;
  interfaces = g_new0(GDBusInterfaceInfo *, 2);
  interfaces[0] = g_dbus_interface_info_ref(vd_dbus_handle_interface_info());
  return interfaces;
}

static const GDBusInterfaceVTable *dispatch_handle(GDBusConnection *connection, const char *sender,
                                                   const char *object_path, const char *interface,
                                                   const char *node, gpointer *out_user_data,
                                                   gpointer user_data)
{
  static const GDBusInterfaceVTable vtable = {.method_call = handle_call_of_handle};

  *out_user_data = user_data;
  return &vtable;
}

guint vd_gated_register_handles(VdBusService *service, GError **error)
{
  static const GDBusSubtreeVTable vtable = {enumerate_handles, introspect_handle, dispatch_handle};

  return g_dbus_connection_register_subtree(service->connection, VD_HANDLES_PATH, &vtable,
                                            G_DBUS_SUBTREE_FLAGS_DISPATCH_TO_UNENUMERATED_NODES, service,
                                            NULL, error);
}
