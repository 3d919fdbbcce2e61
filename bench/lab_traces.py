#!/usr/bin/env python3
"""lab_traces: the command line of tools/traces. Records the allocations of real programs, for `tools/bench --traces`.

Each program of lab_programs runs once with the recorder preloaded. Programs that start others leave several files; the
largest is kept as NAME.trace. Traces are large and quickly made again, so they are not committed.
"""
import glob
import json
import os
import subprocess
import tempfile

import lab_cli
import lab_peers
import lab_programs
import lab_table


def record(name, spec, recorder, folder, out):
    """Records one program; the path of its trace."""
    prefix = os.path.join(folder, name)
    contestant = lab_peers.Contestant("recorder", recorder, {"HAKMEM_TRACE_FILE": prefix})
    run = lab_programs.run_program(name, spec[2], spec[3], contestant, folder)
    files = [f for f in glob.glob(prefix + ".*") if f[len(prefix) + 1:].isdigit()]
    if "error" in run or not files:
        raise SystemExit(f"traces: {name}: {run.get('error', 'no trace was written')}")
    path = os.path.join(out, name + ".trace")
    largest = max(files, key=os.path.getsize)
    subprocess.run(["install", "-m", "644", largest, path], check=True)
    for f in files:
        os.remove(f)
    return path


def describe(workloads, path):
    done = subprocess.run([workloads, "--describe", path], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"traces: {done.stderr.strip()}")
    return json.loads(done.stdout)


def row(name, path, found):
    size = os.path.getsize(path)
    return [name, f"{size / 2**20:.1f}", f"{size / found['events']:.1f}", *(found[k] for k in ("events", "malloc", "calloc", "realloc", "aligned")),
            found["threads"], found["peak_objects"], f"{found['peak_bytes'] / 2**20:.1f}", *(found[k] for k in ("size_p50", "size_p90", "size_p99"))]


def main():
    p = lab_cli.parser("tools/traces", "Records the allocations of real programs, for tools/bench --traces.", "none", "none")
    p.add_argument("names", nargs="*", metavar="PROGRAM", help="default: all of " + ", ".join(lab_programs.prepare(None)))
    args = p.parse_args()
    for name in args.names:
        lab_programs.check(name, lab_programs.prepare(None))
    programs = lab_cli.programs_of(args)
    out = os.path.join(args.out, "traces")
    os.makedirs(out, exist_ok=True)
    rows = [["trace", "MiB", "B/event", "events", "malloc", "calloc", "realloc", "aligned", "threads", "peak objects", "peak MiB", "size p50", "p90", "p99"]]
    with tempfile.TemporaryDirectory() as folder:
        specs = lab_programs.prepare(folder)
        for name in args.names or specs:
            lab_programs.check(name, specs)
            path = record(name, specs[name], os.path.join(programs, "librecorder.so"), folder, out)
            rows.append(row(name, path, describe(os.path.join(programs, "workloads"), path)))
    print(lab_table.grid(rows))
    print(f"\ntraces: {out}\nmeasure them: tools/bench --traces {out}")


if __name__ == "__main__":
    main()
