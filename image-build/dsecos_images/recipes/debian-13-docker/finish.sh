#!/bin/sh
# Turn the bootstrapped root into a guest template. Run by mmdebstrap on the host, as root; $1 is the new root.
set -eu
root=$1

# The engine sets names and addresses, and a guest is never logged into: nothing of this has work to do in it.
mask() { for unit; do ln -sfn /dev/null "$root/etc/systemd/system/$unit"; done; }
mask getty.target console-getty.service getty-static.service systemd-logind.service systemd-user-sessions.service \
    systemd-ask-password-console.path systemd-ask-password-wall.path systemd-firstboot.service
mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer systemd-tmpfiles-clean.timer
mask systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service systemd-resolved.service \
    systemd-timesyncd.service systemd-hostnamed.socket ifupdown-pre.service
# The kernel, its devices and its modules are the node's.
mask systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udev-trigger.service \
    systemd-modules-load.service kmod-static-nodes.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
    systemd-pstore.service systemd-random-seed.service systemd-hibernate-clear.service sys-kernel-config.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-hugepages.mount \
    systemd-creds.socket systemd-pcrextend.socket systemd-pcrlock.socket systemd-pcrmachine.service \
    systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-tpm2-setup.service \
    systemd-tpm2-setup-early.service systemd-sysext.socket remote-fs.target
# Users, links and catalogues are complete already: the template never changes after it was built.
mask ldconfig.service systemd-sysusers.service systemd-update-done.service systemd-journal-catalog-update.service \
    systemd-machine-id-commit.service systemd-journal-flush.service
# LXC has mounted what there is to mount, and dockerd sets the sysctls that it needs.
mask tmp.mount dev-mqueue.mount run-lock.mount systemd-remount-fs.service systemd-sysctl.service \
    systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup-dev-early.service
# Generators look for disks, consoles and kernel arguments of a real machine at every boot.
mkdir -p "$root/etc/systemd/system-generators"
for generator in "$root"/usr/lib/systemd/system-generators/*; do
    ln -sfn /dev/null "$root/etc/systemd/system-generators/${generator##*/}"
done
# D-Bus comes when somebody asks for it.
rm -f "$root/usr/lib/systemd/system/multi-user.target.wants/dbus.service"
ln -sfn /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"

chroot "$root" passwd --quiet --lock root
: > "$root/etc/fstab"
: > "$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/hostname" "$root/etc/resolv.conf" "$root"/etc/*- "$root/etc/.pwd.lock"
printf 'auto lo\niface lo inet loopback\n' > "$root/etc/network/interfaces"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > "$root/etc/hosts"

# Neither the builder's mirror nor its apt settings belong to a guest.
rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/etc/apt/apt.conf.d/*mmdebstrap \
    "$root"/etc/apt/auth.conf* "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$root"/var/lib/apt/lists/* \
    "$root"/var/cache/apt/* "$root"/var/cache/debconf/*-old "$root"/var/log/*.log "$root"/var/log/apt \
    "$root"/usr/share/bash-completion "$root"/etc/ssh
