"""kernel_image.py: the file system from which a machine of kernel_vm.py boots: busybox, init.sh, test programs with
their libraries, the plan."""
import os
import re
import subprocess

import kernel_archive
from kernel_processor import foreign

HERE = os.path.dirname(os.path.abspath(__file__))


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


def names_of(path):
    """Names of the libraries with which the program or library is linked."""
    said = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True)
    return re.findall(r"\(NEEDED\).*\[(.*)\]", said.stdout)


def loaded(programs, processor):
    """{path in the machine: path here} of what the dynamic linker loads for the programs."""
    here = kernel_archive.programs(processor) if foreign(processor) else ""
    folders = [(folder, processor.root) for folder in processor.libraries] + [(here + "/usr/lib/aarch64-linux-gnu", here + "/usr")] * bool(here)
    found, left = {processor.loader.removeprefix(processor.root): processor.loader}, list(processor.opened)
    for program in programs:
        left += names_of(program)
    seen = set(os.path.basename(path) for path in programs) | {os.path.basename(processor.loader)}
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        place = next(((folder, root) for folder, root in folders if os.path.exists(os.path.join(folder, name))), None)
        if place is None:
            raise SystemExit(f"{name}: not in {', '.join(folder for folder, _ in folders)}")
        path = os.path.join(place[0], name)
        found[path.removeprefix(place[1])] = path
        left += names_of(path)
    return found


def write_image(out, tests, plan, processor):
    """tests: {name: path}, copied to /tests of the machine; plan: text, see init.sh."""
    busybox = (kernel_archive.programs(processor) if foreign(processor) else "") + "/bin/busybox"
    image = Image()
    image.folder("dev")
    image.entry("dev/console", 0o020600, device=(5, 1))
    image.copy("bin/busybox", busybox)
    image.copy("init", os.path.join(HERE, "init.sh"))
    for name, path in sorted(loaded(tests.values(), processor).items()):
        image.copy(name.lstrip("/"), path)
    for name, path in sorted(tests.items()):
        image.copy("tests/" + name, path)
    image.file("plan", plan.encode(), 0o100644)
    image.write(out)
