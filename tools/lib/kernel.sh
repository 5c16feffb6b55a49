# shellcheck shell=bash
# Debian's kernels without installing them, and initrds for them. Sourced, not run; needs cache.sh and packages.sh.

# shellcheck disable=SC2034 # for need_packages, in the scripts that source this
kernel_packages=(busybox-static cpio kmod lz4 xz-utils zstd)

# kernel_package META: "NAME=VERSION" of the kernel package that a meta package stands for.
# apt-cache takes half a second, so the answer is kept until apt's lists change.
kernel_package() {
    local meta=$1 memo answer
    memo=$(cache_dir)/resolved/$meta
    if [[ ! $memo -nt /var/lib/apt/lists ]]; then
        answer=$(apt-cache show --no-all-versions "$meta" |
            sed -nE 's/^Depends: (linux-image-[^ ,]+) \(= ([^)]+)\).*/\1=\2/p')
        if [[ -z $answer ]]; then
            echo "apt knows no package behind $meta; has apt-get update been run?" >&2
            return 1
        fi
        mkdir -p "${memo%/*}"
        echo "$answer" >"$memo.$$"
        mv "$memo.$$" "$memo"
    fi
    cat "$memo"
}

# kernel_fetch META MODULE...: the path of a cache entry with bzImage, vmlinux, config, and modules/:
# a lib/modules of just the named modules that exist for this kernel, and what they depend on.
kernel_fetch() {
    local meta=$1 package hash
    shift
    package=$(kernel_package "$meta")
    hash=$(cache_hash "$package" "$*" "$(declare -f kernel_build kernel_modules kernel_extract)")
    cache_entry "kernel-${package#*=}-$hash" kernel_build "$package" "$*"
}

# kernel_build PACKAGE "MODULE..." DIR
kernel_build() {
    local package=$1 modules=$2 dir=$3 release
    echo "fetching $package"
    mkdir "$dir/package"
    deb_unpack "$package" "$dir/package"
    release=$(ls "$dir/package/lib/modules")
    mv "$dir/package/boot/vmlinuz-$release" "$dir/bzImage"
    mv "$dir/package/boot/config-$release" "$dir/config"
    kernel_extract "$dir/bzImage" "$dir/vmlinux"
    # shellcheck disable=SC2086 # a list of words
    kernel_modules "$dir/package" "$release" "$dir/modules" $modules
    rm -rf "$dir/package"
}

# deb_unpack NAME[=VERSION] DIR: a package's files, without installing it.
deb_unpack() (
    cd "$2" || exit
    # apt's download user need not be able to write here.
    apt-get -qq -o APT::Sandbox::User=root download "$1"
    dpkg-deb -x ./*.deb .
    rm ./*.deb
)

# kernel_modules ROOT RELEASE DIR MODULE...: copy the closure of the modules to DIR, decompressed, with their indexes.
kernel_modules() {
    local root=$1 release=$2 dir=$3 tree=lib/modules/$2 name file
    shift 3
    depmod -b "$root" "$release" 2>/dev/null
    for name in "$@"; do
        # A name that is not there is built in or does not exist for this kernel: both are fine.
        modprobe -d "$root" -S "$release" --ignore-install --show-depends "$name" 2>/dev/null || true
    done | sed -n "s,^insmod $root/\([^ ]*\).*,\1,p" | sort -u |
        while read -r file; do
            install -D -m 644 "$root/$file" "$dir/$file"
            [[ $file != *.xz ]] || xz -d "$dir/$file"
        done
    cp "$root/$tree"/modules.{order,builtin,builtin.modinfo} "$dir/$tree/"
    depmod -b "$dir" "$release"
}

# kernel_extract BZIMAGE VMLINUX: the ELF image inside, found by the setup header's fields.
kernel_extract() {
    local image=$1 out=$2 sectors offset length magic decompress
    sectors=$(number_at "$image" 0x1f1 1)
    offset=$(number_at "$image" 0x248 4)
    length=$(number_at "$image" 0x24c 4)
    offset=$(((sectors + 1) * 512 + offset))
    magic=$(od -A n -t x1 -j "$offset" -N 4 "$image" | tr -d ' ')
    case $magic in
    fd377a58) decompress=xz ;;
    28b52ffd) decompress=zstd ;;
    02214c18) decompress=lz4 ;;
    *) echo "$image: unknown compression $magic" >&2; return 1 ;;
    esac
    echo "extracting vmlinux ($decompress)"
    # The build appends the unpacked size, 4 bytes, which is no part of the compressed stream.
    dd if="$image" iflag=skip_bytes,count_bytes bs=1M skip="$offset" count=$((length - 4)) status=none |
        "$decompress" -dc >"$out"
}

# number_at FILE OFFSET BYTES
number_at() {
    od -A n -t "u$3" -j $(($2)) -N "$3" "$1" | tr -d ' '
}

# initrd_pack INIT MODULES OUT [PROGRAM...]: a cpio of busybox, INIT as /init, the module tree MODULES ("" for none), and
# programs in /bin.
# It is not compressed: copying a few MB costs a guest less than unpacking them.
initrd_pack() (
    init=$1 modules=$2 out=$3
    shift 3
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    chmod 755 "$root"    # not only root's commands start there
    mkdir -p "$root"/{bin,dev,lib,proc,root,run,sys,tmp}
    install -m 755 "$init" "$root/init"
    install -m 755 /bin/busybox "$root/bin/busybox"
    /bin/busybox --list | grep -vx busybox | sed "s,^,$root/bin/," | xargs -n 1 ln -s busybox
    (($# == 0)) || install -m 755 "$@" "$root/bin/"
    # The kernel asks for /sbin/modprobe by name.
    ln -s bin "$root/sbin"
    [[ -z $modules ]] || cp -r "$modules/lib/modules" "$root/lib/"
    cd "$root" || exit
    find . | LC_ALL=C sort | cpio --quiet --reproducible -o -H newc -R 0:0 >"$out"
)
