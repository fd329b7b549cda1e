#!/bin/sh
# The smallest root in which node runs. Packages are unpacked, not configured; $1 is the new root.
set -eu
root=$1

printf 'root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' > "$root/etc/passwd"
printf 'root:x:0:\nnode:x:1000:\nnogroup:x:65534:\n' > "$root/etc/group"
mkdir -p "$root/tmp" "$root/root"
chmod 1777 "$root/tmp"
install -d -o 1000 -g 1000 "$root/home/node"

for applet in $("$root/usr/bin/busybox" --list); do
    [ -e "$root/usr/bin/$applet" ] || [ -e "$root/usr/sbin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
done
# What ca-certificates would do when configured: one bundle of all authorities, where OpenSSL looks for it.
mkdir -p "$root/etc/ssl/certs"
cat "$root"/usr/share/ca-certificates/mozilla/*.crt > "$root/etc/ssl/certs/ca-certificates.crt"

rm -rf "$root"/var/lib/apt "$root"/var/cache/* "$root"/etc/apt "$root"/etc/dpkg "$root"/etc/hostname "$root"/etc/resolv.conf \
    "$root"/usr/share/perl5 "$root"/usr/share/nodejs/@types "$root"/usr/share/lintian "$root"/usr/share/bug \
    "$root"/usr/share/bash-completion "$root"/usr/share/gdb "$root"/usr/share/gcc "$root"/usr/share/debconf "$root"/usr/share/nodejs/corepack \
    "$root"/usr/bin/corepack "$root"/usr/bin/openssl "$root"/usr/bin/tini-static
find "$root/usr/lib" -path '*/obj.target/*' -delete
ldconfig -r "$root"
