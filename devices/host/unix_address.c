#include "devices/host/unix_address.h"

#include <string.h>

int unix_address_check(const char *address, struct error *error)
{
    const size_t room = sizeof(((struct sockaddr_un *)NULL)->sun_path);

    if (strncmp(address, "unix:", 5) != 0 || address[5] == '\0')
        return error_set(error, ERROR_CONFIG, "is no address of a socket; write it as \"unix:PATH\"");
    if (strlen(address + 5) >= room)
        return error_set(error, ERROR_CONFIG, "a socket's path has at most %zu bytes; use a shorter", room - 1);
    return 0;
}

int unix_address_fill(const char *address, struct sockaddr_un *ret_address, struct error *error)
{
    if (unix_address_check(address, error) < 0)
        return error_prefix(error, "%s", address);
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    strcpy(ret_address->sun_path, address + strlen("unix:"));
    return 0;
}
