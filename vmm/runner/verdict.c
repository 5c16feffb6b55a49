#include "vmm/runner/verdict.h"

int verdict(const struct results *results, int signal, bool stopped)
{
    if (signal != 0)
        return VERDICT_SIGNAL + signal;
    if (!stopped)
        return results_exit_status(results);
    return results_tally(results, RESULT_BROKEN) > 0 ? VERDICT_BROKEN : VERDICT_FAILED;
}

int verdict_for_bisect(int status)
{
    if (status == VERDICT_USAGE)
        return VERDICT_BISECT_ABORT;
    return status == VERDICT_BROKEN ? VERDICT_BISECT_SKIP : status;
}
