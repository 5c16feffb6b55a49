# shellcheck shell=bash
# The boot tests of tools/check: which guests, with how many vCPUs and how much memory. Sourced by it.

# boot_case CASE KERNEL CPUS MIB IMAGE-KIND
boot_case() {
    local case=$1 kernel=$2 cpus=$3 mib=$4 image=$5
    linux "boot: $case $kernel $image, $cpus vCPUs, $mib MiB" 2048 "${root:?}/tests/boot/boot-case" \
        "$root/build/release/bin/quire" "$case" "$kernel" "$cpus" "$mib" "$root/build/guest/$kernel/$image" \
        "$root/build/guest/$kernel/initrd" "${@:6}"
}

# scenarios NAME MIB WORD... [-- OPTION...]: quire test, with scenarios of this folder.
scenarios() {
    local name=$1 mib=$2 files=()
    shift 2
    while (($# > 0)) && [[ $1 != -- ]]; do
        files+=("$root/tests/boot/$1")
        shift
    done
    linux_cases "$name" "$mib" "$root/build/release/bin/quire" test "${files[@]}" "${@:2}"
}

# must_fail NAME FILE...: scenarios that have to end as they say themselves.
must_fail() {
    local name=$1
    shift
    linux_cases "$name" 2048 "$root/tests/boot/must-fail" "$root/build/release/bin/quire" "$@"
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
    ((EUID == 0)) || return 0
    debian 6.1 1 pci
    debian 6.1 4 mmio
    debian 6.12 4 pci
    debian 6.12 1 mmio
    boot_case agent-systemd 6.1 1 1024 bzImage "$image"
}

power_cuts() {
    linux 'boot: 20 power cuts' 2048 "$root/tests/boot/power-cut" "$root/build/release/bin/quire" \
        "$root/build/guest/6.1" 20
}

# kernel_boots KERNEL: what only the shell can say of it.
kernel_boots() {
    local kernel=$1
    gdb_linux "$kernel" 1
    gdb_linux "$kernel" 4
    boot_case maps "$kernel" 2 256 bzImage
    boot_case dump "$kernel" 2 256 bzImage
    boot_case agent "$kernel" 2 256 bzImage
    boot_case agent-serial "$kernel" 1 256 bzImage
    boot_case agent-init "$kernel" 1 256 bzImage
    kernel_test "$kernel"
}

# kernel_reports KERNEL: the bed has room for the largest guest and itself.
kernel_reports() {
    scenarios "boot: $1" 7168 report.toml -- --filter "kernel=$1-bzImage" --filter "kernel=$1-vmlinux"
}

failing_boots() { must_fail 'boot: failing' "$root"/tests/boot/failing/*.toml; }
hostile_boots() { must_fail 'boot: hostile' "$root"/tests/boot/hostile/*.toml; }

small_boots() {
    scenarios 'boot: small' 2048 small
    kernel_test small
    linux 'boot: bisect' 2048 "$root/tests/farm/bisect" "$root/build/release/bin/quire" "$root/build/guest/small"
}

# prepare_guests MODE: all that takes packages or the network, before any of them boots.
prepare_guests() {
    local mode=$1 kernel
    need_packages iproute2 bsdutils perl-base e2fsprogs git jq procps
    for kernel in 6.1 6.12; do
        run "guest: $kernel" "$root/tools/guest" fetch "$kernel"
        run "guest: $kernel, initrd" "$root/tools/guest" initrd "$kernel"
        run "guest: $kernel, provoke" "$root/tools/guest" provoke "$kernel"
        run "guest: $kernel, symbols" "$root/tools/guest" symbols "$kernel"
    done
    if ((EUID == 0)); then
        run 'guest: disk' "$root/tools/guest" disk
        run 'guest: disk, its file system' e2fsck -fn "$root/build/guest/disk/disk.img"
    else
        skip 'guest: disk, and boots of it' 'making the image and a tap takes root'
    fi
    if [[ $mode == full ]]; then
        run 'guest: small' "$root/tools/guest" small
        run 'guest: small, initrd' "$root/tools/guest" initrd small
    fi
    linux 'boot: a host for guests' 2048 true
}

# choose_boot_tests MODE: functions, with words, into $boot_tests, the longest first.
choose_boot_tests() {
    # shellcheck disable=SC2034 # whoever sources this has it
    boot_tests=(failing_boots 'kernel_boots 6.1' 'kernel_boots 6.12' 'kernel_reports 6.1' 'kernel_reports 6.12' disk_tests
        'scenarios boot 2048 agent-as-init.toml crash.toml reboot.toml reset-exit.toml steps.toml trouble.toml trouble-ends.toml'
        hostile_boots power_cuts)
    [[ $1 != full ]] || boot_tests+=(small_boots)
}
