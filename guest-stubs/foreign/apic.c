/* SPDX-License-Identifier: MIT */
/* The foreign guest's local APIC, its other CPUs and the test device's lines. */
#include "guest-stubs/foreign/foreign.h"

#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

#define ICR_ALL_INIT 0xc4500u
#define ICR_ALL_SIPI 0xc0600u /* vector 0, level bit 0 */
#define MSR_X2ID     0x802u
#define MSR_X2SVR    0x80fu
#define ELSEWHERE    0x42000000ul
#define LINES        0x2000
#define LOOP         0xe0
#define NOTHING      0xe4
#define SCRATCH      0xff000000ul
#define PIN          14
#define VECTOR       0x78
#define WAKE         0x79

static volatile unsigned online, seen, drop, woken, ids;

static void on_line(struct trap_frame *frame)
{
	(void)frame;
	if (++seen == drop)
		cpu_outl(LINES + PIN, 0);
	apic_eoi();
}

static void on_wake(struct trap_frame *frame)
{
	(void)frame;
	cpu_fetch_add(&woken, 1);
	apic_eoi();
}

static void set_base(uint64_t clear, uint64_t set)
{
	cpu_wrmsr(MSR_APIC_BASE, (cpu_rdmsr(MSR_APIC_BASE) & ~clear) | set);
}

static void wait_idle(void)
{
	while (mmio_read(APIC_BASE + APIC_ICR_LOW) & ICR_PENDING)
		cpu_pause();
}

static void modes(void)
{
	uint64_t base = cpu_rdmsr(MSR_APIC_BASE), value;

	CHECK((base & ~0xfffull) == APIC_BASE && base & APIC_BASE_ON && base & 0x100,
	      "APIC_BASE at the start");
	set_base(APIC_BASE_ON, 0);
	CHECK(!(cpu_id(1, 0).d & 1u << 9), "switched off, CPUID has none");
	*(volatile uint8_t *)(APIC_BASE + APIC_TPR) = 0x20;
	CHECK(mmio_read(APIC_BASE + APIC_ID) == 0xffffffff,
	      "and its page is nobody's, for stores of a byte, too");
	set_base(0, APIC_BASE_ON);
	CHECK(cpu_id(1, 0).d & 1u << 9 && mmio_read(APIC_BASE + APIC_SVR) == 0xff,
	      "switched on again, it is as new");
	CHECK(mmio_read(APIC_BASE + APIC_TPR) == 0, "and the store is forgotten");
	set_base(0, APIC_BASE_X2);
	CHECK(cpu_rdmsr(MSR_X2ID) == 0, "EXTD after it");
	cpu_wrmsr(MSR_X2SVR, 0x1ff);
	CHECK(trap_wrmsr(MSR_APIC_BASE, base) == TRAP_GP, "from there to the page only by way of off");
	set_base(APIC_BASE_X2 | APIC_BASE_ON, 0);
	CHECK(trap_rdmsr(MSR_X2ID, &value) == TRAP_GP, "where its MSRs are not");
	set_base(0, APIC_BASE_ON);
	CHECK(mmio_read(APIC_BASE + APIC_SVR) == 0xff, "and back");
}

static void reserved(void)
{
	uint64_t base = cpu_rdmsr(MSR_APIC_BASE);
	unsigned wrong = 0;

	for (unsigned bit = 0; bit < 64; bit++) {
		if (bit == 8 || (bit >= 10 && bit < (cpu_id(0x80000008, 0).a & 0xff)))
			continue;
		wrong += trap_wrmsr(MSR_APIC_BASE, base | 1ull << bit) != TRAP_GP;
	}
	CHECK(wrong == 0 && cpu_rdmsr(MSR_APIC_BASE) == base, "each reserved bit of APIC_BASE is #GP");
}

static void moved(void)
{
	set_base(0xfffff000, ELSEWHERE);
	CHECK((mmio_read(ELSEWHERE + APIC_VERSION) & 0xf0) == 0x10, "its page moves");
	mmio_write(ELSEWHERE + APIC_TPR, 0x30);
	set_base(0xfffff000, APIC_BASE);
	CHECK(mmio_read(APIC_BASE + APIC_TPR) == 0x30, "and back, and is the same");
	mmio_write(APIC_BASE + APIC_TPR, 0);
}

void foreign_apic(void)
{
	unsigned long out;

	modes();
	reserved();
	moved();
	mmio_write(APIC_BASE + APIC_SVR, SVR_ENABLE | 0xf0);
	__asm__ volatile(".byte 0xa3; .long 0xfee00080\n\t"
	                 "xorl %%eax, %%eax\n\t"
	                 ".byte 0xa1; .long 0xfee00080"
	                 : "=a"(out)
	                 : "a"(0x50)
	                 : "memory");
	CHECK(out == 0x50, "MOV with an address in the instruction");
	mmio_write(APIC_BASE + APIC_TPR, 0);
}

void foreign_ap_main(void)
{
	trap_load();
	mmio_write(APIC_BASE + APIC_SVR, SVR_ENABLE | 0xf0);
	cpu_fetch_add(&ids, 1u << (mmio_read(APIC_BASE + APIC_ID) >> 24));
	cpu_fetch_add(&online, 1);
	for (;;)
		cpu_idle();
}

/* One INIT, one start-up IPI, nothing in between but the delivery status. */
void foreign_cpus(unsigned cpus)
{
	memcpy(foreign_at(0), ap_code, (size_t)(ap_code_end - ap_code));
	trap_set(WAKE, on_wake);
	wait_idle();
	mmio_write(APIC_BASE + APIC_ICR_LOW, ICR_ALL_INIT);
	wait_idle();
	mmio_write(APIC_BASE + APIC_ICR_LOW, ICR_ALL_SIPI);
	CHECK(WAIT_FOR(online == cpus - 1, LIMIT_LONG),
	      "one INIT and one start-up IPI to all but itself: all come");
	CHECK(ids == (1u << cpus) - 2, "each with an APIC ID of its own");
	WAIT_FOR(false, LIMIT_QUIET);
	for (unsigned i = 1; i < 10; i++) {
		wait_idle();
		mmio_write(APIC_BASE + APIC_ICR_LOW, ICR_OTHERS | ICR_ASSERT | WAKE);
		WAIT_FOR(woken == i * (cpus - 1), LIMIT_LONG / 10);
	}
	CHECK(woken == 9 * (cpus - 1), "an interrupt to all of them, asleep, nine times");
}

static void lines(void)
{
	trap_set(VECTOR, on_line);
	ioapic_set(PIN, 0, VECTOR);
	cpu_irq_on();
	cpu_outl(LINES + PIN, 1);
	WAIT_FOR(seen, LIMIT_QUIET);
	cpu_outl(LINES + PIN, 0);
	cpu_outl(LINES + PIN, 1);
	CHECK(WAIT_FOR(seen == 2, LIMIT_QUIET), "the test device's line, by writes of four bytes: two edges");
	cpu_outl(LINES + PIN, 0);
	ioapic_set(PIN, 0, IOAPIC_LEVEL | VECTOR);
	drop = seen + 5;
	cpu_outl(LINES + PIN, 1);
	CHECK(WAIT_FOR(seen == drop, LIMIT_QUIET), "and a level that goes on until it falls");
	CHECK(!WAIT_FOR(seen != drop, LIMIT_QUIET), "then silence");
	cpu_irq_off();
}

void foreign_devices(void)
{
	volatile uint8_t *byte = foreign_at(SCRATCH);
	volatile uint16_t *word = foreign_at(SCRATCH);
	volatile uint32_t *last = foreign_at(SCRATCH + 0xfffc);

	lines();
	for (unsigned i = 0; i < 4; i++)
		cpu_outb((uint16_t)(LOOP + i), (uint8_t)(0x11 * (i + 1)));
	CHECK(cpu_inl(LOOP) == 0x44332211, "the loop-back ports, by bytes and as one");
	cpu_outl(LOOP, 0xa1b2c3d4);
	CHECK(cpu_inb(LOOP + 1) == 0xc3, "and the other way");
	cpu_outb(NOTHING, 1);
	*last = 0x87654321;
	word[1] = 0xbeef;
	byte[0] = 0x12;
	CHECK(*last == 0x87654321 && byte[3] == 0xbe && word[1] == 0xbeef && byte[0] == 0x12,
	      "scratch memory in each width");
	/* Some of the instructions that these kernels try on it. */
	__asm__ volatile("movl $0x11, %%eax\n\t"
	                 "lock xaddl %%eax, (%1)\n\t"
	                 "shldl $4, %%eax, (%1)\n\t"
	                 "bswap %%eax\n\t"
	                 "lock cmpxchg8b 8(%1)\n\t"
	                 "fninit\n\t"
	                 "fildll (%1)\n\t"
	                 "fistpll 16(%1)\n\t"
	                 "pushl (%1)\n\t"
	                 "popl 24(%1)\n\t"
	                 "movw $0xe0, %%dx\n\t"
	                 "movl %1, %%edi\n\t"
	                 "addl $0xff0, %%edi\n\t"
	                 "movl $32, %%ecx\n\t"
	                 "rep insb"
	                 : "=m"(*word)
	                 : "b"(SCRATCH)
	                 : "eax", "ecx", "edx", "edi", "memory", "cc");
	CHECK(mmio_read(SCRATCH + 24) == mmio_read(SCRATCH) &&
	              mmio_read(SCRATCH) == mmio_read(SCRATCH + 16) && byte[0xff0] == 0xd4 &&
	              byte[0x100f] == 0xd4,
	      "by instructions that no APIC needs, and by INS over the end of a page");
}
