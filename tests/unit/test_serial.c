#include "device_test.h"
#include "devices/serial.h"

#include <linux/serial_reg.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

/* A back end with room for so many bytes; it keeps what it took. guarded by: lock */
static struct {
    pthread_mutex_t lock;
    size_t room;
    size_t taken;
    uint8_t bytes[1 << 17];
    bool short_write;
    unsigned input_rooms;
} end;

static struct test_irq irq;
static struct serial *serial;
static struct bus *bus;

static size_t end_write(void *ctx, const uint8_t *bytes, size_t len)
{
    ck_assert_ptr_eq(ctx, &end);
    pthread_mutex_lock(&end.lock);
    size_t count = len < end.room ? len : end.room;
    memcpy(&end.bytes[end.taken], bytes, count);
    end.taken += count;
    end.room -= count;
    /* It need not be asked before it has said that there is room. */
    ck_assert(!end.short_write);
    end.short_write = count < len;
    pthread_mutex_unlock(&end.lock);
    return count;
}

static void end_input_room(void *ctx)
{
    ck_assert_ptr_eq(ctx, &end);
    pthread_mutex_lock(&end.lock);
    end.input_rooms++;
    pthread_mutex_unlock(&end.lock);
}

/* Makes room and says so if it has run out before. */
static void end_set_room(size_t room)
{
    pthread_mutex_lock(&end.lock);
    end.room = room;
    bool tell = end.short_write && room > 0;
    if (tell)
        end.short_write = false;
    pthread_mutex_unlock(&end.lock);
    if (tell)
        serial_backend_writable(serial);
}

static void setup(void)
{
    const struct serial_backend backend = {.write = end_write, .input_room = end_input_room, .ctx = &end};
    const struct irq_line line = test_irq_line(&irq);

    memset(&end, 0, sizeof(end));
    pthread_mutex_init(&end.lock, NULL);
    end.room = sizeof(end.bytes);
    irq = (struct test_irq){0};
    serial = serial_create(&backend, &line);
    ck_assert_ptr_nonnull(serial);
    bus = test_bus_with(serial_device(serial), SERIAL_PORT_COUNT);
}

static void teardown(void)
{
    bus_destroy(bus);
    serial_destroy(serial);
    pthread_mutex_destroy(&end.lock);
}

static uint8_t in(unsigned reg)
{
    return (uint8_t)bus_read(bus, TEST_DEVICE_BASE + reg, 1);
}

static void out(unsigned reg, uint8_t value)
{
    bus_write(bus, TEST_DEVICE_BASE + reg, 1, value);
}

/* As a driver does when a program opens the port. */
static void open_port(uint8_t fcr, uint8_t ier)
{
    out(UART_FCR, fcr);
    out(UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
    out(UART_IER, ier);
}

static size_t send(const char *text)
{
    return serial_receive(serial, (const uint8_t *)text, strlen(text));
}

static uint8_t interrupt_id(void)
{
    return in(UART_IIR) & (UART_IIR_ID | UART_IIR_NO_INT);
}

START_TEST(registers_are_as_after_power_on)
{
    ck_assert_uint_eq(in(UART_IER), 0);
    ck_assert_uint_eq(in(UART_IIR), UART_IIR_NO_INT);
    ck_assert_uint_eq(in(UART_LCR), 0);
    ck_assert_uint_eq(in(UART_MCR), 0);
    ck_assert_uint_eq(in(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
    ck_assert_uint_eq(in(UART_MSR), UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
    ck_assert_uint_eq(in(UART_SCR), 0);
    ck_assert_uint_eq(in(UART_RX), 0);
}
END_TEST

START_TEST(registers_read_back)
{
    out(UART_SCR, 0xa5);
    out(UART_LCR, 0x1b);
    out(UART_IER, 0xff);
    out(UART_MCR, 0xef);
    out(UART_LSR, 0xff);
    ck_assert_uint_eq(in(UART_SCR), 0xa5);
    ck_assert_uint_eq(in(UART_LCR), 0x1b);
    ck_assert_uint_eq(in(UART_IER), 0x0f);
    ck_assert_uint_eq(in(UART_MCR), 0x0f);
    ck_assert_uint_eq(in(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
}
END_TEST

START_TEST(dlab_turns_two_registers_into_the_divisor)
{
    out(UART_IER, UART_IER_RDI);
    out(UART_LCR, UART_LCR_DLAB);
    ck_assert_uint_eq(in(UART_DLL), 1);
    ck_assert_uint_eq(in(UART_DLM), 0);
    out(UART_DLL, 0x34);
    out(UART_DLM, 0x12);
    ck_assert_uint_eq(in(UART_DLL), 0x34);
    ck_assert_uint_eq(in(UART_DLM), 0x12);
    out(UART_LCR, UART_LCR_WLEN8);
    ck_assert_uint_eq(end.taken, 0);
    ck_assert_uint_eq(in(UART_IER), UART_IER_RDI);
    out(UART_TX, 'x');
    ck_assert_uint_eq(end.taken, 1);
    out(UART_LCR, UART_LCR_DLAB);
    ck_assert_uint_eq(in(UART_DLL), 0x34);
}
END_TEST

/* drivers/tty/serial/8250/8250_port.c of Linux, autoconfig() and autoconfig_16550a(): what it tests, in its order. */
START_TEST(linux_detects_a_16550a)
{
    out(UART_IER, 0);
    ck_assert_uint_eq(in(UART_IER)&0x0f, 0);
    out(UART_IER, 0x0f);
    ck_assert_uint_eq(in(UART_IER)&0x0f, 0x0f);
    out(UART_IER, 0);

    uint8_t mcr = in(UART_MCR);
    out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
    ck_assert_uint_eq(in(UART_MSR)&0xf0, UART_MSR_DCD | UART_MSR_CTS);
    out(UART_MCR, mcr);

    out(UART_LCR, UART_LCR_CONF_MODE_B);
    out(UART_EFR, 0);
    out(UART_LCR, 0);
    out(UART_FCR, UART_FCR_ENABLE_FIFO);
    ck_assert_uint_eq(in(UART_IIR) >> 6, 3);

    /* Not a 16650: no EFR. */
    out(UART_LCR, UART_LCR_CONF_MODE_A);
    ck_assert_uint_ne(in(UART_EFR), 0);
    out(UART_LCR, UART_LCR_CONF_MODE_B);
    ck_assert_uint_ne(in(UART_EFR), 0);
    /* Not a 16750: no 64-byte mode. */
    out(UART_LCR, 0);
    out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
    ck_assert_uint_eq(in(UART_IIR) >> 5, 6);
    out(UART_FCR, UART_FCR_ENABLE_FIFO);
    out(UART_LCR, UART_LCR_CONF_MODE_A);
    out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
    ck_assert_uint_eq(in(UART_IIR) >> 5, 6);
    out(UART_FCR, UART_FCR_ENABLE_FIFO);
    out(UART_LCR, 0);
    /* Not an XScale: no UUE bit. */
    out(UART_IER, UART_IER_UUE);
    ck_assert_uint_eq(in(UART_IER)&UART_IER_UUE, 0);

    /* size_fifo(): in loopback mode, the FIFO holds 16 bytes. */
    out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
    out(UART_MCR, UART_MCR_LOOP);
    for (unsigned i = 0; i < 256; i++)
        out(UART_TX, (uint8_t)i);
    unsigned count = 0;
    while (count < 256 && (in(UART_LSR)&UART_LSR_DR)) {
        ck_assert_uint_eq(in(UART_RX), count);
        count++;
    }
    ck_assert_uint_eq(count, 16);
    ck_assert_uint_eq(end.taken, 0);
}
END_TEST

/* serial8250_do_startup(): the tests for parts whose THRE interrupt does not come, or not again. */
START_TEST(linux_finds_no_fault_in_the_transmit_interrupt)
{
    ck_assert_uint_ne(in(UART_LSR), 0xff);
    out(UART_MCR, UART_MCR_OUT2);
    out(UART_IER, UART_IER_THRI);
    ck_assert_int_eq(irq.level, 1);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_THRI);
    ck_assert_int_eq(irq.level, 0);
    out(UART_IER, 0);
    out(UART_IER, UART_IER_THRI);
    ck_assert_int_eq(irq.level, 1);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_THRI);
    out(UART_IER, 0);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_NO_INT);
    ck_assert_int_eq(irq.level, 0);
}
END_TEST

START_TEST(writing_enable_bit_again_raises_nothing)
{
    out(UART_MCR, UART_MCR_OUT2);
    out(UART_IER, UART_IER_THRI);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_THRI);
    out(UART_IER, UART_IER_THRI | UART_IER_RDI);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_NO_INT);
}
END_TEST

START_TEST(output_reaches_the_back_end_at_once)
{
    out(UART_FCR, UART_FCR_ENABLE_FIFO);
    for (const char *c = "hello"; *c; c++) {
        out(UART_TX, (uint8_t)*c);
        ck_assert_uint_eq(in(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
    }
    ck_assert_uint_eq(end.taken, 5);
    ck_assert_mem_eq(end.bytes, "hello", 5);
}
END_TEST

START_TEST(each_byte_sent_raises_the_transmit_interrupt)
{
    open_port(UART_FCR_ENABLE_FIFO, UART_IER_THRI);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(irq.level, 1);
        ck_assert_uint_eq(interrupt_id(), UART_IIR_THRI);
        ck_assert_int_eq(irq.level, 0);
        out(UART_TX, 'x');
    }
    ck_assert_int_eq(irq.level, 1);
}
END_TEST

START_TEST(full_back_end_fills_the_fifo_and_holds_the_guest)
{
    open_port(UART_FCR_ENABLE_FIFO, UART_IER_THRI);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_THRI);
    end_set_room(2);
    for (unsigned i = 0; i < 18; i++)
        out(UART_TX, (uint8_t)('a' + i));
    ck_assert_uint_eq(in(UART_LSR) & (UART_LSR_THRE | UART_LSR_TEMT), 0);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_NO_INT);
    ck_assert_int_eq(irq.level, 0);
    ck_assert_uint_eq(end.taken, 2);

    end_set_room(15);
    ck_assert_uint_eq(end.taken, 17);
    ck_assert_uint_eq(in(UART_LSR) & (UART_LSR_THRE | UART_LSR_TEMT), 0);
    ck_assert_int_eq(irq.level, 0);

    end_set_room(100);
    ck_assert_uint_eq(end.taken, 18);
    ck_assert_mem_eq(end.bytes, "abcdefghijklmnopqr", 18);
    ck_assert_uint_eq(in(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
    ck_assert_int_eq(irq.level, 1);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_THRI);
}
END_TEST

START_TEST(without_fifos_one_byte_waits)
{
    end_set_room(0);
    out(UART_TX, 'a');
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_THRE, 0);
    /* The guest does not look, and its bytes are lost. */
    out(UART_TX, 'b');
    end_set_room(10);
    ck_assert_uint_eq(end.taken, 1);
    ck_assert_uint_eq(end.bytes[0], 'a');
}
END_TEST

START_TEST(clearing_the_transmit_fifo_drops_what_waits)
{
    open_port(UART_FCR_ENABLE_FIFO, UART_IER_THRI);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_THRI);
    end_set_room(0);
    out(UART_TX, 'a');
    ck_assert_int_eq(irq.level, 0);
    out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_XMIT);
    ck_assert_uint_eq(in(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
    ck_assert_int_eq(irq.level, 1);
    end_set_room(10);
    ck_assert_uint_eq(end.taken, 0);
}
END_TEST

START_TEST(writable_with_nothing_to_send_does_nothing)
{
    serial_backend_writable(serial);
    open_port(UART_FCR_ENABLE_FIFO, UART_IER_THRI);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_THRI);
    serial_backend_writable(serial);
    ck_assert_int_eq(irq.level, 0);
}
END_TEST

START_TEST(input_comes_in_order_and_interrupts)
{
    open_port(UART_FCR_ENABLE_FIFO, UART_IER_RDI);
    ck_assert_int_eq(irq.level, 0);
    ck_assert_uint_eq(send("abc"), 3);
    ck_assert_int_eq(irq.level, 1);
    for (const char *c = "abc"; *c; c++) {
        ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, UART_LSR_DR);
        ck_assert_int_eq(irq.level, 1);
        ck_assert_uint_eq(in(UART_RX), (uint8_t)*c);
    }
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, 0);
    ck_assert_int_eq(irq.level, 0);
    ck_assert_uint_eq(irq.rises, 1);
}
END_TEST

START_TEST(input_below_the_trigger_level_is_a_timeout)
{
    static const struct {
        uint8_t fcr;
        unsigned level;
    } triggers[] = {
        {UART_FCR_TRIGGER_1, 1}, {UART_FCR_TRIGGER_4, 4}, {UART_FCR_TRIGGER_8, 8}, {UART_FCR_TRIGGER_14, 14}};
    const uint8_t fcr = triggers[_i].fcr;

    open_port(UART_FCR_ENABLE_FIFO | fcr, UART_IER_RDI);
    for (unsigned count = 1; count <= 16; count++) {
        ck_assert_uint_eq(send("x"), 1);
        ck_assert_int_eq(irq.level, 1);
        ck_assert_uint_eq(interrupt_id(), count < triggers[_i].level ? UART_IIR_RX_TIMEOUT : UART_IIR_RDI);
    }
    for (unsigned count = 16; count > 0; count--) {
        ck_assert_uint_eq(interrupt_id(), count < triggers[_i].level ? UART_IIR_RX_TIMEOUT : UART_IIR_RDI);
        (void)in(UART_RX);
    }
    ck_assert_uint_eq(interrupt_id(), UART_IIR_NO_INT);
}
END_TEST

START_TEST(without_fifos_input_is_no_timeout)
{
    open_port(UART_FCR_TRIGGER_14, UART_IER_RDI);
    ck_assert_uint_eq(send("xy"), 1);
    ck_assert_uint_eq(in(UART_IIR), UART_IIR_RDI);
}
END_TEST

START_TEST(host_keeps_what_does_not_fit_until_the_fifo_is_empty)
{
    open_port(UART_FCR_ENABLE_FIFO, UART_IER_RDI);
    ck_assert_uint_eq(send("0123456789abcdefXYZ"), 16);
    ck_assert_uint_eq(send("XYZ"), 0);
    for (unsigned i = 0; i < 15; i++)
        (void)in(UART_RX);
    ck_assert_uint_eq(end.input_rooms, 0);
    ck_assert_uint_eq(in(UART_RX), 'f');
    ck_assert_uint_eq(end.input_rooms, 1);
    /* Once is enough. */
    out(UART_IER, UART_IER_RDI);
    ck_assert_uint_eq(end.input_rooms, 1);
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_OE, 0);
    ck_assert_uint_eq(send("XYZ"), 3);
    for (unsigned i = 0; i < 3; i++)
        (void)in(UART_RX);
    ck_assert_uint_eq(end.input_rooms, 1);
}
END_TEST

START_TEST(closed_port_takes_no_input_and_open_asks_for_it)
{
    ck_assert_uint_eq(send("a"), 0);
    out(UART_FCR, UART_FCR_ENABLE_FIFO);
    out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
    out(UART_MCR, UART_MCR_DTR | UART_MCR_OUT2);
    out(UART_IER, UART_IER_RDI);
    ck_assert_uint_eq(end.input_rooms, 0);
    ck_assert_uint_eq(send("a"), 0);
    out(UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
    ck_assert_uint_eq(end.input_rooms, 1);
    ck_assert_uint_eq(send("a"), 1);
    ck_assert_uint_eq(in(UART_RX), 'a');
}
END_TEST

START_TEST(guest_without_modem_lines_gets_input_by_its_interrupt)
{
    ck_assert_uint_eq(send("a"), 0);
    out(UART_IER, UART_IER_RDI);
    ck_assert_uint_eq(end.input_rooms, 1);
    ck_assert_uint_eq(send("a"), 1);
    /* Not connected without OUT2. */
    ck_assert_int_eq(irq.level, 0);
    out(UART_MCR, UART_MCR_OUT2);
    ck_assert_int_eq(irq.level, 1);
    out(UART_MCR, 0);
    ck_assert_int_eq(irq.level, 0);
}
END_TEST

START_TEST(clearing_the_receive_fifo_makes_room)
{
    open_port(UART_FCR_ENABLE_FIFO, UART_IER_RDI);
    ck_assert_uint_eq(send("0123456789abcdefXYZ"), 16);
    out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, 0);
    ck_assert_int_eq(irq.level, 0);
    ck_assert_uint_eq(end.input_rooms, 1);
    ck_assert_uint_eq(send("X"), 1);
    /* Without the enable bit, the clear bits do not count, but the FIFOs are turned off, which clears them. */
    out(UART_FCR, 0);
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, 0);
    ck_assert_uint_eq(in(UART_IIR), UART_IIR_NO_INT);
    ck_assert_uint_eq(send("Y"), 1);
    out(UART_FCR, UART_FCR_CLEAR_RCVR);
    ck_assert_uint_eq(in(UART_RX), 'Y');
}
END_TEST

START_TEST(loopback_returns_what_is_sent_and_keeps_the_host_out)
{
    open_port(UART_FCR_ENABLE_FIFO, UART_IER_RDI);
    out(UART_MCR, UART_MCR_LOOP | UART_MCR_RTS | UART_MCR_OUT2);
    ck_assert_uint_eq(send("host"), 0);
    out(UART_TX, 'g');
    ck_assert_uint_eq(in(UART_LSR), UART_LSR_DR | UART_LSR_THRE | UART_LSR_TEMT);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_RDI);
    /* The pin that connects the interrupt is off. */
    ck_assert_int_eq(irq.level, 0);
    ck_assert_uint_eq(in(UART_RX), 'g');
    ck_assert_uint_eq(end.taken, 0);
    ck_assert_uint_eq(end.input_rooms, 0);
    out(UART_MCR, UART_MCR_RTS | UART_MCR_OUT2);
    ck_assert_uint_eq(end.input_rooms, 1);
    ck_assert_uint_eq(send("host"), 4);
}
END_TEST

START_TEST(loopback_connects_modem_outputs_to_inputs)
{
    static const struct {
        uint8_t mcr;
        uint8_t lines;
    } pairs[] = {{UART_MCR_DTR, UART_MSR_DSR},
                 {UART_MCR_RTS, UART_MSR_CTS},
                 {UART_MCR_OUT1, UART_MSR_RI},
                 {UART_MCR_OUT2, UART_MSR_DCD},
                 {0, 0}};

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        out(UART_MCR, UART_MCR_LOOP | pairs[i].mcr);
        ck_assert_uint_eq(in(UART_MSR)&0xf0, pairs[i].lines);
        ck_assert_uint_eq(in(UART_MSR), pairs[i].lines);
    }
}
END_TEST

START_TEST(modem_changes_show_once_and_interrupt)
{
    out(UART_MCR, UART_MCR_LOOP);
    (void)in(UART_MSR);
    out(UART_IER, UART_IER_MSI);
    out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1);
    /* Of the ring indicator, only the end counts. */
    ck_assert_uint_eq(interrupt_id(), UART_IIR_NO_INT);
    ck_assert_uint_eq(in(UART_MSR), UART_MSR_RI);
    out(UART_MCR, UART_MCR_LOOP | UART_MCR_DTR);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_MSI);
    ck_assert_uint_eq(in(UART_MSR), UART_MSR_DSR | UART_MSR_DDSR | UART_MSR_TERI);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_NO_INT);
    out(UART_MCR, UART_MCR_OUT2);
    out(UART_MCR, UART_MCR_OUT2);
    ck_assert_int_eq(irq.level, 1);
    ck_assert_uint_eq(in(UART_MSR), UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS | UART_MSR_DDCD | UART_MSR_DCTS);
    ck_assert_int_eq(irq.level, 0);
}
END_TEST

START_TEST(loopback_overrun_shows_once)
{
    out(UART_FCR, UART_FCR_ENABLE_FIFO);
    out(UART_MCR, UART_MCR_LOOP);
    for (unsigned i = 0; i < 17; i++)
        out(UART_TX, (uint8_t)i);
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_OE, UART_LSR_OE);
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_OE, 0);
    for (unsigned i = 0; i < 16; i++)
        ck_assert_uint_eq(in(UART_RX), i);
    /* A lone RBR is overwritten. */
    out(UART_FCR, 0);
    out(UART_TX, 1);
    out(UART_TX, 2);
    ck_assert_uint_eq(in(UART_LSR) & (UART_LSR_OE | UART_LSR_DR), UART_LSR_OE | UART_LSR_DR);
    ck_assert_uint_eq(in(UART_RX), 2);
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, 0);
}
END_TEST

START_TEST(interrupts_come_by_priority)
{
    out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_14);
    out(UART_MCR, UART_MCR_LOOP);
    out(UART_IER, 0x0f);
    for (unsigned i = 0; i < 17; i++)
        out(UART_TX, (uint8_t)i);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_RLSI);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_RLSI);
    (void)in(UART_LSR);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_RDI);
    for (unsigned i = 0; i < 3; i++)
        (void)in(UART_RX);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_RX_TIMEOUT);
    for (unsigned i = 0; i < 13; i++)
        (void)in(UART_RX);
    /* Reading IIR clears this one, and only when it shows it. */
    ck_assert_uint_eq(interrupt_id(), UART_IIR_THRI);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_MSI);
    (void)in(UART_MSR);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_NO_INT);
}
END_TEST

START_TEST(interrupts_that_are_not_enabled_do_not_show)
{
    static const uint8_t enables[] = {UART_IER_RLSI, UART_IER_RDI, UART_IER_THRI, UART_IER_MSI};
    static const uint8_t ids[] = {UART_IIR_RLSI, UART_IIR_RDI, UART_IIR_THRI, UART_IIR_MSI};

    out(UART_FCR, UART_FCR_ENABLE_FIFO);
    out(UART_MCR, UART_MCR_LOOP);
    for (unsigned i = 0; i < 17; i++)
        out(UART_TX, (uint8_t)i);
    /* All four are pending: each shows alone when it alone is enabled. */
    ck_assert_uint_eq(interrupt_id(), UART_IIR_NO_INT);
    for (size_t i = 0; i < 4; i++) {
        out(UART_IER, enables[i]);
        ck_assert_uint_eq(interrupt_id(), ids[i]);
    }
    out(UART_IER, 0);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_NO_INT);
}
END_TEST

START_TEST(reading_line_errors_lowers_the_line)
{
    out(UART_IER, UART_IER_RLSI);
    out(UART_MCR, UART_MCR_LOOP);
    out(UART_TX, 1);
    out(UART_TX, 2);
    out(UART_MCR, UART_MCR_OUT2);
    ck_assert_int_eq(irq.level, 1);
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_OE, UART_LSR_OE);
    ck_assert_int_eq(irq.level, 0);
}
END_TEST

START_TEST(writing_a_byte_clears_the_transmit_interrupt)
{
    open_port(UART_FCR_ENABLE_FIFO, UART_IER_THRI);
    ck_assert_int_eq(irq.level, 1);
    end_set_room(0);
    out(UART_TX, 'x');
    ck_assert_int_eq(irq.level, 0);
    ck_assert_uint_eq(interrupt_id(), UART_IIR_NO_INT);
}
END_TEST

START_TEST(reset_lowers_the_line_and_forgets_everything)
{
    open_port(UART_FCR_ENABLE_FIFO, UART_IER_RDI);
    out(UART_SCR, 1);
    ck_assert_uint_eq(send("abc"), 3);
    ck_assert_int_eq(irq.level, 1);
    device_reset(serial_device(serial));
    ck_assert_int_eq(irq.level, 0);
    ck_assert_uint_eq(in(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
    ck_assert_uint_eq(in(UART_IER) | in(UART_MCR) | in(UART_SCR), 0);
    ck_assert_uint_eq(in(UART_IIR), UART_IIR_NO_INT);
}
END_TEST

START_TEST(port_takes_single_bytes_only)
{
    ck_assert_uint_eq(bus_read(bus, TEST_DEVICE_BASE + UART_LSR, 2), 0xffff);
    bus_write(bus, TEST_DEVICE_BASE + UART_SCR, 1, 7);
    bus_write(bus, TEST_DEVICE_BASE + UART_MSR, 2, 0x0909);
    ck_assert_uint_eq(in(UART_SCR), 7);
}
END_TEST

START_TEST(back_end_may_have_no_input)
{
    const struct serial_backend backend = {.write = end_write, .ctx = &end};
    const struct irq_line line = test_irq_line(&irq);
    struct serial *other = serial_create(&backend, &line);
    const uint8_t byte = 'x';

    ck_assert_uint_eq(serial_receive(other, &byte, 1), 0);
    serial_device(other)->ops->write(serial_device(other), UART_MCR, 1, UART_MCR_RTS);
    ck_assert_uint_eq(serial_receive(other, &byte, 1), 1);
    serial_destroy(other);
    serial_destroy(NULL);
}
END_TEST

/* A guest's driver as Linux has it: works on interrupts only, sends and receives numbered bytes. */
struct driver {
    size_t to_send;
    size_t sent;
    size_t received;
    uint8_t ier;
};

static uint8_t numbered(size_t index)
{
    return (uint8_t)(index * 7 + (index >> 8));
}

static void driver_set_ier(struct driver *driver, uint8_t ier)
{
    if (driver->ier != ier)
        out(UART_IER, ier);
    driver->ier = ier;
}

static void driver_start_sending(struct driver *driver)
{
    driver_set_ier(driver, driver->ier | UART_IER_THRI);
}

static void driver_interrupt(struct driver *driver)
{
    while (!(in(UART_IIR)&UART_IIR_NO_INT)) {
        uint8_t lsr = in(UART_LSR);

        ck_assert_uint_eq(lsr & UART_LSR_OE, 0);
        for (; lsr & UART_LSR_DR; lsr = in(UART_LSR)) {
            ck_assert_uint_eq(in(UART_RX), numbered(driver->received));
            driver->received++;
        }
        if (!(lsr & UART_LSR_THRE) || !(driver->ier & UART_IER_THRI))
            continue;
        for (unsigned i = 0; i < 16 && driver->sent < driver->to_send; i++)
            out(UART_TX, numbered(driver->sent++));
        if (driver->sent == driver->to_send)
            driver_set_ier(driver, UART_IER_RDI);
    }
}

static void check_numbered(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ck_assert_uint_eq(bytes[i], numbered(i));
}

/* Offers up to 40 bytes; stops when told to until the device asks. */
static void offer_input(size_t *offered, size_t total, bool *waits, uint64_t *seed)
{
    uint8_t bytes[40];
    size_t len = 1 + test_random_below(seed, sizeof(bytes));

    if (*waits && end.input_rooms == 0)
        return;
    end.input_rooms = 0;
    len = len < total - *offered ? len : total - *offered;
    for (size_t i = 0; i < len; i++)
        bytes[i] = numbered(*offered + i);
    size_t taken = serial_receive(serial, bytes, len);
    *offered += taken;
    *waits = taken < len;
}

START_TEST(random_traffic_loses_and_reorders_nothing)
{
    enum { TOTAL = 60000 };
    uint64_t seed = test_random_seed();
    struct driver driver = {.to_send = TOTAL, .ier = UART_IER_RDI};
    size_t offered = 0;
    bool waits = false;
    unsigned idle = 0;

    open_port(UART_FCR_ENABLE_FIFO | (uint8_t)(test_random_below(&seed, 4) << 6), UART_IER_RDI);
    end_set_room(0);
    driver_start_sending(&driver);
    while (end.taken < TOTAL || driver.received < TOTAL) {
        size_t before = end.taken + driver.received + driver.sent;

        switch (test_random_below(&seed, 4)) {
        case 0:
            end_set_room(test_random_below(&seed, 40));
            break;
        case 1:
            offer_input(&offered, TOTAL, &waits, &seed);
            break;
        default:
            if (irq.level)
                driver_interrupt(&driver);
        }
        idle = end.taken + driver.received + driver.sent == before ? idle + 1 : 0;
        ck_assert_uint_lt(idle, 10000);
    }
    ck_assert_uint_eq(end.taken, TOTAL);
    check_numbered(end.bytes, TOTAL);
}
END_TEST

enum { CONCURRENT_TOTAL = 30000 };

static _Atomic(bool) concurrent_done;
static _Atomic(int) concurrent_level;

static void concurrent_set_level(void *context, uint32_t gsi, int level)
{
    (void)context;
    (void)gsi;
    atomic_store(&concurrent_level, level);
}

static void *run_guest(void *context)
{
    struct driver *driver = context;

    open_port(UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_8, UART_IER_RDI);
    driver->ier = UART_IER_RDI;
    driver_start_sending(driver);
    while (driver->sent < CONCURRENT_TOTAL || driver->received < CONCURRENT_TOTAL) {
        if (atomic_load(&concurrent_level))
            driver_interrupt(driver);
        else
            sched_yield();
    }
    return NULL;
}

static void *run_input(void *unused)
{
    uint8_t bytes[50];
    size_t offered = 0;

    (void)unused;
    while (offered < CONCURRENT_TOTAL) {
        size_t len = sizeof(bytes) < CONCURRENT_TOTAL - offered ? sizeof(bytes) : CONCURRENT_TOTAL - offered;

        pthread_mutex_lock(&end.lock);
        unsigned rooms = end.input_rooms;
        pthread_mutex_unlock(&end.lock);
        for (size_t i = 0; i < len; i++)
            bytes[i] = numbered(offered + i);
        size_t taken = serial_receive(serial, bytes, len);
        offered += taken;
        for (bool waits = taken < len; waits; sched_yield()) {
            pthread_mutex_lock(&end.lock);
            waits = end.input_rooms == rooms;
            pthread_mutex_unlock(&end.lock);
        }
    }
    return NULL;
}

static void *run_output(void *unused)
{
    (void)unused;
    for (size_t room = 1; !atomic_load(&concurrent_done); room = room % 23 + 1) {
        end_set_room(room);
        sched_yield();
    }
    return NULL;
}

START_TEST(guest_and_both_directions_of_the_host_at_once)
{
    struct driver driver = {.to_send = CONCURRENT_TOTAL};
    const struct serial_backend backend = {.write = end_write, .input_room = end_input_room, .ctx = &end};
    const struct irq_line line = {.set_level = concurrent_set_level};
    pthread_t threads[3];

    bus_destroy(bus);
    serial_destroy(serial);
    serial = serial_create(&backend, &line);
    bus = test_bus_with(serial_device(serial), SERIAL_PORT_COUNT);
    end_set_room(0);
    ck_assert_int_eq(pthread_create(&threads[0], NULL, run_guest, &driver), 0);
    ck_assert_int_eq(pthread_create(&threads[1], NULL, run_input, NULL), 0);
    ck_assert_int_eq(pthread_create(&threads[2], NULL, run_output, NULL), 0);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    atomic_store(&concurrent_done, true);
    pthread_join(threads[2], NULL);
    end_set_room(16);
    ck_assert_uint_eq(driver.received, CONCURRENT_TOTAL);
    ck_assert_uint_eq(end.taken, CONCURRENT_TOTAL);
    check_numbered(end.bytes, CONCURRENT_TOTAL);
}
END_TEST

static size_t random_write(void *ctx, const uint8_t *bytes, size_t len)
{
    (void)bytes;
    return test_random_below(ctx, (unsigned)len + 1);
}

START_TEST(survives_anything)
{
    uint64_t seed = test_random_seed();
    const struct serial_backend backend = {.write = random_write, .ctx = &seed};
    const struct irq_line line = test_irq_line(&irq);
    struct serial *other = serial_create(&backend, &line);

    for (unsigned i = 0; i < 50; i++) {
        (void)serial_receive(other, (const uint8_t *)"0123456789abcdefXYZ", test_random_below(&seed, 20));
        serial_backend_writable(other);
        serial_device(other)->ops->write(serial_device(other), test_random_below(&seed, 8), 1, test_random(&seed));
    }
    test_device_survives_anything(serial_device(other), SERIAL_PORT_COUNT);
    serial_destroy(other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("serial");
    TCase *tcase = tcase_create("serial");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, registers_are_as_after_power_on);
    tcase_add_test(tcase, registers_read_back);
    tcase_add_test(tcase, dlab_turns_two_registers_into_the_divisor);
    tcase_add_test(tcase, linux_detects_a_16550a);
    tcase_add_test(tcase, linux_finds_no_fault_in_the_transmit_interrupt);
    tcase_add_test(tcase, writing_enable_bit_again_raises_nothing);
    tcase_add_test(tcase, output_reaches_the_back_end_at_once);
    tcase_add_test(tcase, each_byte_sent_raises_the_transmit_interrupt);
    tcase_add_test(tcase, full_back_end_fills_the_fifo_and_holds_the_guest);
    tcase_add_test(tcase, without_fifos_one_byte_waits);
    tcase_add_test(tcase, clearing_the_transmit_fifo_drops_what_waits);
    tcase_add_test(tcase, writable_with_nothing_to_send_does_nothing);
    tcase_add_test(tcase, input_comes_in_order_and_interrupts);
    tcase_add_loop_test(tcase, input_below_the_trigger_level_is_a_timeout, 0, 4);
    tcase_add_test(tcase, without_fifos_input_is_no_timeout);
    tcase_add_test(tcase, host_keeps_what_does_not_fit_until_the_fifo_is_empty);
    tcase_add_test(tcase, closed_port_takes_no_input_and_open_asks_for_it);
    tcase_add_test(tcase, guest_without_modem_lines_gets_input_by_its_interrupt);
    tcase_add_test(tcase, clearing_the_receive_fifo_makes_room);
    tcase_add_test(tcase, loopback_returns_what_is_sent_and_keeps_the_host_out);
    tcase_add_test(tcase, loopback_connects_modem_outputs_to_inputs);
    tcase_add_test(tcase, modem_changes_show_once_and_interrupt);
    tcase_add_test(tcase, loopback_overrun_shows_once);
    tcase_add_test(tcase, interrupts_come_by_priority);
    tcase_add_test(tcase, interrupts_that_are_not_enabled_do_not_show);
    tcase_add_test(tcase, reading_line_errors_lowers_the_line);
    tcase_add_test(tcase, writing_a_byte_clears_the_transmit_interrupt);
    tcase_add_test(tcase, reset_lowers_the_line_and_forgets_everything);
    tcase_add_test(tcase, port_takes_single_bytes_only);
    tcase_add_test(tcase, back_end_may_have_no_input);
    tcase_add_test(tcase, random_traffic_loses_and_reorders_nothing);
    tcase_add_test(tcase, guest_and_both_directions_of_the_host_at_once);
    tcase_add_test(tcase, survives_anything);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
