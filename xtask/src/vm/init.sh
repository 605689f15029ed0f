#!/bin/sh
# The first program of a guest: it runs the checks of /checks, and tells of each in a line that
# begins with "@". Whoever started it believes nothing but these lines.
export PATH=/usr/bin:/bin:/sbin HOME=/root TMPDIR=/tmp
export DETECTOR_BIN=/lab/detector
# The processor is emulated: calls are that many times rarer than elsewhere, and the daemon says less.
export DETECTOR_LAB_SLOWER=20 DETECTOR_LAB_LOG=warn,detector=info,detector_user=info

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
echo "root:x:0:0:root:/root:/bin/sh" >/etc/passwd
echo "127.0.0.1 localhost" >/etc/hosts

# As the unit sets them: before 5.11 maps count against the first.
ulimit -l unlimited
ulimit -n 65536

# What the kernel does not load by itself when it is first used.
for module in veth bridge inet_diag tcp_diag; do
    modprobe "$module" || echo "@missing module $module"
done
ip link set lo up

now() {
    cut -d. -f1 /proc/uptime
}

# On a busy machine a guest's second takes many: it says that it lives.
while sleep 5; do
    echo "@lives"
done &

echo "@kernel $(uname -r)"
/lab/detector doctor --output json | sed 's/^/@doctor /'
while read -r suite test name; do
    begun=$(now)
    # One more than the longest limit of a test: it ends by itself, and says why.
    timeout 150 "/lab/deps/$suite" --test-threads=1 --exact "$test" --nocapture >/tmp/output 2>&1
    took=$(($(now) - begun))
    # A test that is not there would pass, and one that is skipped.
    if grep -q "^test result: ok. 1 passed" /tmp/output && ! grep -q "skipped: " /tmp/output; then
        echo "@ok $took $name"
    else
        head -c 1000000 /tmp/output
        echo "@failed $took $name"
    fi
done </checks
echo "@end"
# QEMU ends with that (-no-reboot). It would not end with a machine that is off after it has slept.
reboot -f
