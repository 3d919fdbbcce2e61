"""kernel_vm.py: boots a kernel in qemu, in software, and reads what init.sh writes to the second serial line.

A machine that writes nothing has failed: the verdict counts only written lines. Machine.run() yields an event for each
run of the plan. A panic ends the machine, because the kernel is told to reboot on one and qemu is told not to."""
import collections
import os
import re
import subprocess
import tempfile
import time

from kernel_image import write_image

MEMORY_MIB = 1536
# No watchdogs: a busy host may stop the machine for seconds. Panics and oopses end it at once.
# An unknown NAME=VALUE becomes a variable of init.sh.
COMMAND_LINE = "console={console} results={results} quiet loglevel=5 panic=-1 oops=panic nowatchdog mitigations=off random.trust_cpu=on"
# The kernel's messages when it runs out of memory, or the whole machine does.
TROUBLE = re.compile(r"Kernel panic|Oops|BUG: |general protection|(?<!cgroup )[Oo]ut of memory: Killed")

Event = collections.namedtuple("Event", "number status seconds last output")


class MachineError(Exception):
    """The machine did not do what it was told; the text describes what it did."""


class Machine:
    """One boot of one kernel."""

    def __init__(self, image, tests, plan, processor):
        self.image, self.tests, self.plan, self.processor = image, tests, plan, processor
        self.release, self.setting, self.done = None, None, False
        self.stray = []  # init.sh's own complaints

    def command(self, scratch):
        line = COMMAND_LINE.format(console=self.processor.console, results=self.processor.results)
        return [self.processor.qemu, "-accel", "tcg,thread=multi", "-smp", "2", "-m", f"{MEMORY_MIB}M", "-kernel", self.image,
                "-initrd", os.path.join(scratch, "initrd"), "-append", line, "-nodefaults", "-no-user-config", "-display", "none",
                "-no-reboot", "-net", "none", "-serial", "file:" + os.path.join(scratch, "console"), *self.processor.options]

    def run(self, limit):
        """Yields an Event for each run of the plan that ended; raises MachineError when the machine does not finish in `limit` seconds."""
        with tempfile.TemporaryDirectory() as scratch:
            write_image(os.path.join(scratch, "initrd"), self.tests, self.plan, self.processor)
            process = subprocess.Popen(["timeout", str(limit), *self.command(scratch)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT)
            began = time.monotonic()
            try:
                yield from self.events(process.stdout)
                status = process.wait()
            finally:
                process.terminate()
                process.wait()
            self.verify(status, time.monotonic() - began, os.path.join(scratch, "console"))

    def events(self, lines):
        last, output = "", []
        for line in lines:
            line = line.decode(errors="replace").rstrip("\r\n")
            if line.startswith("= "):
                last = line[2:]
            elif line.startswith("@end "):
                number, status, seconds = map(int, line.split()[1:])
                yield Event(number, status, seconds, last, output)
                last, output = "", []
            elif not self.follows(line):
                output.append(line[2:] if line.startswith("| ") else line)
        self.stray += output

    def follows(self, line):
        """Takes a line about the machine itself."""
        word, _, rest = line.partition(" ")
        if word == "@start":
            self.release = rest
        elif word == "@setting":
            self.setting = rest
        elif word == "@done":
            self.done = True
        return word in ("@start", "@setting", "@done")

    def verify(self, status, seconds, console):
        text = ""
        if os.path.exists(console):
            with open(console, encoding="utf-8", errors="replace") as lines:
                text = lines.read()
        trouble = TROUBLE.search(text)
        if trouble or not self.done or status or self.stray:
            why = f"the kernel says: {trouble[0]}" if trouble else "no end marker" if not self.done else f"qemu ended with status {status}"
            said = "\n".join(self.stray + text.splitlines()[-25:])
            raise MachineError(f"{why} (release {self.release}, setting {self.setting}, {seconds:.0f} s)\n{said}")
