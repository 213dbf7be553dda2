/* SPDX-License-Identifier: MIT */
/*
 * A guest that means harm: random hypercalls, memory and MSRs that are not there, ports of other VMs, pages outside its
 * RAM, hypercalls from CPL 3, any I/O port, and in the end (`end=triple`, `halt`, `smash`) a way to die. It checks
 * that it is told off each time and that its own state stays as it was. `seed=N` repeats a run.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/db.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"
#include "guest-stubs/lib/user.h"

const char guest_name[] = "hostile";

#define ROUNDS     5000
#define MSR_ROUNDS 3000
#define FAR_MEMORY 0xe0000000ul /* between any RAM below 3 GiB and the controllers: nobody's */

static uint64_t random_state;

static uint64_t random(void)
{
	/* xorshift64: any odd run of bits will do, as long as it repeats. */
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Numbers near every edge are likelier to hurt than any others. */
static uint64_t nasty(void)
{
	static const uint64_t edges[] = { 0,          1,           15,         16,          255,
		                          256,        2047,        2048,       32767,       32768,
		                          0x7fffffff, 0x80000000,  0xffffffff, 0x100000000, 0xfee00000,
		                          0xfec00000, 1ull << 46,  1ull << 52, 1ull << 63,  ~0ull,
		                          ~0xfffull,  0x100000ull, 0xfffull,   0x200000ull };
	uint64_t r = random();

	switch (r & 3) {
	case 0:
		return edges[random() % (sizeof(edges) / sizeof(edges[0]))];
	case 1:
		return random() & 0xff;
	case 2:
		return random() & 0xffff;
	}
	return random();
}

static void ignore_ring(uint32_t port)
{
	(void)port;
}

static bool is_error(long result)
{
	return result < 0 && result >= BH_ENOPAGE;
}

/* Every number but the one that would end this run. */
static void random_hypercalls(void)
{
	unsigned odd = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t number = random() & 1 ? random() % (BH_CALLS + 4) : nasty();
		long result;

		/* These would hand a random page of ours to the hypervisor, as is their purpose. */
		if (number == BH_EXIT || number == BH_MASK_PAGE || number == BH_VCPU_PAGES ||
		    number == BH_RING_MANY)
			continue;
		result = bellhop_call(number, nasty(), nasty(), nasty(), nasty());
		if (number >= BH_CALLS && result != BH_ENOCALL)
			odd++;
		if (result < 0 && !is_error(result))
			odd++;
	}
	CHECK(odd == 0,
	      "random hypercalls: a result or an error of the ABI, no such call where there is none");
	CHECK(bellhop_call0(BH_VERSION) == BH_ABI_VERSION, "the hypercall interface still answers");
}

static void wrong_pages(void)
{
	static const uint64_t bad[] = { 1,           0xfff,      0x400001,   FAR_MEMORY, APIC_BASE,
		                        IOAPIC_BASE, 1ull << 40, 1ull << 52, 1ull << 63, ~0ull & ~0xfffull };
	unsigned accepted = 0;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		accepted += !is_error(bellhop_call1(BH_MASK_PAGE, bad[i]));
		accepted += !is_error(bellhop_call2(BH_RING_MANY, bad[i], 1));
		accepted += !is_error(bellhop_call3(BH_VCPU_PAGES, 0, bad[i], db_control_page(0)));
		accepted += !is_error(bellhop_call3(BH_VCPU_PAGES, 0, db_pending_page(0), bad[i]));
	}
	accepted += !is_error(bellhop_call3(BH_VCPU_PAGES, 255, db_pending_page(1), db_control_page(1)));
	accepted += !is_error(bellhop_call3(BH_VCPU_PAGES, ~0ul, db_pending_page(1), db_control_page(1)));
	CHECK(accepted == 0, "no page outside RAM, odd or of a VCPU that is not there is accepted");
}

static void foreign_ports(void)
{
	unsigned accepted = 0;
	long mine = db_open(BH_INTERVM, 0, 9);

	CHECK(mine >= 0, "an inter-VM port can be opened");
	CHECK(db_ring((uint32_t)mine) == BH_ECLOSED, "but rings nobody before it is connected");
	for (unsigned long peer = 0; peer < 12; peer++)
		for (uint32_t port = 0; port < BH_PORTS; port += 97)
			accepted += bellhop_call3(BH_CONNECT, (unsigned long)mine, peer, port) == 0;
	CHECK(accepted == 0, "no port that was not offered can be connected");
	for (uint32_t slot = 1; slot < BH_SLOTS; slot++)
		accepted += db_ring(BH_PORT(9, slot)) >= 0;
	accepted += db_ring(BH_PORTS) >= 0;
	accepted += db_ring(0xffffffff) >= 0;
	CHECK(accepted == 0, "no closed or forged port can be rung");
	CHECK(bellhop_call1(BH_CLOSE, (unsigned long)mine) == 0 && db_ring((uint32_t)mine) == BH_ECLOSED,
	      "a closed port is closed");
}

/* What a well-behaved user of the interface relies on works after all that. */
static void still_works(const char *when)
{
	long route = bellhop_call1(BH_ROUTE, BH_ROUTE_NATIVE), port = db_open(BH_LOCAL, 0, 5);

	CHECK(route >= 0 && port >= 0, "%s: a route is set and a port opens", when);
	db_mask((uint32_t)port);
	CHECK(db_ring((uint32_t)port) == BH_RUNG_MASKED && db_take(0, (uint32_t)port),
	      "%s: it rings, and its bit arrives on our page", when);
	CHECK(bellhop_call1(BH_CLOSE, (unsigned long)port) == 0, "%s: and closes", when);
}

static void absent_memory(void)
{
	unsigned odd = 0;

	for (unsigned i = 0; i < 256; i++) {
		unsigned long at = FAR_MEMORY + (random() & 0x0fffff00);

		mmio_write(at, (uint32_t)random());
		odd += mmio_read(at) != 0xffffffff;
		odd += *(volatile uint8_t *)(at + 1) != 0xff;
		odd += *(volatile uint64_t *)at != ~0ull;
	}
	CHECK(odd == 0, "absent memory reads as all ones and forgets what is written");
}

/* MSRs that this guest must not change at random, on any machine: its own ground. */
static bool is_ground(uint32_t msr)
{
	return msr == 0xc0000080 || msr == MSR_APIC_BASE || (msr >= 0x800 && msr < 0xc00) ||
	       (msr >= 0xc0000100 && msr <= 0xc0000102) || msr == 0x10 || msr == 0x3b;
}

static void random_msrs(void)
{
	static const uint32_t bases[] = { 0,     0x100, 0x170,      0x200,      0x250,     0x277,
		                          0x2ff, 0x345, 0x380,      0x400,      0x480,     0x4c0,
		                          0x600, 0xd00, 0xc0000080, 0xc0010000, 0x40000000 };
	unsigned faults = 0, odd = 0;
	uint64_t value;

	for (unsigned i = 0; i < MSR_ROUNDS; i++) {
		uint32_t msr = i % 4 ? bases[random() % (sizeof(bases) / sizeof(bases[0]))] +
		                               (random() & 0x3f)
		                     : (uint32_t)random();
		int vector = trap_rdmsr(msr, &value);

		faults += vector == TRAP_GP;
		odd += vector != TRAP_NONE && vector != TRAP_GP;
		if (is_ground(msr))
			continue;
		vector = trap_wrmsr(msr, random() & 1 ? nasty() : value);
		odd += vector != TRAP_NONE && vector != TRAP_GP;
	}
	CHECK(faults > 0 && odd == 0, "random MSRs: they work or are #GP");
	CHECK(trap_rdmsr(0x12345678, &value) == TRAP_GP && trap_wrmsr(0x12345678, 0) == TRAP_GP,
	      "an MSR that does not exist is #GP");
}

/* What must be let alone to reach the SUMMARY line: the UART, resets and exits. */
static bool is_vital(uint16_t port)
{
	return (port >= 0x3f8 && port <= 0x3ff) || port == 0x64 || port == 0x92 || port == 0xcf9 ||
	       port == 0xf4 || port == 0x8900 || (port >= 0x501 && port <= 0x504) ||
	       (port >= 0x600 && port <= 0x607) || (port >= 0xb000 && port <= 0xb0ff) || port == 0xb2 ||
	       (port >= 0x2000 && port <= 0x2017) || port == 0x20 || port == 0x21 || port == 0xa0 ||
	       port == 0xa1;
}

static void every_port(void)
{
	for (unsigned port = 0; port < 0x10000; port += port < 0x1000 ? 1 : 7) {
		if (is_vital((uint16_t)port))
			continue;
		cpu_inb((uint16_t)port);
		cpu_outb((uint16_t)port, (uint8_t)random());
		cpu_inl((uint16_t)port);
	}
	pic_off();
	CHECK(true, "every I/O port but the vital ones was read and written");
}

/* No nesting: what CPUID does not offer is not there in any other way either. */
static void no_vmx(void)
{
	uint64_t value;

	CHECK(!(cpu_id(1, 0).c & 1u << 5), "CPUID does not offer VMX");
	CHECK(trap_rdmsr(0x480, &value) == TRAP_GP, "VMX capability MSRs do not exist");
}

static long user_result;

static void user_vmcall(void)
{
	user_result = bellhop_call0(BH_VERSION);
	__asm__ volatile("ud2");
}

static void user_mode(void)
{
	user_result = BH_EPERM;
	CHECK(user_run(user_vmcall) == TRAP_UD && is_error(user_result), "VMCALL at CPL 3 is #UD or refused");
}

static void try_vmxon(void *arg)
{
	uint64_t address = (uint64_t)arg;

	__asm__ volatile("vmxon %0" ::"m"(address) : "cc", "memory");
}

static void try_vmmcall(void *arg)
{
	(void)arg;
	__asm__ volatile("vmmcall" ::: "rax", "memory");
}

static void odd_instructions(void)
{
	static uint8_t page[4096] __attribute__((aligned(4096)));
	int vector = trap_catch(try_vmxon, page);

	CHECK(vector == TRAP_UD || vector == TRAP_GP, "VMXON faults");
	CHECK(trap_catch(try_vmmcall, NULL) == TRAP_UD, "the other vendor's hypercall is #UD");
}

/* The summary line comes first: from here there is no way back, and the runner looks at how the VM ended. */
static void die(void)
{
	report_summary();
	if (boot_is("end", "triple")) {
		cpu_triple_fault();
	} else if (boot_is("end", "halt")) {
		__asm__ volatile("cli; hlt");
	} else if (boot_is("end", "smash")) {
		/* Its own page tables and code, while it runs. */
		for (uint64_t *p = (uint64_t *)0x400000;; p++)
			*p = random();
	}
}

void guest_main(void)
{
	random_state = boot_number("seed", 1) * 0x9e3779b97f4a7c15ull | 1;
	odd_instructions();
	random_msrs();
	user_mode();
	if (bellhop_present()) {
		no_vmx();
		absent_memory();
		wrong_pages();
		CHECK(db_init(1, ignore_ring) == 0, "pages of our own register");
		still_works("before");
		foreign_ports();
		random_hypercalls();
		every_port();
		still_works("after");
	} else {
		SKIP("the rest: this is no VM of Bellhop");
	}
	if (boot_is("end", "triple") || boot_is("end", "halt") || boot_is("end", "smash"))
		die();
	report_end();
}
