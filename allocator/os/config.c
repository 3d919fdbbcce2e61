/* config.c: see config.h. */
#include "allocator/os/config.h"

#include "allocator/base/bits.h"
#include "allocator/os/os_process.h"
#include "allocator/os/report.h"

#include <string.h>

/* Settings of the matching lines; they point into the text. */
enum { SETTINGS = 64 };
typedef struct setting {
    const char *name, *value;
} setting;
static setting settings[SETTINGS];
static unsigned settings_count;

/* Static, because the stack may be small. Only the pages that are used become resident. */
static char text_of_file[HAK_CONFIG_MOST + 1], executable[HAK_OS_PATH_MOST];

/* The modes of all matching lines, separated by commas, so that of two modes for one check the later one wins.
 * The buffer has room for all of them: the text has a separator between two settings as well, and `off`, which
 * with its separator takes four bytes, becomes eight. */
static const char MODES[] = "HAKMEM_HARDENING";
static char modes[2 * HAK_CONFIG_MOST];

/* When the rest does not match, goes back to the last `*` and lets it take one character more. */
bool hak_config_matches(const char *pattern, const char *path) {
    const char *star = NULL, *from = NULL;
    while (*path != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            from = path;
        } else if (*pattern == *path || (*pattern == '?')) {
            pattern++;
            path++;
        } else if (star != NULL) {
            pattern = star + 1;
            path = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

/* Returns the next word of the line, ended by a 0, and sets *at to the text after it. NULL: no more words. */
static char *next_word(char **at) {
    char *word = *at;
    while (is_blank(*word))
        word++;
    if (*word == '\0' || *word == '#')
        return NULL;
    char *end = word;
    while (*end != '\0' && !is_blank(*end))
        end++;
    *at = *end == '\0' ? end : end + 1;
    *end = '\0';
    return word;
}

/* Each name has one entry. There are more entries than names that anything reads. */
static void set(const char *name, const char *value) {
    unsigned i = 0;
    while (i < settings_count && strcmp(settings[i].name, name) != 0)
        i++;
    if (i == SETTINGS)
        return;
    settings[i] = (setting){name, value};
    settings_count = hak_max(settings_count, i + 1);
}

static void add_modes(const char *word) {
    size_t had = strlen(modes);
    if (had != 0)
        modes[had++] = ',';
    strcpy(modes + had, word);
    set(MODES, modes);
}

static void read_setting(char *word) {
    char *equals = strchr(word, '=');
    if (equals != NULL && strncmp(word, "HAKMEM_", 7) == 0) {
        *equals = '\0';
        if (strcmp(word, MODES) == 0)
            add_modes(equals + 1);
        else
            set(word, equals + 1);
    } else if (strcmp(word, "off") == 0) {
        add_modes("all:off");
    } else if (equals == NULL && strchr(word, ':') != NULL) {
        add_modes(word);
    }
}

static void read_line(char *line, const char *path) {
    char *at = line, *word = next_word(&at);
    if (word == NULL || !hak_config_matches(word, path))
        return;
    while ((word = next_word(&at)) != NULL)
        read_setting(word);
}

void hak_config_parse(char *text, const char *path) {
    settings_count = 0;
    modes[0] = '\0';
    for (char *line = text, *end; line != NULL; line = end) {
        end = strchr(line, '\n');
        if (end != NULL)
            *end++ = '\0';
        read_line(line, path);
    }
}

const char *hak_config_text(const char *name) {
    for (unsigned i = 0; i < settings_count; i++)
        if (strcmp(settings[i].name, name) == 0)
            return settings[i].value;
    return NULL;
}

static void complain(const char *why) {
    hak_line line;
    hak_line_begin(&line);
    hak_line_text(&line, HAK_CONFIG_PATH);
    hak_line_text(&line, ": ignored: ");
    hak_line_text(&line, why);
    hak_line_end(&line);
}

void hak_config_read(void) {
    const char *why;
    settings_count = 0;
    size_t got = hak_os_load_trusted(HAK_CONFIG_PATH, text_of_file, HAK_CONFIG_MOST, &why);
    if (why != NULL)
        complain(why);
    text_of_file[got] = '\0';
    if (got == 0)
        return;
    if (!hak_os_executable(executable))
        executable[0] = '\0';
    hak_config_parse(text_of_file, executable);
}
