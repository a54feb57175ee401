#include "table.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 64 };

static size_t hash(const char *text)
{
    size_t h = 1469598103934665603u & (size_t)-1;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 1099511628211u;
    return h;
}

static struct word *slot_of(const struct table *table, const char *text)
{
    size_t at = hash(text) & (table->capacity - 1);
    while (table->slots[at].text && strcmp(table->slots[at].text, text) != 0)
        at = (at + 1) & (table->capacity - 1);
    return &table->slots[at];
}

static int grow(struct table *table)
{
    struct table bigger = {0};
    bigger.capacity = table->capacity ? table->capacity * 2 : FIRST_CAPACITY;
    bigger.used = table->used;
    bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots);
    if (!bigger.slots)
        return -1;
    for (size_t i = 0; i < table->capacity; i++)
        if (table->slots[i].text)
            *slot_of(&bigger, table->slots[i].text) = table->slots[i];
    free(table->slots);
    *table = bigger;
    return 0;
}

void table_init(struct table *table)
{
    memset(table, 0, sizeof *table);
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->capacity; i++)
        free(table->slots[i].text);
    free(table->slots);
    table_init(table);
}

int table_count(struct table *table, const char *text)
{
    if (table->used * 4 >= table->capacity * 3 && grow(table) != 0)
        return -1;
    struct word *word = slot_of(table, text);
    if (!word->text) {
        size_t size = strlen(text) + 1;
        word->text = malloc(size);
        if (!word->text)
            return -1;
        memcpy(word->text, text, size);
        table->used++;
    }
    word->count++;
    return 0;
}

static int by_count(const void *left, const void *right)
{
    const struct word *a = left, *b = right;
    if (!a->text || !b->text)
        return (a->text == NULL) - (b->text == NULL);
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    return strcmp(a->text, b->text);
}

void table_sort(struct table *table)
{
    if (table->capacity)
        qsort(table->slots, table->capacity, sizeof *table->slots, by_count);
}
