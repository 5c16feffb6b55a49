#include "vmm/agent/agent_server.h"

#include <string.h>
#include <sys/un.h>

int agent_address_check(const char *address, struct error *error)
{
    const size_t room = sizeof(((struct sockaddr_un *)NULL)->sun_path);

    if (strncmp(address, "unix:", 5) != 0 || address[5] == '\0')
        return error_set(error, ERROR_CONFIG, "is no address of a socket; write it as \"unix:PATH\"");
    if (strlen(address + 5) >= room)
        return error_set(error, ERROR_CONFIG, "a socket's path has at most %zu bytes; use a shorter", room - 1);
    return 0;
}
