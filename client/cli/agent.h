/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asks for passwords on the terminal, for this process only and only where no other agent does. The only file
 * that knows libpolkit-agent.
 */
#pragma once

#include <gio/gio.h>

typedef struct VdAgent VdAgent;

/* Whether there is a person to ask: standard input is a terminal, and standard output or error is. */
gboolean vd_agent_is_useful(void);
/* NULL: no polkit or no terminal; then polkit says no by itself. Answers in a thread of its own. */
VdAgent *vd_agent_new(GCancellable *cancellable);
void vd_agent_free(VdAgent *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdAgent, vd_agent_free)
