/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/call.h"

#include <gio/gunixfdlist.h>
#include <string.h>

#include "names.h"
#include "util/display.h"

static void call_free(VdCall *call)
{
  vd_bus_service_untrack(call->service, call);
  vd_charge_free(call->request);
  g_clear_pointer(&call->identity, vd_identity_unref);
  g_clear_pointer(&call->handle, vd_handle_unref);
  g_clear_object(&call->job);
  g_clear_pointer(&call->operation.data, g_bytes_unref);
  g_clear_pointer(&call->disk, vd_disk_unref);
  g_clear_pointer(&call->image, vd_image_unref);
  g_clear_pointer(&call->parameters, g_variant_unref);
  g_clear_pointer(&call->arena, g_ptr_array_unref);
  g_clear_object(&call->cancellable);
  g_clear_object(&call->invocation);
  g_free(call->session);
  g_free(call);
}

void vd_call_return(VdCall *call, GVariant *value)
{
  g_dbus_method_invocation_return_value(g_steal_pointer(&call->invocation), value);
  call_free(call);
}

void vd_call_return_fd(VdCall *call, GVariant *value, int fd)
{
  g_autoptr(GUnixFDList) list = fd >= 0 ? g_unix_fd_list_new_from_array(&fd, 1) : NULL;

  g_dbus_method_invocation_return_value_with_unix_fd_list(g_steal_pointer(&call->invocation), value, list);
  call_free(call);
}

/* Callers, and processes that are in their way, choose parts of the text: bytes that are no text would end
 * the service, others would begin a line of the log, and an option may be called by megabytes. */
#define MAX_MESSAGE_BYTES 32768

static char *presentable(const char *message)
{
  g_autofree char *bounded = g_strndup(message, MAX_MESSAGE_BYTES);

  return vd_text_to_display(bounded);
}

/* What is not ours becomes Internal. */
static VirtdiskError code_of(const GError *error)
{
  if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
    return VIRTDISK_ERROR_OPERATION_ABORTED;
  return error->domain == VIRTDISK_ERROR ? (VirtdiskError)error->code : VIRTDISK_ERROR_INTERNAL;
}

static char *with_number(const char *text, VirtdiskError code)
{
  return g_strdup_printf("%s (%s, %u)", text, virtdisk_error_win32_name(code), virtdisk_error_to_win32(code));
}

char *vd_call_describe_error(const GError *error, VirtdiskError *ret_code)
{
  g_autofree char *text = presentable(error->message);

  *ret_code = code_of(error);
  return with_number(text, *ret_code);
}

/* The one way out for failures; each is logged here, once. */
void vd_call_fail(VdCall *call, GError *error)
{
  g_autoptr(GError) owned = error;
  VirtdiskError code = code_of(owned);
  g_autofree char *uid = NULL;
  g_autofree char *text = presentable(owned->message);
  g_autofree char *told = with_number(text, code);

  uid = g_strdup_printf("%u", call->identity != NULL ? (guint)call->identity->uid : (guint)VD_UID_INVALID);
  g_log_structured(G_LOG_DOMAIN, code == VIRTDISK_ERROR_INTERNAL ? G_LOG_LEVEL_WARNING : G_LOG_LEVEL_INFO,
                   VD_LOG_UID, uid, VD_LOG_ERROR, virtdisk_error_to_dbus_name(code), "MESSAGE",
                   "%s refused to uid %s (%s): %s", call->rule != NULL ? call->rule->method : "call", uid,
                   virtdisk_error_to_dbus_name(code), text);
  g_dbus_method_invocation_return_error_literal(g_steal_pointer(&call->invocation), VIRTDISK_ERROR, code,
                                                told);
  call_free(call);
}

static void on_asked(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;

  if (vd_gate_ask_finish(call->service->gate, result, &error))
    call->method->perform(call);
  else
    vd_call_fail(call, error);
}

static gboolean may_be_asked(const VdRule *rule, const char *action)
{
  for (gsize i = 0; i < G_N_ELEMENTS(rule->actions) && rule->actions[i] != NULL; i++)
    if (strcmp(rule->actions[i], action) == 0)
      return TRUE;
  return FALSE;
}

void vd_call_examined(VdCall *call)
{
  GDBusMessageFlags flags = g_dbus_message_get_flags(g_dbus_method_invocation_get_message(call->invocation));

  if (call->ask.actions[0] == NULL) {
    call->method->perform(call);
    return;
  }
  for (gsize i = 0; call->ask.actions[i] != NULL; i++) {
    if (may_be_asked(call->rule, call->ask.actions[i]))
      continue;
    vd_call_fail(call, g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD,
                                   "no rule lets %s ask for %s", call->rule->method, call->ask.actions[i]));
    return;
  }
  vd_gate_ask_async(call->service->gate, call->identity, &call->ask,
                    (flags & G_DBUS_MESSAGE_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION) != 0, call->cancellable,
                    on_asked, call);
}

static gboolean take_handle(VdCall *call, GError **error)
{
  const char *path = g_dbus_method_invocation_get_object_path(call->invocation);
  VdHandle *handle = NULL;

  if (g_str_has_prefix(path, VD_HANDLE_PATH_PREFIX))
    handle = vd_manager_get_handle(call->service->manager, path + strlen(VD_HANDLE_PATH_PREFIX));
  /* Somebody else's handle looks like one that does not exist. */
  if (handle == NULL || g_strcmp0(handle->owner->bus_name, call->identity->bus_name) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_HANDLE, "%s is not a handle of the caller",
                path);
    return FALSE;
  }
  call->handle = vd_handle_ref(handle);
  call->disk = vd_disk_ref(handle->disk);
  return TRUE;
}

static gboolean take_job(VdCall *call, GError **error)
{
  const char *path = g_dbus_method_invocation_get_object_path(call->invocation);
  VdJob *job = NULL;

  if (g_str_has_prefix(path, VD_JOB_PATH_PREFIX))
    job = vd_jobs_find(vd_manager_get_jobs(call->service->manager), path + strlen(VD_JOB_PATH_PREFIX));
  if (job == NULL) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND, "%s is not a job", path);
    return FALSE;
  }
  if (job->uid != call->identity->uid && call->rule->actions[0] == NULL) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED, "%s is another user's job", path);
    return FALSE;
  }
  call->job = g_object_ref(job);
  return TRUE;
}

static gboolean pass_rule(VdCall *call, GError **error)
{
  if (call->rule->may == VD_MAY_OWNER && !take_handle(call, error))
    return FALSE;
  if (call->rule->may == VD_MAY_JOB_OWNER && !take_job(call, error))
    return FALSE;
  if (!call->rule->counted)
    return TRUE;
  call->request = vd_quota_charge(call->service->quota, call->identity->uid, VD_QUOTA_REQUESTS, error);
  return call->request != NULL;
}

static void on_caller_known(GObject *source, GAsyncResult *result, gpointer user_data)
{
  VdCall *call = user_data;
  GError *error = NULL;

  call->identity = vd_caller_lookup_finish(result, &error);
  if (call->identity == NULL || !pass_rule(call, &error))
    vd_call_fail(call, error);
  else if (call->method->examine != NULL)
    call->method->examine(call);
  else
    vd_call_examined(call);
}

static const VdMethod *find_method(const char *interface, const char *method)
{
  const VdMethod *const tables[] = {vd_manager_methods, vd_handle_methods, vd_operation_methods,
                                    vd_set_info_methods, vd_job_methods};

  for (gsize t = 0; t < G_N_ELEMENTS(tables); t++)
    for (const VdMethod *row = tables[t]; row->method != NULL; row++)
      if (strcmp(row->interface, interface) == 0 && strcmp(row->method, method) == 0)
        return row;
  return NULL;
}

void vd_call_dispatch(VdBusService *service, GDBusMethodInvocation *invocation)
{
  const char *interface = g_dbus_method_invocation_get_interface_name(invocation);
  const char *method = g_dbus_method_invocation_get_method_name(invocation);
  VdCall *call = g_new0(VdCall, 1);

  call->service = service;
  call->invocation = invocation;
  call->parameters = g_variant_ref(g_dbus_method_invocation_get_parameters(invocation));
  call->cancellable = g_cancellable_new();
  call->arena = g_ptr_array_new_with_free_func(g_free);
  call->rule = vd_rules_find(interface, method);
  call->method = find_method(interface, method);
  call->ask.file_owner = VD_UID_INVALID;
  vd_bus_service_track(service, call);
  if (call->rule == NULL || call->method == NULL) {
    vd_call_fail(call, g_error_new(VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED, "no rule allows %s.%s",
                                   interface, method));
    return;
  }
  vd_caller_lookup_async(service->connection, g_dbus_method_invocation_get_sender(invocation),
                         call->cancellable, on_caller_known, call);
}
