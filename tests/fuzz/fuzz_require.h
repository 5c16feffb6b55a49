/*
 * What has to be so, whatever the input: otherwise the run ends, and says what was not.
 */
#ifndef TESTS_FUZZ_FUZZ_REQUIRE_H
#define TESTS_FUZZ_FUZZ_REQUIRE_H

#include <stdio.h>
#include <stdlib.h>

#define require(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "%s:%d: is not so: %s\n", __FILE__, __LINE__, #condition);                           \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
