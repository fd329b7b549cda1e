#!/busybox sh
# Process 1 until our files are there: this machine's, below a layer in memory that takes all changes.
set -e
bb=/busybox
how=trans=virtio,version=9p2000.L,msize=1048576

$bb mount -t proc proc /proc
$bb mount -t devtmpfs dev /dev
$bb mount -t sysfs sys /sys
for module in /modules/*; do
    $bb insmod "$module"
done

# Loose: what was read once is not asked for again, although it may have changed.
$bb mount -t 9p -o ro,cache=loose,$how host /host
$bb mount -t tmpfs -o mode=755 upper /upper
$bb mkdir /upper/files /upper/work
$bb mount -t overlay -o lowerdir=/host,upperdir=/upper/files,workdir=/upper/work root /root

$bb mount -t tmpfs -o mode=755 run /root/run
$bb mkdir /root/run/vm
$bb mount -t 9p -o cache=none,$how shared /root/run/vm
$bb cp /serve /root/run/serve
for each in proc dev sys; do
    $bb mount --move /$each /root/$each
done
exec $bb switch_root /root /bin/sh /run/serve
