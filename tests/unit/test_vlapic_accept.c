/* SPDX-License-Identifier: MIT */
/* Acceptance, priority, service and EOI, for every vector; then at random against a LAPIC written naively. */
/* SOURCES: kernel/vic/vlapic.c kernel/vic/vlapic_regs.c kernel/vic/vlapic_timer.c kernel/vic/icr.c */
#include "lapic_fixture.h"

#define ISR 0x10
#define TMR 0x18
#define IRR 0x20

static void every_vector_once(void **state)
{
	struct lapic l;

	(void)state;
	for (unsigned int n = 0; n < 512; n++) {
		struct vlapic *v = lapic_on(&l);
		uint8_t vector = (uint8_t)n;
		bool level = n >= 256;
		struct vlapic_effect e;

		assert_int_equal(vlapic_accept(v, vector, level), vector >= 16);
		assert_int_equal(v->errors, vector >= 16 ? 0 : 0x40);
		assert_int_equal(vlapic_highest_irr(v), vector >= 16 ? vector : -1);
		for (unsigned int other = 0; other < 256; other++) {
			assert_int_equal(has(v, IRR, other), other == vector && vector >= 16);
			assert_int_equal(has(v, TMR, other), other == vector && vector >= 16 && level);
		}
		if (vector < 16)
			continue;
		assert_int_equal(vlapic_pending(v), vector);
		assert_int_equal(vlapic_take(v), vector);
		assert_int_equal(vlapic_highest_irr(v), -1);
		assert_true(has(v, ISR, vector) && !has(v, IRR, vector));
		assert_int_equal(rd(v, 0x0a), vector & 0xf0);
		assert_int_equal(apic_page_ppr(v->page), vector & 0xf0);
		e = wr(v, 0x0b, 0);
		assert_int_equal(e.does, level ? VLAPIC_EOI : 0);
		assert_int_equal(e.vector, level ? vector : 0);
		assert_false(has(v, ISR, vector));
		assert_int_equal(rd(v, 0x0a), 0);
		assert_int_equal(apic_page_ppr(v->page), 0);
	}
}

/* SDM vol. 3, "Task and Processor Priorities", over all TPR and in-service values, and what may interrupt them. */
static void ppr_over_everything(void **state)
{
	struct lapic l;
	struct vlapic *v;

	(void)state;
	for (int isrv = 15; isrv < 256; isrv++) {
		v = lapic_on(&l);
		if (isrv > 15) {
			vlapic_accept(v, (uint8_t)isrv, false);
			vlapic_take(v);
		}
		for (int tpr = 0; tpr < 256; tpr++) {
			int class = isrv > 15 ? isrv / 16 : 0;
			int ppr = tpr / 16 >= class ? tpr : class * 16;

			assert_int_equal(wr(v, 0x08, (uint32_t)tpr).does, 0);
			assert_int_equal(apic_page_ppr(v->page), ppr);
			assert_int_equal(rd(v, 0x0a), ppr);
			assert_int_equal(vlapic_cr8_read(v), tpr / 16);
		}
	}
	for (int vector = 16; vector < 256; vector++) {
		v = lapic_on(&l);
		vlapic_accept(v, (uint8_t)vector, false);
		for (int tpr = 0; tpr < 256; tpr++) {
			/* As the processor does behind the model's back, through the TPR shadow. */
			v->page->slot[0x08].low = (uint32_t)tpr;
			assert_int_equal(vlapic_pending(v), vector / 16 > tpr / 16 ? vector : -1);
			assert_int_equal(apic_page_ppr(v->page), tpr);
			assert_int_equal(vlapic_highest_irr(v), vector);
		}
	}
}

static void cr8_is_tpr(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	wr(v, 0x08, 0x5a);
	assert_int_equal(vlapic_cr8_read(v), 5);
	for (unsigned int n = 0; n < 32; n++) {
		if (n == 16)
			vlapic_base_write(v, BASE_OFF);
		assert_int_equal(vlapic_cr8_read(v), n == 16 ? 0 : n == 0 ? 5 : (n - 1) % 16);
		v->page->slot[0x08].low = n % 16 * 16; /* as the processor does */
	}
}

static void not_accepted_while_disabled(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	vlapic_accept(v, 0x40, false);
	wr(v, 0x0f, 0xff);
	for (unsigned int vector = 0; vector < 256; vector++)
		assert_false(vlapic_accept(v, (uint8_t)vector, false));
	assert_int_equal(v->errors, 0);
	/* What was in IRR before is held, and still goes to the processor. */
	assert_int_equal(vlapic_take(v), 0x40);
	vlapic_base_write(v, BASE_OFF);
	assert_false(vlapic_accept(v, 0x50, false));
	assert_int_equal(vlapic_pending(v), -1);
}

/* Nothing left to take: the vector from SVR, and nothing in service. */
static void spurious(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	wr(v, 0x0f, 0x1e7);
	assert_int_equal(vlapic_take(v), 0xe7);
	vlapic_accept(v, 0x31, false);
	v->page->slot[0x08].low = 0x30;
	assert_int_equal(vlapic_take(v), 0xe7);
	assert_int_equal(v->isr_words, 0);
	assert_int_equal(vlapic_highest_irr(v), 0x31);
}

static void eoi_without_service(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	vlapic_accept(v, 0x31, true);
	assert_int_equal(wr(v, 0x0b, 0).does, 0);
	assert_int_equal(vlapic_pending(v), 0x31);
}

static void suppressed_broadcast(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	wr(v, 0x0f, 0x11ff);
	vlapic_accept(v, 0x31, true);
	vlapic_take(v);
	assert_int_equal(wr(v, 0x0b, 0).does, 0);
}

/* TMR is that of the newest acceptance. */
static void trigger_mode_changes(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	vlapic_accept(v, 0x31, true);
	vlapic_accept(v, 0x31, false);
	assert_false(has(v, TMR, 0x31));
	vlapic_accept(v, 0x31, true);
	assert_true(has(v, TMR, 0x31));
}

static void every_vector_through_the_inbox(void **state)
{
	static struct inbox in;
	struct lapic l;

	(void)state;
	memset(&in, 0, sizeof(in));
	inbox_init(&in, &l.page, 0xf2);
	for (unsigned int n = 0; n < 512; n++) {
		struct vlapic *v = lapic_on(&l);
		uint8_t vector = (uint8_t)n;

		inbox_post(&in, vector, n >= 256, false);
		inbox_signal(&in, INBOX_NMI);
		assert_true(inbox_full(&in));
		assert_int_equal(vlapic_drain(v, &in, false), INBOX_NMI);
		assert_false(inbox_full(&in));
		assert_int_equal(vlapic_highest_irr(v), vector >= 16 ? vector : -1);
		assert_int_equal(has(v, TMR, vector), vector >= 16 && n >= 256);
		assert_int_equal(v->errors, vector >= 16 ? 0 : 0x40);
		assert_int_equal(vlapic_drain(v, &in, false), 0);
	}
}

/* SDM vol. 3, "Handling Multiple NMIs": the one that is handled and the one that is latched. */
static void two_nmis_and_no_more(void **state)
{
	static struct inbox in;
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	memset(&in, 0, sizeof(in));
	inbox_init(&in, &l.page, 0xf2);
	assert_true(inbox_nmi(&in));
	assert_false(inbox_nmi(&in));
	assert_int_equal(vlapic_drain(v, &in, false), INBOX_NMI | INBOX_NMI2);
	assert_true(inbox_nmi(&in));
	assert_int_equal(vlapic_drain(v, &in, false), INBOX_NMI);
	for (unsigned int n = 0; n < 5; n++)
		inbox_nmi(&in);
	assert_int_equal(vlapic_drain(v, &in, false), INBOX_NMI | INBOX_NMI2);
	assert_false(inbox_full(&in));
}

static void the_whole_inbox_at_once(void **state)
{
	static struct inbox in;
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	memset(&in, 0, sizeof(in));
	inbox_init(&in, &l.page, 0xf2);
	for (unsigned int vector = 0; vector < 256; vector++)
		inbox_post(&in, (uint8_t)vector, vector % 3 == 0, false);
	/* Matched by its sender while enabled: it had arrived. */
	wr(v, 0x0f, 0xff);
	vlapic_drain(v, &in, false);
	for (unsigned int vector = 0; vector < 256; vector++) {
		assert_int_equal(has(v, IRR, vector), vector >= 16);
		assert_int_equal(has(v, TMR, vector), vector >= 16 && vector % 3 == 0);
	}
	inbox_post(&in, 0x77, false, false);
	vlapic_base_write(v, BASE_OFF);
	vlapic_drain(v, &in, false);
	assert_int_equal(vlapic_highest_irr(v), -1);
}

/* Who is told, and by which vector: the first post, the first signal; what the processor cannot do by itself kicks. */
static void who_notifies(void **state)
{
	static struct inbox in;
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	memset(&in, 0, sizeof(in));
	inbox_init(&in, &l.page, 0xf2);
	assert_int_equal(inbox_post(&in, 0x41, false, false), 0xf2);
	assert_int_equal(inbox_post(&in, 0x42, false, false), 0);
	inbox_set_notification(&in.pid, 0xf1);
	assert_true(inbox_is_on(&in));
	assert_int_equal(vlapic_drain(v, &in, false), 0);
	assert_int_equal(inbox_post(&in, 0x43, false, true), 0);
	assert_int_equal(vlapic_drain(v, &in, false), 0);
	assert_int_equal(inbox_post(&in, 0x43, false, false), 0xf1);
	assert_true(inbox_is_notified(&in));
	assert_int_equal(vlapic_drain(v, &in, false), 0);
	assert_true(inbox_is_on(&in) && atomic_load(&in.pid.pir[1]));
	assert_int_equal(vlapic_drain(v, &in, true), 0);
	assert_true(!inbox_full(&in) && !inbox_is_notified(&in) && !atomic_load(&in.pid.pir[1]));
	assert_int_equal(inbox_post(&in, 0x43, false, false), 0xf1);
	assert_int_equal(vlapic_drain(v, &in, true), 0);
	/* What the processor took leaves no trace in the next: a signal does not send what one waits for. */
	inbox_post(&in, 0x43, false, false);
	atomic_fetch_and(&in.pid.control, ~INBOX_ON);
	inbox_signal(&in, INBOX_NMI);
	assert_int_equal(vlapic_drain(v, &in, false), INBOX_NMI);
	assert_int_equal(inbox_post(&in, 0x43, false, false), 0xf1);
	assert_true(inbox_set_notification(&in.pid, 0xf2));
	assert_int_equal(vlapic_drain(v, &in, false), 0);
	assert_false(inbox_set_notification(&in.pid, 0xf1));
	assert_int_equal(inbox_post(&in, 0x44, true, false), 0xf2);
	assert_int_equal(inbox_post(&in, 0x45, true, false), 0);
	assert_int_equal(inbox_signal(&in, INBOX_NMI), 0);
	/* The processor takes the vectors and clears ON; the signals stay. */
	atomic_fetch_and(&in.pid.control, ~INBOX_ON);
	assert_true(inbox_full(&in) && !inbox_is_on(&in));
	assert_int_equal(vlapic_drain(v, &in, false), INBOX_NMI);
	assert_false(inbox_full(&in));
	assert_true(has(v, TMR, 0x44) && has(v, IRR, 0x43) && !has(v, TMR, 0x43));
	/* Edge-triggered where TMR says level, and the illegal ones: by hand, not by the descriptor. */
	assert_int_equal(inbox_post(&in, 0x44, false, false), 0xf2);
	assert_int_equal(inbox_post(&in, 0x0f, false, false), 0);
	for (unsigned int i = 0; i < 4; i++)
		assert_true(atomic_load(&in.pid.pir[i]) == 0);
	vlapic_drain(v, &in, false);
	assert_false(has(v, TMR, 0x44));
	/* Both at once: the level, for a missing end of it would be worse than one too many. */
	inbox_post(&in, 0x50, true, false);
	inbox_post(&in, 0x50, false, false);
	vlapic_drain(v, &in, false);
	assert_true(has(v, TMR, 0x50));
}

static void resync_after_the_hardware(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	vlapic_accept(v, 0x41, false);
	for (unsigned int word = 0; word < 8; word++) {
		v->page->slot[IRR + word].low = word == 5 || word == 1 ? 0x10 : 0;
		v->page->slot[ISR + word].low = word == 2 || word == 0 ? 0x80000000 : 0;
	}
	vlapic_resync(v);
	assert_int_equal(vlapic_pending(v), 5 * 32 + 4);
	assert_int_equal(vlapic_ppr(v), 0x50);
	assert_int_equal(vlapic_take(v), 5 * 32 + 4);
	assert_int_equal(vlapic_highest_irr(v), 32 + 4);
}

static void tightened_summaries_are_exact(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	for (unsigned int word = 0; word < 8; word++) {
		v->page->slot[IRR + word].low = word == 7 || word == 1 ? 1u << word : 0;
		v->page->slot[ISR + word].low = word == 3 ? 0x80000000 : 0;
	}
	vlapic_resync(v);
	vlapic_tighten(v);
	assert_int_equal(v->irr_words, 1 << 7 | 1 << 1);
	assert_int_equal(v->isr_words, 1 << 3);
	assert_int_equal(vlapic_highest_irr(v), 7 * 32 + 7);
	v->page->slot[IRR + 7].low = v->page->slot[IRR + 1].low = v->page->slot[ISR + 3].low = 0;
	vlapic_tighten(v);
	assert_int_equal(v->irr_words | v->isr_words, 0);
	assert_int_equal(vlapic_pending(v), -1);
}

/* The processor has ended a vector by itself, and tells of one that is level-triggered. */
static void ended_by_the_hardware(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);
	struct vlapic_effect e;

	(void)state;
	vlapic_accept(v, 0x41, true);
	vlapic_accept(v, 0x42, false);
	assert_true(v->changed);
	e = vlapic_ended(v, 0x41);
	assert_int_equal(e.does, VLAPIC_EOI);
	assert_int_equal(e.vector, 0x41);
	assert_int_equal(vlapic_ended(v, 0x42).does, 0);
	wr(v, 0x0f, 0x11ff);
	assert_int_equal(vlapic_ended(v, 0x41).does, 0);
}

/* --- the naive one ------------------------------------------------------------------------------------------ */

struct naive {
	bool irr[256], isr[256], tmr[256];
	unsigned int tpr;
};

static int naive_top(const bool *set)
{
	for (int vector = 255; vector >= 0; vector--)
		if (set[vector])
			return vector;
	return -1;
}

static int naive_pending(const struct naive *n)
{
	int irrv = naive_top(n->irr), isrv = naive_top(n->isr);
	int class = isrv / 16 > (int)n->tpr / 16 ? isrv / 16 : (int)n->tpr / 16;

	return irrv >= 0 && irrv / 16 > class ? irrv : -1;
}

static uint32_t random_next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void naive_step(struct naive *n, struct vlapic *v, uint32_t r)
{
	uint8_t vector = (uint8_t)(16 + (r >> 4) % 240);
	int top = naive_top(n->isr);
	int pending = naive_pending(n);
	struct vlapic_effect e;

	switch (r % 5) {
	case 0:
	case 1:
		vlapic_accept(v, vector, r >> 12 & 1);
		n->irr[vector] = true;
		n->tmr[vector] = r >> 12 & 1;
		break;
	case 2:
		n->tpr = r >> 13 & 1 ? vector : 0;
		wr(v, 0x08, n->tpr);
		break;
	case 3:
		if (pending < 0)
			break;
		assert_int_equal(vlapic_take(v), pending);
		n->irr[pending] = false;
		n->isr[pending] = true;
		break;
	case 4:
		e = wr(v, 0x0b, 0);
		assert_int_equal(!!(e.does & VLAPIC_EOI), top >= 0 && n->tmr[top]);
		if (top >= 0)
			n->isr[top] = false;
		break;
	}
}

static void random_walk(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);
	struct naive n = { .tpr = 0 };
	uint32_t seed = 1;

	(void)state;
	for (unsigned int step = 0; step < 200000; step++) {
		naive_step(&n, v, random_next(&seed));
		assert_int_equal(vlapic_pending(v), naive_pending(&n));
		assert_int_equal(vlapic_highest_irr(v), naive_top(n.irr));
		if (step % 256)
			continue;
		for (unsigned int vector = 0; vector < 256; vector++) {
			assert_int_equal(has(v, IRR, vector), n.irr[vector]);
			assert_int_equal(has(v, ISR, vector), n.isr[vector]);
			assert_int_equal(rd(v, TMR + vector / 32) >> (vector % 32) & 1, n.tmr[vector]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_vector_once),
		cmocka_unit_test(ppr_over_everything),
		cmocka_unit_test(cr8_is_tpr),
		cmocka_unit_test(not_accepted_while_disabled),
		cmocka_unit_test(spurious),
		cmocka_unit_test(eoi_without_service),
		cmocka_unit_test(suppressed_broadcast),
		cmocka_unit_test(trigger_mode_changes),
		cmocka_unit_test(every_vector_through_the_inbox),
		cmocka_unit_test(two_nmis_and_no_more),
		cmocka_unit_test(the_whole_inbox_at_once),
		cmocka_unit_test(who_notifies),
		cmocka_unit_test(resync_after_the_hardware),
		cmocka_unit_test(tightened_summaries_are_exact),
		cmocka_unit_test(ended_by_the_hardware),
		cmocka_unit_test(random_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
