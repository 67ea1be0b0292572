/* Indirect jumps: an interpreter of bytecode that calls its operations by pointers, and a switch. */
#include "program.h"

static long stack[64], *top, variable[2];
static const u8 *next;

static void push(void) { *top++ = *next++; }
static void load(void) { *top++ = variable[*next++]; }
static void store(void) { variable[*next++] = *--top; }
static void add(void) { top--; top[-1] += *top; }
static void xor(void) { top--; top[-1] ^= *top; }
static void repeat(void) { if (--variable[1] > 0) next -= 11; }

static void (*volatile operations[])(void) = { push, load, store, add, xor, repeat };
static const u8 code[] = { 1, 0, 0, 7, 3, 0, 5, 4, 2, 0, 5, 255 };

static __attribute__((noinline)) long chosen(u32 n, long v)
{
    switch (n & 7) {
    case 0: return v + 1;
    case 1: return v * 3;
    case 2: return v ^ 0x55;
    case 3: return v - n;
    case 4: return v << 1;
    case 5: return v >> 1;
    case 6: return ~v;
    default: return v + n;
    }
}

u64 compute(void)
{
    top = stack;
    variable[1] = 5000000;
    next = code;
    while (*next != 255)
        operations[*next++]();
    long v = variable[0];
    u32 n = 1;
    for (int i = 0; i < 15000000; i++) {
        n = n * 1664525 + 1013904223;
        v = chosen(n >> 24, v);
    }
    return (u64)v;
}
