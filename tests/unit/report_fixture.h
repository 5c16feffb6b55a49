/*
 * Results as a run leaves them, with the consoles of real boots and of some that never were.
 */
#ifndef TESTS_REPORT_FIXTURE_H
#define TESTS_REPORT_FIXTURE_H

#include "vmm/scenario/results.h"

/* What a guest, or who writes scenarios, could want to do to a page. */
#define REPORT_FIXTURE_HOSTILE                                                                                         \
    "</pre></style><script>alert(1)</script>\"'&]]>\x1b[31m\x01\x7f\xff\xc3(\xed\xa0\x80\xef\xbf\xbf\xe2\x80\xae"

/*
 * Eleven cases of all kinds; their artefacts are written below folder, in folders of their own, of which each that has
 * a maps.svg already gets it as an attachment. Aborts where something fails.
 */
struct results *report_fixture(const char *folder);

#endif
