#include "devices/block/image.h"

#include "devices/block/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What direct access may ask for at the most: pages. */
enum { DIRECT_MAX = 4096 };
/* Of 10 ms each. */
enum { LOCK_TRIES = 100 };

static int cannot(struct error *error, const char *path, const char *what, const char *remedy)
{
    return error_set(error, ERROR_CONFIG, "%s: cannot %s: %s%s", path, what, strerror(errno), remedy);
}

/* ---- The file ---- */

static int check_kind(const struct block_image_options *options, int fd, struct error *error)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return cannot(error, options->path, "look at it", "");
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return error_set(error, ERROR_CONFIG,
                         "%s: is neither a file nor a block device; a disk is a raw image or a block device",
                         options->path);
    return 0;
}

static const char *open_remedy(bool is_writer, int reason)
{
    if (reason == ENOENT)
        return "; 'truncate -s 8G' makes an empty one";
    if (reason == EISDIR)
        return "; a disk is a raw image or a block device";
    return is_writer && (reason == EACCES || reason == EPERM || reason == EROFS)
               ? "; a disk that is only read needs read-only"
               : "";
}

/* O_NONBLOCK so that a FIFO does not have us wait; with it io_uring would not wait for a disk either. */
static int open_file(const struct block_image_options *options, int flags, struct error *error)
{
    const bool is_writer = (flags & O_ACCMODE) == O_RDWR;
    const int fd = open(options->path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0 && errno == EINVAL && flags & O_DIRECT)
        return error_set(error, ERROR_CONFIG, "%s: its file system has no direct access; leave \"direct\" out",
                         options->path);
    if (fd < 0)
        return cannot(error, options->path, "open it", open_remedy(is_writer, errno));
    if (check_kind(options, fd, error) == 0) {
        if (fcntl(fd, F_SETFL, flags & O_DIRECT) == 0)
            return fd;
        cannot(error, options->path, "change its flags", "");
    }
    close(fd);
    return -1;
}

/*
 * -1 with errno. Of a process that has just ended, io_uring still has the files for a while, and so the locks: a
 * machine that is started again must not be refused for its own end.
 */
static int lock_soon(int fd, struct flock *lock)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    int result = fcntl(fd, F_OFD_SETLK, lock);

    for (unsigned i = 0; i < LOCK_TRIES && result < 0 && (errno == EAGAIN || errno == EACCES); i++) {
        (void)nanosleep(&pause, NULL);
        result = fcntl(fd, F_OFD_SETLK, lock);
    }
    return result;
}

static int lock_file(const struct block_image_options *options, int fd, bool is_writer, struct error *error)
{
    struct flock lock = {.l_type = is_writer ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};

    if (lock_soon(fd, &lock) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return error_set(error, ERROR_CONFIG,
                         "%s: is in use by another disk or machine%s; several can share it if all have it read-only, "
                         "or as a snapshot",
                         options->path, is_writer ? "" : ", which writes to it");
    return cannot(error, options->path, "lock it", "");
}

/* Images of other kinds, which would be read as garbage, and written to. */
static int check_format(const struct block_image_options *options, int fd, struct error *error)
{
    static const struct {
        char magic[9];
        const char *format;
    } formats[] = {{"QFI\xfb", "qcow2"}, {"KDMV", "vmdk"}, {"vhdxfile", "vhdx"}};
    char start[8] = "";

    if (pread(fd, start, sizeof(start), 0) < 0)
        return cannot(error, options->path, "read it", "");
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (memcmp(start, formats[i].magic, strlen(formats[i].magic)) == 0)
            return error_set(
                error, ERROR_CONFIG,
                "%s: is a %s image, and a disk is a raw one; qemu-img convert -O raw '%s' disk.raw makes it",
                options->path, formats[i].format, options->path);
    return 0;
}

/* The least that can be read directly: asking is the only way that all kernels and file systems have. */
static uint32_t probe_direct(int fd)
{
    void *buffer = NULL;
    uint32_t size = BLOCK_SECTOR;

    if (posix_memalign(&buffer, (size_t)DIRECT_MAX * 2, (size_t)DIRECT_MAX * 2) != 0)
        return DIRECT_MAX;
    while (size < DIRECT_MAX && pread(fd, (char *)buffer + size, size, size) < 0)
        size *= 2;
    free(buffer);
    return size;
}

static int measure(struct block_image *image, const char *path, int fd, struct error *error)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return cannot(error, path, "look at it", "");
    image->size = (uint64_t)status.st_size;
    if (S_ISBLK(status.st_mode) && ioctl(fd, BLKGETSIZE64, &image->size) < 0)
        return cannot(error, path, "ask for its size", "");
    if (image->size == 0)
        return error_set(error, ERROR_CONFIG, "%s: is empty; truncate -s SIZE '%s' makes it a disk", path, path);
    if (image->size % image->block_size != 0)
        return error_set(error, ERROR_CONFIG,
                         "%s: its size of %" PRIu64 " bytes is not a multiple of %" PRIu32 "; truncate -s %%%" PRIu32
                         " '%s' fills it up",
                         path, image->size, image->block_size, image->block_size, path);
    return 0;
}

static int open_base(struct block_image *image, const struct block_image_options *options, struct error *error)
{
    const bool is_writer = !options->read_only && options->snapshot == BLOCK_SNAPSHOT_OFF;
    const int access = is_writer ? O_RDWR : O_RDONLY;
    /* Where the base is direct this one bounces, and is the one to ask. */
    int *plain = &image->files[options->direct ? BLOCK_FILE_BOUNCE : BLOCK_FILE_BASE];

    *plain = open_file(options, access, error);
    if (*plain < 0 || lock_file(options, *plain, is_writer, error) < 0 || check_format(options, *plain, error) < 0)
        return -1;
    if (options->direct) {
        image->files[BLOCK_FILE_BASE] = open_file(options, access | O_DIRECT, error);
        if (image->files[BLOCK_FILE_BASE] < 0)
            return -1;
        image->block_size = probe_direct(image->files[BLOCK_FILE_BASE]);
    }
    return measure(image, options->path, *plain, error);
}

/* ---- The overlay ---- */

static int make_nameless_file(const char *folder)
{
    char path[4096];
    const int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd;
    if (snprintf(path, sizeof(path), "%s/quire-XXXXXX", folder) >= (int)sizeof(path))
        return -1;
    const int named = mkostemp(path, O_CLOEXEC);
    if (named >= 0)
        unlink(path);
    return named;
}

static int open_overlay(struct block_image *image, const struct block_image_options *options, struct error *error)
{
    const char *folder = options->snapshot_folder != NULL ? options->snapshot_folder : "/var/tmp";
    const bool is_file = options->snapshot == BLOCK_SNAPSHOT_FILE;
    const uint64_t limit = options->snapshot_limit != 0 ? options->snapshot_limit : image->size;

    const int fd = is_file ? make_nameless_file(folder) : memfd_create("overlay", MFD_CLOEXEC);
    if (fd < 0 && is_file)
        return cannot(error, options->path, "make a file for its snapshot", "; is its folder there, and writable?");
    if (fd < 0)
        return error_set(error, ERROR_HOST, "%s: no memory for its snapshot: %s", options->path, strerror(errno));
    image->files[BLOCK_FILE_OVERLAY] = fd;
    if (ftruncate(fd, (off_t)image->size) < 0)
        return cannot(error, options->path, "make a file of its size for its snapshot", "");
    image->overlay = block_overlay_create(image->size, limit);
    return image->overlay != NULL ? 0 : error_set(error, ERROR_HOST, "out of memory");
}

/* ---- Beginning and end ---- */

struct block_image *block_image_open(const struct block_image_options *options, struct error *error)
{
    struct block_image *image = calloc(1, sizeof(*image));

    if (image == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    for (unsigned i = 0; i < BLOCK_FILE_COUNT; i++)
        image->files[i] = -1;
    image->block_size = BLOCK_SECTOR;
    image->read_only = options->read_only;
    image->direct = options->direct;
    image->cache = options->cache;
    const bool has_overlay = options->snapshot != BLOCK_SNAPSHOT_OFF && !options->read_only;
    if (open_base(image, options, error) == 0 && (!has_overlay || open_overlay(image, options, error) == 0))
        return image;
    block_image_close(image);
    return NULL;
}

void block_image_close(struct block_image *image)
{
    if (image == NULL)
        return;
    for (unsigned i = 0; i < BLOCK_FILE_COUNT; i++)
        if (image->files[i] >= 0)
            close(image->files[i]);
    block_overlay_destroy(image->overlay);
    free(image);
}
