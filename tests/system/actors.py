# SPDX-License-Identifier: LGPL-2.1-or-later
"""Those whom the service meets on the bus besides its callers: a person who answers polkit, and a login manager."""
import threading

from gi.repository import Gio, GLib

AGENT_XML = """<node><interface name="org.freedesktop.PolicyKit1.AuthenticationAgent">
<method name="BeginAuthentication"><arg type="s" name="action_id" direction="in"/>
<arg type="s" name="message" direction="in"/><arg type="s" name="icon_name" direction="in"/>
<arg type="a{ss}" name="details" direction="in"/><arg type="s" name="cookie" direction="in"/>
<arg type="a(sa{sv})" name="identities" direction="in"/></method>
<method name="CancelAuthentication"><arg type="s" name="cookie" direction="in"/></method></interface></node>"""

LOGIND_XML = """<node><interface name="org.freedesktop.login1.Manager">
<method name="GetSessionByPID"><arg type="u" direction="in"/><arg type="o" direction="out"/></method>
<method name="GetSession"><arg type="s" direction="in"/><arg type="o" direction="out"/></method>
<method name="ListSessions"><arg type="a(susso)" direction="out"/></method>
<signal name="SessionNew"><arg type="s"/><arg type="o"/></signal>
<signal name="SessionRemoved"><arg type="s"/><arg type="o"/></signal></interface>
<interface name="org.freedesktop.login1.Session">
<property name="Id" type="s" access="read"/><property name="State" type="s" access="read"/>
<property name="Active" type="b" access="read"/><property name="User" type="(uo)" access="read"/></interface></node>"""


class Actor:
    """Lives on a thread and a connection of its own, so that a test may block in a call meanwhile."""

    def __init__(self, address):
        self.context = GLib.MainContext()
        self.loop = GLib.MainLoop.new(self.context, False)
        self.address = address
        self.connection = None
        self.failure = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)

    def start(self):
        self._thread.start()
        if not self._ready.wait(10):
            raise TimeoutError(f"{type(self).__name__} did not start within 10 s")
        if self.failure:
            raise self.failure
        return self

    def _main(self):
        self.context.push_thread_default()
        try:
            self.connection = Gio.DBusConnection.new_for_address_sync(
                self.address,
                Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION,
                None, None)
            self.enter()
        except Exception as failure:  # handed to the thread that waits in start()
            self.failure = failure
            self._ready.set()
            return
        self._ready.set()
        self.loop.run()
        self.connection.close_sync(None)

    def invoke(self, function):
        """Runs function on the actor's thread and waits for it."""
        done = threading.Event()

        def run(*_):
            function()
            done.set()
            return False

        source = GLib.idle_source_new()
        source.set_callback(run)
        source.attach(self.context)
        if not done.wait(10):
            raise TimeoutError(f"{type(self).__name__} does not answer")

    def stop(self):
        if self.failure is None:
            self.invoke(self.loop.quit)
            self._thread.join(10)


class Person(Actor):
    """
    A polkit agent that answers by script: "accept", "dismiss", "wrong" (a wrong password), or "think" (never answers).
    Serves every caller of this process. asked holds what it was asked: (action, message, details).
    """
    PATH = "/org/virtdisk/test/Agent"

    def __init__(self, address, pid, start_time):
        super().__init__(address)
        self.answer = "accept"
        self.asked = []
        self.meanwhile = None  # called, on the agent's thread, between question and answer
        self.cancelled = []
        self.being_asked = threading.Event()
        self.was_cancelled = threading.Event()
        self._subject = ("unix-process", {"pid": GLib.Variant("u", pid), "start-time": GLib.Variant("t", start_time),
                                          "uid": GLib.Variant("i", 0)})
        self._pending = []

    def enter(self):
        node = Gio.DBusNodeInfo.new_for_xml(AGENT_XML)
        self.connection.register_object(self.PATH, node.interfaces[0], self._on_call, None, None)
        self._authority("RegisterAuthenticationAgent",
                        GLib.Variant("((sa{sv})ss)", (self._subject, "C", self.PATH)))

    def _authority(self, method, arguments):
        return self.connection.call_sync("org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
                                         "org.freedesktop.PolicyKit1.Authority", method, arguments, None, 0, 10000,
                                         None)

    def _on_call(self, _connection, _sender, _path, _interface, method, arguments, invocation):
        if method == "CancelAuthentication":
            self.cancelled.append(arguments.unpack()[0])
            self.was_cancelled.set()
            while self._pending:
                self._pending.pop().return_dbus_error("org.freedesktop.PolicyKit1.Error.Cancelled", "cancelled")
            invocation.return_value(None)
            return
        action, message, _icon, details, cookie, identities = arguments.unpack()
        self.asked.append((action, message, details))
        self.being_asked.set()
        if self.meanwhile:
            self.meanwhile()
        if self.answer == "dismiss":
            invocation.return_dbus_error("org.freedesktop.PolicyKit1.Error.Cancelled", "dismissed")
        elif self.answer == "wrong":
            invocation.return_value(None)
        elif self.answer == "think":
            self._pending.append(invocation)
        else:
            # Nested calls on this thread would wait for themselves: answer polkit without waiting, then the caller.
            kind, fields = identities[0]
            identity = (kind, {key: GLib.Variant("u", value) for key, value in fields.items()})
            self.connection.call("org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
                                 "org.freedesktop.PolicyKit1.Authority", "AuthenticationAgentResponse2",
                                 GLib.Variant("(us(sa{sv}))", (0, cookie, identity)), None, 0, 10000, None,
                                 self._responded, invocation)

    def _responded(self, connection, result, invocation):
        try:
            connection.call_finish(result)
            invocation.return_value(None)
        except GLib.Error as error:
            self.failure = error
            invocation.return_dbus_error("org.freedesktop.PolicyKit1.Error.Failed", error.message)

    def stop(self):
        try:
            self._authority("UnregisterAuthenticationAgent", GLib.Variant("((sa{sv})s)", (self._subject, self.PATH)))
        except GLib.Error:
            pass  # polkit may have been ended by the test
        failure, self.failure = self.failure, None
        super().stop()
        if failure:
            raise failure


class Logind(Actor):
    """As much of systemd-logind as a service needs that binds something to a session. All callers are in one, that of uid."""

    def __init__(self, address, session="c1", uid=0):
        super().__init__(address)
        self.uid = uid
        self.session = session
        self.path = f"/org/freedesktop/login1/session/{session}"

    def enter(self):
        manager, session = Gio.DBusNodeInfo.new_for_xml(LOGIND_XML).interfaces
        self.connection.register_object("/org/freedesktop/login1", manager, self._on_call, None, None)
        self.connection.register_object(self.path, session, None, self._on_get, None)
        self.connection.call_sync("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                  "RequestName", GLib.Variant("(su)", ("org.freedesktop.login1", 4)), None, 0, 10000,
                                  None)

    def _on_call(self, _connection, _sender, _path, _interface, method, arguments, invocation):
        if self.session is None:
            name = "NoSuchSession" if method == "GetSession" else "NoSessionForPID"
            invocation.return_dbus_error(f"org.freedesktop.login1.{name}", "no session")
        elif method == "ListSessions":
            row = (self.session, 1000, "user", "seat0", self.path)
            invocation.return_value(GLib.Variant("(a(susso))", ([row],)))
        else:
            invocation.return_value(GLib.Variant("(o)", (self.path,)))

    def _on_get(self, _connection, _sender, _path, _interface, name):
        return {"Id": GLib.Variant("s", self.session or ""), "State": GLib.Variant("s", "active"),
                "Active": GLib.Variant("b", True),
                "User": GLib.Variant("(uo)", (self.uid, f"/org/freedesktop/login1/user/_{self.uid}"))}[name]

    def end_session(self):
        ended, self.session = self.session, None

        def emit():
            self.connection.emit_signal(None, "/org/freedesktop/login1", "org.freedesktop.login1.Manager",
                                        "SessionRemoved", GLib.Variant("(so)", (ended, self.path)))
            self.connection.flush_sync(None)

        self.invoke(emit)
