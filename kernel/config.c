/* SPDX-License-Identifier: MIT */
/* Parsers of the operator's lines. Whatever is not understood is refused with the word that was not. */
#include "kernel/config.h"

#include "arch/x86/arch.h"
#include "kernel/log.h"
#include "kernel/string.h"

struct word {
	const char *at;
	size_t length;
};

/* The value of one `name=value` word, and what it goes into. */
struct option {
	struct config *config;
	struct config_vm *vm;
	struct config_module *module;
	struct word value;
	unsigned choice; /* index of the value in the key's choices */
};

struct key {
	const char *name;
	const char *rule;           /* what a value must be; NULL: the key takes none */
	const char *const *choices; /* the words that are allowed, NULL-terminated */
	bool (*parse)(struct option *o);
};

struct line {
	const char *kind; /* for messages, with `name` */
	const char *name; /* of the VM, as far as it is known; or "" */
	const struct key *keys;
	unsigned key_count;
	uint32_t seen; /* bit mask of keys */
	char *error;
};

static bool word_is(struct word w, const char *text)
{
	return w.length == strlen(text) && strncmp(w.at, text, w.length) == 0;
}

/* A word as text for a message: cut to fit, without control characters. */
struct shown {
	char text[32];
};

static struct shown show(struct word w)
{
	struct shown s = { 0 };

	for (size_t i = 0; i < w.length && i < sizeof(s.text) - 1; i++)
		s.text[i] = w.at[i] < ' ' || w.at[i] > '~' ? '?' : w.at[i];
	return s;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The next word of the line; false at its end. */
static bool next_word(const char **line, struct word *w)
{
	while (blank(**line))
		++*line;
	w->at = *line;
	while (**line && !blank(**line))
		++*line;
	w->length = (size_t)(*line - w->at);
	return w->length;
}

/* The next piece of a comma-separated list; an empty piece is a piece. */
static bool next_item(struct word *list, struct word *item)
{
	size_t length = 0;

	if (!list->at)
		return false;
	while (length < list->length && list->at[length] != ',')
		length++;
	*item = (struct word){ list->at, length };
	list->at = length < list->length ? list->at + length + 1 : NULL;
	list->length -= length < list->length ? length + 1 : length;
	return true;
}

/* A decimal number of at most `most`; false for anything else. */
static bool number(struct word w, uint64_t most, uint64_t *value)
{
	*value = 0;
	for (size_t i = 0; i < w.length; i++) {
		if (w.at[i] < '0' || w.at[i] > '9')
			return false;
		*value = *value * 10 + (uint64_t)(w.at[i] - '0');
		if (*value > most)
			return false;
	}
	return w.length;
}

static bool copy_name(struct word w, char name[CONFIG_NAME_SIZE])
{
	if (w.length == 0 || w.length >= CONFIG_NAME_SIZE)
		return false;
	for (size_t i = 0; i < w.length; i++) {
		char c = w.at[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '-' || c == '_' || c == '.'))
			return false;
	}
	memcpy(name, w.at, w.length);
	name[w.length] = '\0';
	return true;
}

static bool parse_name(struct option *o)
{
	return copy_name(o->value, o->vm->name);
}

static bool parse_vcpus(struct option *o)
{
	uint64_t n;

	if (!number(o->value, VIC_MAX_VCPUS, &n) || n == 0)
		return false;
	o->vm->vcpus = (unsigned)n;
	return true;
}

static bool parse_memory(struct option *o)
{
	static const char units[] = "KMG";
	struct word digits = o->value;
	unsigned unit = 0, shift;
	uint64_t n;

	digits.length--;
	while (units[unit] && units[unit] != digits.at[digits.length])
		unit++;
	shift = 10 * (unit + 1);
	if (!units[unit] || !number(digits, (1ull << 40) >> shift, &n) || n << shift < (1u << 20) ||
	    (n << shift) % PAGE_SIZE)
		return false;
	o->vm->memory = n << shift;
	return true;
}

static bool parse_route(struct option *o)
{
	o->vm->route = (enum bh_route)o->choice;
	return true;
}

static bool parse_range(struct option *o, struct word item)
{
	struct word first = item, last = item;
	uint64_t from, to;

	for (first.length = 0; first.length < item.length && item.at[first.length] != '-';)
		first.length++;
	if (first.length < item.length)
		last = (struct word){ item.at + first.length + 1, item.length - first.length - 1 };
	if (!number(first, MAX_CPUS - 1, &from) || !number(last, MAX_CPUS - 1, &to) || from > to)
		return false;
	for (; from <= to; from++) {
		if (o->vm->cpu_count == VIC_MAX_VCPUS)
			return false;
		o->vm->cpu[o->vm->cpu_count++] = (uint8_t)from;
	}
	return true;
}

static bool parse_cpus(struct option *o)
{
	struct word item;

	while (next_item(&o->value, &item))
		if (!parse_range(o, item))
			return false;
	return true;
}

static bool parse_peers(struct option *o)
{
	struct config_vm *vm = o->vm;
	struct word item;

	while (next_item(&o->value, &item)) {
		if (vm->peer_count == CONFIG_MAX_VMS || !copy_name(item, vm->peer[vm->peer_count]))
			return false;
		for (unsigned i = 0; i < vm->peer_count; i++)
			if (strcmp(vm->peer[i], vm->peer[vm->peer_count]) == 0)
				return false;
		vm->peer_count++;
	}
	return true;
}

static bool parse_testdev(struct option *o)
{
	o->vm->testdev = true;
	return true;
}

static bool parse_irq0(struct option *o)
{
	o->vm->irq0_vcpu0 = true;
	return true;
}

static bool parse_ioapic(struct option *o)
{
	o->vm->ioapic_version = o->choice ? 0x20 : 0x11;
	return true;
}

static bool parse_x2apic(struct option *o)
{
	o->vm->x2apic = o->choice;
	return true;
}

static bool parse_module_vm(struct option *o)
{
	return copy_name(o->value, o->module->vm);
}

static bool parse_end(struct option *o)
{
	o->config->end = (int)o->choice;
	return true;
}

#define NAME_RULE "1 to 15 letters, digits and - _ ."

/* In the order of the enumerations and numbers that they stand for. */
static const char *const routes[] = { "ioapic", "vcpu0", "native", NULL };
static const char *const irq0s[] = { "vcpu0", NULL };
static const char *const ioapics[] = { "0x11", "0x20", NULL };
static const char *const switches[] = { "off", "on", NULL };
static const char *const ends[] = { "halt", "bochs", "qemu", "reset", NULL };

_Static_assert(BH_ROUTE_VCPU0 == 1 && BH_ROUTE_NATIVE == 2 && BH_ROUTES == 3, "routes[]");
_Static_assert(MACHINE_END_BOCHS == 1 && MACHINE_END_QEMU == 2 && MACHINE_END_RESET == 3, "ends[]");
_Static_assert(VIC_MAX_VCPUS == 16 && MAX_CPUS == 64 && CONFIG_MAX_VMS == 8 && CONFIG_NAME_SIZE == 16,
               "the rules below");

static const struct key vm_keys[] = {
	{ "name", NAME_RULE, NULL, parse_name },
	{ "vcpus", "a number from 1 to 16", NULL, parse_vcpus },
	{ "mem", "1M to 1024G in K, M or G and in whole pages of 4K", NULL, parse_memory },
	{ "route", "ioapic, vcpu0 or native", routes, parse_route },
	{ "cpus", "at most 16 numbers from 0 to 63, as in 0,2-3", NULL, parse_cpus },
	{ "peers", "at most 8 different names with commas between", NULL, parse_peers },
	{ "irq0", "vcpu0", irq0s, parse_irq0 },
	{ "ioapic", "0x11 or 0x20", ioapics, parse_ioapic },
	{ "x2apic", "on or off", switches, parse_x2apic },
	{ "testdev", NULL, NULL, parse_testdev },
};
static const struct key module_keys[] = { { "vm", NAME_RULE, NULL, parse_module_vm } };
static const struct key option_keys[] = { { "end", "halt, bochs, qemu or reset", ends, parse_end } };

#define KEYS(table) .keys = (table), .key_count = sizeof(table) / sizeof((table)[0])

/* The key that shares the longest beginning with an unknown one, at least two characters; NULL: none does. */
static const char *similar(const struct line *l, struct word name)
{
	const char *best = NULL;
	size_t most = 1;

	for (unsigned i = 0; i < l->key_count; i++) {
		const char *key = l->keys[i].name;
		size_t same = 0;

		while (same < name.length && key[same] == name.at[same] && key[same])
			same++;
		if (same > most) {
			most = same;
			best = key;
		}
	}
	return best;
}

static bool wrong(const struct line *l, const char *what, struct word w, const char *why, const char *rule)
{
	format_text(l->error, CONFIG_ERROR_SIZE, "%s\"%s\" (%s%s%s)%s%s", what, show(w).text, l->kind,
	            l->name[0] ? " of " : "", l->name, why, rule);
	return false;
}

static bool unknown(const struct line *l, struct word name)
{
	struct shown hint = { "" };
	const char *key = similar(l, name);

	if (key)
		format_text(hint.text, sizeof(hint.text), ": did you mean %s?", key);
	return wrong(l, "unknown key ", name, hint.text, "");
}

static bool parse_value(struct option *o, const struct key *key)
{
	if (!key->choices)
		return key->parse(o);
	for (o->choice = 0; key->choices[o->choice]; o->choice++)
		if (word_is(o->value, key->choices[o->choice]))
			return key->parse(o);
	return false;
}

static bool parse_word(struct line *l, struct option *o, struct word w)
{
	struct word name = w;
	const struct key *key;
	unsigned i = 0;

	for (name.length = 0; name.length < w.length && w.at[name.length] != '=';)
		name.length++;
	while (i < l->key_count && !word_is(name, l->keys[i].name))
		i++;
	if (i == l->key_count)
		return unknown(l, name);
	key = &l->keys[i];
	if (l->seen & 1u << i)
		return wrong(l, "", name, " is there twice", "");
	l->seen |= 1u << i;
	if (!key->rule && name.length < w.length)
		return wrong(l, "", w, " takes no value", "");
	if (key->rule && name.length + 1 >= w.length)
		return wrong(l, "", w, " needs a value: ", key->rule);
	if (key->rule)
		o->value = (struct word){ w.at + name.length + 1, w.length - name.length - 1 };
	return parse_value(o, key) || wrong(l, "", w, " must be ", key->rule);
}

/* All words up to the end or "--"; *rest is what follows that and one blank, verbatim, or "". */
static bool parse_words(struct line *l, struct option *o, const char *at, const char **rest)
{
	struct word w;

	*rest = "";
	while (next_word(&at, &w)) {
		if (word_is(w, "--")) {
			*rest = blank(*at) ? at + 1 : at;
			return true;
		}
		if (!parse_word(l, o, w))
			return false;
	}
	return true;
}

static const struct config_vm *find_vm(const struct config *config, const char *name)
{
	for (unsigned i = 0; i < config->vm_count; i++)
		if (strcmp(config->vm[i].name, name) == 0)
			return &config->vm[i];
	return NULL;
}

static bool say(char *error, const char *sentence, const char *name)
{
	format_text(error, CONFIG_ERROR_SIZE, sentence, name);
	return false;
}

static bool add_vm(struct config *config, const char *words, struct config_vm *vm, char *error)
{
	struct line l = { .kind = "vm line", .name = vm->name, KEYS(vm_keys), .error = error };
	struct option o = { .vm = vm };

	if (!parse_words(&l, &o, words, &vm->arguments))
		return false;
	if (vm->name[0] == '\0')
		return say(error, "a vm line has no %s", "name=");
	if (find_vm(config, vm->name))
		return say(error, "two vm lines have the name \"%s\"", vm->name);
	if (config->vm_count == CONFIG_MAX_VMS)
		return say(error, "more than 8 vm lines: \"%s\" is too much", vm->name);
	config->vm[config->vm_count++] = *vm;
	return true;
}

static bool add_module(struct config *config, const char *words, struct config_module *module, char *error)
{
	struct line l = { .kind = "module line", .name = module->vm, KEYS(module_keys), .error = error };
	struct option o = { .module = module };

	if (!parse_words(&l, &o, words, &module->string))
		return false;
	if (module->vm[0] == '\0')
		return say(error, "a module line has no %s", "vm=");
	if (config->module_count == CONFIG_MAX_MODULES)
		return say(error, "more than 8 module lines: the one of \"%s\" is too much", module->vm);
	config->module[config->module_count++] = *module;
	return true;
}

/* Boot loaders differ in whether they pass the file's own name first. */
static const char *skip_file(const char *line)
{
	const char *after = line;
	struct word file;

	return next_word(&after, &file) && file.at[0] == '/' ? after : line;
}

bool config_options(struct config *config, const char *line, char *error)
{
	struct line l = { .kind = "hypervisor's line", .name = "", KEYS(option_keys), .error = error };
	struct option o = { .config = config };
	struct word w;

	line = skip_file(line);
	while (next_word(&line, &w))
		if (!parse_word(&l, &o, w))
			return false;
	return true;
}

bool config_add_module(struct config *config, const char *line, const void *image, size_t size, char *error)
{
	struct config_vm vm = {
		.vcpus = 1,
		.memory = 64u << 20,
		.route = BH_ROUTE_NATIVE,
		.ioapic_version = 0x20,
		.x2apic = true,
		.image = image,
		.image_size = size,
	};
	struct config_module module = { .image = image, .image_size = size };
	struct word kind;

	line = skip_file(line);
	if (!next_word(&line, &kind))
		return say(error, "a module2 line is empty: write \"%s\" after the file", "vm name=...");
	if (word_is(kind, "vm"))
		return add_vm(config, line, &vm, error);
	if (word_is(kind, "module"))
		return add_module(config, line, &module, error);
	return say(error, "\"%s\" (a module2 line): it must begin with vm or module", show(kind).text);
}

static bool has_peer(const struct config_vm *vm, const char *name)
{
	for (unsigned i = 0; i < vm->peer_count; i++)
		if (strcmp(vm->peer[i], name) == 0)
			return true;
	return false;
}

static bool check_vm(const struct config *config, const struct config_vm *vm, unsigned total, char *error)
{
	for (unsigned i = 0; i < vm->cpu_count; i++) {
		if (vm->cpu[i] < total)
			continue;
		format_text(error, CONFIG_ERROR_SIZE, "cpus= of %s: there is no CPU %u, only 0 to %u",
		            vm->name, vm->cpu[i], total - 1);
		return false;
	}
	for (unsigned i = 0; i < vm->peer_count; i++) {
		const struct config_vm *peer = find_vm(config, vm->peer[i]);
		const char *why = NULL;

		if (!peer)
			why = "there is no such VM";
		else if (peer == vm)
			why = "a VM is no peer of itself";
		else if (!has_peer(peer, vm->name))
			why = "that VM does not name it in return";
		if (!why)
			continue;
		format_text(error, CONFIG_ERROR_SIZE, "peers= of %s, \"%s\": %s", vm->name, vm->peer[i], why);
		return false;
	}
	return true;
}

bool config_check(struct config *config, unsigned total, char *error)
{
	if (config->vm_count == 0)
		return say(error, "no VM is configured: add a line \"%s\"", "module2 /FILE vm name=NAME");
	for (unsigned i = 0; i < config->vm_count; i++)
		if (!check_vm(config, &config->vm[i], total, error))
			return false;
	for (unsigned i = 0; i < config->module_count; i++)
		if (!find_vm(config, config->module[i].vm))
			return say(error, "a module line has vm=%s, and there is no such VM",
			           config->module[i].vm);
	return true;
}
