/*
 * Where the vCPUs of a machine are in which a step failed, and its memory as a dump.
 */
#include "vmm/runner/case_private.h"

#include "vmm/runner/symbols.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a machine may take to answer, and what may pass between two signs of life of a dump. */
static const uint64_t ANSWER_NS = 10 * NS_PER_S;

/* ---- The dump ---- */

static bool on_dump(struct case_run *run, const struct json_t *answer, const char *why)
{
    if (json_is_object(json_object_get(answer, "progress"))) {
        case_set_timer(run, CASE_TIMER_POST_MORTEM, clock_now_ns() + ANSWER_NS);
        return true;
    }
    if (json_is_true(json_object_get(answer, "ok"))) {
        case_attach(run, "vmcore");
        run->has_dump = true;
    } else {
        case_step_add_detail(run, "no dump: %s",
                             answer != NULL ? json_string_value(json_object_get(answer, "error")) : why);
    }
    post_mortem_stop(run);
    return false;
}

static char *dump_path(const struct case_run *run)
{
    char *path;

    return asprintf(&path, "%s/vmcore", run->settings.folder) < 0 ? NULL : path;
}

/* One that is not whole is none, and may be large. */
static void remove_dump(struct case_run *run)
{
    char *path = run->is_dumping && !run->has_dump ? dump_path(run) : NULL;

    run->is_dumping = false;
    if (path != NULL)
        (void)unlink(path);
    free(path);
}

static void begin_dump(struct case_run *run)
{
    char *path = dump_path(run);
    const int fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;

    run->is_dumping = fd >= 0;
    if (fd < 0)
        case_step_add_detail(run, "no dump: %s/vmcore: %s", run->settings.folder, strerror(errno));
    else
        run->post_mortem = control_job_start(run, "{\"do\": \"dump\"}", fd, on_dump);
    if (run->post_mortem == NULL && fd >= 0)
        close(fd);
    case_set_timer(run, CASE_TIMER_POST_MORTEM, run->post_mortem != NULL ? clock_now_ns() + ANSWER_NS : 0);
    free(path);
}

/* ---- Where the vCPUs are ---- */

static struct symbols *open_symbols(struct case_run *run)
{
    char *path = case_find_symbols(run);
    struct symbols *symbols = NULL;
    struct error error;

    if (path != NULL && (symbols = symbols_open(path, &error)) == NULL)
        case_step_add_detail(run, "no symbols: %s", error.text);
    free(path);
    return symbols;
}

static const char *text_of(const struct json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "?";
}

static void add_vcpu(struct case_run *run, const struct json_t *vcpu, size_t index, const struct symbols *symbols)
{
    static const char *const shown[] = {"rflags", "rsp", "rbp", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9",
                                        "r10",    "r11", "r12", "r13", "r14", "r15", "cr0", "cr2", "cr3", "cr4"};
    const json_t *registers = json_object_get(vcpu, "registers");
    const char *rip = text_of(vcpu, "linear_rip");
    char name[256] = "";
    char line[1024];
    size_t used = 0;

    if (symbols == NULL || !symbols_describe(symbols, strtoull(rip, NULL, 16), name, sizeof(name)))
        name[0] = '\0';
    case_step_add_detail(run, "vCPU %zu: %s at %s%s%s, space %s, privilege level %d, %d-bit code", index,
                         text_of(vcpu, "state"), rip, name[0] != '\0' ? " " : "", name, text_of(vcpu, "space"),
                         (int)json_integer_value(json_object_get(vcpu, "privilege")),
                         (int)json_integer_value(json_object_get(vcpu, "bits")));
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
        used += (size_t)snprintf(line + used, sizeof(line) - used, " %s %s", shown[i], text_of(registers, shown[i]));
        if (used < 90 && i + 1 < sizeof(shown) / sizeof(shown[0]))
            continue;
        case_step_add_detail(run, "   %s", line);
        used = 0;
    }
}

static bool on_vcpus(struct case_run *run, const struct json_t *answer, const char *why)
{
    const json_t *vcpus = json_object_get(answer, "vcpus");

    if (json_is_array(vcpus)) {
        struct symbols *symbols = open_symbols(run);
        for (size_t i = 0; i < json_array_size(vcpus); i++)
            add_vcpu(run, json_array_get(vcpus, i), i, symbols);
        symbols_free(symbols);
    } else {
        case_step_add_detail(run, "where the vCPUs are is not known: %s",
                             answer != NULL ? text_of(answer, "error") : why);
    }
    post_mortem_stop(run);
    if (answer != NULL && run->settings.dumps)
        begin_dump(run);
    return false;
}

/* ---- From the one to the other ---- */

void post_mortem_begin(struct case_run *run)
{
    if (!run->timed_out && !run->settings.dumps)
        return;
    run->post_mortem = control_job_start(run, "{\"do\": \"vcpus\"}", -1, on_vcpus);
    if (run->post_mortem != NULL)
        case_set_timer(run, CASE_TIMER_POST_MORTEM, clock_now_ns() + ANSWER_NS);
}

void post_mortem_stop(struct case_run *run)
{
    control_job_free(run->post_mortem);
    run->post_mortem = NULL;
    remove_dump(run);
    case_set_timer(run, CASE_TIMER_POST_MORTEM, 0);
    case_set_timer(run, CASE_TIMER_CONTROL, 0);
}
