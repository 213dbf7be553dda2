/* SPDX-License-Identifier: MIT */
/*
 * The second VM of the demonstration with `producer=vm`: connects to the net and block ports that its peer 0 offers and
 * rings them, one row each time the peer rings the control port. `events` and `rows` are as the peer's; `pace` is this one's
 * own: slower, since nothing else holds it up when a VCPU over there is busy with upcalls.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/db.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "pvring";

#define DRIVERS       2
#define QUEUES        8
#define CONTROL_GROUP 3
#define WAKE_VECTOR   0x61

static uint32_t ports[DRIVERS][QUEUES], control;
static volatile unsigned rows_due;

static void on_ring(uint32_t port)
{
	if (port == control)
		rows_due++;
}

static void on_upcall(struct trap_frame *frame)
{
	(void)frame;
	db_consume(0);
	apic_eoi();
}

/* Opens a port and connects it to the peer's port of the same number, as soon as the peer has offered that. */
static bool connect(unsigned group, uint32_t *port)
{
	long mine = db_open(BH_INTERVM, 0, group), answer;

	if (mine < 0)
		return false;
	*port = (uint32_t)mine;
	/* Slots are given out lowest first, so both sides arrive at the same numbers. */
	return WAIT_FOR((answer = bellhop_call3(BH_CONNECT, *port, 0, *port)) == 0 ||
	                        (answer != BH_EPERM && answer != BH_ECLOSED),
	                10 * LIMIT_LONG) &&
	       answer == 0;
}

static bool connect_all(void)
{
	bool good = true;

	for (unsigned driver = 0; driver < DRIVERS; driver++)
		for (unsigned queue = 0; good && queue < QUEUES; queue++)
			good = connect(driver + 1, &ports[driver][queue]);
	return good && connect(CONTROL_GROUP, &control);
}

static unsigned ring_row(unsigned events, unsigned pace)
{
	unsigned refused = 0;

	for (unsigned i = 0; i < events; i++)
		for (unsigned driver = 0; driver < DRIVERS; driver++) {
			refused += db_ring(ports[driver][i % QUEUES]) < 0;
			for (unsigned loops = pace; loops; loops--)
				__asm__ volatile("" ::: "memory");
		}
	return refused;
}

void guest_main(void)
{
	unsigned events = (unsigned)boot_number("events", 10000), pace = (unsigned)boot_number("pace", 6000);
	unsigned rows = (unsigned)boot_number("rows", 10), refused = 0;

	if (!bellhop_present()) {
		SKIP("needs doorbells: this is no VM of Bellhop");
		report_end();
	}
	trap_set(WAKE_VECTOR, on_upcall);
	bellhop_call1(BH_ROUTE, BH_ROUTE_NATIVE);
	if (!CHECK(db_init(1, on_ring) == 0 &&
	                   bellhop_call3(BH_GROUP_VECTOR, 0, CONTROL_GROUP, WAKE_VECTOR) == 0,
	           "pages and vector are registered") ||
	    !CHECK(connect_all(), "every port is connected"))
		report_end();
	for (unsigned row = 0; row < rows; row++) {
		while (cpu_irq_off(), rows_due == row)
			cpu_idle();
		cpu_irq_on();
		refused += ring_row(events, pace);
		refused += db_ring(control) < 0;
	}
	CHECK(refused == 0, "no ring was refused in %u rows", rows);
	report_end();
}
