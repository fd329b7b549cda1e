"""What the host needs to build and publish images: Debian package and reason. The one list of this part."""

HOST_PACKAGES: dict[str, str] = {
    "apt": "its sources and settings are where packages come from",
    "buildah": "makes OCI images",
    "debian-archive-keyring": "proves that packages are Debian's",
    "lxc": "runs the guest template once, to fill its Docker directory",
    "mmdebstrap": "makes root file systems",
    "skopeo": "pushes images to the registry",
    "tar": "packs trees with their extended attributes",
    "util-linux": "gives builds their own mounts (unshare, setpriv)",
    "zstd": "compresses templates",
}
