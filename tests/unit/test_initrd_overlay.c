/* Files behind an initrd: the archive that is made of them, read back. */
#include "vmm/runner/initrd/overlay.h"

#include "unit_test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static struct error error;
/* What has been made. */
static char bytes[65536];
static size_t size;

static void setup(void)
{
    strcpy(folder, "/tmp/quire-test-overlay-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void teardown(void)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static char *path_of(const char *name)
{
    char *path;

    ck_assert_int_gt(asprintf(&path, "%s/%s", folder, name), 0);
    return path;
}

static char *make_file(const char *name, const char *text, mode_t mode)
{
    char *path = path_of(name);
    FILE *file = fopen(path, "we");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, mode), 0);
    return path;
}

static void read_out(const char *path)
{
    FILE *file = fopen(path, "re");

    ck_assert_ptr_nonnull(file);
    size = fread(bytes, 1, sizeof(bytes), file);
    (void)fclose(file);
}

static unsigned field(size_t at, unsigned index)
{
    char text[9] = "";

    memcpy(text, bytes + at + 6 + (size_t)8 * index, 8);
    return (unsigned)strtoul(text, NULL, 16);
}

/* The entry at *at, which moves on: it must be this one. */
static void expect_entry(size_t *at, const char *name, unsigned mode, const char *content)
{
    enum { INODE, MODE, UID, GID, LINKS, TIME, SIZE, NAME_SIZE = 11, HEADER_SIZE = 110 };

    ck_assert_uint_eq(*at % 4, 0);
    ck_assert_uint_le(*at + HEADER_SIZE, size);
    ck_assert_int_eq(memcmp(bytes + *at, "070701", 6), 0);
    ck_assert_str_eq(bytes + *at + HEADER_SIZE, name);
    ck_assert_uint_eq(field(*at, NAME_SIZE), strlen(name) + 1);
    ck_assert_uint_eq(field(*at, MODE), mode);
    ck_assert_uint_eq(field(*at, UID), 0);
    ck_assert_uint_eq(field(*at, TIME), 0);
    ck_assert_uint_eq(field(*at, SIZE), strlen(content));
    *at = (*at + HEADER_SIZE + strlen(name) + 1 + 3) / 4 * 4;
    ck_assert_int_eq(memcmp(bytes + *at, content, strlen(content)), 0);
    *at = (*at + strlen(content) + 3) / 4 * 4;
}

START_TEST(files_and_their_folders)
{
    char *base = make_file("base", "12345", 0644), *out = path_of("out");
    struct initrd_put puts[] = {
        {.file = make_file("program", "#!", 0755), .path = (char[]){"/root/program"}},
        {.file = make_file("data", "some data", 0640), .path = (char[]){"/a/b/data"}},
        {.file = make_file("top", "", 0600), .path = (char[]){"//top"}},
    };
    size_t at = 8;

    ck_assert_msg(initrd_overlay(base, puts, 3, out, &error) == 0, "%s", error.text);
    read_out(out);
    ck_assert_int_eq(memcmp(bytes, "12345\0\0\0", 8), 0);
    expect_entry(&at, "root", S_IFDIR | 0700, "");
    expect_entry(&at, "root/program", S_IFREG | 0755, "#!");
    expect_entry(&at, "a", S_IFDIR | 0755, "");
    expect_entry(&at, "a/b", S_IFDIR | 0755, "");
    expect_entry(&at, "a/b/data", S_IFREG | 0640, "some data");
    expect_entry(&at, "top", S_IFREG | 0600, "");
    expect_entry(&at, "TRAILER!!!", 0, "");
    ck_assert_uint_eq(at, size);
    for (size_t i = 0; i < 3; i++)
        free(puts[i].file);
    free(base);
    free(out);
}
END_TEST

static void expect_error(const char *base, char *file, const char *out, enum error_kind kind, const char *named)
{
    const struct initrd_put put = {.file = file, .path = (char[]){"/x"}};

    ck_assert_int_eq(initrd_overlay(base, &put, 1, out, &error), -1);
    ck_assert_int_eq(error.kind, kind);
    ck_assert_msg(strncmp(error.text, named, strlen(named)) == 0, "%s", error.text);
}

START_TEST(what_is_wrong_is_named)
{
    char *base = make_file("base", "", 0644), *out = path_of("out"), *none = path_of("none/none"),
         *fifo = path_of("fifo");

    expect_error(base, none, out, ERROR_CONFIG, none);
    expect_error(none, base, out, ERROR_CONFIG, none);
    expect_error(base, folder, out, ERROR_CONFIG, folder);
    expect_error(base, base, none, ERROR_HOST, none);
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    expect_error(base, fifo, out, ERROR_CONFIG, fifo);
    expect_error(base, base, "/dev/full", ERROR_HOST, "/dev/full");
    free(base);
    free(out);
    free(none);
    free(fifo);
}
END_TEST

/* The one that is built: the same files give the same bytes. */
START_TEST(the_built_one)
{
    char *agent = make_file("agent", "an agent", 0755), *busybox = make_file("busybox", "a busybox", 0700);
    char *applets = make_file("applets", "[\nsh\nbusybox\n", 0600);
    char command[1024];
    size_t at = 0, entries = 0;

    (void)snprintf(command, sizeof(command), "cd %s && %s one %s %s %s && sleep 1 && %s two %s %s %s && cmp one two",
                   folder, MAKE_INITRD, agent, busybox, applets, MAKE_INITRD, agent, busybox, applets);
    ck_assert_int_eq(system(command), 0);
    char *one = path_of("one");
    read_out(one);
    ck_assert_ptr_nonnull(memmem(bytes, size, "bin/sh", 7));
    ck_assert_ptr_nonnull(memmem(bytes, size, "bin/[", 6));
    while (memcmp(bytes + at + 110, "TRAILER!!!", 10) != 0) {
        const size_t name_size = field(at, 11), content_size = field(at, 6);
        ck_assert_int_eq(memcmp(bytes + at, "070701", 6), 0);
        ck_assert_uint_gt(name_size, 1);
        at = ((at + 110 + name_size + 3) / 4 * 4 + content_size + 3) / 4 * 4;
        entries++;
        ck_assert_uint_lt(at, size);
    }
    ck_assert_uint_gt(entries, 30);
    free(one);
    free(agent);
    free(busybox);
    free(applets);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("initrd_overlay");
    TCase *tcase = tcase_create("initrd_overlay");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, files_and_their_folders);
    tcase_add_test(tcase, what_is_wrong_is_named);
    tcase_add_test(tcase, the_built_one);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
