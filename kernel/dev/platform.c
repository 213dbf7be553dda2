/* SPDX-License-Identifier: MIT */
/* Port ranges and devices of a VM, and what an access to them does to lines, console and VM. */
#include "kernel/dev/platform.h"

#include "kernel/intr.h"
#include "kernel/log.h"
#include "kernel/string.h"
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

/* One access, and what is to be done about it once the lock is released. */
struct access {
	struct platform *p;
	uint64_t now;
	uint16_t port;
	unsigned size;
	uint32_t value;
	bool pulse; /* the UART's line was low for a moment */
	bool ended;
	uint8_t status;
	const char *reason;
	bool printed; /* p->text is a whole line */
};

static void end(struct access *a, uint8_t status, const char *reason)
{
	a->ended = true;
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

	if (byte == '\n') {
		finish_line(a);
		return;
	}
	if (byte == '\r')
		return;
	p->text[p->text_length++] = (byte < ' ' && byte != '\t') || byte == 0x7f ? '.' : (char)byte;
	if (p->text_length == p->prefix + PLATFORM_LINE_SIZE)
		finish_line(a);
}

static void uart_effect(struct access *a, struct vuart_effect effect)
{
	a->pulse |= effect.dropped;
	if (effect.sent)
		print(a, effect.byte);
}

static uint32_t uart_in(struct access *a)
{
	struct vuart_effect effect;
	uint8_t value = vuart_read(&a->p->uart, a->port & 7u, &effect);

	uart_effect(a, effect);
	return value;
}

static void uart_out(struct access *a)
{
	struct vuart_effect effect;

	vuart_write(&a->p->uart, a->port & 7u, (uint8_t)a->value, &effect);
	uart_effect(a, effect);
}

static uint32_t rtc_in(struct access *a)
{
	return a->port & 1 ? vrtc_read(&a->p->rtc, a->now) : 0xff;
}

static void rtc_out(struct access *a)
{
	if (a->port & 1)
		vrtc_write(&a->p->rtc, (uint8_t)a->value, a->now);
	else
		vrtc_select(&a->p->rtc, (uint8_t)a->value);
}

static void keyboard_out(struct access *a)
{
	if (a->value == KEYBOARD_RESET)
		end(a, PLATFORM_STATUS_RESET, "reset by the keyboard controller's port");
}

static uint32_t fast_reset_in(struct access *a)
{
	return a->p->fast_reset | FAST_RESET_A20;
}

static void fast_reset_out(struct access *a)
{
	if (a->value & ~(uint32_t)a->p->fast_reset & FAST_RESET_PULSE)
		end(a, PLATFORM_STATUS_RESET, "reset by port 0x92");
	a->p->fast_reset = (uint8_t)a->value;
}

/*
 * The PCI host bridge's ports, with no bridge behind them: even the address register does not answer. The
 * reset control register lies inside, for byte accesses only.
 */
static void pci_out(struct access *a)
{
	if (a->port == RESET_CONTROL && a->size == 1 && a->value & RESET_CPU)
		end(a, PLATFORM_STATUS_RESET, "reset by port 0xcf9");
}

static uint32_t pm_in(struct access *a)
{
	return vpm_read(&a->p->pm, a->port - PM_BASE, a->size, a->now);
}

static void pm_out(struct access *a)
{
	if (vpm_write(&a->p->pm, a->port - PM_BASE, a->size, a->value, a->now))
		end(a, 0, "powered off (S5)");
}

/* How a guest switches an emulator off that it runs on natively. */
static void shutdown_out(struct access *a)
{
	static const char word[] = "Shutdown";
	struct platform *p = a->p;

	if (a->value != (uint8_t)word[p->shutdown])
		p->shutdown = 0;
	if (a->value == (uint8_t)word[p->shutdown])
		p->shutdown++;
	if (p->shutdown == sizeof(word) - 1) {
		p->shutdown = 0;
		end(a, 0, "shut down by port 0x8900");
	}
}

static uint32_t test_in(struct access *a)
{
	return testdev_in(&a->p->testdev, a->port, a->size);
}

static void test_out(struct access *a)
{
	if (testdev_out(&a->p->testdev, a->port, a->size, a->value, &a->status))
		end(a, a->status, "exit port");
}

/* A range takes accesses of up to `widest` bytes as they are; wider ones reach it byte by byte. */
static const struct range {
	uint16_t first, last;
	uint8_t widest;
	bool testdev;
	uint32_t (*in)(struct access *a);
	void (*out)(struct access *a);
} ranges[] = {
	{ .first = 0x3f8, .last = 0x3ff, .widest = 1, .in = uart_in, .out = uart_out },
	{ .first = 0x70, .last = 0x71, .widest = 1, .in = rtc_in, .out = rtc_out },
	{ .first = PM_BASE, .last = PM_BASE + PM_SIZE - 1, .widest = 4, .in = pm_in, .out = pm_out },
	{ .first = 0xcf8, .last = 0xcff, .widest = 4, .out = pci_out },
	{ .first = KEYBOARD_COMMAND, .last = KEYBOARD_COMMAND, .widest = 1, .out = keyboard_out },
	{ .first = FAST_RESET, .last = FAST_RESET, .widest = 1, .in = fast_reset_in, .out = fast_reset_out },
	{ .first = SHUTDOWN_PORT, .last = SHUTDOWN_PORT, .widest = 1, .out = shutdown_out },
	{ .first = TESTDEV_LOOP,
	  .last = TESTDEV_NOTHING + 3,
	  .widest = 4,
	  .testdev = true,
	  test_in,
	  test_out },
	{ .first = TESTDEV_EXIT, .last = TESTDEV_EXIT + 3, .widest = 4, .testdev = true, .out = test_out },
	{ .first = TESTDEV_SELECT, .last = TESTDEV_DATA, .widest = 2, .testdev = true, test_in, test_out },
	{ .first = TESTDEV_LINES,
	  .last = TESTDEV_LINES + TESTDEV_LINE_COUNT - 1,
	  .widest = 4,
	  .testdev = true,
	  .in = test_in,
	  .out = test_out },
};

static const struct range *find(const struct platform *p, uint32_t port)
{
	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (port >= ranges[i].first && port <= ranges[i].last &&
		    (p->has_testdev || !ranges[i].testdev))
			return &ranges[i];
	return NULL;
}

static uint32_t ones(unsigned size)
{
	return UINT32_MAX >> (32 - 8 * size);
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

/* The wires as they are now: devices that share one are joined by OR. */
static uint32_t wires(const struct platform *p)
{
	return (uint32_t)vuart_line(&p->uart) << UART_LINE | (uint32_t)vrtc_line(&p->rtc) << RTC_LINE |
	       (uint32_t)vpm_line(&p->pm) << PM_SCI | p->testdev.lines;
}

static uint64_t next_deadline(const struct platform *p)
{
	uint64_t rtc = vrtc_deadline(&p->rtc), pm = vpm_deadline(&p->pm);

	return rtc < pm ? rtc : pm;
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
	uint32_t lines = wires(p), changed = lines ^ p->lines;
	uint64_t deadline = next_deadline(p);
	bool earlier = deadline < atomic_load_explicit(&p->deadline, memory_order_relaxed);

	a->pulse &= (lines & ~p->testdev.lines & p->lines) >> UART_LINE & 1;
	changed |= (uint32_t)a->pulse << UART_LINE;
	p->lines = lines;
	/* The reader needs no order: the signal below makes VCPU 0 look again. */
	atomic_store_explicit(&p->deadline, deadline, memory_order_relaxed);
	p->acting = changed || a->printed;
	if (p->acting) {
		spinlock_unlock(&p->lock);
		tell_lines(vm, changed, lines, a->pulse);
		if (a->printed)
			log_raw(p->text, p->text_length);
		spinlock_lock(&p->lock);
		p->acting = false;
		if (a->printed)
			p->text_length = p->prefix;
	}
	spinlock_unlock(&p->lock);
	if (earlier && inbox_signal(&vm->vcpu[0]->inbox, INBOX_RESCAN))
		cpu_kick(vm->vcpu[0]->cpu);
	if (a->ended)
		vm_end(vm, VM_ENDED, a->status, a->reason);
}

static uint32_t read_ports(struct access *a)
{
	uint16_t port = a->port;
	unsigned size = a->size;
	const struct range *r = find(a->p, port);
	uint32_t value = 0;

	if (r && size <= r->widest)
		return r->in ? r->in(a)&ones(size) : ones(size);
	for (unsigned i = 0; i < size; i++) {
		r = find(a->p, port + i);
		a->port = (uint16_t)(port + i);
		a->size = 1;
		value |= (r && r->in ? r->in(a)&0xff : 0xff) << 8 * i;
	}
	return value;
}

uint32_t platform_in(struct vm *vm, uint16_t port, unsigned size)
{
	struct access a = { .p = &vm->platform, .now = tsc_now(), .port = port, .size = size };
	uint32_t value;

	enter(a.p);
	value = read_ports(&a);
	leave(vm, &a);
	return value;
}

static void write_ports(struct access *a)
{
	uint16_t port = a->port;
	unsigned size = a->size;
	uint32_t value = a->value;
	const struct range *r = find(a->p, port);

	if (r && size <= r->widest) {
		r->out(a);
		return;
	}
	for (unsigned i = 0; i < size; i++) {
		r = find(a->p, port + i);
		a->port = (uint16_t)(port + i);
		a->size = 1;
		a->value = value >> 8 * i & 0xff;
		if (r)
			r->out(a);
	}
}

void platform_out(struct vm *vm, uint16_t port, unsigned size, uint32_t value)
{
	struct access a = { .p = &vm->platform, .now = tsc_now(), .port = port, .size = size };

	a.value = value & ones(size);
	enter(a.p);
	write_ports(&a);
	leave(vm, &a);
}

bool platform_mmio(struct vm *vm, uint64_t gpa, unsigned size, bool write, uint64_t *value)
{
	struct platform *p = &vm->platform;
	bool mine;

	if (!p->has_testdev)
		return false;
	spinlock_lock(&p->lock);
	mine = testdev_mmio(&p->testdev, gpa, size, write, value);
	spinlock_unlock(&p->lock);
	return mine;
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

void platform_receive(struct vm *vm, char c)
{
	struct access a = { .p = &vm->platform };

	enter(a.p);
	vuart_receive(&a.p->uart, (uint8_t)c);
	leave(vm, &a);
}

void platform_flush(struct vm *vm)
{
	struct access a = { .p = &vm->platform };

	enter(a.p);
	if (a.p->text_length > a.p->prefix)
		finish_line(&a);
	leave(vm, &a);
}

void platform_init(struct platform *p, const struct platform_setup *setup)
{
	*p = (struct platform){ .deadline = UINT64_MAX, .has_testdev = setup->scratch };
	p->text_length = (unsigned)strlen(setup->name);
	memcpy(p->text, setup->name, p->text_length);
	memcpy(p->text + p->text_length, "| ", 2);
	p->text_length += 2;
	p->prefix = p->text_length;
	vuart_init(&p->uart);
	vrtc_init(&p->rtc, &setup->wall, setup->now, setup->tsc_hz, setup->ram_low, setup->ram_high);
	vpm_init(&p->pm, setup->now, setup->tsc_hz);
	p->testdev.vcpus = setup->vcpus;
	p->testdev.memory = setup->ram_low + setup->ram_high;
	p->testdev.scratch = setup->scratch;
}
