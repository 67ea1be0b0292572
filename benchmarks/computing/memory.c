/* Memory: lists that are followed, arrays that are sorted, tables that are hashed into. */
#include "program.h"

enum { COUNT = 1 << 18 };
static struct node { struct node *next; u64 value; } nodes[COUNT];
static u32 array[COUNT], table[COUNT];

static void sort(u32 *low, u32 *high)
{
    while (low < high) {
        u32 pivot = low[(high - low) / 2], *i = low, *j = high;
        while (i <= j) {
            while (*i < pivot)
                i++;
            while (*j > pivot)
                j--;
            if (i <= j) {
                u32 t = *i;
                *i++ = *j;
                *j-- = t;
            }
        }
        sort(low, j);
        low = i;
    }
}

u64 compute(void)
{
    u64 sum = 0;
    u32 seed = 1;
    for (u32 i = 0; i < COUNT; i++) {
        nodes[i].value = i;
        nodes[i].next = &nodes[(i * 40503u + 12345) % COUNT];
    }
    struct node *n = nodes;
    for (int i = 0; i < 10000000; i++, n = n->next)
        sum += n->value;
    for (int round = 0; round < 8; round++) {
        for (u32 i = 0; i < COUNT; i++) {
            seed = seed * 1664525 + 1013904223;
            array[i] = seed;
            table[seed >> 14] += i;
        }
        sort(array, array + COUNT - 1);
        for (u32 i = 0; i < COUNT; i += 97)
            sum = sum * 5 + array[i] + table[i];
    }
    return sum;
}
