# shellcheck shell=bash
# The agent for guests (vmm/agent/guest), built apart from the rest of Quire, so that a guest can be made before it is.
# Sourced, not run; needs cache.sh.

# shellcheck disable=SC2034 # for need_packages, in the scripts that source this
agent_packages=(gcc libc6-dev)

# agent_build CHECKOUT: the path of a cache entry with quire-agent, a static program.
agent_build() {
    local hash
    hash=$(cache_hash "$(cc --version | head -n 1)" "$(cd "$1" && cat vmm/agent/*.[ch] vmm/agent/guest/*.[ch])" \
        "$(declare -f agent_compile)")
    cache_entry "agent-$hash" agent_compile "$1"
}

# agent_compile CHECKOUT DIR
agent_compile() {
    cc -std=c17 -D_GNU_SOURCE -O2 -Wall -static -s -I "$1" -o "$2/quire-agent" \
        "$1"/vmm/agent/{frame,protocol,queue}.c "$1"/vmm/agent/guest/*.c
}
