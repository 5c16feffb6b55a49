/*
 * Any bytes as a device's saved state: refused with a sentence and nothing changed, or a state in which the device does
 * no harm, and which is saved as bytes that it takes again. The first byte chooses the device.
 */
#include "fuzz_require.h"
#include "state_rig.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(struct state_rig *rig, enum state_rig_kind kind)
{
    static uint8_t image[RIG_IMAGE_SIZE];
    struct fake_queue queue = {.device = state_rig_virtio(rig, kind)};

    (void)state_rig_read(rig, kind, image);
    if (queue.device != NULL)
        fake_queue_serve(&queue);
    require(fake_guest_pins == 0);
}

static void check_refusal(const struct error *error, const uint8_t *before, const uint8_t *after, size_t size)
{
    require(error->kind == ERROR_CONFIG && error->text[0] != '\0' && strpbrk(error->text, "\n\x1b") == NULL);
    require(memcmp(before, after, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct state_rig rig;
    struct error error = {0};
    size_t before_size, after_size;

    if (size == 0)
        return 0;
    const enum state_rig_kind kind = data[0] % RIG_KINDS;
    require(state_rig_begin(&rig));
    uint8_t *before = state_rig_save(&rig, kind, &before_size);
    const int result = state_rig_restore(&rig, kind, data + 1, size - 1, &error);
    if (result == 0)
        use(&rig, kind);
    uint8_t *after = state_rig_save(&rig, kind, &after_size);
    require(before_size == after_size);
    if (result == 0)
        require(state_rig_restore(&rig, kind, after, after_size, &error) == 0);
    else if (kind != RIG_ACPI_PM)
        check_refusal(&error, before, after, after_size);
    free(after);
    free(before);
    state_rig_end(&rig);
    return 0;
}
