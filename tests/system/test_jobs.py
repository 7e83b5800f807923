#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Jobs: what may be done while one runs, and how it ends: by itself, cancelled, without its caller, without the service. A
job is kept where it is by its worker, which does not begin before the test says so.
"""
import os
import sys
import unittest

import testbed
from client import options
from testbed import HANDLE, JOB, NAME, USERS, BusError

MIB = 1 << 20
METAOPS, GET_INFO, ALL = 0x200000, 0x80000, 0x3F0000
PENDING, ABORTED = 997, 995
# A worker that serves or works waits at the pipe if there is one; whoever opens it for writing lets it go on. Others, which
# look at images, wait at a second one, and fail as long as there is a file beside it.
HELD_WORKER = """#!/bin/sh
case "$*" in
*--serve*) [ ! -p {hold} ] || read -r word < {hold} ;;
*) [ ! -e {hold}.blind ] || exit 1
   [ ! -p {hold}.looks ] || read -r word < {hold}.looks ;;
esac
exec {worker} "$@"
"""


class Jobs(testbed.TestCase):
    def setUp(self):
        super().setUp()
        libexec = self.bed.path("libexec", "virtdisk-worker")
        worker, self.hold = libexec + ".held", self.bed.path("hold")
        self.bed.stop_daemon()
        os.rename(libexec, worker)
        self.addCleanup(os.rename, worker, libexec)
        with open(libexec, "w") as file:
            file.write(HELD_WORKER.format(hold=self.hold, worker=worker))
        os.chmod(libexec, 0o755)
        self.bed.start_daemon()

    def hold_workers(self):
        os.mkfifo(self.hold)
        self.addCleanup(self.let_go)

    def let_go(self):
        """Those that wait go on, and so do all that come."""
        if not os.path.exists(self.hold):
            return
        reader = os.open(self.hold, os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(self.hold, os.O_WRONLY)
        os.unlink(self.hold)
        os.close(writer)
        os.close(reader)

    def folder(self, user):
        path = self.path("of-" + user)
        os.mkdir(path)
        os.chown(path, *USERS[user][:2])
        return path

    def image(self, client=None, folder=None, name="a.vhdx", size=64 * MIB):
        client = client or self.root
        path = os.path.join(folder or self.dir, name)
        client.close_handle(client.create(path, size))
        return path

    def compacting(self, client=None, folder=None, **opts):
        """A job that runs -> (handle, job, path)"""
        client = client or self.root
        path = self.image(client, folder)
        handle = client.open(path, METAOPS | GET_INFO)
        self.hold_workers()
        return handle, client.compact(handle, async_=True, **opts), path

    def state(self, job):
        return self.root.properties(job, JOB)["State"]

    def wait_state(self, job, state):
        self.bed.wait(lambda: self.state(job) == state, f"a job that is {state}")

    def assert_usable(self, path):
        handle = self.root.open(path, METAOPS | GET_INFO)
        self.root.wait_job(self.root.compact(handle, async_=True))
        self.root.close_handle(handle)

    def is_let_go(self, path):
        try:
            self.root.close_handle(self.root.open(path, METAOPS))
        except BusError as error:
            self.assertEqual(error.name, f"{NAME}.Error.SharingViolation")
            return False
        return True

    def test_answers_at_the_end(self):
        path = self.image()
        handle = self.root.open(path, METAOPS | GET_INFO)
        job = self.root.compact(handle)
        found = self.root.properties(job, JOB)
        self.assertEqual((found["Operation"], found["Path"], found["OwnerUid"]), ("compact", path, 0))
        self.assertEqual((found["State"], found["Progress"], found["ErrorName"]), ("done", 1, ""))
        self.assertFalse(found["Cancelable"])
        self.assertEqual(set(self.root.wait_job(job)) - {"note"}, {"copied", "given-back", "fell-back"})
        self.assertEqual(self.root.progress(handle)[0], 0)

    def test_progress_of_the_job_that_made_the_handle(self):
        handle = self.root.create(os.path.join(self.dir, "new.vhdx"), 64 * MIB, job="made")
        self.assertEqual(self.root.progress(handle)[0], 0)
        self.root.close_handle(handle)

    def test_released(self):
        handle = self.root.open(self.image(), METAOPS | GET_INFO)
        job = self.root.compact(handle)
        self.assertIn(job, self.root.objects())
        self.root.call(job, JOB, "Release", "(a{sv})", {})
        self.assertNotIn(job, self.root.objects())
        self.assertBusError("org.freedesktop.DBus.Error.UnknownMethod", self.root.wait_job, job)

    def test_has_the_name_it_is_given(self):
        handle, job, _ = self.compacting(job="my_word_1")
        self.assertEqual(job, "/org/virtdisk1/job/0_my_word_1")
        self.let_go()
        self.root.wait_job(job)
        self.assertEqual(self.root.compact(handle, job="my_word_1"), job)

    def test_word_is_one(self):
        handle = self.root.open(self.image(), METAOPS | GET_INFO)
        for word in ("", "A", "a-b", "a/b", "a" * 65):
            with self.subTest(word):
                self.assertBusError("InvalidParameter", self.root.compact, handle, job=word)

    def test_word_of_a_job_that_runs(self):
        second = self.image(name="b.vhdx")
        handle, job, _ = self.compacting(job="word")
        other = self.root.open(second, METAOPS)
        self.assertIn("runs already", self.assertBusError("InvalidParameter", self.root.compact, other, job="word"))
        user = self.connect("vd-first")
        self.let_go()
        mine = user.open(self.image(user, self.folder("vd-first")), METAOPS)
        self.assertEqual(user.compact(mine, job="word"), f"/org/virtdisk1/job/{USERS['vd-first'][0]}_word")
        self.root.wait_job(job)
        self.root.close_handle(handle)

    def test_one_at_a_time(self):
        handle, job, path = self.compacting()
        self.assertEqual(self.state(job), "running")
        self.assertEqual(self.root.progress(handle)[0], PENDING)
        for call in (lambda: self.root.compact(handle), lambda: self.root.expand(handle, 128 * MIB),
                     lambda: self.root.set_info(handle, 2, UniqueIdentifier="01234567-89ab-cdef-0123-456789abcdef")):
            self.assertIn("is being compacted", self.assertBusError("VhdInvalidState", call))
        beside = self.root.open(path, GET_INFO)
        self.assertBusError("AccessDenied", self.root.compact, beside)
        self.assertBusError("SharingViolation", self.root.open, path, METAOPS)
        self.assertBusError("SharingViolation", self.root.attach_image, path)
        self.let_go()
        self.root.wait_job(job)
        self.root.compact(handle)

    def test_attaching_waits(self):
        path = self.image()
        handle = self.root.open(path, ALL)
        self.hold_workers()
        job = self.root.compact(handle, async_=True)
        self.assertIn("is being compacted", self.assertBusError("VhdInvalidState", self.root.attach, handle))
        self.let_go()
        self.root.wait_job(job)
        self.root.attach(handle)
        self.assertIn("detach it first", self.assertBusError("VhdInvalidState", self.root.compact, handle))
        self.root.detach(handle)

    def test_cancelled(self):
        handle, job, path = self.compacting()
        waiting = self.root.begin(job, JOB, "Wait", "(a{sv})", {})
        self.assertTrue(self.root.properties(job, JOB)["Cancelable"])
        self.root.cancel_job(job)
        self.assertFalse(self.root.properties(job, JOB)["Cancelable"])
        self.let_go()
        self.assertBusError("OperationAborted", waiting.result)
        found = self.root.properties(job, JOB)
        self.assertEqual((found["State"], found["ErrorName"]), ("cancelled", f"{NAME}.Error.OperationAborted"))
        self.assertEqual(self.root.progress(handle)[0], ABORTED)
        self.root.compact(handle)

    def test_waiting_call_fails_with_it(self):
        path = self.image()
        handle = self.root.open(path, METAOPS | GET_INFO)
        self.hold_workers()
        call = self.root.begin(handle, HANDLE, "CompactVirtualDisk", "(ua{sv})", 0, options(job="waiting"))
        job = "/org/virtdisk1/job/0_waiting"
        self.bed.wait(lambda: job in self.root.objects(), "the job")
        self.root.cancel_job(job)
        self.let_go()
        self.assertBusError("OperationAborted", call.result)

    def test_cancelled_while_the_parent_is_looked_at(self):
        parent, path = self.image(), os.path.join(self.dir, "child.vhdx")
        pipe = self.hold + ".looks"
        os.mkfifo(pipe)
        job = self.root.create(path, 0, parent_path=parent, async_=True)
        go_on = self.take_waiting(pipe)
        self.root.cancel_job(job)
        go_on()
        self.assertBusError("OperationAborted", self.root.wait_job, job)
        self.assertEqual(self.state(job), "cancelled")
        self.assertFalse(os.path.exists(path))
        self.assert_usable(parent)

    def test_closing_the_handle_cancels(self):
        handle, job, path = self.compacting()
        closing = self.root.begin(handle, HANDLE, "Close", "(a{sv})", {})
        self.bed.wait(lambda: not self.root.properties(job, JOB)["Cancelable"], "a job that is to end")
        self.assertFalse(closing.done)
        self.let_go()
        closing.result()
        self.assertEqual(self.state(job), "cancelled")
        self.assert_usable(path)

    def test_leaving_the_bus_cancels(self):
        user = self.connect("vd-first")
        handle, job, path = self.compacting(user, self.folder("vd-first"))
        user.close()
        self.bed.wait(lambda: not self.root.properties(job, JOB)["Cancelable"], "a job that is to end")
        self.assertBusError("SharingViolation", self.root.open, path, METAOPS)
        self.let_go()
        self.wait_state(job, "cancelled")
        self.assert_usable(path)

    def test_detached_job_survives_its_caller(self):
        user = self.connect("vd-first")
        handle, job, path = self.compacting(user, self.folder("vd-first"), detach_job=True)
        user.close()
        self.assertTrue(self.root.properties(job, JOB)["Detached"])
        self.assertBusError("SharingViolation", self.root.open, path, METAOPS)
        self.let_go()
        self.wait_state(job, "done")
        again = self.connect("vd-first")
        self.assertIn("given-back", again.wait_job(job))
        self.assert_usable(path)

    def test_detached_job_survives_its_handle(self):
        handle, job, path = self.compacting(detach_job=True)
        self.root.close_handle(handle)
        self.assertBusError("InvalidHandle", self.root.info, handle, 1)
        self.assertBusError("SharingViolation", self.root.open, path, METAOPS)
        self.let_go()
        self.root.wait_job(job)
        self.assert_usable(path)

    def test_of_another_user(self):
        handle, job, _ = self.compacting(self.connect("vd-first"), self.folder("vd-first"))
        other = self.connect("vd-second")
        self.assertEqual(other.properties(job, JOB)["OwnerUid"], USERS["vd-first"][0])
        self.assertBusError("AuthorizationRequired", other.cancel_job, job)
        self.assertBusError("AccessDenied", other.wait_job, job)
        self.assertBusError("AccessDenied", other.call, job, JOB, "Release", "(a{sv})", {})
        self.assertEqual(self.state(job), "running")
        self.root.cancel_job(job)
        self.let_go()
        self.wait_state(job, "cancelled")

    def test_manager_of_others_cancels(self):
        self.bed.polkit(manage_others="yes")
        handle, job, _ = self.compacting(self.connect("vd-first"), self.folder("vd-first"))
        self.connect("vd-second").cancel_job(job)
        self.let_go()
        self.wait_state(job, "cancelled")

    def test_as_many_as_one_may_have(self):
        user, folder = self.connect("vd-first"), self.folder("vd-first")
        handles = [user.open(self.image(user, folder, f"{i}.vhdx"), METAOPS) for i in range(9)]
        self.hold_workers()
        jobs = [user.compact(handle, async_=True) for handle in handles[:8]]
        self.assertIn("8 running jobs", self.assertBusError("LimitExceeded", user.compact, handles[8]))
        self.let_go()
        for job in jobs:
            user.wait_job(job)
        user.compact(handles[8])

    def reading(self, client, path, method, *arguments):
        """A call that only reads the image, and whose worker waits -> (call, what lets that worker go on, what closes the
        handle). Others are not held."""
        handle = client.open(path, 0, version=2, get_info_only=True)
        self.hold_workers()
        signature = "(ua{sv})" if arguments else "(a{sv})"
        call = client.begin(handle, HANDLE, method, signature, *arguments, {})
        return call, self.take_waiting(self.hold), lambda: client.close_handle(handle)

    def take_waiting(self, pipe):
        """Waits for a worker at the pipe; others are not held from then on -> what lets it go on"""
        end = []

        def waits():
            try:
                end.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                return False
            return True

        def go_on():
            if end:
                os.close(end.pop())

        self.bed.wait(waits, "a worker that waits")
        os.unlink(pipe)
        self.addCleanup(go_on)
        return go_on

    def public_image(self):
        """Of one user, and to be read by others."""
        path = self.image(self.connect("vd-first"), self.folder("vd-first"))
        os.chmod(path, 0o644)
        return path

    def overtaken(self, change, method, *arguments):
        path = self.public_image()
        handle = self.root.open(path, 0, version=2)
        call, go_on, close = self.reading(self.connect("vd-second"), path, method, *arguments)
        change(handle)
        go_on()
        self.assertIn("ask again", self.assertBusError("VhdInvalidState", call.result))
        close()
        return handle

    def test_reading_keeps_nobody_from_changing(self):
        handle = self.overtaken(lambda handle: self.root.compact(handle), "GetVirtualDiskInformation", 12)
        self.assertIn("FragmentationPercentage", self.root.info(handle, 12))

    def test_reading_keeps_nobody_from_attaching(self):
        handle = self.overtaken(self.root.attach, "EnumerateVirtualDiskMetadata")
        self.root.detach(handle)

    def test_reading_beside_reading(self):
        path = self.public_image()
        call, go_on, close = self.reading(self.connect("vd-second"), path, "GetVirtualDiskInformation", 12)
        handle = self.root.open(path, 0, version=2)
        self.assertIn("FragmentationPercentage", self.root.info(handle, 12))
        self.root.attach(handle, 1)
        self.assertIn("FragmentationPercentage", self.root.info(handle, 12))
        go_on()
        self.assertIn("FragmentationPercentage", call.result()[0])
        close()
        self.root.detach(handle)

    def blind(self):
        """No image can be looked at -> what ends that"""
        path = self.hold + ".blind"
        with open(path, "w"):
            pass
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        return lambda: os.unlink(path)

    def look(self, path):
        self.root.close_handle(self.root.open(path, 0, version=2, get_info_only=True))

    def test_image_that_could_not_be_looked_at_afterwards(self):
        path = self.image()
        handle = self.root.open(path, 0, version=2)
        see = self.blind()
        self.assertBusError("WorkerLost", self.root.expand, handle, 128 * MIB)
        see()
        for call in (lambda: self.root.expand(handle, 192 * MIB), lambda: self.root.attach(handle)):
            self.assertIn("open it again", self.assertBusError("FileChanged", call))
        self.look(path)
        self.assertEqual(self.root.info(handle, 1)["VirtualSize"], 128 * MIB)
        self.root.expand(handle, 192 * MIB)

    def test_parent_that_may_be_another_one_now(self):
        first, second = self.image(name="first.vhdx"), self.image(name="second.vhdx")
        child = os.path.join(self.dir, "child.vhdx")
        self.root.close_handle(self.root.create(child, 0, parent_path=first))
        handle = self.root.open(child, 0, version=2)
        other = self.root.open(second, 0, version=2, get_info_only=True)
        linkage = self.root.info(other, 2)["Identifier"]
        self.root.close_handle(other)
        see = self.blind()
        self.assertBusError("WorkerLost", self.root.set_info, handle, 7, LinkageId=linkage, ParentFilePath=second)
        see()
        self.look(child)
        self.assertIn("without its parents", self.assertBusError("VhdInvalidState", self.root.attach, handle))

    def test_service_killed(self):
        handle, job, path = self.compacting(job="lost")
        self.bed.kill_daemon()
        self.let_go()
        self.bed.start_daemon()
        self.interrupted(job, path)

    def test_service_ended(self):
        handle, job, path = self.compacting(job="lost")
        self.bed.stop_daemon()
        self.let_go()
        self.bed.start_daemon()
        self.interrupted(job, path)

    def interrupted(self, job, path):
        found = self.root.properties(job, JOB)
        self.assertEqual((found["State"], found["Operation"], found["Path"]), ("failed", "compact", path))
        self.assertIn("the service was restarted", self.assertBusError("OperationAborted", self.root.wait_job, job))
        # The kernel ends what the worker's ring had under way after the process.
        self.bed.wait(lambda: self.is_let_go(path), "the end of the worker")
        self.assert_usable(path)

    def test_worker_killed(self):
        handle, job, path = self.compacting()
        self.bed.wait(lambda: self.worker() is not None, "a worker")
        os.kill(self.worker(), 9)
        self.let_go()
        self.assertBusError("WorkerLost", self.root.wait_job, job)
        self.assertEqual(self.state(job), "failed")
        self.root.compact(handle)

    def worker(self):
        """The one that waits: still the shell, under the worker's name. Those before it may not have ended yet."""
        def waits(pid):
            try:
                return testbed.read(f"/proc/{pid}/cmdline").startswith("/bin/sh\0")
            except OSError:
                return False

        return next((pid for pid, name in testbed.processes() if name == "virtdisk-worker" and waits(pid)), None)


if __name__ == "__main__":
    sys.exit(testbed.main())
