#include "vmm/cli/control.h"

#include "devices/host/signals.h"
#include "vmm/control/control_client.h"
#include "vmm/machine/outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The machine refuses. */
enum { EXIT_REFUSED = 1 };

/* ---- The file of a dump ---- */

/* It has another name until it is complete, so that nobody takes a part for it; "": there is none. */
static char partial[PATH_MAX];

static void remove_partial(void)
{
    if (partial[0] != '\0')
        (void)unlink(partial);
}

static void on_signal(int number)
{
    remove_partial();
    signal(number, SIG_DFL);
    (void)raise(number);
}

/* The descriptor, or -1 with *error. */
static int open_partial(const char *file, struct error *error)
{
    const struct sigaction action = {.sa_handler = on_signal};
    char name[PATH_MAX];

    if ((size_t)snprintf(name, sizeof(name), "%s.XXXXXX", file) >= sizeof(name))
        return error_set(error, ERROR_CONFIG, "%s: %s", file, strerror(ENAMETOOLONG));
    const int fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        return error_set(error, ERROR_CONFIG, "%s: cannot be made: %s", file, strerror(errno));
    strcpy(partial, name);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (!signal_is_ignored(SIGHUP))
        sigaction(SIGHUP, &action, NULL);
    return fd;
}

static int finish_partial(const char *file, struct error *error)
{
    if (rename(partial, file) < 0)
        return error_set(error, ERROR_HOST, "%s: cannot be given its name: %s", file, strerror(errno));
    partial[0] = '\0';
    return 0;
}

/* ---- Answers, for people ---- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "?";
}

static json_int_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void print_status(const json_t *answer)
{
    const json_t *spaces = json_object_get(answer, "spaces");

    printf("name     %s\n", text_of(answer, "name"));
    printf("state    %s%s\n", text_of(answer, "state"),
           json_is_true(json_object_get(answer, "dumping")) ? ", while memory is dumped" : "");
    printf("uptime   %.1f s\n", json_number_value(json_object_get(answer, "uptime")));
    printf("vCPUs    %lld\n", (long long)number_of(answer, "vcpus"));
    printf("memory   %lld MiB\n", (long long)number_of(answer, "memory") >> 20);
    printf("spaces  ");
    for (size_t i = 0; i < json_array_size(spaces); i++)
        printf(" %s", json_string_value(json_array_get(spaces, i)));
    printf("\n");
}

static uint64_t register_of(const json_t *registers, const char *name)
{
    return strtoull(text_of(registers, name), NULL, 16);
}

static void print_registers(const json_t *registers)
{
    static const char *const names[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8",  "r9",
                                        "r10", "r11", "r12", "r13", "r14", "r15", "cr0", "cr2", "cr3", "cr4"};

    printf("  rip %016llx  rflags %08llx  efer %04llx\n", (unsigned long long)register_of(registers, "rip"),
           (unsigned long long)register_of(registers, "rflags"), (unsigned long long)register_of(registers, "efer"));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        printf("  %-3s %016llx%s", names[i], (unsigned long long)register_of(registers, names[i]),
               i % 4 == 3 ? "\n" : "");
    printf("  cs %s  ss %s  ds %s  es %s  fs %s %s  gs %s %s\n", text_of(registers, "cs"), text_of(registers, "ss"),
           text_of(registers, "ds"), text_of(registers, "es"), text_of(registers, "fs"), text_of(registers, "fs_base"),
           text_of(registers, "gs"), text_of(registers, "gs_base"));
}

static void print_vcpus(const json_t *answer)
{
    const json_t *vcpus = json_object_get(answer, "vcpus");

    for (size_t i = 0; i < json_array_size(vcpus); i++) {
        const json_t *vcpu = json_array_get(vcpus, i);
        const char *physical = json_string_value(json_object_get(vcpu, "physical_rip"));
        printf("vCPU %zu: %s, %lld-bit code at privilege %lld, space \"%s\", rip is %s%s\n", i, text_of(vcpu, "state"),
               (long long)number_of(vcpu, "bits"), (long long)number_of(vcpu, "privilege"), text_of(vcpu, "space"),
               physical != NULL ? "guest-physical " : "not mapped by the guest's page tables",
               physical != NULL ? physical : "");
        print_registers(json_object_get(vcpu, "registers"));
    }
}

static void print_progress(const json_t *progress, const char *file)
{
    const json_int_t total = number_of(progress, "total");

    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%s: %lld%% of %lld MiB", file,
                (long long)(total > 0 ? number_of(progress, "done") * 100 / total : 100), (long long)total >> 20);
}

static void print_dump(const json_t *answer, const char *file)
{
    const json_t *dump = json_object_get(answer, "dump");

    printf("%s: %lld MiB of memory, %lld MiB of it in use\n", file, (long long)number_of(dump, "total") >> 20,
           (long long)number_of(dump, "written") >> 20);
}

static void print_answer(const struct control_options *options, const json_t *answer)
{
    if (strcmp(options->command, "status") == 0)
        print_status(answer);
    else if (strcmp(options->command, "vcpus") == 0)
        print_vcpus(answer);
    else if (strcmp(options->command, "dump") == 0)
        print_dump(answer, options->file);
}

/* ---- One command ---- */

static int fail(const struct error *error, int status)
{
    fprintf(stderr, "quire: control: %s\n", error->text);
    return status;
}

static char *request_of(const struct control_options *options)
{
    char *text = NULL;
    const int size = strcmp(options->command, "nmi") == 0
                         ? asprintf(&text, "{\"do\": \"nmi\", \"vcpu\": %u}", options->vcpu)
                         : asprintf(&text, "{\"do\": \"%s\"}", options->command);

    return size < 0 ? NULL : text;
}

/* The answer, or NULL with *error; progress is shown before. */
static json_t *wait_for_answer(const struct control_options *options, struct control_client *client,
                               struct error *error)
{
    bool has_progress = false;
    const char *line;

    while ((line = control_client_receive(client, -1, NULL, error)) != NULL) {
        json_t *answer = json_loads(line, 0, NULL);
        if (answer == NULL) {
            error_set(error, ERROR_HOST, "what answers at %s is no machine", options->address);
            return NULL;
        }
        if (options->json) {
            printf("%s\n", line);
            (void)fflush(stdout);
        }
        const json_t *progress = json_object_get(answer, "progress");
        if (progress == NULL) {
            if (has_progress && isatty(STDERR_FILENO) && !options->json)
                fprintf(stderr, "\r\033[K");
            return answer;
        }
        has_progress = true;
        if (!options->json)
            print_progress(progress, options->file);
        json_decref(answer);
    }
    return NULL;
}

static int have_answer(const struct control_options *options, struct control_client *client)
{
    struct error error;
    int status = EXIT_STATUS_ORDERLY;

    json_t *answer = wait_for_answer(options, client, &error);
    if (answer == NULL)
        return fail(&error, EXIT_STATUS_HOST_FAILED);
    if (!json_is_true(json_object_get(answer, "ok"))) {
        fprintf(stderr, "quire: control: %s\n", text_of(answer, "error"));
        status = EXIT_REFUSED;
    } else if (options->file != NULL && finish_partial(options->file, &error) < 0) {
        status = fail(&error, EXIT_STATUS_HOST_FAILED);
    } else if (!options->json) {
        print_answer(options, answer);
    }
    json_decref(answer);
    return status;
}

static int have_it_done(const struct control_options *options, struct control_client *client)
{
    struct error error;
    int file = -1;

    if (options->file != NULL) {
        file = open_partial(options->file, &error);
        if (file < 0)
            return fail(&error, EXIT_STATUS_USAGE);
    }
    char *request = request_of(options);
    const int result = request != NULL ? control_client_send(client, request, file, &error)
                                       : error_set(&error, ERROR_HOST, "out of memory");
    free(request);
    if (file >= 0)
        close(file);
    return result < 0 ? fail(&error, EXIT_STATUS_HOST_FAILED) : have_answer(options, client);
}

int control_run(const struct control_options *options)
{
    struct error error;
    struct control_client *client = control_client_connect(options->address, &error);

    if (client == NULL)
        return fail(&error, error.kind == ERROR_CONFIG ? EXIT_STATUS_USAGE : EXIT_STATUS_HOST_FAILED);
    int status = have_it_done(options, client);
    remove_partial();
    control_client_destroy(client);
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == EXIT_STATUS_ORDERLY) {
        fprintf(stderr, "quire: standard output cannot be written: %s\n", strerror(errno));
        status = EXIT_STATUS_HOST_FAILED;
    }
    return status;
}
