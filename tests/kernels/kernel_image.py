"""kernel_image.py: the file system from which a machine of kernel_vm.py boots: busybox, init.sh, test programs with
their libraries, the plan."""
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
BUSYBOX = "/bin/busybox"
# Loaded while a program runs, so no program names them: the library of pthread_cancel, and the one that the limits
# programs open.
OPENED = ("/lib/x86_64-linux-gnu/libgcc_s.so.1", "/lib/x86_64-linux-gnu/libm.so.6")
LOADER = "/lib64/ld-linux-x86-64.so.2"


class Image:
    """An archive of the "newc" format of cpio, which every kernel unpacks."""

    def __init__(self):
        self.parts, self.folders, self.number = [], {""}, 0

    def entry(self, name, mode, data=b"", device=(0, 0)):
        self.number += 1
        encoded = name.encode() + b"\0"
        fields = (self.number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        self.parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]

    def folder(self, name):
        if name not in self.folders:
            self.folder(os.path.dirname(name))
            self.folders.add(name)
            self.entry(name, 0o040755)

    def file(self, name, data, mode=0o100755):
        self.folder(os.path.dirname(name))
        self.entry(name, mode, data)

    def copy(self, name, path):
        with open(path, "rb") as source:
            self.file(name, source.read())

    def write(self, path):
        self.entry("TRAILER!!!", 0)
        with open(path, "wb") as out:
            out.writelines(self.parts)


def loaded(programs):
    """Paths of the files that the dynamic linker loads for the programs."""
    found = {LOADER, *OPENED}
    for program in programs:
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
        if "not found" in said.stdout:
            raise SystemExit(f"{program}: {said.stdout}")
        found.update(re.findall(r"=> (/\S+)", said.stdout))
    return sorted(found)


def write_image(out, tests, plan):
    """tests: {name: path}, copied to /tests of the machine; plan: text, see init.sh."""
    image = Image()
    image.folder("dev")
    image.entry("dev/console", 0o020600, device=(5, 1))
    image.copy("bin/busybox", BUSYBOX)
    image.copy("init", os.path.join(HERE, "init.sh"))
    for path in loaded(tests.values()):
        image.copy(path.lstrip("/"), path)
    for name, path in sorted(tests.items()):
        image.copy("tests/" + name, path)
    image.file("plan", plan.encode(), 0o100644)
    image.write(out)
