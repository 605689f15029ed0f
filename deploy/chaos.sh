#!/bin/sh
# Breaks this node of a staging cluster for a while. Run it as root on the node itself, and name the node
# twice: it refuses any other.
#
#   chaos.sh FAULT NODE NODE SECONDS [LINK | UNIT]
#
#   silent-drop     nothing comes in or goes out by LINK (eth0), ARP included
#   one-way         nothing that is sent to it arrives, and it goes on sending
#   loss            a fifth of what is sent to it is lost
#   large-segments  what is sent to it and longer than 1000 bytes is lost
#   flaps           100 ms without network, twice a second
#   stop            the processes of UNIT (rustfs.service) are stopped; their host is well
#   power-cut       the kernel restarts at once: nothing is written, nobody is told. SECONDS counts for nothing
#
# The kernel itself ends the faults of the network: their rules match entries of a set that time out. So they
# end when this script is killed, too. A stopped unit is continued by a process of its own session.
set -eu

die() { echo "chaos.sh: $1" >&2; exit 2; }

[ $# -ge 4 ] || die "say FAULT NODE NODE SECONDS [LINK | UNIT]; the head of this file has the faults"
fault=$1 seconds=$4
this=$(hostname)
[ "$2" = "$3" ] || die "the node must be named twice: $2 is not $3"
[ "$2" = "$this" ] || die "this is $this, not $2: nothing is done"
case $seconds in '' | *[!0-9]*) die "whole seconds, as in 30, not $seconds" ;; esac
[ "$seconds" -ge 1 ] && [ "$seconds" -le 600 ] || die "1 to 600 seconds, not $seconds"

# Drops at these hooks of the link ($1) the protocols in the set that also match ($2).
load() {
    nft -f - <<NFT
table netdev chaos
delete table netdev chaos
table netdev chaos {
    set on { type ether_type; flags timeout; }
$(for hook in $1; do
    echo "    chain $hook { type filter hook $hook device \"$link\" priority 0; meta protocol @on $2 drop; }"
done)
}
NFT
}

# The set's entries end by themselves.
on() { # protocols, separated by commas; how long
    nft "add element netdev chaos on { $(echo "$1" | sed "s/,/ timeout $2, /g") timeout $2 }"
}

lasts="for $seconds s"
case $fault in
silent-drop | one-way | loss | large-segments | flaps)
    link=${5:-eth0}
    [ -e "/sys/class/net/$link" ] || ip link show "$link" >/dev/null 2>&1 || die "no link $link here"
    # A script that ends leaves nothing; of one that is killed, a table without entries stays.
    trap 'nft delete table netdev chaos' EXIT
    trap 'exit 130' INT TERM HUP
    ;;
stop) ;;
power-cut) lasts="until it has booted" ;;
*) die "no fault $fault; the head of this file has them" ;;
esac

echo "$fault on $this $lasts"
case $fault in
silent-drop) load "ingress egress" ""; on ip,ip6,arp "${seconds}s"; sleep "$seconds" ;;
one-way) load ingress ""; on ip,ip6 "${seconds}s"; sleep "$seconds" ;;
loss) load ingress "numgen random mod 100 < 20"; on ip,ip6 "${seconds}s"; sleep "$seconds" ;;
large-segments) load ingress "meta length > 1000"; on ip,ip6 "${seconds}s"; sleep "$seconds" ;;
flaps)
    load "ingress egress" ""
    for _ in $(seq $((2 * seconds))); do on ip,ip6,arp 100ms; sleep 0.5; done
    ;;
stop)
    unit=${5:-rustfs.service}
    setsid sh -c "sleep $seconds; systemctl kill --signal=CONT $unit" >/dev/null 2>&1 &
    systemctl kill --signal=STOP "$unit"; sleep "$seconds"
    ;;
power-cut)
    echo b >/proc/sysrq-trigger || die "no restart from here: no root, a container, or a kernel without SysRq"
    die "the kernel has not restarted"
    ;;
esac
echo "$fault is over"
