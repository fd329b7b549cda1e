"""The options of a container's configuration."""

from __future__ import annotations

from dsecos_proxmox_simulator.parameters import table

MOUNT_OPTIONS = (
    "/(discard|lazytime|noatime|nodev|noexec|nosuid)(;(discard|lazytime|noatime|nodev|noexec|nosuid))*/"
)

ROOTFS = table(
    f"""
    volume!      string format:pve-lxc-mp-string
    acl          boolean
    mountoptions string {MOUNT_OPTIONS}
    quota        boolean
    replicate    boolean
    ro           boolean
    shared       boolean
    size         string format:disk-size
    """
)
MOUNT_POINT = ROOTFS | table(
    """
    mp!          string format:pve-lxc-mp-string
    backup       boolean
    keepattrs    boolean since:9.1
    """
)
NETWORK = table(
    """
    name!        string /[-_.\\w\\d]+/
    bridge       string /[-_.\\w\\d]+/
    firewall     boolean
    gw           string format:ipv4
    gw6          string format:ipv6
    host-managed boolean since:9.1
    hwaddr       string format:mac-addr
    ip           string format:pve-ipv4-config
    ip6          string format:pve-ipv6-config
    link_down    boolean
    mtu          integer 64..65535
    rate         number
    tag          integer 1..4094
    trunks       string /\\d+(;\\d+)*/
    type         string =veth
    """
)
FEATURES = table(
    """
    force_rw_sys boolean
    fuse         boolean
    keyctl       boolean
    mknod        boolean
    mount        string /[a-zA-Z0-9_;]+/
    nesting      boolean
    """
)
DEVICE = table(
    """
    path         string format:pve-lxc-dev-string
    deny-write   boolean
    gid          integer 0..
    mode         string /0[0-7]{3}/
    uid          integer 0..
    """
)
UNUSED = table("volume! string format:pve-volume-id")

DISKS = "|".join(("rootfs", *(f"mp{n}" for n in range(256))))
VOLUMES = "|".join((DISKS, *(f"unused{n}" for n in range(256))))
"""What may be resized, and what may be moved."""

ENVIRONMENT = "/(\\w+=[^\\x00-\\x08\\x10-\\x1F\\x7F]*)(\\0\\w+=[^\\x00-\\x08\\x10-\\x1F\\x7F]*)*/"

OPTIONS = table(
    f"""
    arch         string =amd64|i386|arm64|armhf|riscv32|riscv64
    cmode        string =shell|console|tty
    console      boolean
    cores        integer 1..8192
    cpulimit     number 0..8192
    cpuunits     integer 0..500000
    debug        boolean
    description  string len:..8192
    dev[n]       string props:DEVICE
    entrypoint   string since:9.1 /[^\\x00-\\x08\\x10-\\x1F\\x7F]+/
    env          string since:9.1 {ENVIRONMENT}
    features     string props:FEATURES
    hookscript   string format:pve-volume-id
    hostname     string len:..255 format:dns-name
    lock         string =backup|create|destroyed|disk|fstrim|migrate|mounted|rollback|snapshot|snapshot-delete
    memory       integer 16..
    mp[n]        string props:MOUNT_POINT
    nameserver   string format:lxc-ip-with-ll-iface-list
    net[n]       string props:NETWORK
    onboot       boolean
    ostype       string =debian|devuan|ubuntu|centos|fedora|opensuse|archlinux|alpine|gentoo|nixos|unmanaged
    protection   boolean
    rootfs       string props:ROOTFS
    searchdomain string format:dns-name-list
    startup      string format:pve-startup-order
    swap         integer 0..
    tags         string format:pve-tag-list
    template     boolean
    timezone     string format:pve-ct-timezone
    tty          integer 0..6
    unprivileged boolean
    unused[n]    string props:UNUSED
    """,
    DEVICE=(DEVICE, "path"),
    FEATURES=(FEATURES, ""),
    MOUNT_POINT=(MOUNT_POINT, "volume"),
    NETWORK=(NETWORK, ""),
    ROOTFS=(ROOTFS, "volume"),
    UNUSED=(UNUSED, "volume"),
)
CREATE = OPTIONS | table(
    """
    vmid!                integer 100..999999999 format:pve-vmid
    ostemplate!          string len:..255
    bwlimit              number 0..
    force                boolean
    ha-managed           boolean since:9.1
    ignore-unpack-errors boolean
    password             string len:5..
    pool                 string format:pve-poolid
    restore              boolean
    ssh-public-keys      string
    start                boolean
    storage              string format:pve-storage-id
    unique               boolean requires:restore
    """
)
UPDATE = OPTIONS | table(
    """
    delete string format:pve-configid-list
    digest string len:..40
    revert string format:pve-configid-list
    """
)

READ_ONLY = {"unprivileged", "arch"}
HOT = {
    "cores",
    "cpulimit",
    "cpuunits",
    "description",
    "hookscript",
    "hostname",
    "memory",
    "nameserver",
    "onboot",
    "protection",
    "searchdomain",
    "startup",
    "swap",
    "tags",
    "lock",
    "debug",
}
"""Options that take effect while the container runs; network devices and new mount points do as well."""

PRIVILEGES = {
    "cores": "VM.Config.CPU",
    "cpulimit": "VM.Config.CPU",
    "cpuunits": "VM.Config.CPU",
    "memory": "VM.Config.Memory",
    "swap": "VM.Config.Memory",
    "nameserver": "VM.Config.Network",
    "searchdomain": "VM.Config.Network",
    "hostname": "VM.Config.Network",
    "net": "VM.Config.Network",
    "rootfs": "VM.Config.Disk",
    "mp": "VM.Config.Disk",
    "unused": "VM.Config.Disk",
    "template": "VM.Allocate",
}
"""The privilege that changing an option takes; for all others it is VM.Config.Options."""
