/* control.c: see control.h. Translates names to numbers, and values to bytes. */
#include "allocator/api/control.h"

#include "allocator/base/bits.h"

#include <errno.h>
#include <string.h>

/* Length of the word at `text`, which ends at a dot or at the end of the text. */
static size_t word_length(const char *text) {
    size_t n = 0;
    while (text[n] != '\0' && text[n] != '.')
        n++;
    return n;
}

static const char *next_word(const char *text) {
    text += word_length(text);
    return *text == '.' ? text + 1 : NULL;
}

/* Reads a decimal number of at most nine digits. */
static bool read_number(const char *text, size_t length, size_t *out) {
    *out = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *out = *out * 10 + (size_t)(text[i] - '0');
    }
    return length > 0 && length <= 9;
}

static bool is_number(const char *pattern) {
    return pattern[0] == '*';
}

/* The first number of a row is an arena, the second a class. Names that begin with "arenas." have only a class. */
static bool number_is_there(const hak_control *row, unsigned nth, size_t number) {
    bool is_bin = nth == 1 || strncmp(row->name, "arenas.", 7) == 0;
    return is_bin ? hak_control_has_bin(number) : hak_control_has_arena(number);
}

/* The index of the first row whose name begins with the same words, up to and including `word`. */
static size_t first_with(const hak_control *row, const char *word) {
    size_t length = (size_t)(word - row->name) + word_length(word), i = 0;
    for (; &hak_controls[i] != row; i++)
        if (strncmp(hak_controls[i].name, row->name, length) == 0 &&
            (hak_controls[i].name[length] == '.' || hak_controls[i].name[length] == '\0'))
            break;
    return i;
}

/* Stores the name's numbers by this row and returns how many; 0 when the row has another name. */
static size_t match_name(const hak_control *row, const char *name, size_t mib[HAK_CONTROL_WORDS]) {
    const char *pattern = row->name;
    size_t count = 0;
    unsigned numbers = 0;
    for (; pattern != NULL && name != NULL; pattern = next_word(pattern), name = next_word(name), count++) {
        size_t length = word_length(name);
        if (!is_number(pattern)) {
            if (length != word_length(pattern) || strncmp(pattern, name, length) != 0)
                return 0;
            mib[count] = first_with(row, pattern);
        } else if (!read_number(name, length, &mib[count]) || !number_is_there(row, numbers++, mib[count])) {
            return 0;
        }
    }
    return pattern == NULL && name == NULL ? count : 0;
}

int hak_control_find(const char *name, size_t *mib, size_t *count) {
    size_t whole[HAK_CONTROL_WORDS];
    for (unsigned i = 0; i < hak_controls_count; i++) {
        size_t words = match_name(&hak_controls[i], name, whole);
        if (words == 0)
            continue;
        *count = hak_min(*count, words);
        for (size_t k = 0; k < *count; k++)
            mib[k] = whole[k];
        return 0;
    }
    return ENOENT;
}

static bool match_mib(const hak_control *row, const size_t *mib, size_t count, hak_control_numbers *numbers) {
    unsigned found = 0;
    size_t i = 0;
    const char *pattern = row->name;
    for (; pattern != NULL && i < count; pattern = next_word(pattern), i++) {
        if (!is_number(pattern)) {
            if (mib[i] != first_with(row, pattern))
                return false;
        } else if (!number_is_there(row, found, mib[i])) {
            return false;
        } else {
            numbers->at[found++] = mib[i];
        }
    }
    return pattern == NULL && i == count;
}

static const hak_control *row_of(const size_t *mib, size_t count, hak_control_numbers *numbers) {
    if (count == 0 || mib[count - 1] >= HAK_CONTROL_DESTROYED + hak_controls_count)
        return NULL;
    for (unsigned i = 0; i < hak_controls_count; i++)
        if (match_mib(&hak_controls[i], mib, count, numbers))
            return &hak_controls[i];
    return NULL;
}

static size_t bytes_of(hak_control_type type) {
    switch (type) {
    case HAK_CONTROL_BOOL:
        return sizeof(bool);
    case HAK_CONTROL_UNSIGNED:
        return sizeof(unsigned);
    case HAK_CONTROL_SIZE:
        return sizeof(uint64_t);
    case HAK_CONTROL_TEXT:
        return sizeof(const char *);
    case HAK_CONTROL_NOTHING:
        break;
    }
    return 0;
}

/* Copies the value to `old`. This relies on little-endian numbers, which all supported machines have. */
static int read_value(const hak_control *row, const hak_control_numbers *numbers, void *old,
                      size_t *old_len) {
    size_t bytes = bytes_of(row->type), room = *old_len;
    *old_len = 0;
    if (row->makes && bytes != room)
        return EINVAL;
    uint64_t value = row->read != NULL ? row->read(numbers) : row->value;
    if (row->type == HAK_CONTROL_TEXT)
        value = (uintptr_t)row->text;
    if (row->makes && value == HAK_CONTROL_NONE_LEFT)
        return EAGAIN;
    *old_len = hak_min(bytes, room);
    memcpy(old, &value, *old_len);
    return bytes == room ? 0 : EINVAL;
}

static int may_write(const hak_control *row, size_t new_len) {
    if (!row->written)
        return EPERM;
    return new_len == bytes_of(row->type) ? 0 : EINVAL;
}

int hak_control_do(const size_t *mib, size_t count, void *old, size_t *old_len, const void *new_value,
                   size_t new_len) {
    hak_control_numbers numbers = {{0, 0}};
    const hak_control *row = row_of(mib, count, &numbers);
    bool reads = old != NULL && old_len != NULL;
    uint64_t to = 0; /* a copy, because the caller may use one variable for both values */
    if (row == NULL)
        return ENOENT;
    if (row->type == HAK_CONTROL_NOTHING)
        return reads || new_value != NULL ? EPERM : row->write(&numbers, 0);
    int done = new_value != NULL ? may_write(row, new_len) : row->makes && !reads ? EINVAL : 0;
    if (done == 0 && new_value != NULL)
        memcpy(&to, new_value, new_len);
    if (done == 0 && reads && !row->after)
        done = read_value(row, &numbers, old, old_len);
    if (done == 0 && new_value != NULL && row->write != NULL)
        done = row->write(&numbers, to);
    return done == 0 && reads && row->after ? read_value(row, &numbers, old, old_len) : done;
}
