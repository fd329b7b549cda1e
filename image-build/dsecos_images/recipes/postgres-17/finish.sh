#!/bin/sh
# The smallest root in which PostgreSQL runs. Packages are unpacked, not configured; $1 is the new root.
set -eu
root=$1

printf 'root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' > "$root/etc/passwd"
printf 'root:x:0:\npostgres:x:999:\nnogroup:x:65534:\n' > "$root/etc/group"
mkdir -p "$root/tmp" "$root/root" "$root/docker-entrypoint-initdb.d"
chmod 1777 "$root/tmp"
rm -rf "$root/var/lib/postgresql"
install -d -o 999 -g 999 "$root/var/lib/postgresql"
install -d -o 999 -g 999 -m 0700 "$root/var/lib/postgresql/data"
install -d -o 999 -g 999 -m 3777 "$root/var/run/postgresql"

for applet in $("$root/usr/bin/busybox" --list); do
    [ -e "$root/usr/bin/$applet" ] || [ -e "$root/usr/sbin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
done

# Debian's wrappers manage clusters of a host; here there is one, and its tools stand in the PATH themselves.
for tool in "$root"/usr/lib/postgresql/17/bin/*; do rm -f "$root/usr/bin/${tool##*/}"; done
# Just-in-time compilation costs 160 MB (LLVM) and PostgreSQL goes without it by itself when it is missing.
rm -rf "$root"/usr/lib/*/libLLVM* "$root"/usr/lib/*/libz3* "$root"/usr/lib/postgresql/17/lib/bitcode \
    "$root"/usr/lib/postgresql/17/lib/llvmjit*
rm -rf "$root"/var/lib/apt "$root"/var/cache/* "$root"/etc/apt "$root"/etc/dpkg "$root"/etc/hostname "$root"/etc/resolv.conf \
    "$root"/usr/share/perl "$root"/usr/share/perl5 "$root"/usr/lib/*/perl "$root"/usr/lib/*/perl5 "$root"/usr/lib/*/perl-base \
    "$root"/usr/lib/*/libperl* "$root"/usr/bin/perl* "$root"/usr/share/postgresql-common "$root"/usr/share/lintian \
    "$root"/usr/share/bug "$root"/usr/share/bash-completion "$root"/usr/share/debconf "$root"/usr/lib/systemd \
    "$root"/usr/share/gdb "$root"/usr/share/gcc "$root"/usr/bin/openssl
ldconfig -r "$root"
