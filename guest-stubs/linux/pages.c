/* SPDX-License-Identifier: MIT */
/* The pages that Linux and Bellhop share, and the loop over them: docs/abi.md, "Consume". */
#include <linux/bitops.h>
#include <linux/gfp.h>
#include <linux/slab.h>
#include <asm/io.h>

#include "guest-stubs/linux/doorbell.h"

static struct bh_bits **pending;
static struct bh_control **control;
static struct bh_bits *mask;

static void free_pages_of(unsigned int vcpus)
{
	while (vcpus--) {
		free_page((unsigned long)pending[vcpus]);
		free_page((unsigned long)control[vcpus]);
	}
	free_page((unsigned long)mask);
	kfree(pending);
	kfree(control);
}

static int get_pages(void)
{
	unsigned int vcpu;

	mask = (struct bh_bits *)get_zeroed_page(GFP_KERNEL);
	pending = kcalloc(doorbell_vcpus, sizeof(*pending), GFP_KERNEL);
	control = kcalloc(doorbell_vcpus, sizeof(*control), GFP_KERNEL);
	if (!mask || !pending || !control) {
		free_pages_of(0);
		return -ENOMEM;
	}
	for (vcpu = 0; vcpu < doorbell_vcpus; vcpu++) {
		pending[vcpu] = (struct bh_bits *)get_zeroed_page(GFP_KERNEL);
		control[vcpu] = (struct bh_control *)get_zeroed_page(GFP_KERNEL);
		if (!pending[vcpu] || !control[vcpu]) {
			free_pages_of(vcpu + 1);
			return -ENOMEM;
		}
	}
	return 0;
}

/* Frees the pages that Bellhop has given back; those that it has not it may write to at any time. */
static void give_back(unsigned int registered)
{
	bool all = true;

	while (registered--)
		all &= doorbell_call(BH_VCPU_PAGES, registered, 0, 0) >= 0;
	all &= doorbell_call(BH_MASK_PAGE, 0, 0, 0) >= 0;
	if (all)
		free_pages_of(doorbell_vcpus);
	else
		pr_warn("Bellhop keeps the pages\n");
}

int doorbell_pages_register(void)
{
	int error = get_pages();
	unsigned int vcpu;

	if (error)
		return error;
	error = doorbell_error(doorbell_call(BH_MASK_PAGE, virt_to_phys(mask), 0, 0));
	for (vcpu = 0; !error && vcpu < doorbell_vcpus; vcpu++)
		error = doorbell_error(doorbell_call(BH_VCPU_PAGES, vcpu, virt_to_phys(pending[vcpu]),
		                                     virt_to_phys(control[vcpu])));
	if (error) {
		pr_err("Bellhop does not take our pages (%d)\n", error);
		give_back(vcpu ? vcpu - 1 : 0);
	}
	return error;
}

void doorbell_pages_release(void)
{
	give_back(doorbell_vcpus);
}

/* Only what our own clear has found set is ours: another CPU may be at the same word. */
static unsigned int consume_word(unsigned int vcpu, struct doorbell_group *group, unsigned int word)
{
	unsigned long *shared = (unsigned long *)&pending[vcpu]->word[group->number][word];
	unsigned long set = READ_ONCE(*shared) & ~(unsigned long)READ_ONCE(mask->word[group->number][word]);
	unsigned int count = 0, bit;

	for_each_set_bit(bit, &set, BITS_PER_LONG) {
		if (!test_and_clear_bit(bit, shared))
			continue;
		doorbell_ports_found(group, word * BITS_PER_LONG + bit);
		count++;
	}
	return count;
}

unsigned int doorbell_pages_pending(u32 port)
{
	unsigned int vcpu, count = 0;

	for (vcpu = 0; vcpu < doorbell_vcpus; vcpu++)
		count += test_bit(port, (unsigned long *)pending[vcpu]->word);
	return count;
}

unsigned int doorbell_pages_consume(unsigned int vcpu, struct doorbell_group *group)
{
	u64 *summary = &control[vcpu]->summary[group->number];
	unsigned int count = 0, word;
	unsigned long words;

	if (!READ_ONCE(*summary))
		return 0;
	/* Cleared before the words are read: a ring after the exchange sets it anew and raises its upcall. */
	words = xchg(summary, 0);
	for_each_set_bit(word, &words, BH_GROUP_WORDS)
		count += consume_word(vcpu, group, word);
	return count;
}
