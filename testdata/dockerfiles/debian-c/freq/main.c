/* freq [-n COUNT] FILE: prints the most frequent words of FILE. */
#include "table.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_WORD = 255 };

static int read_words(FILE *in, struct table *table)
{
    char word[LONGEST_WORD + 1];
    size_t length = 0;
    int c;
    do {
        c = getc(in);
        if (c != EOF && isalpha(c)) {
            if (length < LONGEST_WORD)
                word[length++] = (char)tolower(c);
        } else if (length > 0) {
            word[length] = '\0';
            length = 0;
            if (table_count(table, word) != 0)
                return -1;
        }
    } while (c != EOF);
    return ferror(in) ? -1 : 0;
}

int main(int argc, char **argv)
{
    size_t wanted = 10;
    int at = 1;
    if (argc > 2 && strcmp(argv[1], "-n") == 0) {
        wanted = strtoul(argv[2], NULL, 10);
        at = 3;
    }
    if (at + 1 != argc) {
        fprintf(stderr, "usage: freq [-n COUNT] FILE\n");
        return 2;
    }
    FILE *in = fopen(argv[at], "r");
    if (!in) {
        perror(argv[at]);
        return 1;
    }
    struct table table;
    table_init(&table);
    int failed = read_words(in, &table);
    fclose(in);
    if (failed) {
        fprintf(stderr, "freq: cannot read %s\n", argv[at]);
        return 1;
    }
    table_sort(&table);
    for (size_t i = 0; i < table.used && i < wanted; i++)
        printf("%lu %s\n", table.slots[i].count, table.slots[i].text);
    table_free(&table);
    return 0;
}
