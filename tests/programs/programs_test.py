#!/usr/bin/env -S python3 -B
"""programs_test.py NAME WITNESS: one real program on real work under the variant's .so. Each has its expected output,
so that an error of the allocator shows in the program's results as well as at its end. A missing program fails.
WITNESS is preloaded as well, and records for each started process whose malloc it has: all must have the library's,
also those that a program starts by itself."""
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, os.path.abspath("bench"))
import lab_foreign

LIBRARY, WITNESS = os.environ["HAKMEM_TEST_LIBRARY"], os.path.realpath(sys.argv[2])
SCRATCH = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
ENV = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": SCRATCH, "LC_ALL": "C", "TMPDIR": SCRATCH, "LD_PRELOAD": f"{LIBRARY} {WITNESS}",
       "WITNESS_LOG": os.path.join(SCRATCH, "witness.log"),
       "PYTHONMALLOC": "malloc", "PYTHONDONTWRITEBYTECODE": "1"}


def run(*command, text=None, want=None, **settings):
    """Runs the command; it must end well and print `want`, and the allocator must print nothing."""
    done = subprocess.run(command, env=dict(ENV, **settings), cwd=SCRATCH, input=text, text=True, capture_output=True)
    if done.returncode or "hakmem:" in done.stderr or (want is not None and want not in done.stdout):
        sys.exit(f"{' '.join(command)[:300]}\nended with {done.returncode}, wanted {want!r}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def write(name, text):
    with open(os.path.join(SCRATCH, name), "w", encoding="utf-8") as out:
        out.write(text)
    return name


def demand_ours(program):
    """Ends the test, skipped, if the program mixes malloc with another allocator's own functions."""
    reason = lab_foreign.reason(program, [LIBRARY])
    if reason:
        print("SKIPPED: " + reason)
        sys.exit(0)


def wait_for(connect, process, seconds=60):
    for _ in range(seconds * 20):
        if process.poll() is not None:
            sys.exit(f"the server ended with {process.returncode}")
        try:
            return connect()
        except OSError:
            time.sleep(0.05)
    sys.exit("the server does not answer")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def python3():
    modules = "test_dict test_list test_json test_zlib test_struct test_array".split()
    run("/usr/bin/python3", "-m", "test", *modules, want=f"All {len(modules)} tests OK.")


def sqlite3():
    run("sqlite3", "work.db", want="40000|ok", text="""
        create table t(id integer primary key, k text, v text); create index t_k on t(k);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 50000)
        insert into t select i, 'key' || (i * 7919 % 100003), hex(i * 31337) from n;
        update t set v = v || k where id % 3 = 0; delete from t where id % 5 = 0; vacuum;
        select count(*) || '|' || (select * from pragma_integrity_check) from t;""")


def redis():
    demand_ours("redis-server")
    os.chdir(SCRATCH)
    path = "redis.sock"  # relative: a socket's whole path may have 107 bytes only
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", ""], env=ENV,
                              stdout=subprocess.DEVNULL)
    wait_for(lambda: socket.socket(socket.AF_UNIX).connect(path), server)
    out = run("redis-benchmark", "-s", path, "-n", "15000", "-r", "5000", "-d", "200", "-P", "16", "-q", "-t", "set,get,lpush,sadd,hset")
    assert out.count("requests per second") >= 5, out
    run("redis-cli", "-s", path, "set", "key", "value", want="OK")
    run("redis-cli", "-s", path, "get", "key", want="value")
    subprocess.run(["redis-cli", "-s", path, "shutdown", "nosave"], env=ENV, check=False)
    assert server.wait(60) == 0, server.returncode


C_SOURCE = """#include <stdio.h>
#define F(n) static int f##n(int x) { int s = 0; for (int i = 0; i < x; i++) s += i * n ^ (s >> 3); return s; }
F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9)
int main(void) { printf("%d\\n", f1(9) + f2(9) + f3(9) + f4(9) + f5(9) + f6(9) + f7(9) + f8(9) + f9(9)); return 0; }
"""
CC_SOURCE = """#include <algorithm>
#include <iostream>
#include <map>
#include <regex>
#include <string>
int main() { std::map<std::string, int> m; for (int i = 0; i < 1000; i++) m[std::to_string(i % 77)]++;
std::cout << m.size() << std::regex_match(std::string("abc"), std::regex("a.c")) << "\\n"; }
"""


def compilers(c, cc):
    write("work.c", C_SOURCE)
    write("work.cc", CC_SOURCE)
    run(c, "-O2", "-g", "work.c", "-o", "work_c")
    run(cc, "-O2", "-std=c++17", "work.cc", "-o", "work_cc")
    run("./work_c", want="\n")
    run("./work_cc", want="771")


def gcc():
    compilers("gcc", "g++")


def clang():
    compilers("clang-19", "clang++-19")


def git():
    me = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always")
    run("git", "init", "-q", "-b", "main", "repo")
    for commit in range(12):
        for number in range(30):
            write(f"repo/file{number}", f"{commit * number % 7}\n" * 200)
        run("git", *me, "-C", "repo", "add", "-A")
        run("git", *me, "-C", "repo", "commit", "-qm", f"commit {commit}")
    run("git", *me, "clone", "-q", "--no-local", "repo", "copy")
    run("git", *me, "-C", "copy", "gc", "-q", "--aggressive")
    run("git", "-C", "copy", "fsck", "--full", "--strict")
    assert run("git", "-C", "copy", "log", "--oneline").count("\n") == 12


def perl():
    run("perl", "-e", 'my %h; for my $i (1..200000) { push @{$h{$i % 5000}}, "v$i"; } my $s = join ",", map { scalar @{$h{$_}} } '
        'sort keys %h; my @w = split /,/, $s; print scalar(@w), " ", $w[0], "\\n";', want="5000 40")


def bash():
    run("bash", "-c", 'declare -A a; for i in {1..20000}; do a[$((i % 500))]+="x"; done; n=0; for k in "${!a[@]}"; do '
        'n=$((n + ${#a[$k]})); done; echo $n; for i in {1..30}; do (echo $i | cat) >/dev/null; done; seq 1000 | sort -r | tail -1',
        want="20000\n1\n")


def nginx():
    port = free_port()
    body = "0123456789" * 20000
    os.mkdir(os.path.join(SCRATCH, "www"))
    write("www/file.txt", body)
    paths = "".join(f"{name}_temp_path {SCRATCH}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.getuid() == 0 else ""
    write("nginx.conf", f"""{user} daemon off; worker_processes 2; pid {SCRATCH}/pid; error_log {SCRATCH}/error.log;
        events {{ worker_connections 64; }}
        http {{ access_log off; {paths} gzip on; gzip_types text/plain;
        server {{ listen 127.0.0.1:{port}; root {SCRATCH}/www; }} }}""")
    server = subprocess.Popen(["nginx", "-p", SCRATCH, "-c", os.path.join(SCRATCH, "nginx.conf")], env=ENV, stderr=subprocess.DEVNULL)
    wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close(), server)
    for number in range(300):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/file.txt", headers={"Accept-Encoding": "gzip"} if number % 2 else {})
        with urllib.request.urlopen(request, timeout=30) as answer:
            got = answer.read()
            assert answer.status == 200 and (number % 2 or got == body.encode()), number
    server.terminate()
    assert server.wait(60) == 0, server.returncode


def node():
    run("node", "-e", """let seed = 1; const next = () => (seed = (seed * 1103515245 + 12345) & 0x7fffffff); const buffers = [];
        for (let i = 0; i < 30000; i++) { buffers.push(Buffer.allocUnsafeSlow(64 + next() % 4000)); if (i % 3 == 0) buffers[next() % buffers.length] = null; }
        const text = JSON.stringify(buffers.slice(0, 500).map(b => b ? b.length : 0));
        require('zlib').gzip(text, (e, z) => require('zlib').gunzip(z, (e, u) => console.log(u.toString() == text)));""", want="true")


def php():
    """Its extensions are opened with RTLD_DEEPBIND, and their allocations outside of requests come from malloc."""
    run("php", "-r", """$t = []; for ($i = 0; $i < 20000; $i++) { $t[] = iconv('UTF-8', 'UTF-16LE', str_repeat(chr(97 + $i % 26), $i % 300)); if ($i % 3) unset($t[$i >> 1]); }
        $words = count(token_get_all('<?php ' . str_repeat('$a = [1, "two", f(3)]; ', 2000)));
        $d = new DateTime('2024-02-29'); $f = new SplFixedArray(5000); foreach (range(0, 4999) as $i) $f[$i] = md5("$i");
        echo ctype_xdigit($f[77]) ? 'hex' : 'no', ' ', extension_loaded('pdo') ? 'pdo' : 'no', ' ', $words, ' ', $d->modify('+1 year')->format('Y-m-d'), "\\n";""",
        want="hex pdo 36001 2025-03-01")


def java():
    write("Work.java", """import java.util.*;
        public class Work { public static void main(String[] a) throws Exception { Map<String, List<Integer>> m = new HashMap<>();
        for (int i = 0; i < 200000; i++) m.computeIfAbsent("k" + i % 1000, k -> new ArrayList<>()).add(i);
        Thread[] t = new Thread[4]; for (int i = 0; i < 4; i++) { t[i] = new Thread(() -> { java.util.zip.Deflater d = new java.util.zip.Deflater();
        d.setInput(new byte[100000]); d.finish(); d.deflate(new byte[1000]); d.end(); }); t[i].start(); } for (Thread x : t) x.join();
        System.out.println(m.size() + " " + m.get("k7").size()); } }""")
    run("java", "-Xmx256m", "Work.java", want="1000 200")


def cmake():
    write("CMakeLists.txt", "cmake_minimum_required(VERSION 3.13)\nproject(work C CXX)\nadd_library(part part.c)\n"
          "add_executable(work work.cc)\nadd_executable(other other.c)\ntarget_link_libraries(other part)\n")
    write("part.c", "int part(void) { return 7; }\n")
    write("other.c", "int part(void);\nint main(void) { return part() - 7; }\n")
    write("work.cc", CC_SOURCE)
    run("cmake", "-S", ".", "-B", "build")
    run("make", "-C", "build", "-j2")
    run("build/other")
    run("build/work", want="771")


# The programs that must have run with our malloc, beside the program itself.
STARTED = {"gcc": ("cc1", "cc1plus", "gnu-as", "collect2", "work_c", "work_cc"), "clang": ("work_c", "work_cc"), "cmake": ("make", "cc1", "work", "other"),
           "git": ("dash",), "bash": ("bash", "cat", "sort", "seq", "tail"), "redis": ("redis-benchmark", "redis-cli")}
NAMED = {"python3": "python3", "redis": "redis-", "gcc": "gcc", "clang": "clang", "node": "node"}


def expect_witnesses(name):
    """Each started process has the library's malloc and operator new."""
    with open(ENV["WITNESS_LOG"], encoding="utf-8") as log:
        rows = [line.rsplit(" ", 2) for line in log.read().splitlines()]
    programs = {os.path.basename(program) for program, *_ in rows}
    for program, *whose in rows:
        if whose != ["ours", "ours"]:
            sys.exit(f"{program}: malloc and operator new are {whose}")
    missing = [wanted for wanted in (NAMED.get(name, name), *STARTED.get(name, ())) if not any(wanted in found for found in programs)]
    if missing:
        sys.exit(f"{name}: no process of {missing} has said that it has our malloc; those that did: {sorted(programs)}")


PROGRAMS = {f.__name__: f for f in (python3, sqlite3, redis, gcc, clang, git, perl, bash, nginx, node, php, java, cmake)}
PROGRAMS[sys.argv[1]]()
expect_witnesses(sys.argv[1])
