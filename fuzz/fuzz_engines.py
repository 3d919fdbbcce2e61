"""fuzz_engines.py: libFuzzer and AFL++ on one target, for tools/fuzz: each begins with one, goes on, tells how far it is, ends."""
import glob
import hashlib
import os
import re
import signal
import subprocess
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
MAX_LENGTH = 1024
TICK = 5  # seconds between two checks of the engines
AFL_ENV = {"AFL_NO_UI": "1", "AFL_SKIP_CPUFREQ": "1", "AFL_NO_AFFINITY": "1", "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1",
           "AFL_AUTORESUME": "1", "AFL_IMPORT_FIRST": "1"}


class LibFuzzer:
    """Ends with its first find; then it starts again in its own mode that goes on after finds, which is slower."""
    MOST_TIMES = 20
    AGAIN = ("-fork=1", "-ignore_crashes=1", "-ignore_timeouts=1", "-ignore_ooms=1")
    PROGRESS = re.compile(rb"#(\d+):?\s.*?cov: (\d+).*?corp: (\d+).*?exec/s:? (\d+)")

    def __init__(self, binary, row, home, seconds):
        self.runs, self.edges, self.corpus, self.speed = 0, 0, 0, 0
        self.until, self.begun_again = time.time() + seconds, 0
        self.finds = os.path.join(home, "finds")
        corpus = os.path.join(home, "corpus")
        command = [binary, f"-max_len={MAX_LENGTH}", "-timeout=30", "-rss_limit_mb=4096", "-reload=10", f"-artifact_prefix={self.finds}/", "-print_final_stats=1", corpus, os.path.join(ROOT, "fuzz/corpus", row["corpus"])]
        if row["dictionary"] != "-":
            command.insert(1, f"-dict={ROOT}/fuzz/dictionaries/{row['dictionary']}.dict")
        self.command, self.log = command, os.path.join(home, "libfuzzer.log")
        self.begin()

    def begin(self):
        left = max(1, int(self.until - time.time()))
        again = self.AGAIN if self.begun_again else ()
        self.process = subprocess.Popen([*self.command, *again, f"-max_total_time={left}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        threading.Thread(target=self.read, args=(self.process.stderr,), daemon=True).start()

    def read(self, stderr):
        with open(self.log, "ab") as log:
            for line in stderr:
                log.write(line)
                found = self.PROGRESS.match(line)
                if found:
                    self.runs, edges, self.corpus, self.speed = map(int, found.groups())
                    self.edges = max(self.edges, edges)

    def runs_on(self):
        """False when its time is over, or it finds the same again and again."""
        if self.process.poll() is None:
            return True
        if self.process.returncode == 0 or time.time() + TICK > self.until or self.begun_again >= self.MOST_TIMES:
            return False
        self.begun_again += 1
        self.begin()
        return True

    def look(self):
        return f"libFuzzer {self.speed}/s, {self.edges} edges, corpus {self.corpus}"

    def crashes(self):
        return [path for kind in ("crash-*", "timeout-*", "oom-*", "leak-*") for path in glob.glob(os.path.join(self.finds, kind))]


class Afl:
    def __init__(self, binary, row, home, seconds, mutator, number):
        self.edges, self.text = 0, "starting"
        self.home = os.path.join(home, "afl", f"{'main' if number == 0 else 'part%d' % number}")
        role = ["-M", "main"] if number == 0 else ["-S", f"part{number}"]
        seeds = os.path.join(ROOT, "fuzz/corpus", row["corpus"])
        env = {**os.environ, **AFL_ENV}
        if row["kind"] != "part":
            env["AFL_CUSTOM_MUTATOR_LIBRARY"] = mutator
        command = ["afl-fuzz", "-i", seeds, "-o", os.path.join(home, "afl"), *role, "-F", os.path.join(home, "corpus"), "-G", str(MAX_LENGTH)]
        if number != 0:  # only the main one takes from libFuzzer's corpus
            del command[command.index("-F"):command.index("-F") + 2]
        self.log = open(os.path.join(home, f"afl{number}.log"), "ab")
        self.process = subprocess.Popen([*command, "-V", str(int(seconds)), "-m", "none", "-t", "5000+", "--", binary], env=env,
                                        stdout=self.log, stderr=self.log, start_new_session=True)

    def look(self):
        try:
            with open(os.path.join(self.home, "fuzzer_stats"), encoding="utf-8") as lines:
                stats = dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)
            self.edges = int(stats["edges_found"])
            self.text = f"{stats['execs_per_sec']}/s, {stats['edges_found']} edges, corpus {stats['corpus_count']}, stability {stats['stability']}"
        except (OSError, KeyError, ValueError):
            pass
        return "AFL++ " + self.text

    def runs_on(self):
        return self.process.poll() is None

    def crashes(self):
        return [path for kind in ("crashes", "hangs") for path in glob.glob(os.path.join(self.home, kind, "id*"))]


def give_to_libfuzzer(home):
    """AFL++'s new inputs go to the common corpus; libFuzzer reads that again by itself."""
    for path in glob.glob(os.path.join(home, "afl/*/queue/id*")):
        with open(path, "rb") as file:
            data = file.read()
        target = os.path.join(home, "corpus", hashlib.sha1(data).hexdigest())
        if not os.path.exists(target):
            with open(target, "wb") as file:
                file.write(data)


def stop(engines):
    for engine in engines:
        if engine.process.poll() is None:
            os.killpg(engine.process.pid, signal.SIGINT)
    for engine in engines:
        try:
            engine.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(engine.process.pid, signal.SIGKILL)
            engine.process.wait()
