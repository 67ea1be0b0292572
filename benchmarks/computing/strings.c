/* Bytes: text is made, searched, compared, hashed and compressed in runs. */
#include "program.h"

enum { LENGTH = 1 << 16 };
static char text[LENGTH + 1], other[LENGTH + 1], runs[2 * LENGTH];

static __attribute__((noinline)) u64 length_of(const char *s)
{
    u64 n = 0;
    while (s[n])
        n++;
    return n;
}

static __attribute__((noinline)) u64 found(const char *s, const char *what)
{
    u64 n = 0;
    for (; *s; s++) {
        const char *a = s, *b = what;
        while (*b && *a == *b)
            a++, b++;
        n += !*b;
    }
    return n;
}

static __attribute__((noinline)) u64 compressed(const char *s, char *to)
{
    char *start = to;
    while (*s) {
        char c = *s, count = 0;
        while (*s == c && count < 100)
            s++, count++;
        *to++ = count;
        *to++ = c;
    }
    return to - start;
}

u64 compute(void)
{
    u64 sum = 0;
    u32 seed = 12345;
    for (int round = 0; round < 400; round++) {
        for (int i = 0; i < LENGTH; i++) {
            seed = seed * 1103515245 + 12345;
            text[i] = "aabbbaabcd e"[seed >> 16 & 7];
        }
        for (int i = 0; i <= LENGTH; i++)
            other[i] = text[i];
        sum += length_of(other) + found(text, "abba") * 7 + compressed(other, runs);
        u32 hash = 2166136261u;
        for (const char *s = other; *s; s++)
            hash = (hash ^ (u8)*s) * 16777619u;
        sum = sum * 31 + hash;
    }
    return sum;
}
