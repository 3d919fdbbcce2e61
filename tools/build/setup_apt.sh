# setup_apt.sh: how tools/setup installs packages; sourced by it. Owns the log of apt, the lock on services that
# packages bring (policy-rc.d, while apt runs), and the switching off of those services for later boots. Uses
# `complain`. Requests are specs: PACKAGE, or PACKAGE|PACKAGE, or either with ? in front: optional.

export LC_ALL=C
log='' forbidden='' packages_before='' updated=''

installed_packages() {
    { dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null || true; } | sed -n 's/^installed //p' | sort
}

missing_specs() { # SPEC...
    local spec name names installed
    installed=$(installed_packages)
    for spec in "$@"; do
        IFS='|' read -ra names <<<"${spec#\?}"
        for name in "${names[@]}"; do
            ! grep -qxF -- "$name" <<<"$installed" || continue 2
        done
        printf '%s\n' "$spec"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Ends with one line unless packages can be installed here.
demand_apt() { # SPEC...
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        complain "needs Debian 12 or later (no apt-get here); missing: $*"
    elif [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        complain "run as root, or install sudo; missing packages: $*"
    elif [ "$(id -u)" != 0 ] && ! { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        complain "sudo wants a password, and there is no terminal to ask for it; run as root; missing packages: $*"
    else
        return 0
    fi
    exit 1
}

apt_get() { # ARGUMENT...
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=600 "$@" \
        >>"$log" 2>&1 </dev/null
}

update_lists() {
    [ -z "$updated" ] || return 0
    updated=yes
    complain "apt-get update"
    apt_get update || true # what could not be fetched shows in what cannot be installed
}

# The first package of the spec that the archive has.
candidate_of() { # SPEC
    local name names found
    IFS='|' read -ra names <<<"${1#\?}"
    for name in "${names[@]}"; do
        found=$(apt-cache policy "$name" 2>/dev/null || true) # not a pipe into grep -q, which closes it early
        if grep -q 'Candidate: [^(]' <<<"$found"; then
            echo "$name"
            return
        fi
    done
}

# One line with the reason why apt could not, from its log, which stays.
why_not() { # TEXT
    local line network=''
    line=$(grep -m1 -E '^(E|W|Err):' "$log" || true)
    ! grep -qE 'Could not (resolve|connect)|Temporary failure|Failed to fetch' "$log" || network=' (no network?)'
    complain "$1$network${line:+; apt-get: $line}${line:+ ($log)}"
    [ -z "$line" ] || log=''
    exit 1
}

# Sets `chosen` to the packages for the missing specs. An optional one that the archive lacks is left out.
choose_packages() { # SPEC...
    local spec name
    chosen=()
    for spec in "$@"; do
        name=$(candidate_of "$spec")
        if [ -z "$name" ] && { [ "${spec#\?}" = "$spec" ] || [ -z "$(candidate_of libc6)" ]; }; then
            update_lists
            name=$(candidate_of "$spec")
        fi
        case $name:$spec in
        :\?*) complain "${spec#\?}: not in this distribution's archive; left out" ;;
        :*) why_not "the archive has no ${spec}" ;;
        *) chosen+=("$name") ;;
        esac
    done
}

# redis-server and nginx would start as services: a test machine wants the programs only.
forbid_services() {
    [ -n "$packages_before" ] || packages_before=$(installed_packages)
    [ ! -e /usr/sbin/policy-rc.d ] || return 0
    forbidden=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
    as_root chmod +x /usr/sbin/policy-rc.d
}

# Services of newly installed packages stay off at the next boot. Services that were here before are left as they are.
switch_services_off() {
    local package path name
    for package in $(comm -13 <(echo "$packages_before") <(installed_packages)); do
        while read -r path; do
            name=$(basename "$path")
            case $path in
            /lib/systemd/system/*.* | /usr/lib/systemd/system/*.*)
                compgen -G "/etc/systemd/system/*.*/$name" >/dev/null || continue
                if [ -d /run/systemd/system ]; then
                    as_root systemctl --quiet disable --now "$name" >>"$log" 2>&1 </dev/null || true
                else
                    # It serves packages' own scripts only, so it is given the script's name.
                    as_root env DPKG_MAINTSCRIPT_PACKAGE="$package" deb-systemd-helper disable "$name" >>"$log" 2>&1 </dev/null || true
                fi
                ;;
            /etc/init.d/*)
                ! compgen -G "/etc/rc[2-5S].d/S??$name" >/dev/null || as_root update-rc.d "$name" disable >>"$log" 2>&1 </dev/null || true
                ;;
            esac
        done < <(dpkg-query -L "$package")
    done
}

clean_up() {
    [ -z "$packages_before" ] || switch_services_off
    [ -z "$forbidden" ] || as_root rm -f /usr/sbin/policy-rc.d
    [ -z "$log" ] || rm -f "$log"
}
trap clean_up EXIT

install_missing() { # SPEC...
    local chosen specs
    mapfile -t specs < <(missing_specs "$@")
    [ ${#specs[@]} -gt 0 ] || return 0
    demand_apt "${specs[@]#\?}"
    [ -n "$log" ] || log=$(mktemp)
    choose_packages "${specs[@]}"
    [ ${#chosen[@]} -gt 0 ] || return 0
    complain "installing ${#chosen[@]} packages: ${chosen[*]}"
    forbid_services
    # The archive's lists may be too old to fetch from.
    if ! apt_get install --no-install-recommends -y "${chosen[@]}"; then
        update_lists
        : >"$log"
        apt_get install --no-install-recommends -y "${chosen[@]}" || why_not "apt-get install failed"
    fi
}
