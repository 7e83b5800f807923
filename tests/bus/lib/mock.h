// SPDX-License-Identifier: LGPL-2.1-or-later
// A service that answers org.virtdisk1 from a thread of its own and remembers what it was asked. It judges
// nothing: each method has a canned answer, which a test may replace once by an error, an answer of its own,
// or silence.
#pragma once

#include <gio/gio.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

struct Call {
  std::string method;
  std::string object_path;
  std::string arguments;                      // without the options, as g_variant_print() has it
  std::map<std::string, std::string> options; // key to printed value
  bool interactive = false;
  std::string fd_content; // first bytes of the descriptor that came along
  int fd_flags = -1;      // F_GETFL of it
};

class MockService
{
public:
  // Has the bus name when it returns.
  explicit MockService(const char *bus_address);
  ~MockService();

  // The next call is answered so; the canned answer comes back after that.
  void fail_next(const std::string &error_name, const std::string &message);
  void answer_next(const std::string &reply);
  // The next call is not answered until release().
  void hold_next();
  // The next call of that method.
  void hold_next(const std::string &method);
  void release();

  void add_disk(const std::string &object_path, const std::string &image, const std::string &device);
  void remove_disk(const std::string &object_path);
  void set_disk_state(const std::string &object_path, const std::string &state);
  // A job that nobody of this process has begun.
  void add_job(const std::string &object_path, const std::string &operation);
  void remove_job(const std::string &object_path);
  // Tells of new values of a job that an operation has begun: a{sv} as text.
  void change_job(const std::string &object_path, const std::string &properties);

  std::vector<Call> calls();
  Call last();
  // Blocks until a call of that method has come; false after ten seconds.
  bool wait_for(const std::string &method);

private:
  static void handle_method(GDBusConnection *, const char *sender, const char *object_path,
                            const char *interface, const char *method, GVariant *parameters,
                            GDBusMethodInvocation *invocation, gpointer data);
  void run(const char *bus_address);
  void in_thread(std::function<void()> act);
  void record(const char *object_path, const char *method, GVariant *parameters,
              GDBusMethodInvocation *invocation);
  void answer(const std::string &object_path, const std::string &method, GVariant *parameters,
              GDBusMethodInvocation *invocation);
  std::string canned(const std::string &method, GVariant *parameters);
  std::string open_handle();
  std::string open_job();
  void disk_on_bus(const std::string &object_path, const std::string &image, const std::string &device);

  std::thread thread;
  GMainContext *context = nullptr;
  GMainLoop *loop = nullptr;
  GDBusConnection *connection = nullptr;
  GDBusObjectManagerServer *objects = nullptr;
  std::map<std::string, guint> handles;
  int n_handles = 0;
  int n_jobs = 0;
  guint manager_id = 0;

  std::mutex mutex;
  std::condition_variable changed;
  bool ready = false;
  std::vector<Call> received;
  std::string next_error, next_message, next_reply;
  bool hold = false;
  std::string hold_method; // empty: any
  std::function<void()> held;
};
