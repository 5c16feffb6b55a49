#include "vmm/control/control_protocol.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Answers ---- */

/* Jansson's functions take NULL for what they could not make, and then make nothing: one check at the end is enough. */
static char *print(json_t *answer)
{
    char *text = answer != NULL ? json_dumps(answer, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9)) : NULL;
    char *line = NULL;

    json_decref(answer);
    if (text != NULL && asprintf(&line, "%s\n", text) < 0)
        line = NULL;
    free(text);
    return line;
}

static char *print_ok(void)
{
    return print(json_pack("{s:b}", "ok", 1));
}

static char *print_failure(const char *text)
{
    return print(json_pack("{s:b, s:s}", "ok", 0, "error", text));
}

static char *print_result(int result, const struct error *error)
{
    return result < 0 ? print_failure(error->text) : print_ok();
}

/* 64 bits are more than a JSON number can be relied on to have. */
static json_t *hex_of(uint64_t number)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "0x%" PRIx64, number);
    return json_string(text);
}

/* A name of the user's may be any bytes. */
static json_t *name_of(const char *name)
{
    char clean[256];
    size_t used = 0;

    json_t *string = json_string(name);
    if (string != NULL)
        return string;
    for (; name[used] != '\0' && used + 1 < sizeof(clean); used++)
        clean[used] = (name[used] & 0x80) != 0 ? '?' : name[used];
    clean[used] = '\0';
    return json_string(clean);
}

/* ---- Requests ---- */

/* One that has been read. */
struct request {
    const struct control_target *target;
    json_t *object;
    int *fd;
    bool *dumps;
};

static char *do_status(const struct request *request)
{
    static const char *const states[] = {[CONTROL_RUNNING] = "running",
                                         [CONTROL_PAUSED] = "paused",
                                         [CONTROL_STOPPED] = "stopped",
                                         [CONTROL_CRASHED] = "crashed"};
    const struct control_target *target = request->target;
    struct control_status status;
    json_t *spaces = json_array();
    const char *name;

    target->get_status(target->context, &status);
    for (unsigned i = 0; (name = target->space_name(target->context, i)) != NULL; i++)
        (void)json_array_append_new(spaces, name_of(name));
    return print(json_pack("{s:b, s:o, s:s, s:b, s:f, s:i, s:I, s:o}", "ok", 1, "name", name_of(status.name), "state",
                           states[status.state], "dumping", status.is_dumping, "uptime", status.uptime_seconds, "vcpus",
                           (int)status.vcpu_count, "memory", (json_int_t)status.memory, "spaces", spaces));
}

static char *do_pause(const struct request *request)
{
    struct error error;

    return print_result(request->target->pause(request->target->context, &error), &error);
}

static char *do_resume(const struct request *request)
{
    struct error error;

    return print_result(request->target->resume(request->target->context, &error), &error);
}

static char *do_power_button(const struct request *request)
{
    request->target->press_power_button(request->target->context);
    return print_ok();
}

static char *do_reset(const struct request *request)
{
    request->target->reset(request->target->context);
    return print_ok();
}

static char *do_quit(const struct request *request)
{
    request->target->quit(request->target->context);
    return print_ok();
}

static char *do_nmi(const struct request *request)
{
    const struct control_target *target = request->target;
    const json_t *number = json_object_get(request->object, "vcpu");
    struct control_status status;
    char text[128];
    struct error error;

    target->get_status(target->context, &status);
    const json_int_t vcpu = number != NULL ? json_integer_value(number) : 0;
    if ((number != NULL && !json_is_integer(number)) || vcpu < 0 || vcpu >= (json_int_t)status.vcpu_count) {
        (void)snprintf(text, sizeof(text), "\"vcpu\" is no vCPU; they are numbered from 0 to %u",
                       status.vcpu_count - 1);
        return print_failure(text);
    }
    return print_result(target->send_nmi(target->context, (unsigned)vcpu, &error), &error);
}

static json_t *registers_of(const struct debug_registers *registers)
{
    static const char *const generals[DEBUG_GENERAL_COUNT] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                                                              "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static const char *const selectors[DEBUG_SEGMENT_COUNT] = {"cs", "ss", "ds", "es", "fs", "gs"};
    json_t *object =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "rip", hex_of(registers->rip), "rflags",
                  hex_of(registers->rflags), "cr0", hex_of(registers->cr0), "cr2", hex_of(registers->cr2), "cr3",
                  hex_of(registers->cr3), "cr4", hex_of(registers->cr4), "cr8", hex_of(registers->cr8), "efer",
                  hex_of(registers->efer), "fs_base", hex_of(registers->fs_base), "gs_base", hex_of(registers->gs_base),
                  "kernel_gs_base", hex_of(registers->kernel_gs_base));

    for (size_t i = 0; i < DEBUG_GENERAL_COUNT; i++)
        (void)json_object_set_new(object, generals[i], hex_of(registers->general[i]));
    for (size_t i = 0; i < DEBUG_SEGMENT_COUNT; i++)
        (void)json_object_set_new(object, selectors[i], hex_of(registers->selectors[i]));
    return object;
}

static json_t *vcpu_of(const struct control_vcpu *vcpu)
{
    return json_pack("{s:o, s:s, s:i, s:i, s:o, s:o, s:o}", "space", name_of(vcpu->space), "state",
                     vcpu->is_waiting  ? "waiting"
                     : vcpu->is_halted ? "halted"
                                       : "running",
                     "bits", (int)vcpu->registers.code_bits, "privilege", (int)vcpu->registers.privilege, "linear_rip",
                     hex_of(vcpu->registers.code_base + vcpu->registers.rip), "physical_rip",
                     vcpu->rip_is_mapped ? hex_of(vcpu->rip_gpa) : json_null(), "registers",
                     registers_of(&vcpu->registers));
}

static char *do_vcpus(const struct request *request)
{
    const struct control_target *target = request->target;
    struct control_status status;
    struct error error;
    char *answer = NULL;

    target->get_status(target->context, &status);
    struct control_vcpu *vcpus = calloc(status.vcpu_count, sizeof(*vcpus));
    if (vcpus == NULL)
        return NULL;
    if (target->look_at_vcpus(target->context, vcpus, &error) < 0) {
        answer = print_failure(error.text);
    } else {
        json_t *list = json_array();
        for (unsigned i = 0; i < status.vcpu_count; i++)
            (void)json_array_append_new(list, vcpu_of(&vcpus[i]));
        answer = print(json_pack("{s:b, s:o}", "ok", 1, "vcpus", list));
    }
    free(vcpus);
    return answer;
}

static char *do_dump(const struct request *request)
{
    const struct control_target *target = request->target;
    struct error error;
    const int fd = *request->fd;

    if (fd < 0)
        return print_failure("no file came with the request; pass the descriptor of an empty one with it (SCM_RIGHTS), "
                             "as 'quire control MACHINE dump FILE' does");
    *request->fd = -1;
    if (target->begin_dump(target->context, fd, &error) < 0)
        return print_failure(error.text);
    *request->dumps = true;
    return NULL;
}

static const struct command {
    const char *name;
    /* The key that it takes besides "do"; or NULL. */
    const char *key;
    char *(*run)(const struct request *request);
} commands[] = {
    {"status", NULL, do_status}, {"pause", NULL, do_pause},
    {"resume", NULL, do_resume}, {"power-button", NULL, do_power_button},
    {"reset", NULL, do_reset},   {"nmi", "vcpu", do_nmi},
    {"quit", NULL, do_quit},     {"vcpus", NULL, do_vcpus},
    {"dump", NULL, do_dump},
};

static const struct command *find_command(const json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "do"));

    for (size_t i = 0; name != NULL && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* A key that the command does not take is a mistake of the client's, which might mean more than it gets. */
static bool has_strange_key(const struct command *command, json_t *object)
{
    const size_t known = 1 + (command->key != NULL && json_object_get(object, command->key) != NULL);

    return json_object_size(object) != known;
}

static char *answer_object(const struct request *request)
{
    const struct command *command = find_command(request->object);
    char text[256];

    if (command == NULL)
        return print_failure(
            "\"do\" names no command; there are status, pause, resume, power-button, reset, nmi, quit, "
            "vcpus and dump");
    if (!has_strange_key(command, request->object))
        return command->run(request);
    if (command->key != NULL)
        (void)snprintf(text, sizeof(text), "\"%s\" takes \"%s\" besides \"do\"; leave out the other keys",
                       command->name, command->key);
    else
        (void)snprintf(text, sizeof(text), "\"%s\" takes no other key than \"do\"; leave them out", command->name);
    return print_failure(text);
}

char *control_answer(const struct control_target *target, const char *line, size_t size, int *fd, bool *ret_dumps)
{
    json_error_t where;
    char text[128];
    struct request request = {.target = target, .fd = fd, .dumps = ret_dumps};

    *ret_dumps = false;
    request.object = json_loadb(line, size, JSON_REJECT_DUPLICATES, &where);
    if (request.object == NULL) {
        (void)snprintf(text, sizeof(text), "no JSON, at byte %d of the line; write an object, as {\"do\": \"status\"}",
                       where.position);
        return print_failure(text);
    }
    char *answer = json_is_object(request.object)
                       ? answer_object(&request)
                       : print_failure("a request is an object; write it as {\"do\": \"status\"}");
    json_decref(request.object);
    return answer;
}

char *control_answer_too_long(void)
{
    char text[96];

    (void)snprintf(text, sizeof(text), "the line is too long; a request has at most %d bytes", CONTROL_LINE_MAX);
    return print_failure(text);
}

char *control_go_on(const struct control_target *target, bool *ret_is_over)
{
    struct vmcore_progress progress = {0};
    struct error error;
    const int result = target->step_dump(target->context, &progress, &error);

    *ret_is_over = result <= 0;
    if (result < 0)
        return print_failure(error.text);
    json_t *numbers = json_pack("{s:I, s:I, s:I}", "done", (json_int_t)progress.done, "total",
                                (json_int_t)progress.total, "written", (json_int_t)progress.written);
    return result > 0 ? print(json_pack("{s:o}", "progress", numbers))
                      : print(json_pack("{s:b, s:o}", "ok", 1, "dump", numbers));
}

void control_protocol_prepare(void)
{
    json_object_seed(0);
}
