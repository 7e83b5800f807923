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
