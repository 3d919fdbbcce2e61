#!/usr/bin/env -S python3 -B
"""lab_parse_test.py: what the laboratory parses: strace, callgrind, epoch CSV, arguments, single runs."""
import concurrent.futures
import os
import subprocess
import tempfile
import threading
import unittest
from unittest import mock

import lab_path  # noqa: F401
import lab_count
import lab_growth
import lab_main
import lab_mixed
import lab_peers
import lab_programs
import lab_run
import lab_soak
import lab_store
import lab_table

STRACE = """100 mmap(NULL, 8192, PROT_READ) = 0x7f0000000000
100 getppid() = 1
100 mmap(NULL, 8192, PROT_READ) = 0x7f0000000000
101 madvise(0x7f0000000000, 4096, MADV_FREE <unfinished ...>
100 munmap(0x7f0000000000, 8192) = 0
101 <... madvise resumed>) = 0
100 mmap(NULL, 8192, PROT_READ) = 0x7f0000000000
100 getppid() = 1
100 munmap(0x7f0000000000, 8192) = 0
100 +++ exited with 0 +++
"""
CALLGRIND = """version: 1
events: Ir
ob=/lib/alloc.so
fn=malloc
10 7
+1 3
calls=1 20
12 500
ob=/none/workloads
fn=main
5 100
ob=/lib/alloc.so
fn=free
30 6
"""
CSV = """peer,epoch,seconds,ops_per_s,os_calls,ops,cpu_s,rss_kib,hwm_kib,minor_faults,p50_ns,p99_ns,p99.9_ns,p99.99_ns
ours,0,1.0,50,,100,2,1024,1024,3,30,60,200,9000
ours,1,2.0,100,,100,1,1024,1024,0,31,61,201,9001
other,0,1.5,80,3,100,1.25,2048,2048,3,40,70,300,9500
"""


def run(rate, workload="a", **more):
    return dict({"workload": workload, "peer": "x", "ops_per_cpu_s": rate, "ops_per_wall_s": rate / 2, "cpu_s": 1.0, "wall_s": 2.0,
                 "hwm_kib": 100, "minor_faults": 1, "phase_rss_kib": []}, **more)


class Parsing(unittest.TestCase):
    def test_os_calls_of_the_measured_part_are_those_between_two_getppid_calls(self):
        self.assertEqual(lab_run.split_calls(STRACE.splitlines()), ({"mmap": 2, "madvise": 1, "munmap": 1}, 6))

    def test_callgrind_self_cost_leaves_inclusive_lines_and_the_program_out(self):
        with tempfile.NamedTemporaryFile("w+") as f:
            f.write(CALLGRIND)
            f.flush()
            costs = lab_count.self_costs(f.name)
        self.assertEqual(costs, {"/lib/alloc.so": {"malloc": 10, "free": 6}, "/none/workloads": {"main": 100}})
        self.assertEqual(lab_count.outside(costs, "/none/workloads"), 16)

    def test_an_epoch_csv_is_read_back_and_analysed(self):
        with tempfile.NamedTemporaryFile("w+") as f:
            f.write(CSV)
            f.flush()
            epochs = lab_soak.read_csv(f.name)
        ours, other = lab_soak.analyse(epochs["ours"]), lab_soak.analyse(epochs["other"])
        self.assertEqual((ours["epochs"], ours["rss_drift"], ours["calls_per_op"], ours["latency_ns"]["p99.99_ns"]), (2, 0.0, None, 9001))
        self.assertEqual((other["calls_per_op"], other["rss_mib"]), (0.03, 2.0))
        self.assertEqual(lab_soak.series_of(epochs["ours"])["rss_mib"], [(1 / 60, 1.0), (2 / 60, 1.0)])

    def test_a_turn_of_a_soak_is_an_epoch_of_everyone_so_many_at_a_time(self):
        class Fake:
            running = most = 0
            lock, met = threading.Lock(), threading.Barrier(2, timeout=30)

            def epoch(self):
                with Fake.lock:
                    Fake.running += 1
                    Fake.most = max(Fake.most, Fake.running)
                Fake.met.wait()  # only two that run at the same time get past it
                with Fake.lock:
                    Fake.running -= 1
                return self

        fakes = [Fake() for _ in range(4)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            seen = [list(lab_soak.turns(pool, fakes, number)) for number in range(5)]
        self.assertEqual([turn[0][0] for turn in seen], [*fakes, fakes[0]])
        self.assertTrue(all(who is values for turn in seen for who, values in turn))
        self.assertEqual(([len({id(who) for who, _ in turn}) for turn in seen], Fake.most), ([4] * 5, 2))

    def test_an_empty_epoch_csv_is_refused(self):
        with tempfile.NamedTemporaryFile("w+") as f, self.assertRaisesRegex(SystemExit, "no epochs"):
            lab_soak.read_csv(f.name)

    def test_a_summary_has_the_median_by_the_clock_that_fits_the_workload(self):
        runs = [run(r) for r in (10, 30, 20)] + [run(r, "f") for r in (10, 30, 20)]
        found = lab_run.summarise(runs, ["a", "f"])
        self.assertEqual((found["a"]["x"]["rate"], found["f"]["x"]["rate"], found["a"]["x"]["rates"]), (20, 10, [10, 30, 20]))

    def test_one_failed_run_shows_instead_of_figures(self):
        found = lab_run.summarise([run(10), {"workload": "a", "peer": "x", "error": "exit -6"}], ["a"])
        self.assertEqual(found["a"]["x"], {"error": "exit -6", "failed": 1, "runs": 2})

    def test_a_slow_contestant_does_a_share_of_the_workload_that_takes_at_most_10_seconds(self):
        for seconds, percent in [(0.01, 100), (0.5, 100), (0.51, 98), (5.0, 10), (49.0, 1), (5000.0, 1), (0, 100)]:
            self.assertEqual(lab_run.share_of(seconds), percent, seconds)
        run_once = lambda command, _: dict(run(1), command=command, minor_faults=7)
        with mock.patch.object(lab_run, "run_once", run_once):
            found = lab_run.run_share("/p", "a", None, ["slots=9"], 10)
            self.assertEqual((found["command"], found["minor_faults"]), (["/p/workloads", "a", "slots=9", "scale=10"], 70))
            whole = lab_run.run_share("/p", "a", None, [], 100)
            self.assertEqual((whole["command"], whole["minor_faults"], "share" in whole), (["/p/workloads", "a"], 7, False))
        summary = {"a": {"x": lab_run.summary([dict(run(1), share=10)]), "y": lab_run.summary([run(1)])}, "b": {"y": {"rate": 1}}}
        self.assertEqual(lab_table.share_rows(summary, ["x", "y"])[1:], [["a", "10", "100"]])
        self.assertEqual(lab_table.share_rows({"b": summary["b"]}, ["x", "y"]), [])

    def test_a_workload_that_is_short_for_all_runs_three_times_a_round(self):
        seconds = {("a", "x"): 0.1, ("a", "y"): 0.15, ("e", "x"): 0.1, ("e", "y"): 0.2}  # of a twentieth
        run_once = lambda command, contestant: dict(run(1), wall_s=seconds[command[1], contestant.name])
        contestants = {name: mock.Mock() for name in "xy"}
        for name, contestant in contestants.items():
            contestant.name = name
        with mock.patch.object(lab_run, "run_once", run_once), mock.patch.object(lab_run, "show_progress"):
            runs = lab_run.run_rounds("/p", contestants, ["a", "e"], 2)
        counts = {pair: sum((r["workload"], r["peer"]) == pair for r in runs) for pair in seconds}
        self.assertEqual(counts, {("a", "x"): 6, ("a", "y"): 6, ("e", "x"): 2, ("e", "y"): 2})

    def test_memory_touched_before_a_program_is_not_its_own(self):
        lab_run.pretouch(96)
        self.assertLess(lab_programs.finish(subprocess.Popen(["true"]), "true")["hwm_kib"], 64 << 10)

    def test_latencies_are_medians_percentile_by_percentile(self):
        times = [[30, 40, 50, 60, 9000], [31, 45, 55, 65, 700], [29, 41, 51, 80, 800]]
        found = lab_run.summary([run(1, malloc_ns=t, free_ns=t[::-1], slow=[3, k]) for k, t in enumerate(times)])
        self.assertEqual((found["malloc_ns"], found["slow"]), ([30, 41, 51, 65, 800], [3, 1]))
        rows = lab_table.latency_rows({"s": {"x": found, "y": {"rate": 1}}, "a": {"y": {"rate": 1}}}, ["x", "y"])
        self.assertEqual(rows[1], ["s, malloc, 50 %", "30", "-"])
        self.assertEqual(rows[-1], ["s, free, longest", "30", "-"])
        self.assertEqual(len(rows), 11)
        self.assertEqual(lab_table.slow_rows({"s": {"x": found}}, ["x", "y"])[1:], [["s", "3 (1)", "-"]])
        self.assertEqual(lab_table.latency_rows({"a": {"y": {"rate": 1}}}, ["y"]), [])

    def test_phases_are_medians_phase_by_phase(self):
        found = lab_run.summary([run(1, phase_rss_kib=p) for p in ([1, 20], [3, 10], [2, 30])])
        self.assertEqual(found["phase_rss_kib"], [2, 20])

    def test_a_variable_of_the_user_wins_over_a_preset_and_others_are_scrubbed(self):
        contestant = lab_peers.Contestant("x", "/lib/x.so", {"HAKMEM_PROFILE": "speed", "HAKMEM_SS_PREWARM": "1"})
        with mock.patch.dict(os.environ, {"HAKMEM_PROFILE": "balanced", "LD_LIBRARY_PATH": "/tmp", "EDITOR": "ed"}):
            env = contestant.environment()
        self.assertEqual((env["HAKMEM_PROFILE"], env["HAKMEM_SS_PREWARM"], env["LD_PRELOAD"]), ("balanced", "1", "/lib/x.so"))
        self.assertFalse({"LD_LIBRARY_PATH", "EDITOR"} & set(env))

    def test_with_takes_a_file_and_settings(self):
        with tempfile.NamedTemporaryFile() as f:
            found = lab_peers.with_argument(f"other={f.name},A=1,B=x=y")
            self.assertEqual((found.name, found.path, found.env), ("other", f.name, {"A": "1", "B": "x=y"}))
        with self.assertRaisesRegex(SystemExit, "no such file"):
            lab_peers.with_argument("other=/nowhere/x.so")

    def test_only_the_libraries_that_are_measured_are_built(self):
        self.assertEqual(lab_peers.libraries_of(["hakmem", "hakmem-speed"]), ["libhakmem.so"])
        self.assertEqual(lab_peers.libraries_of(["hakmem-reduced"]), ["libhakmem-hardened.so"])

    def test_each_trace_is_replayed_and_gives_its_sizes(self):
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaisesRegex(SystemExit, "tools/traces"):
                lab_main.trace_workloads(folder, [])
            open(os.path.join(folder, "perl.trace"), "w").close()
            path = "file=" + os.path.join(folder, "perl.trace")
            self.assertEqual(lab_main.trace_workloads(folder, ["scale=10"]), {"replay:perl": [path, "scale=10"], "sizes:perl": [path, "scale=10"]})

    def test_growth_is_the_highest_time_over_the_first(self):
        self.assertEqual(lab_growth.growth({"1": {"ns": 10}, "4": {"ns": 25}, "16": {"ns": 20}}), 2.5)
        self.assertIsNone(lab_growth.growth({"1": {"ns": 10}, "4": {"error": "out of memory"}}))
        self.assertIsNone(lab_growth.growth({"1": {"ns": 10}}))

    def test_growth_reaches_from_one_mebibyte_to_eight_gibibytes_and_64_threads(self):
        wanted = lab_growth.points(8192, 64, 100)
        self.assertEqual([x for workload, x, _ in wanted if workload == "heap"], [1, 4, 16, 64, 256, 1024, 4096, 8192])
        self.assertEqual([x for workload, x, _ in wanted if workload == "f"], [1, 2, 4, 8, 16, 32, 64])
        self.assertIn(("f", 64, ["threads=64", "ops=625000"]), wanted)

    def test_ten_runs_are_reported_by_build(self):
        runs = {"FAST": {"x": [run(2e6), run(4e6)]}, "Standard": {"x": [run(1e6), run(3e6)]}}
        found = lab_mixed.summarise(runs)
        self.assertEqual((found["FAST"]["x"]["mean"], found["Standard"]["x"]["mean"]), (3.0, 2.0))
        titles = [title for title, _ in lab_mixed.tables({"operations": ["1", "2", "3"], "summary": found})]
        self.assertTrue("FAST" in titles[0] and "Standard" in titles[1] and len(titles) == 2)

    def test_kept_results_have_short_figures_and_no_single_runs(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x", "workloads.json")
            lab_store.keep({"format": 1, "summary": {"a": {"rate": 123456789.123, "n": 7}}, "runs": [1, 2]}, path)
            self.assertEqual(lab_store.load_folder(os.path.dirname(path)), {"workloads": {"format": 1, "summary": {"a": {"rate": 123460000.0, "n": 7}}}})
        self.assertEqual(lab_store.load_folder("/nowhere"), {})
        self.assertEqual(lab_store.rounded({"a": {"error": "exit -6: /tmp/x: free"}}), {"a": {"error": "exit -6"}})


unittest.main()
