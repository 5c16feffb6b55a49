#include "loader/guest_memory.h"

#include <inttypes.h>

int guest_memory_find(const struct guest_memory *memory, uint64_t gpa, uint64_t size, void **ret_address,
                      struct error *error)
{
    void *address = memory->host_address(memory->context, gpa, size);

    if (!address)
        return error_set(error, ERROR_HOST,
                         "the machine has no memory at 0x%" PRIx64 " (%" PRIu64 " bytes), where boot data belongs", gpa,
                         size);
    *ret_address = address;
    return 0;
}
