# SPDX-License-Identifier: LGPL-2.1-or-later
"""
The guest's root image and kernels, from Debian packages. The mirror is the one that the host's apt is set up with; the
host's own apt state is not touched.
"""
import glob
import lzma
import os
import platform
import re
import shutil
import subprocess

import cache

HERE = os.path.dirname(os.path.realpath(__file__))
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ROOT_SIZE = "6G"  # sparse
ROOM = 2 << 30  # bytes that a build needs at most for a while
DEADLINE = 1800  # seconds, for each program that builds
TOOLS = ("qemu-system-x86_64", "mmdebstrap", "busybox", "cpio", "kmod", "depmod", "mkfs.ext4", "apt-get", "dpkg")
# What a kernel may have as modules and the guest needs before it has its root.
EARLY_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "ext4")
NETWORK = re.compile(r"Could not resolve|Temporary failure|Unable to connect|Could not connect|Connection (refused|timed out)|"
                     r"Network is unreachable|Failed to fetch|Unable to fetch|No space left|Cannot initiate the connection")


class Unavailable(Exception):
    """The level cannot run here, and nothing in the tree is at fault: it is skipped with this reason."""


def run(argv, what, **more):
    """The output; a failure that speaks of the network or of room means Unavailable."""
    try:
        result = subprocess.run(argv, **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
                                         "text": True, "errors": "replace", "timeout": DEADLINE, **more}, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{what} took more than {DEADLINE} s") from None
    if result.returncode != 0:
        lines = (result.stdout + (result.stderr or "")).strip().splitlines()
        for line in lines:
            if NETWORK.search(line):
                raise Unavailable(f"{what}: {line.strip()}")
        raise RuntimeError(f"{what} failed ({result.returncode}):\n" + "\n".join(lines[-20:]))
    return result.stdout


def check_host():
    """Raises Unavailable where the guest cannot run, whether its image is there or not."""
    if platform.machine() != "x86_64":
        raise Unavailable(f"the guest is x86-64, this machine is {platform.machine()}")
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        raise Unavailable(f"not installed: {', '.join(missing)} (data/packages, set vm)")


def codename():
    """The Debian release of this machine; the guest is of the same, since the programs under test were built here."""
    release = platform.freedesktop_os_release()
    name = release.get("VERSION_CODENAME")
    if release.get("ID") != "debian" or not name:
        raise Unavailable(f"the guest is made of Debian's packages, and this is {release.get('NAME', 'not Debian')}")
    return name


def check_build(folder):
    if os.getuid() != 0:
        raise Unavailable("the guest's image is not built yet, which needs root once")
    if shutil.disk_usage(folder).free < ROOM:
        raise Unavailable(f"less than {ROOM >> 30} GiB free in {folder}")


# -- apt


class Apt:
    """apt with a state of its own below folder. lines: its sources; None: those of the host."""

    def __init__(self, folder, lines=None):
        self.options = []
        for option, name in (("Dir::State::Lists", "lists/partial"), ("Dir::Cache", "cache/archives/partial")):
            os.makedirs(os.path.join(folder, name), exist_ok=True)
            self.options += ["-o", f"{option}={os.path.join(folder, name.split('/', maxsplit=1)[0])}"]
        if lines is not None:
            sources = os.path.join(folder, "sources.list")
            with open(sources, "w") as file:
                file.writelines(f"{line}\n" for line in lines)
            self.options += ["-o", f"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=/dev/null"]
        self.options += ["-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"]
        # Of the host's sources some may be out of order and no concern of ours.
        how = ["--error-on=any"] if lines is not None else []
        self.complaints = run(["apt-get", *self.options, "update", "-qq", *how], "fetching lists of packages", stderr=subprocess.STDOUT)

    def targets(self):
        """(URI, release, component) of each list of packages."""
        text = run(["apt-get", *self.options, "indextargets", "--format", "$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)",
                    "Created-By: Packages"], "apt-get indextargets")
        return sorted({tuple(line.split()[1:]) for line in text.splitlines() if len(line.split()) == 4})

    def names(self):
        return set(run(["apt-cache", *self.options, "pkgnames"], "apt-cache").split())

    def download(self, names, folder):
        run(["apt-get", *self.options, "download", *names], "downloading packages", cwd=folder)
        return sorted(glob.glob(os.path.join(folder, "*.deb")))


def source(uri, release, components):
    signed = f" [signed-by={KEYRING}]" if os.path.exists(KEYRING) else ""
    return f"deb{signed} {uri} {release} {' '.join(components)}"


def host_sources(folder):
    """(the mirror's URI, source lines of this release with its updates)."""
    name = codename()
    apt = Apt(os.path.join(folder, "host"))
    targets = [target for target in apt.targets() if target[2] == "main"]
    mirrors = [uri for uri, release, _ in targets if release == name]
    if not mirrors:
        why = next((line for line in apt.complaints.splitlines() if NETWORK.search(line)), "it is not among apt's sources here")
        raise Unavailable(f"no list of packages of '{name} main': {why}")
    wanted = (name, f"{name}-updates", f"{name}-security")
    return mirrors[0], [source(uri, release, ["main"]) for uri, release, _ in targets if release in wanted]


def apt_settings():
    """What of the host's apt settings says how to reach the mirror, as lines of a configuration file."""
    text = run(["apt-config", "dump"], "apt-config")
    return "".join(f"{line}\n" for line in text.splitlines()
                   if re.match(r'Acquire::(https?|Retries|Check-Date|Check-Valid-Until|ForceIPv[46])\b.* ".+";', line))


# -- the root image


def packages(text):
    """(those that must be there, those that may)."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [line for line in lines if not line.startswith("?")], [line[1:] for line in lines if line.startswith("?")]


def package_lists(variant):
    """The desktop's has all that the base has."""
    return [os.path.join(HERE, name) for name in ("packages", "packages.desktop")[:1 if variant == "base" else 2]]


def root_key(variant):
    return cache.key(codename(), platform.machine(), *cache.contents(*package_lists(variant), os.path.realpath(__file__)))


def listed(variant):
    """packages() of all lists of this variant."""
    needed, wished = [], []
    for text in cache.contents(*package_lists(variant)):
        for all_of_them, these in zip((needed, wished), packages(text.decode())):
            all_of_them += these
    return needed, wished


def build_root(folder, variant):
    check_build(folder)
    scratch = os.path.join(folder, "scratch")
    _, lines = host_sources(scratch)
    needed, wished = listed(variant)
    have = Apt(os.path.join(scratch, "release"), lines).names()
    settings, tree = os.path.join(scratch, "apt.conf"), os.path.join(scratch, "root")
    with open(settings, "w") as file:
        file.write(apt_settings())
    run(["mmdebstrap", "--variant=minbase", "--mode=root", f"--aptopt={settings}", "--dpkgopt=force-unsafe-io",
         "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
         "--dpkgopt=path-exclude=/usr/share/locale/*",
         f"--include={','.join(needed + [name for name in wished if name in have])}", codename(), tree, *lines],
        "building the guest's root")
    # No journal on the disk: it is thrown away after each boot.
    run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1,root_owner=0:0", "-L", "root", "-d", tree,
         os.path.join(folder, "root.img"), ROOT_SIZE], "mkfs.ext4")
    shutil.rmtree(scratch)


def root(variant="base"):
    """The path of the root image of that variant: "base", or "desktop"."""
    kind, name = ("root" if variant == "base" else variant), root_key(variant)
    found = cache.find(kind, name) or cache.make(kind, name, lambda folder: build_root(folder, variant))
    return os.path.join(found, "root.img")


# -- kernels


def kernel_packages(names, version):
    """The packages of the newest kernel of that version for virtual machines, or none. Newer ones come in two parts."""
    found = {}
    for name in names:
        match = re.fullmatch(r"linux-(image|binary|modules)-(" + re.escape(version) + r"(?:[.~+][\w.+~]*(?:-\d+)?)?)-cloud-amd64", name)
        if match:
            found.setdefault(match.group(2), {})[match.group(1)] = name
    for release in sorted(found, key=lambda text: [int(part) for part in re.findall(r"\d+", text)], reverse=True):
        parts = found[release]
        if "binary" in parts and "modules" in parts:
            return [parts["binary"], parts["modules"]]
        if "image" in parts:
            return [parts["image"]]
    return []


def find_kernel(scratch, version):
    """-> (apt, names). This release first, then its backports, then what comes after it."""
    mirror, lines = host_sources(scratch)
    offers = ((codename(), lines), (f"{codename()}-backports", None), ("unstable", None))
    problem = None
    for suite, known in offers:
        try:
            apt = Apt(os.path.join(scratch, suite), known or [source(mirror, suite, ["main"])])
        except (Unavailable, RuntimeError) as error:  # not every release has backports
            problem = error
            continue
        names = kernel_packages(apt.names(), version)
        if names:
            return apt, names
    reason = f" ({problem})" if problem else ""
    raise Unavailable(f"no kernel {version} in {', '.join(suite for suite, _ in offers)}{reason}")


def copy_module(path, target):
    if path.endswith(".xz"):
        with lzma.open(path) as packed, open(target, "wb") as file:
            shutil.copyfileobj(packed, file)
    elif path.endswith(".zst"):
        run(["zstd", "-q", "-d", path, "-o", target], "zstd")
    else:
        shutil.copy(path, target)


def early_modules(modules, folder):
    """Copies the modules that the guest needs early, with what they depend on, named in the order of loading."""
    with open(os.path.join(modules, "modules.dep")) as file:
        depends = {path.strip(): rest.split() for path, _, rest in (line.partition(":") for line in file)}
    order = []
    for wanted in EARLY_MODULES:
        for path in depends:
            if os.path.basename(path).split(".")[0].replace("-", "_") == wanted:
                order += [name for name in [*reversed(depends[path]), path] if name not in order]
    os.mkdir(folder)
    for number, path in enumerate(order):
        copy_module(os.path.join(modules, path), os.path.join(folder, f"{number:02}-{os.path.basename(path).split('.')[0]}.ko"))


def build_kernel(folder, version):
    check_build(folder)
    scratch = os.path.join(folder, "scratch")
    apt, names = find_kernel(scratch, version)
    tree, debs = os.path.join(scratch, "tree"), os.path.join(scratch, "debs")
    os.mkdir(debs)
    for deb in apt.download(names, debs):
        run(["dpkg", "-x", deb, tree], "dpkg")
    modules, = glob.glob(f"{tree}/lib/modules/*") + glob.glob(f"{tree}/usr/lib/modules/*")
    kernel, = glob.glob(f"{tree}/boot/vmlinuz-*") or glob.glob(f"{modules}/vmlinuz")
    release = os.path.basename(modules)
    shutil.copy(kernel, os.path.join(folder, "vmlinuz"))
    base = os.path.join(scratch, "base")
    os.makedirs(os.path.join(base, "lib/modules"))
    os.rename(modules, os.path.join(base, "lib/modules", release))
    run(["depmod", "-b", base, release], "depmod")
    early_modules(os.path.join(base, "lib/modules", release), os.path.join(folder, "early"))
    size = int(run(["du", "-sm", base], "du").split()[0])
    run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-L", "modules", "-d", os.path.join(base, "lib/modules"),
         os.path.join(folder, "modules.img"), f"{size * 5 // 4 + 32}M"], "mkfs.ext4")
    shutil.rmtree(scratch)


def kernel(version):
    """A folder with vmlinuz, modules.img and early/."""
    kind = f"kernel-{version}"
    name = cache.key(codename(), version, *cache.contents(os.path.realpath(__file__)))
    return cache.find(kind, name) or cache.make(kind, name, lambda folder: build_kernel(folder, version))
