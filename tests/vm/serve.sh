# Process 1: runs what it is told by number on the second serial port, and tells how it ended.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8

mkdir -p /dev/pts /dev/shm /lib/modules
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# vm_modules comes from the kernel's command line; modprobe(8) looks here.
[ -e "/lib/modules/$(uname -r)" ] || ln -s "$vm_modules" "/lib/modules/$(uname -r)"
ip link set lo up

exec 3<>/dev/ttyS1
stty raw -echo <&3
echo ready >&3
while read -r number <&3; do
    sh "/run/vm/$number/command" </dev/null >"/run/vm/$number/output" 2>&1 3<&-
    echo "$number $?" >&3
done
