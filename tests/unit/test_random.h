/*
 * Random numbers for tests: repeatable, with a seed that is printed and can be given.
 */
#ifndef TESTS_UNIT_TEST_RANDOM_H
#define TESTS_UNIT_TEST_RANDOM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Random numbers that a seed repeats: QUIRE_TEST_SEED, or one that it makes up and prints. */
static inline uint64_t test_random_seed(void)
{
    const char *given = getenv("QUIRE_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) << 20 ^ (uint64_t)clock();

    printf("QUIRE_TEST_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return seed ? seed : 1;
}

/* xorshift64* */
static inline uint64_t test_random(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * UINT64_C(0x2545f4914f6cdd1d);
}

/* From 0 to below - 1. */
static inline unsigned test_random_below(uint64_t *seed, unsigned below)
{
    return (unsigned)((test_random(seed) >> 32) % below);
}

#endif
