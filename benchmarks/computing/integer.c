/* Integer arithmetic and branches: the lengths of Collatz sequences, and primes by division. */
#include "program.h"

u64 compute(void)
{
    u64 steps = 0, primes = 0;
    for (u64 start = 1; start < 1000000; start++)
        for (u64 n = start; n != 1; steps++)
            n = n & 1 ? 3 * n + 1 : n / 2;
    for (u32 n = 3; n < 600000; n += 2) {
        u32 d = 3;
        while (d * d <= n && n % d)
            d += 2;
        primes += d * d > n;
    }
    return steps << 24 ^ primes;
}
