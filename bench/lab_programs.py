"""lab_programs: real programs as workloads: CPU time and peak RSS of whole processes, children included.

Each program runs a fixed, generated input, alone and preloaded. Python is told to use malloc for small objects. The
redis server is measured, not its client, and stops by SHUTDOWN. A missing program is an error that names its package.
"""
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import time

import lab_foreign
import lab_run
from lab_stats import spread

TOUCHED_MIB = 256  # before each, as for large workloads

PYTHON = """
import json, random, re, collections
r = random.Random(1)
for _ in range(6):
    rows = [{"id": i, "name": "n%d" % r.randrange(10**6), "tags": ["t%d" % r.randrange(99) for _ in range(5)]} for i in range(12000)]
    again = json.loads(json.dumps(rows))
    words = collections.Counter(re.findall(r"\\w+", " ".join(x["name"] for x in again)))
    tree = {}
    for x in again:
        tree.setdefault(x["name"][:3], []).append((x["id"], tuple(x["tags"])))
    sorted(tree.items(), key=lambda kv: len(kv[1]))
"""
PERL = """
srand(1); for my $round (1..4) { my %h; for my $i (1..120000) { my $k = "k" . int(rand(50000)); push @{$h{$k}}, "v$i"; }
my $s = join ",", map { $_ . scalar(@{$h{$_}}) } sort keys %h; my @w = split /,/, $s; }
"""
NODE = """
let seed = 1; const next = () => (seed = (seed * 1103515245 + 12345) & 0x7fffffff);
for (let round = 0; round < 6; round++) { const buffers = [];
for (let i = 0; i < 40000; i++) { buffers.push(Buffer.allocUnsafeSlow(64 + next() % 4000)); if (i % 3 == 0) buffers[next() % buffers.length] = null; }
JSON.parse(JSON.stringify(buffers.slice(0, 200).map(b => b ? b.length : 0))); }
"""
SQL = """
create table t(id integer primary key, k text, v text); create index t_k on t(k);
with recursive n(i) as (select 1 union all select i+1 from n where i < 120000)
insert into t select i, 'key' || (i * 7919 % 100003), hex(i * 31337) || 'abcdefghijklmnopqrstuvwxyz' from n;
select count(*), sum(length(v)) from t; select k, group_concat(v) from t group by substr(k, 1, 6) order by 1 limit 5;
update t set v = v || k where id % 3 = 0; delete from t where id % 5 = 0; select count(*) from (select distinct k from t order by v);
"""


def c_source(functions=80):
    """A C file that keeps a compiler busy, always the same one."""
    r, out = random.Random(7), ["struct node { struct node *next; int key; double weight; };"]
    for i in range(functions):
        out.append(f"int f{i}(struct node *n, int x) {{ int s = {r.randrange(99)};")
        for k in range(8):
            out.append(f"  for (int i{k} = x; n && i{k} < {r.randrange(9, 99)}; i{k}++) {{ s += n->key * i{k} ^ {r.randrange(999)};"
                       f" if (s & {1 << r.randrange(9)}) n = n->next; else switch (s % 5) {{ case 0: s += {k}; break;"
                       f" case 1: s ^= x; break; default: s -= (int)n->weight; }} }}")
        out.append(f"  return s + {'f%d(n, s / 2)' % r.randrange(i) if i else 's'}; }}")
    return "\n".join(out)


INPUTS = {"work.py": lambda: PYTHON, "work.pl": lambda: PERL, "work.js": lambda: NODE, "work.sql": lambda: SQL, "work.c": c_source}


def prepare(folder):
    """Writes the inputs, unless folder is None; returns {name: (needed program, package, command, input file or None)}."""
    paths = {name: os.path.join(folder or "", name) for name in INPUTS}
    for name, path in paths.items() if folder else ():
        with open(path, "w") as f:
            f.write(INPUTS[name]())
    return {
        "python3": ("/usr/bin/python3", "python3", ["/usr/bin/python3", paths["work.py"]], None),
        "gcc": ("gcc", "gcc", ["gcc", "-O2", "-c", paths["work.c"], "-o", "/dev/null"], None),
        "clang": ("clang-19", "clang-19", ["clang-19", "-O2", "-c", paths["work.c"], "-o", "/dev/null"], None),
        "sqlite3": ("sqlite3", "sqlite3", ["sqlite3", ":memory:"], paths["work.sql"]),
        "perl": ("perl", "perl", ["perl", paths["work.pl"]], None),
        "node": ("node", "nodejs", ["node", paths["work.js"]], None),
        "redis": ("redis-server", "redis-server", None, None),
    }


def check(name, programs):
    """Ends with a message when the program is unknown or missing."""
    if name not in programs:
        raise SystemExit(f"bench: unknown program {name}; known: {', '.join(programs)}")
    needed, package, *_ = programs[name]
    if not shutil.which(needed):
        raise SystemExit(f"bench: {needed} is missing; install the Debian package {package} (tools/setup lab)")


def can_run(name, programs, contestants):
    """Whether all of the programs can run under the allocator; otherwise gives the reason."""
    reason = lab_foreign.reason(programs[name][0], [c.path for c in contestants])
    if reason:
        print(f"bench: {name} is left out: {reason}", file=sys.stderr)
    return not reason


def finish(process, name):
    """CPU seconds and peak RSS of the process and its children."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        return {"error": f"{name} ended with status {process.returncode}"}
    return {"cpu_s": usage.ru_utime + usage.ru_stime, "hwm_kib": usage.ru_maxrss, "minor_faults": usage.ru_minflt}


def run_program(name, command, source, contestant, folder):
    env = dict(contestant.environment(), PYTHONMALLOC="malloc", PYTHONHASHSEED="1")
    if name == "redis":
        return run_redis(env, folder)
    with open(source or os.devnull) as stdin:
        process = subprocess.Popen(command, env=env, stdin=stdin, stdout=subprocess.DEVNULL)
    return finish(process, name)


def run_redis(env, folder, server="redis-server"):
    """The server's own cost for a fixed number of requests through a socket file."""
    path = os.path.join(folder, "redis.sock")
    command = [server, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.socket(socket.AF_UNIX).connect(path)
            break
        except OSError:
            time.sleep(0.02)
    load = ["redis-benchmark", "-s", path, "-n", "60000", "-r", "20000", "-d", "200", "-P", "16", "-q", "-t", "set,get,lpush,sadd,hset"]
    subprocess.run(load, stdout=subprocess.DEVNULL, check=True)
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(path)
        control.sendall(b"SHUTDOWN NOSAVE\r\n")
        control.recv(16)
    return finish(process, "redis")


def run_rounds(contestants, names, rounds, folder):
    """Every program on every contestant, interleaved and shuffled; runs as lab_run makes them (rate = 1 / CPU s)."""
    programs = prepare(folder)
    for name in names or programs:
        check(name, programs)
    shown = [c for c in contestants.values() if c.name != "limit"]
    names = [name for name in names or programs if can_run(name, programs, shown)]
    order = [(n, c) for n in names for c in shown]
    runs, started = [], time.time()
    for number in range(rounds):
        for name, contestant in random.sample(order, len(order)):
            lab_run.show_progress(len(runs), rounds * len(order), started, f"round {number + 1}: {name} on {contestant.name}")
            lab_run.pretouch(TOUCHED_MIB)
            run = run_program(name, programs[name][2], programs[name][3], contestant, folder)
            run.update(workload=name, peer=contestant.name, round=number)
            if "error" in run:
                print(f"\n{name} on {contestant.name}: {run['error']}", file=sys.stderr)
            runs.append(run)
    return runs


def summarise(runs):
    """{program: {peer: medians}}"""
    out = {}
    for run in runs:
        out.setdefault(run["workload"], {}).setdefault(run["peer"], []).append(run)
    return {workload: {peer: summary(group) for peer, group in peers.items()} for workload, peers in out.items()}


def summary(group):
    errors = [run["error"] for run in group if "error" in run]
    if errors:
        return {"error": errors[0], "failed": len(errors), "runs": len(group)}
    times = [run["cpu_s"] for run in group]
    return {"runs": len(group), "cpu_s": statistics.median(times), "cv": spread(times),
            "hwm_kib": statistics.median(run["hwm_kib"] for run in group)}


def tables(summaries, peers, base):
    """CPU time relative to the base (lower is better) with its geometric mean, and peak RSS."""
    shown = [p for p in peers if p != "limit"]
    rows, ratios = [["CPU time", f"{base} s"] + shown], {p: [] for p in shown}
    for workload, by_peer in summaries.items():
        reference = by_peer.get(base, {}).get("cpu_s")
        row = [workload, f"{reference:.2f}" if reference else "failed"]
        for peer in shown:
            found = by_peer.get(peer, {})
            if reference and "cpu_s" in found:
                ratios[peer].append(found["cpu_s"] / reference)
                row.append(f"{ratios[peer][-1]:.3f} ({found['cv']:.1f}%)")
            else:
                row.append("FAILED" if "error" in found else "-")
        rows.append(row)
    means = [f"{statistics.geometric_mean(ratios[p]):.3f}" if len(ratios[p]) == len(summaries) else "-" for p in shown]
    rows.append(["geometric mean", ""] + means)
    memory = [["peak RSS MiB"] + shown]
    for workload, by_peer in summaries.items():
        memory.append([workload] + [f"{by_peer[p]['hwm_kib'] / 1024:.1f}" if "hwm_kib" in by_peer.get(p, {}) else "-" for p in shown])
    return [(f"Real programs: CPU time relative to {base} (lower is better)", rows), ("Real programs: peak resident memory", memory)]
