# shellcheck shell=bash
# Debian packages a script needs. Sourced, not run.

# need_packages NAME...: install those that are missing; costs milliseconds when none is.
need_packages() {
    local name state missing=()
    for name in "$@"; do
        # shellcheck disable=SC2016 # ${...} is dpkg-query's own format language
        state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null) || true
        [[ $state == ?i* ]] || missing+=("$name")
    done
    ((${#missing[@]})) || return 0

    if ((EUID != 0)); then
        {
            echo "These Debian packages are missing. Install them and run this again:"
            echo "    sudo apt-get install --no-install-recommends ${missing[*]}"
        } >&2
        exit 2
    fi
    echo "installing ${missing[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt_quietly update
    apt_quietly install --no-install-recommends "${missing[@]}"
}

# apt_quietly WORD...: apt-get, of which only a failure is told.
apt_quietly() {
    local log
    log=$(mktemp)
    if ! apt-get -q -y "$@" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        rm -f "$log"
        echo "apt-get $1 failed; what it said is above" >&2
        exit 2
    fi
    rm -f "$log"
}
