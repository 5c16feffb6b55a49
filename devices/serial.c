/* Registers and their effects: PC16550D data sheet (National Semiconductor), section 8. */
#include "devices/serial.h"

#include <assert.h>
#include <linux/serial_reg.h>
#include <stdbool.h>
#include <stdlib.h>

enum { FIFO_SIZE = 16 };

/* IIR bits 6 and 7: FIFOs are enabled (8.6.3). */
#define SERIAL_IIR_FIFOS_ENABLED 0xc0u
#define SERIAL_IER_MASK (UART_IER_MSI | UART_IER_RLSI | UART_IER_THRI | UART_IER_RDI)
#define SERIAL_MCR_MASK (UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_OUT1 | UART_MCR_RTS | UART_MCR_DTR)
#define SERIAL_FCR_MASK (UART_FCR_ENABLE_FIFO | UART_FCR_DMA_SELECT | UART_FCR_TRIGGER_MASK)
/* A back end is there, powered on, and ready to be sent to. */
#define SERIAL_MSR_CONNECTED (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS)
#define SERIAL_MSR_LINES (UART_MSR_DCD | UART_MSR_RI | UART_MSR_DSR | UART_MSR_CTS)

struct serial_fifo {
    uint8_t bytes[FIFO_SIZE];
    uint8_t head;
    uint8_t count;
};

/* All that the guest can observe: plain data. */
struct serial_state {
    uint8_t ier;
    uint8_t fcr;
    uint8_t lcr;
    uint8_t mcr;
    uint8_t msr;
    uint8_t scr;
    uint8_t dll;
    uint8_t dlm;
    /* The bits of LSR that a read clears. */
    uint8_t line_errors;
    /* The transmitter has run empty, and the guest has not been told yet. */
    uint8_t transmit_pending;
    /* What the interrupt line was last set to. */
    uint8_t irq_level;
    struct serial_fifo receive;
    /* Bytes that the back end had no room for. */
    struct serial_fifo transmit;
};

static const struct state_field fields[] = {
    STATE_FIELD(struct serial_state, ier),
    STATE_FIELD(struct serial_state, fcr),
    STATE_FIELD(struct serial_state, lcr),
    STATE_FIELD(struct serial_state, mcr),
    STATE_FIELD(struct serial_state, msr),
    STATE_FIELD(struct serial_state, scr),
    STATE_FIELD(struct serial_state, dll),
    STATE_FIELD(struct serial_state, dlm),
    STATE_FIELD(struct serial_state, line_errors),
    STATE_FIELD_UP_TO(struct serial_state, transmit_pending, 1),
    STATE_FIELD_UP_TO(struct serial_state, irq_level, 1),
    STATE_ARRAY(struct serial_state, receive.bytes),
    STATE_FIELD_UP_TO(struct serial_state, receive.head, FIFO_SIZE - 1),
    STATE_FIELD_UP_TO(struct serial_state, receive.count, FIFO_SIZE),
    STATE_ARRAY(struct serial_state, transmit.bytes),
    STATE_FIELD_UP_TO(struct serial_state, transmit.head, FIFO_SIZE - 1),
    STATE_FIELD_UP_TO(struct serial_state, transmit.count, FIFO_SIZE),
};
STATE_DESCRIPTION(description, struct serial_state, "serial", 1, fields);

struct serial {
    struct device device;
    struct serial_state state;
    struct serial_backend backend;
    struct irq_line irq;
    /* The back end has kept input that it waits to offer again. */
    bool input_waits;
};

static void fifo_push(struct serial_fifo *fifo, uint8_t byte)
{
    fifo->bytes[(fifo->head + fifo->count) % FIFO_SIZE] = byte;
    fifo->count++;
}

static uint8_t fifo_pop(struct serial_fifo *fifo)
{
    uint8_t byte = fifo->bytes[fifo->head];

    fifo->head = (fifo->head + 1) % FIFO_SIZE;
    fifo->count--;
    return byte;
}

static void fifo_clear(struct serial_fifo *fifo)
{
    fifo->head = 0;
    fifo->count = 0;
}

/* Without FIFOs, RBR and THR hold one byte each. */
static unsigned serial_fifo_capacity(const struct serial_state *state)
{
    return state->fcr & UART_FCR_ENABLE_FIFO ? FIFO_SIZE : 1;
}

static unsigned serial_receive_trigger(const struct serial_state *state)
{
    static const uint8_t levels[] = {1, 4, 8, 14};

    return state->fcr & UART_FCR_ENABLE_FIFO ? levels[UART_FCR_R_TRIG_BITS(state->fcr)] : 1;
}

/* The enabled interrupt of highest priority (table IV), as IIR shows it. */
static uint8_t serial_interrupt_id(const struct serial_state *state)
{
    if ((state->ier & UART_IER_RLSI) && state->line_errors)
        return UART_IIR_RLSI;
    /*
     * The character timeout is over at once: it says that the line has gone quiet with fewer bytes in the FIFO than the
     * trigger level, and whatever the back end has sent has come in one instant.
     */
    if ((state->ier & UART_IER_RDI) && state->receive.count > 0)
        return state->receive.count >= serial_receive_trigger(state) ? UART_IIR_RDI : UART_IIR_RX_TIMEOUT;
    if ((state->ier & UART_IER_THRI) && state->transmit_pending)
        return UART_IIR_THRI;
    if ((state->ier & UART_IER_MSI) && (state->msr & UART_MSR_ANY_DELTA))
        return UART_IIR_MSI;
    return UART_IIR_NO_INT;
}

/* On a PC, OUT2 connects the chip's interrupt to the bus; in loopback mode that pin is off, whatever MCR says. */
static void serial_update_irq(struct serial *serial)
{
    struct serial_state *state = &serial->state;
    bool connected = (state->mcr & (UART_MCR_OUT2 | UART_MCR_LOOP)) == UART_MCR_OUT2;
    uint8_t level = connected && serial_interrupt_id(state) != UART_IIR_NO_INT;

    if (level == state->irq_level)
        return;
    state->irq_level = level;
    irq_line_set(&serial->irq, level);
}

static bool serial_takes_input(const struct serial_state *state)
{
    if (state->mcr & UART_MCR_LOOP)
        return false;
    if (state->mcr & (UART_MCR_DTR | UART_MCR_RTS))
        return state->mcr & UART_MCR_RTS;
    return state->ier & UART_IER_RDI;
}

/* Waits until the FIFO is empty, so that input comes in pieces of a FIFO and not byte by byte. */
static void serial_resume_input(struct serial *serial)
{
    if (!serial->input_waits || serial->state.receive.count > 0 || !serial_takes_input(&serial->state))
        return;
    serial->input_waits = false;
    if (serial->backend.input_room)
        serial->backend.input_room(serial->backend.ctx);
}

static uint8_t serial_read_rbr(struct serial *serial)
{
    struct serial_state *state = &serial->state;

    if (state->receive.count == 0)
        return 0;
    uint8_t byte = fifo_pop(&state->receive);
    serial_resume_input(serial);
    serial_update_irq(serial);
    return byte;
}

static uint8_t serial_read_iir(struct serial *serial)
{
    struct serial_state *state = &serial->state;
    uint8_t id = serial_interrupt_id(state);

    if (id == UART_IIR_THRI) {
        state->transmit_pending = 0;
        serial_update_irq(serial);
    }
    return id | (state->fcr & UART_FCR_ENABLE_FIFO ? SERIAL_IIR_FIFOS_ENABLED : 0);
}

static uint8_t serial_read_lsr(struct serial *serial)
{
    struct serial_state *state = &serial->state;
    uint8_t lsr = state->line_errors;

    if (state->receive.count > 0)
        lsr |= UART_LSR_DR;
    if (state->transmit.count == 0)
        lsr |= UART_LSR_THRE | UART_LSR_TEMT;
    if (state->line_errors) {
        state->line_errors = 0;
        serial_update_irq(serial);
    }
    return lsr;
}

static uint8_t serial_read_msr(struct serial *serial)
{
    struct serial_state *state = &serial->state;
    uint8_t msr = state->msr;

    if (msr & UART_MSR_ANY_DELTA) {
        state->msr &= SERIAL_MSR_LINES;
        serial_update_irq(serial);
    }
    return msr;
}

static uint64_t serial_read(struct device *device, uint64_t offset, unsigned size)
{
    struct serial *serial = (struct serial *)device;
    struct serial_state *state = &serial->state;
    bool dlab = state->lcr & UART_LCR_DLAB;

    (void)size;
    switch (offset) {
    case UART_RX:
        return dlab ? state->dll : serial_read_rbr(serial);
    case UART_IER:
        return dlab ? state->dlm : state->ier;
    case UART_IIR:
        return serial_read_iir(serial);
    case UART_LCR:
        return state->lcr;
    case UART_MCR:
        return state->mcr;
    case UART_LSR:
        return serial_read_lsr(serial);
    case UART_MSR:
        return serial_read_msr(serial);
    default:
        return state->scr;
    }
}

static void serial_loop_back(struct serial *serial, uint8_t byte)
{
    struct serial_state *state = &serial->state;
    bool full = state->receive.count >= serial_fifo_capacity(state);

    if (full)
        state->line_errors |= UART_LSR_OE;
    /* An overrun spares the FIFO's content, but destroys what is in a lone RBR (8.6.1, bit 1). */
    if (full && !(state->fcr & UART_FCR_ENABLE_FIFO))
        fifo_clear(&state->receive);
    if (state->receive.count < serial_fifo_capacity(state))
        fifo_push(&state->receive, byte);
    state->transmit_pending = 1;
}

static void serial_write_thr(struct serial *serial, uint8_t byte)
{
    struct serial_state *state = &serial->state;

    state->transmit_pending = 0;
    if (state->mcr & UART_MCR_LOOP)
        serial_loop_back(serial, byte);
    else if (state->transmit.count == 0 && serial->backend.write(serial->backend.ctx, &byte, 1) == 1)
        state->transmit_pending = 1;
    else if (state->transmit.count < serial_fifo_capacity(state))
        fifo_push(&state->transmit, byte);
    /* Otherwise the guest has not looked at THRE, and the byte is lost as in the real part. */
    serial_update_irq(serial);
}

static void serial_write_ier(struct serial *serial, uint8_t value)
{
    struct serial_state *state = &serial->state;
    bool transmit_enabled = value & ~state->ier & UART_IER_THRI;

    state->ier = value & SERIAL_IER_MASK;
    /* Enabling this interrupt while the transmitter is empty raises it, which is what starts a driver's sending. */
    if (transmit_enabled && state->transmit.count == 0)
        state->transmit_pending = 1;
    serial_resume_input(serial);
    serial_update_irq(serial);
}

static void serial_clear_transmit(struct serial_state *state)
{
    if (state->transmit.count > 0)
        state->transmit_pending = 1;
    fifo_clear(&state->transmit);
}

static void serial_write_fcr(struct serial *serial, uint8_t value)
{
    struct serial_state *state = &serial->state;
    /* The other bits only count together with this one (8.4, bit 0). */
    uint8_t fcr = value & UART_FCR_ENABLE_FIFO ? value : 0;
    /* Turning FIFOs on or off empties them. */
    bool switched = (fcr ^ state->fcr) & UART_FCR_ENABLE_FIFO;

    state->fcr = fcr & SERIAL_FCR_MASK;
    if (switched || (fcr & UART_FCR_CLEAR_RCVR))
        fifo_clear(&state->receive);
    if (switched || (fcr & UART_FCR_CLEAR_XMIT))
        serial_clear_transmit(state);
    serial_resume_input(serial);
    serial_update_irq(serial);
}

/* In loopback mode the modem's lines are the chip's own outputs (8.7, bit 4). */
static uint8_t serial_modem_lines(uint8_t mcr)
{
    if (!(mcr & UART_MCR_LOOP))
        return SERIAL_MSR_CONNECTED;
    return (mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) | (mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) |
           (mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) | (mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
}

static void serial_write_mcr(struct serial *serial, uint8_t value)
{
    struct serial_state *state = &serial->state;

    state->mcr = value & SERIAL_MCR_MASK;
    uint8_t lines = serial_modem_lines(state->mcr);
    uint8_t changed = (lines ^ state->msr) & SERIAL_MSR_LINES;
    uint8_t deltas = (changed & UART_MSR_DCD ? UART_MSR_DDCD : 0) | (changed & UART_MSR_DSR ? UART_MSR_DDSR : 0) |
                     (changed & UART_MSR_CTS ? UART_MSR_DCTS : 0);
    /* The ring indicator counts only when it ends. */
    if (changed & ~lines & UART_MSR_RI)
        deltas |= UART_MSR_TERI;
    state->msr = lines | (state->msr & UART_MSR_ANY_DELTA) | deltas;
    serial_resume_input(serial);
    serial_update_irq(serial);
}

static void serial_write(struct device *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct serial *serial = (struct serial *)device;
    struct serial_state *state = &serial->state;
    uint8_t byte = (uint8_t)value;
    bool dlab = state->lcr & UART_LCR_DLAB;

    (void)size;
    switch (offset) {
    case UART_TX:
        if (dlab)
            state->dll = byte;
        else
            serial_write_thr(serial, byte);
        break;
    case UART_IER:
        if (dlab)
            state->dlm = byte;
        else
            serial_write_ier(serial, byte);
        break;
    case UART_FCR:
        serial_write_fcr(serial, byte);
        break;
    case UART_LCR:
        state->lcr = byte;
        break;
    case UART_MCR:
        serial_write_mcr(serial, byte);
        break;
    case UART_SCR:
        state->scr = byte;
        break;
    default: /* LSR and MSR are not for writing. */
        break;
    }
}

static void serial_state_init(struct serial_state *state)
{
    /* The divisor is what a firmware would leave behind, 115200 baud: guests read it to find out the speed. */
    *state = (struct serial_state){.msr = SERIAL_MSR_CONNECTED, .dll = 1};
}

static void serial_reset(struct device *device)
{
    struct serial *serial = (struct serial *)device;
    uint8_t irq_level = serial->state.irq_level;

    serial_state_init(&serial->state);
    serial->state.irq_level = irq_level;
    serial_update_irq(serial);
}

/* Gives the back end what it had no room for. */
static void serial_send_waiting(struct serial *serial)
{
    struct serial_fifo *fifo = &serial->state.transmit;

    while (fifo->count > 0) {
        size_t piece = FIFO_SIZE - fifo->head < fifo->count ? (size_t)(FIFO_SIZE - fifo->head) : fifo->count;
        size_t written = serial->backend.write(serial->backend.ctx, &fifo->bytes[fifo->head], piece);

        assert(written <= piece);
        fifo->head = (fifo->head + written) % FIFO_SIZE;
        fifo->count -= written;
        if (fifo->count == 0) {
            serial->state.transmit_pending = 1;
            serial_update_irq(serial);
        }
        if (written < piece)
            break;
    }
}

static void serial_add_state(struct device *device, struct state_parts *parts)
{
    state_add(parts, &description, &((struct serial *)device)->state);
}

/* The back end may have room although the one before had none, and the input line another level. */
static void serial_restored(struct device *device)
{
    struct serial *serial = (struct serial *)device;

    serial_send_waiting(serial);
    serial_resume_input(serial);
    serial_update_irq(serial);
    irq_line_set(&serial->irq, serial->state.irq_level);
}

static const struct device_ops serial_ops = {
    .name = "serial",
    .min_access = 1,
    .max_access = 1,
    .read = serial_read,
    .write = serial_write,
    .reset = serial_reset,
    .add_state = serial_add_state,
    .restored = serial_restored,
};

struct serial *serial_create(const struct serial_backend *backend, const struct irq_line *irq)
{
    struct serial *serial = calloc(1, sizeof(*serial));

    if (!serial)
        return NULL;
    device_init(&serial->device, &serial_ops);
    serial_state_init(&serial->state);
    serial->backend = *backend;
    serial->irq = *irq;
    return serial;
}

void serial_destroy(struct serial *serial)
{
    if (!serial)
        return;
    device_fini(&serial->device);
    free(serial);
}

struct device *serial_device(struct serial *serial)
{
    return &serial->device;
}

size_t serial_receive(struct serial *serial, const uint8_t *bytes, size_t len)
{
    struct serial_state *state = &serial->state;
    size_t taken = 0;

    pthread_mutex_lock(&serial->device.lock);
    if (serial_takes_input(state)) {
        while (taken < len && state->receive.count < serial_fifo_capacity(state))
            fifo_push(&state->receive, bytes[taken++]);
        serial_update_irq(serial);
    }
    serial->input_waits = taken < len;
    pthread_mutex_unlock(&serial->device.lock);
    return taken;
}

void serial_backend_writable(struct serial *serial)
{
    pthread_mutex_lock(&serial->device.lock);
    serial_send_waiting(serial);
    pthread_mutex_unlock(&serial->device.lock);
}
