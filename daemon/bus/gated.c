/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/gated.h"

#include "bus/call.h"
#include "config.h"
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
  static GDBusInterfaceSkeleton *vd_gated_##name##_create(VdService *service)                                \
  {                                                                                                          \
    GDBusInterfaceSkeleton *skeleton = g_object_new(vd_gated_##name##_get_type(), NULL);                     \
                                                                                                             \
    g_object_set_qdata(G_OBJECT(skeleton), service_quark(), service);                                        \
    return skeleton;                                                                                         \
  }

DEFINE_GATED(VdDBusManager, manager, VD_DBUS_TYPE_MANAGER_SKELETON)
DEFINE_GATED(VdDBusHandle, handle, VD_DBUS_TYPE_HANDLE_SKELETON)

GDBusInterfaceSkeleton *vd_gated_manager_new(VdService *service)
{
  GDBusInterfaceSkeleton *skeleton = vd_gated_manager_create(service);

  vd_dbus_manager_set_version(VD_DBUS_MANAGER(skeleton), VD_VERSION);
  return skeleton;
}

GDBusInterfaceSkeleton *vd_gated_handle_new(VdService *service)
{
  return vd_gated_handle_create(service);
}
