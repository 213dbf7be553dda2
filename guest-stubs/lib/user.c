/* SPDX-License-Identifier: MIT */
/* The way down to CPL 3; the way up is any fault that trap_catch() takes. */
#ifdef __x86_64__
#include "guest-stubs/lib/user.h"

#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/trap.h"

#define USER_STACK  4096
#define TSS_DESC_LO 0x0000890000000067ull /* present, 64-bit available TSS, limit 0x67 */
#define TSS_BUSY    (1ull << 41)

extern uint64_t gdt[];

static struct {
	uint32_t reserved;
	uint64_t rsp0;
	uint8_t rest[88];
	uint16_t reserved2, io_map;
} __attribute__((packed)) tss = { .io_map = 0x68 };

static uint8_t user_stack[USER_STACK] __attribute__((aligned(16)));

static void descend(void *arg)
{
	uint64_t sp = (uint64_t)user_stack + USER_STACK - 8;

	/* The fault's frame goes below what this function and its callers have on the stack. */
	__asm__ volatile("lea -256(%%rsp), %%rax\n\t"
	                 "mov %%rax, %0\n\t"
	                 "push %1\n\t"
	                 "push %2\n\t"
	                 "push $2\n\t" /* flags: IF=0, IOPL 0 */
	                 "push %3\n\t"
	                 "push %4\n\t"
	                 "iretq"
	                 : "=m"(tss.rsp0)
	                 : "i"(SEL_USER_DATA), "r"(sp), "i"(SEL_USER_CODE), "r"(arg)
	                 : "rax", "memory");
	__builtin_unreachable();
}

int user_run(void (*fn)(void))
{
	uint64_t base = (uint64_t)&tss;
	uint64_t *desc = &gdt[SEL_TSS / 8];

	desc[0] = (TSS_DESC_LO & ~TSS_BUSY) | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
	desc[1] = base >> 32;
	__asm__ volatile("ltr %w0" ::"r"(SEL_TSS));
	return trap_catch(descend, (void *)(uintptr_t)fn);
}
#endif
