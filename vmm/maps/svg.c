/*
 * Maps as a picture: a column for each space, low addresses above, boxes for ranges, and lines between boxes that show
 * the same memory. A box grows with the logarithm of its range's size, so that a page can be seen beside gigabytes.
 */
#include "vmm/maps/maps.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* In pixels. */
enum {
    MARGIN = 24,
    HEAD = 64,
    COLUMN = 370,
    BETWEEN = 110,
    BOX_MIN = 34,
    PER_DOUBLING = 2,
    GAP = 22,
    RESERVED_BOX = 20,
    DEVICE_BOX = 20,
    LEGEND = 40,
};

/* Colours of memory that several ranges show, and of memory of one range's own. */
static const char *const shared_colours[] = {"#ffd8a8", "#b2f2bb", "#d0bfff", "#99e9f2", "#fcc2d7", "#ffec99"};
static const char own_colour[] = "#e7f0fa";

/* A range as it is drawn. */
struct box {
    size_t space;
    const struct plan_range *range;
    int x, y, height;
};

struct picture {
    const struct memory_plan *plan;
    FILE *out;
    struct box *boxes;
    size_t count;
    int height;
};

/* Names of machines are the user's own: the rest is letters that XML takes as they are. */
static void write_escaped(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '&' || *text == '<' || *text == '>' || *text == '"')
            fprintf(out, "&#%d;", *text);
        else
            putc((unsigned char)*text < 0x20 ? '?' : *text, out);
    }
}

static int column_x(size_t space)
{
    return MARGIN + (int)space * (COLUMN + BETWEEN);
}

static int box_height(uint64_t size)
{
    const int doublings = 63 - __builtin_clzll(size / 4096);

    return BOX_MIN + doublings * PER_DOUBLING;
}

/* ---- What is where ---- */

/* One after the other: the next range or, in the default space, what is reserved. */
struct walk {
    const struct plan_space *space;
    const struct plan_reserved *all_reserved;
    size_t range;
    size_t reserved;
    size_t reserved_count;
};

struct step {
    uint64_t gpa;
    uint64_t size;
    /* One of the two. */
    const struct plan_range *range;
    const struct plan_reserved *reserved;
};

static struct walk walk_of(const struct memory_plan *plan, size_t space)
{
    return (struct walk){.space = &plan->spaces[space],
                         .all_reserved = plan->reserved,
                         .reserved_count = space == 0 ? plan->reserved_count : 0};
}

static bool walk_on(struct walk *walk, struct step *step)
{
    const struct plan_range *range = walk->range < walk->space->count ? &walk->space->ranges[walk->range] : NULL;
    const struct plan_reserved *reserved =
        walk->reserved < walk->reserved_count ? &walk->all_reserved[walk->reserved] : NULL;

    if (range == NULL && reserved == NULL)
        return false;
    if (range != NULL && (reserved == NULL || range->gpa < reserved->gpa)) {
        *step = (struct step){.gpa = range->gpa, .size = range->size, .range = range};
        walk->range++;
    } else {
        *step = (struct step){.gpa = reserved->gpa, .size = reserved->size, .reserved = reserved};
        walk->reserved++;
    }
    return true;
}

/* ---- Boxes ---- */

/* Whether some range shows memory that is at home in this one, or the other way round. */
static bool is_shared(const struct memory_plan *plan, const struct plan_range *range)
{
    for (size_t i = 0; i < plan->space_count; i++) {
        for (size_t j = 0; j < plan->spaces[i].count; j++) {
            const struct plan_range *other = &plan->spaces[i].ranges[j];
            if (other != range && other->memory == range->memory && (other->is_alias || range->is_alias) &&
                other->offset < range->offset + range->size && range->offset < other->offset + other->size)
                return true;
        }
    }
    return false;
}

static const char *colour_of(const struct memory_plan *plan, const struct plan_range *range)
{
    if (!is_shared(plan, range))
        return own_colour;
    return shared_colours[range->memory % (sizeof(shared_colours) / sizeof(shared_colours[0]))];
}

static void draw_gap(const struct picture *picture, int x, int y, uint64_t size)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double amount = (double)size / 1024;
    size_t unit = 0;

    for (; amount >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        amount /= 1024;
    fprintf(picture->out,
            "<line x1='%d' y1='%d' x2='%d' y2='%d' class='gap'/>"
            "<text x='%d' y='%d' class='faint' text-anchor='middle'>%.4g %s</text>\n",
            x + COLUMN / 2, y, x + COLUMN / 2, y + 5, x + COLUMN / 2, y + GAP - 5, amount, units[unit]);
}

static void draw_range(const struct picture *picture, const struct box *box)
{
    const struct plan_range *range = box->range;
    const char *policy = maps_policy_name(range->policy);
    char flags[MAPS_FLAGS_SIZE];
    char size[MAPS_SIZE_SIZE];
    char source[MAPS_SOURCE_SIZE];
    FILE *out = picture->out;

    fprintf(out, "<rect x='%d' y='%d' width='%d' height='%d' rx='3' fill='%s' stroke='#495057'/>\n", box->x, box->y,
            COLUMN, box->height, colour_of(picture->plan, range));
    fprintf(out, "<text x='%d' y='%d' class='name'>%s</text>", box->x + 8, box->y + 14, range->name);
    fprintf(out, "<text x='%d' y='%d' class='mono' text-anchor='end'>%s  %s</text>\n", box->x + COLUMN - 8, box->y + 14,
            maps_format_flags(range->flags, flags), maps_format_size(range->size, size));
    fprintf(out, "<text x='%d' y='%d' class='mono'>0x%" PRIx64 "</text>", box->x + 8, box->y + 28, range->gpa);
    fprintf(out, "<text x='%d' y='%d' class='faint' text-anchor='end'>", box->x + COLUMN - 8, box->y + 28);
    write_escaped(maps_format_source(picture->plan, range, source), out);
    fprintf(out, "%s%s</text>\n", policy != NULL ? " · fault: " : "", policy != NULL ? policy : "");
}

static void draw_reserved(const struct picture *picture, int x, int y, const struct plan_reserved *reserved)
{
    fprintf(picture->out, "<rect x='%d' y='%d' width='%d' height='%d' rx='3' fill='#e9ecef' stroke='#adb5bd'/>\n", x, y,
            COLUMN, RESERVED_BOX);
    fprintf(picture->out,
            "<text x='%d' y='%d' class='mono'>0x%" PRIx64 "</text><text x='%d' y='%d' class='faint' "
            "text-anchor='end'>%s</text>\n",
            x + 8, y + 14, reserved->gpa, x + COLUMN - 8, y + 14, reserved->what);
}

/* The devices that reach the space, below its memory. Returns where the column goes on. */
static int draw_devices(const struct picture *picture, size_t space, int y, bool draw)
{
    const struct memory_plan *plan = picture->plan;
    const int x = column_x(space);
    char text[MAPS_DEVICE_SIZE];

    for (size_t i = 0; i < plan->config->lists.device_count; i++) {
        if (!maps_device_is_in(plan, i, space))
            continue;
        y += 4;
        if (draw)
            fprintf(picture->out,
                    "<rect x='%d' y='%d' width='%d' height='%d' rx='9' fill='#f8f0fc' stroke='#9c36b5'/>"
                    "<text x='%d' y='%d' class='name'>%s</text><text x='%d' y='%d' class='faint' "
                    "text-anchor='end'>%s</text>\n",
                    x, y, COLUMN, DEVICE_BOX, x + 8, y + 14, plan->devices[i].config->name, x + COLUMN - 8, y + 14,
                    maps_format_device(&plan->devices[i], text));
        y += DEVICE_BOX;
    }
    return y;
}

/* Draws a column, or with draw false only works out where its boxes are. */
static void draw_space(struct picture *picture, size_t space, bool draw)
{
    struct walk walk = walk_of(picture->plan, space);
    struct step step;
    uint64_t end = 0;
    int y = HEAD;

    while (walk_on(&walk, &step)) {
        if (step.gpa > end) {
            if (draw)
                draw_gap(picture, column_x(space), y, step.gpa - end);
            y += GAP;
        }
        end = step.gpa + step.size;
        struct box box = {.space = space, .range = step.range, .x = column_x(space), .y = y};
        box.height = step.range != NULL ? box_height(step.size) : RESERVED_BOX;
        if (draw && step.range != NULL)
            draw_range(picture, &box);
        else if (draw)
            draw_reserved(picture, box.x, y, step.reserved);
        else if (step.range != NULL)
            picture->boxes[picture->count++] = box;
        y += box.height + 2;
    }
    y = draw_devices(picture, space, y, draw);
    if (y > picture->height)
        picture->height = y;
}

/* ---- Lines ---- */

static const struct box *find_box(const struct picture *picture, const struct plan_range *range)
{
    for (size_t i = 0; i < picture->count; i++)
        if (picture->boxes[i].range == range)
            return &picture->boxes[i];
    return NULL;
}

/* A band from a range that shows another's memory to the part of it that it shows. */
static void draw_share(const struct picture *picture, const struct box *box)
{
    const struct maps_home home = maps_find_home(picture->plan, box->range);
    const struct box *there = home.range == NULL ? NULL : find_box(picture, home.range);

    if (there == NULL)
        return;
    const double scale = there->height / (double)home.range->size;
    const double top = there->y + scale * (double)(home.gpa - home.range->gpa);
    double bottom = top + scale * (double)box->range->size;
    if (bottom < top + 2)
        bottom = top + 2;
    const bool from_left = there->x < box->x;
    const bool same_column = there->x == box->x;
    const int x1 = from_left || same_column ? there->x + COLUMN : there->x;
    const int x2 = from_left ? box->x : box->x + COLUMN;
    const int bend = same_column ? x1 + BETWEEN / 2 : (x1 + x2) / 2;
    fprintf(picture->out,
            "<path d='M%d %.1f C%d %.1f %d %d %d %d L%d %d C%d %d %d %.1f %d %.1f Z' fill='%s' fill-opacity='0.55' "
            "stroke='#868e96' stroke-width='0.7'/>\n",
            x1, top, bend, top, bend, box->y, x2, box->y, x2, box->y + box->height, bend, box->y + box->height, bend,
            bottom, x1, bottom, colour_of(picture->plan, box->range));
}

/* ---- The whole ---- */

static void draw_head(const struct picture *picture, int width)
{
    const struct memory_plan *plan = picture->plan;
    FILE *out = picture->out;

    fprintf(out,
            "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' viewBox='0 0 %d %d' "
            "font-family='sans-serif' font-size='12'>\n<title>",
            width, picture->height + LEGEND, width, picture->height + LEGEND);
    write_escaped(plan->config->machine.name, out);
    fprintf(out,
            ": guest-physical memory</title>\n"
            "<style>.name{font-weight:bold}.mono{font-family:monospace;font-size:11px}"
            ".faint{fill:#6c757d;font-size:11px}.gap{stroke:#adb5bd;stroke-dasharray:2 2}</style>\n"
            "<rect width='100%%' height='100%%' fill='white'/>\n<text x='%d' y='24' font-size='16'>",
            MARGIN);
    write_escaped(plan->config->machine.name, out);
    fprintf(out, ": guest-physical memory</text>\n");
    for (size_t i = 0; i < plan->space_count; i++)
        fprintf(out, "<text x='%d' y='%d' class='name'>space %s%s</text>\n", column_x(i), HEAD - 10,
                plan->spaces[i].name, plan->spaces[i].is_strict ? ", strict" : "");
}

void maps_write_svg(const struct memory_plan *plan, FILE *out)
{
    struct picture picture = {.plan = plan, .out = out};
    size_t count = 0;

    for (size_t i = 0; i < plan->space_count; i++)
        count += plan->spaces[i].count;
    picture.boxes = calloc(count, sizeof(*picture.boxes));
    if (picture.boxes == NULL)
        return;
    for (size_t i = 0; i < plan->space_count; i++)
        draw_space(&picture, i, false);
    /* Room at the right for lines within the last column. */
    draw_head(&picture, column_x(plan->space_count - 1) + COLUMN + BETWEEN / 2 + MARGIN);
    for (size_t i = 0; i < picture.count; i++)
        if (picture.boxes[i].range->is_alias)
            draw_share(&picture, &picture.boxes[i]);
    for (size_t i = 0; i < plan->space_count; i++)
        draw_space(&picture, i, true);
    fprintf(out,
            "<text x='%d' y='%d' class='faint'>Low addresses are above. A box grows with the logarithm of its size; "
            "what shares memory has one colour.</text>\n</svg>\n",
            MARGIN, picture.height + LEGEND - 14);
    free(picture.boxes);
}
