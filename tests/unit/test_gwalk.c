/* SPDX-License-Identifier: MIT */
/* The guest page walk against a second, naive one: random tables and accesses in every paging mode. */
/* SOURCES: arch/x86/gwalk.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "arch/x86/gwalk.h"
#include "kernel/vm.h"

#define USER 4u /* of a page-fault error code */
#define SEED 0x90a1c0de5eed0001ull

/* Sixteen pages that answer at every physical address, but for holes: random entries lead somewhere. */
#define MEMORY_SIZE 65536u
static _Alignas(64) uint8_t memory[MEMORY_SIZE];

/* Another VCPU: changes the entry at race_to when the walk asks for the one at race_from, 0 for never. */
static uint64_t race_from, race_to;
#define IGNORED_BIT 0x200u

static bool is_hole(uint64_t gpa)
{
	return (gpa >> 12 & 63) == 63;
}

static uint64_t load(uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, memory + gpa % MEMORY_SIZE, size);
	return value;
}

static void set_entry(uint64_t gpa, uint64_t entry)
{
	memcpy(memory + gpa, &entry, 8);
}

/* The walk's view of the guest's RAM. */
void *vm_ram(const struct vm *vm, uint64_t gpa, uint64_t size)
{
	assert_ptr_equal(vm, memory);
	assert_int_equal(gpa % size, 0);
	if (race_from && gpa == race_from)
		set_entry(race_to, load(race_to, 8) ^ IGNORED_BIT);
	return is_hole(gpa) ? NULL : memory + gpa % MEMORY_SIZE;
}

static enum gwalk_result walk(const struct gwalk_cpu *cpu, uint64_t linear, unsigned access, uint64_t *gpa,
                              uint32_t *error_code)
{
	return gwalk(cpu, (const struct vm *)memory, linear, access, gpa, error_code);
}

/* The oracle's findings. */
struct verdict {
	enum gwalk_result result;
	uint64_t gpa;
	uint32_t error_code;
	unsigned used, page_bits;
	uint64_t cells[4];
};

enum kind { KIND_NONE, KIND_32, KIND_PAE, KIND_LONG, KINDS };

static enum kind kind_of(const struct gwalk_cpu *cpu)
{
	if (!(cpu->cr0 >> 31 & 1))
		return KIND_NONE;
	if (!(cpu->cr4 >> 5 & 1))
		return KIND_32;
	return cpu->efer >> 10 & 1 ? KIND_LONG : KIND_PAE;
}

/* One bit of one entry, `level` 1 for a PTE to 4 for a PML4E, as the figures of the manual show it. */
static bool is_reserved(const struct gwalk_cpu *cpu, enum kind kind, unsigned level, bool large, unsigned bit)
{
	if (kind == KIND_32) {
		if (!large || bit < 13 || bit > 21)
			return false;
		return bit == 21 || bit + 19 >= cpu->physical_bits;
	}
	if (bit == 63)
		return !(cpu->efer >> 11 & 1);
	if (bit >= 52)
		return kind == KIND_PAE;
	if (bit >= cpu->physical_bits)
		return true;
	if (bit == 7)
		return level == 4 || (level == 3 && !cpu->gigabyte_pages);
	return large && bit >= 13 && bit < (level == 3 ? 30 : 21);
}

static bool allowed(const struct gwalk_cpu *cpu, unsigned access, bool user, bool writable, bool no_execute)
{
	bool write = access & GWALK_WRITE, fetch = access & GWALK_FETCH;
	bool smep = cpu->cr4 >> 20 & 1, smap = cpu->cr4 >> 21 & 1, protect = cpu->cr0 >> 16 & 1;

	if (access & USER) {
		if (fetch)
			return user && !no_execute && (!write || writable);
		return write ? user && writable : user;
	}
	if (fetch && (no_execute || (user && smep)))
		return false;
	if (!fetch && user && smap && !(cpu->rflags >> 18 & 1))
		return false;
	return !write || writable || !protect || fetch;
}

static struct verdict fault(const struct gwalk_cpu *cpu, unsigned access, uint32_t cause)
{
	bool smep = cpu->cr4 >> 20 & 1, nxe = (cpu->efer >> 11 & 1) && (cpu->cr4 >> 5 & 1);

	if (access & GWALK_FETCH && !smep && !nxe)
		access -= GWALK_FETCH;
	return (struct verdict){ .result = GWALK_FAULT, .error_code = cause | access };
}

static uint64_t page_of(enum kind kind, uint64_t entry, unsigned page_bits)
{
	if (kind == KIND_32 && page_bits == 22)
		return (entry >> 22 << 22) + ((entry >> 13 & 255) << 32);
	return (entry << 12 >> 12) >> page_bits << page_bits;
}

/* From the level of the table downwards. */
static struct verdict walk_tables(const struct gwalk_cpu *cpu, uint64_t linear, unsigned access,
                                  enum kind kind, unsigned level, uint64_t table)
{
	unsigned size = kind == KIND_32 ? 4 : 8, index_bits = kind == KIND_32 ? 10 : 9;
	bool user = true, writable = true, no_execute = false, large = false;
	struct verdict v = { .result = GWALK_OK };

	for (;; level--) {
		uint64_t entry;

		v.page_bits = 12 + (level - 1) * index_bits;
		v.cells[v.used] = table + (linear >> v.page_bits) % (1u << index_bits) * size;
		entry = load(v.cells[v.used], size);
		if (is_hole(v.cells[v.used++]))
			return (struct verdict){ .result = GWALK_NO_TABLE };
		if (!(entry & 1))
			return fault(cpu, access, 0);
		if (level > 1 && (entry & 0x80))
			large = kind == KIND_32 ? cpu->cr4 >> 4 & 1
			                        : level == 2 || (level == 3 && cpu->gigabyte_pages);
		for (unsigned bit = 0; bit < 64; bit++)
			if (entry >> bit & 1 && is_reserved(cpu, kind, level, large, bit))
				return fault(cpu, access, 9);
		writable = writable && (entry & 2);
		user = user && (entry & 4);
		no_execute = no_execute || entry >> 63;
		if (level == 1 || large) {
			v.gpa = page_of(kind, entry, v.page_bits) + linear % (UINT64_C(1) << v.page_bits);
			return allowed(cpu, access, user, writable, no_execute) ? v : fault(cpu, access, 1);
		}
		table = page_of(kind, entry, 12);
	}
}

static struct verdict expect(const struct gwalk_cpu *cpu, uint64_t linear, unsigned access)
{
	enum kind kind = kind_of(cpu);

	if (kind == KIND_NONE)
		return (struct verdict){ .gpa = (uint32_t)linear };
	if (kind == KIND_32)
		return walk_tables(cpu, (uint32_t)linear, access, kind, 2,
		                   (cpu->cr3 & 0xffffffff) >> 12 << 12);
	if (kind == KIND_LONG) {
		if ((uint64_t)((int64_t)(linear << 16) >> 16) != linear)
			return (struct verdict){ .result = GWALK_NON_CANONICAL };
		return walk_tables(cpu, linear, access, kind, 4, page_of(kind, cpu->cr3, 12));
	}
	if (!(cpu->pdpte[(uint32_t)linear >> 30] & 1))
		return fault(cpu, access, 0);
	return walk_tables(cpu, (uint32_t)linear, access, kind, 2,
	                   page_of(kind, cpu->pdpte[(uint32_t)linear >> 30], 12));
}

static uint64_t random_state = SEED;

static uint64_t random_next(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 0x2545f4914f6cdd1dull;
}

static uint64_t one_in(unsigned n, uint64_t bits)
{
	return random_next() % n == 0 ? bits : 0;
}

/* Entries that mostly let a walk go on, with every bit wrong now and then. */
static uint64_t random_entry(void)
{
	uint64_t entry = (random_next() & 0xfffff000) | (random_next() & 0xe60) | 7;

	entry ^= one_in(12, 1) | one_in(4, 2) | one_in(4, 4) | one_in(4, 0x80);
	entry |= one_in(16, UINT64_C(1) << 63) | one_in(8, UINT64_C(1) << random_next() % 64);
	if (random_next() & 1) /* large pages need these zero */
		entry &= ~UINT64_C(0x3fffe000);
	return entry;
}

static void random_cpu(struct gwalk_cpu *cpu)
{
	static const uint8_t widths[] = { 32, 36, 39, 40, 46, 52 };

	*cpu = (struct gwalk_cpu){
		.cr0 = 1 | (one_in(16, 1) ? 0 : 1u << 31) | (random_next() & 1) << 16,
		.cr3 = (random_next() & 0xffffffff) | one_in(4, UINT64_C(0xf) << 32),
		.cr4 = random_next() & (1u << 4 | 1u << 20 | 1u << 21),
		.efer = random_next() & 1u << 11,
		.rflags = random_next() & 1u << 18,
		.physical_bits = widths[random_next() % 6],
		.gigabyte_pages = random_next() & 1,
	};
	if (random_next() % 3)
		cpu->cr4 |= 1u << 5;
	if ((cpu->cr4 & 1u << 5) && (cpu->cr0 >> 31) && (random_next() % 3))
		cpu->efer |= 1u << 10;
	for (unsigned i = 0; i < 4; i++)
		cpu->pdpte[i] = (random_next() & 0xfffff000) | !one_in(8, 1);
}

/* What the tables have to look like afterwards. False: one entry serves twice, and the outcome is a retry. */
static bool apply_flags(const struct verdict *v, unsigned access, uint8_t *image)
{
	for (unsigned i = 0; i < v->used; i++) {
		for (unsigned j = 0; j < i; j++)
			if (v->cells[i] % MEMORY_SIZE == v->cells[j] % MEMORY_SIZE)
				return false;
		image[v->cells[i] % MEMORY_SIZE] |= 0x20;
	}
	if (v->used && (access & GWALK_WRITE))
		image[v->cells[v->used - 1] % MEMORY_SIZE] |= 0x40;
	return true;
}

/* Every kind of outcome by paging mode, so that a generator gone astray is seen. */
static struct {
	unsigned long result[5], pages[32], causes[16];
} seen[KINDS];

static void count(enum kind kind, const struct verdict *v)
{
	seen[kind].result[v->result]++;
	if (v->result == GWALK_OK)
		seen[kind].pages[v->page_bits]++;
	if (v->result == GWALK_FAULT)
		seen[kind].causes[v->error_code & 9]++;
}

static void one_walk(void)
{
	static uint8_t image[MEMORY_SIZE];
	uint64_t linear = random_next() & 1 ? random_next() : (uint64_t)((int64_t)random_next() >> 16);
	unsigned access = random_next() & (GWALK_WRITE | USER | GWALK_FETCH);
	struct gwalk_cpu cpu;
	struct verdict v;
	uint64_t gpa = 0;
	uint32_t error_code = 0;

	if ((access & GWALK_WRITE) && (access & GWALK_FETCH)) /* no access is both */
		access -= GWALK_FETCH;
	random_cpu(&cpu);
	cpu.user = access & USER;
	v = expect(&cpu, linear, access);
	memcpy(image, memory, MEMORY_SIZE);
	if (v.result == GWALK_OK && !apply_flags(&v, access, image))
		return;
	count(kind_of(&cpu), &v);
	assert_int_equal(walk(&cpu, linear, access & ~USER, &gpa, &error_code), v.result);
	if (v.result == GWALK_OK)
		assert_int_equal(gpa, v.gpa);
	if (v.result == GWALK_FAULT)
		assert_int_equal(error_code, v.error_code);
	if (memcmp(memory, image, MEMORY_SIZE))
		fail_msg("accessed and dirty flags differ, linear %#llx", (unsigned long long)linear);
}

static void fill_tables(void)
{
	for (unsigned i = 0; i < MEMORY_SIZE; i += 8) {
		uint64_t entry = random_entry();

		/* As two 32-bit entries the high half must not be nearly always absent. */
		if (i / 4096 % 2)
			entry = (entry & 0xffffffff) | random_entry() << 32;
		memcpy(memory + i, &entry, 8);
	}
}

static void same_as_the_oracle(void **state)
{
	const char *wanted = getenv("BELLHOP_RANDOM");
	unsigned long long walks = wanted ? strtoull(wanted, NULL, 0) : 400000;

	(void)state;
	print_message("%llu random walks from seed %#llx\n", walks, (unsigned long long)SEED);
	for (unsigned long long i = 0; i < walks; i++) {
		if (i % 200 == 0)
			fill_tables();
		one_walk();
	}
	for (unsigned kind = KIND_32; kind < KINDS; kind++) {
		assert_true(seen[kind].result[GWALK_OK] > walks / 1000);
		assert_true(seen[kind].result[GWALK_NO_TABLE] > walks / 1000);
		for (unsigned cause = 0; cause <= 9; cause += cause ? 8 : 1)
			assert_true(seen[kind].causes[cause] > walks / 1000);
	}
	assert_true(seen[KIND_NONE].result[GWALK_OK] > walks / 100);
	assert_true(seen[KIND_LONG].result[GWALK_NON_CANONICAL] > walks / 100);
	assert_true(seen[KIND_32].pages[12] > 50 && seen[KIND_32].pages[22] > 50);
	assert_true(seen[KIND_PAE].pages[12] > 50 && seen[KIND_PAE].pages[21] > 50);
	assert_true(seen[KIND_LONG].pages[12] > 50 && seen[KIND_LONG].pages[21] > 50);
	assert_true(seen[KIND_LONG].pages[30] > 50);
}

/* The page of the local APIC, as a 64-bit kernel maps it. */
static void a_changed_entry_is_a_retry(void **state)
{
	struct gwalk_cpu cpu = {
		.cr0 = 1u << 31, .cr3 = 0x1000, .cr4 = 1u << 5, .efer = 1u << 10, .physical_bits = 40
	};
	uint64_t gpa;
	uint32_t error_code;

	(void)state;
	memset(memory, 0, sizeof(memory));
	set_entry(0x1ff8, 0x2003);
	set_entry(0x2ff8, 0x3003);
	set_entry(0x37f8, 0xfee00083);
	race_from = 0x37f8;
	race_to = 0x1ff8;
	assert_int_equal(walk(&cpu, 0xffffffffdfe00300, GWALK_WRITE, &gpa, &error_code), GWALK_RETRY);
	assert_int_equal(load(0x1ff8, 8), 0x2003 | IGNORED_BIT);
	race_from = 0;
	assert_int_equal(walk(&cpu, 0xffffffffdfe00300, GWALK_WRITE, &gpa, &error_code), GWALK_OK);
	assert_int_equal(gpa, 0xfee00300);
	assert_int_equal(load(0x1ff8, 8), 0x2023 | IGNORED_BIT);
	assert_int_equal(load(0x37f8, 8), 0xfee000e3);
	/* Nothing is left to mark: no update, so that one that would fail does not matter. */
	race_from = 0x37f8;
	assert_int_equal(walk(&cpu, 0xffffffffdfe00300, GWALK_WRITE, &gpa, &error_code), GWALK_OK);
	race_from = 0;
}

/* An entry that maps its own table serves on two levels: the first walk marks it, the second finds it so. */
static void a_recursive_entry_ends(void **state)
{
	struct gwalk_cpu cpu = { .cr0 = 1u << 31, .cr3 = 0x1000, .physical_bits = 36 };
	uint32_t self = 0x1003, error_code;
	uint64_t gpa;

	(void)state;
	memset(memory, 0, sizeof(memory));
	memcpy(memory + 0x1ffc, &self, 4);
	assert_int_equal(walk(&cpu, 0xfffff123, GWALK_WRITE, &gpa, &error_code), GWALK_RETRY);
	assert_int_equal(walk(&cpu, 0xfffff123, GWALK_WRITE, &gpa, &error_code), GWALK_OK);
	assert_int_equal(gpa, 0x1123);
	assert_int_equal(load(0x1ffc, 4), 0x1063);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_as_the_oracle),
		cmocka_unit_test(a_changed_entry_is_a_retry),
		cmocka_unit_test(a_recursive_entry_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
