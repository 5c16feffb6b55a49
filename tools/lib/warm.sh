# shellcheck shell=bash
# What is to be in memory before something is measured. Sourced, not run.

# warm FILE...: reads these, and the libraries of those that are programs. What the bed waits for files of the outer
# machine is not the same twice, in counted time (tools/bed -i) neither.
warm() {
    local file
    for file in "$@"; do
        cat "$file"
        { ldd "$file" 2>/dev/null || true; } | awk '$3 ~ /^\// { print $3 }' | xargs -r cat
    done >/dev/null
}

# warm_qemu: reads what Debian's QEMU has for a PC.
warm_qemu() {
    warm "$(command -v qemu-system-x86_64)" /usr/lib/*/qemu/accel-*.so /usr/share/seabios/*.bin /usr/share/qemu/*.bin
}
