/* config.c: see config.h. */
#include "allocator/os/config.h"

#include "allocator/base/bits.h"
#include "allocator/os/os_process.h"
#include "allocator/os/report.h"

#include <string.h>

/* Settings of lines that match, as they stand in the text. */
enum { SETTINGS = 64 };
typedef struct setting {
    const char *name, *value;
} setting;
static setting settings[SETTINGS];
static unsigned settings_count;

/* Static: it is as large as is read of it, and lies where no program's stack has to have room. */
static char text_of_file[HAK_CONFIG_MOST + 1], executable[HAK_OS_PATH_MOST];

/* The modes of all lines that match, with a comma between: of a check that is named twice the later one counts. Two
 * have a blank between them in the text, and `off` is written in eight bytes where it had four: there is room for
 * all. */
static const char MODES[] = "HAKMEM_HARDENING";
static char modes[2 * HAK_CONFIG_MOST];

/* By the last `*` that was met: it takes one character more when the rest does not match. */
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

/* The next word of the line, ended by a 0; *at is what comes after it. NULL: no more. */
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

/* A name has one entry: there are more entries than names that anybody asks for. */
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
