/* SPDX-License-Identifier: MIT */
/* Loads a Linux bzImage: "The Linux/x86 Boot Protocol" of the kernel's documentation, its 32-bit entry. */
#include "kernel/load.h"
#include "kernel/string.h"
#include "kernel/tables.h"

/* The setup header's fields: offsets in the image's first sectors and in the boot parameters alike. */
#define SETUP_SECTS 0x1f1u
#define VID_MODE    0x1fau
#define BOOT_FLAG \
	0x1feu /* a constant; two bytes on there is a jump over the header, whose reach is its end */
#define JUMP        0x201u
#define MAGIC       0x202u
#define VERSION     0x206u
#define LOADER      0x210u
#define LOADFLAGS   0x211u
#define INITRD      0x218u /* where it is, and its size */
#define CMDLINE     0x228u
#define INITRD_MAX  0x22cu /* the highest address that its bytes may have */
#define CMDLINE_MAX 0x238u
#define PREFERRED   0x258u
#define INIT_SIZE   0x260u
#define HEADER_END  0x264u

/* Boot parameters that are not of the header. */
#define RSDP      0x070u
#define MAP_COUNT 0x1e8u
#define MAP       0x2d0u

#define SECTOR          512u
#define FLAG_HIGH       1u      /* the kernel proper goes above 1 MiB */
#define VERSION_MIN     0x020au /* the first with a preferred address and the memory that it needs there */
#define VERSION_RSDP    0x020eu
#define LOADER_OTHER    0xffu
#define VID_MODE_NORMAL 0xffffu

/* Conventional memory that the kernel keeps off until it has read what is there. */
#define PARAMS  0x90000u
#define GDT     0x91000u
#define STRING  0x92000u
#define STRINGS 0x2000u

/* The selectors that the protocol asks for, 0x10 and 0x18: flat 4 GiB, code and data. */
static const uint64_t gdt[] = { 0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff };

bool load_is_linux(const void *image, size_t size)
{
	return size >= HEADER_END && number_at(image, BOOT_FLAG, 2) == 0xaa55 &&
	       memcmp((const uint8_t *)image + MAGIC, "HdrS", 4) == 0;
}

/* As high as the kernel allows, which grows upwards from `end`. */
static const char *place_initrd(const struct load_request *r, uint64_t end)
{
	uint64_t top = number_at(r->image, INITRD_MAX, 4) + 1, size = r->module[0].size;
	uint32_t place[2];

	top = top < r->size ? top : r->size;
	if (size > top || ((top - size) & ~0xfffull) < end)
		return "its initrd does not fit into the VM's memory: give it more with mem=";
	place[0] = (uint32_t)((top - size) & ~0xfffull);
	place[1] = (uint32_t)size;
	memcpy(r->ram + place[0], r->module[0].image, size);
	memcpy(r->ram + PARAMS + INITRD, place, sizeof(place));
	return NULL;
}

static void place_parameters(const struct load_request *r)
{
	uint8_t *params = r->ram + PARAMS;
	struct load_range map[LOAD_RANGES];
	uint32_t string = STRING;

	memset(params, 0, 0x1000);
	memcpy(params + SETUP_SECTS, (const uint8_t *)r->image + SETUP_SECTS, HEADER_END - SETUP_SECTS);
	params[LOADER] = LOADER_OTHER;
	memset(params + VID_MODE, VID_MODE_NORMAL & 0xff, 2);
	memcpy(params + CMDLINE, &string, sizeof(string));
	params[MAP_COUNT] = (uint8_t)load_map(r, map);
	memcpy(params + MAP, map, params[MAP_COUNT] * sizeof(map[0]));
	if (number_at(r->image, VERSION, 2) >= VERSION_RSDP)
		memcpy(params + RSDP, &(uint64_t){ TABLES_BASE }, 8);
	memcpy(r->ram + GDT, gdt, sizeof(gdt));
	memcpy(r->ram + STRING, r->arguments, strlen(r->arguments) + 1);
}

const char *load_linux(const struct load_request *r, struct virt_start *start)
{
	uint64_t setup = number_at(r->image, SETUP_SECTS, 1), at = number_at(r->image, PREFERRED, 8);
	uint64_t size, need;

	setup = ((setup ? setup : 4) + 1) * SECTOR;
	need = number_at(r->image, INIT_SIZE, 4);
	if (number_at(r->image, VERSION, 2) < VERSION_MIN || !(number_at(r->image, LOADFLAGS, 1) & FLAG_HIGH))
		return "its Linux boot protocol is older than 2.10, or it is no bzImage";
	if (setup >= r->image_size)
		return "it ends before the kernel that its Linux header announces";
	size = r->image_size - setup;
	need = need > size ? need : size;
	if (at < 1u << 20 || at > r->size || need > r->size - at)
		return "a Linux kernel does not fit where it wants to be: give the VM more with mem=";
	if (strlen(r->arguments) > number_at(r->image, CMDLINE_MAX, 4) || strlen(r->arguments) >= STRINGS)
		return "its command line is longer than this Linux kernel takes";
	if (r->module_count > 1)
		return "a Linux kernel takes one module, its initrd";
	memcpy(r->ram + at, (const uint8_t *)r->image + setup, size);
	place_parameters(r);
	*start = (struct virt_start){ .entry = (uint32_t)at, .esi = PARAMS, .gdt = GDT };
	return r->module_count ? place_initrd(r, at + need) : NULL;
}
