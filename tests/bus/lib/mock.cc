// SPDX-License-Identifier: LGPL-2.1-or-later
#include "mock.h"

#include <fcntl.h>
#include <unistd.h>

#include <gio/gunixfdlist.h>

#include <chrono>
#include <cstring>

extern "C" {
#include "names.h"
#include "vd-dbus.h"
}

static const auto deadline = std::chrono::seconds(10);

MockService::MockService(const char *bus_address)
{
  std::string address = bus_address;
  std::unique_lock<std::mutex> lock(mutex);

  context = g_main_context_new();
  loop = g_main_loop_new(context, FALSE);
  thread = std::thread([this, address] { run(address.c_str()); });
  changed.wait(lock, [this] { return ready; });
}

MockService::~MockService()
{
  in_thread([this] { g_main_loop_quit(loop); });
  thread.join();
  g_main_loop_unref(loop);
  g_main_context_unref(context);
}

void MockService::run(const char *bus_address)
{
  static const GDBusInterfaceVTable root = {handle_method,
                                            [](GDBusConnection *, const char *, const char *, const char *,
                                               const char *, GError **,
                                               gpointer) { return g_variant_new_string("9.9"); },
                                            nullptr,
                                            {}};

  g_main_context_push_thread_default(context);
  connection = g_dbus_connection_new_for_address_sync(
      bus_address,
      static_cast<GDBusConnectionFlags>(G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                        G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION),
      nullptr, nullptr, nullptr);
  g_assert_nonnull(connection);
  manager_id = g_dbus_connection_register_object(connection, VD_ROOT_PATH, vd_dbus_manager_interface_info(),
                                                 &root, this, nullptr, nullptr);
  objects = g_dbus_object_manager_server_new(VD_ROOT_PATH);
  g_dbus_object_manager_server_set_connection(objects, connection);
  g_autoptr(GVariant) named = g_dbus_connection_call_sync(
      connection, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName",
      g_variant_new("(su)", VD_BUS_NAME, 4), nullptr, G_DBUS_CALL_FLAGS_NONE, -1, nullptr, nullptr);
  g_assert_nonnull(named);
  {
    std::lock_guard<std::mutex> lock(mutex);
    ready = true;
  }
  changed.notify_all();
  g_main_loop_run(loop);

  g_clear_object(&objects);
  g_dbus_connection_unregister_object(connection, manager_id);
  for (auto &handle : handles)
    g_dbus_connection_unregister_object(connection, handle.second);
  g_dbus_connection_close_sync(connection, nullptr, nullptr);
  if (held) {
    fail_next("org.virtdisk1.Error.OperationAborted", "to nobody");
    held();
    held = nullptr;
  }
  g_clear_object(&connection);
  while (g_main_context_iteration(context, FALSE))
    ;
  g_main_context_pop_thread_default(context);
}

// Runs act on the service's thread and returns when it has run.
void MockService::in_thread(std::function<void()> act)
{
  struct Order {
    std::function<void()> act;
    std::mutex mutex;
    std::condition_variable done;
    bool is_done = false;
  } order;

  order.act = act;
  g_main_context_invoke(
      context,
      [](gpointer data) -> gboolean {
        Order *given = static_cast<Order *>(data);
        given->act();
        std::lock_guard<std::mutex> lock(given->mutex);
        given->is_done = true;
        given->done.notify_all();
        return G_SOURCE_REMOVE;
      },
      &order);
  std::unique_lock<std::mutex> lock(order.mutex);
  order.done.wait(lock, [&order] { return order.is_done; });
}

// Not before a call that has come is answered: it is not the next.
void MockService::fail_next(const std::string &error_name, const std::string &message)
{
  in_thread([this, &error_name, &message] {
    std::lock_guard<std::mutex> lock(mutex);
    next_error = error_name;
    next_message = message;
  });
}

void MockService::answer_next(const std::string &reply)
{
  std::lock_guard<std::mutex> lock(mutex);
  next_reply = reply;
}

void MockService::hold_next()
{
  hold_next("");
}

void MockService::hold_next(const std::string &method)
{
  std::lock_guard<std::mutex> lock(mutex);
  hold = true;
  hold_method = method;
}

void MockService::release()
{
  in_thread([this] {
    std::function<void()> act = std::move(held);
    held = nullptr;
    if (act)
      act();
  });
}

std::vector<Call> MockService::calls()
{
  std::lock_guard<std::mutex> lock(mutex);
  return received;
}

Call MockService::last()
{
  std::lock_guard<std::mutex> lock(mutex);
  return received.empty() ? Call() : received.back();
}

bool MockService::wait_for(const std::string &method)
{
  std::unique_lock<std::mutex> lock(mutex);
  return changed.wait_for(lock, deadline, [this, &method] {
    for (const Call &call : received)
      if (call.method == method)
        return true;
    return false;
  });
}

void MockService::record(const char *object_path, const char *method, GVariant *parameters,
                         GDBusMethodInvocation *invocation)
{
  GDBusMessage *message = g_dbus_method_invocation_get_message(invocation);
  GUnixFDList *fds = g_dbus_message_get_unix_fd_list(message);
  gsize n = g_variant_n_children(parameters);
  Call call;

  call.method = method;
  call.object_path = object_path;
  call.interactive =
      g_dbus_message_get_flags(message) & G_DBUS_MESSAGE_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION ? true : false;
  for (gsize i = 0; i + 1 < n; i++) {
    g_autoptr(GVariant) child = g_variant_get_child_value(parameters, i);
    g_autofree char *text = g_variant_print(child, FALSE);

    call.arguments += (i > 0 ? " " : "") + std::string(text);
  }
  g_autoptr(GVariant) options = g_variant_get_child_value(parameters, n - 1);
  GVariantIter iter;
  const char *key;
  GVariant *value;
  g_variant_iter_init(&iter, options);
  while (g_variant_iter_next(&iter, "{&sv}", &key, &value)) {
    g_autofree char *text = g_variant_print(value, TRUE);

    call.options[key] = text;
    g_variant_unref(value);
  }
  if (fds != nullptr && g_unix_fd_list_get_length(fds) == 1) {
    int fd = g_unix_fd_list_get(fds, 0, nullptr);
    char buffer[32] = "";
    ssize_t length = pread(fd, buffer, sizeof buffer, 0);

    if (length > 0)
      call.fd_content.assign(buffer, length);
    call.fd_flags = fcntl(fd, F_GETFL);
    close(fd);
  }
  std::lock_guard<std::mutex> lock(mutex);
  received.push_back(call);
  changed.notify_all();
  g_main_context_wakeup(nullptr); // the test may wait for this in its main context
}

void MockService::handle_method(GDBusConnection *, const char *, const char *object_path, const char *,
                                const char *method, GVariant *parameters, GDBusMethodInvocation *invocation,
                                gpointer data)
{
  MockService *self = static_cast<MockService *>(data);
  std::string path = object_path, name = method;
  bool keep;

  {
    std::lock_guard<std::mutex> lock(self->mutex);
    keep = self->hold && (self->hold_method.empty() || self->hold_method == name);
    if (keep)
      self->hold = false;
  }
  g_variant_ref(parameters);
  auto act = [self, path, name, parameters, invocation] {
    self->answer(path, name, parameters, invocation);
    g_variant_unref(parameters);
  };
  if (keep)
    self->held = act;
  self->record(object_path, method, parameters, invocation);
  if (!keep)
    act();
}

void MockService::answer(const std::string &object_path, const std::string &method, GVariant *parameters,
                         GDBusMethodInvocation *invocation)
{
  std::string error, message, reply;

  {
    std::lock_guard<std::mutex> lock(mutex);
    error.swap(next_error);
    message.swap(next_message);
    reply.swap(next_reply);
  }
  if (!error.empty()) {
    g_dbus_method_invocation_return_dbus_error(invocation, error.c_str(), message.c_str());
    return;
  }
  if (reply.empty())
    reply = canned(method, parameters);
  if (method == "Close") {
    g_dbus_connection_unregister_object(connection, handles[object_path]);
    handles.erase(object_path);
  }
  // Past GDBus, which would not send an answer of the wrong type.
  g_autoptr(GDBusMessage) raw =
      g_dbus_message_new_method_reply(g_dbus_method_invocation_get_message(invocation));
  g_dbus_message_set_body(raw, g_variant_new_parsed(reply.c_str()));
  g_dbus_connection_send_message(connection, raw, G_DBUS_SEND_MESSAGE_FLAGS_NONE, nullptr, nullptr);
  g_object_unref(invocation);
}

std::string MockService::open_handle()
{
  static const GDBusInterfaceVTable vtable = {handle_method, nullptr, nullptr, {}};
  std::string path = VD_HANDLE_PATH_PREFIX + std::to_string(++n_handles);

  handles[path] = g_dbus_connection_register_object(connection, path.c_str(), vd_dbus_handle_interface_info(),
                                                    &vtable, this, nullptr, nullptr);
  return path;
}

static GVariant *get_job_property(GDBusConnection *, const char *, const char *, const char *,
                                  const char *name, GError **, gpointer)
{
  static const std::map<std::string, const char *> values = {
      {"Operation", "'compact'"}, {"Path", "'/a.vhdx'"},      {"OwnerUid", "uint32 1000"},
      {"Progress", "0.25"},       {"ProgressValid", "true"},  {"Bytes", "uint64 5000000000"},
      {"Rate", "uint64 7"},       {"StartTime", "uint64 11"}, {"ExpectedEndTime", "uint64 13"},
      {"Cancelable", "true"},     {"State", "'running'"},     {"ErrorName", "''"},
      {"ErrorMessage", "''"},     {"Detached", "false"},
  };

  return g_variant_new_parsed(values.at(name));
}

std::string MockService::open_job()
{
  static const GDBusInterfaceVTable vtable = {handle_method, get_job_property, nullptr, {}};
  std::string path = VD_JOB_PATH_PREFIX + std::to_string(++n_jobs);

  handles[path] = g_dbus_connection_register_object(connection, path.c_str(), vd_dbus_job_interface_info(),
                                                    &vtable, this, nullptr, nullptr);
  return path;
}

void MockService::change_job(const std::string &object_path, const std::string &properties)
{
  in_thread([&] {
    g_dbus_connection_emit_signal(
        connection, nullptr, object_path.c_str(), "org.freedesktop.DBus.Properties", "PropertiesChanged",
        g_variant_new("(s@a{sv}as)", VD_IFACE_JOB, g_variant_new_parsed(properties.c_str()), nullptr),
        nullptr);
  });
}

static bool is_async(GVariant *parameters)
{
  g_autoptr(GVariant) options = g_variant_get_child_value(parameters, g_variant_n_children(parameters) - 1);
  gboolean async = FALSE;

  g_variant_lookup(options, "async", "b", &async);
  return async;
}

std::string MockService::canned(const std::string &method, GVariant *parameters)
{
  if (is_async(parameters))
    return "(objectpath '" + open_job() + "',)";
  if (method == "Wait")
    return "({'given-back': <uint64 4096>, 'handle': <objectpath '" + open_handle() + "'>},)";
  if (method == "EnumerateVirtualDiskMetadata")
    return "(['one', 'two'],)";
  if (method == "GetVirtualDiskMetadata")
    return "([byte 0x01, 0x00, 0x02],)";
  if (method == "GetVirtualDiskOperationProgress")
    return "(uint32 997, uint64 5, uint64 10)";
  if (method == "OpenVirtualDisk" || method == "CreateVirtualDisk" || method == "OpenVirtualDiskFd")
    return "(objectpath '" + open_handle() + "',)";
  if (method == "AttachImage") {
    const char *image;

    g_variant_get_child(parameters, 0, "&s", &image);
    disk_on_bus(VD_DISK_PATH_PREFIX "a1", image, "/dev/loop77");
    return "(objectpath '" VD_DISK_PATH_PREFIX "a1', '/dev/loop77', {'settled': <true>})";
  }
  if (method == "DetachImage" || method == "DetachVirtualDisk")
    return "({'pending': <true>},)";
  if (method == "AttachVirtualDisk")
    return "({'settled': <false>},)";
  if (method == "GetAllAttachedVirtualDiskPhysicalPaths")
    return "(['/dev/loop7', '/dev/ublkb1'],)";
  if (method == "GetStorageDependencyInformation")
    return "([{'dependency-type-flags': <uint32 4>, 'provider-specific-flags': <uint32 0>, 'device-id': "
           "<uint32 2>, "
           "'vendor-id': <'ec984aec'>, 'ancestor-level': <uint32 1>, 'dependency-device-name': "
           "<'/dev/loop7'>, "
           "'host-volume-name': <'/dev/sda1'>, 'dependent-volume-name': <'/dev/loop7p1'>, "
           "'dependent-volume-relative-path': <'a.vhd'>}, {'device-id': <uint32 1>}],)";
  if (method == "GetDiskForPath")
    return "(objectpath '" VD_DISK_PATH_PREFIX "a1',)";
  if (method == "GetVirtualDiskPhysicalPath")
    return "('/dev/loop77',)";
  if (method == "GetVirtualDiskInformation")
    return "({'VirtualSize': <uint64 1048576>, 'PhysicalSize': <uint64 4096>, 'BlockSize': <uint32 0>, "
           "'SectorSize': <uint32 512>},)";
  return "()";
}

void MockService::disk_on_bus(const std::string &object_path, const std::string &image,
                              const std::string &device)
{
  g_autoptr(VdDBusObjectSkeleton) object = vd_dbus_object_skeleton_new(object_path.c_str());
  g_autoptr(VdDBusDisk) disk = vd_dbus_disk_skeleton_new();
  g_autoptr(GVariant) none = g_variant_ref_sink(g_variant_new("aa{sv}", nullptr));
  g_autofree char *display = g_utf8_make_valid(image.c_str(), -1);
  const char *parents[] = {"/a-parent.vhd", nullptr};

  g_object_set(disk, "path", display, "path-bytes", image.c_str(), "format", "vhd", "device-id", 2,
               "vendor-id", "v", "subtype", 2, "virtual-size", G_GUINT64_CONSTANT(5000000000),
               "physical-size", G_GUINT64_CONSTANT(6000000000), "block-size", 1, "sector-size", 512,
               "physical-sector-size", 4096, "identifier", "guid", "depth", 2, "parents", parents, "device",
               device.c_str(), "device-number", G_GUINT64_CONSTANT(0x74d), "disk-sequence",
               G_GUINT64_CONSTANT(99), "read-only", TRUE, "lifetime", "permanent", "detach-on-unmount", TRUE,
               "owner-uid", 1000, "session", "c2", "state", "attached", "file-systems", none, "route", "loop",
               "route-reason", "one run", "direct-io", TRUE, "settled", TRUE, "origin-url",
               "https://example.org/", "attached-at", G_GUINT64_CONSTANT(1700000000), nullptr);
  vd_dbus_object_skeleton_set_disk(object, disk);
  g_dbus_object_manager_server_export(objects, G_DBUS_OBJECT_SKELETON(object));
}

void MockService::add_disk(const std::string &object_path, const std::string &image,
                           const std::string &device)
{
  in_thread([&] { disk_on_bus(object_path, image, device); });
}

void MockService::add_job(const std::string &object_path, const std::string &operation)
{
  in_thread([&] {
    g_autoptr(VdDBusObjectSkeleton) object = vd_dbus_object_skeleton_new(object_path.c_str());
    g_autoptr(VdDBusJob) job = vd_dbus_job_skeleton_new();

    g_object_set(job, "operation", operation.c_str(), "path", "/a.vhdx", "owner-uid", 1000, "progress", 0.5,
                 "progress-valid", TRUE, "state", "failed", "error-name", "org.virtdisk1.Error.DiskFull",
                 "error-message", "no space", nullptr);
    vd_dbus_object_skeleton_set_job(object, job);
    g_dbus_object_manager_server_export(objects, G_DBUS_OBJECT_SKELETON(object));
  });
}

void MockService::remove_job(const std::string &object_path)
{
  remove_disk(object_path);
}

void MockService::remove_disk(const std::string &object_path)
{
  in_thread([&] { g_dbus_object_manager_server_unexport(objects, object_path.c_str()); });
}

void MockService::set_disk_state(const std::string &object_path, const std::string &state)
{
  in_thread([&] {
    g_autoptr(GDBusObject) object =
        g_dbus_object_manager_get_object(G_DBUS_OBJECT_MANAGER(objects), object_path.c_str());
    g_autoptr(GDBusInterface) disk = g_dbus_object_get_interface(object, VD_IFACE_DISK);

    g_object_set(disk, "state", state.c_str(), nullptr);
    g_dbus_interface_skeleton_flush(G_DBUS_INTERFACE_SKELETON(disk));
  });
}
