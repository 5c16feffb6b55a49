#include "fake_target.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fake_target *fake_of(void *context)
{
    return context;
}

/* Of the calls that are for while the guest is stopped (vmm/debug/target.h). */
static struct fake_target *stopped_of(void *context)
{
    struct fake_target *fake = fake_of(context);

    assert(fake->is_attached && !fake->is_running);
    return fake;
}

static int fail(struct error *error)
{
    return error_set(error, ERROR_HOST, "the fake target was told to fail#$}");
}

void fake_target_stop(struct fake_target *fake, enum debug_stop_reason reason, unsigned vcpu)
{
    struct debug_stop stop = {.reason = reason, .vcpu = vcpu, .address = FAKE_MEMORY_BASE + 0x10};

    if (reason == DEBUG_STOP_CRASHED)
        strcpy(stop.text, "the guest has panicked");
    if (reason == DEBUG_STOP_WATCHPOINT)
        stop.kind = DEBUG_POINT_WRITE;
    fake->is_running = false;
    fake->target.stopped(fake->target.server, &stop);
}

static void attach(void *context)
{
    struct fake_target *fake = fake_of(context);

    fake->attaches++;
    fake->is_attached = true;
    fake->is_running = true;
    if (fake->stops_at_once)
        fake_target_stop(fake, DEBUG_STOP_INTERRUPTED, 0);
}

static void detach(void *context)
{
    struct fake_target *fake = fake_of(context);

    fake->detaches++;
    fake->is_attached = false;
    fake->is_running = true;
    fake->point_count = 0;
}

static int get_registers(void *context, unsigned vcpu, struct debug_registers *registers, struct error *error)
{
    if (stopped_of(context)->fails)
        return fail(error);
    *registers = stopped_of(context)->registers[vcpu];
    return 0;
}

static int set_registers(void *context, unsigned vcpu, const struct debug_registers *registers, struct error *error)
{
    if (stopped_of(context)->fails)
        return fail(error);
    stopped_of(context)->registers[vcpu] = *registers;
    return 0;
}

static int get_vectors(void *context, unsigned vcpu, struct debug_vectors *vectors, struct error *error)
{
    if (stopped_of(context)->fails)
        return fail(error);
    *vectors = stopped_of(context)->vectors[vcpu];
    return 0;
}

static int set_vectors(void *context, unsigned vcpu, const struct debug_vectors *vectors, struct error *error)
{
    if (stopped_of(context)->fails)
        return fail(error);
    stopped_of(context)->vectors[vcpu] = *vectors;
    return 0;
}

static size_t read_memory(void *context, unsigned vcpu, uint64_t address, void *buffer, size_t size)
{
    const uint64_t offset = address - FAKE_MEMORY_BASE;

    (void)vcpu;
    if (offset >= FAKE_MEMORY_SIZE)
        return 0;
    if (size > FAKE_MEMORY_SIZE - offset)
        size = FAKE_MEMORY_SIZE - offset;
    memcpy(buffer, stopped_of(context)->memory + offset, size);
    return size;
}

static int write_memory(void *context, unsigned vcpu, uint64_t address, const void *buffer, size_t size,
                        struct error *error)
{
    const uint64_t offset = address - FAKE_MEMORY_BASE;

    (void)vcpu;
    if (stopped_of(context)->fails || offset >= FAKE_MEMORY_SIZE || size > FAKE_MEMORY_SIZE - offset)
        return fail(error);
    memcpy(stopped_of(context)->memory + offset, buffer, size);
    return 0;
}

static bool get_physical(void *context)
{
    return stopped_of(context)->is_physical;
}

static void set_physical(void *context, bool physical)
{
    stopped_of(context)->is_physical = physical;
}

static struct fake_point *find_point(struct fake_target *fake, enum debug_point_kind kind, uint64_t address)
{
    for (unsigned i = 0; i < fake->point_count; i++)
        if (fake->points[i].kind == kind && fake->points[i].address == address)
            return &fake->points[i];
    return NULL;
}

static int insert(void *context, unsigned vcpu, enum debug_point_kind kind, uint64_t address, uint64_t size,
                  struct error *error)
{
    struct fake_target *fake = stopped_of(context);

    if (fake->fails || fake->point_count == FAKE_POINTS)
        return fail(error);
    if (find_point(fake, kind, address) == NULL)
        fake->points[fake->point_count++] = (struct fake_point){kind, vcpu, address, size};
    return 0;
}

static int remove_point(void *context, unsigned vcpu, enum debug_point_kind kind, uint64_t address, uint64_t size,
                        struct error *error)
{
    struct fake_target *fake = stopped_of(context);
    struct fake_point *point = find_point(fake, kind, address);

    (void)vcpu;
    (void)size;
    if (fake->fails || point == NULL)
        return fail(error);
    *point = fake->points[--fake->point_count];
    return 0;
}

static int resume(void *context, const enum debug_action *actions, struct error *error)
{
    struct fake_target *fake = stopped_of(context);
    unsigned first = 0;

    fake->resumes++;
    if (fake->fails)
        return fail(error);
    memcpy(fake->actions, actions, sizeof(fake->actions));
    fake->is_running = true;
    while (actions[first] == DEBUG_HOLD)
        first++;
    if (fake->stops_at_once) {
        fake->registers[first].rip++;
        fake_target_stop(fake, DEBUG_STOP_STEPPED, first);
    }
    return 0;
}

static void interrupt(void *context)
{
    struct fake_target *fake = fake_of(context);

    fake->interrupts++;
    if (fake->stops_at_once && fake->is_running)
        fake_target_stop(fake, DEBUG_STOP_INTERRUPTED, 0);
}

static void describe(void *context, unsigned vcpu, char *text, size_t size)
{
    (void)stopped_of(context);
    (void)snprintf(text, size, "halted, space \"<%u&>\"", vcpu);
}

static void monitor(void *context, unsigned vcpu, const char *command, const struct debug_output *output)
{
    struct fake_target *fake = stopped_of(context);
    const char line[] = "0123456789abcdef 0123456789abcdef 0123456789abcdef 0123456789ab\n";

    fake->monitor_vcpu = vcpu;
    (void)snprintf(fake->command, sizeof(fake->command), "%s", command);
    if (strcmp(command, "hello") == 0)
        output->write(output->context, "hello\n", 6);
    if (strcmp(command, "long") != 0)
        return;
    for (size_t left = fake->answer_size; left > 0;) {
        const size_t size = left < sizeof(line) - 1 ? left : sizeof(line) - 1;
        output->write(output->context, line, size);
        left -= size;
    }
}

static int restart(void *context, struct error *error)
{
    stopped_of(context)->restarts++;
    return fake_of(context)->fails ? fail(error) : 0;
}

static void kill_machine(void *context)
{
    fake_of(context)->kills++;
}

/* Different in every byte, as far as that goes. */
static void fill_registers(struct debug_registers *registers, unsigned vcpu)
{
    const uint64_t own = UINT64_C(0x0101010101010101) * (vcpu + 1);

    for (unsigned i = 0; i < DEBUG_GENERAL_COUNT; i++)
        registers->general[i] = own * 16 + i;
    for (unsigned i = 0; i < DEBUG_SEGMENT_COUNT; i++)
        registers->selectors[i] = (uint16_t)(8 * (i + 2));
    registers->rip = FAKE_MEMORY_BASE + 0x1000 * vcpu;
    registers->general[DEBUG_RSP] = FAKE_MEMORY_BASE + 0x80000 + 0x1000 * vcpu;
    registers->general[DEBUG_RBP] = registers->general[DEBUG_RSP] + 0x40;
    registers->rflags = 0x246;
    registers->code_bits = 64;
    registers->fs_base = 0x1111;
    registers->gs_base = 0xffff888000000000 + vcpu;
    registers->kernel_gs_base = 0x2222;
    registers->cr0 = 0x80050033;
    registers->cr2 = 0x3333;
    registers->cr3 = 0x1234000;
    registers->cr4 = 0x3506f0;
    registers->cr8 = 5;
    registers->efer = 0xd01;
}

void fake_target_init(struct fake_target *fake, bool has_avx)
{
    *fake = (struct fake_target){
        .target = {.vcpu_count = FAKE_VCPUS,
                   .attach = attach,
                   .detach = detach,
                   .get_registers = get_registers,
                   .set_registers = set_registers,
                   .get_vectors = get_vectors,
                   .set_vectors = set_vectors,
                   .read = read_memory,
                   .write = write_memory,
                   .get_physical = get_physical,
                   .set_physical = set_physical,
                   .insert = insert,
                   .remove = remove_point,
                   .resume = resume,
                   .interrupt = interrupt,
                   .describe = describe,
                   .monitor = monitor,
                   .restart = restart,
                   .kill = kill_machine},
        .is_running = true,
    };
    fake->target.context = fake;
    fake->memory = calloc(1, FAKE_MEMORY_SIZE);
    if (fake->memory == NULL)
        abort();
    for (unsigned i = 0; i < FAKE_VCPUS; i++) {
        fill_registers(&fake->registers[i], i);
        fake->vectors[i].has_avx = has_avx;
    }
}

void fake_target_fini(struct fake_target *fake)
{
    free(fake->memory);
}
