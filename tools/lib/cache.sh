# shellcheck shell=bash
# A cache of things that are slow to make, each under a name that holds a hash of all that went into it:
# an entry never changes once it is there. Sourced, not run.

# cache_dir: where the cache is.
cache_dir() {
    echo "${QUIRE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quire}"
}

# cache_hash STRING...: a short hash of the strings.
cache_hash() {
    printf '%s\0' "$@" | sha256sum | cut -c 1-16
}

# cache_entry NAME BUILDER [ARG...]: the path of entry NAME, which BUILDER ARG... DIR makes if it is not there.
# BUILDER fills DIR, a directory beside the entry that is renamed when it returns, so an entry is whole or absent.
# A lock keeps a second run from making the same entry at the same time.
cache_entry() {
    local name=$1 entry
    shift
    entry=$(cache_dir)/$name
    [[ -d $entry ]] || cache_make "$entry" "$@" >&2
    echo "$entry"
}

# cache_drop NAME: remove an entry that turned out to be of no use.
cache_drop() {
    rm -rf -- "$(cache_dir)/${1:?}"
}

cache_make() (
    entry=$1
    shift
    mkdir -p "${entry%/*}"
    exec {lock}>"$entry.lock"
    flock "$lock"
    [[ ! -d $entry ]] || exit 0
    temporary=$(mktemp -d "$entry.XXXXXX")
    trap 'rm -rf -- "$temporary" "$entry.lock"' EXIT
    # Without this, a signal would end the shell without running the trap above.
    trap 'exit 130' INT TERM HUP
    "$@" "$temporary"
    chmod 755 "$temporary"
    mv -T "$temporary" "$entry"
)
