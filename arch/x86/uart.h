/* SPDX-License-Identifier: MIT */
/* The machine's COM1. console_put() and console_get() are in arch.h. */
#ifndef ARCH_X86_UART_H
#define ARCH_X86_UART_H

/* 115,200 baud, 8n1, polled. The boot CPU, before the first line of the log. No UART: the console is then
 * silent. */
void uart_init(void);

/* Waits until the last byte has left, within a bound. Whoever ends the machine. */
void uart_drain(void);

#endif
