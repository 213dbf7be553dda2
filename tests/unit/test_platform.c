/* SPDX-License-Identifier: MIT */
/* The port map: which access reaches which device, and what comes of it outside: lines, console, the VM's end. */
/* SOURCES: kernel/dev/platform.c kernel/dev/vuart.c kernel/dev/vrtc.c kernel/dev/vpm.c kernel/format.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/intr.h"
#include "kernel/log.h"
#include "kernel/vm.h"

static struct vm vm;
static struct vcpu vcpu;
static uint8_t scratch[TESTDEV_MEMORY_SIZE];
static char events[4096]; /* what the platform did, in order */
static unsigned kicks;
static bool unfinished; /* as the log has it: a line goes on */

static void record(const char *text)
{
	assert_int_equal(atomic_load(&vm.platform.lock.next), atomic_load(&vm.platform.lock.serving));
	strncat(events, text, sizeof(events) - strlen(events) - 1);
}

void intr_set_line(struct vm *to, unsigned line, bool high)
{
	char text[32];

	assert_ptr_equal(to, &vm);
	snprintf(text, sizeof(text), "%c%u ", high ? '+' : '-', line);
	record(text);
}

void log_text(const char *prefix, const char *text, size_t length)
{
	char line[PLATFORM_LINE_SIZE + 1] = "";

	assert_in_range(length, 1, PLATFORM_LINE_SIZE);
	memcpy(line, text, length);
	if (!unfinished)
		record(prefix);
	record(line);
	unfinished = text[length - 1] != '\n';
}

void vm_end(struct vm *which, enum vm_end how, uint8_t status, const char *reason)
{
	char text[100];

	assert_ptr_equal(which, &vm);
	assert_int_equal(how, VM_ENDED);
	assert_false(vm.platform.acting);
	snprintf(text, sizeof(text), "end %u: %s", status, reason);
	record(text);
}

void vcpu_notify(struct vcpu *v, uint8_t vector)
{
	assert_ptr_equal(v, &vcpu);
	kicks += vector == CPU_KICK;
}

uint64_t tsc_hz = 2000000000;

void wall_clock_read(struct rtc_time *out)
{
	*out = (struct rtc_time){ 2024, 1, 2, 3, 4, 5, 6 };
}

static int prepare(uint8_t *memory)
{
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	inbox_init(&vcpu.inbox, NULL, CPU_KICK);
	strcpy(vm.name, "demo");
	vm.ram_low_size = 64 << 20;
	vm.vcpu_count = 3;
	vm.vcpu[0] = &vcpu;
	events[0] = '\0';
	kicks = 0;
	unfinished = false;
	platform_init(&vm, memory);
	return 0;
}

static int plain(void **state)
{
	(void)state;
	return prepare(NULL);
}

static int with_testdev(void **state)
{
	(void)state;
	memset(scratch, 0, sizeof(scratch));
	return prepare(scratch);
}

static void happened(const char *wanted)
{
	assert_string_equal(events, wanted);
	events[0] = '\0';
}

static uint32_t in(uint16_t port, unsigned size)
{
	return platform_access(&vm, port, size, false, 0);
}

static void out(uint16_t port, unsigned size, uint32_t value)
{
	platform_access(&vm, port, size, true, value);
}

static void print(const char *text)
{
	for (; *text; text++)
		out(0x3f8, 1, (uint8_t)*text);
}

static void nobody_answers(void **state)
{
	static const uint16_t ports[] = { 0x60,  0x64,   0x80,   0xe0,  0xe4,  0xf4,   0x2f8, 0x510,
		                          0x511, 0x2000, 0x2017, 0xcf8, 0xcfc, 0x8900, 0xffff };

	(void)state;
	for (unsigned i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
		for (unsigned size = 1; size <= 4; size *= 2) {
			assert_int_equal(in(ports[i], size), UINT32_MAX >> (32 - 8 * size));
			out(ports[i], size, 0x01010101);
		}
	happened("");
}

static void serial_lines(void **state)
{
	char full[PLATFORM_LINE_SIZE + 8] = "";

	(void)state;
	print("hello\r\n\x1b[2J\ttab\nrest");
	happened("demo| hello\ndemo| .[2J\ttab\n");
	platform_flush(&vm);
	happened("demo| rest\n");
	platform_flush(&vm);
	happened("");
	memset(full, 'x', PLATFORM_LINE_SIZE - 1);
	print(full);
	assert_int_equal(strlen(events), 6 + PLATFORM_LINE_SIZE);
	events[0] = '\0';
	print("y\n");
	happened("demo| y\n");
}

/* Whoever types sees what there is of a line, control characters included, and each byte as it comes. */
static void serial_attended(void **state)
{
	(void)state;
	print("~ # ");
	happened("");
	platform_attend(&vm, true);
	happened("demo| ~ # ");
	platform_attend(&vm, true);
	happened("");
	print("l");
	happened("l");
	print("s\x1b[K\r\nfile");
	happened("s\x1b[K\r\ndemo| file");
	platform_attend(&vm, false);
	happened("");
	print(" two\r");
	happened("");
	print("\n");
	happened(" two\n");
}

static void serial_interrupts(void **state)
{
	(void)state;
	out(0x3fc, 1, 0x08);
	out(0x3f9, 1, 0x01);
	happened("");
	vuart_receive(&vm.platform.uart, 'a');
	out(0x3ff, 1, 0); /* any access shows it */
	happened("+4 ");
	assert_int_equal(in(0x3fd, 1), 0x61);
	assert_int_equal(in(0x3f8, 1), 'a');
	happened("-4 ");
	out(0x3f9, 1, 0x02);
	happened("+4 ");
	/* The answer without a look at IIR gives a new edge. */
	print("z");
	happened("-4 +4 ");
	assert_int_equal(in(0x3fa, 1), 0x02);
	happened("-4 ");
}

/* More than the UART holds waits, up to a limit; the order stays, and each refill is a new edge. */
static void serial_input_waits(void **state)
{
	(void)state;
	out(0x3fa, 1, 0x01); /* FIFO, trigger at one */
	out(0x3fc, 1, 0x08);
	out(0x3f9, 1, 0x01);
	for (unsigned i = 0; i < 16 + PLATFORM_INPUT_SIZE + 5; i++)
		platform_receive(&vm, (char)i);
	happened("+4 ");
	for (unsigned i = 0; i < 16 + PLATFORM_INPUT_SIZE; i++) {
		assert_int_equal(in(0x3fd, 1), 0x61); /* and nothing overran */
		assert_int_equal(in(0x3f8, 1), i);
	}
	assert_int_equal(in(0x3fd, 1), 0x60);
	happened("-4 ");
	/* Without FIFO each byte makes room for the next. */
	out(0x3fa, 1, 0);
	platform_receive(&vm, 'a');
	platform_receive(&vm, 'b');
	happened("+4 ");
	assert_int_equal(in(0x3f8, 1), 'a');
	happened("-4 +4 ");
	assert_int_equal(in(0x3f8, 1), 'b');
	happened("-4 ");
}

static void wide_accesses_split(void **state)
{
	(void)state;
	out(0x3fb, 4, 0x00000803); /* LCR, MCR */
	assert_int_equal(in(0x3fb, 2), 0x0803);
	out(0x70, 2, 0x1234);
	assert_int_equal(in(0x70, 2), 0xff | 0x12 << 8 | 0);
	out(0x70, 1, 9);
	assert_int_equal(in(0x71, 2), 0xff24);
	assert_int_equal(in(0x6f, 4), 0xff24ffff);
	out(0xf3, 4, 0xffffffff);
	happened("");
}

static void resets(void **state)
{
	(void)state;
	out(0xcf8, 4, 0xffffffff);
	out(0xcf9, 1, 0x02);
	out(0x64, 1, 0xd1);
	out(0x92, 1, 0x02);
	assert_int_equal(in(0x92, 1), 0x02);
	happened("");
	out(0xcf9, 1, 0x06);
	happened("end 3: reset by port 0xcf9");
	out(0x64, 1, 0xfe);
	happened("end 3: reset by the keyboard controller's port");
	out(0x92, 1, 0x03);
	happened("end 3: reset by port 0x92");
}

static void power_off(void **state)
{
	static const char words[] = "ShutShutdowShutdownShutdown";

	(void)state;
	out(PM_CONTROL, 2, 0x2000);
	happened("");
	out(PM_CONTROL, 2, 0x2000 | PM_SLEEP_OFF << 10);
	happened("end 0: powered off (S5)");
	for (const char *c = words; c < words + 18; c++)
		out(0x8900, 1, (uint8_t)*c);
	happened("");
	out(0x8900, 1, 'n');
	happened("end 0: shut down by port 0x8900");
	for (const char *c = words + 19; *c; c++)
		out(0x8900, 1, (uint8_t)*c);
	happened("end 0: shut down by port 0x8900");
}

static void timer_ports(void **state)
{
	uint32_t first;

	(void)state;
	first = in(PM_TIMER, 4);
	while (in(PM_TIMER, 4) == first)
		;
	assert_true(in(PM_TIMER, 4) - first < 3579545 * 10u);
}

static void clock_deadline(void **state)
{
	uint64_t due;

	(void)state;
	assert_true(platform_deadline(&vm) == UINT64_MAX);
	out(0x70, 1, 11);
	out(0x71, 1, 0x12);
	/* VCPU 0 may sleep on its CPU: it is told of the new deadline. */
	assert_int_equal(kicks, 1);
	assert_int_equal(inbox_take_signals(&vcpu.inbox), INBOX_RESCAN);
	due = platform_deadline(&vm);
	assert_true(due - vm.platform.rtc.origin == 2000000000);
	platform_tick(&vm, due - 1);
	happened("");
	platform_tick(&vm, due);
	happened("+8 ");
	assert_true(platform_deadline(&vm) == UINT64_MAX);
	out(0x70, 1, 12);
	assert_int_equal(in(0x71, 1), 0xd0); /* the periodic flag is set, too */
	happened("-8 ");
}

static void test_ports(void **state)
{
	static const uint8_t signature[] = { 'Q', 'E', 'M', 'U', 0, 0 };

	(void)state;
	out(0xe0, 4, 0x44332211);
	assert_int_equal(in(0xe0, 4), 0x44332211);
	assert_int_equal(in(0xe1, 2), 0x3322);
	out(0xe3, 1, 0x99);
	assert_int_equal(in(0xe3, 2), 0x99);
	out(0xe4, 4, 0xffffffff);
	assert_int_equal(in(0xe4, 4), 0);
	out(0x510, 2, 0);
	for (unsigned i = 0; i < sizeof(signature); i++)
		assert_int_equal(in(0x511, 1), signature[i]);
	out(0x510, 2, 5);
	assert_int_equal(in(0x511, 1), 3);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(in(0x511, 1), 0);
	out(0x510, 2, 3);
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(in(0x511, 1), i == 3 ? 4 : 0);
	out(0x510, 2, 77);
	assert_int_equal(in(0x511, 1), 0);
	happened("");
	out(0xf4, 4, 0);
	happened("end 0: exit port");
	out(0xf4, 1, 41);
	happened("end 41: exit port");
	out(0xf4, 2, 0x100);
	happened("end 255: exit port");
}

static void test_lines(void **state)
{
	char wanted[16];

	(void)state;
	for (unsigned line = 0; line < 24; line++)
		for (unsigned size = 1; size <= 4; size *= 2) {
			out((uint16_t)(0x2000 + line), size, 1);
			out((uint16_t)(0x2000 + line), size, 1);
			snprintf(wanted, sizeof(wanted), "+%u ", line);
			happened(wanted);
			assert_int_equal(in((uint16_t)(0x2000 + line), 1), 1);
			out((uint16_t)(0x2000 + line), size, 0);
			snprintf(wanted, sizeof(wanted), "-%u ", line);
			happened(wanted);
		}
	/* Two drivers of one wire: it falls with the last. */
	out(0x2004, 1, 1);
	out(0x3fc, 1, 0x08);
	out(0x3f9, 1, 0x02);
	print("zz");
	out(0x2004, 1, 0);
	happened("+4 ");
	out(0x3f9, 1, 0);
	happened("-4 ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(nobody_answers, plain),
		cmocka_unit_test_setup(serial_attended, plain),
		cmocka_unit_test_setup(serial_input_waits, plain),
		cmocka_unit_test_setup(serial_lines, plain),
		cmocka_unit_test_setup(serial_interrupts, plain),
		cmocka_unit_test_setup(wide_accesses_split, plain),
		cmocka_unit_test_setup(resets, plain),
		cmocka_unit_test_setup(power_off, plain),
		cmocka_unit_test_setup(timer_ports, plain),
		cmocka_unit_test_setup(clock_deadline, plain),
		cmocka_unit_test_setup(test_ports, with_testdev),
		cmocka_unit_test_setup(test_lines, with_testdev),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
