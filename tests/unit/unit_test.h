/*
 * The main function of a unit test: one suite, run by Check, each case in a process of its own.
 */
#ifndef TESTS_UNIT_TEST_H
#define TESTS_UNIT_TEST_H

#include <check.h>
#include <stdlib.h>

/*
 * Check's own limit, four seconds, is a busy machine's; and those that cases set themselves are for one that has time.
 * Before any case is made, which reads them.
 */
__attribute__((constructor)) static inline void unit_test_set_limits(void)
{
    (void)setenv("CK_DEFAULT_TIMEOUT", "120", 0);
    (void)setenv("CK_TIMEOUT_MULTIPLIER", "5", 0);
}

static inline int unit_test_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
