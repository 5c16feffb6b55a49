# shellcheck shell=bash
# A Debian 12 system as a disk image. Sourced, not run; needs cache.sh, packages.sh and kernel.sh.

# shellcheck disable=SC2034 # for need_packages, in the scripts that source this
disk_host_packages=(mmdebstrap e2fsprogs)
# What makes it a system with a login and a network, and what tests and benchmarks use.
disk_packages=(
    systemd-sysv udev dbus libpam-systemd systemd-resolved netbase iproute2 ca-certificates
    e2fsprogs ethtool fio iperf3 iputils-ping kmod less pciutils procps util-linux
)
disk_size=2G
# The name of the file system: tools/guest.d/disk/etc/fstab has it too.
disk_label=quire-root

# disk_sources: this machine's sources of Debian 12, as lines for sources.list; those with a password in them are left out.
disk_sources() {
    local sources
    # shellcheck disable=SC2016 # apt-get's own format language
    sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' | grep -v '@' | grep -E ' bookworm(-updates|-security)? ' | sort -u)
    if [[ -z $sources ]]; then
        echo "apt knows no archive of Debian 12 (bookworm); has apt-get update been run?" >&2
        return 1
    fi
    echo "$sources"
}

# disk_fetch FILES KERNEL-PACKAGE...: the path of a cache entry with disk.img, a file system without partitions. FILES is a
# directory that is copied over the system; the kernels' modules are in it.
disk_fetch() {
    local files=$1 sources hash
    shift
    sources=$(disk_sources)
    hash=$(cache_hash "$sources" "$*" "${disk_packages[*]}" "$disk_size $disk_label" \
        "$(cd "$files" && find . -type f -exec sha256sum {} + | LC_ALL=C sort)" \
        "$(declare -f disk_build disk_bootstrap disk_settings disk_kernel disk_image deb_unpack)")
    cache_entry "disk-$hash" disk_build "$files" "$sources" "$@"
}

# disk_build FILES SOURCES KERNEL-PACKAGE... DIR
disk_build() {
    local files=$1 sources=$2 dir=${!#} root kernel
    if ((EUID != 0)); then
        echo "making a disk image takes root, for its files are root's; run this as root once" >&2
        return 1
    fi
    root=$dir/root
    disk_bootstrap "$root" "$sources"
    cp -rT --no-preserve=ownership "$files" "$root"
    disk_settings "$root"
    for kernel in "${@:3:$#-3}"; do
        disk_kernel "$root" "$kernel"
    done
    disk_image "$root" "$dir/disk.img"
    rm -rf "$root"
}

# disk_bootstrap ROOT SOURCES: Debian's packages. What it says is for a terminal; elsewhere, only a failure is told.
disk_bootstrap() {
    local root=$1 sources=$2 log=$1.log command
    echo "making a Debian system; this takes some minutes"
    command=(mmdebstrap --mode=root --format=directory --variant=apt --include="${disk_packages[*]}"
             --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*'
             --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright'
             bookworm "$root" -)
    if [[ -t 2 ]]; then
        "${command[@]}" <<<"$sources"
    elif ! "${command[@]}" <<<"$sources" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "mmdebstrap failed; what it said is above" >&2
        return 1
    fi
    rm -f "$log"
}

# disk_settings ROOT
disk_settings() {
    local root=$1
    chroot "$root" passwd -q -d root
    # Empty, and not absent: without it, each boot would be a first one, with its questions.
    : >"$root/etc/machine-id"
    ln -sfn ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
    chroot "$root" systemctl -q enable systemd-networkd.service
    # What would start by itself in the middle of a measurement.
    chroot "$root" systemctl -q disable apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
        e2scrub_reap.service fstrim.timer
}

# disk_kernel ROOT PACKAGE: the modules of a kernel package, without the kernel, which comes from outside.
disk_kernel() {
    local root=$1 package=$2 unpacked=$1.kernel release
    echo "fetching $package"
    mkdir "$unpacked"
    deb_unpack "$package" "$unpacked"
    release=$(ls "$unpacked/lib/modules")
    mkdir -p "$root/lib/modules"
    mv "$unpacked/lib/modules/$release" "$root/lib/modules/"
    depmod -b "$root" "$release"
    rm -rf "$unpacked"
}

# disk_image ROOT IMAGE
disk_image() {
    echo "writing the file system"
    truncate -s "$disk_size" "$2"
    mke2fs -q -t ext4 -L "$disk_label" -d "$1" "$2"
    # Whoever writes to it spoils it for others.
    chmod 444 "$2"
}
