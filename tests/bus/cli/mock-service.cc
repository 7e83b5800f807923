// SPDX-License-Identifier: LGPL-2.1-or-later
#include "mock-service.h"

#include <algorithm>
#include <gio/gunixfdlist.h>

extern "C" {
#include "names.h"
}

namespace
{

GVariant *one_result(const char *key, bool value)
{
  GVariantBuilder builder;
  g_variant_builder_init(&builder, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add(&builder, "{sv}", key, g_variant_new_boolean(value));
  return g_variant_builder_end(&builder);
}

gboolean on_attach_image(VdDBusManager *manager, GDBusMethodInvocation *invocation, const char *path,
                         GVariant *options, MockService *mock)
{
  if (mock->record(invocation))
    return TRUE;
  std::string object = mock->add_disk(path, "/dev/loop77");
  vd_dbus_manager_complete_attach_image(manager, invocation, object.c_str(), "/dev/loop77",
                                        one_result("settled", true));
  return TRUE;
}

gboolean on_detach_image(VdDBusManager *manager, GDBusMethodInvocation *invocation, const char *path,
                         GVariant *options, MockService *mock)
{
  if (!mock->record(invocation))
    vd_dbus_manager_complete_detach_image(manager, invocation,
                                          one_result("pending", mock->detach_is_pending));
  return TRUE;
}

gboolean on_get_disk_for_path(VdDBusManager *manager, GDBusMethodInvocation *invocation, const char *path,
                              GVariant *options, MockService *mock)
{
  if (mock->record(invocation))
    return TRUE;
  std::string object = mock->find(path);
  if (object.empty())
    g_dbus_method_invocation_return_error(invocation, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND,
                                          "%s is not attached", path);
  else
    vd_dbus_manager_complete_get_disk_for_path(manager, invocation, object.c_str());
  return TRUE;
}

gboolean on_open(VdDBusManager *manager, GDBusMethodInvocation *invocation, const char *path, guint mask,
                 guint flags, GVariant *options, MockService *mock)
{
  mock->opened = path;
  if (!mock->record(invocation))
    vd_dbus_manager_complete_open_virtual_disk(manager, invocation, VD_HANDLE_PATH_PREFIX "1");
  return TRUE;
}

gboolean on_open_fd(VdDBusManager *manager, GDBusMethodInvocation *invocation, GUnixFDList *fds, GVariant *fd,
                    guint mask, guint flags, GVariant *options, MockService *mock)
{
  if (!mock->record(invocation))
    vd_dbus_manager_complete_open_virtual_disk_fd(manager, invocation, NULL, VD_HANDLE_PATH_PREFIX "1");
  return TRUE;
}

gboolean on_check_image(VdDBusManager *manager, GDBusMethodInvocation *invocation, const char *path,
                        GVariant *options, MockService *mock)
{
  if (!mock->record(invocation))
    vd_dbus_manager_complete_check_image(manager, invocation, g_variant_new_parsed(mock->found.c_str()));
  return TRUE;
}

gboolean on_dependencies(VdDBusManager *manager, GDBusMethodInvocation *invocation, const char *object,
                         guint flags, GVariant *options, MockService *mock)
{
  if (!mock->record(invocation))
    vd_dbus_manager_complete_get_storage_dependency_information(
        manager, invocation,
        g_variant_new_parsed(
            "[{'device-id': <uint32 2>, 'vendor-id': <'ec984aec-a0f9-47e9-901f-71415a66345b'>,"
            " 'ancestor-level': <uint32 0>, 'dependency-device-name': <'/dev/loop77'>,"
            " 'host-volume-name': <'/dev/sda2'>,"
            " 'dependent-volume-relative-path': <'/images/disk.vhd'>}]"));
  return TRUE;
}

gboolean on_get_information(VdDBusHandle *handle, GDBusMethodInvocation *invocation, guint version,
                            GVariant *options, MockService *mock)
{
  if (mock->record(invocation))
    return TRUE;
  auto known = mock->information.find(mock->opened);
  if (known != mock->information.end() && known->second.count(version) > 0)
    vd_dbus_handle_complete_get_virtual_disk_information(
        handle, invocation, g_variant_new_parsed(known->second[version].c_str()));
  else if (known != mock->information.end())
    g_dbus_method_invocation_return_error(invocation, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_INVALID_TYPE,
                                          "no kind %u", version);
  else if (version == VIRTDISK_INFO_SIZE)
    vd_dbus_handle_complete_get_virtual_disk_information(
        handle, invocation,
        g_variant_new_parsed("{'VirtualSize': <uint64 3221225472>, "
                             "'PhysicalSize': <uint64 1048576>,"
                             " 'BlockSize': <uint32 0>, 'SectorSize': <uint32 512>}"));
  else if (version == VIRTDISK_INFO_VIRTUAL_STORAGE_TYPE)
    vd_dbus_handle_complete_get_virtual_disk_information(
        handle, invocation,
        g_variant_new_parsed(
            "{'DeviceId': <uint32 2>, 'VendorId': <'ec984aec-a0f9-47e9-901f-71415a66345b'>}"));
  else
    g_dbus_method_invocation_return_error(invocation, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
                                          "no kind %u", version);
  return TRUE;
}

gboolean on_attach(VdDBusHandle *handle, GDBusMethodInvocation *invocation, guint flags, GVariant *options,
                   MockService *mock)
{
  if (mock->record(invocation))
    return TRUE;
  mock->add_disk("/odd/\xff.img", "/dev/loop78");
  vd_dbus_handle_complete_attach_virtual_disk(handle, invocation, one_result("settled", true));
  return TRUE;
}

gboolean on_physical_path(VdDBusHandle *handle, GDBusMethodInvocation *invocation, GVariant *options,
                          MockService *mock)
{
  if (!mock->record(invocation))
    vd_dbus_handle_complete_get_virtual_disk_physical_path(handle, invocation, "/dev/loop78");
  return TRUE;
}

gboolean on_close(VdDBusHandle *handle, GDBusMethodInvocation *invocation, GVariant *options,
                  MockService *mock)
{
  if (!mock->record(invocation))
    vd_dbus_handle_complete_close(handle, invocation);
  return TRUE;
}

gboolean on_create(VdDBusManager *manager, GDBusMethodInvocation *invocation, const char *path, guint mask,
                   guint flags, guint64 size, GVariant *options, MockService *mock)
{
  gboolean async = FALSE;
  g_variant_lookup(options, "async", "b", &async);
  if (!mock->record(invocation))
    vd_dbus_manager_complete_create_virtual_disk(manager, invocation,
                                                 async ? MockService::JOB : VD_HANDLE_PATH_PREFIX "1");
  return TRUE;
}

// Of compact and merge.
gboolean on_operation(VdDBusHandle *handle, GDBusMethodInvocation *invocation, guint flags, GVariant *options,
                      MockService *mock)
{
  if (!mock->record(invocation))
    vd_dbus_handle_complete_compact_virtual_disk(handle, invocation, MockService::JOB);
  return TRUE;
}

// Of expand and resize.
gboolean on_size(VdDBusHandle *handle, GDBusMethodInvocation *invocation, guint flags, guint64 size,
                 GVariant *options, MockService *mock)
{
  return on_operation(handle, invocation, flags, options, mock);
}

gboolean on_set_information(VdDBusHandle *handle, GDBusMethodInvocation *invocation, guint version,
                            GVariant *info, GVariant *options, MockService *mock)
{
  if (!mock->record(invocation))
    vd_dbus_handle_complete_set_virtual_disk_information(handle, invocation);
  return TRUE;
}

gboolean on_enumerate(VdDBusHandle *handle, GDBusMethodInvocation *invocation, GVariant *options,
                      MockService *mock)
{
  std::vector<const char *> items;
  for (const std::string &item : mock->items)
    items.push_back(item.c_str());
  items.push_back(nullptr);
  if (!mock->record(invocation))
    vd_dbus_handle_complete_enumerate_virtual_disk_metadata(handle, invocation, items.data());
  return TRUE;
}

gboolean on_get_metadata(VdDBusHandle *handle, GDBusMethodInvocation *invocation, const char *item,
                         GVariant *options, MockService *mock)
{
  if (!mock->record(invocation))
    g_dbus_method_invocation_return_value(
        invocation, g_variant_new("(@ay)", g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, mock->data.data(),
                                                                     mock->data.size(), 1)));
  return TRUE;
}

gboolean on_set_metadata(VdDBusHandle *handle, GDBusMethodInvocation *invocation, const char *item,
                         GVariant *data, GVariant *options, MockService *mock)
{
  g_autoptr(GVariant) bytes =
      g_variant_get_child_value(g_dbus_method_invocation_get_parameters(invocation), 1);
  gsize size;
  auto begin = static_cast<const char *>(g_variant_get_fixed_array(bytes, &size, 1));
  mock->data.assign(begin, size);
  if (!mock->record(invocation))
    vd_dbus_handle_complete_set_virtual_disk_metadata(handle, invocation);
  return TRUE;
}

gboolean on_delete_metadata(VdDBusHandle *handle, GDBusMethodInvocation *invocation, const char *item,
                            GVariant *options, MockService *mock)
{
  if (!mock->record(invocation))
    vd_dbus_handle_complete_delete_virtual_disk_metadata(handle, invocation);
  return TRUE;
}

gboolean on_wait(VdDBusJob *job, GDBusMethodInvocation *invocation, GVariant *options, MockService *mock)
{
  if (mock->record(invocation))
    return TRUE;
  if (mock->job_waits)
    mock->waiting = invocation;
  else
    vd_dbus_job_complete_wait(job, invocation, g_variant_new_parsed(mock->results.c_str()));
  return TRUE;
}

gboolean on_cancel(VdDBusJob *job, GDBusMethodInvocation *invocation, GVariant *options, MockService *mock)
{
  if (mock->record(invocation))
    return TRUE;
  vd_dbus_job_complete_cancel(job, invocation);
  if (mock->waiting != nullptr)
    g_dbus_method_invocation_return_error(mock->waiting, VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED,
                                          "it was cancelled");
  mock->waiting = nullptr;
  return TRUE;
}

// It is whole at once, and ends when it is broken, if the job waits.
gboolean on_mirror(VdDBusHandle *handle, GDBusMethodInvocation *invocation, guint version, const char *path,
                   guint flags, GVariant *options, MockService *mock)
{
  g_object_set(mock->job, "operation", "mirror", "progress", 1.0, NULL);
  if (!mock->record(invocation))
    vd_dbus_handle_complete_mirror_virtual_disk(handle, invocation, MockService::JOB);
  return TRUE;
}

gboolean on_break_mirror(VdDBusHandle *handle, GDBusMethodInvocation *invocation, guint flags,
                         GVariant *options, MockService *mock)
{
  if (mock->record(invocation))
    return TRUE;
  vd_dbus_handle_complete_break_mirror_virtual_disk(handle, invocation);
  if (mock->waiting != nullptr)
    vd_dbus_job_complete_wait(mock->job, mock->waiting, g_variant_new_parsed(mock->results.c_str()));
  mock->waiting = nullptr;
  mock->job_waits = false; // whoever asks later is answered
  return TRUE;
}

void export_at(gpointer skeleton, GDBusConnection *connection, const char *path)
{
  g_autoptr(GError) error = NULL;
  if (!g_dbus_interface_skeleton_export(G_DBUS_INTERFACE_SKELETON(skeleton), connection, path, &error))
    g_error("cannot export %s: %s", path, error->message);
}

// Names are owned before anyone is started who looks for them.
guint own(GDBusConnection *connection, const char *name)
{
  g_autoptr(GError) error = NULL;
  g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
      connection, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName",
      g_variant_new("(su)", name, 4u), G_VARIANT_TYPE("(u)"), G_DBUS_CALL_FLAGS_NONE, -1, NULL, &error);
  if (reply == NULL)
    g_error("cannot own %s: %s", name, error->message);
  return 1;
}

void release(GDBusConnection *connection, const char *name)
{
  g_variant_unref(g_dbus_connection_call_sync(
      connection, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ReleaseName",
      g_variant_new("(s)", name), NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL));
}

} // namespace

MockService::MockService(GDBusConnection *bus) : connection(bus)
{
  objects = g_dbus_object_manager_server_new(VD_ROOT_PATH);
  g_dbus_object_manager_server_set_connection(objects, connection);
  manager = vd_dbus_manager_skeleton_new();
  vd_dbus_manager_set_version(manager, "9.9");
  handle = vd_dbus_handle_skeleton_new();
  g_signal_connect(manager, "handle-attach-image", G_CALLBACK(on_attach_image), this);
  g_signal_connect(manager, "handle-detach-image", G_CALLBACK(on_detach_image), this);
  g_signal_connect(manager, "handle-get-disk-for-path", G_CALLBACK(on_get_disk_for_path), this);
  g_signal_connect(manager, "handle-open-virtual-disk", G_CALLBACK(on_open), this);
  g_signal_connect(manager, "handle-open-virtual-disk-fd", G_CALLBACK(on_open_fd), this);
  g_signal_connect(manager, "handle-check-image", G_CALLBACK(on_check_image), this);
  g_signal_connect(manager, "handle-get-storage-dependency-information", G_CALLBACK(on_dependencies), this);
  g_signal_connect(handle, "handle-get-virtual-disk-information", G_CALLBACK(on_get_information), this);
  g_signal_connect(handle, "handle-attach-virtual-disk", G_CALLBACK(on_attach), this);
  g_signal_connect(handle, "handle-get-virtual-disk-physical-path", G_CALLBACK(on_physical_path), this);
  g_signal_connect(handle, "handle-close", G_CALLBACK(on_close), this);
  g_signal_connect(manager, "handle-create-virtual-disk", G_CALLBACK(on_create), this);
  g_signal_connect(handle, "handle-compact-virtual-disk", G_CALLBACK(on_operation), this);
  g_signal_connect(handle, "handle-merge-virtual-disk", G_CALLBACK(on_operation), this);
  g_signal_connect(handle, "handle-mirror-virtual-disk", G_CALLBACK(on_mirror), this);
  g_signal_connect(handle, "handle-break-mirror-virtual-disk", G_CALLBACK(on_break_mirror), this);
  g_signal_connect(handle, "handle-expand-virtual-disk", G_CALLBACK(on_size), this);
  g_signal_connect(handle, "handle-resize-virtual-disk", G_CALLBACK(on_size), this);
  g_signal_connect(handle, "handle-set-virtual-disk-information", G_CALLBACK(on_set_information), this);
  g_signal_connect(handle, "handle-enumerate-virtual-disk-metadata", G_CALLBACK(on_enumerate), this);
  g_signal_connect(handle, "handle-get-virtual-disk-metadata", G_CALLBACK(on_get_metadata), this);
  g_signal_connect(handle, "handle-set-virtual-disk-metadata", G_CALLBACK(on_set_metadata), this);
  g_signal_connect(handle, "handle-delete-virtual-disk-metadata", G_CALLBACK(on_delete_metadata), this);
  job = vd_dbus_job_skeleton_new();
  g_object_set(job, "operation", "compact", "path", "/images/disk.vhdx", "owner-uid", 0u, "progress", 0.42,
               "progress-valid", TRUE, "bytes", (guint64)4294967296, "rate", (guint64)1048576, "state",
               "running", "cancelable", TRUE, NULL);
  g_signal_connect(job, "handle-wait", G_CALLBACK(on_wait), this);
  g_signal_connect(job, "handle-cancel", G_CALLBACK(on_cancel), this);
  export_at(job, connection, JOB);
  export_at(manager, connection, VD_ROOT_PATH);
  export_at(handle, connection, VD_HANDLE_PATH_PREFIX "1");
  own(connection, VD_BUS_NAME);
}

MockService::~MockService()
{
  release(connection, VD_BUS_NAME);
  for (GDBusMethodInvocation *invocation : unanswered)
    g_dbus_method_invocation_return_dbus_error(invocation, "org.freedesktop.DBus.Error.Failed",
                                               "the mock ends");
  for (auto &each : disks)
    g_object_unref(each.second);
  if (waiting != nullptr)
    g_dbus_method_invocation_return_dbus_error(waiting, "org.freedesktop.DBus.Error.Failed", "the mock ends");
  // A job that was shown is taken away by the object manager.
  if (!job_is_shown)
    g_dbus_interface_skeleton_unexport(G_DBUS_INTERFACE_SKELETON(job));
  g_object_unref(job);
  g_dbus_interface_skeleton_unexport(G_DBUS_INTERFACE_SKELETON(manager));
  g_dbus_interface_skeleton_unexport(G_DBUS_INTERFACE_SKELETON(handle));
  g_object_unref(manager);
  g_object_unref(handle);
  g_object_unref(objects);
}

std::string MockService::add_disk(const std::string &path, const std::string &device)
{
  std::string object_path = VD_DISK_PATH_PREFIX + std::to_string(next++);
  VdDBusDisk *disk = vd_dbus_disk_skeleton_new();
  VdDBusObjectSkeleton *object = vd_dbus_object_skeleton_new(object_path.c_str());
  g_autofree char *display = g_filename_display_name(path.c_str());
  g_object_set(disk, "path", display, "format", "vhd", "device-id", 2u, "vendor-id",
               "ec984aec-a0f9-47e9-901f-71415a66345b", "subtype", 2u, "virtual-size", (guint64)3221225472,
               "sector-size", 512u, "device", device.c_str(), "lifetime", "permanent", "owner-uid", 0u,
               "state", "attached", "route", "loop", "settled", TRUE, "attached-at", (guint64)1700000000,
               NULL);
  vd_dbus_disk_set_path_bytes(disk, path.c_str());
  vd_dbus_disk_set_file_systems(disk, g_variant_new_parsed(file_systems.c_str()));
  vd_dbus_object_skeleton_set_disk(object, disk);
  g_dbus_object_manager_server_export(objects, G_DBUS_OBJECT_SKELETON(object));
  g_object_unref(object);
  disks[object_path] = disk;
  return object_path;
}

void MockService::show_job()
{
  g_autoptr(VdDBusObjectSkeleton) object = vd_dbus_object_skeleton_new(JOB);
  g_dbus_interface_skeleton_unexport(G_DBUS_INTERFACE_SKELETON(job));
  job_is_shown = true;
  vd_dbus_object_skeleton_set_job(object, job);
  g_dbus_object_manager_server_export(objects, G_DBUS_OBJECT_SKELETON(object));
}

void MockService::remove_disk(const std::string &object_path)
{
  g_dbus_object_manager_server_unexport(objects, object_path.c_str());
  g_object_unref(disks.at(object_path));
  disks.erase(object_path);
}

VdDBusDisk *MockService::disk(const std::string &object_path)
{
  return disks.at(object_path);
}

std::string MockService::find(const std::string &path) const
{
  for (const auto &each : disks)
    if (path == vd_dbus_disk_get_path(each.second) || path == vd_dbus_disk_get_device(each.second))
      return each.first;
  return "";
}

void MockService::fail(const std::string &method, VirtdiskError code, const std::string &message)
{
  failures[method] = {code, message};
}

void MockService::hang(const std::string &method)
{
  hung.push_back(method);
}

bool MockService::record(GDBusMethodInvocation *invocation)
{
  std::string method = g_dbus_method_invocation_get_method_name(invocation);
  g_autofree char *printed = g_variant_print(g_dbus_method_invocation_get_parameters(invocation), FALSE);
  std::string arguments = printed;
  for (const std::string &type : {std::string("uint32 "), std::string("uint64 ")})
    for (size_t at; (at = arguments.find(type)) != std::string::npos;)
      arguments.erase(at, type.size());
  GDBusMessageFlags flags = g_dbus_message_get_flags(g_dbus_method_invocation_get_message(invocation));
  calls.push_back({method, arguments, (flags & G_DBUS_MESSAGE_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION) != 0});
  if (std::find(hung.begin(), hung.end(), method) != hung.end()) {
    unanswered.push_back(invocation);
    return true;
  }
  auto failure = failures.find(method);
  if (failure == failures.end())
    return false;
  g_dbus_method_invocation_return_error_literal(invocation, VIRTDISK_ERROR, failure->second.first,
                                                failure->second.second.c_str());
  return true;
}

MockCall MockService::call(const std::string &method) const
{
  for (const MockCall &each : calls)
    if (each.method == method)
      return each;
  return {};
}

bool MockService::was_called(const std::string &method) const
{
  return !call(method).method.empty();
}

namespace
{

constexpr const char *UDISKS_XML = R"(<node>
<interface name='org.freedesktop.UDisks2.Manager'>
 <method name='ResolveDevice'>
  <arg name='spec' type='a{sv}' direction='in'/><arg name='options' type='a{sv}' direction='in'/>
  <arg name='devices' type='ao' direction='out'/>
 </method>
</interface>
<interface name='org.freedesktop.UDisks2.Filesystem'>
 <method name='Mount'>
  <arg name='options' type='a{sv}' direction='in'/><arg name='path' type='s' direction='out'/>
 </method>
 <property name='MountPoints' type='aay' access='read'/>
</interface>
</node>)";

constexpr const char *UDISKS_BLOCK = "/org/freedesktop/UDisks2/block_devices/loop77";

void answer_resolve(MockUDisks *self, GDBusMethodInvocation *invocation, GVariant *parameters)
{
  g_autoptr(GVariant) spec = g_variant_get_child_value(parameters, 0);
  const char *path = "";
  g_variant_lookup(spec, "path", "&s", &path);
  bool match = self->known && self->device == path;
  g_dbus_method_invocation_return_value(invocation, match ? g_variant_new_parsed("([%o],)", UDISKS_BLOCK)
                                                          : g_variant_new_parsed("(@ao [],)"));
  if (!self->known && ++self->asked == self->known_after) {
    self->known = true;
    g_dbus_connection_emit_signal(self->connection, NULL, "/org/freedesktop/UDisks2",
                                  "org.freedesktop.DBus.ObjectManager", "InterfacesAdded",
                                  g_variant_new_parsed("(%o, @a{sa{sv}} {})", UDISKS_BLOCK), NULL);
  }
}

void on_udisks_call(GDBusConnection *connection, const char *sender, const char *path, const char *interface,
                    const char *method, GVariant *parameters, GDBusMethodInvocation *invocation,
                    gpointer user_data)
{
  auto self = static_cast<MockUDisks *>(user_data);
  if (g_str_equal(method, "ResolveDevice")) {
    answer_resolve(self, invocation, parameters);
    return;
  }
  g_autofree char *printed = g_variant_print(parameters, FALSE);
  self->mount_options.push_back(printed);
  if (self->error.empty())
    g_dbus_method_invocation_return_value(invocation, g_variant_new("(s)", "/run/media/user/IMAGE"));
  else
    g_dbus_method_invocation_return_dbus_error(invocation, self->error.c_str(), "UDisks2 says no");
}

GVariant *on_udisks_get(GDBusConnection *connection, const char *sender, const char *path,
                        const char *interface, const char *property, GError **error, gpointer user_data)
{
  return g_variant_new_parsed("@aay []");
}

} // namespace

MockUDisks::MockUDisks(GDBusConnection *bus, const std::string &of) : device(of), connection(bus)
{
  static const GDBusInterfaceVTable vtable = {on_udisks_call, on_udisks_get, NULL, {NULL}};
  g_autoptr(GDBusNodeInfo) info = g_dbus_node_info_new_for_xml(UDISKS_XML, NULL);
  registrations.push_back(g_dbus_connection_register_object(connection, "/org/freedesktop/UDisks2/Manager",
                                                            info->interfaces[0], &vtable, this, NULL, NULL));
  registrations.push_back(g_dbus_connection_register_object(connection, UDISKS_BLOCK, info->interfaces[1],
                                                            &vtable, this, NULL, NULL));
  own(connection, "org.freedesktop.UDisks2");
}

MockUDisks::~MockUDisks()
{
  release(connection, "org.freedesktop.UDisks2");
  for (guint registration : registrations)
    g_dbus_connection_unregister_object(connection, registration);
}
