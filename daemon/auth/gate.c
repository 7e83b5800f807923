/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way to polkit. There is one place where an ask is granted to somebody who is not root: after the last
 * of its actions was found authorized (check_done). Everything else that can happen ends in deny().
 */
#include "auth/gate.h"

#include <errno.h>
#include <polkit/polkit.h>
#include <pwd.h>
#include <unistd.h>

#include "names.h"
#include "util/offload.h"
#include "util/display.h"
#include "virtdisk-error.h"

/* NULL until the first question that reached polkit's library. Kept for good: libpolkit (seen in 122) leaves
 * its signal handler on the proxy behind when the authority is finalized, and the next signal finds freed
 * memory. */
static PolkitAuthority *the_authority;
static GPtrArray *waiting_for_authority; /* tasks; NULL: it was not asked for */

struct VdGate {
  GDBusConnection *connection;
  VdQuota *quota;
  GCancellable *closing;
};

/* One ask on its way through: owner's name, authority, then action by action. */
typedef struct {
  VdGate *gate;
  VdIdentity *identity;
  char *actions[G_N_ELEMENTS(((VdAsk *)NULL)->actions)];
  guint at; /* the action being asked */
  gboolean interactive;
  gboolean asked_again;
  uid_t file_owner;
  PolkitSubject *subject;
  PolkitDetails *details;
  GCancellable *cancellable; /* the caller's, the gate's end and the caller's departure in one */
  guint watch;               /* the caller's name, while a person may be asked */
  VdCharge *charge;          /* the prompt */
} Ask;

static void gate_clear(gpointer box)
{
  VdGate *self = box;

  g_object_unref(self->closing);
  g_object_unref(self->connection);
}

VdGate *vd_gate_new(GDBusConnection *connection, VdQuota *quota)
{
  VdGate *self = g_rc_box_new0(VdGate);

  self->connection = g_object_ref(connection);
  self->quota = quota;
  self->closing = g_cancellable_new();
  return self;
}

void vd_gate_free(VdGate *self)
{
  if (self == NULL)
    return;
  g_cancellable_cancel(self->closing); /* who still asks is told OPERATION_ABORTED and lets go of the gate */
  g_rc_box_release_full(self, gate_clear);
}

static void stop_prompting(Ask *ask)
{
  if (ask->watch != 0)
    g_bus_unwatch_name(ask->watch);
  ask->watch = 0;
  g_clear_pointer(&ask->charge, vd_charge_free);
}

static void ask_free(gpointer data)
{
  Ask *ask = data;

  stop_prompting(ask);
  g_clear_object(&ask->cancellable);
  g_clear_object(&ask->details);
  g_clear_object(&ask->subject);
  for (guint i = 0; i < G_N_ELEMENTS(ask->actions); i++)
    g_free(ask->actions[i]);
  vd_identity_unref(ask->identity);
  g_rc_box_release_full(ask->gate, gate_clear);
  g_free(ask);
}

static void deny(GTask *task, VirtdiskError code, const char *format, ...) G_GNUC_PRINTF(3, 4);

static void deny(GTask *task, VirtdiskError code, const char *format, ...)
{
  va_list arguments;

  va_start(arguments, format);
  g_task_return_error(task, g_error_new_valist(VIRTDISK_ERROR, code, format, arguments));
  va_end(arguments);
}

static void deny_unreachable(GTask *task, const GError *why)
{
  Ask *ask = g_task_get_task_data(task);

  if (g_cancellable_is_cancelled(ask->cancellable))
    deny(task, VIRTDISK_ERROR_OPERATION_ABORTED, "The question whether user %u may %s was withdrawn",
         (guint)ask->identity->uid, ask->actions[ask->at]);
  else
    deny(task, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD, "User %u needs %s, but polkit could not be asked: %s",
         (guint)ask->identity->uid, ask->actions[ask->at], why->message);
}

static void check(GTask *task, PolkitCheckAuthorizationFlags flags);

static void on_caller_vanished(GDBusConnection *connection, const char *name, gpointer user_data)
{
  g_cancellable_cancel(user_data);
}

/* Only now does a person come in, so only now it counts as a prompt; and a dialog whose caller has gone is
 * closed. */
static void check_with_prompt(GTask *task)
{
  Ask *ask = g_task_get_task_data(task);
  GError *error = NULL;

  ask->charge = vd_quota_charge(ask->gate->quota, ask->identity->uid, VD_QUOTA_PROMPTS, &error);
  if (ask->charge == NULL) {
    g_prefix_error(&error, "Cannot ask for %s: ", ask->actions[ask->at]);
    g_task_return_error(task, error);
    g_object_unref(task);
    return;
  }
  ask->watch = g_bus_watch_name_on_connection(ask->gate->connection, ask->identity->bus_name,
                                              G_BUS_NAME_WATCHER_FLAGS_NONE, NULL, on_caller_vanished,
                                              g_object_ref(ask->cancellable), g_object_unref);
  check(task, POLKIT_CHECK_AUTHORIZATION_FLAGS_ALLOW_USER_INTERACTION);
}

static void check_next(GTask *task)
{
  Ask *ask = g_task_get_task_data(task);

  stop_prompting(ask);
  ask->at++;
  if (ask->actions[ask->at] != NULL) {
    check(task, POLKIT_CHECK_AUTHORIZATION_FLAGS_NONE);
    return;
  }
  g_task_return_boolean(task, TRUE);
  g_object_unref(task);
}

static void deny_as_answered(GTask *task, PolkitAuthorizationResult *answer)
{
  Ask *ask = g_task_get_task_data(task);
  const char *action = ask->actions[ask->at];
  guint uid = ask->identity->uid;

  if (polkit_authorization_result_get_dismissed(answer))
    deny(task, VIRTDISK_ERROR_AUTHORIZATION_DISMISSED, "The question whether user %u may %s was dismissed",
         uid, action);
  else if (!polkit_authorization_result_get_is_challenge(answer))
    deny(task, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD, "polkit does not grant %s to user %u", action, uid);
  else if (ask->interactive)
    deny(task, VIRTDISK_ERROR_AUTHORIZATION_REQUIRED,
         "User %u must authenticate for %s, but no authentication agent is there to ask", uid, action);
  else
    deny(task, VIRTDISK_ERROR_AUTHORIZATION_REQUIRED,
         "User %u must authenticate for %s, but the call does not allow interaction", uid, action);
}

/* polkitd was restarted and the library still wrote to the one before. By the time of this error it knows. */
static gboolean was_for_a_predecessor(Ask *ask, const GError *error)
{
  gboolean first = !ask->asked_again;

  ask->asked_again = TRUE;
  return first && !g_cancellable_is_cancelled(ask->cancellable) &&
         (g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_SERVICE_UNKNOWN) ||
          g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_NAME_HAS_NO_OWNER));
}

static void check_done(GObject *authority, GAsyncResult *result, gpointer user_data)
{
  GTask *task = user_data;
  Ask *ask = g_task_get_task_data(task);
  g_autoptr(GError) why = NULL;
  g_autoptr(PolkitAuthorizationResult) answer =
      polkit_authority_check_authorization_finish(POLKIT_AUTHORITY(authority), result, &why);

  if (answer == NULL && was_for_a_predecessor(ask, why)) {
    check(task, ask->charge != NULL ? POLKIT_CHECK_AUTHORIZATION_FLAGS_ALLOW_USER_INTERACTION
                                    : POLKIT_CHECK_AUTHORIZATION_FLAGS_NONE);
    return;
  }
  if (answer == NULL || g_cancellable_is_cancelled(ask->cancellable))
    deny_unreachable(task, why);
  else if (polkit_authorization_result_get_is_authorized(answer)) {
    check_next(task);
    return;
  } else if (polkit_authorization_result_get_is_challenge(answer) && ask->interactive &&
             ask->charge == NULL) {
    check_with_prompt(task);
    return;
  } else
    deny_as_answered(task, answer);
  g_object_unref(task);
}

/* Of an image that was downloaded the dialog says from where; the action's own message has no place for it.
 */
static const char *prompt_of(const Ask *ask)
{
  const char *action = ask->actions[ask->at];

  if (polkit_details_lookup(ask->details, "origin") == NULL)
    return NULL;
  if (g_str_equal(action, VD_ACTION_ATTACH_READ_ONLY))
    return "Authentication is required to attach the disk image $(path) read-only. It was downloaded from "
           "$(origin)";
  if (g_str_equal(action, VD_ACTION_MANAGE_VOLUME))
    return "Authentication is required to attach the disk image $(path) for reading and writing. It was "
           "downloaded from "
           "$(origin)";
  return NULL;
}

/* Takes the task's reference along. */
static void check(GTask *task, PolkitCheckAuthorizationFlags flags)
{
  Ask *ask = g_task_get_task_data(task);

  polkit_details_insert(ask->details, "polkit.message", prompt_of(ask));
  polkit_authority_check_authorization(the_authority, ask->subject, ask->actions[ask->at], ask->details,
                                       flags, ask->cancellable, check_done, task);
}

/* polkit's library keeps its authority working when polkitd goes and comes. Only if it could not be had at
 * all, it is asked for anew by the next ask. */
static void authority_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GPtrArray) waiting = g_steal_pointer(&waiting_for_authority);
  g_autoptr(GError) why = NULL;

  the_authority = polkit_authority_get_finish(result, &why);
  for (guint i = 0; i < waiting->len; i++) {
    Ask *ask = g_task_get_task_data(waiting->pdata[i]);

    if (the_authority == NULL || g_cancellable_is_cancelled(ask->cancellable))
      deny_unreachable(waiting->pdata[i], why);
    else
      check(g_object_ref(waiting->pdata[i]), POLKIT_CHECK_AUTHORIZATION_FLAGS_NONE);
  }
}

/* One request for the authority at a time: a second one would wait, on the main loop, for a lock that the
 * library holds while it talks to polkitd. */
static void need_authority(GTask *task)
{
  if (the_authority != NULL) {
    check(task, POLKIT_CHECK_AUTHORIZATION_FLAGS_NONE);
    return;
  }
  if (waiting_for_authority == NULL) {
    waiting_for_authority = g_ptr_array_new_with_free_func(g_object_unref);
    polkit_authority_get_async(NULL, authority_done, NULL);
  }
  g_ptr_array_add(waiting_for_authority, task);
}

/* The user database may be a server far away. */
static void owner_name_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  uid_t uid = GPOINTER_TO_UINT(data);
  struct passwd user, *found = NULL;
  char buffer[16384];

  if (getpwuid_r(uid, &user, buffer, sizeof buffer, &found) == 0 && found != NULL)
    g_task_return_pointer(task, g_strdup(user.pw_name), g_free);
  else
    g_task_return_pointer(task, g_strdup_printf("%u", (guint)uid), g_free);
}

static void owner_name_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
  GTask *task = user_data;
  Ask *ask = g_task_get_task_data(task);
  g_autofree char *name = g_task_propagate_pointer(G_TASK(result), NULL);

  polkit_details_insert(ask->details, "owner", name);
  need_authority(task);
}

static void need_owner_name(GTask *task)
{
  Ask *ask = g_task_get_task_data(task);
  g_autoptr(GTask) lookup = NULL;

  if (ask->file_owner == VD_UID_INVALID) {
    need_authority(task);
    return;
  }
  lookup = g_task_new(NULL, NULL, owner_name_done, task);
  g_task_set_task_data(lookup, GUINT_TO_POINTER(ask->file_owner), NULL);
  vd_offload(lookup, owner_name_in_thread);
}

/* Callers choose some of these texts, and the dialog shows them. */
static void add_detail(PolkitDetails *details, const char *key, const char *value)
{
  g_autofree char *text = value != NULL ? vd_text_to_display(value) : NULL;

  if (text != NULL)
    polkit_details_insert(details, key, text);
}

static PolkitDetails *details_new(const VdAsk *ask)
{
  PolkitDetails *details = polkit_details_new();

  add_detail(details, "path", ask->path);
  add_detail(details, "format", ask->format);
  add_detail(details, "access", ask->access);
  add_detail(details, "lifetime", ask->lifetime);
  add_detail(details, "device", ask->device);
  add_detail(details, "origin", ask->origin_url);
  return details;
}

static Ask *ask_new(VdGate *gate, VdIdentity *identity, const VdAsk *asked, gboolean interactive,
                    GCancellable *cancellable)
{
  Ask *ask = g_new0(Ask, 1);

  ask->gate = g_rc_box_acquire(gate);
  ask->identity = vd_identity_ref(identity);
  for (guint i = 0; i + 1 < G_N_ELEMENTS(ask->actions); i++)
    ask->actions[i] = g_strdup(asked->actions[i]);
  ask->interactive = interactive;
  ask->file_owner = asked->file_owner;
  ask->subject = polkit_system_bus_name_new(identity->bus_name);
  ask->details = details_new(asked);
  ask->cancellable = g_cancellable_new();
  g_signal_connect_object(gate->closing, "cancelled", G_CALLBACK(g_cancellable_cancel), ask->cancellable,
                          G_CONNECT_SWAPPED);
  if (cancellable != NULL)
    g_signal_connect_object(cancellable, "cancelled", G_CALLBACK(g_cancellable_cancel), ask->cancellable,
                            G_CONNECT_SWAPPED);
  return ask;
}

void vd_gate_ask_async(VdGate *self, VdIdentity *identity, const VdAsk *ask, gboolean interactive,
                       GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(NULL, cancellable, callback, user_data);

  g_task_set_source_tag(task, vd_gate_ask_async);
  g_task_set_check_cancellable(task, FALSE);
  if (g_cancellable_is_cancelled(cancellable))
    deny(task, VIRTDISK_ERROR_OPERATION_ABORTED, "The call was cancelled");
  else if (ask->actions[0] == NULL)
    deny(task, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD, "No action was named that could be granted");
  else if (identity->uid == 0)
    g_task_return_boolean(task, TRUE);
  else if (identity->bus_name == NULL)
    deny(task, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD, "User %u needs %s, but is not on the bus",
         (guint)identity->uid, ask->actions[0]);
  else {
    g_task_set_task_data(task, ask_new(self, identity, ask, interactive, cancellable), ask_free);
    need_owner_name(g_steal_pointer(&task));
  }
}

gboolean vd_gate_ask_finish(VdGate *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail(g_task_is_valid(result, NULL), FALSE);
  return g_task_propagate_boolean(G_TASK(result), error);
}
