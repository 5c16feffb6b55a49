# shellcheck shell=bash
# QEMU's program, mended. Sourced, not run; needs cache.sh.
#
# VMRUN with an interrupt to inject leaves the vector behind where exceptions wait (QEMU 7.2's helper_vmrun: it sets
# exception_index, and then delivers the interrupt itself). If the emulator comes back to its main loop before the
# guest's next exit, the guest has the interrupt a second time, in the middle of its handler, and waits for ever for a
# lock that it holds. That is rare, but where instructions are counted each timer leads to the main loop.

# qemu_mended: the path of a cache entry with bin/qemu-system-x86_64, which does not set it.
qemu_mended() {
    local program
    program=$(command -v qemu-system-x86_64)
    cache_entry "qemu-$(cache_hash "$(stat -L -c '%n %s %Y' "$program")" "$(declare -f qemu_mend)")" \
        qemu_mend "$program"
}

# qemu_mend PROGRAM DIR
qemu_mend() {
    # QEMU looks for its modules and firmware next to the folder that it is in.
    ln -s "${1%/bin/*}"/{lib,share} "$2"
    mkdir "$2/bin"
    # The store of the vector (89 b3) becomes an instruction that does nothing. Before it the vector is taken out of
    # EVENTINJ, and the error code stored; behind it exception_is_int is set to 0, and exception_next_eip to -1.
    # shellcheck disable=SC2016 # Perl's
    if ! perl -0777 -p -e '
        $found = s/(\x41\x0f\xb6\xf4 \x44\x89\xab.{4}) \x89\xb3.{4} (?=\xc7\x83.{4}\0{4} \x48\xc7\x83.{4}\xff{4})
                  /$1\x66\x0f\x1f\x44\0\0/gsx;
        exit 1 if $found != 1' "$1" >"$2/bin/${1##*/}"; then
        echo "$1 is built otherwise than Debian 12's, so that it cannot be mended (tools/lib/qemu.sh)"
        return 1
    fi
    chmod 755 "$2/bin/${1##*/}"
}
