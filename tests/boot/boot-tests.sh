# shellcheck shell=bash
# The boot tests of tools/check: which guests, with how many vCPUs and how much memory. Sourced by it.

# boot_case CASE KERNEL CPUS MIB IMAGE-KIND
boot_case() {
    local case=$1 kernel=$2 cpus=$3 mib=$4 image=$5
    # The bed has room for the guest and itself; a few sizes, because each has a saved state of its own.
    local bed=2048
    ((mib <= 1024)) || bed=7168
    linux "boot: $case $kernel $image, $cpus vCPUs, $mib MiB" "$bed" "${root:?}/tests/boot/boot-case" \
        "$root/build/release/bin/quire" "$case" "$kernel" "$cpus" "$mib" "$root/build/guest/$kernel/$image" \
        "$root/build/guest/$kernel/initrd" "${@:6}"
}

# debian KERNEL CPUS TRANSPORT: the disk image in a machine with all devices.
debian() {
    local kernel=$1 cpus=$2 transport=$3
    linux "boot: Debian, $kernel, $cpus vCPUs, $transport" 7168 "$root/tests/boot/debian-case" \
        "$root/build/release/bin/quire" "$root/build/guest/$kernel" "$root/build/guest/disk/disk.img" "$cpus" "$transport"
}

# gdb_linux KERNEL CPUS: gdb with Linux, from its first instruction to a panic.
gdb_linux() {
    local kernel=$1 cpus=$2
    linux "boot: gdb, $kernel, $cpus vCPUs" 2048 "$root/tests/gdb/linux" "$root/build/release/bin/quire" \
        "$root/build/guest/$kernel" "$cpus" linux
}

# kernel_test KERNEL: quire test --kernel, to which nobody gives an initrd.
kernel_test() {
    local kernel=$1 part
    for part in commands trouble untried ends; do
        linux "boot: quire test --kernel: $part, $kernel" 2048 "$root/tests/boot/kernel-case" \
            "$root/build/release/bin/quire" "$part" "$kernel" "$root/build/guest/$kernel/bzImage"
    done
}

# Real drivers on real devices: each kernel, each transport, with one vCPU and with four.
disk_tests() {
    local image=$root/build/guest/disk/disk.img
    linux 'boot: 20 power cuts' 2048 "$root/tests/boot/power-cut" "$root/build/release/bin/quire" \
        "$root/build/guest/6.1" 20
    if ((EUID != 0)); then
        skip 'guest: disk, and boots of it' 'making the image and a tap takes root'
        return
    fi
    need_packages iproute2 bsdutils perl-base e2fsprogs
    run 'guest: disk' "$root/tools/guest" disk
    run 'guest: disk, its file system' e2fsck -fn "$image"
    debian 6.1 1 pci
    debian 6.1 4 mmio
    debian 6.12 4 pci
    debian 6.12 1 mmio
    boot_case agent-systemd 6.1 1 1024 bzImage "$image"
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
        boot_case confined "$kernel" 1 256 bzImage
        run "guest: $kernel, symbols" "$root/tools/guest" symbols "$kernel"
        gdb_linux "$kernel" 1
        gdb_linux "$kernel" 4
        boot_case agent "$kernel" 2 256 bzImage
        boot_case agent-serial "$kernel" 1 256 bzImage
        boot_case agent-init "$kernel" 1 256 bzImage
        kernel_test "$kernel"
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
        boot_case no-tables small 1 64 bzImage
        boot_case crash small 1 64 bzImage
        kernel_test small
    fi
}
