/*
 * A guest that has damaged what is looked at of it: page tables, VMCOREINFO, the log. It is printed or an error with a
 * sentence, and what comes is bounded, and fit for a terminal. An input is a byte for the log's size, and then pieces:
 * where (a byte and two of offset), how many bytes, and these.
 */
#include "vmm/debug/linux/kaslr.h"
#include "vmm/debug/linux/kernel_log.h"

#include "fuzz_require.h"
#include "linux_fixture.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const struct fixture_text *text)
{
    /* A record more: 64 KiB of text at most, each byte of it shown as less than 32; and what is said of the whole. */
    require(text->size < KERNEL_LOG_PRINTED_MAX + (2u << 20) + 4096);
    for (size_t i = 0; i < text->size; i++)
        require(text->bytes[i] == '\n' || text->bytes[i] == '\t' || (text->bytes[i] >= ' ' && text->bytes[i] <= '~'));
}

static void check_error(const struct error *error)
{
    require(error->text[0] != '\0' && strpbrk(error->text, "\n\x1b") == NULL);
}

static void damage(const uint8_t *data, size_t size)
{
    static const uint64_t places[] = {FIXTURE_INFO,  FIXTURE_PRB,  FIXTURE_RING, FIXTURE_DESCS,
                                      FIXTURE_INFOS, FIXTURE_DATA, FIXTURE_ROOT, FIXTURE_PDPT,
                                      FIXTURE_PD,    FIXTURE_PT,   FIXTURE_UTS,  0xf0000};

    while (size >= 4) {
        const uint64_t gpa = places[data[0] % (sizeof(places) / sizeof(places[0]))];
        const size_t offset = (data[1] | (size_t)data[2] << 8) % 4096;
        size_t count = data[3];
        data += 4;
        size -= 4;
        count = count < size ? count : size;
        memcpy(&fixture_bytes[gpa + offset], data, count);
        data += count;
        size -= count;
    }
}

static void look(const struct walk_registers *registers)
{
    const struct linux_memory memory = fixture_memory(registers);
    struct fixture_text text;
    const struct debug_output output = fixture_output(&text);
    struct error error = {0};
    struct kaslr kaslr;

    if (kernel_log_print(&memory, KERNEL_LOG_ALL, &output, &error) < 0)
        check_error(&error);
    if (kaslr_find(&memory, &kaslr, &error) < 0)
        check_error(&error);
    else
        kaslr_print(&kaslr, &output);
    check_text(&text);
    free(text.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct walk_registers registers = fixture_registers();

    if (size == 0)
        return 0;
    fixture_make(1 + data[0] % 6, 8 + data[0] / 16 % 4);
    for (unsigned i = 0; i < 20; i++)
        fixture_log(i * UINT64_C(1000000000), i % 3 == 0 ? "a text" : "more\nlines");
    damage(data + 1, size - 1);
    look(&registers);
    look(NULL);
    return 0;
}
