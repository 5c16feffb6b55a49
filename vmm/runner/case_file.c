#include "vmm/runner/case_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int case_file_open(struct case_file *file, const char *folder, const char *name, uint64_t limit, struct error *error)
{
    char *path = NULL;

    *file = (struct case_file){.limit = limit};
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return error_set(error, ERROR_HOST, "out of memory");
    file->file = fopen(path, "we");
    const int why = errno;
    const int result =
        file->file != NULL ? 0 : error_set(error, ERROR_HOST, "%s cannot be made: %s", path, strerror(why));
    free(path);
    return result;
}

void case_file_write(struct case_file *file, const char *bytes, size_t length)
{
    if (file->file == NULL)
        return;
    if (file->lost > 0 || length > file->limit - file->size) {
        file->lost += length;
        return;
    }
    file->size += length;
    (void)fwrite(bytes, 1, length, file->file);
}

void case_file_flush(struct case_file *file)
{
    if (file->file != NULL)
        (void)fflush(file->file);
}

int case_file_close(struct case_file *file)
{
    FILE *out = file->file;

    file->file = NULL;
    if (out == NULL)
        return 0;
    if (file->lost > 0)
        fprintf(out, "\n[%" PRIu64 " bytes more were left out]\n", file->lost);
    const bool failed = ferror(out);
    return fclose(out) != 0 || failed ? -1 : 0;
}
