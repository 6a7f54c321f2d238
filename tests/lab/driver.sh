#!/bin/sh
# SPDX-License-Identifier: MIT
# The module, held to tests/lab/suite/abi.c: where it is loaded (/dev/sluice), else
# in a QEMU guest, where it also leaves again and the kernel's log stays clean.
# KTAP on stdout, exit 0, 1 or 4.
#
# The guest is a kernel, busybox, the module and one static program. KERNEL
# names the kernel image; by default the one in /boot that the headers are of,
# else build/lab/boot/ (apt-get download linux-image-VERSION; dpkg -x).
set -u
cd "$(dirname "$0")/../.." || exit 1
V=$(ls -d /usr/src/linux-headers-*-amd64 2>/dev/null | sort -rV | sed -n '1s,.*headers-,,p')
lab=build/lab
name=the_module_in_a_guest

skip() {
	echo "KTAP version 1"
	echo "1..1"
	echo "ok 1 $name # SKIP $*"
	exit 4
}

mkdir -p $lab/root/bin $lab/root/dev $lab/root/proc $lab/root/sys || exit 1
gcc -static -O1 -g -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Itests -I. \
	-Wno-pointer-to-int-cast -o $lab/root/bin/driver tests/lab/suite/abi.c || exit 1
[ -e /dev/sluice ] && exec $lab/root/bin/driver

for c in qemu-system-x86_64 busybox cpio; do
	command -v $c >/dev/null || skip "no $c"
done
[ -n "$V" ] || skip "no kernel headers (linux-headers-amd64)"
for k in "${KERNEL:-}" "/boot/vmlinuz-$V" "$lab/boot/vmlinuz-$V"; do
	[ -n "$k" ] && [ -r "$k" ] && kernel=$k && break
done
[ -n "${kernel:-}" ] || skip "no image of kernel $V: KERNEL="
file=$(command -v busybox)
ldd "$file" >/dev/null 2>&1 && skip "busybox is not static (busybox-static)"

make -s module KDIR="/usr/src/linux-headers-$V" >$lab/module.log 2>&1 || { cat $lab/module.log && exit 1; }
cp "$file" $lab/root/bin/busybox
cp build/sluice.ko $lab/root/
cat >$lab/root/init <<'E2'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
$b dmesg -n 1
$b insmod /sluice.ko || echo "LAB insmod failed"
echo
echo "LAB mode $($b stat -c %a /dev/sluice)"
$b timeout 60 /bin/driver
echo "LAB rc $?"
$b rmmod sluice || echo "LAB rmmod failed"
[ -e /dev/sluice ] && echo "LAB the device outlived its module"
$b dmesg | $b grep -E 'WARNING:|BUG:|Oops|possible .* detected|general protection' | $b sed 's/^/LAB dmesg /'
$b poweroff -f
E2
chmod +x $lab/root/init
(cd $lab/root && find . | cpio -o -H newc --quiet) | gzip -1 >$lab/initrd.gz
timeout 90 qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max \
	-m 512M -smp 2 -nographic -nodefaults -serial stdio -no-reboot \
	-kernel "$kernel" -initrd $lab/initrd.gz \
	-append "console=ttyS0 quiet panic=-1" </dev/null >$lab/serial.log 2>&1
# What the firmware prints before is no part of it.
tr -d '\r' <$lab/serial.log | sed 's/\x1b\[[?0-9;]*[A-Za-z]//g; s/\x1bc//g' >$lab/out

# The guest's own KTAP, and one test more for what is around it.
n=$(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' $lab/out | head -n 1)
if [ -z "$n" ]; then
	echo "KTAP version 1"
	echo "1..1"
	tail -n 20 $lab/out | sed 's/^/# /'
	echo "not ok 1 $name"
	exit 1
fi
echo "KTAP version 1"
echo "1..$((n + 1))"
sed -n "/^1\.\.$n\$/,/^# Totals/{/^1\.\./d;/^# Totals/d;p}" $lab/out
bad=$(grep '^LAB ' $lab/out | grep -vx -e 'LAB mode 660' -e 'LAB rc 0')
if [ -n "$bad" ] || ! grep -qx 'LAB mode 660' $lab/out; then
	printf '%s\n' "$bad" | sed 's/^/# /'
	echo "not ok $((n + 1)) $name"
	exit 1
fi
echo "ok $((n + 1)) $name"
! grep -q '^not ok' $lab/out
