/* SPDX-License-Identifier: MIT */
/* The test device (`testdev` on the VM's line): exit port, interrupt lines, loop-back, counts, scratch
 * memory. Pure. */
#ifndef KERNEL_DEV_TESTDEV_H
#define KERNEL_DEV_TESTDEV_H

#include <stdbool.h>
#include <stdint.h>

#define TESTDEV_LOOP       0xe0u /* to 0xe3: read back what was written */
#define TESTDEV_NOTHING    0xe4u /* to 0xe7: writes do nothing, reads are 0 */
#define TESTDEV_EXIT       0xf4u /* to 0xf7: a write ends the VM with that status */
#define TESTDEV_SELECT     0x510u
#define TESTDEV_DATA       0x511u
#define TESTDEV_LINES      0x2000u /* to 0x2017: not 0 drives that line high */
#define TESTDEV_LINE_COUNT 24u
#define TESTDEV_MMIO       0xff000000ull
#define TESTDEV_MMIO_SIZE  0x10000u

struct testdev {
	uint32_t lines; /* driven high, one bit each */
	uint8_t loop[4];
	uint16_t key; /* the selected item and the next byte of it */
	uint32_t offset;
	unsigned vcpus;   /* item 5 */
	uint64_t memory;  /* item 3: bytes of RAM */
	uint8_t *scratch; /* TESTDEV_MMIO_SIZE bytes */
};

uint32_t testdev_in(struct testdev *t, uint16_t port, unsigned size);
/* True: `*status` (0 to 255) ends the VM. */
bool testdev_out(struct testdev *t, uint16_t port, unsigned size, uint32_t value, uint8_t *status);
/* False: not inside the scratch memory. size 1, 2, 4 or 8. */
bool testdev_mmio(struct testdev *t, uint64_t gpa, unsigned size, bool write, uint64_t *value);

#endif
