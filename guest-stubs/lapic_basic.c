/* SPDX-License-Identifier: MIT */
/*
 * The local APIC of one CPU, first through its page and then, where there is x2APIC, through its MSRs: identity and
 * reset values, TPR and PPR, every fixed vector by self-IPI, priority among pending vectors, EOI, the timer.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "lapic_basic";

#define TIMER_VECTOR 0x40
#define ERROR_VECTOR 0x41
#define FIRST_VECTOR 16 /* what is legal for an APIC; exceptions share those up to 31 */

static volatile unsigned seen[256];
static volatile unsigned order[4], orders;

static void count(struct trap_frame *frame)
{
	seen[frame->vector]++;
	if (orders < 4)
		order[orders++] = (unsigned)frame->vector;
	apic_eoi();
}

static void count_without_eoi(struct trap_frame *frame)
{
	seen[frame->vector]++;
}

static void self_ipi(unsigned vector)
{
	apic_ipi(0, ICR_SELF | ICR_ASSERT | vector);
}

static void identity(const char *face)
{
	uint32_t version = apic_read(APIC_VERSION);

	CHECK(apic_id() == 0, "%s: the boot CPU's APIC ID is 0", face);
	CHECK((version & 0xf0) == 0x10, "%s: an integrated APIC", face);
	CHECK((version >> 16 & 0xff) >= 5, "%s: six LVT entries or more", face);
	CHECK(apic_read(APIC_SVR) == (SVR_ENABLE | APIC_SPURIOUS), "%s: SVR reads back", face);
}

static void priority(const char *face)
{
	bool same = true;

	for (uint32_t tpr = 0; tpr < 256; tpr++) {
		apic_write(APIC_TPR, tpr);
		same &= apic_read(APIC_TPR) == tpr && apic_read(APIC_PPR) == tpr;
	}
	CHECK(same, "%s: TPR reads back and is the PPR with nothing in service", face);

	apic_write(APIC_TPR, 0x50);
	orders = 0;
	self_ipi(0x5f);
	self_ipi(0x60);
	cpu_irq_window();
	CHECK(orders == 1 && order[0] == 0x60, "%s: TPR 0x50 holds 0x5f back and lets 0x60 in", face);
	CHECK(apic_bit(APIC_IRR, 0x5f), "%s: 0x5f waits in the IRR", face);
	apic_write(APIC_TPR, 0x4f);
	cpu_irq_window();
	CHECK(orders == 2 && order[1] == 0x5f, "%s: TPR 0x4f lets 0x5f in", face);
	apic_write(APIC_TPR, 0);

	orders = 0;
	self_ipi(0x61);
	self_ipi(0x93);
	self_ipi(0x72);
	self_ipi(0x72);
	cpu_irq_window();
	cpu_irq_window();
	cpu_irq_window();
	CHECK(orders == 3 && order[0] == 0x93 && order[1] == 0x72 && order[2] == 0x61,
	      "%s: the highest vector first, twice the same is one", face);
}

static void service(const char *face)
{
	trap_set(0x55, count_without_eoi);
	trap_set(0x35, count_without_eoi);
	seen[0x55] = seen[0x35] = seen[0x65] = 0;
	self_ipi(0x55);
	cpu_irq_window();
	CHECK(seen[0x55] == 1 && apic_bit(APIC_ISR, 0x55) && !apic_bit(APIC_IRR, 0x55),
	      "%s: in service until EOI", face);
	CHECK(apic_read(APIC_PPR) == 0x50, "%s: PPR is the class of the vector in service", face);
	self_ipi(0x35);
	self_ipi(0x55);
	cpu_irq_window();
	CHECK(seen[0x35] == 0 && seen[0x55] == 1, "%s: a lower and an equal class wait", face);
	self_ipi(0x65);
	cpu_irq_window();
	CHECK(seen[0x65] == 1, "%s: a higher class interrupts", face);
	apic_eoi();
	cpu_irq_window();
	CHECK(seen[0x55] == 2 && seen[0x35] == 0, "%s: after the EOI the same vector comes again", face);
	apic_eoi();
	cpu_irq_window();
	CHECK(seen[0x35] == 1, "%s: then the lower one", face);
	apic_eoi();
	CHECK(apic_read(APIC_PPR) == 0, "%s: nothing is left in service", face);
	trap_set(0x55, count);
	trap_set(0x35, count);
}

/* SDM vol. 3, "Exception and Interrupt Reference": these exceptions push an error code, which an interrupt does not. */
static bool has_error_code(unsigned vector)
{
	return vector == 17 || vector == 21 || vector == 29 || vector == 30;
}

static void every_vector(const char *face)
{
	unsigned wrong = 0;

	for (unsigned v = FIRST_VECTOR; v < APIC_SPURIOUS; v++) {
		if (has_error_code(v))
			continue;
		seen[v] = 0;
		self_ipi(v);
		if (!apic_bit(APIC_IRR, v))
			wrong++;
		cpu_irq_window();
		if (seen[v] != 1 || apic_bit(APIC_IRR, v) || apic_bit(APIC_ISR, v) || apic_bit(APIC_TMR, v))
			wrong++;
	}
	CHECK(wrong == 0, "%s: each vector is accepted, delivered once, and edge-triggered", face);
}

static void illegal_vector(const char *face)
{
	apic_write(APIC_LVT_ERROR, ERROR_VECTOR);
	apic_write(APIC_ESR, 0);
	apic_write(APIC_ESR, 0);
	CHECK(apic_read(APIC_ESR) == 0, "%s: ESR starts clear", face);
	seen[ERROR_VECTOR] = 0;
	self_ipi(5);
	cpu_irq_window();
	/*
	 * SDM vol. 3, "Error Handling": send illegal vector is "set when the local APIC detects an illegal vector (one in
	 * the range 0 to 15) in the message that it is sending"; Bochs sets the bit for receiving, and raises nothing.
	 */
	CHECK_DEPARTS(seen[ERROR_VECTOR] == 1, "Bochs has no error interrupt",
	              "%s: sending vector 5 raises the error interrupt", face);
	apic_write(APIC_ESR, 0);
	CHECK_DEPARTS(apic_read(APIC_ESR) & ESR_SEND_ILLEGAL, "Bochs sets another bit",
	              "%s: ESR says that an illegal vector was sent", face);
	apic_write(APIC_ESR, 0);
	CHECK(apic_read(APIC_ESR) == 0, "%s: the next write of ESR latches nothing new", face);
	apic_write(APIC_LVT_ERROR, LVT_MASKED);
}

static void timer(const char *face)
{
	uint32_t now;

	apic_write(APIC_TIMER_DIV, 0x3); /* by 16 */
	apic_write(APIC_LVT_TIMER, TIMER_VECTOR);
	seen[TIMER_VECTOR] = 0;
	cpu_irq_on();
	apic_write(APIC_TIMER_INIT, 20000);
	now = apic_read(APIC_TIMER_NOW);
	CHECK(now > 0 && now <= 20000, "%s: the timer counts down from its initial count", face);
	CHECK(WAIT_FOR(seen[TIMER_VECTOR] == 1, LIMIT_LONG), "%s: one-shot fires", face);
	CHECK(!WAIT_FOR(seen[TIMER_VECTOR] > 1, 1000000) && apic_read(APIC_TIMER_NOW) == 0,
	      "%s: and only once", face);

	apic_write(APIC_LVT_TIMER, LVT_PERIODIC | TIMER_VECTOR);
	apic_write(APIC_TIMER_INIT, 5000);
	CHECK(WAIT_FOR(seen[TIMER_VECTOR] >= 6, LIMIT_LONG), "%s: periodic goes on firing", face);
	apic_write(APIC_TIMER_INIT, 0);
	cpu_irq_window();
	cpu_irq_on();
	seen[TIMER_VECTOR] = 0;
	CHECK(!WAIT_FOR(seen[TIMER_VECTOR], 500000), "%s: an initial count of 0 stops it", face);

	apic_write(APIC_LVT_TIMER, LVT_MASKED | TIMER_VECTOR);
	apic_write(APIC_TIMER_INIT, 1000);
	CHECK(WAIT_FOR(apic_read(APIC_TIMER_NOW) == 0, LIMIT_LONG) && !seen[TIMER_VECTOR],
	      "%s: masked it counts and raises nothing", face);
	cpu_irq_off();
}

static void all(const char *face)
{
	identity(face);
	priority(face);
	service(face);
	every_vector(face);
	illegal_vector(face);
	timer(face);
}

void guest_main(void)
{
	for (unsigned v = FIRST_VECTOR; v < APIC_SPURIOUS; v++)
		if (!has_error_code(v))
			trap_set(v, count);
	all("page");
	if (apic_to_x2())
		all("msr");
	else
		SKIP("msr: this CPU has no x2APIC");
	report_end();
}
