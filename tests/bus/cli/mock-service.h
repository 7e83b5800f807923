// SPDX-License-Identifier: LGPL-2.1-or-later
// A service that looks like virtdiskd on a bus of its own, writes down what it is asked and answers as told.
#pragma once

#include <gio/gio.h>

extern "C" {
#include "virtdisk.h"
}
#include "vd-dbus.h"

#include <map>
#include <string>
#include <vector>

struct MockCall {
  std::string method;
  std::string arguments; // as g_variant_print() has them, without types
  bool interactive;      // the caller may be asked
};

class MockService
{
public:
  explicit MockService(GDBusConnection *connection);
  ~MockService();
  MockService(const MockService &) = delete;

  // Shows an attached disk; returns its object path.
  std::string add_disk(const std::string &path, const std::string &device);
  void remove_disk(const std::string &object_path);
  VdDBusDisk *disk(const std::string &object_path);

  // The method named fails with this from now on.
  void fail(const std::string &method, VirtdiskError code, const std::string &message);
  // The method named is never answered.
  void hang(const std::string &method);
  // A disk that AttachImage shows has these file systems (aa{sv} as text).
  std::string file_systems = "@aa{sv} []";
  // What CheckImage finds (a{sv} as text).
  std::string found = "@a{sv} {}";
  bool detach_is_pending = false;

  // The job that every operation begins. Wait is answered with these results (a{sv} as text).
  static constexpr const char *JOB = "/org/virtdisk1/job/0_7";
  VdDBusJob *job = nullptr;
  std::string results = "@a{sv} {}";
  // Shows the job to those who look for jobs.
  void show_job();
  // Wait is not answered until the job was cancelled.
  bool job_waits = false;
  GDBusMethodInvocation *waiting = nullptr;
  // What GetVirtualDiskInformation says: by path of the image and kind (a{sv} as text). An image that is here
  // has no other kinds.
  std::map<std::string, std::map<guint, std::string>> information;
  std::string opened; // path of the image opened last
  std::vector<std::string> items;
  std::string data; // of every item; what SetVirtualDiskMetadata brought

  std::vector<MockCall> calls;
  // The first call of that method; empty if there was none.
  MockCall call(const std::string &method) const;
  bool was_called(const std::string &method) const;

  // Called by the handlers. TRUE: answered already.
  bool record(GDBusMethodInvocation *invocation);
  std::string find(const std::string &path) const;

private:
  GDBusConnection *connection;
  GDBusObjectManagerServer *objects;
  VdDBusManager *manager;
  VdDBusHandle *handle;
  guint next = 1;
  std::map<std::string, std::pair<VirtdiskError, std::string>> failures;
  std::vector<std::string> hung;
  std::vector<GDBusMethodInvocation *> unanswered;
  std::map<std::string, VdDBusDisk *> disks;
  bool job_is_shown = false;
};

// UDisks2, as far as mounting goes: one device, known from the beginning or once it is told.
class MockUDisks
{
public:
  MockUDisks(GDBusConnection *connection, const std::string &device);
  ~MockUDisks();
  MockUDisks(const MockUDisks &) = delete;

  bool known = true;
  // The device becomes known when it was asked for this often; then InterfacesAdded is sent.
  int known_after = 0;
  std::string error; // D-Bus name of the error of Mount; empty: it mounts at /run/media/user/IMAGE
  std::vector<std::string> mount_options;

  std::string device;
  GDBusConnection *connection;
  int asked = 0;

private:
  std::vector<guint> registrations;
};
