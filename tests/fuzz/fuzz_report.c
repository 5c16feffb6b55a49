/*
 * Any bytes as a report's results: refused with a sentence, or read, and then the same after they were written and read
 * again, with a page that can be written of them. Bytes that start with 'c' are a console with times.
 */
#include "vmm/report/excerpt.h"
#include "vmm/report/html.h"
#include "vmm/report/results_read.h"

#include "fuzz_require.h"
#include "fuzz_sentence.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *write_json(const struct results *results, size_t *length)
{
    struct error error;
    char *text = NULL;
    FILE *out = open_memstream(&text, length);

    require(out != NULL && results_write_json(results, out, &error) == 0 && fclose(out) == 0);
    return text;
}

/* No byte of it can be taken for markup, or is a control character. */
static void try_page(const struct results *results)
{
    struct error error;
    char *page = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&page, &length);

    require(out != NULL && html_write(results, -1, out, &error) == 0 && fclose(out) == 0);
    require(strlen(page) == length && strstr(page, "<script") == NULL);
    for (size_t i = 0; i < length; i++)
        require((unsigned char)page[i] >= 0x20 || page[i] == '\n' || page[i] == '\t');
    free(page);
}

static void try_results(const char *text, size_t size)
{
    struct error error = {0};
    struct results *results = results_read_text("/nowhere/results.json", text, size, &error);
    size_t length = 0;
    size_t again_length = 0;

    if (results == NULL) {
        require(fuzz_is_sentence(&error) && strstr(error.text, "results.json:") != NULL);
        return;
    }
    char *written = write_json(results, &length);
    struct results *again = results_read_text("again", written, length, &error);
    require(again != NULL);
    char *again_written = write_json(again, &again_length);
    require(length == again_length && memcmp(written, again_written, length) == 0);
    try_page(results);
    free(written);
    free(again_written);
    results_free(results);
    results_free(again);
}

static void try_console(const char *text, size_t size)
{
    static const uint64_t places[] = {5, 5, 40};
    const struct excerpt_options options = {
        .duration_ns = 5000000000u, .head = 4, .tail = 6, .bytes = 300, .places = places, .place_count = 3};
    struct excerpt excerpt;
    struct error error;
    uint64_t last = 0;
    const int fd = memfd_create("console", MFD_CLOEXEC);

    require(fd >= 0 && write(fd, text, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    require(excerpt_read(fd, "console", &options, &excerpt, &error) == 0 && excerpt.is_all);
    require(excerpt.count <= 4 + 6 + 2 * (2 * EXCERPT_AROUND + 1) && excerpt.silence_count <= EXCERPT_SILENCES);
    for (size_t i = 0; i < excerpt.count; i++) {
        require(excerpt.lines[i].number > last && excerpt.lines[i].length <= EXCERPT_TEXT_MAX);
        last = excerpt.lines[i].number;
    }
    require(last == excerpt.total);
    for (size_t i = 0; i < excerpt.silence_count; i++)
        require(excerpt.silences[i].to_ns > excerpt.silences[i].from_ns);
    excerpt_free(&excerpt);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] == 'c')
        try_console((const char *)data + 1, size - 1);
    else
        try_results((const char *)data, size);
    return 0;
}
