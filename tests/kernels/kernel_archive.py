"""kernel_archive.py: gets Debian's kernels, and keeps them in a cache outside the tree.

Only fetch() needs a network: it asks the Debian mirror that this machine's own apt uses, with lists and settings in a
scratch folder, so nothing of the machine's apt changes and no root is needed. A fetched kernel stays until
fetch(newest=True).
"""
import collections
import os
import pwd
import re
import shutil
import subprocess
import tempfile

from kernel_processor import AMD64, ARM64, foreign

# name: the name in tests and tables; suite: the archive's suite that has it; package: depends on the image. (Cloud:
# without drivers that qemu does not need.) A kernel that is not `wanted` is used where it can be fetched, and reported as
# missing elsewhere.
Kernel = collections.namedtuple("Kernel", "name suite wanted processor package")
KERNELS = (
    Kernel("debian11", "bullseye", False, AMD64, "linux-image-cloud-amd64"),
    Kernel("debian12", "bookworm", True, AMD64, "linux-image-cloud-amd64"),
    Kernel("debian13", "trixie", True, AMD64, "linux-image-cloud-amd64"),
    Kernel("newest", "trixie-backports", True, AMD64, "linux-image-cloud-amd64"),
    Kernel("arm64", "bookworm", False, ARM64, "linux-image-cloud-arm64"),
    Kernel("arm64-16k", "trixie", False, ARM64, "linux-image-arm64-16k"),
)
# What programs of a foreign processor need beside the libraries for cross-compiling.
FOREIGN_PACKAGES = ("busybox-static", "libcmocka0", "libcmocka-dev")
SUITES = {kernel.suite for kernel in KERNELS} | {"oldstable", "stable", "testing", "unstable", "sid", "forky"}
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


class ArchiveError(Exception):
    """A kernel cannot be fetched; the text gives the reason."""


def cache():
    home = pwd.getpwuid(os.getuid()).pw_dir  # tests have no HOME
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache"), "hakmem", "kernels")


def image(kernel):
    """(path of the image, release) of a fetched kernel."""
    folder = os.path.join(cache(), kernel.name)
    found = [name for name in os.listdir(folder) if name.startswith("vmlinuz-")] if os.path.isdir(folder) else []
    if not found:
        raise ArchiveError(f"{kernel.name}: not in {cache()}: run tools/kernels --fetch, which needs a network")
    return os.path.join(folder, found[0]), found[0][len("vmlinuz-"):]


def programs(processor):
    """The folder with programs and libraries of a foreign processor's packages."""
    return os.path.join(cache(), "programs-" + processor.name)


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode:
        raise ArchiveError(f"{' '.join(command[:2])} ...: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout


def mirror():
    """The address of the Debian mirror in this machine's sources of apt. (Origin is empty before the first apt-get
    update.)"""
    fields = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    for line in run("apt-get", "indextargets", "--format", fields, "Created-By: Packages").splitlines():
        origin, address, release, component = line.split("|")
        if origin in ("Debian", "") and component == "main" and release in SUITES:
            return address
    raise ArchiveError("no Debian mirror in this machine's sources of apt")


class Apt:
    """An apt of our own in a scratch folder: sources, lists and downloads."""

    def __init__(self, scratch, architecture="amd64"):
        self.scratch, self.architecture = scratch, architecture
        for folder in ("lists/partial", "archives/partial", "debs"):
            os.makedirs(os.path.join(scratch, folder))
        open(self.path("status"), "w", encoding="ascii").close()
        if os.getuid() == 0:  # apt downloads as a user of its own
            os.chmod(scratch, 0o755)
            shutil.chown(self.path("debs"), "_apt")

    def path(self, *names):
        return os.path.join(self.scratch, *names)

    def command(self, program, *words, **more):
        places = {"Dir::Etc::SourceList": self.path("sources"), "Dir::Etc::SourceParts": "/dev/null", "Dir::State": self.scratch,
                  "Dir::State::Lists": self.path("lists"), "Dir::State::status": self.path("status"), "Dir::Cache": self.scratch}
        options = [word for name, value in places.items() for word in ("-o", f"{name}={value}")]
        return run(program, *options, "-o", "APT::Architecture=" + self.architecture, "-o", "Acquire::Retries=3", *words, **more)

    def update(self, address, suite):
        with open(self.path("sources"), "w", encoding="utf-8") as sources:
            sources.write(f"deb [arch={self.architecture} signed-by={KEYS}] {address} {suite} main\n")
        self.command("apt-get", "-qq", "update", "-o", "APT::Update::Error-Mode=any")

    def depends(self, package, prefix):
        """The package with that prefix that `package` depends on, or None."""
        text = self.command("apt-cache", "show", "--no-all-versions", package)
        found = re.search(rf"^Depends:.*?\b({prefix}[0-9]\S*)", text, re.MULTILINE)
        return found and found[1]

    def download(self, package):
        self.command("apt-get", "-qq", "download", package, cwd=self.path("debs"))
        return self.path("debs", next(name for name in os.listdir(self.path("debs")) if name.startswith(package)))


def unpack_image(apt, package):
    """The path of the kernel's file. From about 7.2 on the image's package only depends on the package that has the
    file."""
    while package:
        run("dpkg-deb", "-x", apt.download(package), apt.path("image"))
        for folder, _, files in os.walk(apt.path("image")):
            for name in files:
                if name.startswith("vmlinuz"):
                    return os.path.join(folder, name)
        package = apt.depends(package, "linux-binary-")
    raise ArchiveError("the package has no vmlinuz")


def fetch_programs(apt, folder):
    os.makedirs(folder + ".part", exist_ok=True)
    for package in FOREIGN_PACKAGES:
        run("dpkg-deb", "-x", apt.download(package), folder + ".part")
    os.rename(folder + ".part", folder)


def fetch_one(kernel, address):
    with tempfile.TemporaryDirectory() as scratch:
        apt = Apt(scratch, kernel.processor.name)
        apt.update(address, kernel.suite)
        package = apt.depends(kernel.package, "linux-image-")
        if not package:
            raise ArchiveError(f"{kernel.package} of {kernel.suite} depends on no image")
        if foreign(kernel.processor) and not os.path.isdir(programs(kernel.processor)):
            fetch_programs(apt, programs(kernel.processor))
        path = unpack_image(apt, package)
        folder = os.path.join(cache(), kernel.name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        shutil.copy(path, os.path.join(folder, "part"))
        os.rename(os.path.join(folder, "part"), os.path.join(folder, "vmlinuz-" + package[len("linux-image-"):]))


def is_here(kernel):
    try:
        return bool(image(kernel)) and (not foreign(kernel.processor) or os.path.isdir(programs(kernel.processor)))
    except ArchiveError:
        return False


def named(names=None):
    """The kernels with these names; without names, those of this machine's processor."""
    return [kernel for kernel in KERNELS if (kernel.name in names if names else not foreign(kernel.processor))]


def fetch(names=None, newest=False):
    """Fetches missing kernels, or all anew. Yields a line for each kernel; raises at the end when one is missing that is
    wanted or was named. Uses no network when all of these are here."""
    missing, kernels = [], named(names)
    if not newest and all(is_here(kernel) for kernel in kernels if kernel.wanted or names):
        yield from (f"{kernel.name}: {image(kernel)[1]}" for kernel in kernels if is_here(kernel))
        return
    for kernel in kernels:
        if newest or not is_here(kernel):
            try:
                fetch_one(kernel, mirror())
            except ArchiveError as error:
                missing += [kernel.name] if kernel.wanted or names else []
                yield f"{kernel.name}: cannot be had: {error}"
                continue
        yield f"{kernel.name}: {image(kernel)[1]}"
    if missing:
        raise ArchiveError(f"missing: {', '.join(missing)}")
