/* SPDX-License-Identifier: MIT */
/*
 * What an operation costs: TSC ticks (on Bochs instructions, VM entry and exit counting as one each) and exits of the
 * whole VM. docs/performance.md defines each row. `part=` on the command line says what is measured.
 */
#include "guest-stubs/bench/bench.h"

const char guest_name[] = "bench";

static const struct {
	const char *name;
	void (*run)(void);
} parts[] = {
	{ "operations", part_operations }, /* one VCPU, then two */
	{ "broadcast", part_broadcast },   /* one IPI to seven others */
	{ "across", part_across },         /* doorbells to and from the VM that runs `echo` */
	{ "echo", part_echo },
	{ "ports", part_ports }, /* ring and upcall by the number of open ports */
	{ "idle", part_idle },   /* a neighbour that does nothing */
};

void guest_main(void)
{
	unsigned chosen = 0;

	if (!bellhop_present()) {
		SKIP("needs exits to count: this is no VM of Bellhop");
		report_end();
	}
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (boot_is("part", parts[i].name))
			chosen = i;
	parts[chosen].run();
	CHECK(true, "part %s came to its end", parts[chosen].name);
	report_end();
}
