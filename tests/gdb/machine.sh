# shellcheck shell=bash
# Running a session of gdb with a machine: what `run` and `linux` share. Sourced by them; $here is this folder, $quire the
# program, $session the session's name, $subject what it is about.

limit=${QUIRE_SESSION_SECONDS:-800}
machine=''
scratch=$(mktemp -d)

cleanup() {
    [[ -z $machine ]] || kill -KILL "$machine" 2>/dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT

skip() {
    [[ -z ${QUIRE_REQUIRE_KVM:-} ]] || { echo "$1"; exit 1; }
    echo "skipped: $1"
    exit 77
}
[[ -r /dev/kvm && -w /dev/kvm ]] || skip '/dev/kvm cannot be used here'
command -v gdb >/dev/null || skip 'there is no gdb'

# What matters most is last, and all of it is short: whoever shows only the end of a log shows this. gdb may have lines of
# any length.
fail() {
    echo '--- standard output'
    tail -n 8 "$scratch/out" | cut -c 1-300
    echo '--- standard error'
    tail -n 8 "$scratch/errors" | cut -c 1-300
    echo '--- gdb'
    tail -n 18 "$scratch/gdb.log" 2>/dev/null | cut -c 1-300 || true
    echo "${session:?}, ${subject:?}: $*"
    exit 1
}

# header WORD: what the session's line of that name says
header() { sed -n "s/^# $1: //p" "${here:?}/$session.py"; }

# wait_for SECONDS COMMAND...: whether the command succeeds within that time
wait_for() {
    local tries=$(($1 * 20))
    shift
    until "$@"; do
        ((tries-- > 0)) || return 1
        sleep 0.05
    done
}

has_ended() { ! kill -0 "$machine" 2>/dev/null; }
is_listening_or_gone() { [[ -S $scratch/gdb.socket ]] || has_ended; }

# start_machine OPTION...: stopped before its first instruction
start_machine() {
    local options
    read -r -a options <<<"$(header options)"
    "${quire:?}" run "$@" --gdb="unix:$scratch/gdb.socket" --gdb-wait "${options[@]}" >"$scratch/out" 2>"$scratch/errors" \
        </dev/null &
    machine=$!
    wait_for 60 is_listening_or_gone || fail 'it does not listen for gdb'
}

# have_session SYMBOLS: gdb's part, and the end of the machine
have_session() {
    local status=0
    export SESSION_SOCKET=$scratch/gdb.socket SESSION_CONSOLE=$scratch/out SESSION_SCRATCH=$scratch
    export SESSION_SYMBOLS=$1 SESSION_PROGRAM=$subject SESSION_SECONDS=$limit
    # It ends itself, and says where it is; unless it cannot.
    timeout --kill-after=10 $((limit + 20)) gdb -nx -batch -x "$here/session.py" -x "$here/$session.py" \
        >"$scratch/gdb.log" 2>&1 </dev/null || status=$?
    ((status != 124 && status != 137)) || fail "out of time: more than $limit s, and gdb did not end itself"
    ((status == 0)) || fail "gdb's status is $status"
    # gdb may have its say about the connection's end behind it.
    grep -qx 'session: passed' "$scratch/gdb.log" || fail 'it did not come to its end'
    wait_for 60 has_ended || fail 'quire goes on'
    wait "$machine" || status=$?
    machine=''
    [[ $status == "$(header status)" ]] || fail "quire's status is $status, not $(header status)"
    sed -n "s/^note: /$session: /p" "$scratch/gdb.log"
    echo "$session, $subject: as expected"
}
