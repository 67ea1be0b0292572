/* Floating point: bodies that attract each other, and a matrix product. */
#include "program.h"

enum { BODIES = 5, SIZE = 120 };
static double at[BODIES][3], speed[BODIES][3], mass[BODIES];
static double a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];

static void advance(double dt)
{
    for (int i = 0; i < BODIES; i++)
        for (int j = 0; j < BODIES; j++) {
            if (i == j)
                continue;
            double d[3], square = 0.01;
            for (int k = 0; k < 3; k++) {
                d[k] = at[j][k] - at[i][k];
                square += d[k] * d[k];
            }
            double pull = dt * mass[j] / (square * __builtin_sqrt(square));
            for (int k = 0; k < 3; k++)
                speed[i][k] += d[k] * pull;
        }
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++)
            at[i][k] += dt * speed[i][k];
}

u64 compute(void)
{
    for (int i = 0; i < BODIES; i++) {
        mass[i] = 1.0 / (i + 1);
        for (int k = 0; k < 3; k++)
            at[i][k] = (i * 7 + k * 3) % 11 - 5.0;
    }
    for (int n = 0; n < 700000; n++)
        advance(0.001);
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            a[i][j] = (i + j) % 7 / 8.0;
            b[i][j] = (i - j) % 5 / 4.0;
        }
    double sum = 0;
    for (int n = 0; n < 40; n++)
        for (int i = 0; i < SIZE; i++)
            for (int j = 0; j < SIZE; j++) {
                double s = 0;
                for (int k = 0; k < SIZE; k++)
                    s += a[i][k] * b[k][j];
                c[i][j] = s;
                sum += s;
            }
    return (u64)(long)(sum * 1024 + at[0][0] * 1e9);
}
