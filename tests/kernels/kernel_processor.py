"""kernel_processor.py: the processors that qemu stands for, and what a machine with each of them is made of."""
import collections
import os

# name: Debian's name of the architecture. options: qemu's, the second serial line included; `results` is how the
# kernel names that line, `console` the first one. libraries: the folders in which this machine has the libraries of the
# processor's programs, below `root`. opened: libraries that are loaded while a program runs, so no program names them:
# that of pthread_cancel, and the one that the limits programs open. build: options of bazel.
Processor = collections.namedtuple("Processor", "name qemu options console results root libraries loader opened build")
AMD64 = Processor(
    "amd64", "qemu-system-x86_64", ("-cpu", "max,la57=off", "-serial", "stdio"), "ttyS0", "ttyS1", "",
    ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"), "/lib64/ld-linux-x86-64.so.2", ("libgcc_s.so.1", "libm.so.6"), ())
# Debian has no kernel of it with pages of 64 KiB.
ARM64 = Processor(
    "arm64", "qemu-system-aarch64", ("-M", "virt,mte=on", "-cpu", "max", "-chardev", "stdio,id=results", "-device", "pci-serial,chardev=results"),
    "ttyAMA0", "ttyS0", "/usr/aarch64-linux-gnu", ("/usr/aarch64-linux-gnu/lib",), "/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1",
    ("libgcc_s.so.1", "libm.so.6"), ("--config=arm64",))


def foreign(processor):
    """True when this machine has none of Debian's packages for the processor: they come from kernel_archive's cache."""
    return processor.name != {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine)
