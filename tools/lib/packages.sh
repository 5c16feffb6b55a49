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
    apt-get -qq update >&2
    apt-get -qq install --no-install-recommends "${missing[@]}" >&2
}
