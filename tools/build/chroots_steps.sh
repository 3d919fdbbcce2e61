#!/bin/bash
# chroots_steps.sh [STEP,STEP]: the steps that tools/chroots runs inside a fresh Debian, in /srv/hakmem: a table row for
# each step on stdout, its output in /srv/logs. Status 1 if a step failed. A step is a function step_NAME; they run in
# the order below.
set -uo pipefail
cd /srv/hakmem || exit 1
logs=/srv/logs
mkdir -p $logs
all=(bare run_command install run test again boot kept)
list_boot() { find /etc/systemd /etc/rc[0-9S].d -path '*.wants/*' -o -name 'S[0-9][0-9]*' 2>/dev/null | sort; }
[ -e $logs/boot.before ] || list_boot >$logs/boot.before

# Nothing but git was installed before; otherwise the other steps would show nothing.
step_bare() {
    local name
    for name in python3 gcc clang-19 bazel; do
        ! command -v $name || { echo "$name is there before anything was installed" && return 1; }
    done
    git --version
}

step_run_command() {
    local status=0
    tools/run -- sh -c 'exit 7' || status=$?
    [ $status = 7 ] || { echo "status $status, wanted 7" && return 1; }
    [ "$(tools/run --variant=speed -- echo text)" = text ] && ! command -v redis-server || return 1
    echo "status and output are CMD's, and nothing but what a build needs was installed"
}

step_install() {
    tools/install --prefix=/srv/installed && [ -e /srv/installed/lib/libhakmem.so ] && ! command -v redis-server
}

step_run() {
    local out
    out=$(tools/run) || return 1
    echo "$out"
    [ "$(grep -c '^Aborted$' <<<"$out")" = 2 ] && grep -q '^sqlite3 ' <<<"$out" || return 1
    # Fails when a program is neither shown nor reported as left out.
    local name
    for name in sqlite3 python3 redis; do
        grep -qE "^($name|Left out: $name:)" <<<"$out" || { echo "nothing on $name" && return 1; }
    done
}

step_test() { tools/test; }

# With everything installed and built, nothing is installed or fetched: apt has no network.
step_again() {
    http_proxy=http://127.0.0.1:1 https_proxy=http://127.0.0.1:1 tools/test //tests/unit/... //tests/tools/...
}

# Nothing that was installed starts at the next boot.
step_boot() {
    [ ! -e /usr/sbin/policy-rc.d ] || { echo "policy-rc.d was left behind" && return 1; }
    command -v nginx && command -v redis-server && list_boot | comm -13 $logs/boot.before - >$logs/boot.new
    cat $logs/boot.new
    [ ! -s $logs/boot.new ] && echo "nothing new starts"
}

# A service that is enabled on the machine stays enabled when something is installed.
step_kept() {
    local link=/etc/systemd/system/multi-user.target.wants/nginx.service
    mkdir -p "$(dirname $link)" && ln -s /lib/systemd/system/nginx.service $link && update-rc.d nginx enable || return 1
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y remove spin && ! command -v spin || return 1
    tools/setup test && command -v spin || return 1
    [ -L $link ] && compgen -G '/etc/rc2.d/S??nginx' && [ ! -e /usr/sbin/policy-rc.d ] || return 1
    rm $link && update-rc.d nginx disable && echo "nginx stayed on"
}

failed=0
wanted=${1:-}
IFS=, read -ra chosen <<<"${wanted:-$(IFS=,; echo "${all[*]}")}"
for name in "${chosen[@]}"; do
    begun=$SECONDS
    # The steps' own lines are not for the table.
    if ("step_$name") >$logs/"$name".log 2>&1 </dev/null; then result=good; else result=FAILED failed=1; fi
    last=$(grep -v '^ *$' $logs/"$name".log | tail -n 1 | tr -d '|' | cut -c1-140)
    echo "| $name | $result | $((SECONDS - begun)) | $last |"
done
[ ! -e bazel-out ] || bazel shutdown >/dev/null 2>&1
exit $failed
