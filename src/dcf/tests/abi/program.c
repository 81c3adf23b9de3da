/* Uses all of dcf.h. `tests/abi.rs` compiles it and runs each part: program PART. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dcf.h"

#ifdef NDEBUG
#error "the assertions are the test"
#endif

#define SECOND UINT64_C(1000000)
#define EPOCH UINT64_C(1800000000000000)
#define PAST UINT64_C(1700000000000000)

static const size_t SIZES[] = {0, 17, 1183, 1184, 60000, 3000000};
#define MESSAGES (sizeof SIZES / sizeof *SIZES)

static const uint8_t KEY[32] = {1, 2, 3, 4, 5};

/* One side of an exchange: what it sent, and what it was told. */
struct side {
    dcf_endpoint *endpoint;
    dcf_socket *socket;
    dcf_address address;
    uint32_t sent[MESSAGES];
    int delivered[MESSAGES], arrived[MESSAGES];
    int pongs, heartbeats, unreachable, forgotten, too_large;
    uint32_t heartbeat;
    int meshes, syncs;
    int heartbeat_delivered;
};

static dcf_address loopback(uint16_t port) {
    dcf_address address = {{127, 0, 0, 1}, DCF_IPV4, 0, 0};
    address.port = port;
    return address;
}

static uint8_t *pattern(size_t size) {
    uint8_t *bytes = malloc(size + 1);
    assert(bytes);
    for (size_t at = 0; at < size; at++)
        bytes[at] = (uint8_t)(at * 7 + size);
    return bytes;
}

static dcf_endpoint *endpoint(const uint8_t *key, int wary) {
    dcf_limits limits;
    assert(dcf_limits_default(&limits) == 0);
    if (wary) {
        limits.amplification = 3;
        limits.unproven_peer_memory = 64 << 10;
        limits.unproven_memory = 1 << 20;
    }
    dcf_endpoint *made = dcf_endpoint_new(&limits, key);
    assert(made);
    return made;
}

static void send_all(struct side *from, const struct side *to, uint64_t now) {
    for (size_t i = 0; i < MESSAGES; i++) {
        uint8_t *bytes = pattern(SIZES[i]);
        assert(dcf_endpoint_send(from->endpoint, &to->address, i % 2 ? DCF_TASK : DCF_RESULT, bytes,
                                 SIZES[i], now, &from->sent[i]) == 0);
        free(bytes);
    }
    assert(dcf_endpoint_ping(from->endpoint, &to->address, now) == 0);
    assert(dcf_endpoint_send(from->endpoint, &to->address, DCF_HEARTBEAT, NULL, 0, now,
                             &from->heartbeat) == 0);
}

static void take_events(struct side *side, const struct side *other) {
    dcf_event event;
    int32_t more;
    while ((more = dcf_endpoint_next_event(side->endpoint, &event)) == 1) {
        assert(event.peer.port == other->address.port && event.peer.family == DCF_IPV4);
        size_t i = 0;
        switch (event.event) {
        case DCF_EVENT_MESSAGE:
            if (event.message_type == DCF_HEARTBEAT) {
                side->heartbeats++;
                assert(event.payload_size == 0 && event.timestamp > PAST);
                break;
            }
            if (event.message_type == DCF_MESH || event.message_type == DCF_SYNC) {
                assert(event.payload_size == 900 && event.payload[7] == 49 + (uint8_t)900);
                assert(event.timestamp > PAST);
                *(event.message_type == DCF_MESH ? &side->meshes : &side->syncs) += 1;
                break;
            }
            while (i < MESSAGES && SIZES[i] != event.payload_size)
                i++;
            assert(i < MESSAGES && event.sequence == other->sent[i]);
            assert(event.message_type == (i % 2 ? DCF_TASK : DCF_RESULT));
            uint8_t *expected = pattern(SIZES[i]);
            assert(memcmp(expected, event.payload, event.payload_size) == 0);
            free(expected);
            side->arrived[i]++;
            break;
        case DCF_EVENT_DELIVERED:
            if (event.sequence == side->heartbeat) {
                side->heartbeat_delivered++;
                break;
            }
            while (i < MESSAGES && side->sent[i] != event.sequence)
                i++;
            assert(i < MESSAGES);
            side->delivered[i]++;
            break;
        case DCF_EVENT_PONG:
            assert(event.rtt < 60 * SECOND);
            side->pongs++;
            break;
        case DCF_EVENT_UNREACHABLE:
            assert(event.proven == 1 && event.sequence_count == 2);
            assert(event.sequences[0] != event.sequences[1]);
            side->unreachable++;
            break;
        case DCF_EVENT_FORGOTTEN:
            side->forgotten++;
            break;
        case DCF_EVENT_TOO_LARGE:
            assert(event.message_type == DCF_TASK && event.payload_size > 1000);
            side->too_large++;
            break;
        default:
            assert(!"an event of dcf.h");
        }
    }
    assert(more == 0);
}

static int complete(const struct side *side) {
    for (size_t i = 0; i < MESSAGES; i++)
        if (!side->arrived[i] || !side->delivered[i])
            return 0;
    return dcf_endpoint_idle(side->endpoint) == 1;
}

static void check(const struct side *side, int lossy) {
    for (size_t i = 0; i < MESSAGES; i++)
        assert(side->arrived[i] == 1 && side->delivered[i] == 1);
    uint64_t memory = 1;
    assert(dcf_endpoint_memory(side->endpoint, &memory) == 0 && memory == 0);
    if (!lossy)
        assert(side->pongs == 1 && side->heartbeats == 1 && side->heartbeat_delivered == 1);
    assert(side->unreachable == 0 && side->too_large == 0);
}

/* ------------------------------------------------------------------------------ without sockets */

/* Passes on what `from` has to send, but for one datagram of every `drop`. */
static void pass_on(struct side *from, struct side *to, uint64_t now, unsigned drop) {
    static unsigned count;
    const uint8_t *bytes;
    size_t size;
    dcf_address address;
    assert(dcf_endpoint_flush(from->endpoint, now, EPOCH + now) == 0);
    while (dcf_endpoint_next_datagram(from->endpoint, &bytes, &size, &address) == 1) {
        assert(size >= 17 && size <= 1200 && address.port == to->address.port);
        if (drop && ++count % drop == 0)
            continue;
        assert(dcf_endpoint_received(to->endpoint, bytes, size, &from->address, now,
                                     EPOCH + now) == 1);
    }
}

static uint64_t counter(dcf_endpoint *endpoint, const char *wanted) {
    const char *name, *help;
    uint64_t value;
    for (size_t i = 0; dcf_endpoint_counter(endpoint, i, &name, &help, &value) == 1; i++) {
        assert(strlen(name) > 4 && strlen(help) > 10);
        if (strcmp(name, wanted) == 0)
            return value;
    }
    assert(!"a counter of that name");
    return 0;
}

static void exchange_in_memory(const uint8_t *key, int wary, unsigned drop) {
    struct side a = {0}, b = {0};
    a.endpoint = endpoint(key, 0), b.endpoint = endpoint(key, wary);
    a.address = loopback(1000), b.address = loopback(2000);
    if (wary) /* a knows b, which has not heard of a */
        assert(dcf_endpoint_trust(b.endpoint, &a.address) == 0);
    uint64_t now = 1;
    send_all(&a, &b, now);
    send_all(&b, &a, now);
    while (!complete(&a) || !complete(&b)) {
        pass_on(&a, &b, now, drop);
        pass_on(&b, &a, now, drop);
        take_events(&a, &b);
        take_events(&b, &a);
        uint64_t next;
        assert(dcf_endpoint_next_timeout(a.endpoint, &next) == 0);
        now += 1000;
        assert(now < 60 * SECOND);
    }
    check(&a, drop), check(&b, drop);
    assert((counter(a.endpoint, "retransmissions") > 0) == (drop > 0));
    assert(counter(a.endpoint, "dropped_forged") == 0);
    dcf_endpoint_free(a.endpoint), dcf_endpoint_free(b.endpoint);
}

static void memory(void) {
    for (int sealed = 0; sealed < 2; sealed++)
        for (unsigned drop = 0; drop < 20; drop += 9)
            exchange_in_memory(sealed ? KEY : NULL, drop > 0, drop);
}

/* MESH and SYNC reach who has asked for them, as often as they come, and disturb nobody else. */
static void unreliable(void) {
    for (int sealed = 0; sealed < 2; sealed++) {
        struct side a = {0}, b = {0};
        a.endpoint = endpoint(sealed ? KEY : NULL, 0), b.endpoint = endpoint(sealed ? KEY : NULL, 1);
        a.address = loopback(1000), b.address = loopback(2000);
        size_t room = 1200 - 17 - (sealed ? 40 : 0);
        uint8_t *bytes = pattern(900), *large = pattern(room + 1);
        /* Nobody has asked yet; then b asks for one of them. */
        for (int asked = 0; asked < 2; asked++) {
            assert(dcf_endpoint_send(a.endpoint, &b.address, DCF_MESH, bytes, 900, 1, NULL) == 0);
            assert(dcf_endpoint_send(a.endpoint, &b.address, DCF_SYNC, bytes, 900, 1, NULL) == 0);
            const uint8_t *datagram;
            size_t size;
            dcf_address to;
            assert(dcf_endpoint_flush(a.endpoint, 1, EPOCH) == 0);
            while (dcf_endpoint_next_datagram(a.endpoint, &datagram, &size, &to) == 1)
                for (int times = 0; times < (sealed ? 1 : 2); times++)
                    dcf_endpoint_received(b.endpoint, datagram, size, &a.address, 1, EPOCH);
            take_events(&b, &a);
            assert(b.meshes == (asked ? (sealed ? 1 : 2) : 0) && b.syncs == 0);
            assert(dcf_endpoint_idle(a.endpoint) == 1);
            assert(dcf_endpoint_subscribe(b.endpoint, DCF_MESH) == 0);
        }
        assert(counter(b.endpoint, "dropped_unknown_type") == (sealed ? 3 : 6));
        /* Neither is answered, and an address that proved nothing gets no more than three times
         * what it sent. */
        for (int i = 0; i < 20; i++)
            assert(dcf_endpoint_send(b.endpoint, &a.address, DCF_MESH, bytes, 900, 1, NULL) == 0);
        const uint8_t *datagram;
        size_t size, went = 0;
        dcf_address to;
        assert(dcf_endpoint_flush(b.endpoint, 1, EPOCH) == 0);
        while (dcf_endpoint_next_datagram(b.endpoint, &datagram, &size, &to) == 1)
            went += size;
        assert(went > 900 && went <= 3 * 4 * 957);
        /* A datagram is all that it may fill. */
        assert(dcf_endpoint_send(a.endpoint, &b.address, DCF_SYNC, large, room, 1, NULL) == 0);
        assert(dcf_endpoint_send(a.endpoint, &b.address, DCF_SYNC, large, room + 1, 1, NULL) ==
               DCF_TOO_LARGE);
        free(bytes), free(large);
        dcf_endpoint_free(a.endpoint), dcf_endpoint_free(b.endpoint);
    }
}

/* An endpoint for domains has DCF's types, and takes nothing of a cluster's. */
static void domain(void) {
    for (int sealed = 0; sealed < 2; sealed++) {
        dcf_limits limits;
        dcf_limits_default(&limits);
        const uint8_t *key = sealed ? KEY : NULL;
        dcf_endpoint *ends[] = {dcf_endpoint_new_domain(&limits, key),
                                dcf_endpoint_new_domain(&limits, key),
                                dcf_endpoint_new(&limits, key)};
        dcf_address from = loopback(1000), to = loopback(2000), receiver;
        uint8_t *bytes = pattern(5000);
        for (int type = 0; type < 256; type++) {
            int32_t expected = type >= DCF_POSITION && type <= DCF_RELIABLE ? 0 : DCF_INVALID;
            assert(dcf_endpoint_send(ends[0], &to, type, bytes, 12, 1, NULL) == expected);
            assert(dcf_endpoint_subscribe(ends[1], type) ==
                   (type >= DCF_POSITION && type <= DCF_STATE_SYNC ? 0 : DCF_INVALID));
        }
        assert(dcf_endpoint_send(ends[0], &to, DCF_RELIABLE, bytes, 5000, 1, NULL) == 0);
        assert(dcf_endpoint_send(ends[0], &to, DCF_AUDIO, bytes, 5000, 1, NULL) == DCF_TOO_LARGE);
        assert(dcf_endpoint_idle(ends[0]) == 0);
        int counts[6] = {0}, delivered = 0;
        dcf_event event;
        for (uint64_t now = 1; !dcf_endpoint_idle(ends[0]); now += 1000) {
            const uint8_t *datagram;
            size_t size;
            assert(now < 10 * SECOND);
            for (int end = 0; end < 2; end++) {
                assert(dcf_endpoint_flush(ends[end], now, EPOCH + now) == 0);
                while (dcf_endpoint_next_datagram(ends[end], &datagram, &size, &receiver) == 1) {
                    dcf_endpoint_received(ends[1 - end], datagram, size, end ? &to : &from, now,
                                          EPOCH + now);
                    /* A head that gets the same by mistake, or by malice, does not act on it. */
                    if (sealed)
                        assert(dcf_endpoint_received(ends[2], datagram, size, &from, now,
                                                     EPOCH + now) == 0);
                }
            }
            while (dcf_endpoint_next_event(ends[1], &event) == 1)
                if (event.event == DCF_EVENT_MESSAGE)
                    counts[event.message_type]++;
            while (dcf_endpoint_next_event(ends[0], &event) == 1)
                delivered += event.event == DCF_EVENT_DELIVERED;
        }
        for (int type = DCF_POSITION; type < DCF_RELIABLE; type++)
            assert(counts[type] == 1);
        assert(counts[DCF_RELIABLE] == 2 && delivered == 2);
        if (sealed)
            assert(counter(ends[2], "dropped_forged") > 0);
        for (int end = 0; end < 3; end++)
            dcf_endpoint_free(ends[end]);
        free(bytes);
    }
    dcf_limits none = {0};
    assert(dcf_endpoint_new_domain(&none, NULL) == NULL && !dcf_endpoint_new_domain(NULL, NULL));
}

/* What else may become of a message and of a peer. */
static void fates(void) {
    struct side a = {0}, b = {0};
    a.endpoint = endpoint(NULL, 0), b.endpoint = endpoint(NULL, 1);
    a.address = loopback(1000), b.address = loopback(2000);
    uint32_t sequence;
    uint8_t *bytes = pattern(100000);
    assert(dcf_endpoint_send(a.endpoint, &b.address, DCF_TASK, bytes, 10, 5, &sequence) == 0);
    assert(dcf_endpoint_send(a.endpoint, &b.address, DCF_TASK, bytes, 100000, 5, NULL) == 0);
    for (uint64_t now = 5; !a.unreachable; dcf_endpoint_next_timeout(a.endpoint, &now)) {
        const uint8_t *datagram;
        size_t size;
        dcf_address to;
        assert(now < 10 * SECOND);
        dcf_endpoint_flush(a.endpoint, now, EPOCH);
        while (dcf_endpoint_next_datagram(a.endpoint, &datagram, &size, &to) == 1)
            continue;
        take_events(&a, &b);
    }
    assert(dcf_endpoint_idle(a.endpoint) == 1 && counter(a.endpoint, "unreachable") == 1);

    /* Held, forgotten, and asked for by name. */
    assert(dcf_endpoint_hold(b.endpoint, &a.address, 5) == 0);
    assert(dcf_endpoint_release(b.endpoint, &a.address) == 0);
    assert(dcf_endpoint_forget(b.endpoint, &a.address) == 0);
    take_events(&b, &a);
    assert(b.forgotten == 1);

    /* Too large for the receiver, which is told what came of it; and for the sender. */
    dcf_limits limits;
    dcf_limits_default(&limits);
    limits.max_message = limits.peer_memory = limits.memory = 50000;
    assert(dcf_endpoint_set_limits(b.endpoint, &limits) == 0);
    uint64_t now = 20 * SECOND;
    assert(dcf_endpoint_send(a.endpoint, &b.address, DCF_TASK, bytes, 100000, now, a.sent) == 0);
    for (; !dcf_endpoint_idle(a.endpoint); now += 1000) {
        pass_on(&a, &b, now, 0);
        pass_on(&b, &a, now, 0);
        take_events(&b, &a);
        take_events(&a, &b);
        assert(now < 30 * SECOND);
    }
    assert(b.too_large == 1 && a.delivered[0] == 1);
    assert(dcf_endpoint_send(b.endpoint, &a.address, DCF_TASK, bytes, 50001, now, NULL) ==
           DCF_TOO_LARGE);
    assert(dcf_endpoint_send(b.endpoint, &a.address, DCF_TASK, bytes, 50000, now, NULL) == 0);
    assert(dcf_endpoint_send(b.endpoint, &a.address, DCF_TASK, bytes, 1, now, NULL) == DCF_NO_ROOM);
    assert(dcf_endpoint_send(b.endpoint, &a.address, DCF_HEARTBEAT, bytes, 1, now, NULL) == 0);
    assert(dcf_endpoint_send(a.endpoint, &b.address, DCF_ERROR, bytes, 65537, now, NULL) ==
           DCF_TOO_LARGE);
    free(bytes);

    /* What is no datagram is counted and changes nothing. */
    const uint8_t noise[40] = {2, 0, 0, 0, 9};
    for (size_t size = 0; size <= sizeof noise; size++)
        assert(dcf_endpoint_received(b.endpoint, noise, size, &a.address, now, EPOCH) ==
               (size == 17));
    assert(counter(b.endpoint, "dropped_malformed") == 40);
    dcf_endpoint_free(a.endpoint), dcf_endpoint_free(b.endpoint);
}

/* --------------------------------------------------------------------------------- with sockets */

static void turn(struct side *side, const struct side *other, dcf_clock *clock) {
    int32_t more = 1;
    while (more == 1)
        more = dcf_socket_receive(side->socket, side->endpoint, dcf_clock_now(clock),
                                  dcf_clock_wall());
    assert(more == 0);
    take_events(side, other);
    assert(dcf_endpoint_flush(side->endpoint, dcf_clock_now(clock), dcf_clock_wall()) == 0);
    int32_t gone = dcf_socket_send(side->socket, side->endpoint);
    assert(gone == 0 || gone == 1);
    uint64_t next, now = dcf_clock_now(clock);
    assert(dcf_endpoint_next_timeout(side->endpoint, &next) == 0);
    uint64_t left = next > now ? next - now : 0;
    int32_t ready = dcf_socket_wait(side->socket, !gone, left < 200 ? left : 200);
    assert(ready == 0 || ready == 1);
}

static void exchange_on_loopback(const uint8_t *key) {
    struct side sides[2] = {{0}, {0}};
    dcf_clock *clock = dcf_clock_new();
    assert(clock && dcf_clock_wall() > PAST);
    assert(dcf_clock_paused(clock) == 0);
    for (int i = 0; i < 2; i++) {
        dcf_address any = loopback(0);
        sides[i].endpoint = endpoint(key, i);
        assert(dcf_socket_bind(&any, &sides[i].socket) == 0);
        assert(dcf_socket_address(sides[i].socket, &sides[i].address) == 0);
        assert(sides[i].address.port != 0 && memcmp(sides[i].address.ip, any.ip, 16) == 0);
        assert(dcf_socket_fd(sides[i].socket) > 2);
    }
    uint64_t now = dcf_clock_now(clock);
    send_all(&sides[0], &sides[1], now);
    send_all(&sides[1], &sides[0], now);
    while (!complete(&sides[0]) || !complete(&sides[1])) {
        turn(&sides[0], &sides[1], clock);
        turn(&sides[1], &sides[0], clock);
        assert(dcf_clock_now(clock) < now + 120 * SECOND);
    }
    check(&sides[0], 1), check(&sides[1], 1);
    for (int i = 0; i < 2; i++) {
        dcf_socket_free(sides[i].socket);
        dcf_endpoint_free(sides[i].endpoint);
    }
    dcf_clock_free(clock);
}

static void sockets(void) {
    exchange_on_loopback(NULL);
    exchange_on_loopback(KEY);
    /* A second socket at an address, and an address that this machine has not. */
    dcf_address any = loopback(0), elsewhere = {{192, 0, 2, 1}, DCF_IPV4, 0, 0};
    dcf_socket *first, *second = NULL;
    assert(dcf_socket_bind(&any, &first) == 0 && dcf_socket_address(first, &any) == 0);
    errno = 0;
    assert(dcf_socket_bind(&any, &second) == DCF_SYSTEM && errno == EADDRINUSE && !second);
    assert(dcf_socket_bind(&elsewhere, &second) == DCF_SYSTEM && errno == EADDRNOTAVAIL);
    assert(dcf_socket_wait(first, 0, 1000) == 0);
    assert(dcf_socket_wait(first, 1, 1000) == 1);
    dcf_socket_free(first);
}

/* ---------------------------------------------------------------------------------------- links */

/* Without a device nothing goes over links. With one, tests/integration/usb4 has machines with cables. */
static void links(void) {
    dcf_links *made = NULL;
    dcf_endpoint *end = endpoint(KEY, 0);
    dcf_address peer = loopback(9), written;
    dcf_path_change change;
    dcf_link link;
    dcf_neighbour neighbour;
    const uint8_t *bytes;
    size_t size;
    uint64_t at = 0;
    const char *name, *help;
    assert(dcf_links_new("no-such-device", KEY, &made) == 0 && made);
    assert(dcf_links_fd(made) > 2);
    assert(dcf_endpoint_send(end, &peer, DCF_TASK, KEY, sizeof KEY, 1, NULL) == 0);
    assert(dcf_endpoint_flush(end, 1, EPOCH) == 0);
    assert(dcf_links_receive(made, end, 1, EPOCH) == 0);
    assert(dcf_links_send(made, end, 1) == 0);
    assert(dcf_endpoint_next_datagram(end, &bytes, &size, &written) == 1 && size > 17);
    assert(dcf_links_next_timeout(made, &at) == 0 && at == 1 + SECOND);
    assert(dcf_links_step(made, at, EPOCH) == 0);
    assert(dcf_links_next_datagram(made, &bytes, &size, &written) == 0);
    assert(dcf_links_next_challenge(made, &bytes, &size, &written) == 0);
    assert(dcf_links_next_change(made, &change) == 0);
    assert(dcf_links_link(made, 0, &link) == 0);
    assert(dcf_links_neighbour(made, 0, &neighbour) == 0);
    assert(dcf_links_measure(made, 0, 100, at, EPOCH) == 0);
    assert(dcf_links_challenged(made, KEY, sizeof KEY, &peer, at, EPOCH) == 0);
    assert(dcf_links_put(made, &peer, KEY, sizeof KEY, at) == 0);
    assert(dcf_links_flush(made) == 0);
    size_t counters = 0;
    for (uint64_t value = 9; dcf_links_counter(made, counters, &name, &help, &value) == 1; counters++)
        assert(value == (strcmp(name, "link_dropped_malformed") == 0));
    assert(counters == 10);
    assert(dcf_links_close(made, end, at) == 0);

    dcf_links *none = NULL;
    assert(dcf_links_new(NULL, KEY, &none) == DCF_INVALID && dcf_links_new("", KEY, &none) == DCF_INVALID);
    assert(dcf_links_new("a", KEY, NULL) == DCF_INVALID && !none);
    assert(dcf_links_fd(NULL) == DCF_INVALID && dcf_links_next_timeout(made, NULL) == DCF_INVALID);
    assert(dcf_links_receive(made, NULL, at, EPOCH) == DCF_INVALID);
    assert(dcf_links_receive(NULL, end, at, EPOCH) == DCF_INVALID);
    assert(dcf_links_send(made, NULL, at) == DCF_INVALID);
    assert(dcf_links_close(NULL, end, at) == DCF_INVALID);
    assert(dcf_links_step(NULL, at, EPOCH) == DCF_INVALID && dcf_links_flush(NULL) == DCF_INVALID);
    assert(dcf_links_next_datagram(made, &bytes, &size, NULL) == DCF_INVALID);
    assert(dcf_links_next_challenge(made, NULL, &size, &written) == DCF_INVALID);
    assert(dcf_links_challenged(made, NULL, 1, &peer, at, EPOCH) == DCF_INVALID);
    assert(dcf_links_put(made, NULL, KEY, 1, at) == DCF_INVALID);
    assert(dcf_links_next_change(made, NULL) == DCF_INVALID);
    assert(dcf_links_link(made, 0, NULL) == DCF_INVALID);
    assert(dcf_links_neighbour(made, 0, NULL) == DCF_INVALID);
    assert(dcf_links_measure(NULL, 0, 1, at, EPOCH) == DCF_INVALID);
    assert(dcf_links_counter(made, SIZE_MAX, NULL, NULL, NULL) == 0);
    dcf_links_free(made), dcf_links_free(NULL);
    dcf_endpoint_free(end);
}

/* ------------------------------------------------------------------------------------- mistakes */

static void mistakes(void) {
    dcf_address peer = loopback(9), strange = loopback(9), written;
    strange.family = 7;
    dcf_limits limits;
    dcf_event event;
    uint8_t byte = 0;
    const uint8_t *bytes;
    size_t size;
    uint64_t number;
    dcf_endpoint *made = endpoint(NULL, 0);

    assert(dcf_abi_version() == DCF_ABI_VERSION);
    for (int32_t result = -7; result <= 1; result++)
        assert(strlen(dcf_describe(result)) > 3);

    assert(dcf_limits_default(NULL) == DCF_INVALID && dcf_endpoint_new(NULL, NULL) == NULL);
    for (int mistake = 0; mistake < 6; mistake++) {
        dcf_limits_default(&limits);
        switch (mistake) {
        case 0: limits.max_message = limits.peer_memory + 1; break;
        case 1: limits.peer_memory = limits.memory + 1; break;
        case 2: limits.memory = UINT64_MAX; break;
        case 3: limits.max_peers = 0; break;
        case 4: limits.datagram_rate = -1; break;
        case 5: limits.amplification = UINT64_MAX; break;
        }
        assert(dcf_endpoint_new(&limits, NULL) == NULL);
        assert(dcf_endpoint_set_limits(made, &limits) == DCF_INVALID);
    }

    dcf_endpoint_free(NULL), dcf_socket_free(NULL), dcf_clock_free(NULL);
    assert(dcf_clock_now(NULL) == 0 && dcf_clock_paused(NULL) == 0);
    assert(dcf_endpoint_set_limits(NULL, &limits) == DCF_INVALID);
    assert(dcf_endpoint_received(NULL, &byte, 1, &peer, 1, 1) == DCF_INVALID);
    assert(dcf_endpoint_received(made, NULL, 1, &peer, 1, 1) == DCF_INVALID);
    assert(dcf_endpoint_received(made, &byte, 1, NULL, 1, 1) == DCF_INVALID);
    assert(dcf_endpoint_received(made, &byte, 1, &strange, 1, 1) == DCF_INVALID);
    assert(dcf_endpoint_received(made, &byte, SIZE_MAX, &peer, 1, 1) == DCF_INVALID);
    assert(dcf_endpoint_next_event(NULL, &event) == DCF_INVALID);
    assert(dcf_endpoint_next_event(made, NULL) == DCF_INVALID);
    assert(dcf_endpoint_send(made, &strange, DCF_TASK, &byte, 1, 1, NULL) == DCF_INVALID);
    assert(dcf_endpoint_send(made, &peer, DCF_TASK, NULL, 1, 1, NULL) == DCF_INVALID);
    assert(dcf_endpoint_send(NULL, &peer, DCF_TASK, &byte, 1, 1, NULL) == DCF_INVALID);
    for (int type = 0; type < 256; type++)
        if (type != DCF_TASK && type != DCF_RESULT && type != DCF_HEARTBEAT && type != DCF_CANCEL &&
            type != DCF_ERROR && type != DCF_MESH && type != DCF_SYNC)
            assert(dcf_endpoint_send(made, &peer, type, &byte, 1, 1, NULL) == DCF_INVALID);
    for (int type = 0; type < 256; type++)
        if (type != DCF_MESH && type != DCF_SYNC)
            assert(dcf_endpoint_subscribe(made, type) == DCF_INVALID);
    assert(dcf_endpoint_subscribe(NULL, DCF_MESH) == DCF_INVALID);
    assert(dcf_endpoint_ping(made, &strange, 1) == DCF_INVALID);
    assert(dcf_endpoint_trust(made, NULL) == DCF_INVALID);
    assert(dcf_endpoint_hold(made, NULL, 1) == DCF_INVALID);
    assert(dcf_endpoint_release(made, &peer) == 0); /* of nobody that is held */
    assert(dcf_endpoint_forget(made, &peer) == 0);
    assert(dcf_endpoint_flush(NULL, 1, 1) == DCF_INVALID);
    assert(dcf_endpoint_next_datagram(made, &bytes, &size, NULL) == DCF_INVALID);
    assert(dcf_endpoint_next_datagram(made, &bytes, &size, &written) == 0);
    assert(dcf_endpoint_next_timeout(made, NULL) == DCF_INVALID);
    assert(dcf_endpoint_memory(NULL, &number) == DCF_INVALID);
    assert(dcf_endpoint_idle(NULL) == DCF_INVALID);
    assert(dcf_endpoint_counter(made, SIZE_MAX, NULL, NULL, NULL) == 0);
    assert(dcf_endpoint_counter(made, 0, NULL, NULL, NULL) == 1);
    dcf_socket *none = NULL;
    assert(dcf_socket_bind(&peer, NULL) == DCF_INVALID);
    assert(dcf_socket_bind(&strange, &none) == DCF_INVALID && !none);
    assert(dcf_socket_receive(NULL, made, 1, 1) == DCF_INVALID);
    assert(dcf_socket_send(NULL, made) == DCF_INVALID);
    assert(dcf_socket_wait(NULL, 0, 1) == DCF_INVALID);
    assert(dcf_socket_fd(NULL) == DCF_INVALID);
    assert(dcf_socket_address(NULL, &written) == DCF_INVALID);

    /* Clocks that go back or far ahead, and the wall clock's end. */
    const uint64_t times[] = {0, UINT64_MAX, 5, UINT64_MAX >> 1, 1};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        assert(dcf_endpoint_send(made, &peer, DCF_TASK, &byte, 1, times[i], NULL) == 0);
        assert(dcf_endpoint_ping(made, &peer, times[i]) == 0);
        assert(dcf_endpoint_flush(made, times[i], UINT64_MAX) == 0);
        while (dcf_endpoint_next_datagram(made, &bytes, &size, &written) == 1)
            assert(dcf_endpoint_received(made, bytes, size, &peer, times[i], 0) >= 0);
    }
    dcf_endpoint_free(made);
}

/* --------------------------------------------------------------------------------------- layout */

#define FIELD(structure, field) \
    printf(#structure "." #field " %zu\n", offsetof(dcf_##structure, field))
#define SIZE(structure) printf(#structure " %zu\n", sizeof(dcf_##structure))

static void layout(void) {
    SIZE(address), FIELD(address, ip), FIELD(address, family), FIELD(address, port);
    FIELD(address, scope_id);
    SIZE(limits), FIELD(limits, max_message), FIELD(limits, memory), FIELD(limits, peer_memory);
    FIELD(limits, max_peers), FIELD(limits, datagram_rate), FIELD(limits, amplification);
    FIELD(limits, unproven_peer_memory), FIELD(limits, unproven_memory);
    SIZE(event), FIELD(event, peer), FIELD(event, event), FIELD(event, message_type);
    FIELD(event, proven), FIELD(event, reserved), FIELD(event, sequence), FIELD(event, timestamp);
    FIELD(event, rtt), FIELD(event, payload), FIELD(event, payload_size), FIELD(event, sequences);
    FIELD(event, sequence_count);
    SIZE(path_change), FIELD(path_change, peer), FIELD(path_change, neighbour);
    FIELD(path_change, size);
    SIZE(link), FIELD(link, name), FIELD(link, address), FIELD(link, largest);
    SIZE(neighbour), FIELD(neighbour, address), FIELD(neighbour, peer), FIELD(neighbour, rtt);
    FIELD(neighbour, size), FIELD(neighbour, largest), FIELD(neighbour, echoed);
    FIELD(neighbour, under_way), FIELD(neighbour, up);
}

int main(int count, char **words) {
    const struct { const char *name; void (*run)(void); } parts[] = {
        {"memory", memory}, {"unreliable", unreliable}, {"domain", domain}, {"fates", fates},
        {"sockets", sockets}, {"links", links}, {"mistakes", mistakes}, {"layout", layout},
    };
    for (size_t i = 0; count == 2 && i < sizeof parts / sizeof *parts; i++)
        if (strcmp(words[1], parts[i].name) == 0) {
            parts[i].run();
            return 0;
        }
    return 2;
}
