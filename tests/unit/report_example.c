/*
 * Writes the fixture's report into a folder, to be looked at.
 */
#include "report_fixture.h"
#include "vmm/report/report.h"

#include <stdio.h>

int main(int argc, char *argv[])
{
    struct error error;

    if (argc != 2) {
        (void)fprintf(stderr, "usage: report_example DIRECTORY\n");
        return 2;
    }
    struct results *results = report_fixture(argv[1]);
    const int result = report_write(results, argv[1], &error);
    if (result < 0)
        (void)fprintf(stderr, "%s\n", error.text);
    results_free(results);
    return result < 0;
}
