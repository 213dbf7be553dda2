/* SPDX-License-Identifier: MIT */
/* What is typed goes to one VM; three Ctrl-A in a row, and nothing less, turn to the next one. */
/* SOURCES: kernel/console.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/arch.h"
#include "kernel/log.h"
#include "kernel/vm.h"

static struct vm machines[3];
struct vm *vms[CONFIG_MAX_VMS] = { &machines[0], &machines[1], &machines[2] };
unsigned vm_count = 3;
static char got[3][64], said[256];
static bool attended[3];

void platform_receive(struct vm *vm, char c)
{
	char *text = got[vm - machines];

	assert_true(attended[vm - machines]);
	text[strlen(text)] = c;
}

void platform_attend(struct vm *vm, bool is)
{
	attended[vm - machines] = is;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list args;

	assert_int_equal(level, LOG_HV);
	va_start(args, fmt);
	vsnprintf(said, sizeof(said), fmt, args);
	va_end(args);
}

static void type(const char *text)
{
	while (*text)
		console_received(*text++);
}

static void have(const char *a, const char *b, const char *c)
{
	assert_string_equal(got[0], a);
	assert_string_equal(got[1], b);
	assert_string_equal(got[2], c);
	memset(got, 0, sizeof(got));
}

static void switches(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		snprintf(machines[i].name, sizeof(machines[i].name), "vm%u", i);
	type("one\r");
	have("one\r", "", "");
	assert_true(attended[0]);
	assert_string_equal(said, "");
	type("\1\1\1");
	assert_string_equal(said, "what is typed goes to vm vm1");
	assert_false(attended[0]);
	type("two");
	have("", "two", "");
	/* Fewer are the guest's; it has to wait for what follows. */
	type("\1\1");
	have("", "", "");
	type("x\1y");
	have("", "\1\1x\1y", "");
	type("\1\1\1\1\1\1z");
	have("z", "", "");
	type("\1\1\1\1\1\1q");
	have("", "", "q");
	assert_true(attended[2] && !attended[0] && !attended[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(switches) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
