/* A message digest (FIPS 180-4, SHA-256) of nothing in particular. */
#include "program.h"

static u32 k[64], state[8];

static u32 turned(u32 x, int n)
{
    return x >> n | x << (32 - n);
}

static __attribute__((noinline)) void block(const u8 *p)
{
    u32 w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (u32)p[4 * i] << 24 | p[4 * i + 1] << 16 | p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ w[i - 15] >> 3)
               + (turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ w[i - 2] >> 10);
    for (int i = 0; i < 8; i++)
        v[i] = state[i];
    for (int i = 0; i < 64; i++) {
        u32 one = v[7] + (turned(v[4], 6) ^ turned(v[4], 11) ^ turned(v[4], 25))
                  + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
        u32 two = (turned(v[0], 2) ^ turned(v[0], 13) ^ turned(v[0], 22))
                  + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        for (int j = 7; j > 0; j--)
            v[j] = v[j - 1];
        v[4] += one;
        v[0] = one + two;
    }
    for (int i = 0; i < 8; i++)
        state[i] += v[i];
}

u64 compute(void)
{
    u8 message[64];
    for (int i = 0; i < 64; i++) {
        k[i] = 0x428a2f98u * (2 * i + 1);
        message[i] = i;
    }
    for (int i = 0; i < 8; i++)
        state[i] = 0x6a09e667u + i;
    for (int n = 0; n < 400000; n++) {
        message[n & 63] ^= n;
        block(message);
    }
    return (u64)state[0] << 32 | state[7];
}
