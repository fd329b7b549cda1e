"""The options of a virtual machine's configuration that the simulator knows; the rest of the real ones is
refused."""

from __future__ import annotations

from dsecos_proxmox_simulator.parameters import table

DISK = table(
    """
    file!         string
    volume        string alias:file
    aio           string =native|threads|io_uring
    backup        boolean
    cache         string =none|writethrough|writeback|unsafe|directsync
    detect_zeroes boolean
    discard       string =ignore|on
    format        string =raw|qcow|qed|qcow2|vmdk|cloop
    import-from   string
    iops_rd       integer
    iops_wr       integer
    mbps_rd       number
    mbps_wr       number
    media         string =cdrom|disk
    replicate     boolean
    serial        string len:..60 format:urlencoded
    shared        boolean
    size          string format:disk-size
    snapshot      boolean
    """
)
SOLID = DISK | table("ssd boolean")
SCSI = SOLID | table(
    """
    iothread  boolean
    queues    integer 2..
    ro        boolean
    scsiblock boolean
    """
)
VIRTIO = DISK | table(
    """
    iothread boolean
    ro       boolean
    """
)
EFI = table(
    """
    file!             string
    volume            string alias:file
    efitype           string =2m|4m
    format            string =raw|qcow|qed|qcow2|vmdk|cloop
    import-from       string
    pre-enrolled-keys boolean
    size              string format:disk-size
    """
)
TPM = table(
    """
    file!       string
    volume      string alias:file
    import-from string
    size        string format:disk-size
    version     string =v1.2|v2.0
    """
)
MODELS = (
    "e1000",
    "e1000-82540em",
    "e1000-82544gc",
    "e1000-82545em",
    "e1000e",
    "i82551",
    "i82557b",
    "i82559er",
    "ne2k_isa",
    "ne2k_pci",
    "pcnet",
    "rtl8139",
    "virtio",
    "vmxnet3",
)
NETWORK = table(
    f"""
    model!    string ={"|".join(MODELS)}
    bridge    string format:pve-bridge-id
    firewall  boolean
    link_down boolean
    macaddr   string format:mac-addr
    mtu       integer 1..65520
    queues    integer 0..64
    rate      number 0..
    tag       integer 1..4094
    trunks    string /\\d+(-\\d+)?(;\\d+(-\\d+)?)*/
    """
    + "\n".join(f"{model} string format:mac-addr alias:model" for model in MODELS)
)
AGENT = table(
    """
    enabled!            boolean
    fstrim_cloned_disks boolean
    type                string =virtio|isa
    """
)
MEMORY = table("current! integer 16..")
VGA = table(
    """
    type string =cirrus|qxl|qxl2|qxl3|qxl4|none|serial0|serial1|serial2|serial3|std|virtio|virtio-gl|vmware
    clipboard string =vnc
    memory integer 4..512
    """
)
MACHINE = table(
    """
    type   string len:..40 /(pc|q35|pc-q35-\\d+(\\.\\d+)+(\\+pve\\d+)?|pc-i440fx-\\d+(\\.\\d+)+(\\+pve\\d+)?)/
    viommu string =intel|virtio
    """
)
UNUSED = table("file! string format:pve-volume-id\nvolume string alias:file")

DISKS = "|".join(
    (
        *(f"ide{n}" for n in range(4)),
        *(f"scsi{n}" for n in range(31)),
        *(f"virtio{n}" for n in range(16)),
        *(f"sata{n}" for n in range(6)),
        "efidisk0",
        "tpmstate0",
    )
)
VOLUMES = "|".join((DISKS, *(f"unused{n}" for n in range(256))))
"""What may be resized, and what may be moved."""

OPTIONS = table(
    """
    acpi         boolean
    agent        string props:AGENT
    args         string
    autostart    boolean
    balloon      integer 0..
    bios         string =seabios|ovmf
    boot         string format:pve-qm-boot
    cicustom     string format:pve-qm-cicustom
    cipassword   string
    citype       string =configdrive2|nocloud|opennebula
    ciupgrade    boolean
    ciuser       string
    cores        integer 1..
    cpu          string format:pve-vm-cpu-conf
    cpulimit     number 0..128
    cpuunits     integer 1..262144
    description  string len:..8192
    efidisk0     string props:EFI
    freeze       boolean
    hookscript   string format:pve-volume-id
    hotplug      string format:pve-hotplug-features
    ide[n]       string props:SOLID
    ipconfig[n]  string format:pve-qm-ipconfig
    kvm          boolean
    lock         string =backup|clone|create|migrate|rollback|snapshot|snapshot-delete|suspending|suspended
    machine      string props:MACHINE
    memory       string props:MEMORY
    name         string format:dns-name
    nameserver   string format:address-list
    net[n]       string props:NETWORK
    numa         boolean
    onboot       boolean
    ostype       string =other|wxp|w2k|w2k3|w2k8|wvista|win7|win8|win10|win11|l24|l26|solaris
    protection   boolean
    reboot       boolean
    rng0         string format:pve-qm-rng
    sata[n]      string props:SOLID
    scsi[n]      string props:SCSI
    scsihw       string =lsi|lsi53c810|virtio-scsi-pci|virtio-scsi-single|megasas|pvscsi
    searchdomain string
    serial[n]    string /(\\/dev\\/.+|socket)/
    shares       integer 0..50000
    smbios1      string len:..512 format:pve-qm-smbios1
    sockets      integer 1..
    sshkeys      string format:urlencoded
    startup      string format:pve-startup-order
    tablet       boolean
    tags         string format:pve-tag-list
    template     boolean
    tpmstate0    string props:TPM
    unused[n]    string props:UNUSED
    vcpus        integer 1..
    vga          string props:VGA
    virtio[n]    string props:VIRTIO
    vmgenid      string /([a-fA-F0-9]{8}(-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}|[01])/
    """,
    AGENT=(AGENT, "enabled"),
    EFI=(EFI, "file"),
    MACHINE=(MACHINE, "type"),
    MEMORY=(MEMORY, "current"),
    NETWORK=(NETWORK, "model"),
    SCSI=(SCSI, "file"),
    SOLID=(SOLID, "file"),
    TPM=(TPM, "file"),
    UNUSED=(UNUSED, "file"),
    VGA=(VGA, "type"),
    VIRTIO=(VIRTIO, "file"),
)
CREATE = OPTIONS | table(
    """
    vmid!      integer 100..999999999 format:pve-vmid
    archive    string len:..255
    bwlimit    integer 0..
    force      boolean requires:archive
    ha-managed boolean since:9.1
    pool       string format:pve-poolid
    start      boolean
    storage    string format:pve-storage-id
    unique     boolean requires:archive
    """
)
UPDATE = OPTIONS | table(
    """
    delete   string format:pve-configid-list
    digest   string len:..40
    force    boolean requires:delete
    revert   string format:pve-configid-list
    skiplock boolean
    """
)

PRIVILEGES = {
    "cores": "VM.Config.CPU",
    "sockets": "VM.Config.CPU",
    "cpu": "VM.Config.CPU",
    "cpulimit": "VM.Config.CPU",
    "cpuunits": "VM.Config.CPU",
    "numa": "VM.Config.CPU",
    "vcpus": "VM.Config.CPU",
    "memory": "VM.Config.Memory",
    "balloon": "VM.Config.Memory",
    "shares": "VM.Config.Memory",
    "net": "VM.Config.Network",
    "ipconfig": "VM.Config.Network",
    "nameserver": "VM.Config.Network",
    "searchdomain": "VM.Config.Network",
    "scsi": "VM.Config.Disk",
    "virtio": "VM.Config.Disk",
    "sata": "VM.Config.Disk",
    "ide": "VM.Config.Disk",
    "efidisk": "VM.Config.Disk",
    "tpmstate": "VM.Config.Disk",
    "unused": "VM.Config.Disk",
    "scsihw": "VM.Config.HWType",
    "machine": "VM.Config.HWType",
    "bios": "VM.Config.HWType",
    "vga": "VM.Config.HWType",
    "serial": "VM.Config.HWType",
    "acpi": "VM.Config.HWType",
    "kvm": "VM.Config.HWType",
    "cicustom": "VM.Config.Cloudinit",
    "cipassword": "VM.Config.Cloudinit",
    "ciuser": "VM.Config.Cloudinit",
    "citype": "VM.Config.Cloudinit",
    "ciupgrade": "VM.Config.Cloudinit",
    "sshkeys": "VM.Config.Cloudinit",
    "template": "VM.Allocate",
}
"""The privilege that changing an option takes; for all others it is VM.Config.Options."""
