# SPDX-License-Identifier: LGPL-2.1-or-later
"""A test is an executable test-*.sh or test-*.py; comment lines at its top say what it needs."""
import collections
import glob
import os
import re

KERNEL = "6.12"  # where a script does not name another
MEMORY = 2048  # MiB
DEADLINE_CEILING = 600  # seconds
IMAGES = ("base", "desktop")
HEADER = re.compile(r"#\s*(deadline|boot|image|kernel|memory|build)\s*:\s*(.*?)\s*$")

# boot: "shared" or "own"; build: paths below the build directory that the script finds below $VM_BUILD. A script that names several
# kernels is as many Scripts.
Script = collections.namedtuple("Script", "name path deadline boot kernel memory build image", defaults=("base",))


class BadHeader(ValueError):
    """What a script asks for cannot be understood."""


def number(key, value, ceiling):
    if not re.fullmatch(r"[0-9]{1,5}", value) or not 0 < int(value) <= ceiling:
        raise BadHeader(f"{key}: '{value}' is not a number from 1 to {ceiling}")
    return int(value)


def parse(path, text):
    """-> a Script for each kernel. Only the comment at the top counts."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        match = HEADER.match(line)
        if match:
            key, value = match.groups()
            if key in found:
                raise BadHeader(f"{key}: stands there twice")
            found[key] = value
    if "deadline" not in found:
        raise BadHeader("there is no line '# deadline: SECONDS'")
    if found.get("boot", "shared") not in ("shared", "own"):
        raise BadHeader(f"boot: '{found['boot']}' is neither shared nor own")
    if found.get("image", IMAGES[0]) not in IMAGES:
        raise BadHeader(f"image: '{found['image']}' is none of {', '.join(IMAGES)}")
    kernels = found.get("kernel", KERNEL).split()
    for kernel in kernels or [""]:
        if not re.fullmatch(r"[0-9]+\.[0-9]+", kernel):
            raise BadHeader(f"kernel: '{kernel}' is not a version such as {KERNEL}")
    script = Script(re.sub(r"\.\w+$", "", os.path.basename(path)), path,
                    number("deadline", found["deadline"], DEADLINE_CEILING), found.get("boot", "shared"),
                    kernels[0], number("memory", found.get("memory", str(MEMORY)), 8192),
                    tuple(found.get("build", "").split()), found.get("image", IMAGES[0]))
    return [script._replace(kernel=kernel) for kernel in kernels]


def load(path):
    with open(path) as file:
        text = file.read()
    try:
        return parse(path, text)
    except BadHeader as error:
        raise BadHeader(f"{path}: {error}") from None


def find(folder):
    """The paths of all tests of the level."""
    return sorted(path for kind in ("sh", "py") for path in glob.glob(os.path.join(folder, f"test-*.{kind}")))


def boots(scripts):
    """Which scripts run in which boot: those that share a kernel, an image and a memory size share one unless they ask not to."""
    shared, own = {}, []
    for script in scripts:
        if script.boot == "own":
            own.append([script])
        else:
            shared.setdefault((script.kernel, script.image, script.memory), []).append(script)
    return [*(shared[key] for key in sorted(shared)), *own]
