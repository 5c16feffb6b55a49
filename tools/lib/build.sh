# shellcheck shell=bash
# Building Quire: packages and presets. Sourced, not run; lib/packages.sh comes first.

# shellcheck disable=SC2034 # for need_packages, in the scripts that source this
build_packages=(cmake ninja-build gcc g++ pkg-config libc6-dev linux-libc-dev libtomlplusplus-dev libzstd-dev liblz4-dev
                liblzma-dev zlib1g-dev libfdt-dev acpica-tools libseccomp-dev liburcu-dev liburing-dev libslirp-dev
                libglib2.0-dev libjansson-dev libpcre2-dev libelf-dev
                busybox-static check libsubunit-dev)

# build PRESET [CMAKE-OPTION...]: configures and builds; what goes wrong is printed, the rest is kept in a log.
build() {
    local preset=$1 log
    shift
    log=${root:?}/build/$preset.log
    mkdir -p "$root/build"
    if ! { (cd "$root" && cmake --preset "$preset" "$@" && cmake --build "build/$preset"); } >"$log" 2>&1; then
        echo "building $preset failed; the log is $log, and ends so:" >&2
        tail -n 40 "$log" >&2
        return 1
    fi
}
