/* SPDX-License-Identifier: MIT */
/*
 * The APIC page by every form of instruction that compilers use on it: each is done to a register of the page and to the same
 * value in RAM, and both must end alike, with the same operand and the same flags. Then the page is moved: SDM vol. 3, "Relocating
 * the Local APIC Registers".
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"

#ifdef __x86_64__
const char guest_name[] = "apic_page";
#else
const char guest_name[] = "apic_page32";
#endif

/* The initial count of a masked timer that has been stopped keeps any 32 bits. */
#define TARGET    (APIC_BASE + APIC_TIMER_INIT)
#define BASE_BITS 0xfffull

#define CARRY    0x001ul
#define LOGIC    0x8c5ul /* OF SF ZF PF CF */
#define ADDITIVE 0x8d5ul /* and AF */
#define COUNTING 0x8d4ul /* all but CF */

struct state {
	volatile uint32_t *m;
	unsigned long r, flags;
};

#ifdef __x86_64__
#define REG_C     "rcx"
#define FLAGS_IN  "push %[f]\n\tpopfq\n\t"
#define FLAGS_OUT "\n\tpushfq\n\tpop %[f]"
#else
#define REG_C     "ecx"
#define FLAGS_IN  "push %[f]\n\tpopf\n\t"
#define FLAGS_OUT "\n\tpushf\n\tpop %[f]"
#endif

/* An instruction on the memory at %[p] and the operand in EAX. */
#define FORM(name, text)                                                         \
	static void name(struct state *s)                                        \
	{                                                                        \
		__asm__ volatile(FLAGS_IN text FLAGS_OUT                         \
		                 : [r] "+a"(s->r), [f] "+r"(s->flags)            \
		                 : [p] "r"(s->m), "c"(0x25ul), "d"(0x12345678ul) \
		                 : "memory", "cc");                              \
	}

FORM(mov_store, "movl %%eax, (%[p])")
FORM(mov_load, "movl (%[p]), %%eax")
FORM(mov_imm, "movl $0x7f00ff01, (%[p])")
FORM(movnti, "movnti %%eax, (%[p])")
FORM(movzx_byte, "movzbl (%[p]), %%eax")
FORM(movzx_word, "movzwl (%[p]), %%eax")
FORM(movsx_byte, "movsbl 1(%[p]), %%eax")
FORM(movsx_word, "movswl 2(%[p]), %%eax")
FORM(movzx_third, "movzbl 2(%[p]), %%eax")
FORM(and_store, "andl %%eax, (%[p])")
FORM(or_store, "orl %%eax, (%[p])")
FORM(xor_store, "xorl %%eax, (%[p])")
FORM(add_store, "addl %%eax, (%[p])")
FORM(sub_store, "subl %%eax, (%[p])")
FORM(adc_store, "stc\n\tadcl %%eax, (%[p])")
FORM(sbb_store, "stc\n\tsbbl %%eax, (%[p])")
FORM(and_load, "andl (%[p]), %%eax")
FORM(or_load, "orl (%[p]), %%eax")
FORM(xor_load, "xorl (%[p]), %%eax")
FORM(add_load, "addl (%[p]), %%eax")
FORM(sub_load, "subl (%[p]), %%eax")
FORM(and_imm8, "andl $-8, (%[p])")
FORM(or_imm8, "orl $0x55, (%[p])")
FORM(xor_imm8, "xorl $-1, (%[p])")
FORM(add_imm8, "addl $0x7f, (%[p])")
FORM(sub_imm8, "subl $-0x80, (%[p])")
FORM(and_imm, "andl $0x00ff00ff, (%[p])")
FORM(or_imm, "orl $0x80000001, (%[p])")
FORM(xor_imm, "xorl $0x12345678, (%[p])")
FORM(add_imm, "addl $0x71234567, (%[p])")
FORM(sub_imm, "subl $0x71234567, (%[p])")
FORM(cmp_mr, "cmpl %%eax, (%[p])")
FORM(cmp_rm, "cmpl (%[p]), %%eax")
FORM(cmp_imm8, "cmpl $-1, (%[p])")
FORM(cmp_imm, "cmpl $0x01234567, (%[p])")
FORM(test_mr, "testl %%eax, (%[p])")
FORM(test_imm, "testl $0x80008000, (%[p])")
FORM(test_byte, "testb $0x10, 1(%[p])")
FORM(xchg, "xchgl %%eax, (%[p])")
FORM(lock_or, "lock orl %%eax, (%[p])")
FORM(bts_imm, "btsl $31, (%[p])")
FORM(btr_imm, "btrl $3, (%[p])")
FORM(btc_imm, "btcl $17, (%[p])")
FORM(bt_imm, "btl $12, (%[p])")
FORM(not_m, "notl (%[p])")
FORM(neg_m, "negl (%[p])")
FORM(inc_m, "incl (%[p])")
FORM(dec_m, "decl (%[p])")
FORM(sib, "lea -0x94(%[p]), %[p]\n\tmovl %%edx, (%[p],%%" REG_C ",4)\n\tlea 0x94(%[p]), %[p]")
FORM(disp8, "movl %%edx, 0(%[p])\n\tlea -0x40(%[p]), %[p]\n\taddl %%eax, 0x40(%[p])\n\tlea 0x40(%[p]), %[p]")
FORM(disp32, "lea -0x12340(%[p]), %[p]\n\tsubl %%eax, 0x12340(%[p])\n\tlea 0x12340(%[p]), %[p]")
FORM(prefixes, ".byte 0x3e\n\tmovl %%edx, (%[p])")

struct form {
	const char *name;
	void (*run)(struct state *s);
	unsigned long flags; /* those that the manual defines after it */
};

static const struct form forms[] = {
	{ "MOV m, r", mov_store, 0 },
	{ "MOV r, m", mov_load, 0 },
	{ "MOV m, imm", mov_imm, 0 },
	{ "MOVNTI", movnti, 0 },
	{ "MOVZX r, m8", movzx_byte, 0 },
	{ "MOVZX r, m16", movzx_word, 0 },
	{ "MOVSX r, m8", movsx_byte, 0 },
	{ "MOVSX r, m16", movsx_word, 0 },
	{ "MOVZX r, m8 of the third byte", movzx_third, 0 },
	{ "AND m, r", and_store, LOGIC },
	{ "OR m, r", or_store, LOGIC },
	{ "XOR m, r", xor_store, LOGIC },
	{ "ADD m, r", add_store, ADDITIVE },
	{ "SUB m, r", sub_store, ADDITIVE },
	{ "ADC m, r", adc_store, ADDITIVE },
	{ "SBB m, r", sbb_store, ADDITIVE },
	{ "AND r, m", and_load, LOGIC },
	{ "OR r, m", or_load, LOGIC },
	{ "XOR r, m", xor_load, LOGIC },
	{ "ADD r, m", add_load, ADDITIVE },
	{ "SUB r, m", sub_load, ADDITIVE },
	{ "AND m, imm8", and_imm8, LOGIC },
	{ "OR m, imm8", or_imm8, LOGIC },
	{ "XOR m, imm8", xor_imm8, LOGIC },
	{ "ADD m, imm8", add_imm8, ADDITIVE },
	{ "SUB m, imm8", sub_imm8, ADDITIVE },
	{ "AND m, imm", and_imm, LOGIC },
	{ "OR m, imm", or_imm, LOGIC },
	{ "XOR m, imm", xor_imm, LOGIC },
	{ "ADD m, imm", add_imm, ADDITIVE },
	{ "SUB m, imm", sub_imm, ADDITIVE },
	{ "CMP m, r", cmp_mr, ADDITIVE },
	{ "CMP r, m", cmp_rm, ADDITIVE },
	{ "CMP m, imm8", cmp_imm8, ADDITIVE },
	{ "CMP m, imm", cmp_imm, ADDITIVE },
	{ "TEST m, r", test_mr, LOGIC },
	{ "TEST m, imm", test_imm, LOGIC },
	{ "TEST m8, imm8", test_byte, LOGIC },
	{ "XCHG", xchg, 0 },
	{ "LOCK OR", lock_or, LOGIC },
	{ "BTS", bts_imm, CARRY },
	{ "BTR", btr_imm, CARRY },
	{ "BTC", btc_imm, CARRY },
	{ "BT", bt_imm, CARRY },
	{ "NOT", not_m, 0 },
	{ "NEG", neg_m, ADDITIVE },
	{ "INC", inc_m, COUNTING },
	{ "DEC", dec_m, COUNTING },
	{ "a base and a scaled index", sib, 0 },
	{ "a displacement of 8 bits", disp8, ADDITIVE },
	{ "a displacement of 32 bits", disp32, ADDITIVE },
	{ "a segment prefix", prefixes, 0 },
};

static const uint32_t values[] = { 0,          1,          0x80000000, 0xffffffff,
	                           0x7fffffff, 0x12345678, 0xfedcba98, 0x00ff8080 };
#define VALUES (sizeof(values) / sizeof(values[0]))

static volatile uint32_t *const target = (volatile uint32_t *)TARGET;
static volatile uint32_t ram;

/* The same to the page and to RAM, for each pair of values. */
static bool alike(const struct form *form)
{
	bool same = true;

	for (unsigned i = 0; i < VALUES; i++)
		for (unsigned j = 0; j < VALUES; j++) {
			struct state a = { target, values[j], 0x202 & ~0x200ul };
			struct state b = { &ram, values[j], 0x202 & ~0x200ul };

			*target = values[i];
			ram = values[i];
			form->run(&a);
			form->run(&b);
			same &= *target == ram && a.r == b.r && !((a.flags ^ b.flags) & form->flags);
		}
	return same;
}

static void moves_without_modrm(void)
{
	unsigned long out = 0;

#ifdef __x86_64__
	__asm__ volatile("movabsl %%eax, 0xfee00380" ::"a"(0x13572468ul) : "memory");
	CHECK(*target == 0x13572468, "MOV moffs, EAX");
	__asm__ volatile("movabsl 0xfee00380, %%eax" : "=a"(out)::"memory");
#else
	__asm__ volatile(".byte 0xa3; .long 0xfee00380" ::"a"(0x13572468ul) : "memory");
	CHECK(*target == 0x13572468, "MOV moffs, EAX");
	__asm__ volatile(".byte 0xa1; .long 0xfee00380" : "=a"(out)::"memory");
#endif
	CHECK(out == 0x13572468, "MOV EAX, moffs");
}

static void strings(void)
{
	uint32_t there[3] = { 1, 2, 3 };
	unsigned long di = (unsigned long)target, si = (unsigned long)target, cx = 1;
	uint32_t out;

	__asm__ volatile("stosl" : "+D"(di) : "a"(0x2468ace0) : "memory");
	CHECK(*target == 0x2468ace0 && di == (unsigned long)target + 4, "STOS");
	di = (unsigned long)target;
	__asm__ volatile("rep stosl" : "+D"(di), "+c"(cx) : "a"(0x11223344) : "memory");
	CHECK(*target == 0x11223344 && di == (unsigned long)target + 4 && cx == 0, "REP STOS");
	di = (unsigned long)&there[1];
	__asm__ volatile("movsl" : "+D"(di), "+S"(si)::"memory");
	CHECK(there[1] == 0x11223344 && there[0] == 1 && there[2] == 3 && si == (unsigned long)target + 4,
	      "MOVS out of the page");
	di = (unsigned long)target;
	si = (unsigned long)&there[2];
	__asm__ volatile("std; movsl; cld" : "+D"(di), "+S"(si)::"memory");
	CHECK(*target == 3 && di == (unsigned long)target - 4 && si == (unsigned long)&there[1],
	      "MOVS into the page, downwards");
	si = (unsigned long)target;
	__asm__ volatile("lodsl" : "=a"(out), "+S"(si)::"memory");
	CHECK(out == 3 && si == (unsigned long)target + 4, "LODS");
	/* Source and destination both in the page: divide configuration from the initial count. */
	di = APIC_BASE + APIC_TIMER_DIV;
	si = (unsigned long)target;
	__asm__ volatile("movsl" : "+D"(di), "+S"(si)::"memory");
	CHECK(apic_read(APIC_TIMER_DIV) == 3, "MOVS within the page");
	apic_write(APIC_TIMER_DIV, 0xb);
}

static uint8_t code[2 * 4096] __attribute__((aligned(4096)));

/* ADD DWORD PTR [EDI], imm32; RET, with each of its bytes the first of a page. */
static void crossing(void)
{
	static const uint8_t insn[] = { 0x81, 0x07, 0x78, 0x56, 0x34, 0x12, 0xc3 };
	bool good = true;

	for (unsigned before = 0; before <= sizeof(insn); before++) {
		uint8_t *at = code + 4096 - before;

		memcpy(at, insn, sizeof(insn));
		*target = before;
		__asm__ volatile("call *%1" ::"D"(target), "r"(at) : "memory", "cc");
		good &= *target == 0x12345678 + before;
	}
	CHECK(good, "an instruction that crosses a page, at each byte");
}

static uint8_t page[4096] __attribute__((aligned(4096)));

#ifdef __x86_64__
static unsigned long directory[512] __attribute__((aligned(4096))),
	table[2][512] __attribute__((aligned(4096)));

/* At 5 GiB, where nothing else is. */
#define ELSEWHERE (5ul << 30)

static void map_code(unsigned which, unsigned by_table)
{
	directory[0] = (unsigned long)table[by_table] | 3;
	table[by_table][0] = ((unsigned long)code + which * 4096) | 3;
	__asm__ volatile("invlpg %0" : : "m"(*(volatile char *)ELSEWHERE) : "memory");
}

/* One address, other instructions: whoever remembers what an access was has to see that its code has changed. */
static void changing_code(void)
{
	static const uint8_t store[] = { 0x89, 0x37, 0xc3 }; /* MOV [RDI], ESI; RET */
	static const uint8_t load[] = { 0x8b, 0x07, 0xc3 };  /* MOV EAX, [RDI]; RET */
	uint32_t (*access)(volatile uint32_t * at, uint32_t esi, uint32_t edx) = (void *)ELSEWHERE;
	unsigned long *top, *pointers;

	__asm__ volatile("mov %%cr3, %0" : "=r"(top));
	pointers = (unsigned long *)(*top & ~0xffful);
	pointers[5] = (unsigned long)directory | 3;
	memcpy(code, store, sizeof(store));
	memcpy(code + 4096, load, sizeof(load));
	map_code(0, 0);
	for (unsigned i = 1; i < 4; i++)
		access(target, i, 0);
	CHECK(*target == 3, "a store, again and again");
	map_code(1, 0);
	CHECK(access(target, 4, 0) == 3 && access(target, 5, 0) == 3 && *target == 3,
	      "a load by another page there");
	map_code(0, 1);
	access(target, 6, 0);
	access(target, 7, 0);
	CHECK(*target == 7, "a store by another table there");
	code[1] = 0x17; /* MOV [RDI], EDX */
	access(target, 0, 8);
	CHECK(*target == 8, "the store of another register in its place");
	pointers[5] = 0;
}
#endif

static void move_to(unsigned long base)
{
	cpu_wrmsr(MSR_APIC_BASE, (cpu_rdmsr(MSR_APIC_BASE) & BASE_BITS) | base);
}

static bool apic_at(unsigned long base)
{
	volatile uint32_t *tpr = (volatile uint32_t *)(base + APIC_TPR);
	bool good;

	*tpr = 0x5a;
	good = *tpr == 0x5a && (mmio_read(base + APIC_VERSION) & 0xf0) == 0x10;
	*tpr = 0;
	return good && *tpr == 0;
}

static void relocation(void)
{
	unsigned long there = (unsigned long)page;
	volatile uint32_t *under = (volatile uint32_t *)(there + APIC_TPR);

	memset(page, 0xa5, sizeof(page));
	move_to(0xfed50000);
	CHECK(apic_at(0xfed50000) && cpu_rdmsr(MSR_APIC_BASE) >> 12 == 0xfed50, "the page moves");
	CHECK(mmio_read(APIC_BASE + APIC_SVR) != (SVR_ENABLE | APIC_SPURIOUS),
	      "and is gone from its old place");
	move_to(there);
	CHECK(apic_at(there), "it moves over RAM");
	move_to(APIC_BASE);
	CHECK(*under == 0xa5a5a5a5, "the RAM is as before when it has gone");
	move_to(0x42000000);
	CHECK(apic_at(0x42000000), "it moves to where there is nothing");
	move_to(APIC_BASE);
	*under = 0x1234;
	CHECK(*under == 0x1234 && apic_at(APIC_BASE), "RAM is RAM again, and the page is back");
}

void guest_main(void)
{
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	apic_write(APIC_TIMER_DIV, 0xb);
	for (unsigned i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		CHECK(alike(&forms[i]), "%s", forms[i].name);
	moves_without_modrm();
	strings();
	crossing();
#ifdef __x86_64__
	changing_code();
#endif
	*target = 0;
	relocation();
	report_end();
}
