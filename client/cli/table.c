/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tables for people; the only file that knows libsmartcols. */
#include <libsmartcols.h>
#include <stdio.h>
#include <unistd.h>

#include "output.h"

struct VdTable {
  struct libscols_table *table;
  guint n_columns;
};

/* As GLib does: no memory is the end. */
static void *check_memory(void *pointer)
{
  if (pointer == NULL)
    g_error("Out of memory for a table");
  return pointer;
}

VdTable *vd_table_new(const char *const *columns)
{
  VdTable *self = g_new0(VdTable, 1);
  gboolean terminal = isatty(STDOUT_FILENO) != 0;

  self->table = check_memory(scols_new_table());
  scols_table_set_termforce(self->table, terminal ? SCOLS_TERMFORCE_AUTO : SCOLS_TERMFORCE_NEVER);
  for (; columns[self->n_columns] != NULL; self->n_columns++) {
    const char *name = columns[self->n_columns];
    gboolean right = *name == '<';
    gboolean last = columns[self->n_columns + 1] == NULL;
    int flags = (right ? SCOLS_FL_RIGHT : 0) | (last && terminal ? SCOLS_FL_TRUNC : 0);

    check_memory(scols_table_new_column(self->table, right ? name + 1 : name, 0, flags));
  }
  return self;
}

/* libsmartcols escapes control characters and bytes that are not text by itself, and would escape our
 * escapes; but it lets pass what only changes the direction or the shape of the text around it. */
static char *without_format_characters(const char *text)
{
  GString *out = g_string_new(NULL);

  while (*text != '\0') {
    gunichar c = g_utf8_get_char_validated(text, -1);
    gboolean valid = c != (gunichar)-1 && c != (gunichar)-2;
    const char *next = valid ? g_utf8_next_char(text) : text + 1;

    if (valid && g_unichar_type(c) == G_UNICODE_FORMAT)
      g_string_append_unichar(out, 0xfffd);
    else
      g_string_append_len(out, text, next - text);
    text = next;
  }
  return g_string_free(out, FALSE);
}

void vd_table_add(VdTable *self, const char *const *cells)
{
  struct libscols_line *line = check_memory(scols_table_new_line(self->table, NULL));

  for (guint i = 0; i < self->n_columns; i++) {
    g_autofree char *shown =
        without_format_characters(cells[i] != NULL && *cells[i] != '\0' ? cells[i] : "-");

    if (scols_line_set_data(line, i, shown) != 0)
      check_memory(NULL);
  }
}

void vd_table_print(VdTable *self)
{
  scols_print_table(self->table);
}

void vd_table_free(VdTable *self)
{
  scols_unref_table(self->table);
  g_free(self);
}
