/* SPDX-License-Identifier: MIT */
/* Hypercalls, by the convention of 64-bit or of 32-bit code. Only where bellhop_present(). */
#ifndef GUEST_BELLHOP_H
#define GUEST_BELLHOP_H

#include <stdbool.h>
#include <stdint.h>

#include "guest-stubs/lib/cpu.h"
#include "kernel/vic/abi.h"

/* True under Bellhop: the signature is there. */
static inline bool bellhop_present(void)
{
	struct cpuid id = cpu_id(BH_CPUID_BASE, 0);

	return id.a >= BH_CPUID_ABI && id.b == BH_SIGNATURE_EBX && id.c == BH_SIGNATURE_ECX &&
	       id.d == BH_SIGNATURE_EDX;
}

static inline long bellhop_call(unsigned long number, unsigned long a, unsigned long b, unsigned long c,
                                unsigned long d)
{
	long result;
#ifdef __x86_64__
	register unsigned long r10 __asm__("r10") = d;

	__asm__ volatile("vmcall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "memory");
#else
	__asm__ volatile("vmcall" : "=a"(result) : "0"(number), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
#endif
	return result;
}

static inline long bellhop_call0(enum bh_call number)
{
	return bellhop_call(number, 0, 0, 0, 0);
}

static inline long bellhop_call1(enum bh_call number, unsigned long a)
{
	return bellhop_call(number, a, 0, 0, 0);
}

static inline long bellhop_call2(enum bh_call number, unsigned long a, unsigned long b)
{
	return bellhop_call(number, a, b, 0, 0);
}

static inline long bellhop_call3(enum bh_call number, unsigned long a, unsigned long b, unsigned long c)
{
	return bellhop_call(number, a, b, c, 0);
}

#endif
