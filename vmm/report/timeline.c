#include "vmm/report/timeline.h"

#include "vmm/report/markup.h"

#include <stdlib.h>

/* In pixels, from above. Across, all is in percent, so that letters keep their size on a narrow screen. */
enum { AXIS = 16, LABEL = 15, LANE = 24, BETWEEN = 8, TICKS = 4 };
/* Narrower spans have no room for a number, or for enough of a name. */
enum { NUMBER_PERCENT = 2, NAME_PERCENT = 7 };

/* Percent of the case's time. */
static double part_of(uint64_t ns, uint64_t all)
{
    const double part = all > 0 ? 100.0 * (double)ns / (double)all : 0;

    return part < 100 ? part : 100;
}

size_t timeline_phases(const struct excerpt *excerpt, enum excerpt_phase_kind order[EXCERPT_PHASE_COUNT])
{
    size_t count = 0;

    for (size_t i = 0; i < EXCERPT_PHASE_COUNT; i++) {
        size_t at = count;
        if (excerpt->phases[i].line == 0)
            continue;
        for (; at > 0 && excerpt->phases[order[at - 1]].at_ns > excerpt->phases[i].at_ns; at--)
            order[at] = order[at - 1];
        order[at] = (enum excerpt_phase_kind)i;
        count++;
    }
    return count;
}

static void write_axis(uint64_t all, int height, FILE *out)
{
    for (int i = 0; i <= TICKS; i++) {
        const char *anchor = i == 0 ? "start" : i == TICKS ? "end" : "middle";
        const int part = 100 * i / TICKS;
        (void)fprintf(out,
                      "<line x1=\"%d%%\" x2=\"%d%%\" y1=\"%d\" y2=\"%d\" class=\"tick\"/>"
                      "<text x=\"%d%%\" y=\"11\" text-anchor=\"%s\" class=\"faint\">",
                      part, part, AXIS, height, part, anchor);
        markup_time(all / TICKS * (uint64_t)i, out);
        (void)fputs("</text>\n", out);
    }
}

/* The label above a lane; returns where the lane is. */
static int write_label(const char *text, int y, FILE *out)
{
    (void)fprintf(out, "<text x=\"0\" y=\"%d\" class=\"label\">%s</text>\n", y + LABEL - 4, text);
    return y + LABEL;
}

/* A span is an <svg> of its own, which cuts its text off where it ends. Returns its width, in percent. */
static double open_span(uint64_t from, uint64_t to, uint64_t all, int y, const char *class, FILE *out)
{
    const double start = part_of(from, all);
    const double width = part_of(to, all) - start;

    (void)fprintf(out,
                  "<svg x=\"%.3f%%\" y=\"%d\" width=\"%.3f%%\" height=\"%d\"><rect width=\"100%%\" height=\"%d\" "
                  "class=\"%s\"/>",
                  start, y, width > 0.3 ? width : 0.3, LANE, LANE, class);
    return width;
}

static int write_steps(const struct result_case *one, size_t limit, int y, FILE *out)
{
    static const char *const classes[RESULT_STATUS_COUNT] = {
        [RESULT_NOT_RUN] = "span not-run", [RESULT_PASSED] = "span passed", [RESULT_FAILED] = "span failed",
        [RESULT_SKIPPED] = "span skipped", [RESULT_BROKEN] = "span broken",
    };

    y = write_label("Steps", y, out);
    for (size_t i = 0; i < one->step_count && i < limit; i++) {
        const struct result_step *step = &one->steps[i];
        if (step->status == RESULT_NOT_RUN)
            continue;
        const double width = open_span(step->start_ns, step->start_ns + step->duration_ns, one->duration_ns, y,
                                       classes[step->status], out);
        (void)fprintf(out, "<title>step %zu: ", i + 1);
        (void)markup_cut(step->kind, 40, out);
        (void)fputs("</title>", out);
        if (width > NUMBER_PERCENT)
            (void)fprintf(out, "<text x=\"4\" y=\"16\">%zu</text>", i + 1);
        (void)fputs("</svg>\n", out);
    }
    return y + LANE + BETWEEN;
}

static int write_phases(const struct result_case *one, const struct excerpt *excerpt, int y, FILE *out)
{
    enum excerpt_phase_kind order[EXCERPT_PHASE_COUNT];
    const size_t count = timeline_phases(excerpt, order);

    y = write_label("Boot", y, out);
    for (size_t i = 0; i < count; i++) {
        const uint64_t from = excerpt->phases[order[i]].at_ns;
        const uint64_t to = i + 1 < count ? excerpt->phases[order[i + 1]].at_ns : one->duration_ns;
        const double width = open_span(from, to > from ? to : from, one->duration_ns, y,
                                       i % 2 == 0 ? "span phase" : "span phase other", out);
        (void)fprintf(out, "<title>%s</title>", excerpt_phase_name(order[i]));
        if (width > NAME_PERCENT)
            (void)fprintf(out, "<text x=\"4\" y=\"16\">%s</text>", excerpt_phase_name(order[i]));
        (void)fputs("</svg>\n", out);
    }
    return y + LANE + BETWEEN;
}

/* A bar for each part of the time, which grows with the logarithm of its lines. */
static void write_activity(const struct excerpt *excerpt, int y, FILE *out)
{
    const double width = 100.0 / EXCERPT_BINS;

    for (size_t i = 0; i < EXCERPT_BINS; i++) {
        int height = 0;
        for (uint32_t lines = excerpt->activity[i]; lines > 0 && height < LANE; lines >>= 1)
            height += 3;
        if (height > 0)
            (void)fprintf(out, "<rect x=\"%.3f%%\" y=\"%d\" width=\"%.3f%%\" height=\"%d\" class=\"activity\"/>",
                          (double)i * width, y + LANE - (height < LANE ? height : LANE), width * 0.8,
                          height < LANE ? height : LANE);
    }
    (void)fputc('\n', out);
}

static int write_console(const struct result_case *one, const struct excerpt *excerpt, int y, FILE *out)
{
    y = write_label("Lines on the console, and where it was silent longest", y, out);
    for (size_t i = 0; i < excerpt->silence_count; i++) {
        const struct excerpt_silence *silence = &excerpt->silences[i];
        (void)open_span(silence->from_ns, silence->to_ns, one->duration_ns, y, "silence", out);
        (void)fprintf(out,
                      "<title>silence %c</title><text x=\"50%%\" y=\"16\" text-anchor=\"middle\">%c</text></svg>\n",
                      (int)('A' + i), (int)('A' + i));
    }
    write_activity(excerpt, y, out);
    return y + LANE + BETWEEN;
}

void timeline_write(const struct result_case *one, size_t step_limit, const struct excerpt *excerpt, FILE *out)
{
    const int lanes = 1 + (excerpt != NULL ? 2 : 0);
    const int height = AXIS + BETWEEN + lanes * (LABEL + LANE + BETWEEN);
    int y = AXIS + BETWEEN / 2;

    (void)fprintf(
        out,
        "<svg class=\"timeline\" width=\"100%%\" height=\"%d\" role=\"img\" aria-label=\"Where the time went; "
        "the tables say the same\">\n",
        height);
    write_axis(one->duration_ns, height, out);
    y = write_steps(one, step_limit, y, out);
    if (excerpt != NULL) {
        y = write_phases(one, excerpt, y, out);
        (void)write_console(one, excerpt, y, out);
    }
    (void)fputs("</svg>\n", out);
}
