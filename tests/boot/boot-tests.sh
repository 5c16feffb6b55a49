# shellcheck shell=bash
# The boot tests of tools/check: which guests, with how many vCPUs and how much memory. Sourced by it.

# boot_case CASE KERNEL CPUS MIB IMAGE-KIND
boot_case() {
    local case=$1 kernel=$2 cpus=$3 mib=$4 image=$5
    # The bed has room for the guest and itself; a few sizes, because each has a saved state of its own.
    local bed=2048
    ((mib <= 1024)) || bed=7168
    linux "boot: $case $kernel $image, $cpus vCPUs, $mib MiB" "$bed" "$root/tests/boot/boot-case" \
        "$root/build/release/bin/quire" "$case" "$kernel" "$cpus" "$mib" "$root/build/guest/$kernel/$image" \
        "$root/build/guest/$kernel/initrd"
}

# The disk image is made, and is a sound file system.
disk_tests() {
    local image=$root/build/guest/disk/disk.img
    if ((EUID != 0)); then
        skip 'guest: disk' 'making it takes root'
        return
    fi
    run 'guest: disk' "$root/tools/guest" disk
    run 'guest: disk, its file system' e2fsck -fn "$image"
}

boot_tests() {
    local mode=$1 kernel image cpus mib
    for kernel in 6.1 6.12; do
        run "guest: $kernel" "$root/tools/guest" fetch "$kernel"
        run "guest: $kernel, initrd" "$root/tools/guest" initrd "$kernel"
        for image in bzImage vmlinux; do
            for cpus in 1 2 4; do
                for mib in 128 1024 6144; do
                    boot_case report "$kernel" "$cpus" "$mib" "$image"
                done
            done
        done
        boot_case reset-exit "$kernel" 2 256 bzImage
        boot_case reboot "$kernel" 2 256 bzImage
        boot_case maps "$kernel" 2 256 bzImage
        boot_case crash "$kernel" 2 256 bzImage
    done
    disk_tests
    if [[ $mode == full ]]; then
        run 'guest: small' "$root/tools/guest" small
        run 'guest: small, initrd' "$root/tools/guest" initrd small
        for cpus in 1 2 4; do
            boot_case report small "$cpus" 128 bzImage
            boot_case device-tree small "$cpus" 128 bzImage
            boot_case pvh small "$cpus" 128 vmlinux
        done
        boot_case reset-exit small 1 64 bzImage
        boot_case crash small 1 64 bzImage
    fi
}
