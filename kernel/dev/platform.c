/* SPDX-License-Identifier: MIT */
/* Port ranges and devices of a VM, and what an access to them does to lines, console and VM. */
#include "kernel/dev/platform.h"

#include "kernel/intr.h"
#include "kernel/log.h"
#include "kernel/vm.h"

#define UART_LINE 4u
#define RTC_LINE  8u

#define KEYBOARD_COMMAND 0x64u
#define KEYBOARD_RESET   0xfeu /* pulse output line 0, which is the processor's reset */
#define FAST_RESET       0x92u
#define FAST_RESET_PULSE 0x01u
#define FAST_RESET_A20   0x02u /* address line 20 is never masked here */
#define RESET_CONTROL    0xcf9u
#define RESET_CPU        0x04u
#define SHUTDOWN_PORT    0x8900u

/* Of the test device; firmware configuration has more items than these, but they are empty. */
#define TEST_SELECT    0x510u /* data in the next port */
#define TEST_LINES     0x2000u
#define ITEM_SIGNATURE 0u
#define ITEM_MEMORY    3u
#define ITEM_VCPUS     5u

/* One access, and what is to be done about it once the lock is released. */
struct access {
	struct platform *p;
	uint64_t now;
	uint16_t port;
	uint8_t size;
	bool write;
	uint32_t value;     /* a write's */
	bool pulse;         /* the UART's line was low for a moment */
	bool printed;       /* p->text is to be written */
	const char *reason; /* not NULL: the VM ends */
	uint8_t status;
};

static void end(struct access *a, uint8_t status, const char *reason)
{
	a->status = status;
	a->reason = reason;
}

/* Whoever ends a line writes it before anybody else gets in: there is no second buffer. */
static void finish_line(struct access *a)
{
	a->p->text[a->p->text_length++] = '\n';
	a->printed = true;
}

/* Control characters would let a guest write over other VMs' lines on the operator's terminal. */
static void print(struct access *a, uint8_t byte)
{
	struct platform *p = a->p;

	if (p->attended) {
		p->text[p->text_length++] = (char)byte;
		a->printed = true;
		return;
	}
	if (byte == '\n') {
		finish_line(a);
		return;
	}
	if (byte == '\r')
		return;
	p->text[p->text_length++] = (byte < ' ' && byte != '\t') || byte == 0x7f ? '.' : (char)byte;
	if (p->text_length == PLATFORM_LINE_SIZE - 1)
		finish_line(a);
}

/* What follows handles one access to a device each; the result counts for reads only. */

/* A guest whose turn it is not for a while must not lose what comes in meanwhile. */
static void take_input(struct platform *p)
{
	while (p->taken != p->typed && vuart_has_room(&p->uart))
		vuart_receive(&p->uart, (uint8_t)p->input[p->taken++ % PLATFORM_INPUT_SIZE]);
}

static uint32_t uart(struct access *a)
{
	struct vuart_effect effect;
	uint32_t value = 0;

	if (a->write)
		vuart_write(&a->p->uart, a->port & 7u, (uint8_t)a->value, &effect);
	else
		value = vuart_read(&a->p->uart, a->port & 7u, &effect);
	a->pulse |= effect.dropped;
	if (effect.sent)
		print(a, effect.byte);
	take_input(a->p);
	return value;
}

static uint32_t rtc(struct access *a)
{
	if (!a->write)
		return a->port & 1 ? vrtc_read(&a->p->rtc, a->now) : 0xff;
	if (a->port & 1)
		vrtc_write(&a->p->rtc, (uint8_t)a->value, a->now);
	else
		vrtc_select(&a->p->rtc, (uint8_t)a->value);
	return 0;
}

static uint32_t pm(struct access *a)
{
	if (!a->write)
		return vpm_read(&a->p->pm, a->port - PM_BASE, a->size, a->now);
	if (vpm_write(&a->p->pm, a->port - PM_BASE, a->size, a->value, a->now))
		end(a, 0, "powered off (S5)");
	return 0;
}

static uint32_t reset(struct access *a)
{
	uint8_t old = a->p->fast_reset;

	if (!a->write)
		return a->port == FAST_RESET ? old | FAST_RESET_A20 : UINT32_MAX;
	if (a->port == KEYBOARD_COMMAND && a->value == KEYBOARD_RESET)
		end(a, PLATFORM_STATUS_RESET, "reset by the keyboard controller's port");
	if (a->port == RESET_CONTROL && a->value & RESET_CPU)
		end(a, PLATFORM_STATUS_RESET, "reset by port 0xcf9");
	if (a->port != FAST_RESET)
		return 0;
	if (a->value & ~(uint32_t)old & FAST_RESET_PULSE)
		end(a, PLATFORM_STATUS_RESET, "reset by port 0x92");
	a->p->fast_reset = (uint8_t)a->value;
	return 0;
}

/* How a guest switches an emulator off that it runs on natively. */
static uint32_t shutdown(struct access *a)
{
	static const char word[] = "Shutdown";
	uint8_t *seen = &a->p->shutdown;

	if (!a->write)
		return UINT32_MAX;
	if (a->value != (uint8_t)word[*seen])
		*seen = 0;
	if (a->value == (uint8_t)word[*seen])
		++*seen;
	if (*seen == sizeof(word) - 1) {
		*seen = 0;
		end(a, 0, "shut down by port 0x8900");
	}
	return 0;
}

/* The test device: its ports are those that public x86 test kernels look for. */

/* The first four ports read back what was written, the other four 0. */
static uint32_t test_loop(struct access *a)
{
	uint8_t *byte = &a->p->test.loop[a->port & 7];

	if (a->write && !(a->port & 4))
		*byte = (uint8_t)a->value;
	return *byte;
}

/* A status that does not fit must not become success. */
static uint32_t test_exit(struct access *a)
{
	if (a->write)
		end(a, a->value > 255 ? 255 : (uint8_t)a->value, "exit port");
	return UINT32_MAX;
}

/* Firmware configuration. Past the end of an item there are zeros; the position need not move on. */
static uint32_t test_firmware(struct access *a)
{
	struct testdev *t = &a->p->test;
	uint64_t item = 0;

	if (a->write && a->port == TEST_SELECT) {
		t->key = a->value;
		t->offset = 0;
	}
	if (a->write || a->port == TEST_SELECT)
		return UINT32_MAX;
	if (t->key == ITEM_SIGNATURE)
		item = 'Q' | 'E' << 8 | 'M' << 16 | 'U' << 24;
	else if (t->key == ITEM_MEMORY)
		item = t->memory;
	else if (t->key == ITEM_VCPUS)
		item = t->vcpus;
	return t->offset < sizeof(item) ? (uint32_t)(item >> 8 * t->offset++) & 0xff : 0;
}

static uint32_t test_line(struct access *a)
{
	uint32_t *lines = &a->p->test.lines, line = a->port - TEST_LINES;

	if (a->write)
		*lines = (*lines & ~(1u << line)) | (uint32_t)(a->value != 0) << line;
	return *lines >> line & 1;
}

/*
 * A range takes accesses of up to `widest` bytes as they are; wider ones reach it byte by byte, but for one of width 0,
 * which byte accesses alone reach. Without a function: kernel/intr.c has those.
 *
 * Of the PCI host bridge's ports only the reset control register is here, a byte in the midst of the address register:
 * there is no bridge behind them, and even the address register does not answer.
 */
static const struct range {
	uint16_t first, last;
	uint8_t widest;
	bool test; /* only where there is a test device */
	uint32_t (*access)(struct access *a);
} ranges[] = {
	{ 0x3f8, 0x3ff, 1, false, uart },
	{ 0x70, 0x71, 1, false, rtc },
	{ PM_BASE, PM_BASE + PM_SIZE - 1, 4, false, pm },
	{ RESET_CONTROL, RESET_CONTROL, 0, false, reset },
	{ KEYBOARD_COMMAND, KEYBOARD_COMMAND, 1, false, reset },
	{ FAST_RESET, FAST_RESET, 1, false, reset },
	{ SHUTDOWN_PORT, SHUTDOWN_PORT, 1, false, shutdown },
	{ 0xe0, 0xe7, 1, true, test_loop },
	{ 0xf4, 0xf7, 4, true, test_exit },
	{ TEST_SELECT, TEST_SELECT + 1, 2, true, test_firmware },
	{ TEST_LINES, TEST_LINES + 23, 4, true, test_line },
	{ 0x20, 0x21, 1, false, NULL }, /* the 8259 pair */
	{ 0xa0, 0xa1, 1, false, NULL },
	{ 0x4d0, 0x4d1, 1, false, NULL },
	{ 0x40, 0x43, 1, false, NULL }, /* the 8254 */
	{ 0x61, 0x61, 1, false, NULL },
};

uint8_t platform_ports[PLATFORM_PORTS];

static void mark_ports(const struct range *r)
{
	for (unsigned port = r->first; port <= r->last; port++) {
		platform_ports[port] |= r->access ? 0 : PLATFORM_CHIP;
		for (unsigned size = 1; size <= (r->widest ? 4 : 1); size *= 2)
			for (unsigned before = 0; before < size && before <= port; before++)
				platform_ports[port - before] |= (uint8_t)size;
	}
}

static const struct range *find(const struct platform *p, uint32_t port)
{
	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (port >= ranges[i].first && port <= ranges[i].last && (p->test.scratch || !ranges[i].test))
			return &ranges[i];
	return NULL;
}

/* Nobody else gets in while another CPU still carries out what its access brought about. */
static void enter(struct platform *p)
{
	spinlock_lock(&p->lock);
	while (p->acting) {
		spinlock_unlock(&p->lock);
		cpu_relax();
		spinlock_lock(&p->lock);
	}
}

static void tell_lines(struct vm *vm, uint32_t changed, uint32_t lines, bool pulse)
{
	if (pulse)
		intr_set_line(vm, UART_LINE, false);
	for (unsigned line = 0; line < 32; line++)
		if (changed >> line & 1)
			intr_set_line(vm, line, lines >> line & 1);
}

/* Releases the lock, then does what the access asks for. */
static void leave(struct vm *vm, struct access *a)
{
	struct platform *p = a->p;
	uint32_t lines = (uint32_t)vuart_line(&p->uart) << UART_LINE |
	                 (uint32_t)vrtc_line(&p->rtc) << RTC_LINE | (uint32_t)vpm_line(&p->pm) << PM_SCI |
	                 p->test.lines;
	uint32_t changed = lines ^ p->lines;
	uint64_t rtc_due = vrtc_deadline(&p->rtc), pm_due = vpm_deadline(&p->pm);
	uint64_t deadline = rtc_due < pm_due ? rtc_due : pm_due;
	bool earlier = deadline < atomic_load_explicit(&p->deadline, memory_order_relaxed);

	/* Devices that share a wire are joined by OR: a moment's low shows only if nobody else holds it. */
	a->pulse &= (lines & ~p->test.lines & p->lines) >> UART_LINE & 1;
	changed |= (uint32_t)a->pulse << UART_LINE;
	p->lines = lines;
	/* The reader needs no order: the signal below makes VCPU 0 look again. */
	atomic_store_explicit(&p->deadline, deadline, memory_order_relaxed);
	p->acting = changed || a->printed;
	if (p->acting) {
		spinlock_unlock(&p->lock);
		tell_lines(vm, changed, lines, a->pulse);
		if (a->printed)
			log_text(p->prefix, p->text, p->text_length);
		spinlock_lock(&p->lock);
		p->acting = false;
		if (a->printed)
			p->text_length = 0;
	}
	spinlock_unlock(&p->lock);
	if (earlier)
		vcpu_notify(vm->vcpu[0], inbox_signal(&vm->vcpu[0]->inbox, INBOX_RESCAN));
	if (a->reason)
		vm_end(vm, VM_ENDED, a->status, a->reason);
}

/* The whole access if its range takes it so, else its bytes; those of no device read as ones. */
uint32_t platform_access(struct vm *vm, uint16_t port, unsigned size, bool write, uint32_t written)
{
	struct access a = { .p = &vm->platform, .now = tsc_now(), .write = write };
	const struct range *r = find(a.p, port);
	uint32_t value = 0;

	if (!platform_answers(port, size))
		return UINT32_MAX >> (32 - 8 * size);
	a.size = r && size <= r->widest ? (uint8_t)size : 1;
	enter(a.p);
	for (unsigned i = 0; i < size; i += a.size) {
		uint32_t ones = UINT32_MAX >> (32 - 8 * a.size);

		r = find(a.p, port + i);
		a.port = (uint16_t)(port + i);
		a.value = written >> 8 * i & ones;
		value |= (r && r->access ? r->access(&a) & ones : ones) << 8 * i;
	}
	leave(vm, &a);
	return value;
}

uint64_t platform_deadline(struct vm *vm)
{
	return atomic_load_explicit(&vm->platform.deadline, memory_order_relaxed);
}

void platform_tick(struct vm *vm, uint64_t now)
{
	struct access a = { .p = &vm->platform, .now = now };

	enter(a.p);
	vrtc_tick(&a.p->rtc, now);
	vpm_tick(&a.p->pm, now);
	leave(vm, &a);
}

void platform_attend(struct vm *vm, bool attended)
{
	struct access a = { .p = &vm->platform };

	enter(a.p);
	a.p->attended = attended;
	a.printed = attended && a.p->text_length;
	leave(vm, &a);
}

void platform_receive(struct vm *vm, char c)
{
	struct access a = { .p = &vm->platform };

	enter(a.p);
	if ((uint8_t)(a.p->typed - a.p->taken) < PLATFORM_INPUT_SIZE)
		a.p->input[a.p->typed++ % PLATFORM_INPUT_SIZE] = c;
	take_input(a.p);
	leave(vm, &a);
}

void platform_flush(struct vm *vm)
{
	struct access a = { .p = &vm->platform };

	enter(a.p);
	if (a.p->text_length)
		finish_line(&a);
	leave(vm, &a);
}

void platform_init(struct vm *vm, uint8_t *scratch)
{
	struct platform *p = &vm->platform;
	uint64_t now = tsc_now();
	struct rtc_time wall;

	*p = (struct platform){ .deadline = UINT64_MAX };
	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		mark_ports(&ranges[i]);
	format_text(p->prefix, sizeof(p->prefix), "%s| ", vm->name);
	wall_clock_read(&wall);
	vuart_init(&p->uart);
	vrtc_init(&p->rtc, &wall, now, tsc_hz, vm->ram_low_size, vm->ram_high_size);
	vpm_init(&p->pm, now, tsc_hz);
	p->test = (struct testdev){
		.vcpus = vm->vcpu_count,
		.memory = vm->ram_low_size + vm->ram_high_size,
		.scratch = scratch,
	};
}
