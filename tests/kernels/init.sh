#!/bin/busybox sh
# init.sh: the first process of the machine that kernel_vm.py boots. It follows /plan and writes to the serial line
# that the kernel's command line names as "results":
#   @start RELEASE              the machine is up
#   @setting NAME               the kernel has these settings now
#   @end NUMBER STATUS SECONDS  a run of the plan has ended; before it, lines "= ..." have the run's last line, "| ..." a failed run's output
#   @done                       the plan is finished
# Lines of /plan: "setting NAME THP OVERCOMMIT MAPS LIMIT_MIB" (0: as the kernel has it) and
# "run NUMBER SECONDS VARIABLES... -- COMMAND...".
/bin/busybox mkdir -p /proc /sys /dev /tmp /usr /root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up 2>/dev/null
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
exec >"/dev/$results" 2>&1 </dev/null
stty raw 2>/dev/null <&1
export PATH=/bin HOME=/root
ulimit -c 0
all_maps=$(cat /proc/sys/vm/max_map_count)
group=/sys/fs/cgroup/limited

# If a value did not stick, every run below would show nothing: so the value is read back.
put() { # VALUE FILE
    echo "$1" >"$2"
    case " $(cat "$2") " in *" $1 "* | *"[$1]"*) ;; *) echo "| $2 is not $1" ;; esac
}

setting() { # NAME THP OVERCOMMIT MAPS LIMIT_MIB
    put "$2" /sys/kernel/mm/transparent_hugepage/enabled
    put "$3" /proc/sys/vm/overcommit_memory
    put "$([ "$4" = 0 ] && echo "$all_maps" || echo "$4")" /proc/sys/vm/max_map_count
    for try in 1 2 3 4 5; do # a killed process leaves it a moment later
        [ ! -d $group ] || rmdir $group 2>/dev/null || sleep 1
    done
    limited=
    if [ "$5" != 0 ]; then
        mkdir $group
        put $(($5 << 20)) $group/memory.max
        limited=yes
    fi
    echo "@setting $1"
}

run() { # NUMBER SECONDS VARIABLES... -- COMMAND...
    number=$1 seconds=$2 variables=''
    shift 2
    while [ "$1" != -- ]; do
        variables="$variables $1"
        shift
    done
    shift
    read -r began rest </proc/uptime
    (
        cd /tests || exit 1
        [ -z "$limited" ] || echo 0 >$group/cgroup.procs # 0: the writer itself
        # shellcheck disable=SC2086
        exec timeout -s KILL "$seconds" env $variables "$@" >/tmp/log 2>&1
    )
    status=$?
    read -r ended rest </proc/uptime
    if [ $status = 0 ]; then
        grep . /tmp/log | grep -v SKIPPED | tail -n 1 | sed 's/^/= /' # cmocka tells what it skipped behind what passed
    else
        grep -a . /tmp/log | tail -n 40 | cut -c 1-300 | sed 's/^/| /'
    fi
    echo "@end $number $status $((${ended%.*} - ${began%.*}))"
}

echo "@start $(uname -r)"
while read -r word rest <&3; do
    # shellcheck disable=SC2086
    "$word" $rest 3<&-
done 3</plan
echo "@done"
sync
sleep 1
reboot -f
