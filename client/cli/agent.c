/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent.h"

#include <termios.h>
#include <unistd.h>

#define POLKIT_AGENT_I_KNOW_API_IS_SUBJECT_TO_CHANGE
#include <polkitagent/polkitagent.h>

struct VdAgent {
  PolkitAgentListener *listener;
  gpointer registration;
  GCancellable *cancellable;
  struct termios terminal; /* as it was: a password is typed without echo */
  gboolean have_terminal;
};

gboolean vd_agent_is_useful(void)
{
  return isatty(STDIN_FILENO) && (isatty(STDOUT_FILENO) || isatty(STDERR_FILENO));
}

/* Where the session's own agent goes first. polkit 126 finds no fallback for a caller without a session. */
static gboolean is_graphical(void)
{
  return g_getenv("DISPLAY") != NULL || g_getenv("WAYLAND_DISPLAY") != NULL;
}

VdAgent *vd_agent_new(GCancellable *cancellable)
{
  g_autoptr(VdAgent) self = g_new0(VdAgent, 1);
  g_autoptr(PolkitSubject) subject = polkit_unix_process_new_for_owner(getpid(), 0, -1);
  g_autoptr(GVariant) options =
      g_variant_ref_sink(g_variant_new_parsed("{'fallback': <%b>}", is_graphical()));
  g_autoptr(GError) error = NULL;

  self->cancellable = g_object_ref(cancellable);
  self->have_terminal = tcgetattr(STDIN_FILENO, &self->terminal) == 0;
  self->listener = polkit_agent_text_listener_new(cancellable, &error);
  if (self->listener != NULL)
    self->registration =
        polkit_agent_listener_register_with_options(self->listener, POLKIT_AGENT_REGISTER_FLAGS_RUN_IN_THREAD,
                                                    subject, NULL, options, cancellable, &error);
  if (self->registration == NULL) {
    g_debug("No password agent: %s", error->message);
    return NULL;
  }
  return g_steal_pointer(&self);
}

void vd_agent_free(VdAgent *self)
{
  /* When interrupted the agent's thread may be waiting for a key, so that joining it would hang; the process
   * ends now, and polkit notices. */
  if (self->registration != NULL && !g_cancellable_is_cancelled(self->cancellable)) {
    polkit_agent_listener_unregister(self->registration);
    g_clear_object(&self->listener);
  }
  if (self->have_terminal && self->registration != NULL)
    tcsetattr(STDIN_FILENO, TCSANOW, &self->terminal);
  g_clear_object(&self->cancellable);
  g_free(self);
}
