#include "vmm/config/path.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether path starts with this component; then *rest is what follows it and its slashes. */
static bool starts_with_component(const char *path, const char *component, const char **rest)
{
    size_t length = strlen(component);

    if (strncmp(path, component, length) != 0 || (path[length] != '/' && path[length] != '\0'))
        return false;
    *rest = path + length + strspn(path + length, "/");
    return true;
}

static void remove_last_component(char *folder)
{
    char *slash = strrchr(folder, '/');

    if (slash != NULL)
        *slash = '\0';
}

static char *join(const char *folder, const char *path)
{
    char *joined;

    if (asprintf(&joined, "%s/%s", folder, path) < 0)
        return NULL;
    return joined;
}

char *config_path_resolve(const char *folder, const char *path)
{
    if (path[0] == '/')
        return strdup(path);

    const char *base = folder[0] != '\0' ? folder : ".";
    char *real = realpath(base, NULL);
    if (real == NULL)
        return errno == ENOMEM ? NULL : join(base, path);

    if (strcmp(real, "/") == 0)
        real[0] = '\0';
    /* real has no symbolic links in it, so ".." can be taken by its word. */
    for (;;) {
        if (starts_with_component(path, "..", &path))
            remove_last_component(real);
        else if (!starts_with_component(path, ".", &path))
            break;
    }
    char *joined = join(real, path);
    free(real);
    return joined;
}

char *config_path_folder(const char *file)
{
    const char *slash = strrchr(file, '/');

    if (slash == NULL)
        return strdup("");
    return strndup(file, slash == file ? 1 : (size_t)(slash - file));
}
