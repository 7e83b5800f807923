/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/supervise.h"

#include "util/offload.h"
#include "virtdisk-error.h"

struct VdSupervisor {
  const VdRoute *route;
  VdAttachment *attachment;                  /* ours */
  VdService *service;                        /* that is watched */
  gint64 took_over_at;                       /* monotonic, microseconds; 0: the first worker */
  gint64 failures[VD_RECOVERY_MAX_FAILURES]; /* a ring; monotonic, 0: none */
  guint next_failure;
  GSource *pause;
  gboolean busy; /* a worker is being made */
  gboolean stopped;
  gboolean given_up; /* no worker is made any more, though the kernel may have the device still */
  void (*failed)(gpointer user_data);
  gpointer user_data;
  void (*news)(gpointer user_data);
  gpointer news_data;
  GTask *next; /* an exchange that waits for its turn, or NULL */
};

static void attempt(VdSupervisor *self);
static void begin_next(VdSupervisor *self);
static void fail_next(VdSupervisor *self);

static void supervisor_clear(VdSupervisor *self)
{
  vd_attachment_free(self->attachment);
}

static void supervisor_release(gpointer self)
{
  g_atomic_rc_box_release_full(self, (GDestroyNotify)supervisor_clear);
}

static void unwatch(VdSupervisor *self)
{
  if (self->service != NULL)
    vd_service_watch(self->service, NULL, NULL);
  g_clear_pointer(&self->service, vd_service_unref);
}

static gboolean is_over(const VdSupervisor *self)
{
  return self->stopped || self->given_up || !self->route->is_live(self->attachment);
}

static void note_failure(VdSupervisor *self)
{
  self->failures[self->next_failure] = g_get_monotonic_time();
  self->next_failure = (self->next_failure + 1) % VD_RECOVERY_MAX_FAILURES;
}

/* The oldest of the last failures lies within the window. */
static gboolean is_hopeless(const VdSupervisor *self)
{
  gint64 oldest = self->failures[self->next_failure];

  return oldest != 0 && g_get_monotonic_time() - oldest < (gint64)VD_RECOVERY_WINDOW_MS * 1000;
}

static void give_up_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const VdSupervisor *self = data;

  self->route->give_up(self->attachment);
  g_task_return_boolean(task, TRUE);
}

static void run(VdSupervisor *self, GTaskThreadFunc func, GAsyncReadyCallback done)
{
  g_autoptr(GTask) task = g_task_new(NULL, NULL, done, NULL);

  g_task_set_task_data(task, g_atomic_rc_box_acquire(self), supervisor_release);
  vd_offload(task, func);
}

/* It was asked to end, and had nothing left to serve; what it leaves behind is no disk any more. */
static void end(VdSupervisor *self, VdService *service)
{
  g_message("the worker of %s (pid %d) has closed the image: the disk ends", self->attachment->path,
            (int)vd_service_pid(service));
  run(self, give_up_in_thread, NULL);
}

/* The route knows no successor: what was served has ended, cleanly or not. */
static void end_with_worker(VdSupervisor *self, gboolean closed, const GError *error)
{
  if (!closed)
    g_warning("the worker of %s has ended, and the connection with it: %s", self->attachment->name,
              error != NULL ? error->message : "it was killed");
  self->failed(self->user_data);
}

static void on_worker_gone(VdService *service, gboolean closed, const GError *error, gpointer user_data)
{
  VdSupervisor *self = user_data;

  g_clear_pointer(&self->service, vd_service_unref);
  if (self->route->recover == NULL) {
    end_with_worker(self, closed, error);
    return;
  }
  if (is_over(self)) {
    fail_next(self);
    return;
  }
  if (closed) {
    end(self, service);
    return;
  }
  g_warning("the worker of %s (pid %d) has ended: %s", self->attachment->path, (int)vd_service_pid(service),
            error != NULL ? error->message : "it was killed");
  if (self->took_over_at != 0 &&
      g_get_monotonic_time() - self->took_over_at < (gint64)VD_RECOVERY_PROOF_MS * 1000)
    note_failure(self);
  attempt(self);
}

static void on_news(VdService *service, gpointer user_data)
{
  VdSupervisor *self = user_data;

  if (self->news != NULL)
    self->news(self->news_data);
}

static void watch(VdSupervisor *self)
{
  self->service = vd_serving_get_service(self->attachment->serving);
  if (self->service == NULL)
    return;
  vd_service_set_news_func(self->service, on_news, self);
  vd_service_watch(self->service, on_worker_gone, self);
}

void vd_supervisor_set_news_func(VdSupervisor *self, void (*news)(gpointer user_data), gpointer user_data)
{
  self->news = news;
  self->news_data = user_data;
}

static gboolean on_pause_over(gpointer user_data)
{
  VdSupervisor *self = user_data;

  g_clear_pointer(&self->pause, g_source_unref);
  attempt(self);
  return G_SOURCE_REMOVE;
}

static void recover_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const VdSupervisor *self = data;
  GError *error = NULL;

  if (self->route->recover(self->attachment, &error))
    g_task_return_boolean(task, TRUE);
  else
    g_task_return_error(task, error);
}

static void replace_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const VdSupervisor *self = data;

  if (self->route->retire != NULL)
    self->route->retire(self->attachment);
  recover_in_thread(task, source, data, cancellable);
}

/* error: why there is none, or NULL. */
static void go_on(VdSupervisor *self, const GError *error)
{
  self->busy = FALSE;
  if (is_over(self)) {
    fail_next(self);
    return;
  }
  if (error == NULL) {
    self->took_over_at = g_get_monotonic_time();
    watch(self);
    g_message("%s goes on with another worker (pid %d)", self->attachment->path,
              self->service != NULL ? (int)vd_service_pid(self->service) : 0);
    begin_next(self);
    return;
  }
  g_warning("%s: no worker takes over: %s", self->attachment->path, error->message);
  note_failure(self);
  /* What it changes may be what keeps a worker from being made. */
  if (self->next != NULL) {
    begin_next(self);
    return;
  }
  self->pause = g_timeout_source_new(is_hopeless(self) ? 0 : VD_RECOVERY_PAUSE_MS);
  g_source_set_callback(self->pause, on_pause_over, self, NULL);
  g_source_attach(self->pause, g_main_context_get_thread_default());
}

static void on_recovered(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GError) error = NULL;

  g_task_propagate_boolean(G_TASK(result), &error);
  go_on(g_task_get_task_data(G_TASK(result)), error);
}

static void attempt(VdSupervisor *self)
{
  if (is_over(self) || self->route->recover == NULL) {
    fail_next(self);
    return;
  }
  if (!is_hopeless(self)) {
    self->busy = TRUE;
    run(self, recover_in_thread, on_recovered);
    return;
  }
  g_warning("%s is given up after %d failures: who reads or writes it gets errors", self->attachment->path,
            VD_RECOVERY_MAX_FAILURES);
  self->given_up = TRUE;
  run(self, give_up_in_thread, NULL);
  fail_next(self);
  self->failed(self->user_data);
}

static gboolean wants_another(const VdSupervisor *self)
{
  VdServing *serving = self->attachment->serving;

  if (is_over(self) || !vd_serving_has_transport(serving))
    return FALSE;
  return (serving->outdated && self->route->retire != NULL) ||
         (serving->mirrored && self->route->recover != NULL);
}

VdSupervisor *vd_supervisor_new(const VdRoute *route, const VdAttachment *attachment,
                                void (*failed)(gpointer user_data), gpointer user_data)
{
  VdSupervisor *self = g_atomic_rc_box_new0(VdSupervisor);

  self->route = route;
  self->attachment = vd_attachment_copy(attachment);
  self->failed = failed;
  self->user_data = user_data;
  if (wants_another(self)) {
    g_message("the worker of %s %s: the next takes over", attachment->path,
              attachment->serving->outdated ? "is of an earlier program"
                                            : "mirrors the image for a service that has ended");
    self->busy = TRUE;
    run(self, replace_in_thread, on_recovered);
    return self;
  }
  watch(self);
  if (self->service == NULL)
    attempt(self);
  return self;
}

/* Exchange */

typedef struct {
  VdSupervisor *supervisor;
  VdExchangeFunc before, between;
  gpointer data;
  GDestroyNotify free_data;
  GError *cause; /* why before or between failed */
  gboolean kept; /* the worker that was serves on */
} Exchange;

static void exchange_free(gpointer data)
{
  Exchange *exchange = data;

  if (exchange->free_data != NULL)
    exchange->free_data(exchange->data);
  g_clear_error(&exchange->cause);
  supervisor_release(exchange->supervisor);
  g_free(exchange);
}

static void exchange_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Exchange *exchange = data;
  const VdSupervisor *self = exchange->supervisor;
  VdServing *serving = self->attachment->serving;
  GError *error = NULL;

  if (exchange->before != NULL) {
    exchange->kept = !exchange->before(serving, exchange->data, &exchange->cause);
    if (exchange->kept) {
      g_task_return_boolean(task, TRUE);
      return;
    }
  } else if (self->route->retire != NULL) {
    self->route->retire(self->attachment);
  }
  vd_serving_bury(serving);
  exchange->between(serving, exchange->data, &exchange->cause);
  if (self->route->recover(self->attachment, &error))
    g_task_return_boolean(task, TRUE);
  else
    g_task_return_error(task, error);
}

static void go_on_as_before(VdSupervisor *self)
{
  self->busy = FALSE;
  if (is_over(self)) {
    fail_next(self);
    return;
  }
  watch(self);
  begin_next(self);
}

static void on_exchanged(GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GTask) task = user_data;
  Exchange *exchange = g_task_get_task_data(task);
  GError *error = NULL;

  g_task_propagate_boolean(G_TASK(result), &error);
  if (exchange->kept)
    go_on_as_before(exchange->supervisor);
  else
    go_on(exchange->supervisor, error);
  if (exchange->cause != NULL) {
    g_clear_error(&error);
    error = g_steal_pointer(&exchange->cause);
  }
  if (error != NULL)
    g_task_return_error(task, error);
  else
    g_task_return_boolean(task, TRUE);
}

static void begin_exchange(VdSupervisor *self, GTask *task)
{
  g_autoptr(GTask) work = g_task_new(NULL, NULL, on_exchanged, g_object_ref(task));

  self->busy = TRUE;
  unwatch(self);
  if (self->pause != NULL) {
    g_source_destroy(self->pause);
    g_clear_pointer(&self->pause, g_source_unref);
  }
  g_task_set_task_data(work, g_task_get_task_data(task), NULL);
  vd_offload(work, exchange_in_thread);
}

static void begin_next(VdSupervisor *self)
{
  g_autoptr(GTask) task = g_steal_pointer(&self->next);

  if (task != NULL)
    begin_exchange(self, task);
}

static void refuse_exchange(VdSupervisor *self, GTask *task)
{
  g_task_return_new_error(task, VIRTDISK_ERROR, VIRTDISK_ERROR_BUSY,
                          "the worker of %s is being replaced, or ends", self->attachment->path);
}

static void fail_next(VdSupervisor *self)
{
  g_autoptr(GTask) task = g_steal_pointer(&self->next);

  if (task != NULL)
    refuse_exchange(self, task);
}

void vd_supervisor_exchange_async(VdSupervisor *self, VdExchangeFunc before, VdExchangeFunc between,
                                  gpointer data, GDestroyNotify free_data, GAsyncReadyCallback callback,
                                  gpointer user_data)
{
  g_autoptr(GTask) task = g_task_new(NULL, NULL, callback, user_data);
  Exchange *exchange = g_new0(Exchange, 1);

  *exchange = (Exchange){
      g_atomic_rc_box_acquire(self), before, between, data, free_data, .cause = NULL, .kept = FALSE};
  g_task_set_task_data(task, exchange, exchange_free);
  if (is_over(self) || self->next != NULL)
    refuse_exchange(self, task);
  else if (self->busy || self->pause != NULL || self->service == NULL)
    self->next = g_steal_pointer(&task);
  else
    begin_exchange(self, task);
}

gboolean vd_supervisor_exchange_finish(GAsyncResult *result, GError **error)
{
  return g_task_propagate_boolean(G_TASK(result), error);
}

void vd_supervisor_free(VdSupervisor *self)
{
  if (self == NULL)
    return;
  self->stopped = TRUE;
  fail_next(self);
  unwatch(self);
  if (self->pause != NULL) {
    g_source_destroy(self->pause);
    g_clear_pointer(&self->pause, g_source_unref);
  }
  supervisor_release(self);
}
