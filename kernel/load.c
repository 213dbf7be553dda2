/* SPDX-License-Identifier: MIT */
/* The guest loader. Names and rules as in the Multiboot Specification 0.6.96 and the ELF specification. */
#include "kernel/load.h"

#include <stdbool.h>

#include "kernel/string.h"

#define SEARCH_BYTES   8192u
#define HEADER_MAGIC   0x1badb002u
#define FLAGS_KNOWN    0x3u /* of the mandatory ones: page-aligned modules, memory information */
#define FLAGS_REQUIRED 0xffffu
#define FLAG_ADDRESSES (1u << 16)

#define CONVENTIONAL_END 0xa0000u
#define FIRMWARE_END     0x100000u
#define HIGH_RAM         (4ull << 30)
#define PAGE             4096u

/* The header as far as its address fields; those count only with FLAG_ADDRESSES. */
struct header {
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct elf32_header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version, entry, phoff, shoff, flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf64_header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf32_segment {
	uint32_t type, offset, vaddr, paddr, filesz, memsz, flags, align;
};

struct elf64_segment {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

#define ELF_MAGIC \
	"\x7f"    \
	"ELF"
#define ELF_CLASS   4 /* index into ident: 1 is 32 bits, 2 is 64 */
#define ELF_DATA    5 /* 1 is little-endian */
#define TYPE_EXEC   2u
#define MACHINE_386 3u
#define MACHINE_X64 62u
#define LOADABLE    1u

/* The multiboot information, and what it points to. */
struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
};
#define INFO_FLAGS (1u << 0 | 1u << 2 | 1u << 3 | 1u << 6 | 1u << 9)

struct map_entry {
	uint32_t size; /* of what follows */
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));
#define MAP_ENTRIES   4u
#define MAP_AVAILABLE 1u
#define MAP_RESERVED  2u

struct module_entry {
	uint32_t start, end, string, reserved;
};

static const char loader_name[] = "Bellhop";

/* What one program header, or the address fields, ask for. */
struct segment {
	uint64_t offset, filesz;      /* in the file */
	uint64_t vaddr, paddr, memsz; /* in guest memory */
};

struct loader {
	const struct load_request *request;
	const uint8_t *image;
	struct segment segment[LOAD_MAX_SEGMENTS];
	unsigned segments;
	uint64_t entry;
	uint64_t end; /* of everything placed from 1 MiB on */
	struct module_entry module[LOAD_MAX_MODULES];
};

/* Whether offset to offset + length - 1 lies within size; true for none of them at the very end. */
static bool inside(uint64_t offset, uint64_t length, uint64_t size)
{
	return offset <= size && length <= size - offset;
}

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

static bool find_header(const struct load_request *r, struct header *header, uint64_t *offset)
{
	size_t limit = r->image_size < SEARCH_BYTES ? r->image_size : SEARCH_BYTES;
	size_t have;

	for (*offset = 0; *offset + 12 <= limit; *offset += 4) {
		have = limit - *offset < sizeof(*header) ? 12 : sizeof(*header);
		memset(header, 0, sizeof(*header));
		memcpy(header, (const uint8_t *)r->image + *offset, have);
		if (header->magic == HEADER_MAGIC && header->magic + header->flags + header->checksum == 0)
			return !(header->flags & FLAG_ADDRESSES) || have == sizeof(*header);
	}
	return false;
}

/* "The address fields of Multiboot header". */
static const char *plan_addresses(struct loader *l, const struct header *h, uint64_t offset)
{
	uint64_t before = (uint64_t)h->header_addr - h->load_addr, end = h->load_end_addr, start;

	if (h->header_addr < h->load_addr || before > offset)
		return "its multiboot address fields lie outside of the file";
	start = offset - before;
	if (end == 0)
		end = h->load_addr + (l->request->image_size - start);
	if (end < h->load_addr || (h->bss_end_addr && h->bss_end_addr < end))
		return "its multiboot address fields contradict each other";
	l->segment[0] = (struct segment){
		.offset = start,
		.filesz = end - h->load_addr,
		.vaddr = h->load_addr,
		.paddr = h->load_addr,
		.memsz = (h->bss_end_addr ? h->bss_end_addr : end) - h->load_addr,
	};
	l->segments = 1;
	l->entry = h->entry_addr;
	return NULL;
}

static const char *plan_elf32(struct loader *l, const struct elf32_header *h, unsigned index,
                              struct segment *out)
{
	struct elf32_segment s;
	uint64_t at = h->phoff + (uint64_t)index * h->phentsize;

	if (h->phentsize < sizeof(s) || !inside(at, sizeof(s), l->request->image_size))
		return "its ELF program headers lie outside of the file";
	memcpy(&s, l->image + at, sizeof(s));
	*out = (struct segment){ s.offset, s.filesz, s.vaddr, s.paddr, s.type == LOADABLE ? s.memsz : 0 };
	return s.type == LOADABLE && s.filesz > s.memsz
	               ? "an ELF segment is larger in the file than in memory"
	               : NULL;
}

static const char *plan_elf64(struct loader *l, const struct elf64_header *h, unsigned index,
                              struct segment *out)
{
	struct elf64_segment s;
	uint64_t table = (uint64_t)index * h->phentsize;

	if (h->phentsize < sizeof(s) || !inside(h->phoff, table + sizeof(s), l->request->image_size))
		return "its ELF program headers lie outside of the file";
	memcpy(&s, l->image + h->phoff + table, sizeof(s));
	*out = (struct segment){ s.offset, s.filesz, s.vaddr, s.paddr, s.type == LOADABLE ? s.memsz : 0 };
	return s.type == LOADABLE && s.filesz > s.memsz
	               ? "an ELF segment is larger in the file than in memory"
	               : NULL;
}

/* Both classes agree on the first fields, and ELF64's header is the longer one. */
static const char *plan_elf(struct loader *l)
{
	struct elf32_header h32;
	struct elf64_header h64 = { 0 };
	size_t size = l->request->image_size;
	bool wide;

	memset(&h32, 0, sizeof(h32));
	memcpy(&h32, l->image, size < sizeof(h32) ? size : sizeof(h32));
	memcpy(&h64, l->image, size < sizeof(h64) ? size : sizeof(h64));
	wide = h32.ident[ELF_CLASS] == 2;
	if (size < (wide ? sizeof(h64) : sizeof(h32)) || memcmp(h32.ident, ELF_MAGIC, 4) != 0)
		return "it is no ELF file and its multiboot header has no address fields";
	if (h32.ident[ELF_DATA] != 1 || h32.ident[ELF_CLASS] > 2 || h32.type != TYPE_EXEC ||
	    (h32.machine != MACHINE_386 && h32.machine != MACHINE_X64))
		return "it is no executable ELF file for x86";
	l->entry = wide ? h64.entry : h32.entry;
	for (unsigned i = 0; i < (wide ? h64.phnum : h32.phnum); i++) {
		struct segment s;
		const char *error = wide ? plan_elf64(l, &h64, i, &s) : plan_elf32(l, &h32, i, &s);

		if (error)
			return error;
		if (s.memsz == 0)
			continue;
		if (l->segments == LOAD_MAX_SEGMENTS)
			return "it has more than 16 ELF segments to load";
		l->segment[l->segments++] = s;
	}
	return NULL;
}

static const char *check_segments(const struct loader *l)
{
	for (unsigned i = 0; i < l->segments; i++) {
		const struct segment *s = &l->segment[i];

		if (!inside(s->offset, s->filesz, l->request->image_size))
			return "a segment lies outside of the file";
		if (!inside(s->paddr, s->memsz, l->request->size))
			return "a segment lies outside of the VM's memory: give it more with mem=";
		if (overlap(s->paddr, s->memsz, CONVENTIONAL_END, FIRMWARE_END - CONVENTIONAL_END))
			return "a segment lies in the firmware's area from 640 KiB to 1 MiB";
		for (unsigned j = 0; j < i; j++)
			if (overlap(s->paddr, s->memsz, l->segment[j].paddr, l->segment[j].memsz))
				return "two segments overlap";
	}
	return NULL;
}

static void place_segments(struct loader *l)
{
	l->end = FIRMWARE_END;
	for (unsigned i = 0; i < l->segments; i++) {
		const struct segment *s = &l->segment[i];
		uint8_t *to = l->request->ram + s->paddr;

		memcpy(to, l->image + s->offset, s->filesz);
		memset(to + s->filesz, 0, s->memsz - s->filesz);
		if (s->paddr + s->memsz > l->end)
			l->end = s->paddr + s->memsz;
	}
}

/* The entry point is a virtual address in ELF; the guest starts without paging. */
static const char *find_entry(const struct loader *l, uint32_t *entry)
{
	for (unsigned i = 0; i < l->segments; i++) {
		const struct segment *s = &l->segment[i];

		if (l->entry < s->vaddr || l->entry - s->vaddr >= s->memsz)
			continue;
		*entry = (uint32_t)(s->paddr + (l->entry - s->vaddr));
		return NULL;
	}
	return "its entry point lies in no segment";
}

static const char *place_modules(struct loader *l)
{
	const struct load_request *r = l->request;

	for (unsigned i = 0; i < r->module_count; i++) {
		uint64_t start = (l->end + PAGE - 1) / PAGE * PAGE;

		if (!inside(start, r->module[i].size, r->size))
			return "its modules do not fit into the VM's memory: give it more with mem=";
		memcpy(r->ram + start, r->module[i].image, r->module[i].size);
		l->end = start + r->module[i].size;
		l->module[i].start = (uint32_t)start;
		l->module[i].end = (uint32_t)l->end;
	}
	return NULL;
}

static uint64_t information_size(const struct load_request *r)
{
	uint64_t size = sizeof(struct info) + MAP_ENTRIES * sizeof(struct map_entry) + sizeof(loader_name);

	for (unsigned i = 0; i < r->module_count; i++)
		size += sizeof(struct module_entry) + strlen(r->module[i].string) + 1;
	return size + strlen(r->name) + 1 + strlen(r->arguments) + 1;
}

/* The highest whole pages of conventional memory that the image leaves free; 0: there are none. */
static uint32_t find_room(const struct loader *l, uint64_t size)
{
	uint64_t pages = (size + PAGE - 1) / PAGE * PAGE;

	for (uint32_t at = CONVENTIONAL_END - PAGE; at >= PAGE; at -= PAGE) {
		bool free = at + pages <= CONVENTIONAL_END;

		for (unsigned i = 0; i < l->segments && free; i++)
			free = !overlap(at, pages, l->segment[i].paddr, l->segment[i].memsz);
		if (free)
			return at;
	}
	return 0;
}

/* Appends bytes to the information; returns where the guest finds them. */
static uint32_t append(const struct load_request *r, uint32_t *at, const void *bytes, size_t size)
{
	uint32_t address = *at;

	memcpy(r->ram + address, bytes, size);
	*at += (uint32_t)size;
	return address;
}

static uint32_t append_command(const struct load_request *r, uint32_t *at)
{
	uint32_t address = append(r, at, r->name, strlen(r->name));

	if (r->arguments[0] != '\0') {
		append(r, at, " ", 1);
		append(r, at, r->arguments, strlen(r->arguments));
	}
	append(r, at, "", 1);
	return address;
}

static void place_information(struct loader *l, uint32_t at)
{
	const struct load_request *r = l->request;
	const uint32_t entry_size = sizeof(struct map_entry) - sizeof(uint32_t);
	const struct map_entry map[MAP_ENTRIES] = {
		{ entry_size, 0, CONVENTIONAL_END, MAP_AVAILABLE },
		{ entry_size, CONVENTIONAL_END, FIRMWARE_END - CONVENTIONAL_END, MAP_RESERVED },
		{ entry_size, FIRMWARE_END, r->size - FIRMWARE_END, MAP_AVAILABLE },
		{ entry_size, HIGH_RAM, r->high, MAP_AVAILABLE },
	};
	uint32_t info_at = at;
	struct info info = {
		.flags = INFO_FLAGS,
		.mem_lower = CONVENTIONAL_END >> 10,
		.mem_upper = (uint32_t)((r->size - FIRMWARE_END) >> 10),
		.mods_count = r->module_count,
		.mmap_length = (r->high ? MAP_ENTRIES : MAP_ENTRIES - 1) * (uint32_t)sizeof(map[0]),
	};

	at += (uint32_t)sizeof(info);
	info.mods_addr = at;
	at += r->module_count * (uint32_t)sizeof(struct module_entry);
	info.mmap_addr = append(r, &at, map, info.mmap_length);
	info.cmdline = append_command(r, &at);
	info.boot_loader_name = append(r, &at, loader_name, sizeof(loader_name));
	for (unsigned i = 0; i < r->module_count; i++)
		l->module[i].string = append(r, &at, r->module[i].string, strlen(r->module[i].string) + 1);
	memcpy(r->ram + info.mods_addr, l->module, r->module_count * sizeof(l->module[0]));
	memcpy(r->ram + info_at, &info, sizeof(info));
}

static const char *plan(struct loader *l)
{
	struct header header;
	uint64_t offset;

	if (!find_header(l->request, &header, &offset))
		return "it has no multiboot header in its first 8192 bytes";
	if (header.flags & FLAGS_REQUIRED & ~FLAGS_KNOWN)
		return "its multiboot header demands a feature that is not offered (a flag of bits 2 to 15)";
	return header.flags & FLAG_ADDRESSES ? plan_addresses(l, &header, offset) : plan_elf(l);
}

const char *load_multiboot(const struct load_request *request, struct load_start *start)
{
	struct loader l = { .request = request, .image = request->image };
	const char *error = plan(&l);

	if (!error)
		error = check_segments(&l);
	if (!error)
		error = find_entry(&l, &start->entry);
	if (error)
		return error;
	place_segments(&l);
	error = place_modules(&l);
	if (error)
		return error;
	start->info = find_room(&l, information_size(request));
	if (start->info == 0)
		return "it leaves no room for the multiboot information below 640 KiB";
	place_information(&l, start->info);
	return NULL;
}
