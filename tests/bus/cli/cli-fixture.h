// SPDX-License-Identifier: LGPL-2.1-or-later
// The command as it is installed, against a service of ours on a bus of our own.
#pragma once

#include <gtest/gtest.h>

#include "mock-service.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <pty.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <memory>

// A run that takes longer has hung.
constexpr guint RUN_DEADLINE_MS = 20000;

struct Output {
  int exit = -1;
  std::string out, err;
};

// One run of the command.
class Command
{
public:
  // terminal: standard input and output, or for errors standard error; -1: none.
  Command(const std::vector<std::string> &arguments,
          const std::map<std::string, std::string> &environment = {}, int terminal = -1,
          int error_terminal = -1)
  {
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(
        static_cast<GSubprocessFlags>((error_terminal < 0 ? G_SUBPROCESS_FLAGS_STDERR_PIPE : 0) |
                                      (terminal < 0 ? G_SUBPROCESS_FLAGS_STDOUT_PIPE : 0)));
    std::vector<const char *> argv = {VD_VIRTDISK};
    g_autoptr(GError) error = NULL;
    for (const std::string &each : arguments)
      argv.push_back(each.c_str());
    argv.push_back(nullptr);
    g_subprocess_launcher_setenv(launcher, "LC_ALL", "C.UTF-8", TRUE);
    for (const auto &each : environment)
      g_subprocess_launcher_setenv(launcher, each.first.c_str(), each.second.c_str(), TRUE);
    if (terminal >= 0) {
      g_subprocess_launcher_take_stdin_fd(launcher, dup(terminal));
      g_subprocess_launcher_take_stdout_fd(launcher, dup(terminal));
    }
    if (error_terminal >= 0)
      g_subprocess_launcher_take_stderr_fd(launcher, dup(error_terminal));
    child = g_subprocess_launcher_spawnv(launcher, argv.data(), &error);
    if (child == NULL)
      g_error("cannot run the command: %s", error->message);
  }
  ~Command()
  {
    g_subprocess_force_exit(child);
    g_clear_object(&lines);
    g_object_unref(child);
  }
  Command(const Command &) = delete;

  // Serves the bus until the command has ended.
  Output finish()
  {
    Output output;
    bool done = false, late = false;
    struct Wait {
      Output *output;
      bool *done;
    } wait = {&output, &done};
    g_subprocess_communicate_async(
        child, NULL, NULL,
        [](GObject *source, GAsyncResult *result, gpointer data) {
          auto w = static_cast<Wait *>(data);
          g_autoptr(GBytes) out = NULL, err = NULL;
          g_subprocess_communicate_finish(G_SUBPROCESS(source), result, &out, &err, NULL);
          if (out != NULL)
            w->output->out.assign(static_cast<const char *>(g_bytes_get_data(out, NULL)),
                                  g_bytes_get_size(out));
          if (err != NULL)
            w->output->err.assign(static_cast<const char *>(g_bytes_get_data(err, NULL)),
                                  g_bytes_get_size(err));
          *w->done = true;
        },
        &wait);
    iterate_until([&] { return done; }, &late);
    if (late) {
      g_subprocess_force_exit(child);
      bool never = false;
      iterate_until([&] { return done; }, &never);
      ADD_FAILURE() << "the command did not end";
      return output;
    }
    output.exit = g_subprocess_get_if_exited(child) ? g_subprocess_get_exit_status(child) : -1;
    return output;
  }

  // Lines of a command that goes on.
  std::string read_line()
  {
    if (lines == nullptr)
      lines = g_data_input_stream_new(g_subprocess_get_stdout_pipe(child));
    std::string line;
    bool done = false, late = false;
    struct Wait {
      std::string *line;
      bool *done;
    } wait = {&line, &done};
    g_data_input_stream_read_line_async(
        lines, G_PRIORITY_DEFAULT, NULL,
        [](GObject *source, GAsyncResult *result, gpointer data) {
          auto w = static_cast<Wait *>(data);
          g_autofree char *text =
              g_data_input_stream_read_line_finish(G_DATA_INPUT_STREAM(source), result, NULL, NULL);
          *w->line = text != NULL ? text : "";
          *w->done = true;
        },
        &wait);
    iterate_until([&] { return done; }, &late);
    if (late)
      g_error("no line came");
    return line;
  }

  void send(int number)
  {
    g_subprocess_send_signal(child, number);
  }

  static void iterate_until(const std::function<bool()> &condition, bool *ret_late)
  {
    guint source = g_timeout_add(
        RUN_DEADLINE_MS,
        [](gpointer data) -> gboolean {
          *static_cast<bool *>(data) = true;
          return G_SOURCE_CONTINUE;
        },
        ret_late);
    while (!condition() && !*ret_late)
      g_main_context_iteration(NULL, TRUE);
    g_source_remove(source);
  }

private:
  GSubprocess *child;
  GDataInputStream *lines = nullptr;
};

class Cli : public testing::Test
{
protected:
  GTestDBus *bus = nullptr;
  GDBusConnection *connection = nullptr;
  std::unique_ptr<MockService> mock;

  void SetUp() override
  {
    g_autoptr(GError) error = NULL;
    bus = g_test_dbus_new(G_TEST_DBUS_NONE);
    g_test_dbus_up(bus);
    g_setenv("DBUS_SYSTEM_BUS_ADDRESS", g_test_dbus_get_bus_address(bus), TRUE);
    connection = g_dbus_connection_new_for_address_sync(
        g_test_dbus_get_bus_address(bus),
        static_cast<GDBusConnectionFlags>(G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                          G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION),
        NULL, NULL, &error);
    ASSERT_NE(connection, nullptr) << error->message;
    virtdisk_error_quark();
    mock = std::make_unique<MockService>(connection);
  }
  void TearDown() override
  {
    mock.reset();
    if (connection != nullptr)
      g_dbus_connection_close_sync(connection, NULL, NULL);
    g_clear_object(&connection);
    g_test_dbus_stop(bus);
    g_object_unref(bus);
    g_unsetenv("DBUS_SYSTEM_BUS_ADDRESS");
  }

  Output run(const std::vector<std::string> &arguments,
             const std::map<std::string, std::string> &environment = {})
  {
    Command command(arguments, environment);
    return command.finish();
  }

  // Runs with a terminal as standard input and output.
  Output run_on_terminal(const std::vector<std::string> &arguments)
  {
    int terminal, command_side;
    EXPECT_EQ(openpty(&terminal, &command_side, NULL, NULL, NULL), 0);
    Output output;
    {
      Command command(arguments, {}, command_side);
      output = command.finish();
    }
    char text[4096];
    fcntl(terminal, F_SETFL, O_NONBLOCK);
    for (ssize_t n; (n = read(terminal, text, sizeof text)) > 0;)
      output.out.append(text, static_cast<size_t>(n));
    close(command_side);
    close(terminal);
    return output;
  }
};

// A value of JSON: path of member names and numbers, as text.
inline std::string json_at(const std::string &text, const char *query)
{
  g_autoptr(JsonParser) parser = json_parser_new_immutable();
  g_autoptr(GError) error = NULL;
  if (!json_parser_load_from_data(parser, text.c_str(), -1, &error))
    return std::string("not JSON: ") + error->message + " in " + text;
  g_autoptr(JsonNode) found = json_path_query(query, json_parser_get_root(parser), &error);
  g_autofree char *printed = found != NULL ? json_to_string(found, FALSE) : NULL;
  return printed != NULL ? printed : "none";
}
