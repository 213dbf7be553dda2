/* SPDX-License-Identifier: MIT */
/* /dev/doorbell: doorbell_dev.h says what it does. */
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/uaccess.h>
#include <asm/tsc.h>

#include "guest-stubs/linux/doorbell.h"

#define LONGEST_TIMER (1000000000ull * NSEC_PER_SEC) /* with ticks shorter than 1/18 ns: no overflow */

static int device_open(struct inode *inode, struct file *file)
{
	file->private_data = doorbell_ports_new();
	return file->private_data ? stream_open(inode, file) : -ENOMEM;
}

static int device_release(struct inode *inode, struct file *file)
{
	doorbell_ports_close(file->private_data);
	return 0;
}

/* The file's port; NULL: it has none yet. */
static struct doorbell_port *port_of(struct file *file)
{
	struct doorbell_port *port = file->private_data;

	return smp_load_acquire(&port->group) ? port : NULL;
}

static bool is_closed(const struct doorbell_port *port)
{
	return smp_load_acquire(&port->closed);
}

static bool take_unread(struct doorbell_port *port, u64 *count)
{
	*count = atomic64_xchg(&port->unread, 0);
	return *count;
}

static ssize_t device_read(struct file *file, char __user *to, size_t size, loff_t *offset)
{
	struct doorbell_port *port = port_of(file);
	u64 count;
	int error;

	if (!port)
		return -ENOTCONN;
	if (size < sizeof(count))
		return -EINVAL;
	for (;;) {
		/* Closed, then unread: what the closing found is there before it says so. */
		bool closed = is_closed(port);

		if (take_unread(port, &count))
			break;
		if (closed)
			return 0;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		error = wait_event_interruptible(port->wait, is_closed(port) || atomic64_read(&port->unread));
		if (error)
			return error;
	}
	return copy_to_user(to, &count, sizeof(count)) ? -EFAULT : sizeof(count);
}

static ssize_t device_write(struct file *file, const char __user *from, size_t size, loff_t *offset)
{
	struct doorbell_port *port = port_of(file);
	u64 times;
	int error;

	if (!port)
		return -ENOTCONN;
	if (size != sizeof(times))
		return -EINVAL;
	if (copy_from_user(&times, from, sizeof(times)))
		return -EFAULT;
	error = doorbell_ports_ring(port, times);
	return error ?: (ssize_t)sizeof(times);
}

static __poll_t device_poll(struct file *file, poll_table *table)
{
	struct doorbell_port *port = port_of(file);
	__poll_t events = EPOLLOUT | EPOLLWRNORM;

	if (!port)
		return EPOLLERR;
	poll_wait(file, &port->wait, table);
	if (atomic64_read(&port->unread))
		events |= EPOLLIN | EPOLLRDNORM;
	if (READ_ONCE(port->gone))
		events |= EPOLLERR;
	if (is_closed(port))
		events |= EPOLLIN | EPOLLHUP;
	return events;
}

static long on_open(struct doorbell_port *port, void __user *arg)
{
	struct doorbell_open open;
	int error;

	if (copy_from_user(&open, arg, sizeof(open)))
		return -EFAULT;
	error = doorbell_ports_open(port, &open);
	if (error)
		return error;
	return copy_to_user(arg, &open, sizeof(open)) ? -EFAULT : 0;
}

static long on_peer(struct doorbell_port *port, enum bh_call call, void __user *arg)
{
	struct doorbell_peer peer;

	if (copy_from_user(&peer, arg, sizeof(peer)))
		return -EFAULT;
	if (call == BH_OFFER && peer.port)
		return -EINVAL;
	return doorbell_error(doorbell_call(call, port->number, peer.peer, peer.port));
}

static long on_stat(struct doorbell_port *port, void __user *arg)
{
	struct doorbell_stat stat;

	doorbell_ports_stat(port, &stat);
	return copy_to_user(arg, &stat, sizeof(stat)) ? -EFAULT : 0;
}

static long on_vm_stat(void __user *arg)
{
	struct doorbell_vm_stat stat = {
		.exits = doorbell_call(BH_VM_STAT, BH_VM_EXITS, 0, 0),
		.hv_ticks = doorbell_call(BH_VM_STAT, BH_VM_HV_TICKS, 0, 0),
		.misdirected = doorbell_call(BH_VM_STAT, BH_VM_MISDIRECTED, 0, 0),
		.tsc_hz = doorbell_call(BH_VM_STAT, BH_VM_TSC_HZ, 0, 0),
		.route = doorbell_route,
		.cpus = doorbell_vcpus,
	};

	doorbell_lines_count(&stat.interrupts, &stat.empty);
	doorbell_ports_closed(&stat.closed_consumed, &stat.closed_pending);
	return copy_to_user(arg, &stat, sizeof(stat)) ? -EFAULT : 0;
}

static long on_timer(struct doorbell_port *port, void __user *arg)
{
	u64 ns, deadline = 0;
	long result;

	if (copy_from_user(&ns, arg, sizeof(ns)))
		return -EFAULT;
	if (ns > LONGEST_TIMER)
		return -EINVAL;
	/* The deadline is in the TSC of the VCPU that calls. */
	preempt_disable();
	if (ns)
		deadline = rdtsc_ordered() +
		           mul_u64_u64_div_u64(ns, doorbell_call(BH_VM_STAT, BH_VM_TSC_HZ, 0, 0),
		                               NSEC_PER_SEC);
	result = doorbell_call(BH_TIMER, port->number, deadline, 0);
	preempt_enable();
	return doorbell_error(result);
}

static long on_bind(struct doorbell_port *port, void __user *arg)
{
	u32 cpu;

	if (copy_from_user(&cpu, arg, sizeof(cpu)))
		return -EFAULT;
	return doorbell_ports_bind(port, cpu);
}

/* What only an open port can do; under its mutex. */
static long on_port(struct doorbell_port *port, unsigned int command, void __user *arg)
{
	switch (command) {
	case DOORBELL_OFFER:
		return on_peer(port, BH_OFFER, arg);
	case DOORBELL_CONNECT:
		return on_peer(port, BH_CONNECT, arg);
	case DOORBELL_TIMER:
		return on_timer(port, arg);
	case DOORBELL_BIND:
		return on_bind(port, arg);
	default:
		return -ENOTTY;
	}
}

static long device_ioctl(struct file *file, unsigned int command, unsigned long value)
{
	struct doorbell_port *port = port_of(file);
	void __user *arg = (void __user *)value;
	long result;

	if (command == DOORBELL_OPEN)
		return on_open(file->private_data, arg);
	if (command == DOORBELL_VM_STAT)
		return on_vm_stat(arg);
	if (!port)
		return -ENOTCONN;
	if (command == DOORBELL_STAT)
		return on_stat(port, arg);
	if (command == DOORBELL_CLOSE)
		return doorbell_ports_shut(port);
	mutex_lock(&port->using);
	result = is_closed(port) ? -ENOTCONN : on_port(port, command, arg);
	mutex_unlock(&port->using);
	return result;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = device_open,
	.release = device_release,
	.read = device_read,
	.write = device_write,
	.poll = device_poll,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = no_llseek,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "doorbell",
	.fops = &operations,
	.mode = 0600,
};

int doorbell_device_register(void)
{
	return misc_register(&device);
}

void doorbell_device_unregister(void)
{
	misc_deregister(&device);
}
