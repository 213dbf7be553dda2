/* SPDX-License-Identifier: MIT */
/* Instructions that C has no words for. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r;

	__asm__ volatile("cpuid"
	                 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
	                 : "a"(leaf), "c"(subleaf));
	return r;
}

/* read_cr0() and write_cr0(), and so on. */
#define CONTROL_REGISTER(n)                                                     \
	static inline uint64_t read_cr##n(void)                                 \
	{                                                                       \
		uint64_t value;                                                 \
                                                                                \
		__asm__ volatile("movq %%cr" #n ", %0" : "=r"(value));          \
		return value;                                                   \
	}                                                                       \
	static inline void write_cr##n(uint64_t value)                          \
	{                                                                       \
		__asm__ volatile("movq %0, %%cr" #n : : "r"(value) : "memory"); \
	}

CONTROL_REGISTER(0)
CONTROL_REGISTER(2)
CONTROL_REGISTER(3)
CONTROL_REGISTER(4)

static inline void invlpg(uint64_t address)
{
	__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

/* The operand of LGDT, LIDT, SGDT and SIDT. */
struct descriptor_table {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));
