#include "vmm/runner/flakiness.h"

void flakiness_write(const char *name, unsigned runs, unsigned failures, FILE *out)
{
    if (failures == 0)
        return;
    const double percent = 100.0 * failures / runs;
    (void)fprintf(out, "%s: %s: %u of %u failed (%.*f %%)\n", failures < runs ? "flaky" : "fails", name, failures, runs,
                  percent < 1 ? 2 : 0, percent);
}
