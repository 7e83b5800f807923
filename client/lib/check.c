/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CheckImage, and its answer as a type. */
#include "private.h"

#include "names.h"

struct _VirtdiskCheck {
  GVariant *results; /* a{sv} */
  GPtrArray *faults; /* VirtdiskFault */
};

G_DEFINE_BOXED_TYPE(VirtdiskCheck, virtdisk_check, virtdisk_check_ref, virtdisk_check_unref)
G_DEFINE_BOXED_TYPE(VirtdiskFault, virtdisk_fault, virtdisk_fault_copy, virtdisk_fault_free)

/* In the order of VirtdiskFaultKind. */
static const char *const kinds[] = {"note", "leak", "minor", "serious"};
static const char *const count_keys[] = {"notes", "leaks", "minor", "serious"};

VirtdiskFault *virtdisk_fault_copy(const VirtdiskFault *fault)
{
  VirtdiskFault *copy = g_memdup2(fault, sizeof *fault);

  copy->field = g_strdup(fault->field);
  copy->message = g_strdup(fault->message);
  return copy;
}

void virtdisk_fault_free(VirtdiskFault *fault)
{
  if (fault == NULL)
    return;
  g_free(fault->field);
  g_free(fault->message);
  g_free(fault);
}

/* A kind that a later service may know is as bad as can be. */
static VirtdiskFaultKind kind_of(const char *word)
{
  for (guint i = 0; i < G_N_ELEMENTS(kinds); i++)
    if (g_str_equal(kinds[i], word))
      return (VirtdiskFaultKind)i;
  return VIRTDISK_FAULT_SERIOUS;
}

static void read_faults(VirtdiskCheck *check)
{
  g_autoptr(GVariant) list = g_variant_lookup_value(check->results, "faults", G_VARIANT_TYPE("a(sbtss)"));
  GVariantIter iter;
  const char *kind;
  VirtdiskFault fault;

  if (list == NULL)
    return;
  g_variant_iter_init(&iter, list);
  while (g_variant_iter_next(&iter, "(&sbt&s&s)", &kind, &fault.repairable, &fault.offset, &fault.field,
                             &fault.message)) {
    fault.kind = kind_of(kind);
    g_ptr_array_add(check->faults, virtdisk_fault_copy(&fault));
  }
}

static VirtdiskCheck *check_new(GVariant *reply)
{
  VirtdiskCheck *check = g_atomic_rc_box_new0(VirtdiskCheck);

  check->results = g_variant_get_child_value(reply, 0);
  check->faults = g_ptr_array_new_with_free_func((GDestroyNotify)virtdisk_fault_free);
  read_faults(check);
  return check;
}

VirtdiskCheck *virtdisk_check_ref(VirtdiskCheck *check)
{
  return g_atomic_rc_box_acquire(check);
}

static void check_clear(gpointer data)
{
  VirtdiskCheck *check = data;

  g_variant_unref(check->results);
  g_ptr_array_unref(check->faults);
}

void virtdisk_check_unref(VirtdiskCheck *check)
{
  g_atomic_rc_box_release_full(check, check_clear);
}

static guint64 number(VirtdiskCheck *check, const char *key)
{
  guint64 value = 0;

  g_variant_lookup(check->results, key, "t", &value);
  return value;
}

GPtrArray *virtdisk_check_get_faults(VirtdiskCheck *check)
{
  return check->faults;
}

guint64 virtdisk_check_get_count(VirtdiskCheck *check, VirtdiskFaultKind kind)
{
  g_return_val_if_fail((guint)kind < G_N_ELEMENTS(count_keys), 0);
  return number(check, count_keys[kind]);
}

guint virtdisk_check_get_repairable(VirtdiskCheck *check)
{
  guint32 value = 0;

  g_variant_lookup(check->results, "repairable", "u", &value);
  return value;
}

gboolean virtdisk_check_get_repaired(VirtdiskCheck *check)
{
  gboolean value = FALSE;

  g_variant_lookup(check->results, "repaired", "b", &value);
  return value;
}

guint64 virtdisk_check_get_blocks(VirtdiskCheck *check)
{
  return number(check, "blocks");
}

guint64 virtdisk_check_get_allocated_blocks(VirtdiskCheck *check)
{
  return number(check, "allocated-blocks");
}

guint64 virtdisk_check_get_leaked(VirtdiskCheck *check)
{
  return number(check, "leaked");
}

GVariant *virtdisk_check_to_variant(VirtdiskCheck *check)
{
  return g_variant_ref(check->results);
}

static void checked(GObject *connection, GAsyncResult *result, gpointer data)
{
  g_autoptr(GTask) task = data;
  GError *error = NULL;
  g_autoptr(GVariant) reply = vd_call_finish(connection, result, VIRTDISK_ERROR_NOT_SUPPORTED, &error);

  if (reply == NULL)
    g_task_return_error(task, error);
  else
    g_task_return_pointer(task, check_new(reply), (GDestroyNotify)virtdisk_check_unref);
}

static GVariant *check_options(VirtdiskCheckFlags flags, VirtdiskOpenParameters *parameters)
{
  g_autoptr(GVariant) open = g_variant_ref_sink(vd_open_options(parameters, NULL));
  GVariantDict dict;

  g_variant_dict_init(&dict, open);
  if ((flags & VIRTDISK_CHECK_REPAIR) != 0)
    g_variant_dict_insert(&dict, "repair", "b", TRUE);
  return g_variant_dict_end(&dict);
}

static char *check_arguments(const char *path, VirtdiskCheckFlags flags, GError **error)
{
  g_autofree char *absolute = vd_path_absolute(path, error);

  if (absolute == NULL)
    return NULL;
  if ((flags & ~VIRTDISK_CHECK_REPAIR) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "Unknown flags 0x%08x",
                (guint)flags & ~(guint)VIRTDISK_CHECK_REPAIR);
    return NULL;
  }
  if (!vd_path_is_sayable(absolute)) {
    g_autofree char *display = vd_path_display(absolute);

    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
                "%s: an image can be checked under a name in UTF-8 only", display);
    return NULL;
  }
  return g_steal_pointer(&absolute);
}

void virtdisk_client_check_image_async(VirtdiskClient *client, const char *path, VirtdiskCheckFlags flags,
                                       VirtdiskOpenParameters *parameters, GCancellable *cancellable,
                                       GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(client, cancellable, callback, user_data);
  GError *error = NULL;
  g_autofree char *absolute = check_arguments(path, flags, &error);
  VdCall call = {.object_path = VD_ROOT_PATH,
                 .interface_name = VD_IFACE_MANAGER,
                 .method = "CheckImage",
                 .reply = "(a{sv})",
                 .patience = VD_CALL_MAY_ASK,
                 .missing = VIRTDISK_ERROR_NOT_SUPPORTED};

  g_task_set_source_tag(task, virtdisk_client_check_image_async);
  if (absolute == NULL) {
    g_task_return_error(task, error);
    return;
  }
  call.arguments = g_variant_new("(s@a{sv})", absolute, check_options(flags, parameters));
  vd_call(client, &call, cancellable, checked, g_steal_pointer(&task));
}

VirtdiskCheck *virtdisk_client_check_image_finish(VirtdiskClient *client, GAsyncResult *result,
                                                  GError **error)
{
  return g_task_propagate_pointer(G_TASK(result), error);
}

VirtdiskCheck *virtdisk_client_check_image(VirtdiskClient *client, const char *path, VirtdiskCheckFlags flags,
                                           VirtdiskOpenParameters *parameters, GCancellable *cancellable,
                                           GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_client_check_image_async(client, path, flags, parameters, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_client_check_image_finish(client, result, error);
}
