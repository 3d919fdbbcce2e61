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

# name: the name in tests and tables; suite: the archive's suite that has it. A kernel that is not `wanted` is used
# where it can be fetched, and reported as missing elsewhere.
Kernel = collections.namedtuple("Kernel", "name suite wanted")
KERNELS = (
    Kernel("debian11", "bullseye", False),
    Kernel("debian12", "bookworm", True),
    Kernel("debian13", "trixie", True),
    Kernel("newest", "trixie-backports", True),
)
SUITES = {kernel.suite for kernel in KERNELS} | {"oldstable", "stable", "testing", "unstable", "sid", "forky"}
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGE = "linux-image-cloud-amd64"  # without drivers that qemu does not need; depends on the image


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

    def __init__(self, scratch):
        self.scratch = scratch
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
        return run(program, *options, "-o", "APT::Architecture=amd64", "-o", "Acquire::Retries=3", *words, **more)

    def update(self, address, suite):
        with open(self.path("sources"), "w", encoding="utf-8") as sources:
            sources.write(f"deb [arch=amd64 signed-by={KEYS}] {address} {suite} main\n")
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


def fetch_one(kernel, address):
    with tempfile.TemporaryDirectory() as scratch:
        apt = Apt(scratch)
        apt.update(address, kernel.suite)
        package = apt.depends(PACKAGE, "linux-image-")
        if not package:
            raise ArchiveError(f"{PACKAGE} of {kernel.suite} depends on no image")
        path = unpack_image(apt, package)
        folder = os.path.join(cache(), kernel.name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        shutil.copy(path, os.path.join(folder, "part"))
        os.rename(os.path.join(folder, "part"), os.path.join(folder, "vmlinuz-" + package[len("linux-image-"):]))


def is_here(kernel):
    try:
        return bool(image(kernel))
    except ArchiveError:
        return False


def fetch(newest=False):
    """Fetches missing kernels, or all anew. Yields a line for each kernel; raises at the end when a wanted one is
    missing. Uses no network when all wanted ones are here."""
    missing = []
    if not newest and all(is_here(kernel) for kernel in KERNELS if kernel.wanted):
        yield from (f"{kernel.name}: {image(kernel)[1]}" for kernel in KERNELS if is_here(kernel))
        return
    for kernel in KERNELS:
        if newest or not is_here(kernel):
            try:
                fetch_one(kernel, mirror())
            except ArchiveError as error:
                missing += [kernel.name] if kernel.wanted else []
                yield f"{kernel.name}: cannot be had: {error}"
                continue
        yield f"{kernel.name}: {image(kernel)[1]}"
    if missing:
        raise ArchiveError(f"missing: {', '.join(missing)}")
