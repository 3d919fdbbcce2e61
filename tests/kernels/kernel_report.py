"""kernel_report.py: runs a plan on kernels, prints a line per group, and makes the table of docs/KERNELS.md."""
import collections
import itertools
import re

from kernel_archive import ArchiveError, image
from kernel_groups import ANY_SIGNAL, SETTINGS, plan_text
from kernel_vm import Machine, MachineError

BOOT_SECONDS = 300
KILLED = 128 + 9  # by init.sh, at the end of its time
Result = collections.namedtuple("Result", "kernel release run passed count seconds output")


def verify(kernel, release, run, event):
    # When a run is to end by a signal, all its lines are checked: a report has many.
    died = 128 < event.status < 160 and event.status != KILLED
    said = [event.last] if event.status == 0 else event.output
    found = next((match for match in (re.search(run.expect, line) for line in said) if match), None)
    passed = (died if run.status == ANY_SIGNAL else event.status == run.status) and found is not None
    count = int(found[1]) if passed and found.groups() and found[1].isdigit() else int(passed)
    wrong = [f"status {event.status}, said {event.last!r}, wanted {run.expect!r}"] if not passed else []
    return Result(kernel, release, run, passed, count, event.seconds, wrong + event.output + ([event.last] if passed else []))


def run_plan(kernel, runs, tests, say=print, ended=lambda result: None):
    """The results of all runs, also of those that never ended. When the machine ends before its time, the runs that
    were not made have failed. Each run that has ended is also given to `ended`."""
    results, machine = {}, None
    try:
        machine = Machine(image(kernel)[0], tests, plan_text(runs), kernel.processor)
        for event in machine.run(BOOT_SECONDS + sum(run.seconds for run in runs)):
            result = verify(kernel.name, machine.release, runs[event.number], event)
            results[event.number] = result
            say_run(result, say)
            ended(result)
        why = []
    except (MachineError, ArchiveError) as error:
        why = str(error).splitlines()
        say(f"{kernel.name}: {why[0]}")
    for number, run in enumerate(runs):
        if number not in results:
            results[number] = Result(kernel.name, machine and machine.release, run, False, 0, 0, ["never ended"])
    # A machine that died after its last run has failed, too: the last run gets the failure.
    if why:
        last = results[len(runs) - 1]
        results[len(runs) - 1] = last._replace(passed=False, output=last.output + why)
    return [results[number] for number in range(len(runs))]


def say_run(result, say):
    run = result.run
    verdict = f"ok, {result.count}" if result.passed else "FAILED"
    say(f"{result.kernel} {run.setting} {run.group} {run.variant}: {run.name}: {verdict} ({result.seconds} s)")


def groups(results):
    """{(kernel, setting, group, variant): [result]}, in the order of the plan."""
    found = collections.OrderedDict()
    for result in results:
        found.setdefault((result.kernel, result.run.setting, result.run.group, result.run.variant), []).append(result)
    return found


def summary(results):
    """A line per group, the output of the failed runs, and the verdict."""
    for key, members in groups(results).items():
        passed = sum(member.passed for member in members)
        checks = sum(member.count for member in members)
        verdict = "ok" if passed == len(members) else "FAILED"
        yield f"{' '.join(key)}: {passed} of {len(members)} programs, {checks} checks, {sum(m.seconds for m in members)} s: {verdict}"
    for result in results:
        if not result.passed:
            yield f"\n{result.kernel} {result.run.setting} {result.run.variant} {result.run.variables} {result.run.command}:"
            yield from ("    " + line for line in result.output)
    failed = sum(not result.passed for result in results)
    yield f"{len(results) - failed} passed, {failed} failed"


def cell(members, planned):
    passed, left = sum(member.passed for member in members), planned - len(members)
    if planned == 0:
        return ""
    text = str(passed) if passed == len(members) else f"**{passed} of {len(members)}**"
    return (text if members else "") + (f" ({left})" if left else "")


def table(results, runs, missing=()):
    """The table of docs/KERNELS.md: a row per kernel, variant and group, a column per setting: how many programs
    passed, of how many."""
    planned = collections.Counter((run.setting, run.group, run.variant) for run in runs)
    names = [setting.name for setting in SETTINGS if any(run.setting == setting.name for run in runs)]
    yield "| kernel | group | variant | " + " | ".join(names) + " |"
    yield "| --- " * (3 + len(names)) + "|"
    found = groups(results)
    releases = {result.kernel: result.release for result in results}
    rows = collections.OrderedDict.fromkeys((run.group, run.variant) for run in runs)  # also those never run
    for kernel, (group, variant) in itertools.product(releases, rows):
        cells = [cell(found.get((kernel, name, group, variant), []), planned[name, group, variant]) for name in names]
        yield f"| {releases[kernel]} | {group} | {variant} | " + " | ".join(cells) + " |"
    yield from (f"| {line} |" + " |" * (2 + len(names)) for line in missing)
    yield ""
    yield "What each kernel says when it is asked (kernel_probe.c):"
    yield ""
    yield from (f"- {result.release}: {result.output[0].removesuffix(' asked')}" for result in results if result.run.group == "probe")
