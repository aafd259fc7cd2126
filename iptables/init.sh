#!/bin/sh
# Lets TCP to the health probe ports of a pod past the redirect of a service mesh.
#
# A mesh redirects by NAT, and NAT sees only connections that the kernel tracks. Table raw comes
# before connection tracking: there the packets of our ports are marked "do not track", so no
# redirect can take them, wherever a mesh puts its rules and whether it came before us or after.
#
# Needs a POSIX shell and iptables (and cat, for one warning), and no disk that can be written.

set -uf
export LC_ALL=C
PATH=${PATH:-}:/usr/local/sbin:/usr/sbin:/sbin

IN=OSM_HEALTHCHECK_IN
OUT=OSM_HEALTHCHECK_OUT
WAIT=30 # seconds for the xtables lock

usage() {
    printf '%s\n' \
'Usage: init.sh [install|uninstall|check|print] [--ports LIST] [--backend nft|legacy]

Lets TCP to the health probe ports of this pod past the redirect of a service mesh,
whichever mesh it is and whether its rules came first or come later. Everything else
stays as it was. Can run any number of times.

  install     put the rules in place (the default)
  uninstall   take them out again
  check       exit 0 where they are in force for these ports (or more), 1 where not
  print       show them in the format of iptables-restore, and touch nothing

  --ports LIST           the ports in use, instead of 15901-15904: ports and ranges,
                         such as 15901,15904 or 9000-9009
  --backend nft|legacy   the iptables to use; by default the one that holds the rules of
                         the mesh, else nft
  -h, --help             this text

Needs root (runAsUser: 0) with the capability NET_ADMIN; iptables-legacy also NET_RAW.
Exit status: 0 it is done, 1 it could not be done or check says no, 2 wrong usage.'
}

say() { printf '%s\n' "init.sh: $*"; }
warn() { printf '%s\n' "init.sh: warning: $*" >&2; }
error() { printf '%s\n' "init.sh: error: $*" >&2; }
die() { error "$@"; exit 1; }
misused() { error "$@"; printf '%s\n' 'Try: init.sh --help' >&2; exit 2; }

is_port() {
    case $1 in '' | 0* | *[!0-9]* | ??????*) return 1 ;; esac
    [ "$1" -le 65535 ]
}

# Turns "1,2-3" into what iptables reads: ports="1 2:3".
parse_ports() {
    ports='' rest=$1,
    while [ -n "$rest" ]; do
        entry=${rest%%,*}
        rest=${rest#*,}
        low=${entry%%[:-]*}
        high=${entry#*[:-]}
        if ! is_port "$low" || ! is_port "$high"; then
            misused "--ports: '$entry' is neither a port (1-65535) nor a range such as 15901-15904"
        fi
        [ "$low" -le "$high" ] || misused "--ports: the range '$entry' ends before it begins"
        [ "$low" = "$high" ] || low=$low:$high
        case " $ports " in *" $low "*) ;; *) ports=${ports:+$ports }$low ;; esac
    done
}

parse_arguments() {
    action='' list=15901-15904 default=yes only=''
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help) usage; exit 0 ;;
        --*=*) both=$1; shift; set -- "${both%%=*}" "${both#*=}" "$@"; continue ;;
        --ports | --backend) [ $# -gt 1 ] || misused "$1 needs a value" ;;
        esac
        case $1 in
        --ports) list=$2 default=; shift ;;
        --backend)
            case $2 in nft | legacy) ;; *) misused "$1: '$2' is neither nft nor legacy" ;; esac
            only=$2; shift ;;
        install | uninstall | check | print)
            [ -z "$action" ] || misused "two commands: $action and $1"
            action=$1
            ;;
        -*) misused "unknown option '$1'" ;;
        *) misused "unknown command '$1': install, uninstall, check or print" ;;
        esac
        shift
    done
    action=${action:-install}
    parse_ports "$list"
}

# The rules of our chains in TABLE ($1), one for each of PORTS ($2): multiport ends at 15.
rules() {
    for port in $2; do
        if [ "$1" = raw ]; then
            echo "-A $IN -p tcp --dport $port -j CT --notrack"
            # The answers. A bare SYN is no answer: an app that opens a connection from one of
            # these ports must not get past the mesh by it.
            echo "-A $OUT -p tcp --sport $port ! --syn -j CT --notrack"
            # Callers in the pod itself: a mesh may redirect connections to the pod's own
            # address, as Consul does, and half a tracked connection counts as INVALID.
            echo "-A $OUT -o lo -p tcp --dport $port -j CT --notrack"
        else
            echo "-A $IN -p tcp --dport $port -j ACCEPT"
        fi
    done
}

# Our chains in a table, and the places that jump to them.
jumps() {
    echo "PREROUTING -j $IN"
    [ "$1" != raw ] || echo "OUTPUT -j $OUT"
}

# The input of iptables-restore that takes TABLE ($1), whose rules are now RULES ($2), to the
# state that ACTION ($3) asks for, from wherever it is. It happens as a whole or not at all.
transaction() {
    echo "*$1"
    jumps "$1" | while read -r _ _ chain; do
        echo ":$chain - [0:0]" # makes the chain, or empties the one that is there
    done
    printf '%s\n' "$2" | while IFS= read -r line; do
        case $line in *" -j $IN" | *" -j $OUT") printf '%s\n' "-D ${line#-A }" ;; esac
    done
    if [ "$3" = install ]; then
        rules "$1" "$ports"
        jumps "$1" | while read -r hook jump; do echo "-I $hook 1 $jump"; done
    else
        jumps "$1" | while read -r _ _ chain; do echo "-X $chain"; done
    fi
    echo COMMIT
}

# The tool of FAMILY ($1: 4 or 6) and BACKEND ($2), such as iptables-nft-restore for "-restore".
# Where only the plain name is installed, it counts for the back end that it belongs to.
tool() {
    case $1 in 4) name=iptables ;; *) name=ip6tables ;; esac
    if command -v "$name-$2$3" >/dev/null 2>&1; then
        echo "$name-$2$3"
    elif [ "$2" = "$plain" ] && command -v "$name$3" >/dev/null 2>&1; then
        echo "$name$3"
    else
        return 1
    fi
}

# The rules of a FAMILY ($1) in a BACKEND ($2): all, or those of one table ($3). Looking at all
# of them, unlike asking for one table, makes no table that was not there.
saved() {
    save=$(tool "$1" "$2" -save) && all=$("$save") || return 1
    table=
    printf '%s\n' "$all" | while IFS= read -r line; do
        case $line in '*'*) table=${line#?} ;; esac
        [ "${3:-$table}" != "$table" ] || printf '%s\n' "$line"
    done
}

# How much of a mesh a back end holds: 2 a redirect, 1 any rule, 0 nothing.
weight() {
    case $(saved 4 "$1" 2>/dev/null; saved 6 "$1" 2>/dev/null) in
    *'-j REDIRECT'* | *'-j TPROXY'*) echo 2 ;;
    *'-A '*) echo 1 ;;
    *) echo 0 ;;
    esac
}

# A capability by its number, of this process.
capable() {
    while read -r key value; do
        [ "$key" != CapEff: ] || return $((!(0x${value#????????} >> $1 & 1)))
    done 2>/dev/null </proc/self/status
}

# Sets $present, the back ends that can be used, and $backends, those to use, the best first.
find_backends() {
    case $(iptables --version 2>/dev/null) in
    *nf_tables*) plain=nft ;;
    *) plain=legacy ;; # before 1.8 there was no other, and it did not say so
    esac
    present='' left_out=''
    for backend in nft legacy; do
        if tool 4 "$backend" -restore >/dev/null && tool 4 "$backend" -save >/dev/null; then
            present=${present:+$present }$backend
        fi
    done
    [ -n "$present" ] || die "iptables is not installed: none of iptables-nft-restore," \
        "iptables-legacy-restore and iptables-restore was found." \
        "Use the init image of osm-healthcheck, or install the package iptables"
    case " $present " in *" ${only:-$present} "*) ;; *)
        die "--backend $only: iptables-$only-restore is not installed. Present: $present" ;;
    esac
    case $present in *legacy*) capable 13 || leave_out_legacy ;; esac
    backends=${only:-$present}
    if [ "$backends" = 'nft legacy' ] && [ "$(weight legacy)" -gt "$(weight nft)" ]; then
        backends='legacy nft'
    fi
}

# Without NET_RAW iptables-legacy cannot even look: it works through a raw socket.
leave_out_legacy() {
    hint='iptables-legacy needs the capability NET_RAW beside NET_ADMIN'
    if [ "$only" = legacy ] || [ "$present" = legacy ]; then
        die "$hint: add it to the securityContext, or use iptables-nft:" \
            "its rules hold against a mesh in either"
    fi
    present=nft
    left_out="
  legacy: not tried, $hint"
    if read -r _ 2>/dev/null </proc/net/ip_tables_names; then
        warn "this pod has iptables-legacy tables, which were not looked at: $hint"
    fi
}

# Runs one transaction for FAMILY ($1), BACKEND ($2), TABLE ($3), ACTION ($4). Where that fails,
# $why holds the words of iptables. Tried again, because another program can change the rules
# between our look and our write; then nothing was written.
restore() {
    why="not installed"
    command=$(tool "$1" "$2" -restore) || return 1
    for _ in 1 2 3; do
        now=$(saved "$1" "$2" "$3" 2>&1) || { why=$now; return 1; }
        why=$(transaction "$3" "$now" "$4" | "$command" --noflush -w "$WAIT" 2>&1) && return
        case $why in *'xtables lock'*)
            die "IPv$1: another program held the xtables lock for $WAIT s. Run init.sh again" ;;
        esac
    done
    return 1
}

# Takes our part out of FAMILY ($1) in BACKENDS ($2), but for one "backend table" ($3).
remove() {
    for backend in $2; do
        for table in raw nat; do
            [ "$backend $table" != "$3" ] || continue
            case $(saved "$1" "$backend" "$table" 2>/dev/null) in
            *"$IN"* | *"$OUT"*) ;;
            *) continue ;;
            esac
            if restore "$1" "$backend" "$table" uninstall; then
                say "IPv$1: removed from table $table ($backend)"
                removed=yes
            else
                error "IPv$1: table $table ($backend) still holds our rules: $why"
                status=1
            fi
        done
    done
}

install_family() {
    tried=$left_out
    for way in raw nat; do
        for with in $backends; do
            if restore "$1" "$with" "$way" install; then
                remove "$1" "$present" "$with $way"
                say "IPv$1: TCP to $ports goes past the mesh (table $way, $with)"
                [ "$way" = raw ] || warn "IPv$1: table raw or its target CT is missing, so a" \
                    "jump kept first in nat PREROUTING stands in. It cannot promise to stay" \
                    "first: a mesh that inserts its own jump there later, or redirects by the" \
                    "other iptables back end, takes the probes. Run init.sh again after the" \
                    "mesh, or load the modules iptable_raw and xt_CT on the node.$tried"
                return
            fi
            tried="$tried
  $with, table $way: $why"
        done
    done
    if [ "$1" = 6 ] && ! has_ipv6_address; then
        say "IPv6: left out, this pod has no IPv6 address and no rules can be made.$tried"
        return
    fi
    error "IPv$1: no rules could be installed, and nothing was changed. The kernel of the node" \
        "has to have table raw with target CT, or at least table nat: on the node, modprobe" \
        "iptable_raw and xt_CT (and nft_compat for iptables-nft).$tried"
    status=1
}

# Whether the pod has an address that others can reach: scope 00 in the list of the kernel.
has_ipv6_address() {
    while read -r _ _ _ scope _; do
        [ "$scope" != 00 ] || return 0
    done 2>/dev/null </proc/net/if_inet6
    return 1
}

# A dot for each line on stdin that begins with $1.
count() { while IFS= read -r line; do case $line in "$1"*) printf . ;; esac; done; }

# Whether LIST ($1) of ports and ranges, such as "7 20:30" or "7,20-30", holds RANGE ($2).
covers() (
    next=${2%:*} IFS=', '
    while [ "$next" -le "${2#*:}" ]; do
        from=$next
        for entry in $1; do
            [ "${entry%[:-]*}" -gt "$next" ] || [ "${entry#*[:-]}" -lt "$next" ] ||
                next=$((${entry#*[:-]} + 1))
        done
        [ "$next" != "$from" ] || return 1
    done
)

# Whether our rules stand in FAMILY ($1), BACKEND ($2), TABLE ($3) as we make them, with no others
# in our chains, and hold all of $ports. Sets $first where our jump is the first of PREROUTING.
in_force() {
    now=$(saved "$1" "$2" "$3" 2>/dev/null)
    case $now in *":$IN "*) ;; *) return 1 ;; esac
    held=$(printf '%s\n' "$now" | while read -r _ chain _ _ _ _ match port _; do
        [ "$chain $match" != "$IN --dport" ] || printf '%s ' "$port"
    done)
    for port in $ports; do covers "$held" "$port" || return 1; done
    [ "$(printf '%s\n' "$now" | count '-A OSM_HEALTHCHECK_')" = \
        "$(rules "$3" "$held" | count -A)" ] || return 1
    iptables=$(tool "$1" "$2" '') || return 1
    { rules "$3" "$held"; jumps "$3"; } | while read -r rule; do
        # shellcheck disable=SC2086 # a rule is words
        "$iptables" -w "$WAIT" -t "$3" -C ${rule#-A } >/dev/null 2>&1 </dev/null || exit 1
    done || return 1
    case ${now#*-A PREROUTING } in "-j $IN"*) first=yes ;; *) first= ;; esac
    [ "$3" = raw ] || [ -n "$first" ] # in nat a rule before ours can be the mesh's
}

check_family() {
    for way in raw nat; do
        for with in $backends; do
            in_force "$1" "$with" "$way" || continue
            say "IPv$1: in force for TCP to $ports (table $way, $with)"
            [ "$way" = raw ] || warn "IPv$1: a mesh that puts its jump before ours in nat" \
                "PREROUTING later takes the probes"
            [ -n "$first" ] || warn "IPv$1: other rules come before ours in raw PREROUTING." \
                "One that accepts TCP to $ports there undoes ours. init.sh install goes first"
            return
        done
    done
    if [ "$1" = 6 ] && ! has_ipv6_address; then
        say "IPv6: not in force, and not needed: this pod has no IPv6 address"
        return
    fi
    error "IPv$1: not in force for TCP to $ports. Run: init.sh install"
    status=1
}

# What our rules do not cover.
warn_of_the_rest() {
    for backend in $present; do
        case $(saved 4 "$backend" 2>/dev/null; saved 6 "$backend" 2>/dev/null) in *'-j TPROXY'*)
            warn "TPROXY rules in table mangle ($backend) do not need connection tracking and" \
                "could still take TCP to $ports. Exclude these ports in the mesh's settings" ;;
        esac
    done
    # The app's own connections can start from one of our ports only where the kernel picks it.
    # (Read by cat: the shell reads byte by byte, and a sysctl gives away its first one only.)
    range=$(cat /proc/sys/net/ipv4/ip_local_port_range 2>/dev/null) || return 0
    reserved=$(cat /proc/sys/net/ipv4/ip_local_reserved_ports 2>/dev/null)
    for port in $ports; do
        if [ "${port#*:}" -ge "${range%%[!0-9]*}" ] && [ "${port%:*}" -le "${range##*[!0-9]}" ] &&
            ! covers "$reserved" "$port"; then
            warn "net.ipv4.ip_local_port_range lets connections of the app start from $port," \
                "and those would fail. Set the pod's sysctl net.ipv4.ip_local_reserved_ports" \
                "to hold these ports"
        fi
    done
}

parse_arguments "$@"
if [ "$action" = print ]; then
    echo '# for iptables-restore --noflush and for ip6tables-restore --noflush'
    transaction raw '' install
    exit
fi

capable 12 || die "no permission to change rules: the capability NET_ADMIN is missing." \
    "Run as root with securityContext: {runAsUser: 0, capabilities: {add: [NET_ADMIN]}}"
# iptables-legacy makes a lock file. Where there is no place for it, as under a read-only root,
# the network namespace itself is locked: that is what the lock stands for. (Tried and not asked:
# to the test -w of busybox everything is writable for root.)
(: >>/run/xtables.lock) 2>/dev/null ||
    export XTABLES_LOCKFILE="${XTABLES_LOCKFILE:-/proc/self/ns/net}"
find_backends
families='4 6'
if [ ! -e /proc/net/if_inet6 ]; then
    families=4
    say 'IPv6: left out, the kernel has none'
fi
status=0 removed=
for family in $families; do
    case $action in
    install) install_family "$family" ;;
    check) check_family "$family" ;;
    uninstall) remove "$family" "${only:-$present}" '' ;;
    esac
done
case $action$removed$status in
uninstall0) say 'nothing to remove' ;;
install* | check*) warn_of_the_rest ;;
esac
if [ "$action$status$default" = install0yes ]; then
    say "all of 15901-15904 go past the mesh, also those that the sidecar does not use: an app of" \
        "this pod that listens on one of these is reached without mTLS. Name the ports in use:" \
        "--ports 15901,15904"
fi
exit "$status"
