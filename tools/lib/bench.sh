# shellcheck shell=bash
# From samples to a table. Sourced, not run.
#
# Samples are lines "WHO<TAB>QUANTITY<TAB>VALUE" in a file; WHO is quire or a peer.

# bench_median FILE WHO QUANTITY: of the samples; nothing if there are none.
bench_median() {
    awk -F '\t' -v who="$2" -v quantity="$3" '$1 == who && $2 == quantity { print $3 }' "$1" | sort -g |
        awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# bench_range FILE WHO QUANTITY: "least to most"
bench_range() {
    awk -F '\t' -v who="$2" -v quantity="$3" '$1 == who && $2 == quantity { print $3 }' "$1" | sort -g |
        sed -n '1{h;$!d};${H;x;s/\n/ to /;p}'
}

bench_rows=()

# bench_row NAME OURS PEER UNIT KIND TARGET: KIND is ratio (ours / peer is to be at most TARGET), least (it is to be at
# least that) or ours (ours itself is to be at most that).
bench_row() {
    bench_rows+=("$(printf '%s\t%s\t%s\t%s\t%s\t%s' "$@")")
}

# bench_print: the rows, as BENCH_JSON says.
bench_print() {
    printf '%s\n' "${bench_rows[@]}" | awk -F '\t' -v json="${BENCH_JSON-}" '
        function value(text) { return text == "" ? "null" : text }
        BEGIN {
            if (json) printf "["
            else printf "%-42s %8s %8s %-5s %6s  %-13s %s\n", "", "Quire", "peer", "", "ratio", "target", "met"
        }
        {
            ratio = $3 > 0 ? $2 / $3 : 0
            target = ($5 == "least" ? "ratio >= " : $5 " <= ") $6
            met = ($2 != "" && $3 != "" && ($5 == "least" ? ratio >= $6 : ($5 == "ratio" ? ratio : $2) <= $6))
            if (json) {
                printf "%s\n  {\"row\": \"%s\", \"ours\": %s, \"peer\": %s, ", (NR > 1 ? "," : ""), $1, value($2), value($3)
                printf "\"unit\": \"%s\", \"ratio\": %.3f, \"target\": \"%s\", ", $4, ratio, target
                printf "\"met\": %s}", (met ? "true" : "false")
            } else {
                printf "%-42s %8s %8s %-5s %6.3f  %-13s %s\n", $1, $2, $3, $4, ratio, target, (met ? "yes" : "no")
            }
        }
        END { if (json) print "\n]" }'
}
