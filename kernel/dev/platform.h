/* SPDX-License-Identifier: MIT */
/* A VM's platform but for its interrupt controllers: serial port, clocks, power, test device. */
#pragma once

#include "kernel/dev/vpm.h"
#include "kernel/dev/vrtc.h"
#include "kernel/dev/vuart.h"
#include "kernel/spinlock.h"

struct vm;

/* How a VM ends that asks for a reset: there is no second boot, so it is no success either. */
#define PLATFORM_STATUS_RESET 3

/* Of serial output, the newline after it included. */
#define PLATFORM_LINE_SIZE 257

/* What is typed while the guest does not look; more is lost. */
#define PLATFORM_INPUT_SIZE 128u

#define TESTDEV_MEMORY      0xff000000ull
#define TESTDEV_MEMORY_SIZE 0x10000u

/* The test device (`testdev` on the VM's line). */
struct testdev {
	uint32_t lines; /* driven high, one bit each */
	uint8_t loop[8];
	uint32_t key; /* the selected item of firmware configuration, and the next byte of it */
	unsigned offset;
	unsigned vcpus;   /* items */
	uint64_t memory;  /* bytes of RAM */
	uint8_t *scratch; /* TESTDEV_MEMORY_SIZE bytes of memory; NULL: there is no test device */
};

/*
 * `lock` guards every field. It is not held while lines, console and VM are told what came of an access;
 * `acting` is set meanwhile and lets nobody else in, so that these effects happen in the order of the
 * accesses.
 */
struct platform {
	struct spinlock lock;
	bool acting;
	uint32_t lines;            /* levels that the interrupt controllers have been told */
	_Atomic uint64_t deadline; /* when a device next raises its line; anybody reads it without the lock */
	struct vuart uart;
	struct vrtc rtc;
	struct vpm pm;
	struct testdev test;
	uint8_t fast_reset;            /* port 0x92 as last written */
	uint8_t shutdown;              /* letters of "Shutdown" seen at port 0x8900 */
	bool attended;                 /* somebody types: output goes out at once, and as it is */
	char prefix[20];               /* "NAME| ", which begins a line of serial output */
	char text[PLATFORM_LINE_SIZE]; /* serial output since the last newline */
	unsigned text_length;
	char input[PLATFORM_INPUT_SIZE]; /* typed, for the UART to receive once it has room: a ring */
	uint8_t typed, taken;            /* how many were put in and taken out; they wrap */
};

/*
 * By port, for all VMs, constant once they run: 1, 2 or 4, an access of so many bytes from here on reaches a device (of a
 * VM with a test device at least); PLATFORM_CHIP, the port is one of an interrupt controller (kernel/intr.c).
 */
#define PLATFORM_PORTS 0x10000
#define PLATFORM_CHIP  0x80u
extern uint8_t platform_ports[PLATFORM_PORTS];

/* False: reads as ones, and a write does nothing. Any CPU. */
static inline bool platform_answers(uint16_t port, unsigned size)
{
	return platform_ports[port] & size;
}

/* Boot CPU, before the VM runs, with its name, RAM and VCPU count in place. `scratch` as in struct testdev. */
void platform_init(struct vm *vm, uint8_t *scratch);

/*
 * A port access of 1, 2 or 4 bytes, but to the interrupt controllers; a port of no device reads as ones.
 * What a write returns says nothing. It may end the VM. Any CPU, holding no lock, as all below: takes the platform's own, then chip_lock or the
 * console's.
 */
uint32_t platform_access(struct vm *vm, uint16_t port, unsigned size, bool write, uint32_t written);

/*
 * When platform_tick() is next due, in TSC ticks; UINT64_MAX: not at all. Under any lock: one plain load. The
 * CPU of VCPU 0 keeps this deadline; an access from anywhere that makes it earlier signals INBOX_RESCAN to
 * VCPU 0.
 */
uint64_t platform_deadline(struct vm *vm);
void platform_tick(struct vm *vm, uint64_t now);

/*
 * Whether somebody is at the VM's serial port: then a prompt has to be seen before its line ends, and the control characters
 * of a line editor are what he wants. Otherwise the output comes in whole lines without any.
 */
void platform_attend(struct vm *vm, bool attended);

/* A character for the VM's serial port. */
void platform_receive(struct vm *vm, char c);

/* Writes the unfinished last line of serial output, if there is one. */
void platform_flush(struct vm *vm);
