#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each rule passes what is good and rejects what is bad."""
import os
import sys
import unittest

sys.path.insert(1, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))

import rules  # noqa: E402
import tap  # noqa: E402

LICENCE = "/* SPDX-License-Identifier: LGPL-2.1-or-later */\n"
NODE = '<node><interface name="a.B">{}</interface></node>'
POLICY = "<busconfig><policy {}>{}</policy></busconfig>"


class Rules(unittest.TestCase):
    def passes(self, rule, path, text):
        self.assertEqual(list(rule([(path, text)])), [])

    def rejects(self, rule, path, text):
        self.assertNotEqual(list(rule([(path, text)])), [], f"{rule.__name__} let this pass in {path}:\n{text}")

    def test_includes_go_down(self):
        for path, include in [("daemon/main.c", '"bus/service.h"'), ("daemon/bus/service.c", '"auth/gate.h"'),
                              ("daemon/bus/service.c", '"manager.h"'), ("daemon/disk.c", '"attach/device.h"'),
                              ("daemon/disk.c", '"worker/facts.h"'), ("daemon/disk.c", '"disk.h"'),
                              ("daemon/store/runstate.c", '"worker/facts.h"'), ("daemon/attach/loop.c", "<libudev.h>"),
                              ("daemon/formats/vhd.c", '"util/checked.h"'), ("daemon/worker/main.c", '"formats/registry.h"'),
                              ("daemon/auth/gate.c", "<polkit/polkit.h>"), ("daemon/attach/ublk.c", '"worker/service.h"'),
                              ("daemon/engine/engine.c", '"formats/vhdx.h"'), ("daemon/worker/serve.c", '"engine/engine.h"'),
                              ("client/cli/list.c", '"virtdisk.h"')]:
            with self.subTest(path + include):
                self.passes(rules.includes, path, f"#include {include}\n")

    def test_includes_never_go_up_or_across(self):
        for path, include in [("daemon/disk.c", '"bus/service.h"'), ("daemon/disk.c", '"auth/gate.h"'),
                              ("daemon/attach/loop.c", '"disk.h"'), ("daemon/attach/loop.c", '"formats/vhd-footer.h"'),
                              ("daemon/worker/service.c", '"attach/device.h"'), ("daemon/formats/vhd.c", '"attach/loop.h"'),
                              ("daemon/engine/engine.c", '"worker/facts-check.h"'), ("daemon/formats/vhd.c", '"engine/io.h"'),
                              ("daemon/engine/ring.c", "<glib.h>"), ("daemon/attach/ublk.c", '"engine/engine.h"'),
                              ("daemon/formats/vhd.c", "<gio/gio.h>"), ("daemon/formats/vhd.c", '"util/identity.h"'),
                              ("daemon/main.c", '"formats/registry.h"'), ("daemon/worker/client.c", '"formats/registry.h"'),
                              ("daemon/util/guid.c", '"disk.h"'), ("daemon/bus/service.c", "<polkit/polkit.h>"),
                              ("daemon/bus/service.c", "<libudev.h>"), ("daemon/attach/hints.c", "<blkid/blkid.h>"),
                              ("daemon/disk.c", '"vd-dbus.h"'), ("daemon/auth/gate.c", '"manager.h"'),
                              ("client/cli/list.c", '"vd-dbus.h"'), ("client/lib/disk.c", "<polkit/polkit.h>")]:
            with self.subTest(path + include):
                self.rejects(rules.includes, path, f"#include {include}\n")

    def test_commented_include_does_not_count(self):
        self.passes(rules.includes, "daemon/disk.c", '/*\n#include "bus/service.h"\n*/\n')

    def test_words(self):
        self.passes(rules.words, "daemon/x.c", '/* no sleep(1), no goto */ puts("goto sleep(1)"); asleep(); x->sleep(1);\n'
                    .replace("x->sleep(1);", ""))
        self.passes(rules.words, "data/x.sh", "# sleep 1\necho asleep 1\n")
        for path, text in [("daemon/x.c", "g_usleep(10);"), ("daemon/x.c", "sleep(1);"), ("tests/unit/x.cc", "usleep (5);"),
                           ("daemon/x.c", "if (x)\n  goto out;"), ("tests/system/x.py", "time.sleep(1)"),
                           ("tests/unit/x.cc", "std::this_thread::sleep_for(a);"), ("data/x.sh", "while :; do sleep 1; done"),
                           ("data/x.sh", "  sleep 0.1")]:
            with self.subTest(text):
                self.rejects(rules.words, path, text)

    def test_sizes(self):
        def function(lines):
            return "static int f(void)\n{\n" + "  x();\n" * lines + "}\n"

        self.passes(rules.sizes, "daemon/x.c", function(100))
        self.rejects(rules.sizes, "daemon/x.c", function(101))
        self.passes(rules.sizes, "daemon/x.h", "x\n" * 800)
        self.rejects(rules.sizes, "daemon/x.h", "x\n" * 801)
        self.assertEqual(rules.long_functions([("x.c", function(50))]), [])
        self.assertEqual(rules.long_functions([("x.c", function(51))]), [(51, "f", "x.c")])

    def test_licence(self):
        self.passes(rules.licence, "daemon/x.c", LICENCE)
        self.passes(rules.licence, "data/x", "#!/bin/sh\n# SPDX-License-Identifier: LGPL-2.1-or-later\n")
        self.passes(rules.licence, "README.md", "# x\n")
        self.rejects(rules.licence, "daemon/x.c", "int x;\n")
        self.rejects(rules.licence, "daemon/meson.build", "subdir('x')\n")
        self.rejects(rules.licence, "data/x", "#!/bin/sh\n")
        self.rejects(rules.licence, "daemon/x.c", "/* SPDX-License-Identifier: GPL-3.0-only */\n")

    def test_interfaces(self):
        path = "data/dbus/a.xml"
        good = '<property name="P" type="s" access="read"/><method name="M"><arg name="options" type="a{sv}" direction="in"/>' \
               '<arg name="r" type="s" direction="out"/></method>'
        self.passes(rules.interfaces, path, NODE.format(good))
        for bad in ('<property name="P" type="s" access="readwrite"/>', '<property name="P" type="s" access="write"/>',
                    '<method name="M"/>', '<method name="M"><arg name="options" type="s" direction="in"/></method>'):
            with self.subTest(bad):
                self.rejects(rules.interfaces, path, NODE.format(bad))

    def test_bus_policy(self):
        path = "data/dbus/a.conf"
        self.passes(rules.bus_policy, path, POLICY.format('user="root"', '<allow own="a"/>'))
        self.passes(rules.bus_policy, path, POLICY.format('context="default"', '<allow send_destination="a"/>'))
        for who, what in (('context="default"', '<allow own="a"/>'), ('user="root"', '<allow own_prefix="a"/>'),
                          ('context="default"', '<allow send_interface="a"/>')):
            with self.subTest(what):
                self.rejects(rules.bus_policy, path, POLICY.format(who, what))

    def test_units(self):
        path, good = "data/systemd/a.service", "KillMode=process\nProtectHostname=yes\n"
        self.passes(rules.units, path, good)
        self.passes(rules.units, path, good + "PrivateNetwork=yes\nPrivateMounts=no\n")
        for bad in ("ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "ReadOnlyPaths=/usr", "PrivateDevices=yes",
                    "ProtectKernelModules=yes", "RestrictSUIDSGID=yes", "PrivateNetwork=yes"):
            with self.subTest(bad):
                self.rejects(rules.units, path, f"{good}{bad}\n")
        self.rejects(rules.units, path, "ExecStart=/x\n")

    def test_symbols(self):
        self.assertEqual(list(rules.parser_symbols(["main", "vd_disk_new"], ["vd_vhd_parse"])), [])
        self.assertEqual(list(rules.worker_symbols(["read", "g_malloc", "blkid_new_probe"])), [])
        self.assertNotEqual(list(rules.parser_symbols(["main", "vd_vhd_parse"], ["vd_vhd_parse"])), [])
        for name in ("polkit_authority_get", "g_dbus_connection_call", "g_bus_own_name", "udev_new"):
            self.assertNotEqual(list(rules.worker_symbols([name])), [])

    def test_the_tree_is_found(self):
        paths = [path for path, _ in rules.tree(tap.SOURCE)]
        for path in ("daemon/manager.h", "data/dbus/org.virtdisk1.xml", "tests/lint/rules.py", "data/install.sh"):
            self.assertIn(path, paths)
        self.assertFalse([path for path in paths if path.startswith((".git/", "build"))])


if __name__ == "__main__":
    tap.main("lint")
