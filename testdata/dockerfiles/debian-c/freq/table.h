/* A table of words and how often each was seen. */
#ifndef TABLE_H
#define TABLE_H

#include <stddef.h>

struct word {
    char *text;
    unsigned long count;
};

struct table {
    struct word *slots; /* open addressing; an empty slot has no text */
    size_t capacity;    /* a power of two */
    size_t used;
};

void table_init(struct table *table);
void table_free(struct table *table);

/* Counts one more `text`. Returns 0, or -1 when memory runs out. */
int table_count(struct table *table, const char *text);

/* Moves the words to the front, most frequent first, ties by text. The table can only
 * be read and freed afterwards. */
void table_sort(struct table *table);

#endif
