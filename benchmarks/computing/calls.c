/* Calls: two recursions that do little else. */
#include "program.h"

static __attribute__((noinline)) u64 fibonacci(u64 n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static __attribute__((noinline)) u64 ackermann(u64 m, u64 n)
{
    if (m == 0)
        return n + 1;
    return n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

u64 compute(void)
{
    u64 sum = fibonacci(39);
    for (int i = 0; i < 20; i++)
        sum = sum * 3 + ackermann(2, 1500);
    return sum;
}
