#include "vmm/runner/artefacts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int artefact_open(struct artefact *artefact, const char *folder, const char *name, uint64_t limit, struct error *error)
{
    char *path = NULL;

    *artefact = (struct artefact){.limit = limit};
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return error_set(error, ERROR_HOST, "out of memory");
    artefact->file = fopen(path, "we");
    const int why = errno;
    const int result =
        artefact->file != NULL ? 0 : error_set(error, ERROR_HOST, "%s cannot be made: %s", path, strerror(why));
    free(path);
    return result;
}

void artefact_write(struct artefact *artefact, const char *bytes, size_t length)
{
    if (artefact->file == NULL)
        return;
    if (artefact->lost > 0 || length > artefact->limit - artefact->size) {
        artefact->lost += length;
        return;
    }
    artefact->size += length;
    (void)fwrite(bytes, 1, length, artefact->file);
}

void artefact_flush(struct artefact *artefact)
{
    if (artefact->file != NULL)
        (void)fflush(artefact->file);
}

int artefact_close(struct artefact *artefact)
{
    FILE *file = artefact->file;

    artefact->file = NULL;
    if (file == NULL)
        return 0;
    const bool failed = ferror(file);
    return fclose(file) != 0 || failed ? -1 : 0;
}
