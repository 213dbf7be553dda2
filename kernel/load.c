/* SPDX-License-Identifier: MIT */
/* The loader of multiboot guests. Names and rules as in the Multiboot Specification 0.6.96 and the ELF specification. */
#include "kernel/load.h"

#include "kernel/string.h"

#define SEARCH_BYTES   8192u
#define HEADER_MAGIC   0x1badb002u
#define HEADER_SIZE    12u         /* without address fields */
#define GUEST_MAGIC    0x2badb002u /* what EAX holds when the guest starts */
#define FLAGS_KNOWN    0x3u        /* of the mandatory ones: page-aligned modules, memory information */
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

/*
 * ELF as its two classes have it in common: the header's addresses are words of `word` bytes from 24 on, and
 * so are a program header's offset, virtual and physical address, file and memory size, which begin one word
 * after its start.
 */
struct elf_class {
	uint8_t word, header_size, segment_size;
	uint8_t entry_size, entry_count; /* e_phentsize, e_phnum: where they are */
};
static const struct elf_class elf_classes[] = {
	[1] = { .word = 4, .header_size = 52, .segment_size = 32, .entry_size = 42, .entry_count = 44 },
	[2] = { .word = 8, .header_size = 64, .segment_size = 56, .entry_size = 54, .entry_count = 56 },
};
#define ELF_IDENT   "\177ELF" /* then class and byte order, 1: little-endian */
#define ELF_TYPE    16u
#define ELF_MACHINE 18u
#define ELF_ENTRY   24u
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
	struct load_range range;
} __attribute__((packed));
#define MAP_AVAILABLE 1u
#define MAP_RESERVED  2u

struct module_entry {
	uint32_t start, end, string, reserved;
};

static const char loader_name[] = "Bellhop";

/* What one program header, or the address fields, ask for; in a program header's order. */
struct segment {
	uint64_t offset; /* in the file */
	uint64_t vaddr, paddr;
	uint64_t filesz, memsz;
};

struct loader {
	const struct load_request *request;
	const uint8_t *image;
	struct segment segment[LOAD_MAX_SEGMENTS];
	unsigned segments;
	uint64_t entry;
	struct module_entry module[LOAD_MAX_MODULES];
	uint32_t at; /* where the information goes on */
	bool measure;
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

/* "The address fields of Multiboot header". */
static const char *plan_addresses(struct loader *l, uint64_t offset)
{
	struct header h;
	uint64_t before, start, end;

	memcpy(&h, l->image + offset, sizeof(h));
	before = (uint64_t)h.header_addr - h.load_addr;
	end = h.load_end_addr;
	if (h.header_addr < h.load_addr || before > offset)
		return "its multiboot address fields lie outside of the file";
	start = offset - before;
	if (end == 0)
		end = h.load_addr + (l->request->image_size - start);
	if (end < h.load_addr || (h.bss_end_addr && h.bss_end_addr < end))
		return "its multiboot address fields contradict each other";
	l->segment[0] = (struct segment){
		.offset = start,
		.vaddr = h.load_addr,
		.paddr = h.load_addr,
		.filesz = end - h.load_addr,
		.memsz = (h.bss_end_addr ? h.bss_end_addr : end) - h.load_addr,
	};
	l->segments = 1;
	l->entry = h.entry_addr;
	return NULL;
}

static const char *plan_segment(struct loader *l, const struct elf_class *class, uint64_t at)
{
	struct segment s;
	uint64_t word[5];

	if (number_at(l->image, at, 4) != LOADABLE)
		return NULL;
	for (unsigned i = 0; i < 5; i++)
		word[i] = number_at(l->image, at + class->word * (i + 1), class->word);
	s = (struct segment){ word[0], word[1], word[2], word[3], word[4] };
	if (s.filesz > s.memsz)
		return "an ELF segment is larger in the file than in memory";
	if (s.memsz == 0)
		return NULL;
	if (l->segments == LOAD_MAX_SEGMENTS)
		return "it has more than 16 ELF segments to load";
	l->segment[l->segments++] = s;
	return NULL;
}

static const char *plan_elf(struct loader *l)
{
	size_t size = l->request->image_size;
	const struct elf_class *class;
	uint64_t table, step, count;
	const char *error = NULL;

	if (size < elf_classes[1].header_size || memcmp(l->image, ELF_IDENT, 4) != 0)
		return "it is no ELF file and its multiboot header has no address fields";
	class = &elf_classes[l->image[4] == 2 ? 2 : 1];
	if (l->image[4] > 2 || l->image[5] != 1 || size < class->header_size ||
	    number_at(l->image, ELF_TYPE, 2) != TYPE_EXEC ||
	    (number_at(l->image, ELF_MACHINE, 2) != MACHINE_386 &&
	     number_at(l->image, ELF_MACHINE, 2) != MACHINE_X64))
		return "it is no executable ELF file for x86";
	l->entry = number_at(l->image, ELF_ENTRY, class->word);
	table = number_at(l->image, ELF_ENTRY + class->word, class->word);
	step = number_at(l->image, class->entry_size, 2);
	count = number_at(l->image, class->entry_count, 2);
	if (count &&
	    (step < class->segment_size || !inside(table, (count - 1) * step + class->segment_size, size)))
		return "its ELF program headers lie outside of the file";
	for (uint64_t i = 0; i < count && !error; i++)
		error = plan_segment(l, class, table + i * step);
	return error;
}

static const char *plan(struct loader *l)
{
	static const char none[] = "it has no multiboot header in its first 8192 bytes";
	size_t size = l->request->image_size, limit = size < SEARCH_BYTES ? size : SEARCH_BYTES, at = 0;
	uint32_t flags;

	for (;; at += 4) {
		if (at + HEADER_SIZE > limit)
			return none;
		flags = (uint32_t)number_at(l->image, at + 4, 4);
		if (number_at(l->image, at, 4) == HEADER_MAGIC &&
		    HEADER_MAGIC + flags + (uint32_t)number_at(l->image, at + 8, 4) == 0)
			break;
	}
	if (flags & FLAGS_REQUIRED & ~FLAGS_KNOWN)
		return "its multiboot header demands a feature that is not offered (a flag of bits 2 to 15)";
	if (!(flags & FLAG_ADDRESSES))
		return plan_elf(l);
	return at + sizeof(struct header) <= limit ? plan_addresses(l, at) : none;
}

/* The entry point is a virtual address in ELF; the guest starts without paging. */
static const char *check_segments(const struct loader *l, uint32_t *entry)
{
	bool found = false;

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
		if (!found && l->entry >= s->vaddr && l->entry - s->vaddr < s->memsz) {
			*entry = (uint32_t)(s->paddr + (l->entry - s->vaddr));
			found = true;
		}
	}
	return found ? NULL : "its entry point lies in no segment";
}

static const char *place_image(struct loader *l)
{
	const struct load_request *r = l->request;
	uint64_t end = FIRMWARE_END; /* of everything placed from 1 MiB on */

	for (unsigned i = 0; i < l->segments; i++) {
		const struct segment *s = &l->segment[i];
		uint8_t *to = r->ram + s->paddr;

		memcpy(to, l->image + s->offset, s->filesz);
		memset(to + s->filesz, 0, s->memsz - s->filesz);
		if (s->paddr + s->memsz > end)
			end = s->paddr + s->memsz;
	}
	for (unsigned i = 0; i < r->module_count; i++) {
		uint64_t start = (end + PAGE - 1) / PAGE * PAGE;

		if (!inside(start, r->module[i].size, r->size))
			return "its modules do not fit into the VM's memory: give it more with mem=";
		memcpy(r->ram + start, r->module[i].image, r->module[i].size);
		end = start + r->module[i].size;
		l->module[i].start = (uint32_t)start;
		l->module[i].end = (uint32_t)end;
	}
	return NULL;
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

/* Appends to the information, unless that is only measured; returns where the guest finds it. */
static uint32_t append(struct loader *l, const void *bytes, size_t size)
{
	if (!l->measure)
		memcpy(l->request->ram + l->at, bytes, size);
	l->at += (uint32_t)size;
	return l->at - (uint32_t)size;
}

unsigned load_map(const struct load_request *r, struct load_range map[LOAD_RANGES])
{
	map[0] = (struct load_range){ 0, CONVENTIONAL_END, MAP_AVAILABLE };
	map[1] = (struct load_range){ CONVENTIONAL_END, FIRMWARE_END - CONVENTIONAL_END, MAP_RESERVED };
	map[2] = (struct load_range){ FIRMWARE_END, r->size - FIRMWARE_END, MAP_AVAILABLE };
	map[3] = (struct load_range){ HIGH_RAM, r->high, MAP_AVAILABLE };
	return r->high ? 4 : 3;
}

static void place_information(struct loader *l)
{
	const struct load_request *r = l->request;
	struct load_range ranges[LOAD_RANGES];
	unsigned count = load_map(r, ranges);
	struct map_entry map[LOAD_RANGES];
	struct info info = {
		.flags = INFO_FLAGS,
		.mem_lower = CONVENTIONAL_END >> 10,
		.mem_upper = (uint32_t)((r->size - FIRMWARE_END) >> 10),
		.mods_count = r->module_count,
		.mmap_length = (uint32_t)(count * sizeof(map[0])),
	};
	size_t modules_size = r->module_count * sizeof(l->module[0]);
	uint32_t info_at = append(l, &info, sizeof(info));

	for (unsigned i = 0; i < count; i++)
		map[i] = (struct map_entry){ sizeof(ranges[i]), ranges[i] };
	info.mods_addr = append(l, l->module, modules_size);
	info.mmap_addr = append(l, map, info.mmap_length);
	info.boot_loader_name = append(l, loader_name, sizeof(loader_name));
	info.cmdline = append(l, r->name, strlen(r->name));
	if (r->arguments[0] != '\0')
		append(l, " ", 1);
	append(l, r->arguments, strlen(r->arguments) + 1);
	for (unsigned i = 0; i < r->module_count; i++)
		l->module[i].string = append(l, r->module[i].string, strlen(r->module[i].string) + 1);
	if (l->measure)
		return;
	/* Now that all addresses are known. */
	memcpy(r->ram + info_at, &info, sizeof(info));
	memcpy(r->ram + info.mods_addr, l->module, modules_size);
}

const char *load_multiboot(const struct load_request *request, struct virt_start *start)
{
	struct loader l = { .request = request, .image = request->image };
	const char *error = plan(&l);

	*start = (struct virt_start){ .eax = GUEST_MAGIC };
	if (!error)
		error = check_segments(&l, &start->entry);
	if (!error)
		error = place_image(&l);
	if (error)
		return error;
	l.measure = true;
	place_information(&l);
	start->ebx = find_room(&l, l.at);
	if (start->ebx == 0)
		return "it leaves no room for the multiboot information below 640 KiB";
	l.measure = false;
	l.at = start->ebx;
	place_information(&l);
	return NULL;
}
